"""What vectors rest on: a record without a concept is the record without it, and the concepts that part two groups are named."""

from pathlib import Path

import numpy as np
import pytest

from ehr_pipeline.clusters import occlusion
from ehr_pipeline.clusters.occlusion import AGE, Occlusion
from ehr_pipeline.clusters.planted import PlantedGroups, read_agreement
from ehr_pipeline.cohort.members import Cohort
from ehr_pipeline.embeddings import transform
from ehr_pipeline.embeddings.profile import Gram, profiled, profiles, usual
from ehr_pipeline.embeddings.settings import VectorSettings
from ehr_pipeline.patients.histories import without_token
from ehr_pipeline.patients.shard import Shard
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.vocabulary.table import Vocabulary
from ehr_pipeline_tests.encoder.data import write_shard
from ehr_pipeline_tests.test_artifact_readers import cohort

Record = tuple[str, str, list[tuple[str, list[int]]]]
PATIENTS: list[Record] = [
    ("1950-07-01", "year", [("2000-01-01", [5, 6]), ("2001-01-01", [5]), ("2009-05-01", [6, 7])]),
    ("1960-07-01", "year", [("2000-01-01", [7])]),
    ("1970-07-01", "day", [("2000-01-01", [6, 8]), ("2003-01-01", [8])]),
]


def flat(shard: Shard) -> list[list[tuple[int, list[int]]]]:
    """The visits of each patient: day and tokens."""
    visits = [
        (int(day), shard.tokens[slice(*shard.visit_start[n : n + 2])].tolist()) for n, day in enumerate(shard.visit_day)
    ]
    return [visits[slice(*shard.patient_start[n : n + 2])] for n in range(len(shard.birth_day))]


def test_a_record_without_a_concept_is_as_if_it_had_never_been_recorded(tmp_path: Path) -> None:
    whole = Shard.read(write_shard(tmp_path / "a.arrow", PATIENTS))  # type: ignore[arg-type]
    pairs = [(2, 8), (0, 5), (0, 6), (1, 7), (0, 9)]
    rows, tokens = (np.array(side) for side in zip(*pairs, strict=True))
    copies = without_token(whole.take(rows), tokens)
    told: list[Record] = []
    for row, token in pairs:
        born, precision, visits = PATIENTS[row]
        left = [(day, [each for each in own if each != token]) for day, own in visits]
        told.append((born, precision, [(day, tokens) for day, tokens in left if tokens]))
    assert flat(copies) == flat(Shard.read(write_shard(tmp_path / "b.arrow", told)))  # type: ignore[arg-type]
    assert copies.birth_day.tolist() == whole.birth_day[[row for row, _ in pairs]].tolist()
    assert np.diff(copies.patient_start).tolist() == [1, 2, 3, 0, 3]


def test_the_lead_is_over_the_nearest_other_centre() -> None:
    centres = np.array([[1, 0], [0, 1], [0.6, 0.8]], np.float32)
    unit = np.array([[1, 0], [1, 0], [0, 1]], np.float32)
    assert occlusion.lead(unit, centres, np.array([0, 1, 2])) == pytest.approx([0.4, -1, -0.2])


def groups(tmp_path: Path, rng: np.random.Generator) -> tuple[Path, Cohort, transform.Transform, np.ndarray]:
    """120 patients with concepts 5 to 9 at random, of whom each half has a further one (10 or 11), and their transform."""
    records: list[Record] = []
    for number in range(120):
        own = 10 + number % 2
        visits = [(f"20{year:02}-01-01", sorted({int(rng.integers(5, 10)), own})) for year in range(1, 9)]
        records.append(("1950-07-01", "year", visits))
    path = write_shard(tmp_path / "00000.arrow", records)  # type: ignore[arg-type]
    shard, weights = Shard.read(path), np.where(np.arange(12) >= 5, 1, 0).astype(np.float32)
    counts = np.bincount(shard.tokens, minlength=12)
    arrays = {"concepts": profiled(counts, weights > 0), "passed": np.eye(7, dtype=np.float32)}
    arrays["usual"] = usual(arrays["concepts"], counts, 0.3)
    gram = Gram(7)
    for block in profiles(shard, np.arange(120), arrays["concepts"], arrays["passed"], arrays["usual"]):
        gram.add(block)
    arrays["basis"] = gram.components(4)
    learned = transform.Transform(VectorSettings(course=False, ages=False, encoder_share=0.0), weights, arrays)
    arrays["profile_centre"] = learned.confirmed(learned.profile(shard, np.arange(120))).mean(0)
    members = cohort(*((f"p{number}", path.name, number) for number in range(120)))
    return path, members, learned, learned.centred_profile(shard, np.arange(120))


def test_what_parts_two_groups_is_what_their_vectors_rest_on(tmp_path: Path) -> None:
    path, members, learned, vectors = groups(tmp_path, np.random.default_rng(0))
    labels = np.arange(120) % 2
    shuffled = np.random.default_rng(1).permutation(120)
    for order in (np.arange(120), shuffled):  # the order of the patients is not that of the shard
        found = occlusion.measure(
            learned,
            [path],
            Cohort(members.table.take(order)),
            vectors[order],
            labels[order],
            numbers=np.array([3, 8]),
            seed=0,
        )
        assert found is not None
        assert found.sampled == {3: 60, 8: 60}
        assert [found.used[number][0].token for number in (3, 8)] == [10, 11]
        for number in (3, 8):
            first, *others = found.used[number]
            assert first.having == 60
            assert first.lost > 0.8
            assert first.low < first.lost
            assert all(other.lost < 0.1 for other in others)
        found.write(tmp_path)
        assert Occlusion.read(tmp_path) == found
    assert Occlusion.read(tmp_path / "none") is None


def test_without_a_profile_or_a_second_cluster_nothing_is_left_out(tmp_path: Path) -> None:
    path, members, learned, vectors = groups(tmp_path, np.random.default_rng(0))
    one = occlusion.measure(learned, [path], members, vectors, np.zeros(120, int), numbers=np.array([1]), seed=0)
    assert one is None
    bare = transform.Transform(VectorSettings(profile=0), learned.weights, {})
    labels, numbers = np.arange(120) % 2, np.array([1, 2])
    assert occlusion.measure(bare, [path], members, vectors, labels, numbers=numbers, seed=0) is None


def test_clusters_without_patients_are_left_out(tmp_path: Path) -> None:
    path, members, learned, vectors = groups(tmp_path, np.random.default_rng(0))
    labels = 2 * (np.arange(120) % 2)
    found = occlusion.measure(learned, [path], members, vectors, labels, numbers=np.array([1, 2, 3]), seed=0)
    assert found is not None
    assert found.used.keys() == {1, 3}


def test_vectors_of_planted_groups_rest_on_their_companions_and_age(tiny: Pipeline, extract: Path) -> None:
    clusters = tiny.store.current("clusters").path
    found, vocabulary = Occlusion.read(clusters), Vocabulary.read(tiny.store.current("vocabulary").path)
    agreement = read_agreement(clusters)
    assert found is not None
    assert agreement is not None
    own = PlantedGroups.read(extract / "truth").companions
    listed = {number: [one.token for one in used[:6]] for number, used in found.used.items()}
    hits = [
        vocabulary.token_of[concept] in listed[number]
        for group, number in agreement["main_cluster"].items()
        for concept in own[group]
        if concept in vocabulary.token_of
    ]
    assert np.mean(hits) > 0.7
    assert any(AGE in tokens for tokens in listed.values())
