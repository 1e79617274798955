"""Warn early of too little data: too few patients, too small a vocabulary, an empty cohort. A run would notice this only after
minutes.

If the extracts are small enough to be read within seconds, all their rows are read. Only certain or nearly certain
problems are reported. They are warnings, because the assets before the one that would fail can still be made.
"""

from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from ehr_pipeline.checks import lists
from ehr_pipeline.checks.tasks import FEWEST_CASES
from ehr_pipeline.clusters.settings import most_clusters
from ehr_pipeline.disclosure.figures import FEWEST, count_text
from ehr_pipeline.errors import UserError
from ehr_pipeline.events import build, resolve_lists
from ehr_pipeline.events.mapping import map_by_files
from ehr_pipeline.planning import unrecorded_rows
from ehr_pipeline.planning.findings import Preflight
from ehr_pipeline.records import catalog, dates, events, extract_files, files, ids
from ehr_pipeline.records.kinds import EventKind, PatientKind
from ehr_pipeline.records.settings import Limits
from ehr_pipeline.study.settings import Study
from ehr_pipeline.tables.drop_reasons import remedy
from ehr_pipeline.tasks import study_rules
from ehr_pipeline.terminology.spelling import normalise_codes
from ehr_pipeline.work.progress import Progress

LARGEST, BLOCK = 1 << 25, 1 << 22
"""Extracts are read only if all together have at most LARGEST bytes; they are read in blocks of BLOCK bytes."""
ID_DIFFERENCES = {
    "leading zeros": pl.col("patient").str.strip_chars_start("0"),
    "upper and lower case": pl.col("patient").str.to_lowercase(),
}
"""How the ids of the same patients often differ between files, each with an expression that removes the difference."""
LEAST_EXPLAINED = 0.5
"""Share of the unknown ids that such a difference must explain to be reported."""


@dataclass
class Extracts:
    """Patients and events of the extracts."""

    people: set[str] = field(default_factory=set)
    """Patients with a date of birth."""
    events: list[pl.DataFrame] = field(default_factory=list)
    """Blocks of patient, day and code. A code of a local system begins with the name of the system."""

    def count(self) -> tuple[int, pl.DataFrame]:
        """Return the number of patients with a birth date and an event, and the number of patient-days with each code."""
        if not self.events:
            return 0, pl.DataFrame(schema={"code": pl.String, "len": pl.UInt32})
        people = pl.Series("patient", sorted(self.people), dtype=pl.String)
        held = pl.concat(self.events).filter(pl.col("code") != "", pl.col("patient").is_in(people.implode()))
        spelled = held.select(pl.col("code").unique()).with_columns(spelled=normalise_codes(pl.col("code")))
        held = held.join(spelled, on="code").select("patient", "day", code="spelled").unique()
        return held["patient"].n_unique(), held.group_by("code").len()


def look(study: Study, findings: Preflight) -> None:
    """Report problems that would stop a run, unless the files are too large, or problems were found before."""
    landing = Path(study.records.landing)
    extracts = catalog.extracts_in(landing)
    if findings.problems or not extracts:
        return
    try:
        held = read(
            study, [landing / name for name in (extracts[-1:] if study.records.mode == "snapshot" else extracts)]
        )
    except (UserError, OSError, pl.exceptions.PolarsError):
        return  # what cannot be read is reported elsewhere
    if held is None:
        return
    unknown, stops = _unknown_patients(held, study.records.limits)
    findings.warnings += unknown
    if stops:
        return  # everything else follows from it
    patients, codes = held.count()
    _clusters(study, findings, patients)
    _vocabulary(study, findings, codes)
    _test_side(study, findings, patients)
    _listed(study, findings, codes)


def read(study: Study, folders: list[Path], largest: int | None = None) -> Extracts | None:
    """Read the rows of the extracts; None if the files are larger than `largest` bytes (LARGEST)."""
    chosen = [
        (path, kind)
        for folder in folders
        for tree in [extract_files.tree_of(folder, study.records)]
        for kind in study.records.kinds
        if isinstance(kind, EventKind | PatientKind)
        and kind.where not in extract_files.absent(tree, study.records.kinds)
        for path in files.find(tree, kind)
    ]
    if sum(path.stat().st_size * (5 if path.suffix == ".gz" else 1) for path, _ in chosen) > (largest or LARGEST):
        return None
    held = Extracts()
    for path, kind in chosen:
        for split in files.read(path, kind, block_bytes=BLOCK, progress=Progress(path.name, 1)):
            rows, _ = kind.adapted(split().rows)
            if isinstance(kind, EventKind):
                held.events.append(_events(rows, kind))
            elif births := [name for name in ("birth_date", "birth_year") if name in rows.columns]:
                born = rows.filter(pl.any_horizontal(pl.col(births).str.strip_chars() != ""))
                held.people |= set(born.select(ids.whole(pl.col("patient").str.strip_chars())).to_series())
    return held


def _events(rows: pl.DataFrame, kind: EventKind) -> pl.DataFrame:
    plain = events.with_plain_codes(rows, kind.files)
    code = pl.col("code").str.strip_chars()
    return plain.select(
        ids.whole(pl.col("patient").str.strip_chars()),
        day=dates.parse(pl.col("date").cast(pl.String).str.strip_chars(), kind.files.date_formats),
        code=pl.when(code != "").then(pl.lit(events.prefix(kind.files.code_system)) + code).otherwise(code),
    )


