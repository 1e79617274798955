"""Agreement with planted changes, reckoned by hand."""

import datetime
from pathlib import Path

import pyarrow as pa
import pytest

from ehr_pipeline.trajectories import truth

PATIENTS = """patient_id,disease,group,second_group
a,x,left,
b,x,joined,
c,x,left,joined
d,x,left,joined
e,x,left,
f,,,
g,x,left,joined
"""
CHANGES = """patient_id,from_group,to_group,date,age
c,left,joined,2010-01-01,50
d,left,joined,2010-01-01,50
g,left,joined,2010-01-01,50
"""
CLUSTERED = {"patient_id": list("abcdefg"), "cluster": [1, 2, 2, 2, 1, 2, 2]}
WINDOWS = (
    ("a", 2001, 1), ("a", 2011, 1),  # stays, and is found to
    ("b", 2001, 2), ("b", 2011, 1),  # stays, and is not
    ("c", 2001, 1), ("c", 2011, 2),  # changes, and is found to
    ("d", 2001, 1), ("d", 2011, 1),  # changes, and is not
    ("e", 2001, 1),  # one window
    ("f", 2001, 1), ("f", 2011, 2),  # not of the cohort
    ("g", 2001, 1), ("g", 2009, 2),  # the change falls into the last window
)  # fmt: skip


def test_agreement_by_hand(tmp_path: Path) -> None:
    (tmp_path / "patients.csv").write_text(PATIENTS)
    (tmp_path / truth.CHANGES).write_text(CHANGES)
    names, years, clusters = zip(*WINDOWS, strict=True)
    table = pa.table(
        {
            "patient_id": names,
            "cluster": clusters,
            "first_date": [datetime.date(year, 1, 1) for year in years],
            "last_date": [datetime.date(year + 3, 1, 1) for year in years],
        }
    )
    found = truth.agreement(tmp_path, table, pa.table(CLUSTERED))
    assert found == {
        "patients_who_change": 3,
        "windows": 10,
        "windows_right": pytest.approx(0.8),
        "changed": 2,
        "changed_found": 0.5,
        "changed_found_by_chance": 0.5,
        "unchanged": 2,
        "unchanged_found": 0.5,
    }
    assert truth.meanings(truth.PlantedChanges.read(tmp_path), pa.table(CLUSTERED)) == {1: "left", 2: "joined"}
