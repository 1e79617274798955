"""Patients who change from one group to another, and a world in which everybody only grows older."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from ehr_pipeline.synthetic.worlds import change
from ehr_pipeline.synthetic.worlds.mechanism import YEAR, Block, Events
from ehr_pipeline.synthetic.worlds.plan import World, make
from ehr_pipeline.synthetic.worlds.population import NOBODY, SKIN_DISEASES
from ehr_pipeline.synthetic.worlds.write import draw, write
from ehr_pipeline.trajectories.truth import PlantedChanges

WORLD = World.of(8, 1.0)


@pytest.fixture(scope="module")
def drawn() -> dict[str, tuple[Block, Events]]:
    return {plan: draw(make(WORLD, [plan]), WORLD, 0) for plan in ("change", "ageing")}


def rate(events: Events, visits: pl.DataFrame, codes: tuple[str, ...]) -> float:
    """Findings of a group at each of some visits (person, day)."""
    rows = pl.DataFrame({"person": events.person, "day": events.day, "code": events.code})
    rows = rows.filter(pl.col("code").is_in(WORLD.book.rows(codes).tolist()))
    return rows.join(visits, on=["person", "day"], how="semi").height / len(codes) / visits.height


def visits_of(events: Events) -> pl.DataFrame:
    return pl.DataFrame({"person": events.person, "day": events.day}).unique()


def test_findings_follow_the_group_before_and_after_the_change(drawn: dict[str, tuple[Block, Events]]) -> None:
    block, events = drawn["change"]
    changes = block.truth["changes"].with_columns(on=pl.col("date").cast(pl.Int32))
    visits = visits_of(events).join(changes, on="person", how="left")
    for left, joined in change.CHANGES.items():
        mine = visits.filter(from_group=left)
        for here, group in (
            (mine.filter(pl.col("day") < pl.col("on")), left),
            (mine.filter(pl.col("day") >= pl.col("on")), joined),
        ):
            rates = {name: rate(events, here, codes) for name, codes in change.STATES.items()}
            assert rates.pop(group) == pytest.approx(change.AT_A_VISIT, abs=0.02)
            assert max(rates.values()) < 0.02
    stay = visits.filter(pl.col("on").is_null())
    for number, (name, codes) in enumerate(change.STATES.items()):
        own = stay.filter(pl.col("person").is_in(np.flatnonzero(block.days("group") == number).tolist()))
        assert rate(events, own, codes) == pytest.approx(change.AT_A_VISIT, abs=0.02), name


def test_changes_go_one_way_lie_in_the_middle_and_do_not_depend_on_age(drawn: dict[str, tuple[Block, Events]]) -> None:
    block, _ = drawn["change"]
    table = block.truth["changes"]
    assert set(table.select("from_group", "to_group").unique().iter_rows()) == set(change.CHANGES.items())
    who = table["person"].to_numpy()
    start, length = block.days("start")[who], (block.days("end") - block.days("start"))[who]
    where = (table["date"].cast(pl.Int32).to_numpy() - start) / np.maximum(length, 1)
    long = length > 365
    assert (where[long] >= change.MIDDLE[0]).all()
    assert (where[long] <= change.MIDDLE[1] + 0.01).all()
    could = np.isin(block.days("group"), [list(change.STATES).index(name) for name in change.CHANGES])
    assert len(who) / could.sum() == pytest.approx(change.CHANGING, abs=0.07)
    age = (block.days("end") - block.days("birth")) / YEAR
    others = np.setdiff1d(np.flatnonzero(could), who)
    assert abs(age[who].mean() - age[others].mean()) < 4 * age.std() * np.sqrt(1 / len(who) + 1 / len(others))


def test_ageing_groups_are_of_one_disease_differ_by_age_and_keep_their_findings(
    drawn: dict[str, tuple[Block, Events]],
) -> None:
    block, events = drawn["ageing"]
    group = block.days("group")
    psoriasis = block.days("disease") == list(SKIN_DISEASES).index(change.AGEING_DISEASE)
    assert ((group != NOBODY) == psoriasis).all()
    middle = (block.days("start") + block.days("end")) / 2
    age = (middle - block.days("birth")) / YEAR
    assert age[group == 1].mean() > age[group == 0].mean() + 15
    visits = visits_of(events).sort("person", "day")
    late = visits["day"].to_numpy() > middle[visits["person"].to_numpy()]
    for number, codes in enumerate(change.AGEING_GROUPS.values()):
        mine = np.isin(visits["person"].to_numpy(), np.flatnonzero(group == number))
        for part in (mine & late, mine & ~late):
            assert rate(events, visits.filter(part), codes) == pytest.approx(change.AT_A_VISIT, abs=0.02)
    assert block.truth["changes"].is_empty()


def test_the_truth_can_be_read(tmp_path: Path) -> None:
    for plan in ("change", "ageing"):
        write(tmp_path / plan, [plan], 300, 2, cohort_share=1.0)
        truth = PlantedChanges.read(tmp_path / plan / "truth")
        assert bool(truth.changes) == (plan == "change")
        assert set(truth.group_of.values()) == set(change.STATES if plan == "change" else change.AGEING_GROUPS)
        assert all(truth.group_of[patient] == one.left for patient, one in truth.changes.items())
        groups = pl.read_csv(tmp_path / plan / "truth/groups.csv")
        assert set(groups["group"]) == set(truth.group_of.values())
        assert groups["cui"].null_count() == 0
