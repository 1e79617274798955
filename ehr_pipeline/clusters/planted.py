"""Read the groups of patients that `ehr-pipeline synth` planted, from the truth folder named in `clusters.truth`."""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ehr_pipeline.store import special_files
from ehr_pipeline.tables import json_files

PATIENTS, GROUPS = "patients.csv", "groups.csv"
AGREEMENT = "agreement.json"
THIS_RUN, COUNTS = "this_run", "counts"
"""Names of the compared vectors: the run's patient vectors, and the baseline's."""


def problem(folder: Path) -> str:
    """Return the reason why a folder holds no planted groups; empty if it holds some."""
    path = folder / PATIENTS
    if path.is_file():
        return ""
    kind = special_files.special(path)
    wrong = f"this is {kind}, where a file should be" if kind else "there is no such file"
    return f"{path} (clusters.truth): {wrong}. Leave clusters.truth empty for real data."


def read_groups(folder: Path) -> dict[str, str]:
    """Read the initial group of each cohort patient, by patient id."""
    with (folder / PATIENTS).open(encoding="utf-8", newline="") as stream:
        return {row["patient_id"]: row["group"] for row in csv.DictReader(stream) if row["group"]}


@dataclass(frozen=True)
class PlantedGroups:
    """The groups of a truth folder."""

    group_of: dict[str, str]
    """Group by patient id, for the cohort."""
    companions: dict[str, list[str]]
    """For each group, the concepts that its patients have more often; empty if no group is planted."""

    @classmethod
    def read(cls, folder: Path) -> "PlantedGroups":
        """Read the truth folder of a synthetic extract."""
        companions: dict[str, list[str]] = {}
        with (folder / GROUPS).open(encoding="utf-8", newline="") as stream:
            for row in csv.DictReader(stream):
                companions.setdefault(row["group"], []).append(row["cui"])
        return cls(read_groups(folder), companions)


def read_agreement(clusters: Path) -> dict[str, Any] | None:
    """Read the agreement of a `clusters` artifact with the planted groups.

    Returns None if there is no truth; {'groups': 0} if no group was planted, so labels of patients mean nothing.
    """
    path = clusters / AGREEMENT
    return dict(json_files.read(path)) if path.is_file() else None
