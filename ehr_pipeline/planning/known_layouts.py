"""Recognise the layouts that `records.source` can be set to, and the tables next to them with the meanings of codes."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from ehr_pipeline.errors import InputError
from ehr_pipeline.planning import guess_format
from ehr_pipeline.planning.code_tables import Meanings
from ehr_pipeline.planning.guess_format import Sniffed
from ehr_pipeline.planning.settings_text import Extract, inline, quoted
from ehr_pipeline.records import files
from ehr_pipeline.records.sources import omop
from ehr_pipeline.terminology import omop as vocabulary

DICTIONARIES = {
    "medcodeid": (("snomedctconceptid",), ("term",)),
    "prodcodeid": (("dmdid",), ("productname", "termfromemis", "term")),
}
"""CPRD's dictionaries, by code system, which is also the name of their column of codes. For each: usual names of the column of
SNOMED codes, and of the column of names."""
GLOBS = {
    "observations": "*[Oo]bservation*.txt*",
    "drug_issues": "*[Dd]rug[Ii]ssue*.txt*",
    "patients": "*[Pp]atient*.txt*",
    "practices": "*[Pp]ractice*.txt*",
}
"""Globs of CPRD's tables, if the files are not named as by its extraction tool."""
PRACTICE = "care_site_id"


NOT_ACCEPTABLE = (
    "some patients are not `acceptable`: CPRD advises against using their records for research. All are read. Remove them from"
    " the extract, unless the protocol includes them."
)


def recognise(folder: Path, others: Sequence[Path], facts: list[str], doubts: list[str]) -> Extract | None:
    """Recognise a known layout by the names of its files; None if there is none. Adds sentences to `facts` and `doubts`.

    Tables with the meanings of codes are looked for in the folder, and in `others` (files and folders).
    """
    names = [path.name.lower() for path in folder.iterdir()]
    if "person" in {name.split(".")[0] for name in names}:
        facts.append(f"{folder}: the layout of OMOP")
        return _omop(folder, others, facts, doubts)
    if any("extract_observation" in name for name in names) or _renamed(folder):
        facts.append(f"{folder}: the layout of CPRD Aurum")
        return _cprd(folder, others, facts, doubts)
    return None


def _omop(folder: Path, others: Sequence[Path], facts: list[str], doubts: list[str]) -> Extract:
    people = [guess_format.sniff(path) for path in _of(folder, "person")]
    lines, own, events = ['source = "omop"'], list[str](), list[str]()
    if delimiter := next((one.delimiter for one in people if one.delimiter not in ("", omop.Omop().delimiter)), ""):
        own.append(f"delimiter = {quoted(delimiter)}")
    names = {name.lower(): name for one in people for name in one.table.columns}
    carried = {name: column for name, column in omop.Omop().attributes.items() if column in names}
    if PRACTICE in names and any(one.values(names[PRACTICE]).n_unique() > 1 for one in people):
        carried["practice"] = PRACTICE
        facts.append(f"practice: {PRACTICE} of PERSON, under [records.omop]")
    if carried != omop.Omop().attributes:
        own.append(f"attributes = {inline(carried)} # of PERSON: shown on the page; remove those that are not needed")
    lines += ["", "[records.omop]", *own] if own else []
    within = sorted(path for path in folder.iterdir() if path.is_dir())
    for place in (folder, *within, *(path for path in others if path.is_dir())):
        try:
            found = vocabulary.files(place)["concept"]
        except InputError:
            continue
        events.append(f"omop_vocabulary = {quoted(str(place.resolve()))} # the meaning of the concept ids")
        facts.append(f"{found}: names and codes of OMOP's concepts")
        break
    else:
        doubts.append(
            "Set events.omop_vocabulary to the folder of Athena's CONCEPT.csv, or give that folder as well, after --from. Without"
            " it, each id is a concept without a name."
        )
    return Extract(
        lines, sum(one.rows for one in people), {"": folder}, tuple(carried), events=tuple(events), names=bool(events)
    )


def _cprd(folder: Path, others: Sequence[Path], facts: list[str], doubts: list[str]) -> Extract:
    more, named = list[str](), False
    lines = ['source = "cprd_aurum"']
    if _renamed(folder):
        lines += ["", "[records.cprd_aurum]", *(f"{table} = {quoted(glob)}" for table, glob in GLOBS.items())]
    has_drugs = any("drugissue" in guess_format.plain(path.name) for path in folder.rglob("*"))
    for system, (codes, terms) in DICTIONARIES.items():
        for one in _tables(folder, others):
            columns = {guess_format.plain(name): name for name in one.table.columns}
            code, name = (next((columns[word] for word in words if word in columns), "") for words in (codes, terms))
            if system not in columns or not code:
                continue
            quote = one.quote if one.delimiter == "," else ""
            more += Meanings(one.path, columns[system], name, code, one.delimiter, one.encoding, quote).as_dictionary(
                system
            )
            facts.append(f"{one.path}: the dictionary of {system}")
            named = named or bool(name)
            break
        else:
            if system == "medcodeid" or has_drugs:
                doubts.append(
                    f"Set [events.dictionaries.{system}] to CPRD's dictionary, or give the file as well, after --from. Without"
                    f" it, each {system} is a concept without a name."
                )
    people = [guess_format.sniff(path) for path in _of(folder, "patient")]
    if some_not_acceptable(people):
        doubts.append(NOT_ACCEPTABLE)
        lines += [
            "# Patients who are not `acceptable` are read as well: remove them from the extract, as CPRD advises."
        ]
    return Extract(lines, sum(one.rows for one in people), {"": folder}, more=tuple(more), names=named)


def some_not_acceptable(people: Sequence[Sniffed]) -> bool:
    """Return whether the first rows of CPRD's patient files include patients who are not acceptable for research."""
    return any((one.values("acceptable") == "0").any() for one in people if "acceptable" in one.table.columns)


def _renamed(folder: Path) -> bool:
    """Return whether a folder holds CPRD's observations in files that are not named as CPRD's extraction tool names them."""
    files = [path for path in folder.iterdir() if path.is_file() and "observation" in path.name.lower()]
    if not files or any("extract_observation" in path.name.lower() for path in files):
        return False
    texts = [path for path in files if path.name.lower().endswith((".txt", ".txt.gz"))]
    return any({"patid", "obsdate", "medcodeid"} <= set(guess_format.sniff(path).table.columns) for path in texts)


def _of(folder: Path, name: str) -> Iterator[Path]:
    """Yield the files of the tables whose path in the folder contains `name`."""
    for path in folder.rglob("*"):
        if path.is_file() and name in str(path.relative_to(folder)).lower():
            yield path


def _tables(folder: Path, others: Sequence[Path]) -> Iterator[Sniffed]:
    """Yield the text files that may be dictionaries, without the extract's own tables."""
    there = [path for place in (folder, *others) for path in (sorted(place.rglob("*")) if place.is_dir() else [place])]
    for path in there:
        if path.is_file() and "_extract_" not in path.name.lower() and not path.name.startswith("."):
            if files.is_parquet(path) or path.suffix.lower() not in (".txt", ".tsv", ".csv", ".gz"):
                continue
            try:
                yield guess_format.sniff(path)
            except InputError:
                continue
