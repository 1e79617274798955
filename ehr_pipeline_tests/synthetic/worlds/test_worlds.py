"""Worlds: the frame (seeds, plans, files), and that the base world is what its tables say."""

import hashlib
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from ehr_pipeline import cli
from ehr_pipeline.clusters.planted import PlantedGroups
from ehr_pipeline.errors import UserError
from ehr_pipeline.synthetic.extract import EXTRACT
from ehr_pipeline.synthetic.worlds import skin
from ehr_pipeline.synthetic.worlds.care import Care
from ehr_pipeline.synthetic.worlds.diagnoses import AGES, Diagnoses, population
from ehr_pipeline.synthetic.worlds.groups_by_mechanism import KINDS, SubtleGroups
from ehr_pipeline.synthetic.worlds.laboratory import Laboratory
from ehr_pipeline.synthetic.worlds.mechanism import BLOCK, YEAR, Block, Events
from ehr_pipeline.synthetic.worlds.onsets import onset_age
from ehr_pipeline.synthetic.worlds.plan import PLANS, World, make
from ehr_pipeline.synthetic.worlds.plan import _refuse_shared as refuse_shared
from ehr_pipeline.synthetic.worlds.population import NOBODY, SKIN_DISEASES
from ehr_pipeline.synthetic.worlds.write import VERSION, begun, draw, write


@pytest.fixture(scope="module")
def world() -> World:
    return World.of(3, 0.0)


@pytest.fixture(scope="module")
def onsets(world: World) -> list[Block]:
    """Twelve blocks without events."""
    mechanisms = make(world, ["base"])
    return [begun(mechanisms, world, number) for number in range(12)]


@pytest.fixture(scope="module")
def drawn(world: World) -> tuple[Block, Events]:
    """A block with its events."""
    return draw(make(world, ["base"]), world, 0)


def having(blocks: list[Block], name: str) -> pl.DataFrame:
    """Those registered at the end: age, sex, and whether the diagnosis has begun."""
    parts = []
    for block in blocks:
        onset = block.onset[:, block.diagnoses.index(name)]
        parts.append(
            pl.DataFrame(
                {
                    "age": (block.days("end") - block.days("birth")) / YEAR,
                    "female": block.people["female"].astype(bool),
                    "has": onset <= block.days("end"),
                    "registered": block.days("status") == 0,
                }
            )
        )
    return pl.concat(parts).filter("registered")


def content(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def facts(folder: Path) -> tuple[object, ...]:
    """What the folder says that its extract was made from."""
    *made_from, rows = json.loads((folder / "truth/dirt.json").read_text()).values()
    assert rows
    return tuple(made_from)


def test_the_same_arguments_give_the_same_bytes_and_more_patients_leave_the_first_as_they_are(tmp_path: Path) -> None:
    write(tmp_path / "one", ["base"], 120, 3)
    write(tmp_path / "two", ["base", "base"], 120, 3)
    write(tmp_path / "more", ["base"], BLOCK + 50, 3)
    assert content(tmp_path / "one") == content(tmp_path / "two")
    assert facts(tmp_path / "one") == (VERSION, ["base"], 120, 3, 0.5)
    truth = [pl.read_parquet(tmp_path / name / "truth/onsets.parquet") for name in ("one", "more")]
    first = truth[0]["patient_id"].unique()
    assert truth[1].filter(pl.col("patient_id").is_in(first.implode())).equals(truth[0])
    assert len(list((tmp_path / "more/landing" / EXTRACT).glob("events_*"))) == 2
    columns = (tmp_path / "one/truth/README.md").read_text()
    for table in (truth[0], pl.read_parquet(tmp_path / "one/truth/people.parquet")):
        assert all(f"| {name} |" in columns for name in table.columns)


def test_another_seed_gives_other_patients_and_a_block_does_not_depend_on_those_before(world: World) -> None:
    mechanisms = make(world, ["base"])
    second = draw(mechanisms, world, 1)
    again = draw(make(world, ["base"]), world, 1)
    assert np.array_equal(second[1].day, again[1].day)
    other = World.of(4, 0.0)
    assert not np.array_equal(begun(make(other, ["base"]), other, 1).days("birth"), second[0].days("birth"))


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    landing = tmp_path / "landing" / EXTRACT
    landing.mkdir(parents=True)
    (landing / "events.txt").write_text("real")
    with pytest.raises(UserError, match="do not belong to a synthetic extract"):
        write(tmp_path, ["base"], 10, 1)
    assert (landing / "events.txt").read_text() == "real"


def test_plans_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "out")
    assert cli.main(["synth", out, "--patients", "20", "--plan", "null"]) == 0
    assert "wrote 20 patients" in capsys.readouterr().out
    assert facts(tmp_path / "out") == (VERSION, ["null"], 20, 0, 0.5)
    assert not PlantedGroups.read(tmp_path / "out/truth").companions, "labels of this world mean nothing"
    for wrong in (["--plan", "nonsense"], ["--plan", "first", "--plan", "base"]):
        assert cli.main(["synth", out, "--patients", "20", *wrong]) != 0
    assert "base" in capsys.readouterr().err


