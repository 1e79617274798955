import numpy as np
import pyarrow as pa

from ehr_pipeline.clusters.matching import MOST, PRACTICE, Matching, has_practices

PATIENTS = 300


def people(practices: list[str]) -> pa.Table:
    rng = np.random.default_rng(0)
    given = np.arange(PATIENTS)
    return pa.table(
        {
            "disease": np.array(["psoriasis", "acne"])[given % 2],
            "sex": np.array(["F", "M"])[given // 2 % 2],
            PRACTICE: np.array(practices)[given // 4 % len(practices)],
            "mean_age": rng.uniform(0, 90, PATIENTS),
            "concepts": rng.integers(1, 500, PATIENTS),
        }
    )


def test_patients_are_compared_within_disease_and_sex_and_again_within_a_practice() -> None:
    table = people(["a", "b", "c"])
    by_sex, by_practice = Matching.of(table).blockings()
    for blocks, equal in ((by_sex, ("disease", "sex")), (by_practice, ("disease", PRACTICE))):
        assert np.bincount(blocks).max() <= MOST
        for name in equal:
            pairs = set(zip(blocks.tolist(), table.column(name).to_pylist(), strict=True))
            assert len(pairs) == len(np.unique(blocks)), f"every block is of one {name}"


def test_one_practice_is_no_second_comparison() -> None:
    for table in (people(["a"]), people(["a", "b"]).drop_columns([PRACTICE])):
        assert not has_practices(table)
        assert len(Matching.of(table).blockings()) == 1


def test_some_patients_are_those_patients() -> None:
    rows = np.arange(0, PATIENTS, 3)
    table = people(["a", "b"])
    some, all_of_them = Matching.of(table).among(rows), Matching.of(table.take(pa.array(rows)))
    for one, other in zip(some.blockings(4), all_of_them.blockings(4), strict=True):
        assert np.array_equal(one, other)
