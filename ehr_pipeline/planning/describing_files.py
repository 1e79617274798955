"""Describe delimited files of an unknown layout as settings, and report what was recognised in them and what was not."""

import datetime
import re
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path

from ehr_pipeline.errors import InputError
from ehr_pipeline.planning import code_tables, guess_code_columns, guess_codes, guess_format
from ehr_pipeline.planning.guess_columns import NEEDED, ROLES, Named, adds_to_patients, guessed, is_code, practice_of
from ehr_pipeline.planning.guess_format import Sniffed
from ehr_pipeline.planning.settings_text import NO_QUOTE, NO_SEX_VALUES, SETTINGS, Extract, inline, quoted
from ehr_pipeline.records import files
from ehr_pipeline.records.layouts import UNNAMED
from ehr_pipeline.records.values import PRACTICE

PATIENT_COLUMNS = tuple(role for role in guess_format.NAMES if role not in ("date", "code", "code_system"))
"""Names of `PatientColumns`."""
MOST_QUALIFIERS = 12
"""A column with at most this many different values may qualify the code of its row."""
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


def delimited(found: list[Sniffed], made: NewStudy, today: datetime.date, named: Named) -> Extract:
    """Describe delimited files of an unknown layout. A column that cannot be identified is marked in the settings."""
    events, patients = _likely(found, today)
    used = [one for one in found if one in events or one in patients]
    for one in used:
        if one.alike:
            made.doubts.append(
                f"{one.path.name}: several columns are called {', '.join(one.alike)}. They cannot be told apart, so rename them."
            )
        if read := guessed(one, named):
            read |= {role: one.column(role) for role in NEEDED if one in events and one.column(role)}
            said = ", ".join(f"{role} = {read[role]!r}" for role in ROLES if role in read)
            made.doubts.append(f"{one.path.name}: read as: {said}. If this is wrong, change it in {SETTINGS}.")
    names = [one.path.name for one in used]
    if len(set(names)) < len(names):
        raise InputError("Two files have the same name. Rename one of them: both would be linked into the same folder.")
    lines: list[str] = ['source = "delimited"']
    audited = dict[str, None]()
    systems = _systems(events)
    for one in events:
        lines += _event_lines(one, systems[one], made, today, named)
    for one in patients:
        more, attributes = _patient_lines(one, made, today, named, adds=adds_to_patients(one, found))
        lines += more
        audited |= dict.fromkeys(attributes)
    for what, sniffed, roles in (("events", events, NEEDED), ("patients", patients, ("patient", "birth_date"))):
        if not sniffed:
            lines += [
                "",
                f"[[records.{what}]]",
                f'files = "{what}.csv" # none of the given files seems to contain {what}',
            ]
            lines.append(f"columns = {inline(dict.fromkeys(roles, UNNAMED))}")
            made.absent.append(f"no file contains {what} ({', '.join(roles)})")
    people = sum(one.rows for one in patients if not one.is_events)
    people = people or sum(one.values(one.column("patient")).n_unique() for one in patients)
    tables, dictionaries = _meanings(systems, [one for one in found if one not in used], made)
    of_events = (f"names = [{', '.join(tables)}] # names of codes",) if tables else ()
    links = {one.path.name: one.path for one in used}
    named_too = bool(tables) or any(line.startswith("name_column") for line in dictionaries)
    return Extract(lines, people, links, tuple(audited), tuple(dictionaries), of_events, named_too)


def _systems(events: Sequence[Sniffed]) -> dict[Sniffed, str]:
    """Return the code system of each file of events. Unknown systems with different codes are named after their files."""
    systems, locals_ = dict[Sniffed, str](), list[tuple[str, set[str]]]()
    for one in events:
        values = one.values(one.column("code"))
        if by_row := one.column("code_system"):
            systems[one] = guess_code_columns.ICD if guess_code_columns.is_version(one, by_row) else ""
            continue
        system = guess_codes.code_system(values, one.column("code"))
        if system == "local":
            codes = set(values)
            alike = [name for name, known in locals_ if len(known & codes) >= 0.5 * min(len(known), len(codes))]
            stem = re.sub(r"\W+", "_", guess_format.without_accents(one.path.name.split(".")[0])).lower()
            system = alike[0] if alike else stem if locals_ else "local"
            locals_.append((system, codes))
        systems[one] = system
    return systems