def test_prevalences_are_those_of_the_table(onsets: list[Block], world: World) -> None:
    for row in world.diagnoses.rows:
        if row.prevalence < 0.005:
            continue
        people = having(onsets, row.name).filter(pl.col("age") >= row.of_age)
        share = float(people["has"].mean())  # type: ignore[arg-type]
        error = 4 * np.sqrt(row.prevalence / people.height)
        assert share == pytest.approx(row.prevalence, abs=error + 0.12 * row.prevalence), row.name


def test_diseases_of_old_age_are_of_old_age(onsets: list[Block]) -> None:
    for name in ("dementia", "heart failure", "stroke", "parkinson's disease", "atrial fibrillation", "cataract"):
        people = having(onsets, name)
        assert people.filter(pl.col("age") < 18)["has"].sum() == 0
        assert people.filter(pl.col("age") < 50)["has"].mean() < 0.005  # type: ignore[operator]
        assert people.filter(pl.col("age") > 75)["has"].mean() > 0.01  # type: ignore[operator]


def test_onsets_lie_at_the_ages_of_the_table() -> None:
    diagnoses = Diagnoses.read()
    for row in diagnoses.rows:
        reached = np.interp(row.onset_ages, AGES, row.reached)
        assert reached[1:] == pytest.approx([0.25, 0.5, 0.75, 0.99], abs=0.02), row.name
        curves = [np.interp(np.arange(100) + 0.5, AGES, row.prevalence_by_age(sex)) for sex in (True, False)]
        old = np.arange(100) >= row.of_age
        people = [population(sex)[old] for sex in (True, False)]
        among = [float((p * c[old]).sum() / p.sum()) for p, c in zip(people, curves, strict=True)]
        assert np.mean(among) == pytest.approx(row.prevalence, rel=0.01)


def test_a_hazard_ratio_holds_from_its_switch_on() -> None:
    rng = np.random.default_rng(0)
    hazard = 0.01 * AGES
    exposure, switch = rng.exponential(size=40_000), np.where(rng.random(40_000) < 0.5, 30.0, np.inf)
    age = onset_age(exposure, hazard, [(switch, 4.0), (np.full(40_000, np.inf), 9.0)])
    for from_age, to_age, ratio in ((0, 30, 1.0), (30, 50, 4.0)):
        rates = [
            ((age > from_age) & (age <= to_age) & own).sum()
            / np.clip(np.minimum(age[own], to_age) - from_age, 0, None).sum()
            for own in (switch == 30.0, switch != 30.0)
        ]
        assert rates[0] / rates[1] == pytest.approx(ratio, rel=0.08)
        assert rates[1] == pytest.approx(0.01, rel=0.08)


def test_frailty_makes_diagnoses_go_together_beyond_age(onsets: list[Block]) -> None:
    """Among people of one band of age, those with hypertension have more atrial fibrillation and osteoarthritis."""
    one, other = having(onsets, "osteoarthritis"), having(onsets, "vitamin B12 deficiency")
    both = one.with_columns(other=other["has"]).filter(pl.col("age").is_between(68, 82))
    share = both.group_by("has").agg(pl.col("other").mean()).sort("has")["other"]
    assert share[1] > 1.15 * share[0]


def test_groups_raise_hazards_and_null_labels_do_not() -> None:
    for plan, least, most in (("base", 2.0, 9.0), ("null", 0.4, 1.6)):
        world = World.of(5, 1.0)
        mechanisms = make(world, [plan])
        found, members = [], 0
        for number in range(6):
            block = begun(mechanisms, world, number)
            group = [one.name for one in skin.GROUPS].index("metabolic psoriasis")
            psoriasis = block.days("disease") == list(SKIN_DISEASES).index("psoriasis")
            has = block.onset[:, world.diagnoses.index("type 2 diabetes")] <= block.days("end")
            age = (block.days("end") - block.days("birth")) / YEAR
            here = psoriasis & (age > 45) & (age < 75)
            mine = here & (block.days("group") == group)
            members += int(mine.sum())
            rest = here & (block.days("group") == NOBODY) if plan == "base" else here & ~mine
            found.append((has[mine].sum(), mine.sum(), has[rest].sum(), rest.sum()))
        a, b, c, d = np.sum(found, axis=0)
        assert members > 30
        assert least < (a / b) / (c / d) < most, plan


