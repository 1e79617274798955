"""Check, before the work that depends on them, whether the rows of concept lists can match any patient.

An empty cohort is thus reported before training, from the files that map codes or from the mapped events.
"""

from collections.abc import Iterable
from pathlib import Path

import polars as pl

from ehr_pipeline.checks.model import Result, check
from ehr_pipeline.cohort.settings import list_of
from ehr_pipeline.disclosure.kinds import Events
from ehr_pipeline.errors import InputError, UserError
from ehr_pipeline.events import build, resolve_lists
from ehr_pipeline.events.resolve_lists import Ladder, Rows
from ehr_pipeline.events.table import Mapping
from ehr_pipeline.store.artifacts import Artifact, Store
from ehr_pipeline.study.settings import Study
from ehr_pipeline.tasks import study_rules
from ehr_pipeline.terminology import code_lists
from ehr_pipeline.terminology.spelling import normalise_code, normalise_codes

LARGEST = 1 << 28
"""The command `check` reads the files that map codes only if they have at most this many bytes together, which takes seconds."""


def named(study: Study) -> dict[str, str]:
    """Return the concept lists of a study: the path of each file, by the name of its setting."""
    lists = {
        "vocabulary.administrative_concepts": study.vocabulary.administrative_concepts,
        "concepts.concepts_of_interest": study.concepts.concepts_of_interest,
        "embeddings.pooling.concepts": study.embeddings.pooling.concepts,
    }
    lists |= {list_of(number): disease.concepts for number, disease in enumerate(study.embeddings.cohort)}
    lists |= study_rules.lists(study.tasks)
    return {where: path for where, path in lists.items() if path}


def look(study: Study) -> tuple[list[str], list[str], list[str]]:
    """Check the concept lists of a study; return problems, warnings and facts, as sentences."""
    problems, facts, refused = [], [], set[str]()
    systems = _systems(study)
    for where, path in named(study).items():
        try:
            rows = code_lists.read(Path(path), where)
            wrong = resolve_lists.problems(rows, study.events, systems)
        except UserError as error:
            problems.append(str(error))
            continue
        refused |= {where} if wrong else set()
        facts.append(f"concept list {Path(path).name}: {len(rows)} row{'s' if len(rows) > 1 else ''}")
        problems += [f"{path} ({where}), {problem}." for problem in wrong]
    unknown_by_list = {where: text for where, text in _unknown(study).items() if where not in refused}
    unknown = list(unknown_by_list.values())
    if takes_everybody(study) or len(unknown_by_list.keys() | refused & cohort(study).keys()) < len(cohort(study)):
        return problems, unknown, facts
    return problems + unknown, [], facts


def cohort(study: Study) -> dict[str, str]:
    """Return the concept lists of the cohort's diseases: the path of each file, by the name of its setting."""
    return {where: path for where, path in named(study).items() if where.startswith("embeddings.cohort")}


def takes_everybody(study: Study) -> bool:
    """Return whether every patient is in the cohort, because a disease has no list; also True for a study without a cohort."""
    return len(cohort(study)) < max(len(study.embeddings.cohort), 1)


def _unknown(study: Study) -> dict[str, str]:
    """Return messages, by setting, about those lists of the cohort that cannot match any event. Empty if the files that map codes
    are too large or cannot be read."""
    lists = {where: Path(path) for where, path in cohort(study).items()}
    try:
        if sum(path.stat().st_size for path in build.inputs(study.events)) > LARGEST:
            return {}
        rows = resolve_lists.resolve(lists, study.events)
    except (UserError, OSError, pl.exceptions.PolarsError):
        return {}  # unreadable files are reported elsewhere
    why = {where: _why_nobody(found, study) for where, found in rows.items()}
    return {
        where: f"{lists[where]} ({where}): {reason[0]}, so this list matches no patient. {reason[1]}"
        for where, reason in why.items()
        if reason
    }


