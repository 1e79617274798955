"""Guess which columns of a file are the patient, the date, the code, the birth and the sex, if their names are unusual.

The user may name a column; then it is not guessed. A column is guessed by the words in its name, or by its values. If two columns
fit equally well, neither is taken: a wrong column would be worse than a question. A file with one row for each patient whose ids
recur in another file describes patients: no events are looked for in it.
"""

import datetime
import difflib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

import polars as pl

from ehr_pipeline.errors import UserError
from ehr_pipeline.planning import guess_codes, guess_format, guess_ids
from ehr_pipeline.planning.guess_code_columns import column_of_systems, first_of_series
from ehr_pipeline.planning.guess_format import Sniffed, is_date, is_of_patients, plain, share, without_accents
from ehr_pipeline.planning.text_head import ALMOST
from ehr_pipeline.records import dates
from ehr_pipeline.records.values import FEMALE, MALE, SEX_WORDS, USUAL, called_practice, comparable

Named = Mapping[str, Sequence[str]]
"""The columns that the user named, by role. There may be several for a role, since files may use different names."""
ROLES = tuple(guess_format.NAMES)
NEEDED = ("patient", "date", "code")
PEOPLE = ("patient", "person", "pseud", "nhs", "subject", "client")
BIRTH = (
    "birth",
    "born",
    "dob",
    "geburt",
    "gebdat",
    "geb",
    "naissance",
    "nacimiento",
    "nascita",
    "fodelse",
    "fodsel",
    "geboorte",
)
DEATH = (
    "death",
    "died",
    "dod",
    "deceas",
    "deces",
    "todes",
    "tod",
    "muerte",
    "fallec",
    "decesso",
    "obito",
    "overlijden",
    "dods",
)
SEX = (*SEX_WORDS, "kon", "kjonn", "geslacht")
CODE = ("code", "snomed", "sct", "icd", "cim", "read", "concept", "diag", "dx", "atc")
OBSERVED = ("reg", "enrol", "follow", "observ", "member")
START, START_ALONE = ("from", "start", "starts", "begin", "since", "date", "dt"), ("eintritt", "entrydate", "joined")
END, END_ALONE = (
    ("to", "end", "ends", "until", "out", "stop"),
    ("austritt", "exitdate", "dereg", "transferout", "dateleft"),
)
"""Words for a start or an end: those that need a word beginning with one of OBSERVED, and those that do not."""
LIFE = 30
"""Years that the births in a file span at least, to be recognised by their values."""
_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[0-9]+")
MOST_SEXES = 10
"""A column with this many different values is not the sex."""
ALIKE = 0.75
"""A word that resembles a role at least this much (0 to 1) is taken for a misspelt role."""
_YEAR = r"^(?:18|19|20)[0-9]{2}$"


def read_names(texts: Iterable[str]) -> dict[str, list[str]]:
    """Read columns given as ROLE=NAME. Any other word, unless it resembles a role, is an attribute. Raises UserError otherwise."""
    named: dict[str, list[str]] = {}
    for text in texts:
        role, mark, name = text.partition("=")
        known = role in ROLES or (role.isidentifier() and not difflib.get_close_matches(role, ROLES, 1, ALIKE))
        if not mark or not name or not known:
            raise UserError(
                f"--column {text}: must be ROLE=NAME, where ROLE is one of {', '.join(ROLES)}, or an attribute to show on"
                " the page, such as practice."
            )
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
    if not any(one.tells_birth for one in known):
        known = [_with(one, _person(one, today)) if _of_patients(one, known) else one for one in known]
    known = [_with(one, _added(one, today)) if adds_to_patients(one, known) else one for one in known]
    alone = not any(one.is_events or not one.tells_birth for one in known)
    return [
        _with_event(one, named, today) if alone or not (one.tells_birth or _of_patients(one, known)) else one
        for one in known
    ]


def _with_event(one: Sniffed, named: Named, today: datetime.date) -> Sniffed:
    """Add the columns of an event. A column that has a usual name, but no values, is replaced if another fits."""
    empty = [role for role in ("date", "code") if role not in named and not len(one.values(one.column(role)))]
    found = _event(replace(one, roles={**one.roles, **dict.fromkeys(empty, "")}), today)
    return _with(replace(one, roles={**one.roles, **{role: found[role] for role in empty if found[role]}}), found)


