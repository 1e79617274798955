"""Who changes carries the companions of one group before the change, and those of the other after it; the truth says so."""

import csv
import datetime
from pathlib import Path

import numpy as np
import polars as pl

from ehr_pipeline.synthetic import change, people, visits
from ehr_pipeline.synthetic.codes import CodeTable
from ehr_pipeline.synthetic.generate import generate
from ehr_pipeline.synthetic.groups import COMPANION_RATE, ELSEWHERE_RATE, GROUPS

NAMES = [group.name for group in GROUPS]


def test_rates_before_and_after_the_change() -> None:
    rng = np.random.default_rng(0)
    crowd = change.choose(rng, people.draw(rng, 0, 4000, 0.9, False, GROUPS, 0.0))
    person, day = visits._visits(rng, crowd)
    table = CodeTable.read()
    visit, code = change.draw(rng, crowd, person, day, table)
    changed = crowd["change_at"].is_not_null().to_numpy()
    after = day >= change.day_of_change(crowd, person, day)[person]
    for left, joined in change.CHANGES.items():
        own = changed & (crowd["group"].to_numpy() == NAMES.index(left))
        for name, is_after in ((left, False), (joined, True)):
            only = set(GROUPS[NAMES.index(name)].companions) - set(
                GROUPS[NAMES.index(joined if name == left else left)].companions
            )
            for companion in sorted(only):
                codes = set(table.codes_of(table.concept_of(companion))["code"])
                hit = np.isin(code.astype(str), sorted(codes))
                for side, rate in ((is_after, COMPANION_RATE), (not is_after, ELSEWHERE_RATE)):
                    here = own[person] & (after == side)
                    found = here[visit[hit]].sum() / here.sum()
                    assert abs(found - rate) < 0.03, (left, companion, side)


def test_who_changes() -> None:
    rng = np.random.default_rng(1)
    crowd = change.choose(rng, people.draw(rng, 0, 6000, 1.0, False, GROUPS, 0.0))
    for number, name in enumerate(NAMES):
        own = crowd.filter(pl.col("group") == number)
        share = own["change_at"].is_not_null().mean()
        assert abs(share - (change.CHANGING_SHARE if name in change.CHANGES else 0)) < 0.07
    assert crowd["change_at"].drop_nulls().is_between(*change.MIDDLE).all()
    diseases = {group.name: group.disease for group in GROUPS}
    assert all(diseases[left] == diseases[joined] for left, joined in change.CHANGES.items())


def test_the_truth_tells_when(tmp_path: Path) -> None:
    generate(tmp_path, 300, 3, cohort_share=1.0, plant="change")
    with (tmp_path / "truth/changes.csv").open() as stream:
        changes = {row["patient_id"]: row for row in csv.DictReader(stream)}
    with (tmp_path / "truth/patients.csv").open() as stream:
        groups = {row["patient_id"]: (row["group"], row["second_group"]) for row in csv.DictReader(stream)}
    with (tmp_path / "landing/2019-04-01/patients.txt").open(encoding="latin-1") as stream:
        born = {row["patient_id"]: int(row["year_of_birth"]) for row in csv.DictReader(stream, delimiter="\t")}
    assert 20 < len(changes) < 100
    for patient, row in changes.items():
        assert change.CHANGES[row["from_group"]] == row["to_group"]
        assert groups[patient] == (row["from_group"], row["to_group"])
        assert datetime.date.fromisoformat(row["date"]).year - born[patient] == int(row["age"])
    assert all(not second for patient, (_, second) in groups.items() if patient not in changes)


def test_other_extracts_have_no_changes(tmp_path: Path) -> None:
    generate(tmp_path, 30, 3, plant="change")
    generate(tmp_path, 30, 3)
    assert not (tmp_path / "truth/changes.csv").exists()
