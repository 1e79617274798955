"""Groups by mechanism: each pair differs by what its plan names, and by nothing else that is counted."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from ehr_pipeline.clusters.truth import PlantedGroups
from ehr_pipeline.errors import UserError
from ehr_pipeline.synthetic.worlds import groups_by_mechanism
from ehr_pipeline.synthetic.worlds.mechanism import BLOCK
from ehr_pipeline.synthetic.worlds.plan import World, make
from ehr_pipeline.synthetic.worlds.population import NOBODY
from ehr_pipeline.synthetic.worlds.visits import Visits
from ehr_pipeline.synthetic.worlds.write import draw, write

WORLD = World.of(4, 0.9)
TWO = [name for name, kind in groups_by_mechanism.KINDS.items() if len(kind.groups) == 2]


class Drawn:
    """One block of a world with the groups of one mechanism."""

    def __init__(self, kind: str) -> None:
        self.mechanisms = make(WORLD, [f"subtle-{kind}"])
        self.block, self.events = draw(self.mechanisms, WORLD, 0)
        self.group = self.block.days("group")
        self.codes = WORLD.book.rows(groups_by_mechanism.KINDS[kind].codes)

    def days(self, place: int) -> list[np.ndarray[tuple[int], np.dtype[np.int32]]]:
        """For each patient, the days with A (0) or B (1), rising."""
        here = self.events.where(self.events.code == self.codes[place])
        order = np.lexsort((here.day, here.person))
        return np.split(here.day[order], np.cumsum(np.bincount(here.person, minlength=BLOCK))[:-1])

    def members(self, group: int) -> list[int]:
        return np.flatnonzero(self.group == group).tolist()  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def worlds() -> dict[str, Drawn]:
    return {kind: Drawn(kind) for kind in groups_by_mechanism.KINDS}


@pytest.mark.parametrize("kind", [name for name in TWO if name != "counts"])
def test_counts_do_not_differ(worlds: dict[str, Drawn], kind: str) -> None:
    """Everybody has the same number of days with each finding, whichever group; nobody else has any."""
    drawn = worlds[kind]
    for place in range(len(drawn.codes)):
        counts = np.array([len(np.unique(days)) for days in drawn.days(place)])
        expected = groups_by_mechanism.IN_A_ROW if kind == "interval" else groups_by_mechanism.RECORDS
        for group in (0, 1):
            assert len(drawn.members(group)) > 80
            assert (counts[drawn.group == group] == expected).mean() > 0.97
        assert not counts[drawn.group == NOBODY].any()


def test_groups_by_counts_have_as_much_in_all(worlds: dict[str, Drawn]) -> None:
    drawn = worlds["counts"]
    counts = np.array([[len(days) for days in drawn.days(place)] for place in (0, 1)])
    assert (counts[:, drawn.group == 0] == [[groups_by_mechanism.OFTEN], [groups_by_mechanism.SELDOM]]).all()
    assert (counts[:, drawn.group == 1] == [[groups_by_mechanism.SELDOM], [groups_by_mechanism.OFTEN]]).all()


def test_a_group_by_age_is_of_that_age_throughout(worlds: dict[str, Drawn]) -> None:
    drawn = worlds["age"]
    years = {
        place: (drawn.block.days(name) - drawn.block.days("birth")) / 365.25
        for place, name in ((0, "end"), (1, "start"))
    }
    assert (years[0][drawn.group == 0] < groups_by_mechanism.YOUNG).all()
    assert (years[1][drawn.group == 1] > groups_by_mechanism.OLD).all()


@pytest.mark.parametrize("kind", list(groups_by_mechanism.SWITCH))
def test_one_finding_takes_the_place_of_the_other(worlds: dict[str, Drawn], kind: str) -> None:
    """All records of one lie before all of the other; the switch lies where the plan says, as a share of the visits."""
    drawn = worlds[kind]
    first, second = drawn.days(0), drawn.days(1)
    for group, (early, late) in enumerate(((first, second), (second, first))):
        assert all(early[person].max() < late[person].min() for person in drawn.members(group))
    visits = Visits.of(drawn.block)
    places = []
    for person in drawn.members(0):
        days = visits.day[visits.person == person]
        within = (days >= first[person].min()) & (days <= second[person].max())
        places.append(((days <= first[person].max()).mean(), (days < second[person].min()).mean(), within.mean()))
    low, high = groups_by_mechanism.SWITCH[kind]
    assert max(place[0] for place in places) <= high + 0.03
    assert min(place[1] for place in places) >= low - 0.03
    assert max(place[2] for place in places) <= 2 * groups_by_mechanism.AROUND + 0.06


def test_b_follows_a_soon_or_late(worlds: dict[str, Drawn]) -> None:
    drawn = worlds["interval"]
    first, second = drawn.days(0), drawn.days(1)
    gaps = [
        np.array([second[person].min() - first[person].min() for person in drawn.members(group)]) / 365
        for group in (0, 1)
    ]
    assert min(gap.min() for gap in gaps) >= 0, "the order is the same in both groups"
    assert np.quantile(gaps[0], 0.9) < 1.5
    assert np.quantile(gaps[1], 0.1) > 4.5


def test_the_relational_plant_differs_by_shared_visits_alone(worlds: dict[str, Drawn]) -> None:
    """In one group all records of A and B share visits, in the other none; and no quarter of a record holds more of one of them."""
    drawn = worlds["same-visit"]
    first, second = drawn.days(0), drawn.days(1)
    assert all(set(first[person]) == set(second[person]) for person in drawn.members(0))
    assert not any(set(first[person]) & set(second[person]) for person in drawn.members(1))
    visits = Visits.of(drawn.block)
    quarters = dict(
        zip(zip(visits.person.tolist(), visits.day.tolist(), strict=True), visits.quarter.tolist(), strict=True)
    )
    for person in drawn.members(0) + drawn.members(1):
        of_a, of_b = (sorted(quarters[person, day] for day in days[person].tolist()) for days in (first, second))
        assert of_a == of_b
    means = [np.mean([days[person].mean() for person in drawn.members(1)]) for days in (first, second)]
    assert abs(means[0] - means[1]) < 30, "neither comes first"


def test_recurrence(worlds: dict[str, Drawn]) -> None:
    drawn = worlds["recurrence"]
    visits, days = Visits.of(drawn.block), drawn.days(0)
    within = {}
    for group in (0, 1):
        within[group] = [
            ((visits.person == person) & (visits.day >= days[person][0]) & (visits.day <= days[person][-1])).sum()
            for person in drawn.members(group)
        ]
    assert set(within[0]) == {groups_by_mechanism.RECORDS}
    assert np.mean(np.array(within[1]) > 2 * groups_by_mechanism.RECORDS) > 0.9


def test_practices_prefer_synonyms_and_signs_stand_outside_the_cohort() -> None:
    world = World.of(4, 0.5)
    mechanisms = make(world, ["subtle-synonyms"])
    groups = mechanisms[-1]
    assert isinstance(groups, groups_by_mechanism.SubtleGroups)
    drawn = [draw(mechanisms, world, number) for number in range(3)]
    for number, family in enumerate(groups_by_mechanism.FAMILIES.values()):
        codes, signs = world.book.rows(family.codes), world.book.rows(family.signs)
        preferred, signed, inside = [], [], 0
        for block, events in drawn:
            cohort = block.days("disease")[events.person] != NOBODY
            own = codes[groups.preferred[number, block.days("practice")[events.person]]] == events.code
            mine = np.isin(events.code, codes)
            preferred += own[mine & cohort].tolist()
            days = {
                (p, d)
                for p, d in zip(
                    events.person[np.isin(events.code, signs)], events.day[np.isin(events.code, signs)], strict=True
                )
            }
            signed += [
                (p, d) in days for p, d in zip(events.person[mine & ~cohort], events.day[mine & ~cohort], strict=True)
            ]
            inside += int((np.isin(events.code, signs) & cohort).sum())
        assert np.mean(preferred) == pytest.approx(family.habit + (1 - family.habit) / 8, abs=0.04)
        assert np.mean(signed) == pytest.approx(groups_by_mechanism.SIGN, abs=0.08)
        assert inside == 0


def test_all_mechanisms_in_one_world(tmp_path: Path) -> None:
    """Nobody belongs to two groups; the truth names every group and its concepts."""
    write(tmp_path, ["subtle"], 900, 1)
    truth = PlantedGroups.read(tmp_path / "truth")
    names = {f"{kind.name}: {group}" for kind in groups_by_mechanism.KINDS.values() for group in kind.groups}
    assert set(truth.companions) == names
    assert set(truth.group_of.values()) <= names
    assert len(set(truth.group_of.values())) > len(names) - 4
    mechanisms = pl.read_csv(tmp_path / "truth/mechanisms.csv")
    assert set(mechanisms["group"]) == names
    assert "mechanism and group" in (tmp_path / "truth/README.md").read_text()


def test_two_kinds_of_groups_do_not_go_together() -> None:
    with pytest.raises(UserError, match="groups skin and subtle are of the same patients"):
        make(WORLD, ["base", "subtle-age"])


def test_pairs_of_visits_lie_in_one_quarter_and_share_none() -> None:
    rng = np.random.default_rng(0)
    person = np.sort(rng.integers(0, 30, 900))
    day = np.concatenate(
        [np.sort(rng.choice(4000, count, replace=False)) for count in np.bincount(person, minlength=30)]
    )
    visits = Visits(person, day)
    rows = visits.pairs(rng, np.full(BLOCK, 6))
    assert (visits.person[rows] == visits.person[rows + 1]).all()
    assert (visits.quarter[rows] == visits.quarter[rows + 1]).all()
    assert len(np.union1d(rows, rows + 1)) == 2 * len(rows)
    assert np.bincount(visits.person[rows], minlength=30).max() == 6
