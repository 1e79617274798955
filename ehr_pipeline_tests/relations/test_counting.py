"""Counts of pairs equal those of plain loops over patients."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from ehr_pipeline.patients.shard import Shard
from ehr_pipeline.relations import counting, measures, occurrences
from ehr_pipeline.relations.measures import OddsSums, RiskSums
from ehr_pipeline.relations.occurrences import NEVER, Occurrences, Source

WITHIN, CONCEPTS = 500, 6
PLACE = np.array([-1, 0, 1, 2, -1, 3, 4, 5, 5], np.int32)  # two tokens of one concept; two tokens of none


def shard(seed: int, patients: int = 60) -> Shard:
    rng = np.random.default_rng(seed)
    number = rng.integers(0, 12, patients)
    days = [np.sort(rng.choice(4000, some, replace=False)) + 5000 for some in number]
    held = [np.sort(rng.choice(len(PLACE), rng.integers(1, 5), replace=False)) for _ in range(number.sum())]
    starts = [np.concatenate([[0], np.cumsum(parts)]) for parts in ([len(one) for one in held], number)]
    return Shard(
        np.concatenate(held).astype(np.int32),
        starts[0].astype(np.int32),
        np.concatenate(days).astype(np.int32),
        starts[1].astype(np.int32),
        rng.integers(-12_000, 4000, patients).astype(np.int32),
        np.zeros(patients, bool),
    )


@pytest.fixture(scope="module")
def sources() -> list[Source]:
    rng = np.random.default_rng(0)
    return [Source(shard(seed), rng.integers(0, 2, 60), np.full(60, -1)) for seed in range(8)]


@pytest.fixture(scope="module")
def read(sources: list[Source], tmp_path_factory: pytest.TempPathFactory) -> Occurrences:
    return occurrences.read(sources, PLACE, WITHIN, seed=1, work=tmp_path_factory.mktemp("work"), total=len(sources))


def records(sources: list[Source]) -> list[list[tuple[int, set[int]]]]:
    """Days and concepts of the visits of each patient."""
    found = []
    for source in sources:
        part = source.shard
        for begin, end in zip(part.patient_start[:-1], part.patient_start[1:], strict=True):
            visits = [(v, part.tokens[part.visit_start[v] : part.visit_start[v + 1]]) for v in range(begin, end)]
            found.append([(int(part.visit_day[v]), {int(PLACE[t]) for t in tokens} - {-1}) for v, tokens in visits])
    return found


def test_visits_and_patients_with_both_in_one_visit_are_counted_once(sources: list[Source], read: Occurrences) -> None:
    visits, patients = Counter[tuple[int, int]](), Counter[tuple[int, int]]()
    for record in records(sources):
        pairs = [{(i, j) for i in held for j in held} for _, held in record]
        for pair in pairs:
            visits.update(pair)
        patients.update(set[tuple[int, int]]().union(*pairs))
    for i in range(CONCEPTS):
        for j in range(CONCEPTS):
            assert read.in_visits[i, j] == visits[i, j]
            assert read.together[i, j] == patients[i, j]
    assert (read.in_visits > read.together).any()
    assert read.visits == sum(len(record) for record in records(sources))


def test_token_ids_that_the_encoder_does_not_know_are_not_counted(sources: list[Source], tmp_path: Path) -> None:
    several = np.where(np.arange(len(PLACE)) < 4, PLACE, -1).astype(np.int32)
    found = []
    for name, place in (("known", several[:4]), ("all", several)):
        (tmp_path / name).mkdir()
        found.append(occurrences.read(sources, place, WITHIN, seed=1, work=tmp_path / name, total=len(sources)))
    for part in ("start", "place", "day", "recent", "in_visits", "together"):
        np.testing.assert_array_equal(*(getattr(one, part) for one in found))
    assert found[0].visits == found[1].visits, "a visit of unknown concepts is one of the record"


def test_first_days_and_visits_of_the_year_before(sources: list[Source], read: Occurrences) -> None:
    for patient, record in enumerate(records(sources)):
        entries = range(int(read.start[patient]), int(read.start[patient + 1]))
        firsts: dict[int, int] = {}
        for day, held in record:
            for concept in held:
                firsts.setdefault(concept, day)
        assert {int(read.place[e]): int(read.day[e]) for e in entries} == firsts
        for entry in entries:
            day = int(read.day[entry])
            assert read.recent[entry] == sum(day - occurrences.YEAR <= other < day for other, _ in record)


def test_different_concepts_of_a_record_are_counted_once(sources: list[Source], read: Occurrences) -> None:
    held = [
        set(part.tokens_of(np.array([patient]))[1]) for part in (one.shard for one in sources) for patient in range(60)
    ]
    assert read.people.concepts.tolist() == list(map(len, held))


def test_index_days_have_a_year_before_and_the_time_after(sources: list[Source], read: Occurrences) -> None:
    for patient, record in enumerate(records(sources)):
        days = [day for day, _ in record]
        fits = [day for day in days if day >= days[0] + occurrences.YEAR and day <= days[-1] - WITHIN]
        index = int(read.people.index[patient])
        assert index in fits if fits else index == NEVER


def plainly(read: Occurrences) -> tuple[OddsSums, RiskSums]:
    """The sums by loops over strata and pairs."""
    n, people = read.concepts, read.people
    firsts = [
        {int(read.place[e]): int(read.day[e]) for e in range(int(read.start[p]), int(read.start[p + 1]))}
        for p in range(len(read.start) - 1)
    ]
    amounts = people.concepts[people.concepts > 1]
    cuts = counting.narrow(np.quantile(amounts, np.arange(1, 6) / 6), amounts)
    recent_cuts = np.quantile(people.recent[people.index != NEVER], (1 / 3, 2 / 3))

    def stratum(day: int, patient: int, amount: int, at: np.ndarray, band: int = 0) -> tuple[int, ...]:
        years = (day - int(people.birth[patient])) / 365.2425
        return int(max(years, 0) // counting.BAND), int(people.sex[patient]), int((amount > at).sum()), band

    def on(day: int, patient: int, recent: int) -> tuple[int, ...]:
        years = (day - int(people.first[patient])) / occurrences.YEAR
        return stratum(day, patient, recent, recent_cuts, 1 + sum(years >= bound for bound in (2, 4, 8, 16)))

    ever: dict[tuple[int, ...], list[int]] = {}
    index: dict[tuple[int, ...], list[int]] = {}
    for p in range(len(firsts)):
        if people.concepts[p] > 1:
            ever.setdefault(stratum(int(people.last[p]), p, int(people.concepts[p]), cuts), []).append(p)
        if people.index[p] != NEVER:
            index.setdefault(on(int(people.index[p]), p, int(people.recent[p])), []).append(p)
    odds, risks = OddsSums.zeros((n, n)), RiskSums.zeros((n, n))
    for members in ever.values():
        has = np.array([[c in firsts[p] for c in range(n)] for p in members])
        both = (has[:, :, None] & has[:, None, :]).sum(0).astype(np.int32)
        odds.add(both, has.sum(0), has.sum(0), len(members))
    for key, members in index.items():
        cells, dates = np.zeros((4, n, n), np.int32), np.zeros((2, n), np.int32)
        for p, record in enumerate(firsts):
            for e in range(int(read.start[p]), int(read.start[p + 1])):
                i, day = int(read.place[e]), int(read.day[e])
                if not people.first[p] + occurrences.YEAR <= day <= people.last[p] - WITHIN:
                    continue
                if on(day, p, int(read.recent[e])) != key:
                    continue
                dates[0, i] += 1
                for j in range(n):
                    if record.get(j, day + 1) > day:
                        cells[1, i, j] += 1
                        cells[0, i, j] += j in record and record[j] <= day + WITHIN
        for p in members:
            day = int(people.index[p])
            for i in range(n):
                dates[1, i] += firsts[p].get(i, day + 1) > day
                for j in range(n):
                    if firsts[p].get(i, day + 1) > day and firsts[p].get(j, day + 1) > day:
                        cells[3, i, j] += 1
                        cells[2, i, j] += j in firsts[p] and firsts[p][j] <= day + WITHIN
        risks.add((cells[0], cells[1]), (cells[2], cells[3]), (dates[0], dates[1]))
    return odds, risks


@pytest.mark.parametrize("rows", [4, 1024])
def test_sums_over_strata_are_those_of_plain_loops(
    read: Occurrences, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    monkeypatch.setattr(counting, "ROWS", rows)
    for name in ("BAND", "BAND_OF_RISK"):
        monkeypatch.setattr(counting, name, 15.0)  # so that strata of this few patients hold several
    found, (odds, risks) = counting.count(read, WITHIN), plainly(read)
    apart = ~np.eye(CONCEPTS, dtype=bool)
    assert found.risks.cases[apart].sum() > 50
    for sums, expected in ((found.odds, odds), (found.risks, risks)):
        for name in type(sums).__annotations__:
            np.testing.assert_allclose(
                getattr(sums, name)[apart], getattr(expected, name)[apart], rtol=1e-9, err_msg=name
            )
    np.testing.assert_array_equal(np.diagonal(found.both), read.patients)


def test_no_patient_and_no_concept_count_nothing(tmp_path: Path) -> None:
    empty = np.zeros(1, np.int32)
    none = Shard(np.zeros(0, np.int32), empty, np.zeros(0, np.int32), empty, np.zeros(0, np.int32), np.zeros(0, bool))
    read = occurrences.read(
        [Source(none, np.zeros(0, np.int64), np.zeros(0, np.int64))], PLACE, WITHIN, seed=1, work=tmp_path, total=1
    )
    assert not counting.count(read, WITHIN).both.any()


def test_complaints_that_only_show_who_attends_often_are_not_told(tmp_path: Path) -> None:
    """Patients of one age and sex differ in how often they come. At each visit they have one of many complaints by chance. Two of
    the complaints belong together."""
    rng, compared, every = np.random.default_rng(3), 60, 300
    number = np.clip(rng.lognormal(2.5, 0.9, 5000), 1, 300).astype(np.int64)
    share = 1 / np.arange(2, every + 2)
    held = rng.choice(every, number.sum(), p=share / share.sum())
    held[np.flatnonzero((held == 20) & (rng.random(len(held)) < 0.3)) - 1] = 21
    starts = np.concatenate([[0], np.cumsum(number)]).astype(np.int32)
    days = np.arange(number.sum()) - np.repeat(starts[:-1], number) + 9000
    birth = np.full(len(number), -5000, np.int32)
    tokens, visits = held.astype(np.int32), np.arange(len(held) + 1, dtype=np.int32)
    records = Shard(tokens, visits, days.astype(np.int32), starts, birth, np.zeros(len(number), bool))
    place = np.where(np.arange(every) < compared, np.arange(every), -1).astype(np.int32)
    source = Source(records, *np.zeros((2, len(number)), np.int64))
    found = counting.count(occurrences.read([source], place, WITHIN, seed=1, work=tmp_path, total=1), WITHIN)
    upper = np.triu_indices(compared, 1)
    told = np.flatnonzero(measures.benjamini_hochberg(found.odds.tail()[upper]) <= 0.05)
    pairs = [(int(upper[0][one]), int(upper[1][one])) for one in told]
    assert (20, 21) in pairs
    assert len(pairs) <= 2


def test_within_a_part_amounts_differ_at_most_twofold() -> None:
    amounts = np.concatenate([np.full(300, 2), np.full(50, 7), np.arange(30, 90), [400]])
    limits = np.quantile(amounts, np.arange(1, 10) / 10)
    narrow = counting.narrow(limits, amounts)
    part = np.searchsorted(narrow, np.arange(2, 401))
    ranges = [np.flatnonzero(part == number) + 2 for number in range(len(narrow) + 1)]
    assert all(each[-1] <= 2 * each[0] for each in ranges if len(each))
    assert len(np.unique(np.searchsorted(limits, amounts))) <= len(np.unique(np.searchsorted(narrow, amounts)))
    even = np.arange(30, 60)
    assert len(counting.narrow(np.array([39.5, 49.5]), even)) == 2, "nothing is wide here"


def counted(has: np.ndarray, work: Path) -> counting.Pairs:
    """Pairs of patients of one age and sex, who have the concepts `has` (P, n), one a day."""
    patients, concepts = has.shape
    work.mkdir()
    owner, held = np.nonzero(has)
    first = np.searchsorted(owner, np.arange(patients + 1)).astype(np.int32)
    days = np.full(len(owner), 9000, np.int32) + np.arange(len(owner), dtype=np.int32) - first[owner]
    visits = np.arange(len(owner) + 1, dtype=np.int32)
    birth = np.full(patients, -5000, np.int32)
    records = Shard(held.astype(np.int32), visits, days.astype(np.int32), first, birth, np.zeros(patients, bool))
    source = Source(records, *np.zeros((2, patients), np.int64))
    place = np.arange(concepts, dtype=np.int32)
    return counting.count(occurrences.read([source], place, WITHIN, seed=1, work=work, total=1), WITHIN)


@pytest.mark.parametrize("codes", [1, 3])
def test_pairs_that_only_show_who_has_hardly_any_record_are_not_told(tmp_path: Path, codes: int) -> None:
    """One patient in sixteen came once, for a vaccination; all others have thirty of a hundred common concepts by chance. Nobody's
    concepts go together."""
    rng, patients, concepts = np.random.default_rng(11), 3_000, 100
    has = rng.random((patients, concepts)) < rng.uniform(0.05, 0.6, concepts)
    has[:, 0] = rng.random(patients) < 0.95
    few = np.arange(patients) % 16 == 0
    has[few] = False
    for patient in np.flatnonzero(few):
        has[patient, rng.choice(concepts, codes, replace=False)] = True
    found = counted(has, tmp_path / "all")
    upper = np.triu_indices(concepts, 1)
    sure = measures.benjamini_hochberg(found.odds.tail()[upper]) <= 0.05
    assert (sure & (found.odds.r > found.odds.s)[upper]).sum() <= 2
    if codes == 1:  # patients with one concept are left out
        others = counted(has[~few], tmp_path / "others").odds
        np.testing.assert_array_equal(found.odds.s, others.s)


def of_practices(rng: np.random.Generator, together: float) -> Source:
    """40 practices of 100 patients of one age and sex. Half of the practices record the concepts 0 and 1 in two of three patients,
    the others in none. Patients have 2 and 3 by chance, and a share `together` with 2 has 4 too."""
    habit, patients = np.repeat(np.arange(40) % 2 == 0, 100), 4000
    has = rng.random((patients, 6)) < np.array([2 / 3, 2 / 3, 0.3, 0.3, 0.1, 0.5])
    has[~habit, :2] = False
    has[:, 4] |= has[:, 2] & (rng.random(patients) < together)
    everybody = np.ones((patients, 2), bool)  # two concepts that are not compared
    owner, held = np.nonzero(np.column_stack([has, everybody]))
    first = np.searchsorted(owner, np.arange(patients + 1)).astype(np.int32)
    days = (9000 + np.arange(len(owner)) - first[owner]).astype(np.int32)
    visits = np.arange(len(owner) + 1, dtype=np.int32)
    birth = np.full(patients, -5000, np.int32)
    records = Shard(held.astype(np.int32), visits, days, first, birth, np.zeros(patients, bool))
    return Source(records, np.zeros(patients, np.int64), np.repeat(np.arange(40), 100))


def test_pairs_that_only_show_which_practices_record_both_are_not_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "parts_for", lambda patients: 1)
    monkeypatch.setattr(counting, "WIDEST", 100.0)  # nobody has more than seven concepts
    source = of_practices(np.random.default_rng(5), 0.3)
    place = np.array([0, 1, 2, 3, 4, 5, -1, -1], np.int32)
    found = {}
    for name, practice in (("known", source.practice), ("not known", np.full(4000, -1))):
        (tmp_path / name).mkdir()
        given = [Source(source.shard, source.sex, practice)]
        found[name] = counting.count(
            occurrences.read(given, place, WITHIN, seed=1, work=tmp_path / name, total=1), WITHIN
        )
    known, unknown = found["known"], found["not known"]
    assert (known.practices, unknown.practices) == (40, 0)
    assert unknown.odds.tail()[0, 1] < 1e-9
    assert unknown.odds.ratio().low[0, 1] > 2
    assert known.odds.tail()[0, 1] > 0.01
    assert known.odds.ratio().low[0, 1] < 1 < known.odds.ratio().high[0, 1]
    assert known.odds.tail()[2, 4] < 1e-9
    here = np.zeros((40, 6))
    owner = np.repeat(np.arange(4000), np.diff(source.shard.patient_start))
    np.add.at(here, (source.practice[owner], np.minimum(source.shard.tokens, 5)), source.shard.tokens < 6)
    apart = ~np.eye(6, dtype=bool)
    np.testing.assert_allclose(
        known.odds.expected[apart], (here.T @ here / 100)[apart], err_msg="a test within practices"
    )
    rest = np.triu_indices(6, 1)
    rest = rest[0][rest[0] > 1], rest[1][rest[0] > 1]
    for part in ("value", "low", "high"):
        np.testing.assert_allclose(*(getattr(one.odds.ratio(), part)[rest] for one in (known, unknown)), rtol=0.1)
