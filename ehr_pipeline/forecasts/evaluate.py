"""Evaluate all models on the test set, and make the tables. Axes: P cases, V token ids, G groups of concepts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ehr_pipeline.forecasts import metrics
from ehr_pipeline.forecasts.cases import HORIZONS, JUDGE, NEXT_VISIT, YEAR, Cases
from ehr_pipeline.forecasts.counting import Tables
from ehr_pipeline.forecasts.foresight_metric import Foresight
from ehr_pipeline.forecasts.metrics import (
    LISTS,
    MEASURES,
    NEW,
    NEW_TIMES,
    RECURRING,
    RECURRING_BY,
    Calibration,
    Judged,
    Tally,
)
from ehr_pipeline.forecasts.scores import (
    BASELINES,
    ENCODER,
    FORECAST,
    POPULARITY,
    EncoderStates,
    Mixed,
    blocks,
    by_model,
)
from ehr_pipeline.forecasts.table import Forecasts, Row
from ehr_pipeline.predictions.metrics import interval, times_drawn

if TYPE_CHECKING:
    from scipy.sparse import csr_array

FEWEST = 100
"""A verdict, or the row of a group, needs at least this many patients for whom a concept is to be forecast."""


@dataclass(frozen=True)
class Groups:
    """Groups of concepts: their kinds, names, and members (V, G)."""

    kinds: tuple[str, ...]
    names: tuple[str, ...]
    members: "csr_array"
    of_type: NDArray[np.int64]
    """The index of each concept's first semantic type (V,)."""

    @classmethod
    def of(cls, types: Sequence[tuple[str, ...]], recorded: NDArray[np.integer]) -> "Groups":
        """Make groups from the semantic types of all token ids, and from how often each was recorded (V,) in the training set.

        There are three groups by frequency, each with a third of all records: the most frequent concepts, the next, and the rest.
        """
        from scipy.sparse import csr_array

        every = sorted({one for own in types for one in own})
        pairs = [(token, every.index(one)) for token, own in enumerate(types) for one in own]
        order = np.argsort(-recorded, kind="stable")
        before = (np.cumsum(recorded[order]) - recorded[order]) / max(int(recorded.sum()), 1)
        third = np.empty(len(recorded), np.int64)
        third[order] = np.minimum(before * 3, 2).astype(np.int64)
        pairs += [(token, len(every) + int(number)) for token, number in enumerate(third)]
        row, column = np.array(pairs).T
        names = (*every, "most frequent third", "middle third", "rarest third")
        members = csr_array((np.ones(len(row), np.int32), (row, column)), shape=(len(types), len(names)))
        first = np.array([every.index(own[0]) if own else len(every) for own in types], np.int64)
        return cls(("semantic type",) * len(every) + ("frequency",) * 3, names, members, first)


