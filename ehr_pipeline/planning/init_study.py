"""Start a study: write a folder with a landing folder, concept lists, and a settings file that fits the given files.

The files stay where they are; the landing folder holds links to them. In the settings file, a comment explains every
choice that was guessed from a file, so that the user can check and correct it.
"""

import datetime
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import polars as pl

from ehr_pipeline.errors import InputError, UserError
from ehr_pipeline.events import names as names_of_codes
from ehr_pipeline.planning import guess_format, known_layouts, meds_sets, shifted_dates
from ehr_pipeline.planning.guess_columns import NEEDED, ROLES, Named, assigned, guessed
from ehr_pipeline.planning.guess_format import Sniffed
from ehr_pipeline.planning.settings_text import (
    LANDING,
    LISTS,
    NO_QUOTE,
    NO_SEX_VALUES,
    SETTINGS,
    Extract,
    inline,
    quoted,
    settings_text,
    unknown,
)
from ehr_pipeline.records import files
from ehr_pipeline.records.layouts import UNNAMED
from ehr_pipeline.terminology.shipped import shipped

PATIENT_COLUMNS = tuple(role for role in guess_format.NAMES if role not in ("date", "code"))
"""Names of `PatientColumns`."""
LARGEST_WITH_NAMES = 500_000_000
"""Bytes of a file of events from which names of codes are taken."""
_DATE = re.compile(r"(?<!\d)(?:19|20)\d\d-\d\d-\d\d(?!\d)")
DATES_OF_PATIENTS = ("birth_date", "observation_start", "observation_ends", "death")


@dataclass
class NewStudy:
    """A study that was started."""

    settings: Path
    facts: list[str] = field(default_factory=list)
    """Sentences that say what was found in the files, and which settings were chosen for it."""
    doubts: list[str] = field(default_factory=list)
    """Sentences about choices that the user has to make."""
    open: list[str] = field(default_factory=list)
    """Columns that a person has to name before anything can run, by file."""
    absent: list[str] = field(default_factory=list)
    """Kinds of files that were not among those given."""


def start(
    folder: Path, sources: Sequence[Path], umls: Path | None, today: datetime.date, named: Named | None = None
) -> NewStudy:
    """Write a study into a folder. `named` holds the columns that the user named, by role.

    A column that cannot be identified is marked in the settings. Raises UserError if a file cannot be read, or if the folder has a
    study already; but settings that still have such a mark are set aside and written anew if files are given.
    """
    made = NewStudy(folder / SETTINGS)
    unfinished = bool(sources) and made.settings.is_file() and f'= "{UNNAMED}"' in made.settings.read_text("utf-8")
    if made.settings.exists() and not unfinished:
        raise UserError(
            f"{made.settings} is there already, and stays as it is. Name another folder, or edit that file."
        )
    extract = _look(sources, made, today, named or {}) if sources else None
    if unfinished:
        made.facts.append(f"the settings that were there are kept as {SETTINGS}.before")
        made.settings.replace(made.settings.with_name(f"{SETTINGS}.before"))
    terminology = _terminology(umls)
    if not terminology:
        made.doubts.append(
            "Without --umls DIR, each code is a concept of its own: codes that mean the same stay apart."
            + ("" if extract and extract.names else " It has no name either: the page shows its number.")
        )
    folder.mkdir(parents=True, exist_ok=True)
    day = _day([extract.links[""]] if extract and "" in extract.links else sources, today)
    place = folder / LANDING / (day or today).isoformat()
    (place.parent if extract and "" in extract.links else place).mkdir(parents=True, exist_ok=True)
    for name, target in (extract.links if extract else {}).items():
        link = place / name if name else place
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(target.resolve(), target_is_directory=target.is_dir())
    shutil.copytree(shipped("lists"), folder / LISTS, dirs_exist_ok=True)
    made.settings.write_text(settings_text(folder, extract or unknown(), terminology), encoding="utf-8")
    if extract:
        fact = f"the extract is named by {'the date in the name of its folder' if day else 'today'}, {place}"
        if shifted := not made.open and not made.absent and shifted_dates.in_future(made.settings, place):
            source, *more = extract.records
            extract = replace(extract, records=[source, shifted_dates.SETTING, *more])
            made.settings.write_text(settings_text(folder, extract, terminology), encoding="utf-8")
            made.doubts.append(
                "Most dates lie in the future. De-identified records may have shifted dates, so records.latest_date allows them:"
                " if that is not the reason, take it out, and set date_formats."
            )
        made.facts.append(
            fact
            if shifted
            else f"{fact}: if it was made {'on another day' if day else 'earlier'}, rename the folder to the day that it was made."
            " Events after that day are rejected as in the future"
        )
    return made


