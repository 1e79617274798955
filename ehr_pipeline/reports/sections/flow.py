"""The flow of rows from raw table to clusters, with all losses. `shown_counts.StageCounts` decides how numbers are shown."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ehr_pipeline.disclosure.figures import HIDDEN, Guard
from ehr_pipeline.disclosure.kinds import Events, Figure, People
from ehr_pipeline.disclosure.suppression import Disclosure
from ehr_pipeline.drawing import data_stages
from ehr_pipeline.events.coverage import read as read_coverage
from ehr_pipeline.patients.settings import TEST, TRAIN, UNASSIGNED, VALIDATION
from ehr_pipeline.reports import cohort_lists, diagram
from ehr_pipeline.reports.diagram import Step
from ehr_pipeline.reports.findings import Findings
from ehr_pipeline.reports.inputs import embedded
from ehr_pipeline.reports.left_out import People as Patients
from ehr_pipeline.reports.left_out import compare
from ehr_pipeline.reports.shown_counts import REPEATS, STAGES, Lost, StageCounts, on_sides
from ehr_pipeline.reports.statements import flow as say
from ehr_pipeline.reports.statements import left_out
from ehr_pipeline.reports.statements.statement import Statement
from ehr_pipeline.tables.asset_names import (
    CLUSTERS,
    COHORT,
    MAPPED_EVENTS,
    PATIENT_DATASET,
    PATIENT_EMBEDDINGS,
    RAW_RECORDS,
    VOCABULARY,
)
from ehr_pipeline.tables.drop_reasons import OF_STEPS, in_words

MOST_NAMED = 5
"""Number of the largest losses that a sentence lists."""
WIDER = (1, 2, 3, 5, 10)
"""Rounding steps to try for numbers whose sum is shown, in multiples of the threshold."""
OUTSIDE = "not_in_vocabulary"
"""Drop reason, in the data set, of events that the vocabulary has already dropped (there with detailed reasons)."""


def content(findings: Findings) -> dict[str, Any]:
    """Return the flow of patients and events as diagrams and table, the cohort's lists, and the mapping to concepts."""
    artifacts, counted = findings.inputs.artifacts, findings.counted
    coverage, picture = read_coverage(artifacts[MAPPED_EVENTS].path), findings.pictures / "coverage.png"
    data_stages.coverage(picture, coverage["by_namespace"], findings.disclosure.below)
    named = cohort_lists.listed(findings.inputs, findings.disclosure)
    not_embedded = counted.person.difference(
        artifacts[COHORT].counts["kept"], artifacts[PATIENT_EMBEDDINGS].counts["kept"]
    )
    return {
        "lead": [summary(counted), say.sides()],
        "reconciled": reconciled(counted),
        "of_patients": diagram.draw("Flow of patients", patients(counted)),
        "of_events": diagram.draw("Flow of events", events(counted)),
        "rounding": say.rounding(findings.settings.suppress_below, rounded=counted.rounded),
        "flow": list(rows(counted)),
        "cohort": say.cohort(by_disease(counted), not_embedded),
        **_compare_left_out(findings),
        "cases": say.cases(everybody=any(not disease["digest"] for disease in named)),
        "lists": named,
        "no_list": "no list: all patients",
        "codes": [(disease["name"], say.codes(disease)) for disease in named if disease["rows"]],
        "mapped": say.mapped(coverage),
        "mapped_so_far": say.mapped_so_far(coverage),
        "ladder": list(ladder(coverage, counted)),
        "coverage_picture": embedded(picture),
    }


def _compare_left_out(findings: Findings) -> dict[str, Any]:
    """Return how the patients in clusters compare with those who have one of the diseases and are in no cluster."""
    compared = compare(Patients.read(findings.inputs, findings.clusters.ids), findings.disclosure)
    sentences = [in_no_cluster(findings)]
    if findings.counted.counts[COHORT]["rows_in"] != len(findings.clusters.ids):
        sentences.append(
            left_out.differ(
                compared, findings.disclosure.below, int(findings.inputs.settings[PATIENT_DATASET]["min_visits"])
            )
        )
    return {
        "left_out": sentences,
        "compared": list(map(left_out.cells, compared)),
        "compared_explained": left_out.explained(),
    }


def in_no_cluster(findings: Findings) -> Statement:
    """Say how many patients with one of the diseases are in no cluster."""
    person, inside, counts = findings.counted.person, len(findings.clusters.ids), findings.counted.counts
    apart = person.difference(cases := counts[COHORT]["rows_in"], inside)
    return left_out.who(person(cases), apart, nobody=cases == inside, everybody=findings.of_everybody)