@dataclass
class Judge:
    """Evaluates one horizon after the other, and collects the rows of the tables."""

    groups: Groups
    bootstrap: int
    seed: int
    rows: dict[str, list[Row]] = field(default_factory=lambda: {name: [] for name in Forecasts.__annotations__})

    def horizon(self, cases: Cases, horizon: str, asked: EncoderStates, tables: Tables, mixed: Mixed | None) -> None:
        """Evaluate all models for one horizon, and add the rows to the tables."""
        tallies = {name: Tally() for name in LISTS}
        calibrations = {name: Calibration() for name in (NEW, RECURRING)}
        foresight = Foresight()
        for block in blocks(cases.on(JUDGE, horizon), len(self.groups.of_type)):
            some = cases.take(block)
            had, scores = by_model(tables, mixed, asked.probability(block), some.stratum, some.history)
            truth = some.targets[horizon].toarray()
            for name, tally in tallies.items():
                tally.add(scores, metrics.allowed_of(name, had), truth, self.groups.members)
            for name, each in calibrations.items() if FORECAST in scores else ():
                each.add(scores[FORECAST], metrics.allowed_of(name, had), truth)
            if horizon == YEAR:
                foresight.add(scores, had, some.targets[NEXT_VISIT].toarray(), truth, self.groups.of_type)
        for name, tally in tallies.items():
            self._list(horizon, name, tally.done())
        for name, each in calibrations.items():
            self.rows["calibration"] += _calibration(horizon, name, each)
        self.rows["foresight"] += [
            {
                "list": status,
                "model": model,
                "patients": foresight.patients[status],
                "labels": foresight.labels[status],
                "share": found / max(foresight.labels[status], 1),
            }
            for (status, model), found in foresight.found.items()
        ]

    def _list(self, horizon: str, name: str, judged: Judged) -> None:
        if not len(judged):
            return
        which = {"horizon": horizon, "list": name}
        counts = {"patients": len(judged), "recorded": int(judged.recorded.sum())}
        times = times_drawn(len(judged), self.bootstrap, self.seed)
        means = {
            (model, measure): (float(values[:, place].mean()), metrics.averages(values[:, place], times))
            for model, values in judged.measures.items()
            for place, measure in enumerate(MEASURES)
        }
        for (model, measure), (value, drawn) in means.items():
            low, high = interval(drawn)
            row = {"model": model, "measure": measure, "value": value, "low": low, "high": high}
            self.rows["forecasts"].append(which | counts | row)
        for model in (ENCODER, FORECAST):
            for baseline in BASELINES if model in judged.measures else ():
                for measure in MEASURES:
                    compared = _compared(means[model, measure], means[baseline, measure])
                    self.rows["differences"].append(
                        which | {"model": model, "baseline": baseline, "measure": measure} | compared
                    )
        best = max(BASELINES, key=lambda each: means[each, "recall"][0])
        model = FORECAST if FORECAST in judged.measures else ENCODER
        if name in (NEW, RECURRING):
            compared = _compared(means[model, "recall"], means[best, "recall"])
            verdict = verdict_of(name, len(judged), compared)
            recalls = {"recall": means[model, "recall"][0], "baseline_recall": means[best, "recall"][0]}
            self.rows["verdicts"].append(
                which | counts | recalls | compared | {"verdict": verdict, "model": model, "baseline": best}
            )
            self.rows["concept_groups"] += [{**which, **row} for row in self._groups(judged, times, model, best)]

    def _groups(self, judged: Judged, times: NDArray[np.uint8], model: str, baseline: str) -> Iterator[Row]:
        for place, (kind, group) in enumerate(zip(self.groups.kinds, self.groups.names, strict=True)):
            recorded = judged.by_group[:, place].astype(float)
            if (recorded > 0).sum() < FEWEST:
                continue
            hits = {each: judged.hits[each][:, place].astype(float) for each in (model, POPULARITY, baseline)}
            found = {each: values.sum() / recorded.sum() for each, values in hits.items()}
            low, high = interval(metrics.averages(hits[model] - hits[baseline], times, recorded))
            yield {
                "kind": kind,
                "group": group,
                "model": model,
                "baseline": baseline,
                "patients": int((recorded > 0).sum()),
                "recorded": int(recorded.sum()),
                "recall": found[model],
                "popularity_recall": found[POPULARITY],
                "baseline_recall": found[baseline],
                "difference": found[model] - found[baseline],
                "low": low,
                "high": high,
            }

    def done(self) -> Forecasts:
        """Return the tables filled so far."""
        return Forecasts(**{name: tuple(rows) for name, rows in self.rows.items()})


def judged_horizons(
    judge: Judge, cases: Cases, asked: dict[str, EncoderStates], tables: dict[str, Tables], mixed: dict[str, Mixed]
) -> Forecasts:
    """Evaluate all models for every horizon, and return the tables."""
    for name in HORIZONS:
        if name in tables:
            judge.horizon(cases, name, asked[name], tables[name], mixed.get(name))
    return judge.done()


def verdict_of(name: str, patients: int, compared: dict[str, float]) -> str:
    """Return the verdict on a list, from the model's recall at ten compared with that of the best baseline.

    'better' requires an interval above zero *and* a difference that a reader would notice: RECURRING_BY, or NEW_TIMES.
    """
    if patients < FEWEST:
        return "too few"
    enough = compared["difference"] >= RECURRING_BY if name == RECURRING else compared["ratio"] >= NEW_TIMES
    if compared["low"] > 0 and enough:
        return "better"
    return "worse" if compared["high"] < 0 else "no better"


def _compared(one: tuple[float, NDArray[np.float64]], other: tuple[float, NDArray[np.float64]]) -> dict[str, float]:
    low, high = interval(one[1] - other[1])
    ratio = one[0] / other[0] if other[0] > 0 else float("nan")
    return {"difference": one[0] - other[0], "low": low, "high": high, "ratio": ratio}


def _calibration(horizon: str, name: str, found: Calibration) -> Iterator[Row]:
    for number, pairs in enumerate(found.pairs.tolist()):
        if pairs:
            yield {
                "horizon": horizon,
                "list": name,
                "bin": number,
                "pairs": pairs,
                "recorded": int(found.recorded[number]),
                "predicted": float(found.predicted[number]) / pairs,
                "observed": float(found.recorded[number]) / pairs,
            }
