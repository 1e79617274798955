"""What can be said of concept lists before the work that depends on them: whether their rows can find anybody.

An empty cohort shows as early as it can be known: in the files that map codes, else in the mapped events, before the training.
"""

from pathlib import Path

import polars as pl

from ehr_pipeline.checks.model import Found
from ehr_pipeline.cohort.settings import list_of
from ehr_pipeline.disclosure.kinds import Events
from ehr_pipeline.errors import InputError, UserError
from ehr_pipeline.events import build, listed
from ehr_pipeline.events.listed import Ladder
from ehr_pipeline.events.table import Mapping
from ehr_pipeline.store.artifacts import Artifact, Store
from ehr_pipeline.study.settings import Study
from ehr_pipeline.terminology import code_lists

LARGEST = 1 << 28
"""Bytes of the files that map codes, up to which `check` reads them: it takes seconds."""


def named(study: Study) -> dict[str, str]:
    """The concept lists of a study: files by the settings that name them."""
    lists = {
        "vocabulary.administrative_concepts": study.vocabulary.administrative_concepts,
        "concepts.concepts_of_interest": study.concepts.concepts_of_interest,
        "embeddings.pooling.concepts": study.embeddings.pooling.concepts,
    }
    lists |= {list_of(number): disease.concepts for number, disease in enumerate(study.embeddings.cohort)}
    return {where: path for where, path in lists.items() if path}


def look(study: Study) -> tuple[list[str], list[str], list[str]]:
    """Problems with the concept lists of a study, warnings, and facts about them."""
    problems, facts = [], []
    for where, path in named(study).items():
        try:
            rows = code_lists.read(Path(path), where)
            wrong = listed.problems(rows, study.events)
        except UserError as error:
            problems.append(str(error))
            continue
        facts.append(f"concept list {Path(path).name}: {len(rows)} rows")
        problems += [f"{path} ({where}), {problem}." for problem in wrong]
    unknown = _unknown(study)
    if takes_everybody(study) or len(unknown) < len(cohort(study)):
        return problems, unknown, facts
    return problems + unknown, [], facts


def cohort(study: Study) -> dict[str, str]:
    """The lists of the diseases of the cohort, by the settings that name them."""
    return {where: path for where, path in named(study).items() if where.startswith("embeddings.cohort")}


def takes_everybody(study: Study) -> bool:
    """Whether the cohort does not depend on lists alone: a disease without one takes every patient, and none is no cohort."""
    return len(cohort(study)) < max(len(study.embeddings.cohort), 1)


def _unknown(study: Study) -> list[str]:
    """The lists of which the files that map codes know no row. Nothing is said where these are large, or cannot be read."""
    lists = {where: Path(path) for where, path in cohort(study).items()}
    try:
        if sum(path.stat().st_size for path in build.inputs(study.events)) > LARGEST:
            return []
        rows = listed.resolve(lists, study.events)
    except (UserError, OSError, pl.exceptions.PolarsError):
        return []  # which is said elsewhere
    return [
        f"{lists[where]} ({where}): none of its {len(found):,} rows stands for a concept, so nobody is in the cohort by it. Its"
        " codes are not in events.mrconso, nor does any other file of [events] lead from them to a concept."
        for where, found in rows.items()
        if not listed.concepts(found)
    ]


def events_of(mapped: Artifact, study: Study) -> dict[str, Events]:
    """The mapped events that each list of the cohort finds, by disease. Raises InputError where the lists cannot be read.

    Of how many patients they are is told by the code that most have: there are no fewer.
    The files that map codes are read only for lists of which no row was recorded as it is written.
    """
    mapping = Mapping.read(mapped.path, "code", "snomed", "concept", "events", "patients").mapped
    lists = cohort(study)
    rows = {where: code_lists.read(Path(path), where) for where, path in lists.items()}
    concepts = {
        where: {row.cui for row in each} - {""} | set(mapping.filter(_is_of([row.code for row in each]))["concept"])
        for where, each in rows.items()
    }
    recorded = mapping["concept"]
    absent = {where: lists[where] for where, names in concepts.items() if not recorded.is_in(sorted(names)).any()}
    for where, resolved in Ladder(study.events, mapped).resolve(absent).items():
        concepts[where] |= listed.concepts(resolved)
    names = {list_of(number): each.name for number, each in enumerate(study.embeddings.cohort)}
    counted = {where: mapping.filter(pl.col("concept").is_in(sorted(found))) for where, found in concepts.items()}
    return {names[where]: Events(int(rows["events"].sum()), _patients(rows)) for where, rows in counted.items()}


def _patients(mapping: pl.DataFrame) -> int | None:
    """How many patients have the code that most of them have; None where an earlier version did not count them."""
    return max(mapping["patients"], default=0) if "patients" in mapping.columns else None


def _is_of(codes: list[str]) -> pl.Expr:
    return pl.col("code").is_in(codes) | pl.col("snomed").is_in(codes)


def recorded(artifact: Artifact, store: Store, study: Study) -> Found:
    """Each list of the cohort finds events."""
    try:
        events = events_of(artifact, study)
    except InputError as error:
        return False, f"what the lists of the cohort find cannot be said: {error}", {}
    without = ", ".join(name for name, found in events.items() if not found.number)
    message = (
        f"no event of the lists of {without}: nobody is in the cohort by them" if without else "each list finds events"
    )
    return not without, message, {f"events {name}": found for name, found in events.items()}


def refuse_empty_cohort(mapped: Artifact, study: Study) -> None:
    """Raise InputError where nobody can be in the cohort, before anything long is done for it."""
    if takes_everybody(study):
        return
    events = events_of(mapped, study)
    if not any(found.number for found in events.values()):
        raise InputError(
            "The cohort would be empty, so no encoder was trained. No event was mapped to a concept of its lists"
            f" ({', '.join(events)}). Check the lists under"
            " [[embeddings.cohort]] and the mapping's coverage. For an encoder without a cohort, leave these tables out."
        )