def _day(sources: Sequence[Path], today: datetime.date) -> datetime.date | None:
    """Return the date in the names of the given folders, if there is exactly one and it is not in the future; otherwise None."""
    named = {date for path in sources if path.is_dir() for date in _DATE.findall(path.resolve().name)}
    try:
        day = datetime.date.fromisoformat(named.pop()) if len(named) == 1 else None
    except ValueError:
        return None
    return day if day and day <= today else None


def _look(sources: Sequence[Path], made: NewStudy, today: datetime.date, named: Named) -> Extract:
    """Recognise the files: a known layout, or delimited files."""
    for folder in (path for path in sources if path.is_dir()):
        if known := known_layouts.recognise(
            folder, [path for path in sources if path != folder], made.facts, made.doubts
        ):
            return known
    if known := meds_sets.recognised(sources, made.facts, made.doubts):
        return known
    if len(sources) == 1 and sources[0].is_dir():
        sources = sorted(path for path in sources[0].iterdir() if path.is_file() and not path.name.startswith("."))
    stems = {path.name.lower().split(".")[0] for path in sources}
    parents = {path.parent for path in sources}
    files_of_omop = "person" in stems and len(parents) == 1 and not any(path.is_dir() for path in sources)
    if files_of_omop and (known := known_layouts.recognise(parents.pop(), [], made.facts, made.doubts)):
        return known
    found = assigned([guess_format.sniff(path) for path in sources], named, today)
    return _delimited(found, made, today, named)


def _delimited(found: list[Sniffed], made: NewStudy, today: datetime.date, named: Named) -> Extract:
    """Describe delimited files of an unknown layout. A column that cannot be identified is marked in the settings."""
    events, patients = _likely(found)
    for one in found:
        if one not in events and one not in patients:
            made.doubts.append(f"{one.path}: neither events nor patients were recognised, so it is not linked.")
        elif read := guessed(one, named):
            read |= {role: one.column(role) for role in NEEDED if one in events and one.column(role)}
            said = ", ".join(f"{role} = {read[role]!r}" for role in ROLES if role in read)
            made.doubts.append(f"{one.path.name}: read as: {said}; change it in {SETTINGS} if wrong.")
    used = [one for one in found if one in events or one in patients]
    names = [one.path.name for one in used]
    if len(set(names)) < len(names):
        raise InputError("Two files have the same name. Rename one: an extract is one folder.")
    lines: list[str] = ['source = "delimited"']
    audited = dict[str, None]()
    for one in events:
        lines += _event_lines(one, made, today)
    for one in patients:
        more, attributes = _patient_lines(one, made, today)
        lines += more
        audited |= dict.fromkeys(attributes)
    for what, sniffed, roles in (("events", events, NEEDED), ("patients", patients, ("patient", "birth_date"))):
        if not sniffed:
            lines += ["", f"[[records.{what}]]", f'files = "{what}.csv" # none of the files given seems to hold {what}']
            lines.append(f"columns = {inline(dict.fromkeys(roles, UNNAMED))}")
            made.absent.append(f"no file holds {what} ({', '.join(roles)})")
    people = sum(one.rows for one in patients if not one.is_events)
    people = people or sum(one.values(one.column("patient")).n_unique() for one in patients)
    links = {one.path.name: one.path for one in used}
    with_names = [str(one.path.resolve()) for one in events if _names_codes(one)]
    text = f"names = {quoted(with_names)} # the names of codes, from their column beside the codes"
    of_events = (text,) if with_names else ()
    return Extract(lines, people, links, tuple(audited), events=of_events, names=bool(with_names))