def _meanings(systems: Mapping[Sniffed, str], others: Sequence[Sniffed], made: NewStudy) -> tuple[list[str], list[str]]:
    """Return entries of `events.names` and sections of dictionaries for the codes. Report those found, and the files not read."""
    tables, dictionaries, used, facts = dict[str, None](), list[str](), set[Path](), dict[str, None]()
    several = len(set(systems.values()) - {"snomed", ""}) > 1
    for one, system in systems.items():
        for found in code_tables.find(one, system, others) if one.column("code") else ():
            used.add(found.path)
            if found.snomed and f"[events.dictionaries.{system}]" not in dictionaries:
                dictionaries += found.as_dictionary(system)
                made.facts.append(f"{found.path}: the SNOMED codes of {system}, in {found.snomed!r} for {found.code!r}")
            elif not found.snomed:
                tables[found.as_names(system if several and system != "snomed" else "")] = None
                facts[f"{found.path}: names of codes, in {found.name!r} for {found.code!r}"] = None
    made.facts += facts
    for one in others:
        if one.path not in used:
            made.doubts.append(
                f"{one.path}: neither events, patients nor names of codes were recognised in it, so it is not linked. The header"
                f" has {', '.join(one.table.columns)}: give the columns by --column ROLE=NAME."
            )
    return list(tables), dictionaries


def _likely(found: Sequence[Sniffed], today: datetime.date) -> tuple[list[Sniffed], list[Sniffed]]:
    """Return the files of events, and the files of patients. If no file is certainly of one kind, the most likely file is taken."""
    events, patients = [one for one in found if one.is_events], [one for one in found if one.is_patients]
    left = [one for one in found if one not in events and one not in patients]
    if not events and (maybe := [one for one in left if not one.tells_birth]):
        events = [max(maybe, key=lambda one: (sum(bool(one.column(role)) for role in NEEDED), one.rows))]
        left = [one for one in left if one not in events]
    patients += [one for one in left if adds_to_patients(one, found) and _tells_something(one, today)]
    if not patients and left:
        patients = [max(left, key=lambda one: (one.tells_birth, bool(one.column("patient")), -one.rows))]
    return events, patients


def _tells_something(one: Sniffed, today: datetime.date) -> bool:
    """Return whether a file without births has the sex, a date of observation or death, or an attribute."""
    known = any(one.column(role) for role in ("sex", *DATES_OF_PATIENTS))
    return known or bool(guess_format.attributes(one, [one.column("patient")], today))


def _or_open(one: Sniffed, columns: Mapping[str, str | list[str]], made: NewStudy) -> str:
    """Return the columns as TOML. A column that is not known is marked, and a comment asks for its name."""
    unknown = [role for role, name in columns.items() if not name]
    header = ", ".join(one.table.columns)
    if unknown:
        made.open.append(f"{one.path.name}: which column is the {', '.join(unknown)}? The header has {header}.")
    text = inline({role: name or UNNAMED for role, name in columns.items()})
    return f"columns = {text}{f' # put the right name in place of each {UNNAMED}: {header}' if unknown else ''}"


def _event_lines(one: Sniffed, system: str, made: NewStudy, today: datetime.date, named: Named) -> list[str]:
    columns = {role: one.column(role) for role in NEEDED}
    form, doubtful = guess_format.date_format(one.values(columns["date"]), today)
    codes = one.values(columns["code"])
    more = _more_columns(one, columns, made, named)
    if doubtful:
        made.doubts.append(f"{one.path.name}: in its dates, the day or the month could come first. Check date_formats.")
    if guess_codes.rewritten_by_excel(codes):
        made.doubts.append(
            f"{one.path.name}: some codes look like long numbers that a spreadsheet has rewritten (1.9E+08, 195967001.0). Export"
            " them again as text: the rounded digits are lost."
        )
    lines = ["", "[[records.events]]", *_layout(one)]
    if form:
        lines.append(
            f"date_formats = [{quoted(form)}]{' # or the month first? the first rows do not show it' if doubtful else ''}"
        )
    elif columns["date"]:
        made.doubts.append(f"{one.path.name}: the date format was not recognised. Set date_formats.")
    lines.append(_or_open(one, {**columns, **more}, made))
    called = guess_codes.SYSTEMS.get(system, f"another system, here called {system!r}")
    if one.column("code_system"):
        called = f"the systems in {one.column('code_system')!r}"
    if system != "snomed":
        lines.append(f"code_system = {quoted(system)} # codes of {called}, not of SNOMED CT")
    made.facts.append(
        f"{one.path.name}: events; {_described(one)}; dates as {form or 'unknown'}"
        + (f"; codes of {called}" if len(codes) else "")
    )
    _report_unread(one, {*columns.values(), *more.get("further_codes", ()), code_tables.name_beside(one)}, made)
    return lines


def _report_unread(one: Sniffed, read: Set[str], made: NewStudy) -> None:
    """Report the columns of a file of events that are not read. One with few different values may qualify the codes."""
    free = [name for name in one.table.columns if name not in read | {*one.roles.values()} and len(one.values(name))]
    if one.is_patients or not free:
        return
    made.facts.append(f"{one.path.name}: columns that are not read: {', '.join(free)}")
    if few := [name for name in free if 1 < one.values(name).n_unique() <= MOST_QUALIFIERS]:
        made.doubts.append(
            f"{one.path.name}: columns that are not read have few different values: {', '.join(few)}. If a value changes the"
            " meaning of a code, as “suspected”, “excluded” or “family history” would, leave such rows out of the file: every"
            " row is an event."
        )


