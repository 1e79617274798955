"""Check the first rows of the extracts' files: whether they can be used, and which rows or values would be lost."""

from collections.abc import Sequence
from pathlib import Path

from ehr_pipeline.planning.findings import Preflight
from ehr_pipeline.records import build as records
from ehr_pipeline.records import catalog, check_first_rows, extract_files, files, numeric, unread
from ehr_pipeline.records.check_first_rows import FirstRows, has_dates
from ehr_pipeline.records.kinds import EventKind, Kind, Kinds, PatientKind
from ehr_pipeline.records.settings import RecordsSettings
from ehr_pipeline.runs.extracts import is_one_of_several, terminology
from ehr_pipeline.store.artifacts import Store, partition_problem
from ehr_pipeline.store.file_listing import Tree, links_outside, listed, misplaced
from ehr_pipeline.study.settings import Study
from ehr_pipeline.tables.asset_names import RAW_RECORDS

LOOKED_INTO = 100
"""Number of newest extracts whose first rows are checked. In older ones, probably read before, only the columns are checked."""
ATTRIBUTE_VALUES = 20_000
"""How many values of an attribute are examined, for each kind of file and extract."""


def look_at_all(study: Study, findings: Preflight) -> None:
    """Check every extract that the study uses, and whether a kind of file is missing from all of them."""
    landing = Path(study.records.landing)
    extracts = catalog.extracts_in(landing)
    if not landing.is_dir():
        findings.problems.append(
            f"{landing} (records.landing): this folder does not exist. Correct the setting, or create the folder, with a"
            " subfolder for each extract."
        )
    elif not extracts:
        findings.problems.append(
            f"{landing} (records.landing): no extract found. Each extract needs a separate subfolder with its date as the name"
            f" (YYYY-MM-DD).{_outside_extracts(landing)}"
        )
    findings.problems += findings.look(misplaced, landing) or []
    store = Store(study.study.store)
    read, trees = store.partitions(RAW_RECORDS), list[Tree]()
    for extract in extracts[-1:] if study.records.mode == "snapshot" else extracts:
        if problem := partition_problem(extract):
            findings.problems.append(
                f"{landing}: the folder {extract!r} cannot be an extract, because {problem}. Rename it."
            )
            continue
        findings.look(records.latest_date, extract, study.records)
        alone = not is_one_of_several(extract, store, study, [*extracts, *read])
        if tree := findings.look(extract_files.tree_of, landing / extract, study.records):
            trees.append(tree)
            newest = extract in extracts[-LOOKED_INTO:]
            look_at(tree, study.records, findings, newest, alone=alone, read_later=terminology(study))
    _attributes(study, findings)
    if not read and study.records.mode == "increment":
        _missing_everywhere(landing, trees, study.records.kinds, findings)


def _outside_extracts(landing: Path) -> str:
    """Return advice on files that lie directly in the landing folder, and so in no extract; empty if there are none."""
    names = sorted(path.name for path in landing.iterdir() if path.is_file() and not path.name.startswith("."))
    return f" It contains files outside subfolders ({listed(names)}): move them into such a subfolder." if names else ""


def _attributes(study: Study, findings: Preflight) -> None:
    """Report the type (such as number) that each audited attribute is taken to have."""
    for name in study.reports.audited:
        if values := findings.attributes.get(name):
            doubtful, text = numeric.in_words(name, values, study.reports.attribute_types.get(name))
            (findings.warnings if doubtful else findings.facts).append(text)


def _missing_everywhere(landing: Path, trees: list[Tree], kinds: Kinds, findings: Preflight) -> None:
    """Report kinds of files that no extract has. An extract may lack a kind, but some extract must have it."""
    lacking = [set(findings.look(extract_files.absent, tree, kinds) or ()) for tree in trees]
    if len(lacking) > 1 and (nowhere := set.intersection(*lacking)):
        findings.problems.append(
            f"{landing} (records.landing): no extract has a file for {', '.join(sorted(nowhere))}. Add such a file to an extract,"
            " or correct `files` in the settings."
        )


