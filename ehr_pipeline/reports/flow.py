"""What became of every row, from the raw table to the clusters; and this run beside the published one.

Numbers at successive steps are parts of each other. Where two of them differ by fewer than the threshold, the difference would
tell of a few patients: then all of them are rounded, and those that are hardly more than the last one, which the sizes of clusters
add up to, are told as it is (`Counted.person`). Numbers of events are rounded alike.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ehr_pipeline.disclosure.suppression import Disclosure
from ehr_pipeline.patients.settings import LEARNED_FROM, TEST, TRAIN, UNASSIGNED, VALIDATION
from ehr_pipeline.records import deltas
from ehr_pipeline.reports.diagram import Step
from ehr_pipeline.store.artifacts import Artifact
from ehr_pipeline.tables.drop_reasons import OF_STEPS, in_words

Kind = Literal["patients", "events", "other"]
# What is counted at each stage: (asset, key of the counts or '' for the top, words, what it is).
STAGES: tuple[tuple[str, str, str, Kind], ...] = (
    ("raw_records", "", "event rows read", "events"),
    ("raw_records", "patients", "patient rows read", "patients"),
    ("mapped_events", "", "events mapped", "events"),
    ("vocabulary", "", "concepts kept", "other"),
    ("vocabulary", "events", "events of kept concepts", "events"),
    ("patient_dataset", "", "events in the patient data set", "events"),
    ("patient_dataset", "visits", "visits in the patient data set", "other"),
    ("patient_dataset", "patients", "patients in the patient data set", "patients"),
    ("cohort", "", "patients in the cohort", "patients"),
    ("patient_embeddings", "", "patients embedded", "patients"),
    ("clusters", "", "patients in clusters", "patients"),
)
FEW, HIDDEN = "few_visits", "–"
MOST_NAMED = 5
"""How many of the largest losses are named in a sentence."""
Lost = tuple[tuple[str, str], ...]
Shown = Callable[[int], str]


@dataclass(frozen=True)
class Counted:
    """The counts of all stages, and how numbers of patients are shown."""

    counts: Mapping[str, dict[str, Any]]
    """By asset."""
    disclosure: Disclosure
    person: Shown
    """How a number of patients is shown."""
    event: Shown
    """How a number of events is shown."""
    rounded: bool
    """Whether numbers of patients are rounded."""
    rounded_events: bool
    """Whether numbers of events are rounded."""

    @staticmethod
    def of(counts: Mapping[str, dict[str, Any]], cluster_sizes: list[int], disclosure: Disclosure) -> "Counted":
        """The counts, and how they must be shown."""
        raw, dataset, cohort = counts["raw_records"], counts["patient_dataset"], counts["cohort"]
        people, first = dataset["patients"], raw["patients"]
        steps = [first["rows_in"], first["kept"], people["rows_in"], people["kept"], cohort["kept"]]
        steps += [counts["patient_embeddings"]["kept"], counts["clusters"]["kept"]]
        lost = [*_lost(first), *_lost(people), *_lost(cohort), *cohort["by_disease"].values(), *cluster_sizes]
        person, rounded = _shown(steps, [*lost, *_lost(counts["data_split"]), *on_sides(counts).values()], disclosure)
        events = [raw, counts["mapped_events"], counts["vocabulary"]["events"], dataset]
        # Reasons with few rows are joined with others, so that only what a whole step lost can be small.
        event, rounded_events = _shown([raw["rows_in"], *(stage["kept"] for stage in events)], [], disclosure)
        return Counted(counts, disclosure, person, event, rounded, rounded_events)

    def shown(self, kind: Kind) -> Shown:
        """How numbers of a kind are shown."""
        return {"patients": self.person, "events": self.event, "other": self.disclosure.show}[kind]

    def share(self, number: int, of: int, kind: Kind) -> str:
        """A share that says no more than the two numbers beside it: where they are rounded, it is theirs."""
        if (self.rounded, self.rounded_events)[kind == "events"] and not self.disclosure.small(number):
            number, of = self.disclosure.rounded(number), self.disclosure.rounded(of)
        return self.disclosure.share(number, of)

    @property
    def few_have_few_visits(self) -> bool:
        """Whether so few patients have too few visits that their visits and events would say how few."""
        return self.disclosure.small(self.counts["patient_dataset"]["patients"]["dropped"]["few_visits"])

    def lost(self, dropped: Mapping[str, int], kind: Kind) -> Lost:
        """What was dropped, by reason in words; reasons with few rows are joined."""
        show = self.shown(kind)
        told = {in_words(reason, kind == "patients"): number for reason, number in dropped.items()}
        return tuple((reason, show(number)) for reason, number in self.disclosure.breakdown(told).items())


def on_sides(counts: Mapping[str, dict[str, Any]]) -> dict[str, int]:
    """How many patients are on each side, where there may be some that nothing is learned from; else nothing."""
    split = counts["data_split"]
    return {side: split[side] for side in (*LEARNED_FROM, TEST, UNASSIGNED)} if TEST in split else {}


def sides_in_words(counted: Counted) -> str:
    """How many patients of the data set something was learned from, and how many are left out; empty where all are learned from."""
    sides, person = on_sides(counted.counts), counted.person
    if not sides:
        return ""
    told = (
        f"the network learned from {person(sides[TRAIN])}, and was validated on {person(sides[VALIDATION])};"
        f" {person(sides[TEST])} are on the test side"
    )
    return f"{told}, {person(sides[UNASSIGNED])} on none" if sides[UNASSIGNED] else told


def _lost(counts: Mapping[str, Any]) -> list[int]:
    """What a stage dropped, by reason, and what it collapsed."""
    return [*counts.get("dropped", {}).values(), counts.get("collapsed", 0)]


def _shown(steps: list[int], others: list[int], disclosure: Disclosure) -> tuple[Shown, bool]:
    """How successive numbers are shown, each a part of the one before, beside `others`; and whether that is rounded.

    Who knows the last one exactly learns no more of those just above it than that few were lost.
    """
    if not any(disclosure.small(number) for number in others) and not disclosure.nested_need_rounding(steps):
        return disclosure.show, False
    last = steps[-1]
    return lambda number: disclosure.about(last if last < number < last + disclosure.below else number), True


def rows(counted: Counted) -> Iterator[dict[str, Any]]:
    """One row for each thing counted: asset, words, in, kept, collapsed, dropped by reason."""
    for asset, key, words, kind in STAGES:
        counts = counted.counts[asset][key] if key else counted.counts[asset]
        show, dropped = counted.shown(kind), counts.get("dropped", {})
        hidden = key == "visits" and counted.few_have_few_visits
        yield {
            "asset": asset,
            "words": words,
            "rows_in": HIDDEN if hidden else show(counts["rows_in"]),
            "kept": show(counts["kept"]),
            "collapsed": show(counts["collapsed"]) if counts.get("collapsed") else "",
            "dropped": dict(counted.lost(_without(dropped, FEW) if hidden else dropped, kind)),
        }


def _without(dropped: Mapping[str, int], reason: str) -> dict[str, int]:
    return {name: number for name, number in dropped.items() if name != reason}


def patients(counted: Counted) -> list[Step]:
    """The flow of patients, from the rows of the patient files to the clusters."""
    counts, show = counted.counts, counted.person
    raw, dataset, cohort = counts["raw_records"]["patients"], counts["patient_dataset"]["patients"], counts["cohort"]
    embedded = counts["patient_embeddings"]
    others = dataset["kept"] - cohort["kept"]
    repeats = (("repeats", show(raw["collapsed"])),) if raw.get("collapsed") else ()
    without, sides = counts["patient_dataset"]["patients_without_events"], sides_in_words(counted)
    return [
        Step("rows of patients read", show(raw["rows_in"]), (*repeats, *counted.lost(raw["dropped"], "patients"))),
        Step(
            "patients", show(raw["kept"]), (("without an event of the vocabulary", show(without)),) if without else ()
        ),
        Step("patients with events", show(dataset["rows_in"]), counted.lost(dataset["dropped"], "patients")),
        Step(
            f"patients in the data set: {sides}"
            if sides
            else "patients in the data set, from whose records the network learned",
            show(dataset["kept"]),
            (("who have none of the diseases", show(others)),) if others else (),
        ),
        Step("patients in the cohort", show(cohort["kept"]), counted.lost(embedded["dropped"], "patients")),
        Step("patients in clusters", show(counts["clusters"]["kept"])),
    ]


def events(counted: Counted) -> list[Step]:
    """The flow of events, from the rows of the event files to the data set."""
    counts, show = counted.counts, counted.event
    raw, mapped, vocabulary = counts["raw_records"], counts["mapped_events"], counts["vocabulary"]["events"]
    dataset, lost = counts["patient_dataset"], _lost_events(counted)
    delivered_twice = (("in several extracts", show(mapped["collapsed"])),) if mapped.get("collapsed") else ()
    within = (("repeated within a visit", show(dataset["collapsed"])),) if dataset["collapsed"] else ()
    return [
        Step("rows of events read", show(raw["rows_in"]), counted.lost(lost["raw_records"], "events")),
        Step("usable events", show(raw["kept"]), (*delivered_twice, *counted.lost(lost["mapped_events"], "events"))),
        Step("events mapped to concepts", show(mapped["kept"]), counted.lost(lost["vocabulary"], "events")),
        Step(
            "events of the vocabulary",
            show(vocabulary["kept"]),
            (*within, *counted.lost(lost["patient_dataset"], "events")),
        ),
        Step("events in the data set", show(dataset["kept"])),
    ]


def summary_of_patients(counted: Counted) -> str:
    """How many of the patients are in clusters, and where the others were lost."""
    steps = patients(counted)
    lost = [f"{number} {reason}" for step in steps for reason, number in step.lost]
    told = f"Of {steps[0].number} {steps[0].words}, {steps[-1].number} are in clusters."
    return f"{told} Left out: {', '.join(lost)}." if lost else told


def summary(counted: Counted) -> str:
    """How much of the event rows reaches the data set, and the largest losses on the way, whatever step they belong to."""
    read, kept = counted.counts["raw_records"]["rows_in"], counted.counts["patient_dataset"]["kept"]
    event = counted.event
    share = counted.share(kept, read, "events")
    told = f"Of {event(read)} rows of events, {event(kept)} ({share}) are in the patient data set."
    largest = [
        f"{event(number)} ({counted.share(number, read, 'events')}) {reason}" for reason, number in _largest(counted)
    ]
    if not largest:
        return told
    return f"{told} The largest loss{'es' if len(largest) > 1 else ''}: {'; '.join(largest)}."


def _largest(counted: Counted) -> list[tuple[str, int]]:
    """The reasons, in words, for which most events were lost between the raw table and the data set, each with their number.

    Reasons with few rows are joined within their step, as in the diagram.
    """
    lost: Counter[str] = Counter()
    for dropped in _lost_events(counted).values():
        words = Counter[str]()
        for reason, number in dropped.items():
            words[in_words(reason)] += number
        lost.update(counted.disclosure.breakdown(words))
    named = [
        (reason, number) for reason, number in lost.most_common(MOST_NAMED) if not counted.disclosure.small(number)
    ]
    return [(reason, number) for reason, number in named if number]


def _lost_events(counted: Counted) -> dict[str, Mapping[str, int]]:
    """Events that each step lost, by reason. Those that are outside the vocabulary are counted where it drops their concepts."""
    counts = counted.counts
    dataset = counts["patient_dataset"]["dropped"]
    return {
        "raw_records": counts["raw_records"]["dropped"],
        "mapped_events": counts["mapped_events"]["dropped"],
        "vocabulary": counts["vocabulary"]["events"]["dropped"],
        "patient_dataset": {reason: number for reason, number in dataset.items() if reason != "not_in_vocabulary"},
    }


def reconciled(counted: Counted) -> str:
    """Why the diagram and the table of the stages tell different losses on the way to the cohort, which agree nevertheless."""
    dataset, cohort, show = counted.counts["patient_dataset"]["patients"], counted.counts["cohort"], counted.person
    outside = cohort["dropped"]["not_in_patient_dataset"]
    ends = "Events are followed to the data set; after it, patients are chosen, not events."
    if not outside:
        return ends
    without = dataset["kept"] - cohort["kept"]
    return (
        f"{ends} The table begins the cohort with everybody who has a code of the diseases ({show(cohort['rows_in'])}), of whom"
        f" {show(outside)} are not in the data set; the diagram begins it with the data set ({show(dataset['kept'])}), of whom"
        f" {show(without)} have no such code: both ways {show(cohort['kept'])} are left."
    )


def summary_of_codes(counted: Counted) -> str:
    """Which share of the usable rows has a code without a UMLS concept, and above all of which kind; empty where there is none."""
    mapped, disclosure = counted.counts["mapped_events"], counted.disclosure
    lost = {reason: number for reason, number in mapped["dropped"].items() if reason.startswith("unmapped")}
    total = sum(lost.values())
    if not total or disclosure.small(total):
        return ""
    told = (
        f"{counted.event(total)} of {counted.event(mapped['rows_in'])} usable rows of events"
        f" ({counted.share(total, mapped['rows_in'], 'events')}) have a code without a UMLS concept, and were left out"
    )
    most = max(lost, key=lambda reason: lost[reason])
    if disclosure.small(lost[most]) or disclosure.small(total - lost[most]) or lost[most] == total:
        return f"{told}."
    kind = in_words(most).removesuffix(" without a UMLS concept")
    return f"{told}; above all {kind} ({counted.share(lost[most], mapped['rows_in'], 'events')} of the rows)."


def totals(records: list[Artifact], catalog: Mapping[str, Any]) -> dict[str, Any]:
    """The counts of raw records over all extracts, and of what they set aside by what became of it (`catalog`: its counts)."""
    total: dict[str, Any] = {
        "rows_in": 0,
        "kept": 0,
        "dropped": {},
        "patients": {"rows_in": 0, "kept": 0, "collapsed": 0, "dropped": {}},
    }
    for record in records:
        for into, counts in ((total, record.counts), (total["patients"], record.counts["patients"])):
            for name in ("rows_in", "kept", "collapsed"):
                into[name] = into.get(name, 0) + counts.get(name, 0)
            for reason, number in counts["dropped"].items():
                into["dropped"][reason] = into["dropped"].get(reason, 0) + number
    if catalog.get("taken_up"):
        dropped = Counter(total["dropped"])
        dropped.subtract({deltas.UNKNOWN: catalog["taken_up"]})
        dropped.update(catalog["dropped"])
        total |= {"kept": catalog["kept"], "dropped": {reason: n for reason, n in dropped.items() if n}}
        total["collapsed"] += catalog["collapsed"]
    return total


def published(counted: Counted, metrics: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Rows of (quantity, published, this run). Source: Scienta Lab, January 2026."""
    counts, person, show = counted.counts, counted.person, counted.disclosure.show
    dataset, split = counts["patient_dataset"], counts["data_split"]
    visits, patients = dataset["visits"], dataset["patients"]
    few, large, share = patients["dropped"][FEW], visits["dropped"]["large"], counted.share
    of_visits = counted.disclosure.share(large, visits["rows_in"])
    return [
        ("rows of the raw table", "more than 3 billion", counted.event(counts["raw_records"]["rows_in"])),
        ("codes in the records", "270,000", show(counts["mapped_events"]["codes"])),
        ("concepts kept", "36,058", show(counts["vocabulary"]["kept"])),
        ("visits removed for their size", "0.00005 %", f"{show(large)} ({of_visits})"),
        (
            "patients removed for few visits",
            "about 6,000 (0.2 %)",
            f"{person(few)} ({share(few, patients['rows_in'], 'patients')})",
        ),
        ("patients in the data set", "2,685,031", person(patients["kept"])),
        (
            "validation patients",
            "about 50,000 (2 %)",
            f"{person(split['validation'])} ({share(split['validation'], split['kept'], 'patients')})",
        ),
        *(
            (f"patients that nothing is learned from ({side})", "–", person(number))
            for side, number in on_sides(counts).items()
            if side not in LEARNED_FROM and number
        ),
        ("parameters of the encoder", "12.6 million", f"{metrics['parameters'] / 1e6:.2f} million"),
        ("epochs", "18", str(len(metrics["epochs"]))),
        ("cohort patients", "53,228", person(counts["cohort"]["kept"])),
        ("clusters", "20", str(counts["clusters"]["clusters"])),
    ]


def ladder(coverage: dict[str, Any], counted: Counted) -> Iterator[dict[str, str]]:
    """The steps of the mapping, each with what it mapped, as text; where that is little, the share after it is left out too."""
    for row in coverage["ladder"]:
        yield {
            "step": OF_STEPS.get(row["step"], row["step"]),
            "codes": counted.disclosure.show(row["codes"]),
            "events": counted.event(row["events"]),
            "share": "–" if counted.disclosure.small(row["events"]) else f"{100 * row['events_share_after']:.1f} %",
        }
