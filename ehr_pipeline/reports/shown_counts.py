"""Decide how the page shows the counts of all stages. Numbers of patients are either all exact or all rounded, and so are numbers
of events.

Numbers at successive steps are parts of each other. If two of them differ by fewer than the threshold, the difference would reveal
a few patients, so all of them are rounded. The sizes of clusters stay exact, and so does their sum. Numbers slightly larger than
that sum share one text: a rounding boundary next to an exact number would reveal how few patients lie between the two (`Scale`).
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from ehr_pipeline.disclosure.figures import HIDDEN, Guard
from ehr_pipeline.disclosure.kinds import Events, Figure, People, Plain, Share, figures
from ehr_pipeline.disclosure.suppression import Disclosure, not_all
from ehr_pipeline.patients.settings import EVERY_SIDE, TEST, TRAIN, VALIDATION
from ehr_pipeline.records import events_without_patient
from ehr_pipeline.store.artifacts import Artifact
from ehr_pipeline.store.count_kinds import declared
from ehr_pipeline.tables.asset_names import (
    CLUSTERS,
    COHORT,
    DATA_SPLIT,
    MAPPED_EVENTS,
    PATIENT_DATASET,
    PATIENT_EMBEDDINGS,
    RAW_RECORDS,
    VOCABULARY,
)
from ehr_pipeline.tables.drop_reasons import in_words

# What is counted at each stage: (asset, key within its counts or '' for the top level, words).
STAGES: tuple[tuple[str, str, str], ...] = (
    (RAW_RECORDS, "", "event rows read"),
    (RAW_RECORDS, "patients", "patient rows read"),
    (MAPPED_EVENTS, "", "events mapped"),
    (VOCABULARY, "", "concepts kept"),
    (VOCABULARY, "events", "events of kept concepts"),
    (PATIENT_DATASET, "", "events in the patient data set"),
    (PATIENT_DATASET, "visits", "visits in the patient data set"),
    (PATIENT_DATASET, "patients", "patients in the patient data set"),
    (COHORT, "", "patients in the cohort"),
    (PATIENT_EMBEDDINGS, "", "patients embedded"),
    (CLUSTERS, "", "patients in clusters"),
)
REPEATS = "collapsed as repeats"
Lost = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Scale:
    """How numbers of one kind are shown on the page: all of them exactly, or all of them rounded."""

    disclosure: Disclosure
    rounded: bool
    exact: int | None = None
    """The sum of the cluster sizes that are shown exactly; None for numbers of events."""
    hidden: int = 0
    """How many clusters have a hidden size."""
    tight: frozenset[tuple[int, int]] = frozenset()
    """Pairs of successive numbers whose difference is not shown, not even as a bound (`_tight`)."""

    def __call__(self, number: int) -> str:
        """Return a number as text: '1,234', 'about 1,230', '<10'; '>1,233' if it is slightly more than an exact 1,234."""
        if not self.rounded or self.disclosure.below == 1 or self.disclosure.small(number):
            return self.disclosure.show(number)
        if not self.near(number):
            return self.disclosure.about(number)
        exact = self.exact or 0
        if self.hidden:
            return f">{exact:,}"
        return f"{exact:,}" if number == exact else f">{exact - 1:,}"

    def near(self, number: int) -> bool:
        """Return whether a number is so slightly above the exact sum that only few patients lie between the two."""
        return self.rounded and self.exact is not None and self.exact <= number <= self.end

    @property
    def end(self) -> int:
        """The largest number that is shown as if it were the exact sum: each hidden cluster, and each of two steps, may add fewer
        patients than the threshold."""
        return self.disclosure.around((self.exact or 0) + (self.hidden + 2) * self.disclosure.below)[1]

    def ends(self, number: int) -> tuple[int, int]:
        """Return the smallest and the largest number that would be shown by the same text."""
        if not self.rounded:
            return number, number
        if not self.near(number):
            return self.disclosure.around(number)
        exact = self.exact or 0
        return (exact, exact) if number == exact and not self.hidden else (exact, self.end)

    def difference(self, more: int, less: int) -> str:
        """Return the difference of two numbers as text; if rounded, a range that follows from their texts."""
        lost = more - less
        if (more, less) in self.tight:
            return HIDDEN
        if not self.rounded or not lost or (self.disclosure.small(lost) and self.near(more) == self.near(less)):
            return self(lost)
        low, high = self.ends(more)[0] - self._most(less), self._most(more) - self.ends(less)[0]
        return f"{low:,}–{high:,}" if low > self.disclosure.below else f"<{high + 1:,}"

    def _most(self, number: int) -> int:
        return self.end if self.near(number) else self.ends(number)[1]

    def share(self, part: int, of: int) -> str:
        """Return a share as text, computed from the numbers as shown, so that it reveals no more than they do.

        It has one decimal; a smaller share is given to its first digit that is not zero: '0.006 %'; a larger one is '>99.9 %'.
        """
        if not self.rounded:
            text = self.disclosure.share(part, of)
        else:
            shown = Guard(self.disclosure.below).number(Share(Events(part), Events(of)))
            text = HIDDEN if shown is None or self.near(part) else f"{100 * shown:.1f} %"
            text = not_all(text, self.disclosure.rounded(part), self.disclosure.rounded(of))
        if not part or text != f"{0:.1f} %":
            return text
        if self.rounded:  # from the numbers as shown, here as well
            part, of = self.disclosure.rounded(part), self.disclosure.rounded(of)
        return f"{np.format_float_positional(100 * part / of, precision=1, fractional=False, trim='-')} %"


@dataclass(frozen=True)
class StageCounts:
    """The counts of all stages, and how they are shown."""

    counts: Mapping[str, dict[str, Any]]
    """Counts by asset."""
    figures: Mapping[str, dict[str, Any]]
    """The same counts as figures, which know what they count."""
    disclosure: Disclosure
    person: Scale
    """How a number of patients is shown."""
    event: Scale
    """How a number of events is shown."""

    @staticmethod
    def of(counts: Mapping[str, dict[str, Any]], cluster_sizes: list[int], disclosure: Disclosure) -> "StageCounts":
        """Combine the counts with the rules by which they must be shown."""
        assets = {*(stage[0] for stage in STAGES), DATA_SPLIT}
        found = {asset: figures(counts[asset], declared(asset)) for asset in assets}
        raw, dataset, cohort = counts[RAW_RECORDS], counts[PATIENT_DATASET], counts[COHORT]
        people, first = dataset["patients"], raw["patients"]
        steps = [first["rows_in"], first["kept"], people["rows_in"], people["kept"], cohort["kept"]]
        steps += [counts[PATIENT_EMBEDDINGS]["kept"], counts[CLUSTERS]["kept"]]
        lost = [*_lost(first), *_lost(people), *_lost(cohort), *cohort["by_disease"].values(), *cluster_sizes]
        split = counts[DATA_SPLIT]
        lost += [*_lost(split), split[TRAIN], split[VALIDATION], *on_sides(counts).values()]
        rounded = any(map(disclosure.small, lost)) or disclosure.nested_need_rounding(steps)
        small = [size for size in cluster_sizes if disclosure.small(size)]
        exact = counts[CLUSTERS]["kept"] - sum(small)
        person = Scale(disclosure, rounded, exact, len(small), _tight(steps, disclosure) if rounded else frozenset())
        added, mapped = counts[MAPPED_EVENTS].get("added", 0), counts[MAPPED_EVENTS]["kept"]
        before = [raw["rows_in"], raw["kept"], mapped - added]
        after = [mapped, counts[VOCABULARY]["events"]["kept"], dataset["kept"]]
        # Reasons with few rows are merged, so only the loss of a whole step can be small. But of the events of the data
        # set, the table and the diagram show different parts.
        few = any(map(disclosure.nested_need_rounding, (before, after))) or disclosure.small(added)
        parts = [*found[PATIENT_DATASET]["dropped"].values(), Events(dataset.get("collapsed", 0))]
        of_few = any(Guard(disclosure.below).hidden(part) for part in parts)
        return StageCounts(counts, found, disclosure, person, Scale(disclosure, few or of_few))

    @property
    def rounded(self) -> bool:
        """Whether numbers of patients are rounded."""
        return self.person.rounded

    def shown(self, figure: Figure) -> str:
        """Return a figure as text."""
        if isinstance(figure, People):
            return self.person(figure.number)
        if isinstance(figure, Events):
            people = figure.people or 0
            return HIDDEN if figure.number and self.disclosure.small(people) else self.event(figure.number)
        assert isinstance(figure, Plain)
        return f"{figure.number:,}"

    def lost(self, dropped: Mapping[str, Figure], collapsed: int = 0) -> Lost:
        """Return what was dropped, by reason in words; reasons that must not be shown alone are merged.

        `collapsed` rows count as one more reason. Table and diagram show the same parts.
        """
        if dropped and all(isinstance(figure, Plain) for figure in dropped.values()):
            return tuple((in_words(reason), self.shown(figure)) for reason, figure in dropped.items())
        kind = Events if any(isinstance(figure, Events) for figure in dropped.values()) else People
        named: dict[str, Figure] = {REPEATS: kind(collapsed)} if collapsed else {}
        named |= {in_words(reason, isinstance(figure, People)): figure for reason, figure in dropped.items()}
        joined = Guard(self.disclosure.below).joined(named)
        return tuple((" or ".join(names), self.shown(figure)) for names, figure in joined)


def on_sides(counts: Mapping[str, dict[str, Any]]) -> dict[str, int]:
    """Return the number of patients in each set, if the split has a test set; otherwise an empty mapping."""
    split = counts[DATA_SPLIT]
    return {side: split[side] for side in EVERY_SIDE} if TEST in split else {}


def _tight(steps: list[int], disclosure: Disclosure) -> frozenset[tuple[int, int]]:
    """Return pairs of successive numbers that differ by few, next to another such pair: the bounds of both differences would narrow
    each other."""
    differing = [pair for pair in pairwise(steps) if pair[0] != pair[1]]
    few = [pair for pair in differing if disclosure.small(pair[0] - pair[1])]
    return frozenset(pair for two in pairwise(differing) if {*two} <= {*few} for pair in two)


def _lost(counts: Mapping[str, Any]) -> list[int]:
    """Return the numbers that a stage dropped, one for each reason, and the number that it collapsed."""
    return [*counts.get("dropped", {}).values(), counts.get("collapsed", 0)]


def totals(records: list[Artifact], catalog: Mapping[str, Any]) -> dict[str, Any]:
    """Return the counts of raw records over all extracts. Events that were set aside count by what became of them (counts of the
    `catalog`)."""
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
        dropped.subtract({events_without_patient.UNKNOWN: catalog["taken_up"]})
        dropped.update(catalog["dropped"])
        total |= {"kept": catalog["kept"], "dropped": {reason: n for reason, n in dropped.items() if n}}
        total["collapsed"] += catalog["collapsed"]
    return total
