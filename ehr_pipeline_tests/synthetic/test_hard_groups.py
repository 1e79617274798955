"""The subtle groups differ by what was planted, and not by counts."""

import csv
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from ehr_pipeline.synthetic import hard_groups, people, visits
from ehr_pipeline.synthetic.codes import CodeTable
from ehr_pipeline.synthetic.generate import generate

NAMES = [group.name for group in hard_groups.GROUPS]


@pytest.fixture(scope="module")
def drawn() -> tuple[pl.DataFrame, pl.DataFrame]:
    """People, and their companions with the group of the person and whether the visit lay in the later half."""
    rng = np.random.default_rng(0)
    crowd = people.draw(rng, 0, 6000, 0.9, False, hard_groups.GROUPS, 0.0)
    person, day = visits._visits(rng, crowd)
    visit, code = hard_groups.draw(rng, crowd, person, day)
    owner = person[visit]
    events = pl.DataFrame(
        {
            "person": owner,
            "code": pl.Series(code, dtype=pl.String),
            "late": hard_groups._late(person, day, crowd.height)[visit],
            "group": crowd["group"].to_numpy()[owner],
        }
    )
    sizes = np.bincount(crowd["group"].to_numpy()[person] + 1, minlength=len(NAMES) + 1)[1:]
    return events, pl.DataFrame({"group": np.arange(len(NAMES)), "visits": sizes})


def rate(
    drawn: tuple[pl.DataFrame, pl.DataFrame], name: str, codes: tuple[str, ...], late: bool | None = None
) -> float:
    """Events of some codes for each visit of a group."""
    events, sizes = drawn
    number = NAMES.index(name)
    chosen = events.filter((pl.col("group") == number) & pl.col("code").is_in(list(codes)))
    if late is not None:
        chosen = chosen.filter(pl.col("late") == late)
    return chosen.height / sizes["visits"][number]


def test_order_is_mirrored_and_counts_are_the_same(drawn: tuple[pl.DataFrame, pl.DataFrame]) -> None:
    one, other = "order: arthritis, then low mood", "order: low mood, then arthritis"
    for code in ("33339001", "35489007"):
        assert rate(drawn, one, (code,)) == pytest.approx(rate(drawn, other, (code,)), rel=0.15)
    assert rate(drawn, one, ("33339001",), False) > 3 * rate(drawn, one, ("33339001",), True)
    assert rate(drawn, other, ("33339001",), True) > 3 * rate(drawn, other, ("33339001",), False)


def test_ages_differ_and_companions_do_not(drawn: tuple[pl.DataFrame, pl.DataFrame]) -> None:
    found = [rate(drawn, name, ("195967001",)) for name in NAMES if name.startswith("age")]
    assert found == pytest.approx([0.3] * 3, abs=0.03)
    ages = [group.age[0] for group in hard_groups.GROUPS if group.name.startswith("age")]
    assert min(np.diff(ages)) > 20


def test_each_practice_has_a_synonym_of_its_own_and_signs_stand_outside_the_cohort_only(
    drawn: tuple[pl.DataFrame, pl.DataFrame],
) -> None:
    events, _ = drawn
    for name, family in hard_groups.FAMILIES.items():
        own = events.filter(pl.col("code").is_in(list(family.codes)))
        assert own.group_by("person").agg(pl.col("code").n_unique())["code"].max() == 1
        assert own["code"].n_unique() == len(family.codes)
        assert rate(drawn, f"synonyms: {name}", family.codes) == pytest.approx(0.3, abs=0.03)
        signs = events.filter(pl.col("code").is_in(list(family.signs)))
        assert signs.height
        assert signs["group"].max() == people.NO_GROUP


def test_every_code_has_a_concept() -> None:
    table = CodeTable.read()
    codes = {code for group in hard_groups.GROUPS for code in group.companions}
    codes |= {sign for family in hard_groups.FAMILIES.values() for sign in family.signs}
    assert all(table.concept_of(code) for code in codes)


def test_the_extract_says_what_is_planted(tmp_path: Path) -> None:
    generate(tmp_path, 60, 3, plant="subtle")
    with (tmp_path / "truth/groups.csv").open() as stream:
        assert {row["group"] for row in csv.DictReader(stream)} == set(NAMES)
    with (tmp_path / "truth/patients.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert {row["group"] for row in rows} <= {*NAMES, ""}
    assert not any(row["second_group"] for row in rows)
