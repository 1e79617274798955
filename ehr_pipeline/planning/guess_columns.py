"""Guess which columns of a file hold the patient, the date, the code, the birth and the sex, if their names are unusual.

The user may name a column; then it is not guessed. A column is guessed by the words in its name, or by its values. If two columns
fit equally well, neither is taken: a wrong column would be worse than a question.
"""

import datetime
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import polars as pl

from ehr_pipeline.errors import UserError
from ehr_pipeline.planning import guess_format
from ehr_pipeline.planning.guess_format import Sniffed
from ehr_pipeline.records.values import SEX_WORDS

Named = Mapping[str, Sequence[str]]
"""The columns that the user named, by role. There may be several for a role, since files may use different names."""
ROLES = tuple(guess_format.NAMES)
NEEDED = ("patient", "date", "code")
PEOPLE = ("patient", "person", "pseudo", "nhs", "subject", "client")
BIRTH = ("birth", "born", "dob", "geburt", "naissance", "nacimiento", "nascita")
CODE = ("code", "snomed", "sct", "icd", "read", "concept")
UNIQUE = 0.9
"""In a file with one row for each patient, at least this share of the rows has an id of its own."""
SHARED = 0.2
"""If two columns hold ids of the same patients, the first rows of both files have at least this share of the ids in common."""
_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[0-9]+")
_YEAR = r"^(?:18|19|20)[0-9]{2}$"


def read_names(texts: Iterable[str]) -> dict[str, list[str]]:
    """Read columns as ROLE=NAME. Raises UserError for anything else."""
    named: dict[str, list[str]] = {}
    for text in texts:
        role, mark, name = text.partition("=")
        if not mark or not name or role not in ROLES:
            raise UserError(f"--column {text}: give ROLE=NAME, where ROLE is one of {', '.join(ROLES)}.")
        named.setdefault(role, []).append(name)
    return named


def assigned(found: Sequence[Sniffed], named: Named, today: datetime.date) -> list[Sniffed]:
    """Return the files with their columns: those that the user named, those with usual names, and those that were guessed.

    Raises UserError for a named column that no file has.
    """
    headers = "; ".join(f"{one.path.name} has {', '.join(one.table.columns)}" for one in found)
    for role, names in named.items():
        for name in names:
            if not any(name in one.table.columns for one in found):
                raise UserError(f"--column {role}={name}: no file has this column ({headers}).")
    known = [_with(_as_named(one, named), _by_words(one, today)) for one in found]
    known = [_with(one, {"patient": _patient(one, known, today)}) for one in known]
    alone = not any(one.is_events or not one.tells_birth for one in known)
    return [_with(one, _event(one, today)) if alone or not one.tells_birth else one for one in known]


def guessed(one: Sniffed, named: Named) -> dict[str, str]:
    """Return the columns of a file, by role, that were guessed: neither named by the user, nor found by a usual name."""
    usual = replace(one, roles={})
    return {
        role: name for role, name in one.roles.items() if usual.column(role) != name and name not in named.get(role, ())
    }


def _with(one: Sniffed, roles: Mapping[str, str]) -> Sniffed:
    """Add columns to the known columns of a file, without replacing any of these."""
    new = {role: name for role, name in roles.items() if name and not one.column(role)}
    return replace(one, roles={**one.roles, **new})


def _as_named(one: Sniffed, named: Named) -> Sniffed:
    roles = {role: name for role, names in named.items() for name in names if name in one.table.columns}
    other = {"birth_year": "birth_date", "birth_date": "birth_year"}
    return replace(one, roles={**{other[role]: "" for role in roles if role in other}, **roles})


def _by_words(one: Sniffed, today: datetime.date) -> dict[str, str]:
    """Return columns of the birth and the sex, by words in their names."""
    roles = {"sex": _only([name for name in one.table.columns if _has(name, SEX_WORDS)])}
    named = [name for name in one.table.columns if _has(name, BIRTH)]
    years = [name for name in named if _share(one.values(name), _YEAR) >= guess_format.ALMOST]
    dates = [name for name in named if _is_date(one, name, today)]
    if not one.tells_birth and (birth := _only(dates) or _only(years)):
        roles["birth_date" if dates else "birth_year"] = birth
    return roles


