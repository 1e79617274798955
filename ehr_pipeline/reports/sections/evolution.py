"""How patients change: a table of their clusters in the first and last window, moves beyond those expected, and a picture."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ehr_pipeline.clusters.many_tests import benjamini_hochberg
from ehr_pipeline.clusters.table import Clusters
from ehr_pipeline.disclosure import tabulate
from ehr_pipeline.disclosure.suppression import Disclosure
from ehr_pipeline.reports import maps, pictures
from ehr_pipeline.reports.findings import Findings
from ehr_pipeline.reports.inputs import embedded
from ehr_pipeline.reports.statements import evolution as say
from ehr_pipeline.tables import align, schemas
from ehr_pipeline.tables.asset_names import PATIENT_TRAJECTORIES
from ehr_pipeline.trajectories.build import FOLDER
from ehr_pipeline.trajectories.transitions import Course, Tested

MAX_Q = 0.05
STEPS = (0.001, 0.01, 0.05)
"""Benjamini-Hochberg values are shown as below one of these. With one count shown, an exact value would reveal the other."""
COUNTED_FROM = {"record": "the first visit", "age": "birth", "calendar": "1900"}


@dataclass(frozen=True)
class Move:
    """A pair of clusters between which more patients moved in one direction than expected of similar patients."""

    left: int
    entered: int
    patients: str
    expected: str
    back: str
    expected_back: str
    q: str


def content(findings: Findings) -> dict[str, Any] | None:
    """Return what changed from window to window; None if records were not divided into windows, or patients into clusters."""
    if findings.inputs.artifacts[PATIENT_TRAJECTORIES].counts["windows"] == "off" or len(findings.numbers) == 1:
        return None
    facts, fewest, verdict = describe(findings), findings.settings.suppress_below, findings.evidence["verdict"]
    cards = {card["number"]: card for card in findings.cards}
    pairs = len(cards) * (len(cards) - 1) // 2
    named = {number: say.named(number, card, verdict) for number, card in cards.items()}
    return {
        "evolution": facts,
        "windows": say.windows(facts),
        "picture_alone": say.picture_alt(facts),
        "picture": say.picture(facts),
        "notes": [
            *say.limits(fewest, by_year=not findings.inputs.shifted_dates),
            *say.tested(facts["tests"] if facts["moves"] else 0, pairs, MAX_Q),
        ],
        "moves": [(named[move.left], named[move.entered], move) for move in facts["moves"]],
        "no_moves": say.no_moves(facts["tests"], pairs, fewest, MAX_Q),
        "transitions": say.transitions(),
        "planted": say.planted(facts["agreement"]),
    }


def describe(findings: Findings) -> dict[str, Any]:
    """Return the transitions as text, and their picture."""
    trajectories, disclosure = findings.inputs.artifacts[PATIENT_TRAJECTORIES], findings.disclosure
    numbers, counts, picture = findings.numbers, trajectories.counts, findings.pictures / "trajectories.png"
    columns = ["patient_id", "window", "cluster", "x", "y"]
    table = pa.concat_tables([schemas.read(path, columns) for path in trajectories.files(FOLDER)]).combine_chunks()
    course = Course.of(table)
    several = course.first_and_last()
    flows = course.table(several, numbers)
    patients = counts["patients"]
    hidden = tabulate.hidden(flows, disclosure)
    if disclosure.small(sum(patients["dropped"].values())):  # they are the difference to a total shown elsewhere
        hidden[-1] = hidden[:, -1] = True
    tested = Tested.read(trajectories.path, numbers)
    moves = _moves(flows, hidden, numbers, tested, disclosure)
    points = findings.clusters.points.astype(np.float64)
    key = findings.inputs.naming(disclosure.below).key
    marks = disclosure.marks(points, findings.labels, findings.settings.map_points, f"{key}/courses")
    centres = {int(numbers[label]): place for label, place in maps.centres(marks).items()}
    if centres:
        pictures.map_of_courses(
            picture,
            marks,
            centres,
            courses=_mean_courses(table, course, several[0], findings.clusters, disclosure.below),
            moves=[(move.left, move.entered) for move in moves],
        )
    return {
        "years": f"{counts['years']:g}",
        "counted_from": COUNTED_FROM[counts["windows"]],
        "drawn": disclosure.about(patients["kept"] + patients["dropped"]["fewer_than_two_windows"])
        if patients["dropped"]["not_drawn"]
        else "",
        "patients": _counts(findings)[0],
        "too_few": _counts(findings)[1],
        "stayed": disclosure.coarse(int(np.trace(flows)), int(flows.sum())),
        "steps": list(_steps(course, disclosure)),
        "numbers": numbers.tolist(),
        "rows": _rows(flows, hidden, numbers),
        "moves": moves,
        "tests": int(np.isfinite(tested.log_p[np.triu_indices(len(numbers), 1)]).sum()),
        "picture": embedded(picture) if centres else "",
        "agreement": counts.get("agreement"),
    }


def windows(findings: Findings) -> dict[str, str] | None:
    """Return numbers of windows kept and dropped, and of patients with too few, as text; None if there are no windows."""
    counts, about = findings.inputs.artifacts[PATIENT_TRAJECTORIES].counts, findings.disclosure.about
    if counts["windows"] == "off":
        return None
    dropped = about(counts["dropped"]["few_concepts"])
    return {"kept": about(counts["kept"]), "dropped": dropped, "too_few": _counts(findings)[1]}


def _counts(findings: Findings) -> tuple[str, str]:
    """Return how many patients have two windows or more, and how many have fewer, as text.

    Together, both numbers are the number of patients in clusters, which readers know from the sizes on the page. So an exact first
    number would reveal the second. If the second number is small, the first is therefore given as a bound that follows from the
    sizes. If the size of a cluster is hidden, the second number is not shown, since the sum of both would reveal this size.
    """
    patients = findings.inputs.artifacts[PATIENT_TRAJECTORIES].counts["patients"]
    sizes, disclosure = findings.sizes, findings.disclosure
    lost = patients["dropped"]["fewer_than_two_windows"]
    shown = sizes[disclosure.large_enough(sizes)]
    few = f">{max(int(shown.sum()) - disclosure.below, 0):,}" if disclosure.small(lost) else ""
    too_few = disclosure.about(lost) if len(shown) == len(sizes) or not lost else "…"
    return few or disclosure.about(patients["kept"]), too_few


def _rows(flows: NDArray[np.int64], hidden: NDArray[np.bool_], numbers: NDArray[np.int64]) -> list[dict[str, Any]]:
    """Return the table with its totals as text; a hidden number is an ellipsis."""
    full = tabulate.with_totals(flows)
    names = [*(str(number) for number in numbers.tolist()), "all"]
    return [
        {
            "name": name,
            "cells": ["…" if dark else f"{count:,}" for count, dark in zip(own, there, strict=True)],
            "same": place,
        }
        for place, (name, own, there) in enumerate(zip(names, full.tolist(), hidden.tolist(), strict=True))
    ]


def _moves(
    flows: NDArray[np.int64],
    hidden: NDArray[np.bool_],
    numbers: NDArray[np.int64],
    tested: Tested,
    disclosure: Disclosure,
) -> list[Move]:
    """Return moves in one direction beyond those expected, largest first, if their number is not hidden."""
    row, column = np.nonzero(np.triu(np.isfinite(tested.log_p), 1))
    if not len(row):
        return []
    log_q = benjamini_hochberg(tested.log_p[row, column])
    found = []
    for one, other, value in zip(row.tolist(), column.tolist(), log_q.tolist(), strict=True):
        left, entered = (one, other) if flows[one, other] > flows[other, one] else (other, one)
        if value < np.log(MAX_Q) and not hidden[left, entered]:
            back, step = f"{flows[entered, left]:,}", next(step for step in STEPS if value < np.log(step))
            if hidden[entered, left]:  # a finer step would narrow the hidden number
                back, step = "…", MAX_Q
            due, due_back = (
                disclosure.about(round(tested.expected[pair])) for pair in ((left, entered), (entered, left))
            )
            move = Move(
                int(numbers[left]),
                int(numbers[entered]),
                f"{flows[left, entered]:,}",
                due,
                back,
                due_back,
                f"<{step:g}",
            )
            found.append((-int(flows[left, entered]), move))
    return [move for _, move in sorted(found, key=lambda pair: (pair[0], pair[1].left, pair[1].entered))]


def _steps(course: Course, disclosure: Disclosure) -> Iterator[tuple[str, str, str]]:
    """Yield, for each window and the next: their numbers, how many patients have both, and the share of these who changed
    cluster."""
    _, left, entered = course.consecutive()
    for number in np.unique(course.number[left]).tolist():
        own = course.number[left] == number
        patients = int(own.sum())
        if not disclosure.small(patients):
            changed = int((course.cluster[left[own]] != course.cluster[entered[own]]).sum())
            yield f"{number} to {number + 1}", disclosure.about(patients), disclosure.coarse(changed, patients)


def _mean_courses(
    table: pa.Table, course: Course, several: NDArray[np.int64], clusters: Clusters, fewest: int
) -> dict[int, NDArray[np.float64]]:
    """For each cluster of whole records, return the mean place of its patients in each window (windows, 2).

    Only patients with two windows or more are included, and only windows that at least `fewest` of them have.
    """
    cluster = clusters.numbers[align.every_row(table.column("patient_id"), clusters.ids)]
    own = np.isin(course.patient, several)
    places = np.stack([table.column(name).to_numpy() for name in "xy"], axis=1).astype(np.float64)
    means = {}
    for number in np.unique(clusters.numbers).tolist():
        rows = own & (cluster == number)
        windows, size = np.unique(course.number[rows], return_counts=True)
        kept = windows[size >= max(fewest, 1)]
        means[number] = np.array([places[rows & (course.number == window)].mean(0) for window in kept]).reshape(-1, 2)
    return means