def _unknown_patients(held: Extracts, limits: Limits) -> tuple[list[str], bool]:
    """Return a message if a run would stop because of events of patients without a patient row, or if most ids of such patients are
    spelled in another way in the patient files; and whether a run would stop."""
    if not held.events:
        return [], False
    rows = pl.concat(each.select("patient") for each in held.events).filter(pl.col("patient") != "")
    people = pl.DataFrame({"patient": sorted(held.people)}, schema={"patient": pl.String})
    unknown = rows.join(people, on="patient", how="anti")
    if unknown.height < FEWEST:
        return [], False
    stops = unknown.height >= limits.rejected_error * rows.height
    alike = [
        what
        for what, plainly in ID_DIFFERENCES.items()
        if unknown.join(people, on=plainly, how="semi").height > unknown.height * LEAST_EXPLAINED
    ]
    if not stops and not alike:
        return [], False
    text = (
        f"{count_text(unknown.height)} of {count_text(rows.height)} rows of events belong to patients without a"
        " usable patient row"
        + (
            f". A run stops at {limits.rejected_error:.0%} or more (records.limits.rejected_error)"
            if stops
            else ", and are rejected (unknown_patient)"
        )
        + f": {remedy('unknown_patient')}."
    )
    return [
        text + "".join(f" Most of these ids differ from an id in the patient files only in {what}." for what in alike)
    ], stops


def _clusters(study: Study, findings: Preflight, patients: int) -> None:
    most = most_clusters(patients)
    if study.embeddings.cohort and isinstance(study.clusters.n, int) and patients < max(study.clusters.n, 3):
        findings.warnings.append(
            f"clusters.n is {study.clusters.n}, but the extracts contain only {count_text(patients)} patients with a birth and an"
            " event." + (f" Set it to at most {most}." if most else " That is too few for clusters.")
        )


def _vocabulary(study: Study, findings: Preflight, codes: pl.DataFrame) -> None:
    settings = study.vocabulary
    often = codes.filter(pl.col("len") >= settings.min_appearances).height
    if often >= settings.min_size:
        return
    ranked = codes["len"].sort(descending=True)
    if len(ranked) >= settings.min_size:
        cure = f"Set vocabulary.min_appearances to at most {ranked[settings.min_size - 1]}"
    else:
        cure = f"The extracts contain only {len(ranked):,} codes. Lower vocabulary.min_size"
    findings.warnings.append(
        f"only {often:,} codes appear at least {settings.min_appearances} times (vocabulary.min_appearances), but the vocabulary"
        f" needs at least {settings.min_size} concepts (vocabulary.min_size). {cure}."
    )


def _test_side(study: Study, findings: Preflight, patients: int) -> None:
    """Say how many patients the tasks are judged on."""
    share = study.patients.split.test_share
    if not study.tasks.any or not share:
        return
    of = round(share * patients)
    setting = f"patients.split.test_share = {share:g}"
    text = f"tasks: {count_text(of)} of {count_text(patients)} patients are in the test set ({setting})"
    if of < FEWEST_CASES:
        findings.warnings.append(
            f"{text}, but a task needs {FEWEST_CASES} cases there. Raise this share, or use more patients."
        )
    else:
        findings.facts.append(f"{text}; to be scored, a task needs {FEWEST_CASES} cases there")


def _without(where: str) -> str:
    """Return the consequence if no code of a list is recorded."""
    consequences = {
        "outcome": "the task has no cases",
        "entry": "the task has no patients at risk",
        "exclude": "the list excludes no patient from the task",
        "death": "no death is found",
    }
    return consequences.get(where.rpartition(".")[2], "this list matches no patient")


def _listed(study: Study, findings: Preflight, codes: pl.DataFrame) -> None:
    """Report lists of the cohort and of tasks of which no code is recorded. Of other lists, report rows with unrecorded codes."""
    named = lists.cohort(study) | study_rules.lists(study.tasks)
    if not named or not codes.height:
        return
    if sum(path.stat().st_size for path in build.inputs(study.events)) > lists.LARGEST:
        return
    recorded = codes["code"]
    mapped = map_by_files(recorded, study.events).select("concept").drop_nulls()["concept"]
    known = set(recorded) | set(mapped)
    resolved = resolve_lists.resolve({where: Path(path) for where, path in named.items()}, study.events)
    empty = [
        where
        for where, rows in resolved.items()
        if not known & (resolve_lists.concepts(rows) | {row.row.code for row in rows})
    ]
    problem = "the extracts contain no code of this list, so"
    for where, rows in resolved.items():
        if where not in empty:
            for level, text in unrecorded_rows.notes(f"{named[where]} ({where})", rows, set(recorded), known):
                getattr(findings, level).append(text)
    for where in empty:
        place = f"{named[where]} ({where})"
        if wrong := unrecorded_rows.miswritten(resolved[where], set(recorded)):
            findings.warnings.append(unrecorded_rows.warning(place, resolved[where], wrong))
        else:
            findings.warnings.append(
                f"{place}: {problem} {_without(where)}. Compare its codes with those of the event files."
            )
