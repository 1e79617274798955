"""Checks of the data: encoding, share of mapped events, vocabulary, token ids, split."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ehr_pipeline.checks.model import UNEXPECTED, Result, check
from ehr_pipeline.disclosure.figures import Guard, count_text
from ehr_pipeline.disclosure.kinds import Events, Figure, People, Plain, Score, Share
from ehr_pipeline.events.coverage import are_snomed
from ehr_pipeline.events.coverage import read as read_coverage
from ehr_pipeline.patients.identical_records import count_identical
from ehr_pipeline.patients.settings import EVERY_SIDE, LEARNED_FROM
from ehr_pipeline.records.sources.meds import MODIFIED_SYSTEM
from ehr_pipeline.store.artifacts import Artifact, Store
from ehr_pipeline.study.settings import Study
from ehr_pipeline.tables import schemas
from ehr_pipeline.tables.asset_names import PATIENT_DATASET, VOCABULARY
from ehr_pipeline.vocabulary.table import Vocabulary

CUI = re.compile(r"C[0-9]{7}")
UNTYPED_WARNING = 0.05
"""A larger share of concepts without a semantic type is a warning, since a complete MRSTY gives every UMLS concept a type."""

NEVER_KEPT = ("description", "read", "bad_check_digit")
"""Kinds of codes that do not identify a concept unless a file of `[events]` translates them."""


@check(blocking=False)
def patients_decodable(artifact: Artifact, store: Store, study: Study) -> Result:
    """The texts in the patient files can be decoded with the encoding in the settings."""
    texts: dict[str, int] = artifact.counts.get("undecodable_values", {})
    if not texts:
        return True, "every value of the patient files could be decoded", {}
    listed = ", ".join(
        f"{place} ({count_text(number, study.reports.suppress_below)})" for place, number in texts.items()
    )
    return (
        False,
        f"some values could not be decoded with the encoding in the settings, and contain '\ufffd' instead: {listed}. Set"
        " `encoding` of these files to the encoding in which they were written, such as 'latin-1', or save them as UTF-8.",
        {"undecodable_values": Events(sum(texts.values()))},
    )


@check(blocking=False)
def patients_consistent(artifact: Artifact, store: Store, study: Study) -> Result:
    """The rows of one patient agree, and months and days of birth can be read."""
    counted = artifact.counts["patients"]
    differing, parts = counted.get("differing", {}), counted.get("unusable_birth_parts", 0)
    problems = list(contradictions(differing, study.reports.suppress_below))
    if parts:
        problems.append(
            f"{count_text(parts, study.reports.suppress_below)} months or days of birth are neither empty nor valid numbers, so"
            " only the year or month of these births is known"
        )
    message = "; ".join(problems) or "the rows of each patient agree, and all births could be read"
    figures: dict[str, Figure] = {f"differing_{name}": People(number) for name, number in differing.items()}
    return not problems, message, figures | {"unusable_birth_parts": People(parts)}


def contradictions(differing: Mapping[str, int], below: int) -> Iterator[str]:
    """Yield, for each column in which rows of one patient differ, a text: how many patients, and what may be the cause."""
    dates = {name: number for name, number in differing.items() if name in ("birth", *schemas.DATED)}
    texts = {name: number for name, number in differing.items() if name not in dates}
    for meant, found in (("one value is kept", dates), ("the values are treated as unknown", texts)):
        if found:
            listed = ", ".join(f"{name} ({count_text(number, below)})" for name, number in found.items())
            yield f"some patients have rows with different values; {meant}: {listed}"
    if "birth" in differing:
        yield "if births differ, one id may belong to several people: check how the ids were exported"


@check()
def mapping_coverage(artifact: Artifact, store: Store, study: Study) -> Result:
    """Enough of the events are mapped, or kept as separate concepts (events.coverage_floor).

    If unmapped events are kept, a wrong terminology file could go unnoticed. So among the codes that the UMLS or a dictionary
    should contain, this share must be mapped.
    """
    report = read_coverage(artifact.path)
    share, kept = artifact.counts["coverage_of_events"], report["kept_events"] / max(report["events"], 1)
    floor, worst = study.events.coverage_floor, report["by_namespace"]
    events = report["events"]
    whole, guard = Events(events), Guard(study.reports.suppress_below)

    def text(part: int) -> str:
        return guard.percent(Share(Events(part), whole))

    lost = ", ".join(
        f"{name} {text(row['events'] - row['mapped_events'] - row['kept_events'])}"
        for name, row in list(worst.items())[:3]
    )
    message = (
        f"{guard.percent(Share.of(share, whole))} of events are mapped; {text(report['kept_events'])} are kept unmapped"
        f" (events.coverage_floor = {floor:.1%}); largest losses, in % of all events: {lost}"
    )
    if kept and any(
        name in NEVER_KEPT and row["events"] > row["mapped_events"] + row["kept_events"] for name, row in worst.items()
    ):
        message += (
            " (description ids, Read codes and mistyped codes do not identify concepts; they are dropped even if unmapped codes"
            " are kept)"
        )
    if share + kept < floor:
        message += (
            ". Check that events.mrconso is complete and that the codes are SNOMED codes; keep codes that the UMLS lacks as"
            " separate concepts (events.unmapped = 'keep'); or lower events.coverage_floor"
        )
    problems = list(_hidden(report, study)) if kept else []
    figures: dict[str, Figure] = {
        "coverage_of_events": Share.of(share, whole),
        "coverage_of_codes": Score(artifact.counts["coverage_of_codes"]),
    }
    return share + kept >= floor and not problems, "; ".join([message, *problems]), figures


def _hidden(report: dict[str, Any], study: Study) -> Iterator[str]:
    """Yield messages about codes that are kept unmapped although a table in the settings should map them."""
    international = report["by_namespace"].get("international")
    if study.events.mrconso and international and international["events"]:
        share = international["mapped_events"] / international["events"]
        if share < study.events.coverage_floor:
            mapped = Share(Events(international["mapped_events"]), Events(international["events"]))
            yield (
                "events.mrconso should contain all international SNOMED codes, but only"
                f" {Guard(study.reports.suppress_below).percent(mapped)} of the events with such codes are mapped. Check that it"
                " is the right file, and that it is not truncated"
            )
    for system in study.events.dictionaries:
        row = report.get("systems", {}).get(system)
        if row and row["events"] and not row["translated"]:
            yield (
                f"no event of the system {system!r} was found in events.dictionaries.{system}. Compare its column of codes with"
                " the codes in the records"
            )


@check(blocking=False, applies=lambda study: study.records.source == "meds")
def snomed_recognised(artifact: Artifact, store: Store, study: Study) -> Result:
    """Codes of other systems do not look like SNOMED ids, and no SNOMED id has a modifier."""
    systems = read_coverage(artifact.path).get("systems", {})
    alike = {name: row for name, row in systems.items() if name not in study.events.dictionaries and are_snomed(row)}
    events = sum(row["events"] for row in alike.values())
    modified = systems.get(MODIFIED_SYSTEM, {}).get("events", 0)
    messages = []
    if alike:
        messages.append(
            f"{count_text(events, study.reports.suppress_below)} events have codes of other systems that look like SNOMED ids"
            " (with correct check digits), but are not mapped as SNOMED; `systems` in coverage.json counts them. If they are"
            " SNOMED codes, add their prefix to records.meds.snomed_prefixes"
        )
    if modified:
        messages.append(
            f"{count_text(modified, study.reports.suppress_below)} events have a SNOMED id with a modifier, such as //NEGATED. They"
            f" are not events of this id: each is a code of its own, {MODIFIED_SYSTEM}:id//modifier. Where a modifier does not"
            " change the meaning, map such codes in events.overrides"
        )
    message = "; ".join(messages) or "no codes of other systems look like SNOMED ids, and no SNOMED id has a modifier"
    return not messages, message, {"events_like_snomed": Events(events), "events_with_modifier": Events(modified)}


@check(blocking=False)
def lists_understood(artifact: Artifact, store: Store, study: Study) -> Result:
    """Every row of the concept lists matches a concept."""
    lists = artifact.counts.get("lists", {})
    lost = {name: each["rows_without_concept"] for name, each in lists.items() if each["rows_without_concept"]}
    rows = ", ".join(f"{name} {number:,} of {lists[name]['codes']:,}" for name, number in lost.items())
    message = (
        f"some rows of concept lists match no concept, so they match no patients: {rows}. Their codes are neither in"
        " events.mrconso nor in any other file of [events]. Correct these codes, or add a file of [events] that contains them"
    )
    figures: dict[str, Figure] = {f"rows_without_concept {name}": Plain(number) for name, number in lost.items()}
    return not lost, message if lost else "every row of the concept lists matches a concept", figures


@check()
def vocabulary_size(artifact: Artifact, store: Store, study: Study) -> Result:
    """There are enough concepts to train on (vocabulary.min_size)."""
    size, smallest = artifact.counts["kept"], study.vocabulary.min_size
    message = f"{size:,} concepts (vocabulary.min_size = {smallest:,})"
    if size < smallest:
        message += ". Lower vocabulary.min_appearances to keep more concepts, or lower vocabulary.min_size"
    return size >= smallest, message, {"concepts": Plain(size)}


@check(blocking=False)
def semantic_types_known(artifact: Artifact, store: Store, study: Study) -> Result:
    """Almost all UMLS concepts have a semantic type."""
    of_umls = [one for one in Vocabulary.read(artifact.path).concepts if CUI.fullmatch(one.concept)]
    untyped = sum(not one.semantic_types for one in of_umls)
    share = untyped / max(len(of_umls), 1)
    return (
        share < UNTYPED_WARNING,
        f"{untyped:,} of {len(of_umls):,} UMLS concepts have no semantic type, so filters by type do not find them. Check that"
        " vocabulary.mrsty is complete and from the same release as events.mrconso",
        {"untyped": Plain(untyped), "concepts_of_umls": Plain(len(of_umls))},
    )


@check(blocking=False, applies=lambda study: study.vocabulary.min_patients > 0)
def concepts_of_many_patients(artifact: Artifact, store: Store, study: Study) -> Result:
    """At least reports.suppress_below patients have each concept, so that a model with this vocabulary may be shared."""
    below, concepts = study.reports.suppress_below, Vocabulary.read(artifact.path)
    few = len(concepts.concepts) - len(concepts.of_patients(below))
    message = f"{few:,} concepts have fewer than {below} patients"
    if few:
        message += (
            ". A model trained with this vocabulary contains the names of these concepts, so it cannot be shared. If you want to"
            f" share a model, set vocabulary.min_patients = {max(below, study.vocabulary.min_patients + 1)} before you train it."
            " Changing this setting starts a new vocabulary."
        )
    return not few, message, {"concepts_of_few": Plain(few)}


@check()
def tokens_in_vocabulary(artifact: Artifact, store: Store, study: Study) -> Result:
    """Every token id in the data set belongs to a concept of the vocabulary."""
    size = store.current(VOCABULARY).counts["kept"]
    outside = 0
    for path in artifact.files("patients"):
        tokens = (
            schemas.read(path, ["visits"])
            .column("visits")
            .combine_chunks()
            .flatten()
            .field("concepts")
            .flatten()
            .to_numpy()
        )
        outside += int(((tokens < 5) | (tokens >= 5 + size)).sum())
    return (
        not outside,
        f"{count_text(outside, study.reports.suppress_below)} token ids are outside the vocabulary{UNEXPECTED if outside else ''}",
        {"outside": Events(outside)},
    )


@check()
def no_patient_on_both_sides(artifact: Artifact, store: Store, study: Study) -> Result:
    """Each patient is in one set of the split, and the sets used for training have patients."""
    dataset = store.intact(PATIENT_DATASET)
    seen, twice, misplaced = {side: 0 for side in EVERY_SIDE if side in artifact.counts}, 0, 0
    for path in artifact.files("split"):
        table = schemas.read(path)
        ids, sides = table.column("patient_id").to_pylist(), table.column("side").to_pylist()
        twice += len(ids) - len(set(ids))  # each patient is in one bucket, so different shards share no patient
        misplaced += (
            ids != schemas.read(dataset.file(f"patients/{path.name}"), ["patient_id"]).column("patient_id").to_pylist()
        )
        for side in seen:
            seen[side] += sides.count(side)
    learned_from = all(seen.get(side) for side in LEARNED_FROM)
    whole = not twice and not misplaced and sum(seen.values()) == artifact.counts["kept"]
    problem = ". The training and validation sets must not be empty: change patients.split" if whole else UNEXPECTED
    passed = whole and learned_from
    return (
        passed,
        f"{count_text(twice, study.reports.suppress_below)} patients are in more than one set of the split; {misplaced} shards do"
        f" not match the data set{'' if passed else problem}",
        {side: People(number) for side, number in seen.items()},
    )


@check(blocking=False)
def no_record_on_two_sides(artifact: Artifact, store: Store, study: Study) -> Result:
    """No record has two ids in different sets of the split: the encoder would have seen the record of a test patient."""
    names = sorted(path.name for path in artifact.files("split"))
    numbers = {side: number for number, side in enumerate(EVERY_SIDE)}
    sides = []
    for name in names:
        column = schemas.read(artifact.file(f"split/{name}"), ["side"]).column("side").to_pylist()
        sides.append(np.array([numbers[side] for side in column], np.int8))
    dataset = store.intact(PATIENT_DATASET)
    found = count_identical([dataset.file(f"patients/{name}") for name in names], sides)
    below = study.reports.suppress_below
    message = (
        f"{count_text(found.patients, below)} patients have the same record (birth, days and concepts) as another patient; for"
        f" {count_text(found.across, below)} of them, the other patient is in a different set of the split. Either one person has"
        " several ids, or the extract contains rows twice: give each person one id"
        if found.patients
        else "no two patients have the same record"
    )
    return (
        not found.across,
        message,
        {"identical": People(found.patients), "on_two_sides": People(found.across)},
    )
