"""Worlds without subgroups: each differs from the plain one in what its plan names, and in nothing else."""

import numpy as np
import polars as pl
import pytest

from ehr_pipeline.synthetic.people import PRACTICES
from ehr_pipeline.synthetic.worlds import nuisance
from ehr_pipeline.synthetic.worlds.mechanism import BLOCK, YEAR, Block, Events
from ehr_pipeline.synthetic.worlds.plan import World, make
from ehr_pipeline.synthetic.worlds.population import NOBODY
from ehr_pipeline.synthetic.worlds.write import draw

Drawn = dict[str, tuple[Block, Events]]
WORLD = World.of(3, 0.5)
PLAIN = ("null",)


@pytest.fixture(scope="module")
def drawn() -> Drawn:
    """The first block of each world, with the same seed."""
    plans = ("null", "traits", "practices-strong", "calendar", "access", "referral")
    return {plan: draw(make(WORLD, [plan]), WORLD, 0) for plan in plans}


def mechanism(plan: str, kind: type) -> object:
    return next(one for one in make(WORLD, [plan]) if isinstance(one, kind))


def test_no_world_has_groups(drawn: Drawn) -> None:
    """Labels there are, but hazards do not depend on them."""
    for plan, (block, _) in drawn.items():
        assert not block.hazard_ratio, plan
        assert (block.days("group") != NOBODY).any(), plan


def test_the_same_people_in_all_worlds(drawn: Drawn) -> None:
    plain = drawn["null"][0]
    for plan, (block, _) in drawn.items():
        assert np.array_equal(block.onset, plain.onset), plan
        assert np.array_equal(block.days("practice"), plain.days("practice")), plan


def test_traits_persist_and_are_independent(drawn: Drawn) -> None:
    block, events = drawn["traits"]
    chosen = mechanism("traits", nuisance.Traits).codes  # type: ignore[attr-defined]
    assert not np.isin(drawn["null"][1].code, chosen).sum() > 0.2 * np.isin(events.code, chosen).sum()
    counts = np.stack([np.bincount(events.person[events.code == code], minlength=BLOCK) for code in chosen], axis=1)
    carries = np.zeros((BLOCK, len(chosen)), bool)
    rows = block.truth["traits"]
    column = {WORLD.book.codes[code]: place for place, code in enumerate(chosen)}
    carries[rows["person"].to_numpy(), [column[code] for code in rows["code"]]] = True
    years = ((block.days("end") - block.days("start") + 1) / YEAR)[:, None] * np.ones(carries.shape)
    assert counts[carries].sum() / years[carries].sum() > 20 * counts[~carries].sum() / years[~carries].sum()
    together = np.corrcoef(carries.T)[np.triu_indices(len(chosen), 1)]
    assert abs(together.mean()) < 0.01
    assert np.abs(together).max() < 0.15


def test_practices_record_each_code_more_or_less(drawn: Drawn) -> None:
    """Over practices, the spread of the log share of common codes is far wider than in the plain world."""
    spreads = {}
    common = WORLD.book.rows(WORLD.book.codes[20:60])
    for plan in ("null", "practices-strong"):
        block, events = drawn[plan]
        practice = block.days("practice")[events.person]
        counts = np.array([np.bincount(practice[events.code == code], minlength=len(PRACTICES)) for code in common]) + 1
        shares = np.log(counts / np.bincount(practice, minlength=len(PRACTICES)))
        spreads[plan] = shares.std(axis=1).mean()
    assert spreads["practices-strong"] > 1.7 * spreads["null"]


def test_practices_have_habits(drawn: Drawn) -> None:
    """The share of a diagnosis' records that use the synonym which the truth says is preferred."""
    practices = mechanism("practices-strong", nuisance.Practices)
    assert isinstance(practices, nuisance.Practices)
    table, _ = practices.shared_truth["habits"]
    assert table.group_by("synonyms").agg(pl.col("preferred").n_unique())["preferred"].min() > 1  # type: ignore[operator]
    preferred = {row[:2]: WORLD.book.row(row[2]) for row in table.iter_rows()}
    shares = {}
    for plan in ("null", "practices-strong"):
        block, events = drawn[plan]
        practice = block.days("practice")[events.person]
        used, recorded = 0, 0
        for (name, synonyms), row in preferred.items():
            mine = np.isin(events.code, WORLD.book.rows(synonyms.split())) & (practice == PRACTICES.index(name))
            recorded += int(mine.sum())
            used += int((events.code[mine] == row).sum())
        shares[plan] = used / recorded
    assert shares["practices-strong"] > 0.75
    assert shares["null"] < 0.65


def test_codes_stop_and_their_successors_begin(drawn: Drawn) -> None:
    _, events = drawn["calendar"]
    calendar = mechanism("calendar", nuisance.Calendar)
    assert isinstance(calendar, nuisance.Calendar)
    for old, new, on in zip(calendar.old, calendar.new, calendar.on, strict=True):
        before, after = events.day[events.code == old], events.day[events.code == new]
        assert not len(before) or before.max() < on
        assert not len(after) or after.min() >= on
    late = calendar.on == nuisance.BREAKS[1]
    assert np.isin(events.code, calendar.old[late]).sum() > 1000


def test_access_widens_the_amount_of_record(drawn: Drawn) -> None:
    spreads = []
    for plan in ("null", "access"):
        block, events = drawn[plan]
        years = (block.days("end") - block.days("start") + 1) / YEAR
        amount = np.log(np.bincount(events.person, minlength=BLOCK) + 1) - np.log(years)
        spreads.append(amount[years > 3].std())
    assert spreads[1] > 1.2 * spreads[0]


def test_referral_goes_with_the_practice_and_begins_on_a_day(drawn: Drawn) -> None:
    block, events = drawn["referral"]
    referral = mechanism("referral", nuisance.Referral)
    assert isinstance(referral, nuisance.Referral)
    table = block.truth["referrals"]
    near = referral.centre_of[block.days("practice")] >= 0
    referred = np.zeros(BLOCK, bool)
    referred[table["person"].to_numpy()] = True
    assert referred[near].mean() > 4 * referred[~near].mean()
    since = np.full(BLOCK, np.inf)
    since[table["person"].to_numpy()] = table["day"].cast(int).to_numpy()
    mine = events.where(np.isin(events.code, referral.codes))
    assert len(mine.person) > 100
    assert (mine.day >= since[mine.person]).all()


def test_worlds_add_up() -> None:
    block, events = draw(make(WORLD, ["base", "traits", "calendar"]), WORLD, 0)
    assert block.hazard_ratio
    assert "traits" in block.truth
    calendar = mechanism("calendar", nuisance.Calendar)
    assert np.isin(events.code, calendar.old).any()  # type: ignore[attr-defined]