def by_disease(counted: StageCounts) -> list[tuple[str, str]]:
    """Return the number of patients by disease as text, rounded so that they and their sum do not narrow each other's range."""
    cohort, disclosure = counted.counts[COHORT], counted.disclosure
    if not counted.rounded or len(cohort["by_disease"]) == 1:
        return [(name, counted.person(number)) for name, number in cohort["by_disease"].items()]
    fewest, most = counted.person.ends(cohort["kept"])
    for step in WIDER:
        rule = Disclosure(step * disclosure.below)
        ends = [rule.around(number) for number in cohort["by_disease"].values()]
        if _stay_wide(ends, fewest, most, disclosure.below):
            if step == 1:
                return [(name, rule.about(number)) for name, number in cohort["by_disease"].items()]
            texts = [f"{low:,}–{high:,}" if low >= rule.below or not high else f"<{high + 1:,}" for low, high in ends]
            return list(zip(cohort["by_disease"], texts, strict=True))
    return [(name, HIDDEN) for name in cohort["by_disease"]]


def _stay_wide(ends: Sequence[tuple[int, int]], fewest: int, most: int, below: int) -> bool:
    """Return whether parts, shown as ranges (`ends`), and their sum (`fewest` to `most`) do not narrow each other's range."""
    least, largest = sum(low for low, _ in ends), sum(high for _, high in ends)
    if least > fewest or largest < most:
        return False
    narrowed = [(max(low, fewest - (largest - high)), min(high, most - (least - low))) for low, high in ends]
    return all(
        high - low >= below // 2 and (own_low >= below or (low <= own_low and high >= below - 1))
        for (low, high), (own_low, _) in zip(narrowed, ends, strict=True)
        if own_low
    )


def rows(counted: StageCounts) -> Iterator[dict[str, Any]]:
    """Yield one row for each of STAGES: asset, words, rows in, kept, collapsed, and dropped by reason."""
    for asset, key, words in STAGES:
        found = counted.figures[asset][key] if key else counted.figures[asset]
        counts = counted.counts[asset][key] if key else counted.counts[asset]
        read, kept, dropped = counts["rows_in"], counts["kept"], found.get("dropped", {})
        if words.startswith("patient"):
            shown = counted.person(read), counted.person(kept)
            all_lost = patients_lost(
                {REPEATS: counts.get("collapsed", 0)} | counts.get("dropped", {}), read, kept, counted
            )
        else:
            shown = counted.shown(found["rows_in"]), counted.shown(found["kept"])
            all_lost = counted.lost(_within(dropped), counts.get("collapsed", 0))
            all_lost += counted.lost({OUTSIDE: dropped[OUTSIDE]}) if OUTSIDE in dropped else ()
        repeats, lost = _split_collapsed(all_lost)
        yield {
            "asset": asset,
            "words": words,
            "rows_in": shown[0],
            "kept": shown[1],
            "collapsed": repeats,
            "dropped": dict(lost),
        }


def patients_lost(dropped: Mapping[str, int], more: int, less: int, counted: StageCounts) -> Lost:
    """Return, by reason, how many patients were lost from one number (`more`) to the next (`less`). A single reason has their
    `difference`."""
    joined = Guard(counted.disclosure.below).joined({in_words(n, True): People(lost) for n, lost in dropped.items()})
    if len(joined) == 1:
        return ((" or ".join(joined[0][0]), counted.person.difference(more, less)),)
    # Several reasons sum to the difference, so they would narrow a small loss before or after this one.
    return tuple((" or ".join(names), HIDDEN if counted.rounded else counted.shown(lost)) for names, lost in joined)


def sides_in_words(counted: StageCounts) -> str:
    """Return how many patients of the data set are in each set of the split, in words; empty if there is no test set."""
    sides, person = on_sides(counted.counts), counted.person
    if not sides:
        return ""
    words = (
        f"{person(sides[TRAIN])} are in the training set, {person(sides[VALIDATION])} in the validation set,"
        f" {person(sides[TEST])} in the test set"
    )
    return f"{words}, {person(sides[UNASSIGNED])} in none of these" if sides[UNASSIGNED] else words


def _within(dropped: Mapping[str, Figure]) -> dict[str, Figure]:
    return {name: figure for name, figure in dropped.items() if name != OUTSIDE}