def guessed(one: Sniffed, named: Named) -> dict[str, str]:
    """Return the columns of a file, by role, that were guessed: neither named by the user, nor found by a usual name."""
    usual = replace(one, roles={})
    return {
        role: name for role, name in one.roles.items() if usual.column(role) != name and name not in named.get(role, ())
    }


def practice_of(one: Sniffed, taken: Collection[str]) -> str:
    """Return the column of the practice, hospital or other site of a patient, by its name; empty if there is none."""
    free = [name for name in one.table.columns if name not in taken and one.values(name).n_unique() > 1]
    return called_practice([name for name in free if is_of_patients(one.table, one.column("patient"), name)])


def _with(one: Sniffed, roles: Mapping[str, str]) -> Sniffed:
    """Add columns to the known columns of a file, without replacing any of these."""
    new = {role: name for role, name in roles.items() if name and not one.column(role)}
    return replace(one, roles={**one.roles, **new})


def _as_named(one: Sniffed, named: Named) -> Sniffed:
    roles = {role: name for role in ROLES for name in named.get(role, ()) if name in one.table.columns}
    other = {"birth_year": "birth_date", "birth_date": "birth_year"}
    return replace(one, roles={**{other[role]: "" for role in roles if role in other}, **roles})


def _by_words(one: Sniffed, today: datetime.date) -> dict[str, str]:
    """Return columns of the birth and the sex, by words in their names."""
    roles = dict[str, str]()
    by_word = [name for name in one.table.columns if _has(name, SEX)]
    named = [name for name in one.table.columns if _has(name, BIRTH)]
    years = [name for name in named if share(one.values(name), _YEAR) >= ALMOST]
    dates = [name for name in named if is_date(one.values(name), today)]
    if not one.tells_birth and (birth := _only(dates) or _only(years)):
        roles["birth_date" if dates else "birth_year"] = birth
    if one.tells_birth or roles.get("birth_date") or roles.get("birth_year"):
        roles |= _observed(one, today)
        roles["sex"] = _sex_by_values(one)
    return roles | ({"sex": _only(by_word)} if by_word else {})


def _sex_by_values(one: Sniffed) -> str:
    return _only([name for name in one.table.columns if _are_sexes(one.values(name))])


def _are_sexes(values: pl.Series) -> bool:
    """Return whether values are words for the sex, both sexes among them."""
    words = {comparable(value) for value in values.unique().head(MOST_SEXES)}
    return (
        values.n_unique() < MOST_SEXES
        and {MALE, FEMALE} <= {USUAL.get(word) for word in words}
        and words <= USUAL.keys()
    )


def _observed(one: Sniffed, today: datetime.date) -> dict[str, str]:
    """Return the columns of dates that say when observation starts and ends, and of the death, by words in their names."""
    found: dict[str, list[str]] = {"observation_start": [], "observation_ends": [], "death": []}
    for name in one.table.columns:
        if not is_date(one.values(name), today):
            continue
        text, words = plain(name), set(_words(name))
        is_observed = any(word.startswith(OBSERVED) for word in words)
        if _has(name, DEATH):
            found["death"].append(name)
        elif text.startswith(END_ALONE) or (
            is_observed and (words & set(END) or text.endswith(("to", "end", "enddate")))
        ):
            found["observation_ends"].append(name)
        elif text.startswith(START_ALONE) or (is_observed and (words & set(START) or text.endswith(START))):
            found["observation_start"].append(name)
    return {role: _only(names) for role, names in found.items()}


def _of_patients(one: Sniffed, found: Sequence[Sniffed]) -> bool:
    """Return whether a file has one row for each patient, and another file several rows for each of the same patients."""
    ids = one.values(patient := one.column("patient"))
    return (
        bool(patient)
        and guess_ids.one_each(ids)
        and any(
            not guess_ids.one_each(theirs) and guess_ids.overlap(ids, theirs)
            for other in found
            if other is not one and (theirs := other.values(other.column("patient"))).len()
        )
    )


