"""Start a study: write a folder with a landing folder, concept lists, and a settings file that fits the given files.

The files stay where they are; the landing folder holds links to them. In the settings file, a comment explains every
choice that was guessed from a file, so that the user can check and correct it.
"""

import datetime
import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ehr_pipeline.disclosure.figures import count_text
from ehr_pipeline.errors import InputError, UserError
from ehr_pipeline.planning import guess_format, known_layouts, meds_sets, whole_extract
from ehr_pipeline.planning.describing_files import NewStudy, delimited
from ehr_pipeline.planning.guess_columns import Named, assigned
from ehr_pipeline.planning.guess_format import Sniffed
from ehr_pipeline.planning.settings_text import LANDING, LISTS, SETTINGS, Extract, settings_text, unknown
from ehr_pipeline.records.layouts import UNNAMED
from ehr_pipeline.terminology.shipped import shipped

OF_DATA = (".parquet", ".csv", ".tsv", ".txt", ".gz")
DEPTHS = ("*", "*/*", "*/*/*")
"""Where `_refuse_data` looks for files of data."""
_DATE = re.compile(r"(?<![0-9])(?:19|20)[0-9]{2}-[0-9]{2}-[0-9]{2}(?![0-9])")


def start(
    folder: Path, sources: Sequence[Path], umls: Path | None, today: datetime.date, named: Named | None = None
) -> NewStudy:
    """Write a study into a folder. `named` has the columns that the user gave, by role.

    A column that cannot be identified is marked in the settings. Raises UserError if a file cannot be read, or if the folder has a
    study already; but settings that still have such a mark are set aside and replaced if files are given.
    """
    made = NewStudy(folder / SETTINGS)
    unfinished = bool(sources) and made.settings.is_file() and f'= "{UNNAMED}"' in made.settings.read_text("utf-8")
    if made.settings.exists() and not unfinished:
        raise UserError(
            f"{made.settings} already exists, and was not changed. Choose another folder, or edit that file."
        )
    if not sources:
        _refuse_data(folder)
    extract = _look(sources, made, today, named or {}) if sources else None
    if unfinished:
        made.facts.append(f"the previous settings are kept as {SETTINGS}.before")
        made.settings.replace(made.settings.with_name(f"{SETTINGS}.before"))
    terminology = _terminology(umls)
    if not terminology:
        made.doubts.append(
            "Without --umls DIR, each code is a separate concept: codes with the same meaning are not joined."
            + ("" if extract and extract.names else " These concepts have no names: the pages show the codes.")
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
        _by_its_rows(made, extract, place, day=day, terminology=terminology, today=today)
    return made


def _refuse_data(folder: Path) -> None:
    """Raise UserError if the folder for a study has data outside its landing folder: they were probably meant as input."""
    files = (path for depth in DEPTHS for path in sorted(folder.glob(depth)) if path.name.endswith(OF_DATA))
    own = (path.relative_to(folder) for path in files)
    if found := next((path for path in own if path.parts[0] not in (LANDING, LISTS)), None):
        raise UserError(
            f"{folder} contains data ({found}). Give a new folder for the study, and the data after --from:"
            f" ehr-pipeline init my_study --from {folder}"
        )


def _by_its_rows(
    made: NewStudy,
    extract: Extract,
    place: Path,
    *,
    day: datetime.date | None,
    terminology: tuple[Path, Path] | None,
    today: datetime.date,
) -> None:
    """Name the extract after the last date in its rows, unless its folder's name has the date, and choose settings by its rows."""
    rows = whole_extract.ReadFromRows() if made.open or made.absent else whole_extract.read(made.settings, place, today)
    if rows.no_births:
        made.doubts.append(rows.no_births[0].upper() + rows.no_births[1:])
    if rows.last and not day:
        place = place.rename(place.with_name(rows.last.isoformat()))
    by = "the date in the name of its folder" if day else "its last event" if rows.last else "today"
    fact = f"the extract is named after {by}: {place}"
    if rows.shifted:
        source, *more = extract.records
        extract = replace(extract, records=[source, whole_extract.SETTING, *more], shifted=True)
        made.doubts.append(
            "Most dates are in the future. De-identified records may have shifted dates, so records.latest_date allows them, and"
            " study.shifted_dates leaves out calendar years. If the dates are not shifted, remove both settings, and set"
            " date_formats."
        )
    else:
        other = "on another day" if day else "later" if rows.last else "earlier"
        fact += (
            f". If the extract was made {other}, rename the folder to the day on which it was made: events after that day are"
            " rejected"
        )
    made.facts.append(fact)
    if rows.later and not day:
        made.doubts.append(
            f"Events dated later than {rows.last} ({count_text(rows.later)}, after a gap) will be rejected: their dates look like"
            " mistakes. If they are right, rename the folder to the day on which the extract was made."
        )
    extract = replace(extract, codes=rows.codes)
    if extract.few_codes:
        made.doubts.append(
            f"Only {extract.few_codes} codes appear {extract.min_appearances} times or more. A vocabulary is usually larger, so"
            " vocabulary.min_size was lowered. If the extract has more codes, check which column is read as the code."
        )
    if rows.shifted or extract.few_codes:
        made.settings.write_text(settings_text(made.settings.parent, extract, terminology), encoding="utf-8")


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
    own = [path for source in sources for path in _within(source)]
    if not own:
        raise InputError(f"{sources[0]}: this folder contains no file.{_extracts_in(sources[0])}")
    stems = {path.name.lower().split(".")[0] for path in own}
    parents = {path.parent for path in own}
    files_of_omop = "person" in stems and len(parents) == 1 and not any(path.is_dir() for path in sources)
    if files_of_omop and (known := known_layouts.recognise(parents.pop(), [], made.facts, made.doubts)):
        return known
    sniffed = list[Sniffed]()
    for path in own:
        try:
            sniffed.append(guess_format.sniff(path))
        except InputError as error:
            if path in sources:
                raise
            made.doubts.append(f"{error} It is not linked.")
    if not sniffed:
        raise InputError(f"{sources[0]}: no file in this folder can be read. {' '.join(made.doubts)}")
    return delimited(assigned(sniffed, named, today), made, today, named)


def _within(source: Path) -> list[Path]:
    """Return the files in a folder; a file by itself."""
    if not source.is_dir():
        return [source]
    return sorted(path for path in source.iterdir() if path.is_file() and not path.name.startswith("."))


def _extracts_in(folder: Path) -> str:
    """Return advice on a folder that contains only folders."""
    names = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    return (
        f" It contains the folders {', '.join(names)}. Each extract is one folder: give one of them." if names else ""
    )


def _terminology(umls: Path | None) -> tuple[Path, Path] | None:
    if umls is None:
        return None
    found = umls / "MRCONSO.RRF", umls / "MRSTY.RRF"
    for path in found:
        if not path.is_file():
            raise InputError(
                f"{path}: this file does not exist. Set --umls to the folder with MRCONSO.RRF and MRSTY.RRF."
            )
    return found