def _why_nobody(rows: Rows, study: Study) -> tuple[str, str] | None:
    """Return why no row of a list can match any event of the study, and what to do about it; None if a row may match."""
    if not resolve_lists.concepts(rows):
        return (
            f"none of its {len(rows):,} rows matches a concept",
            (
                "Its codes are neither in events.mrconso nor in any other file of [events]. Correct the codes, or add a file of"
                " [events] that contains them."
            ),
        )
    recorded, listed = (
        _systems(study),
        {concept.partition(":")[0] if ":" in concept else "" for concept in resolve_lists.concepts(rows)},
    )
    if not recorded or listed & {*recorded, "", "SCT"}:
        return None
    example = next((name for name in recorded if name != "snomed"), "")
    written = [f"as {example}:{rows[0].row.code.partition(':')[2]}"] if example else []
    written += ["SNOMED codes without a system"] if "snomed" in recorded else []
    return (
        f"its codes belong to {_quoted(listed)}, but the codes in the event files belong to {_quoted(recorded)} (code_system)",
        f"Write the codes as the event files do: {', '.join(written)}.",
    )


def _quoted(names: Iterable[str]) -> str:
    return " and ".join(map(repr, sorted(names)))


def _systems(study: Study) -> tuple[str, ...]:
    """Return the code systems of the event files, if the settings name them for all files; else nothing."""
    systems = dict.fromkeys(kind.files.code_system for kind in study.records.kinds.events)
    known = study.records.source == "delimited" and not study.events.omop_vocabulary and "" not in systems
    return tuple(systems) if known else ()


def events_of(mapped: Artifact, study: Study) -> dict[str, Events]:
    """Count the mapped events, and the patients, that each list of the cohort matches, by disease. Raises InputError for an
    unreadable list.

    The number of patients is a lower bound: the number of those who have the most common listed code. For most lists, the files
    that map codes are not needed: they are read only if none of the list's codes or concepts is recorded exactly as written.
    """
    mapping = Mapping.read(mapped.path, "code", "snomed", "concept", "events", "patients").mapped
    lists = cohort(study)
    rows = {where: code_lists.read(Path(path), where) for where, path in lists.items()}
    concepts = {
        where: {normalise_code(row.cui) for row in each} - {""}
        | set(mapping.filter(_is_of([row.code for row in each]))["concept"])
        for where, each in rows.items()
    }
    recorded = mapping["concept"]
    absent = {where: lists[where] for where, names in concepts.items() if not recorded.is_in(sorted(names)).any()}
    for where, resolved in Ladder(study.events, mapped).resolve(absent).items():
        concepts[where] |= resolve_lists.concepts(resolved)
    names = {list_of(number): each.name for number, each in enumerate(study.embeddings.cohort)}
    counted = {where: mapping.filter(pl.col("concept").is_in(sorted(found))) for where, found in concepts.items()}
    return {names[where]: Events(int(rows["events"].sum()), _patients(rows)) for where, rows in counted.items()}


def _patients(mapping: pl.DataFrame) -> int | None:
    """Return the largest number of patients who have the same code; None if the artifact's version did not count patients."""
    return max(mapping["patients"], default=0) if "patients" in mapping.columns else None


def _is_of(codes: list[str]) -> pl.Expr:
    return normalise_codes(pl.col("code")).is_in([normalise_code(code) for code in codes]) | pl.col("snomed").is_in(
        codes
    )


@check(blocking=False, applies=lambda study: bool(cohort(study)))
def cohort_recorded(artifact: Artifact, store: Store, study: Study) -> Result:
    """Each concept list of the cohort matches events."""
    try:
        events = events_of(artifact, study)
    except InputError as error:
        return False, f"the concept lists of the cohort could not be checked: {error}", {}
    without = ", ".join(name for name, figure in events.items() if not figure.number)
    message = (
        f"the lists of {without} match no event, so they match no patient. Check their codes"
        if without
        else "each list matches events"
    )
    return not without, message, {f"events {name}": figure for name, figure in events.items()}


def refuse_empty_cohort(mapped: Artifact, study: Study) -> None:
    """Raise InputError if no patient can be in the cohort, so that no long work is done in vain."""
    if takes_everybody(study):
        return
    events = events_of(mapped, study)
    if not any(found.number for found in events.values()):
        raise InputError(
            "The cohort would be empty, so no encoder was trained: no event was mapped to a concept of the lists"
            f" ({', '.join(events)}). Check the lists under [[embeddings.cohort]] and the coverage of the mapping. For an encoder"
            " without a cohort, remove these tables."
        )