def adds_to_patients(one: Sniffed, found: Sequence[Sniffed]) -> bool:
    """Return whether a file without births has one row for each of the patients whose births are in another file."""
    ids = one.values(one.column("patient"))
    births = [other for other in found if other is not one and other.is_patients]
    return (
        bool(len(ids) and births)
        and not one.tells_birth
        and guess_ids.one_each(ids)
        and any(guess_ids.overlap(ids, other.values(other.column("patient"))) for other in births)
    )


def _added(one: Sniffed, today: datetime.date) -> dict[str, str]:
    return {"sex": _sex_by_values(one), **_observed(one, today)}


def _person(one: Sniffed, today: datetime.date) -> dict[str, str]:
    """Return the column of births in a file of patients, found by its values: dates that span decades, before all other dates of
    their rows. With it, the columns of the sex, of observation and death."""
    if one.tells_birth:
        return {}
    read = {
        name: one.table.select(days=dates.parse(pl.col(name).str.strip_chars(), (form,), today))["days"]
        for name in one.table.columns
        if is_date(one.values(name), today) and not _has(name, DEATH)
        for form in (guess_format.date_format(one.values(name), today)[0],)
    }
    first = [
        name
        for name, days in read.items()
        if (days.dt.year().quantile(0.95) or 0) - (days.dt.year().quantile(0.05) or 0) >= LIFE
        and all(float((days <= other).mean() or 0) >= ALMOST for key, other in read.items() if key != name)  # type: ignore[arg-type]
    ]
    return {"birth_date": _only(first), "sex": _sex_by_values(one), **_observed(one, today)} if _only(first) else {}


def _patient(one: Sniffed, found: Sequence[Sniffed], today: datetime.date) -> str:
    """Return the column of the patient's id: by the words in its name or, failing that, the only column whose values also occur in
    another file."""
    if one.column("patient"):
        return ""
    taken = {one.column(role) for role in ROLES}
    free = [
        name
        for name in one.table.columns
        if name not in taken
        and guess_ids.is_id(one, name)
        and not is_date(one.values(name), today)
        and (_has(name, PEOPLE) or not _has(name, CODE))
    ]
    in_both = [name for name in free if any(guess_ids.shares(one, name, other) for other in found if other is not one)]
    in_births = [
        name
        for name in in_both
        if any(guess_ids.shares(one, name, other) for other in found if other is not one and other.tells_birth)
    ]
    by_word = [name for name in free if _has(name, PEOPLE)]
    by_id = [name for name in free if "id" in _words(name) or plain(name).endswith("id")]
    shared = [name for name in in_both if guess_ids.many(one.values(name))]
    ranked = (
        [name for name in by_word if name in in_both],
        by_word,
        [name for name in by_id if name in in_both],
        [name for name in shared if name in in_births],
        shared,
        by_id,
    )
    return next((names[0] for names in ranked if len(names) == 1), "")


def _event(one: Sniffed, today: datetime.date) -> dict[str, str]:
    """Return the columns of an event's date and code. They are found by their values and, if several columns fit, by the words in
    their names."""
    taken = {one.column(role) for role in ROLES}
    free = [name for name in one.table.columns if name not in taken and len(one.values(name))]
    days = [name for name in free if is_date(one.values(name), today)] if not one.column("date") else []
    systems = column_of_systems(one, free)
    rest = [name for name in free if name not in days and name != systems]
    codes = [name for name in rest if is_code(one.values(name))] or [
        name for name in rest if _has(name, CODE) and one.values(name).n_unique() > 1
    ]
    return {
        "date": _only(days) or _only([name for name in days if "date" in plain(name)]),
        "code": _only(codes)
        or _only(named := [name for name in codes if _has(name, CODE)])
        or first_of_series(named or codes),
        "code_system": systems,
    }


def is_code(values: pl.Series) -> bool:
    """Return whether values are codes, and not all the same: SNOMED ids with right check digits, or of another known shape."""
    numbers, system = share(values, r"^[0-9]{6,18}$") >= ALMOST, guess_codes.code_system(values)
    return values.n_unique() > 1 and ((numbers and system == "snomed") or system in guess_codes.SHAPES)


def _has(name: str, words: Sequence[str]) -> bool:
    """Return whether a name contains one of the words, in any spelling."""
    return any(word in plain(name) if len(word) > 3 else word in _words(name) for word in words)


def _words(name: str) -> list[str]:
    return [word.lower() for word in _WORDS.findall(without_accents(name))]


def _only(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else ""
