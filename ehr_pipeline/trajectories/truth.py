"""Compare transitions found with those planted, on synthetic extracts where patients change.

Patients who do not change give clusters their meaning: a cluster represents the group to which most of them belong. So
a window's cluster implies a group, which is compared with the group to which the patient belonged at that time.
"""

import csv
import datetime
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ehr_pipeline.clusters.planted import read_groups

CHANGES = "changes.csv"


@dataclass(frozen=True)
class Change:
    """A planted change."""

    left: str
    joined: str
    date: datetime.date


@dataclass(frozen=True)
class PlantedChanges:
    """Which group each patient belonged to, and when it changed."""

    group_of: dict[str, str]
    """First group of each patient of the cohort, by patient id."""
    changes: dict[str, Change]
    """Change of group, by patient id."""

    @classmethod
    def read(cls, folder: Path) -> "PlantedChanges":
        """Read the truth folder of a synthetic extract."""
        with (folder / CHANGES).open(encoding="utf-8", newline="") as stream:
            changes = {
                row["patient_id"]: Change(row["from_group"], row["to_group"], datetime.date.fromisoformat(row["date"]))
                for row in csv.DictReader(stream)
            }
        return cls(read_groups(folder), changes)


def agreement(folder: Path, windows: pa.Table, clustered: pa.Table) -> dict[str, Any]:
    """Return how far windows and patients agree with the truth.

    `windows_right`: share of windows whose cluster represents the patient's group at that time; windows during which
    the group changes are excluded.
    `changed_found`: among patients whose first window lies before their change and whose last window lies after it, the
    share whose first window represents the group they left and whose last window represents the group they joined.
    `changed_found_by_chance`: the same share if these pairs of windows were assigned to the patients at random.
    `unchanged_found`: of patients who do not change, the share whose first and last window represent the same group.
    """
    truth = PlantedChanges.read(folder)
    group_of_cluster = meanings(truth, clustered)
    ids = windows.column("patient_id").to_pylist()
    planted_groups = [group_of_cluster.get(cluster, "") for cluster in windows.column("cluster").to_pylist()]
    first, last = (windows.column(name).to_pylist() for name in ("first_date", "last_date"))
    right: list[bool] = []
    course: dict[str, list[tuple[str, str | None]]] = {}
    for patient, group, begin, end in zip(ids, planted_groups, first, last, strict=True):
        if patient not in truth.group_of:
            continue
        change = truth.changes.get(patient)
        had: str | None = truth.group_of[patient]
        if change is not None:
            had = change.left if end < change.date else change.joined if begin >= change.date else None
        course.setdefault(patient, []).append((group, had))
        right += [group == had] if had is not None else []
    changed, unchanged = [], []
    for patient, states in course.items():
        (begins, began), (ends, ended) = states[0], states[-1]
        if len(states) < 2 or began is None or ended is None:
            continue
        if began != ended:
            changed.append(((begins, ends), (began, ended)))
        elif patient not in truth.changes:
            unchanged.append(begins == ends)
    return {
        "patients_who_change": len(truth.changes),
        "windows": len(right),
        "windows_right": _share(right),
        "changed": len(changed),
        "changed_found": _share([found == planted for found, planted in changed]),
        "changed_found_by_chance": _by_chance(changed),
        "unchanged": len(unchanged),
        "unchanged_found": _share(unchanged),
    }


def meanings(truth: PlantedChanges, clustered: pa.Table) -> dict[int, str]:
    """Return the most frequent group of each cluster among its patients who do not change, by cluster number."""
    votes: dict[int, dict[str, int]] = {}
    pairs = zip(clustered.column("patient_id").to_pylist(), clustered.column("cluster").to_pylist(), strict=True)
    for patient, cluster in pairs:
        if patient in truth.group_of and patient not in truth.changes:
            own = votes.setdefault(cluster, {})
            own[truth.group_of[patient]] = own.get(truth.group_of[patient], 0) + 1
    return {cluster: max(sorted(own), key=own.__getitem__) for cluster, own in votes.items()}


def _by_chance(changed: list[tuple[tuple[str, str], tuple[str, str]]]) -> float | None:
    """Return the share that would be correct if the pairs found were randomly reassigned among the patients who change."""
    if not changed:
        return None
    kinds: dict[tuple[str, str], NDArray[np.int64]] = {}
    for side in (0, 1):
        for pair in changed:
            kinds.setdefault(pair[side], np.zeros(2, np.int64))[side] += 1
    return round(float(sum(int(found) * int(planted) for found, planted in kinds.values()) / len(changed) ** 2), 4)


def _share(right: list[bool]) -> float | None:
    return round(sum(right) / len(right), 4) if right else None