def _names_codes(one: Sniffed) -> bool:
    """Return whether a file of events has a column in which nearly every code has a single name. Large files are not considered,
    since the names are found by reading the file once more."""
    columns = {column.lower(): column for column in reversed(one.table.columns)}
    name = next((columns[each] for each in names_of_codes.NAMES if each in columns), "")
    code = one.column("code")
    if not name or columns.get(names_of_codes.CODE) != code or one.path.stat().st_size > LARGEST_WITH_NAMES:
        return False
    names = (
        one.table.select(code=code, name=name)
        .filter(pl.col("name") != "")
        .group_by("code")
        .agg(pl.col("name").n_unique())
    )
    return names.height > 1 and int((names["name"] == 1).sum()) >= guess_format.ALMOST * names.height


def _likely(found: Sequence[Sniffed]) -> tuple[list[Sniffed], list[Sniffed]]:
    """Return the files of events, and the files of patients. If no file is certainly of one kind, the most likely file is taken."""
    events, patients = [one for one in found if one.is_events], [one for one in found if one.is_patients]
    left = [one for one in found if one not in events and one not in patients]
    if not events and (maybe := [one for one in left if not one.tells_birth]):
        events = [max(maybe, key=lambda one: (sum(bool(one.column(role)) for role in NEEDED), one.rows))]
        left = [one for one in left if one not in events]
    if not patients and left:
        patients = [max(left, key=lambda one: (one.tells_birth, bool(one.column("patient")), -one.rows))]
    return events, patients


def _or_open(one: Sniffed, columns: Mapping[str, str | list[str]], made: NewStudy) -> str:
    """Return the columns as TOML. A column that is not known is marked, and a comment asks for its name."""
    unknown = [role for role, name in columns.items() if not name]
    header = ", ".join(one.table.columns)
    if unknown:
        made.open.append(f"{one.path.name}: which column is the {', '.join(unknown)}? Its header has {header}.")
    text = inline({role: name or UNNAMED for role, name in columns.items()})
    return f"columns = {text}{f' # put the right name in place of each {UNNAMED}: {header}' if unknown else ''}"


def _event_lines(one: Sniffed, made: NewStudy, today: datetime.date) -> list[str]:
    columns = {role: one.column(role) for role in NEEDED}
    form, doubtful = guess_format.date_format(one.values(columns["date"]), today)
    codes = one.values(columns["code"])
    system = guess_format.code_system(codes)
    if doubtful:
        made.doubts.append(f"{one.path.name}: dates could also have the month first. See date_formats.")
    if guess_format.rewritten_by_excel(codes):
        made.doubts.append(
            f"{one.path.name}: some codes look as a spreadsheet rewrites long numbers (1.9E+08, 195967001.0). Export them again as"
            " text: what was rounded is lost."
        )
    lines = ["", "[[records.events]]", *_layout(one)]
    if form:
        lines.append(
            f"date_formats = [{quoted(form)}]{' # or the month first? nothing in the first rows tells' if doubtful else ''}"
        )
    elif columns["date"]:
        made.doubts.append(f"{one.path.name}: the form of its dates was not recognised. Set date_formats.")
    lines.append(_or_open(one, columns, made))
    if system != "snomed":
        named = "icd10" if system == "ICD10" else "local"
        lines.append(
            f'code_system = "{named}" # its codes are not SNOMED\'s; name their dictionary under [events.dictionaries]'
        )
    made.facts.append(
        f"{one.path.name}: events; {_described(one)}; dates as {form or 'unknown'}; codes of"
        f" {'SNOMED CT' if system == 'snomed' else 'ICD-10' if system == 'ICD10' else 'a system of their own'}"
    )
    return lines