def _patient(one: Sniffed, found: Sequence[Sniffed], today: datetime.date) -> str:
    """Return the column of the patient's id: by the words in its name or, failing that, the only column whose values also occur in
    another file."""
    if one.column("patient"):
        return ""
    taken = {one.column(role) for role in ROLES}
    free = [
        name for name in one.table.columns if name not in taken and _is_id(one, name) and not _is_date(one, name, today)
    ]
    in_both = [name for name in free if any(_shares(one, name, other) for other in found if other is not one)]
    by_word = [name for name in free if _has(name, PEOPLE)]
    by_id = [name for name in free if "id" in _words(name) or _plain(name).endswith("id")]
    shared = [name for name in in_both if _many(one.values(name))]
    ranked = (
        [name for name in by_word if name in in_both],
        by_word,
        [name for name in by_id if name in in_both],
        shared,
        by_id,
    )
    return next((names[0] for names in ranked if len(names) == 1), "")


def _event(one: Sniffed, today: datetime.date) -> dict[str, str]:
    """Return the columns of an event's date and code. They are found by their values and, if several columns fit, by the words in
    their names."""
    taken = {one.column(role) for role in ROLES}
    free = [name for name in one.table.columns if name not in taken and len(one.values(name))]
    dates = [name for name in free if _is_date(one, name, today)] if not one.column("date") else []
    rest = [name for name in free if name not in dates]
    codes = [name for name in rest if _is_code(one.values(name))] or [
        name for name in rest if _has(name, CODE) and one.values(name).n_unique() > 1
    ]
    return {
        "date": _only(dates) or _only([name for name in dates if "date" in _plain(name)]),
        "code": _only(codes) or _only([name for name in codes if _has(name, CODE)]),
    }


def _is_id(one: Sniffed, name: str) -> bool:
    """Return whether values may be ids: short, without blanks, and not all the same."""
    values = one.values(name)
    return values.n_unique() > 1 and _share(values, r"^[A-Za-z0-9_./+=-]{1,64}$") >= guess_format.ALMOST


def _many(values: pl.Series) -> bool:
    """Return whether a column has as many different values as ids would have. A region, for example, has too few."""
    return values.n_unique() >= min(len(values), guess_format.MOST_VALUES // 2) * UNIQUE


def _shares(one: Sniffed, name: str, other: Sniffed) -> bool:
    """Return whether another file has a column with the same ids. In one of the two, nearly every row must have another id."""
    values = one.values(name)
    for column in other.table.columns:
        theirs = other.values(column)
        if _is_id(other, column) and _many(theirs):
            one_a_row = max(values.n_unique() / len(values), theirs.n_unique() / len(theirs)) >= UNIQUE
            both = len(set(values) & set(theirs))
            if one_a_row and both >= SHARED * min(values.n_unique(), theirs.n_unique()):
                return True
    return False


def _is_date(one: Sniffed, name: str, today: datetime.date) -> bool:
    values = one.values(name)
    form, _ = guess_format.date_format(values, today)
    digits_only = _share(values, r"^[0-9]+$") >= guess_format.ALMOST  # ids and codes read as dates too
    return bool(form) and not digits_only


def _is_code(values: pl.Series) -> bool:
    """Return whether values are codes, and not all the same: SNOMED ids with right check digits, or ICD-10 codes."""
    numbers = _share(values, r"^[0-9]{6,18}$") >= guess_format.ALMOST
    return values.n_unique() > 1 and (
        (numbers and guess_format.code_system(values) == "snomed") or guess_format.code_system(values) == "ICD10"
    )


def _share(values: pl.Series, pattern: str) -> float:
    return float(values.str.contains(pattern).sum()) / max(len(values), 1)


def _has(name: str, words: Sequence[str]) -> bool:
    """Return whether a name contains one of the words, in any spelling."""
    return any(word in _plain(name) if len(word) > 3 else word in _words(name) for word in words)


def _words(name: str) -> list[str]:
    return [word.lower() for word in _WORDS.findall(name)]


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _only(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else ""