def _split_collapsed(lost: Lost) -> tuple[str, Lost]:
    """Separate the number of collapsed rows, if it is shown by itself, from the other losses."""
    repeats = next((number for words, number in lost if words == REPEATS), "")
    return repeats, tuple(one for one in lost if one[0] != REPEATS)


def patients(counted: StageCounts) -> list[Step]:
    """Return the flow of patients, from the rows of the patient files to the clusters."""
    counts, show = counted.counts, counted.person
    raw, dataset, cohort = counts[RAW_RECORDS]["patients"], counts[PATIENT_DATASET]["patients"], counts[COHORT]
    embedded, last = counts[PATIENT_EMBEDDINGS], counts[CLUSTERS]["kept"]
    read, sides = {REPEATS: raw.get("collapsed", 0)} | raw["dropped"], sides_in_words(counted)
    return [
        Step(
            "rows of patients read",
            show(raw["rows_in"]),
            tuple(
                (reason.replace(REPEATS, "further rows of the same patients"), number)
                for reason, number in patients_lost(read, raw["rows_in"], raw["kept"], counted)
            ),
        ),
        Step(
            "patients",
            show(raw["kept"]),
            _between("without an event in the vocabulary", raw["kept"], dataset["rows_in"], counted),
        ),
        Step(
            "patients with events",
            show(dataset["rows_in"]),
            patients_lost(dataset["dropped"], dataset["rows_in"], dataset["kept"], counted),
        ),
        Step(
            f"patients in the data set: {sides}"
            if sides
            else "patients in the data set, on whose records the encoder was trained",
            show(dataset["kept"]),
            _between("with none of the diseases", dataset["kept"], cohort["kept"], counted),
        ),
        Step(
            "patients in the cohort",
            show(cohort["kept"]),
            patients_lost(embedded["dropped"], cohort["kept"], last, counted),
        ),
        Step("patients in clusters", show(last)),
    ]


def _between(words: str, more: int, less: int, counted: StageCounts) -> Lost:
    """Return the patients lost from one number (`more`) to the next (`less`), with the reason in `words`; empty without a loss."""
    return ((words, counted.person.difference(more, less)),) if more != less else ()


def events(counted: StageCounts) -> list[Step]:
    """Return the flow of events, from the rows of the event files to the data set."""
    counts, show = counted.counts, counted.event
    raw, mapped, vocabulary = counts[RAW_RECORDS], counts[MAPPED_EVENTS], counts[VOCABULARY]["events"]
    lost = {asset: counted.lost(dropped, collapsed) for asset, (collapsed, dropped) in _lost_events(counted).items()}
    words = {REPEATS: "in several extracts"}
    delivered = tuple((words.get(reason, reason), number) for reason, number in lost[MAPPED_EVENTS])
    within = tuple(
        (reason.replace(REPEATS, "repeated within a visit"), number) for reason, number in lost[PATIENT_DATASET]
    )
    added = mapped.get("added", 0)
    return [
        Step("rows of events read", show(raw["rows_in"]), lost[RAW_RECORDS]),
        Step("usable events", show(raw["kept"]), delivered),
        *([Step("events with a concept, before drugs are divided", show(mapped["kept"] - added))] if added else ()),
        Step("events mapped to concepts", show(mapped["kept"]), lost[VOCABULARY]),
        Step("events in the vocabulary", show(vocabulary["kept"]), within),
        Step("events in the data set", show(counts[PATIENT_DATASET]["kept"])),
    ]


def summary_of_patients(counted: StageCounts) -> str:
    """Return how many of the patients are in clusters, and where the others were lost, in words."""
    steps = patients(counted)
    lost = [f"{number} {reason}" for step in steps for reason, number in step.lost]
    sentence = f"Of {steps[0].number} {steps[0].words}, {steps[-1].number} are in clusters."
    return f"{sentence} Left out: {', '.join(lost)}." if lost else sentence


def summary(counted: StageCounts) -> str:
    """Return how many of the event rows reach the data set, and the largest losses in any step, in words."""
    event, read = counted.event, counted.counts[RAW_RECORDS]["rows_in"]
    largest = [f"{event(number)} ({event.share(number, read)}) {reason}" for reason, number in _largest(counted)]
    if not largest:
        return reached(counted)
    return f"{reached(counted)} Largest loss{'es' if len(largest) > 1 else ''}, in % of all rows: {'; '.join(largest)}."