def look_at(
    tree: Tree,
    records: RecordsSettings,
    findings: Preflight,
    into_rows: bool,
    *,
    alone: bool = True,
    read_later: Sequence[Path] = (),
) -> None:
    """Check the files of one extract: their first rows, or only their columns.

    If there are other extracts, the extract is not `alone`, and it may hold only events or only patients. Files that
    other stages read (`read_later`) do not count as unread.
    """
    folder, kinds, rules = tree.folder, records.kinds, check_first_rows.rules(tree.folder.name, records)
    sizes: dict[Path, int] = {}
    seen: list[tuple[Kind, list[FirstRows | None]]] = []
    absent: list[Kind] = []
    events = 0
    lacking = [] if alone else findings.look(extract_files.absent, tree, kinds) or []
    for kind in kinds:
        paths = [] if kind.where in lacking else findings.look(files.find, tree, kind)
        sizes |= {path: path.stat().st_size for path in paths or []}
        if paths == []:
            absent.append(kind)
        elif paths:
            findings.read.add(kind.where)
        events += kind in kinds.events and paths != []
        if into_rows:
            looks = [
                findings.look(check_first_rows.first_rows, path, kind, rules, findings.below) for path in paths or []
            ]
            seen.append((kind, looks))
            findings.problems += check_first_rows.problems(kind, [one for one in seen[-1][1] if one])
            for one in filter(None, seen[-1][1]):
                for name, values in one.attributes.items():
                    findings.attributes.setdefault(name, []).extend(values[: ATTRIBUTE_VALUES // len(paths or [])])
            findings.warnings += check_first_rows.empty_files(kind, [one for one in seen[-1][1] if one])
        else:
            for path in paths or []:
                findings.look(files.read_header, path, kind)
    if not events and not lacking:
        looked_for = ", ".join(kind.where for kind in kinds.events)
        findings.problems.append(f"{folder}: no file of events ({looked_for}). Add one, or correct `files`.")
    findings.facts.append(f"extract {folder.name}: {len(sizes)} files, {sum(sizes.values()) / 1e6:,.1f} MB")
    if absent:
        nothing = ", ".join(kind.where for kind in absent)
        findings.facts.append(f"extract {folder.name}: no files for {nothing}")
    others = unread.find_unread(tree, sizes, read_later)
    findings.problems += unread.misnamed(folder, absent, others)
    if others.names:
        findings.facts.append(f"extract {folder.name}: {others}")
    findings.facts += links_outside(tree, folder.parent, f"extract {folder.name}")
    findings.warnings += unread.unread_candidates(folder, [kind for kind in kinds if kind not in absent], others)
    findings.warnings += unread.unfinished(sizes)
    _without_rows(folder, seen, findings, alone)
    for level, text in check_first_rows.losses(
        [(kind, [one for one in looks if one]) for kind, looks in seen], records.limits, findings.below
    ):
        getattr(findings, level).append(text)


def _without_rows(
    folder: Path, seen: list[tuple[Kind, list[FirstRows | None]]], findings: Preflight, alone: bool
) -> None:
    """Report kinds of files without rows: a problem if there is no event or no patient, otherwise a fact.

    An extract that is not `alone` may have events without patients, or patients without events.
    """
    # One file may hold events and patients: compare kinds as objects, not by the settings section that describes them.
    empty = [kind for kind, looks in seen if looks and all(one and _tells_nothing(kind, one) for one in looks)]
    needed = {
        what: [kind for kind, looks in seen if isinstance(kind, of) and looks and has_dates(kind)]
        for what, of in (("events", EventKind), ("patients", PatientKind))
    }
    without = {what: kinds for what, kinds in needed.items() if kinds and all(kind in empty for kind in kinds)}
    if alone or not any(kinds for what, kinds in needed.items() if what not in without):
        for what, kinds in without.items():
            findings.problems.append(f"{folder}: {_missing_kind(what, kinds)}")
            empty = [kind for kind in empty if kind not in kinds]
    if empty:
        where = ", ".join(dict.fromkeys(kind.where for kind in empty))
        findings.facts.append(f"extract {folder.name}: the files of {where} have no rows")


def _tells_nothing(kind: Kind, seen: FirstRows) -> bool:
    """Return whether a file has no rows of its kind or, for a kind in which only some rows give births, none that does."""
    return seen.is_empty or (isinstance(kind, PatientKind) and bool(kind.births) and seen.whole and not seen.dated)


def _missing_kind(what: str, kinds: Sequence[Kind]) -> str:
    """Return the message that no row is an event, or that no row describes a patient; it says what to do."""
    where = ", ".join(kind.where for kind in kinds)
    births = [kind.births for kind in kinds if isinstance(kind, PatientKind) and kind.births]
    if births:
        return f"no row of the files ({where}) contains a birth, and patients without a birth are left out: {' '.join(births)}"
    return f"the files of {what} ({where}) have no rows. Copy them again."