def _patient_lines(one: Sniffed, made: NewStudy, today: datetime.date) -> tuple[list[str], list[str]]:
    needed = ("patient",) if one.tells_birth else ("patient", "birth_date")
    columns = {role: one.column(role) for role in PATIENT_COLUMNS if one.column(role) or role in needed}
    columns.pop("birth_year" if "birth_date" in columns else "", None)
    if "birth_year" not in columns:
        columns.pop("birth_month", None)
    forms = dict[str, None]()
    for role in (role for role in DATES_OF_PATIENTS if role in columns):
        values = one.values(columns[role])
        form, doubtful = guess_format.date_format(values, today)
        forms |= {form: None} if form else {}
        if doubtful:
            made.doubts.append(f"{one.path.name}: {columns[role]} could also have the month first. See date_formats.")
        if len(values) and not form:
            made.doubts.append(f"{one.path.name}: the form of {columns[role]} was not recognised. Set date_formats.")
    meant, understood = guess_format.sexes(one.values(columns["sex"])) if "sex" in columns else ({}, True)
    if not understood:
        made.doubts.append(
            f"{one.path.name}: words for the sex ({columns.pop('sex')}) are not understood, so it is not read. Name the column and"
            " set sex_values."
        )
        meant = {}
    if meant:
        made.doubts.append(
            f"{one.path.name}: for the sex, {', '.join(f'{word} was taken for {sex}' for word, sex in meant.items() if sex)}"
            f"{' (as in ISO/IEC 5218 and in the NHS)' if '1' in meant else ''}. Check this, and correct sex_values if it is not so."
        )
    event = {one.column(role) for role in ("date", "code")} if one.is_events else set[str]()
    carried = guess_format.attributes(one, [*columns.values(), *event])
    lines = ["", "[[records.patients]]", *_layout(one)]
    lines += [f"date_formats = [{', '.join(map(quoted, forms))}]"] if forms else []
    listed = {role: [columns[role]] for role in ("observation_ends",) if role in columns}
    lines.append(_or_open(one, {**columns, **listed}, made))
    checked = f"sex_values = {inline(meant)} # check this against the source's documentation"
    lines += [checked if meant else NO_SEX_VALUES] if "sex" in columns else []
    lines += [f"attributes = {inline(carried)} # carried to the page; take out what is not needed"] if carried else []
    made.facts.append(
        f"{one.path.name}: patients, about {one.rows:,} rows; {_described(one)};"
        f" columns {', '.join(filter(None, columns.values()))}"
        + (f"; attributes {', '.join(carried)}" if carried else "")
    )
    return lines, list(carried)


def _layout(one: Sniffed) -> Iterator[str]:
    yield f"files = {quoted(one.path.name)}"
    if not files.is_parquet(one.path):
        yield f"delimiter = {quoted(one.delimiter)}"
        yield f"encoding = {quoted(one.encoding)}"
        yield f"quote = {quoted(one.quote)}" if one.quote else NO_QUOTE
        if one.before:
            yield f"lines_before_header = {one.before} # comments or a title, which are not read"


def _described(one: Sniffed) -> str:
    if files.is_parquet(one.path):
        return "Parquet"
    marks = {"\t": "tab", ",": "comma", ";": "semicolon", "|": "|"}
    return f"{one.encoding}, delimiter {marks[one.delimiter]}{', quoted' if one.quote else ''}"


def _terminology(umls: Path | None) -> tuple[Path, Path] | None:
    if umls is None:
        return None
    found = umls / "MRCONSO.RRF", umls / "MRSTY.RRF"
    for path in found:
        if not path.is_file():
            raise InputError(f"{path}: there is no such file. --umls names the folder with MRCONSO.RRF and MRSTY.RRF.")
    return found