def reached(counted: StageCounts) -> str:
    """Return how many of the event rows reach the data set, in words."""
    read, kept, event = counted.counts[RAW_RECORDS]["rows_in"], counted.counts[PATIENT_DATASET]["kept"], counted.event
    if counted.counts[MAPPED_EVENTS].get("added"):
        return f"From {event(read)} rows of events, {event(kept)} events are in the data set: one for each ingredient of a drug."
    return f"Of {event(read)} rows of events, {event(kept)} ({event.share(kept, read)}) are in the patient data set."


def _largest(counted: StageCounts) -> list[tuple[str, int]]:
    """Return the reasons for the largest losses of events from raw table to data set, in words, each with its number.

    Reasons with few rows are merged within their step, as in the diagram.
    """
    lost: Counter[str] = Counter()
    guard = Guard(counted.disclosure.below)
    for collapsed, dropped in _lost_events(counted).values():
        words: dict[str, int] = Counter()
        named: dict[str, Figure] = {REPEATS: Events(collapsed)} if collapsed else {}
        named |= {in_words(reason): figure for reason, figure in dropped.items()}
        for names, figure in guard.joined(named):
            if REPEATS not in names and not guard.hidden(figure):
                words[" or ".join(names)] += figure.number
        lost.update(words)
    return lost.most_common(MOST_NAMED)


def _lost_events(counted: StageCounts) -> dict[str, tuple[int, Mapping[str, Figure]]]:
    """For each step, return the number of collapsed events, and the events lost by reason. Events outside the vocabulary count only
    in the step of the vocabulary."""
    places = {RAW_RECORDS: "", MAPPED_EVENTS: "", VOCABULARY: "events", PATIENT_DATASET: ""}
    found: dict[str, tuple[int, Mapping[str, Figure]]] = {}
    for asset, key in places.items():
        counts, kinds = counted.counts[asset], counted.figures[asset]
        if key:
            counts, kinds = counts[key], kinds[key]
        found[asset] = (0 if asset == RAW_RECORDS else counts.get("collapsed", 0), _within(kinds["dropped"]))
    return found


def reconciled(counted: StageCounts) -> str:
    """Explain why the diagram and the table of stages show different losses before the cohort, although both are right."""
    dataset, cohort, show = counted.counts[PATIENT_DATASET]["patients"], counted.counts[COHORT], counted.person
    ends = "This table follows events up to the data set; from there on, patients are selected, not events."
    if not cohort["dropped"]["not_in_patient_dataset"]:
        return ends
    outside = counted.person.difference(cohort["rows_in"], cohort["kept"])
    without = counted.person.difference(dataset["kept"], cohort["kept"])
    return (
        f"{ends} The table and the diagram count the cohort ({show(cohort['kept'])}) in different orders. The table starts with"
        f" all patients who have a code of the diseases ({show(cohort['rows_in'])}); {outside} of them are not in the data set."
        f" The diagram starts with the data set ({show(dataset['kept'])}); {without} of its patients have no such code."
    )


def summary_of_codes(counted: StageCounts) -> str:
    """Return in words the share of usable rows without a UMLS concept, and their main kind of code; empty if few or none."""
    mapped, disclosure = counted.counts[MAPPED_EVENTS], counted.disclosure
    lost = {reason: number for reason, number in mapped["dropped"].items() if reason.startswith("unmapped")}
    total = sum(lost.values())
    if not total or disclosure.small(total):
        return ""
    sentence = (
        f"{counted.event(total)} of {counted.event(mapped['rows_in'])} usable rows of events"
        f" ({counted.event.share(total, mapped['rows_in'])}) have a code without a UMLS concept, and were left out"
    )
    most = max(lost, key=lambda reason: lost[reason])
    if disclosure.small(lost[most]) or disclosure.small(total - lost[most]) or lost[most] == total:
        return f"{sentence}."
    kind = in_words(most).removesuffix(" without a UMLS concept")
    return f"{sentence}; most of them are {kind} ({counted.event.share(lost[most], mapped['rows_in'])} of the usable rows)."


def ladder(coverage: dict[str, Any], counted: StageCounts) -> Iterator[dict[str, str]]:
    """Yield the steps of the mapping, and what each of them mapped, as text. If a step mapped few events, the share after the step
    is hidden."""
    for row in coverage["ladder"]:
        yield {
            "step": OF_STEPS.get(row["step"], row["step"]),
            "codes": counted.disclosure.show(row["codes"]),
            "events": counted.event(row["events"]),
            "share": "–"
            if counted.disclosure.small(row["events"])
            else counted.event.share(round(row["events_share_after"] * coverage["events"]), coverage["events"]),
        }