def test_who_is_chosen_for_a_disease_has_it_on_record() -> None:
    world = World.of(6, 1.0)
    block, events = draw(make(world, ["base"]), world, 0)
    assert (block.days("disease") != NOBODY).all()
    codes = {
        world.book.row(code)
        for name in SKIN_DISEASES
        for code in world.diagnoses.rows[world.diagnoses.index(name)].codes
    }
    recorded = np.unique(events.person[np.isin(events.code, sorted(codes))])
    assert len(recorded) == BLOCK
    age = (block.days("end") - block.days("birth")) / YEAR
    pemphigoid = block.days("disease") == list(SKIN_DISEASES).index("bullous pemphigoid")
    assert np.median(age[pemphigoid]) > 72


def test_the_record_follows_disease(drawn: tuple[Block, Events], world: World) -> None:
    block, events = drawn
    assert block.registered(events.person, events.day).all()
    years = (block.days("end") - block.days("start") + 1) / YEAR
    assert 45 < len(events.person) / years.sum() < 80, "events for each patient and year"
    hba1c, visits = world.book.row("999791000000106"), np.bincount(events.person, minlength=BLOCK)
    diabetes = np.isfinite(block.known[:, world.diagnoses.index("type 2 diabetes")])
    tests = np.bincount(events.person[events.code == hba1c], minlength=BLOCK)
    assert tests[diabetes].sum() / years[diabetes].sum() > 4 * tests[~diabetes].sum() / years[~diabetes].sum()
    access = np.argsort(block.floats("access"))
    assert (
        visits[access[-300:]].sum() / years[access[-300:]].sum()
        > 1.3 * visits[access[:300]].sum() / years[access[:300]].sum()
    )
    codes = sorted(
        {world.book.row(code) for code in world.diagnoses.rows[world.diagnoses.index("type 2 diabetes")].codes}
    )
    mine = np.isin(events.code, codes)
    assert set(events.person[mine]) <= set(np.flatnonzero(diabetes)), "nobody has a code of a disease without its onset"
    assert (events.day[mine] >= block.onset[events.person[mine], world.diagnoses.index("type 2 diabetes")]).all()


def test_history_is_entered_at_the_registration(drawn: tuple[Block, Events]) -> None:
    block, _ = drawn
    before = (block.onset < block.days("start")[:, None]) & np.isfinite(block.known)
    share = (block.known == block.days("start")[:, None])[before].mean()
    assert 0.85 < share < 0.97


def test_codes_are_recorded_as_often_as_in_england(drawn: tuple[Block, Events], world: World) -> None:
    """Over the first block: the total of each code a patient and year, beside the NHS file, for the 150 codes used most."""
    block, events = drawn
    years = (block.days("end") - block.days("start") + 1).sum() / YEAR
    rates = np.bincount(events.code, minlength=len(world.book.codes))[:150] / years
    ratio = np.log(np.maximum(rates, 1e-6) / world.book.yearly[:150])
    assert np.median(np.abs(ratio)) < np.log(1.6)


def test_children_have_no_codes_of_adults(drawn: tuple[Block, Events], world: World) -> None:
    block, events = drawn
    age = (events.day - block.days("birth")[events.person]) / YEAR
    names = np.array(world.book.names)[events.code[age < 12]]
    assert len(names) > 1000
    assert not [name for name in names if "Smoker" in name or "dementia" in name.lower() or "Pregnan" in name]


def test_plans_that_record_one_code_do_not_go_together(world: World) -> None:
    with pytest.raises(UserError, match=r"outcomes and calendar do not go together.* \d+ Stye and chalazion"):
        make(world, ["base", "calendar", "outcomes"])
    # All others do. Each mechanism is made once, for all combinations.
    usual = [Care(world.diagnoses, world.book), Laboratory(world.diagnoses, world.book)]
    made = {build: build(world) for build in dict.fromkeys(build for plan in PLANS.values() for build in plan.adds)}
    subtle = SubtleGroups(world.book, world.seed, tuple(KINDS))
    for groups in dict.fromkeys(plan.groups for plan in PLANS.values()):
        for left_out in ("calendar", "outcomes"):
            chosen = [plan for name, plan in PLANS.items() if plan.groups in ("", groups) and name != left_out]
            added = [made[build] for build in dict.fromkeys(build for plan in chosen for build in plan.adds)]
            together = [*usual, *added, *([subtle] if groups == "subtle" else [])]
            assert refuse_shared(together, world.book) is None  # type: ignore[func-returns-value]


def test_every_plan_is_described_in_the_docs() -> None:
    text = (Path(__file__).parents[3] / "docs/worlds.md").read_text(encoding="utf-8")
    assert [name for name in PLANS if f"`{name}`" not in text] == []
