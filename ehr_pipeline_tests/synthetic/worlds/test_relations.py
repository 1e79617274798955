"""Pairs of diagnoses that are related within visits, with a lag, or through age alone; and two sites."""

import numpy as np
import pytest

from ehr_pipeline.synthetic.people import PRACTICES
from ehr_pipeline.synthetic.worlds import relations
from ehr_pipeline.synthetic.worlds.mechanism import BLOCK, YEAR, Block, Events
from ehr_pipeline.synthetic.worlds.plan import World, make
from ehr_pipeline.synthetic.worlds.relations import Relations, Sites
from ehr_pipeline.synthetic.worlds.write import draw

WORLD = World.of(6, 0.0)
Drawn = tuple[Relations, list[tuple[Block, Events]]]


@pytest.fixture(scope="module")
def drawn() -> Drawn:
    mechanisms = make(WORLD, ["relations"])
    planted = mechanisms[-1]
    assert isinstance(planted, Relations)
    return planted, [draw(mechanisms, WORLD, number) for number in range(3)]


def has(events: Events, code: np.integer) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    return np.bincount(events.person[events.code == code], minlength=BLOCK) > 0


def first(events: Events, code: np.integer) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    found = np.full(BLOCK, np.inf)
    here = events.code == code
    np.minimum.at(found, events.person[here], events.day[here])
    return found


def test_pairs_within_visits_share_days(drawn: Drawn) -> None:
    planted, blocks = drawn
    for kind, low, high in ((0, 0.5, 0.75), (1, 0.0, 0.02), (2, 0.0, 0.15)):
        shared, records = 0, 0
        for one, other in planted.pairs[kind]:
            for _, events in blocks:
                key = events.person.astype(np.int64) * 2**20 + events.day
                days = np.unique(key[events.code == other])
                shared += int(np.isin(days, key[events.code == one]).sum())
                records += len(days)
        assert low <= shared / records <= high, relations.KINDS[kind]


def test_the_second_follows_the_first_and_not_the_other_way_round(drawn: Drawn) -> None:
    planted, blocks = drawn
    after, before, alone = 0, 0, 0
    for one, other in planted.pairs[1]:
        for block, events in blocks:
            seen = np.flatnonzero(block.days("end") - first(events, one) > relations.LAG_DAYS[1])
            lag = first(events, other)[seen] - first(events, one)[seen]
            after += int(((lag >= relations.LAG_DAYS[0]) & (lag < relations.LAG_DAYS[1])).sum())
            before += int(((lag <= -relations.LAG_DAYS[0]) & (lag > -relations.LAG_DAYS[1])).sum())
            alone += len(seen)
    assert after / alone > 0.4
    assert before < after / 15


def test_pairs_through_age_are_related_over_all_ages_and_at_no_age(drawn: Drawn) -> None:
    """Mantel-Haenszel odds ratio over bands of age at the end and of length of record, beside the crude one."""
    planted, blocks = drawn
    crude, tables = np.zeros((2, 2)), {}
    for block, events in blocks:
        age = (block.days("end") - block.days("birth")) / YEAR // 3
        length = (block.days("end") - block.days("start")) / YEAR // 2
        strata = age * 100 + length
        for one, other in planted.pairs[2]:
            a, b = has(events, one), has(events, other)
            for stratum in np.unique(strata):
                here = strata == stratum
                table = np.array(
                    [[(a & b & here).sum(), (a & ~b & here).sum()], [(~a & b & here).sum(), (~a & ~b & here).sum()]]
                )
                tables[stratum] = tables.get(stratum, 0) + table
                crude += table
    over = sum(t[0, 0] * t[1, 1] / t.sum() for t in tables.values())
    under = sum(t[0, 1] * t[1, 0] / t.sum() for t in tables.values())
    assert crude[0, 0] * crude[1, 1] / (crude[0, 1] * crude[1, 0]) > 2.5
    assert 0.8 < over / under < 1.25


def test_the_truth_names_the_pairs(drawn: Drawn) -> None:
    table, meaning = drawn[0].shared_truth["relations"]
    assert table["relation"].value_counts()["count"].to_list() == [relations.PAIRS] * len(relations.KINDS)
    assert set(table.columns) == set(meaning)
    assert table.select("first", "second").unpivot()["value"].n_unique() == 2 * relations.PAIRS * len(relations.KINDS)
    assert (table["first_cui"].str.len_chars() > 0).all()


def test_the_second_site_has_codes_and_rates_of_its_own() -> None:
    mechanisms = make(WORLD, ["sites"])
    sites = mechanisms[-1]
    assert isinstance(sites, Sites)
    counts = np.zeros((2, len(WORLD.book.codes)))
    for number in range(2):
        block, events = draw(mechanisms, WORLD, number)
        site = sites.second[block.days("practice")][events.person].astype(int)
        for here in (0, 1):
            counts[here] += np.bincount(events.code[site == here], minlength=counts.shape[1])
    own, taken = sites.codes, np.flatnonzero(sites.synonym != np.arange(len(sites.synonym)))
    assert not counts[0, own].any(), "the first site never uses the synonyms of the second"
    assert not counts[1, taken].any(), "which has none of the codes that they stand for"
    assert counts[1, own].sum() > 5000
    common = np.arange(relations.COMMON)
    assert len(taken) / len(common) == pytest.approx(relations.OWN_SHARE, abs=0.02)
    kept = np.setdiff1d(common[:150], taken)
    shares = np.log(counts[:, kept] + 1) - np.log(counts.sum(axis=1, keepdims=True))
    assert (shares[1] - shares[0]).std() == pytest.approx(relations.SITE_SPREAD, abs=0.15)
    assert np.corrcoef(shares[1] - shares[0], np.log(sites.factor[kept]))[0, 1] > 0.85
    table = sites.shared_truth["sites"][0]
    assert table["practice"].to_list() == list(PRACTICES)
    assert set(table["site"]) == {1, 2}