def _more_columns(one: Sniffed, columns: Mapping[str, str], made: NewStudy, named: Named) -> dict[str, str | list[str]]:
    """Return the columns of further codes, and of their systems. Report columns of codes that are not read."""
    further = guess_code_columns.further(one, named.get("code", ()))
    several = [name for name in _columns_of_codes(one, columns) if name not in further]
    if further:
        made.facts.append(f"{one.path.name}: each code of a row is an event: {', '.join([columns['code'], *further])}")
    unlike = [] if named.get("code") else guess_code_columns.unlike(one, further)
    if others := [name for name in unlike if name not in several]:
        made.doubts.append(
            f"{one.path.name}: the values of {', '.join(others)} do not look like the codes of {columns['code']}, so"
            " they are not read. If they are such codes, list the columns under columns.further_codes."
        )
    if len({*several, *filter(None, [columns["code"]])}) > 1:
        made.doubts.append(
            f"{one.path.name}: {', '.join(several)} all contain codes, but {columns['code'] or 'none of them'} is read. If each of"
            " them is an event of its own, list the others under columns.further_codes, or repeat --column code=NAME."
        )
    system = one.column("code_system")
    return {**({"further_codes": further} if further else {}), **({"code_system": system} if system else {})}


def _columns_of_codes(one: Sniffed, columns: Mapping[str, str]) -> list[str]:
    """Return the columns with codes of the same system, as claims have for several diagnoses."""
    found = {
        name: guess_codes.code_system(values, name)
        for name in one.table.columns
        if name not in (columns["patient"], columns["date"]) and is_code(values := one.values(name))
    }
    wanted = found.get(columns["code"], next(iter(found.values()), ""))
    return [name for name, system in found.items() if system == wanted]


def _patient_lines(
    one: Sniffed, made: NewStudy, today: datetime.date, named: Named, *, adds: bool
) -> tuple[list[str], list[str]]:
    needed = ("patient",) if one.tells_birth or adds else ("patient", "birth_date")
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
            made.doubts.append(
                f"{one.path.name}: in {columns[role]}, the day or the month could come first. Check date_formats."
            )
        if len(values) and not form:
            made.doubts.append(
                f"{one.path.name}: the date format of {columns[role]} was not recognised. Set date_formats."
            )
    meant, understood = guess_format.sexes(one.values(columns["sex"])) if "sex" in columns else ({}, True)
    if not understood:
        made.doubts.append(
            f"{one.path.name}: the words for sex ({columns.pop('sex')}) are not understood, so the column is not read. Add the"
            " column, and set sex_values."
        )
        meant = {}
    if meant:
        made.doubts.append(
            f"{one.path.name}: for the sex, {', '.join(f'{word} was taken for {sex}' for word, sex in meant.items() if sex)}"
            f"{' (as in ISO/IEC 5218 and in the NHS)' if '1' in meant else ''}. Check this, and correct sex_values if it is wrong."
        )
    event = {one.column("date"), one.column("code"), code_tables.name_beside(one)} if one.is_events else set[str]()
    carried = {role: name for role in named if role not in ROLES for name in named[role] if name in one.table.columns}
    if PRACTICE not in carried and (practice := practice_of(one, {*columns.values(), *event, *carried.values()})):
        carried[PRACTICE] = practice
    carried |= guess_format.attributes(one, [*columns.values(), *event, *carried.values()], today)
    if not adds and not columns.keys() & {"observation_start", "observation_ends"}:
        made.doubts.append(
            f"{one.path.name}: no column was recognised as the start or end of registration, so patients are followed to their"
            " last event. If there is such a column, give it by --column observation_start=NAME or observation_ends=NAME."
        )
    lines = ["", "[[records.patients]]", *_layout(one)]
    lines += [f"date_formats = [{', '.join(map(quoted, forms))}]"] if forms else []
    listed = {role: [columns[role]] for role in ("observation_ends",) if role in columns}
    lines.append(_or_open(one, {**columns, **listed}, made))
    checked = f"sex_values = {inline(meant)} # check this against the source's documentation"
    lines += [checked if meant else NO_SEX_VALUES] if "sex" in columns else []
    lines += (
        [f"attributes = {inline(carried)} # shown on the page; remove those that are not needed"] if carried else []
    )
    listed_attributes = ", ".join(name if name == plain else f"{name} ({plain})" for name, plain in carried.items())
    made.facts.append(
        f"{one.path.name}: patients, about {one.rows:,} rows; {_described(one)};"
        f" columns {', '.join(filter(None, columns.values()))}{f'; attributes {listed_attributes}' if carried else ''}"
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
