import csv
from pathlib import Path

import numpy as np
import pytest

from ehr_pipeline import cli
from ehr_pipeline.disclosure.figures import Naming
from ehr_pipeline.embeddings import selection
from ehr_pipeline.embeddings.settings import PoolingSettings
from ehr_pipeline.errors import InputError, UserError
from ehr_pipeline.planning import curate_list
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.store.artifacts import hash_of
from ehr_pipeline.terminology import code_lists
from ehr_pipeline.vocabulary.table import FIRST_CONCEPT, Concept, Vocabulary
from ehr_pipeline_tests.conftest import write_settings

NAMING = Naming(10, "a key")


def vocabulary(patients: list[int]) -> Vocabulary:
    concepts = tuple(
        Concept(FIRST_CONCEPT + place, f"C{place:07}", f"name {place}", (), count, count)
        for place, count in enumerate(patients)
    )
    return Vocabulary(concepts, hash_of([one.concept for one in concepts]))


def on_a_circle(degrees: list[float]) -> np.ndarray:
    turned = np.radians([0.0] * FIRST_CONCEPT + degrees)
    return np.stack([np.cos(turned), np.sin(turned)], axis=1).astype(np.float32)


def test_each_neighbour_stands_once_under_the_listed_concept_it_is_nearest_to() -> None:
    known = vocabulary([1000, 2000, 444, 555])
    found, hidden = curate_list.candidates(
        frozenset({"C0000000", "C0000001"}), known, on_a_circle([0, 90, 40, 80]), 3, NAMING
    )
    assert [(one.concept, one.neighbour_of, one.patients) for one in found] == [
        ("C0000003", "name 1", 560),  # the most frequent listed concept comes first; counts are rounded to tens
        ("C0000002", "name 0", 440),
    ]
    assert found[0].cosine == pytest.approx(np.cos(np.radians(10)), abs=1e-6)
    assert hidden == 0


def test_a_concept_of_few_patients_is_counted_and_not_named() -> None:
    found, hidden = curate_list.candidates(
        frozenset({"C0000000"}), vocabulary([100, 10, 500]), on_a_circle([0, 5, 9]), 2, NAMING
    )
    assert [one.concept for one in found] == ["C0000002"]
    assert hidden == 1


def test_a_listed_concept_of_few_patients_is_not_named_beside_its_neighbours() -> None:
    found, _ = curate_list.candidates(frozenset({"C0000000"}), vocabulary([5, 500]), on_a_circle([0, 9]), 1, NAMING)
    assert [(one.concept, one.neighbour_of) for one in found] == [("C0000001", curate_list.RARE)]


def test_the_list_and_all_its_neighbours_are_what_pooling_takes_unseen() -> None:
    random = np.random.default_rng(4)
    known = vocabulary([1000] * 60)
    vectors = random.normal(size=(known.size, 8)).astype(np.float32)
    listed = frozenset({"C0000003", "C0000017", "C0000040", "C9999999"})
    found, _ = curate_list.candidates(listed, known, vectors, 5, NAMING)
    pooled = selection.by_list(PoolingSettings(select="list", concepts="x", neighbours=5), known, vectors, listed)
    tokens = {known.token_of[one] for one in listed & set(known.token_of)} | {
        known.token_of[one.concept] for one in found
    }
    assert tokens == set(np.flatnonzero(pooled).tolist())


def test_a_list_outside_the_vocabulary_is_refused() -> None:
    with pytest.raises(InputError, match="None of the listed concepts is in the vocabulary"):
        curate_list.candidates(frozenset({"C9999999"}), vocabulary([100, 100]), on_a_circle([0, 1]), 2, NAMING)


def review(path: Path, *rows: str) -> Path:
    path.write_text("\n".join([",".join(curate_list.REVIEW.names), *rows]) + "\n")
    return path


def test_only_what_was_accepted_enters_the_list_with_who_and_when(tmp_path: Path) -> None:
    filled = review(
        tmp_path / "review.csv",
        "C0000001,Itch,Eczema,0.9,120,Accept,Dr A,2026-03-31,",
        "C0000002,Cough,Eczema,0.8,90,refuse,Dr A,2026-03-31,not of the skin",
        "C0000003,Wheeze,Eczema,0.8,90,,,,",
    )
    accepted = [one for one in curate_list.read_reviews([filled]) if one.accepted]
    row = code_lists.ListedConcept("43116000", "", "Eczema", "OpenSAFELY")
    curate_list.write_list(tmp_path / "list.csv", [row], accepted)
    assert [(one.code, one.cui, one.source) for one in code_lists.read(tmp_path / "list.csv")] == [
        ("43116000", "", "OpenSAFELY"),
        ("", "C0000001", "neighbour of Eczema; accepted by Dr A on 2026-03-31"),
    ]


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("C0000001,Itch,Eczema,0.9,120,perhaps,Dr A,2026-03-31,", "line 3: the decision must be 'accept', 'refuse'"),
        ("C0000001,Itch,Eczema,0.9,120,accept,,2026-03-31,", "line 3: it has a decision, but no reviewer"),
        ("C0000001,Itch,Eczema,0.9,120,accept,Dr A,31/03/2026,", "line 3: it has a decision, but no date"),
        (",Itch,Eczema,0.9,120,accept,Dr A,2026-03-31,", "line 3: it contains no concept"),
        ("C0000001,Itch", "line 3: 2 fields, but the header has 9"),
    ],
)
def test_a_decision_that_cannot_be_kept_is_refused_by_its_line(tmp_path: Path, row: str, problem: str) -> None:
    filled = review(tmp_path / "review.csv", "C0000009,Rash,Eczema,0.9,120,,,,", row)
    with pytest.raises(InputError, match=problem):
        curate_list.read_reviews([filled])


def test_reviewers_who_disagree_have_to_settle_it(tmp_path: Path) -> None:
    one = review(tmp_path / "one.csv", "C0000001,Itch,Eczema,0.9,120,accept,Dr A,2026-03-31,")
    other = review(tmp_path / "other.csv", "C0000001,Itch,Eczema,0.9,120,refuse,Dr B,2026-04-01,")
    assert len(curate_list.read_reviews([one, one])) == 1
    with pytest.raises(
        InputError, match=r"accepted in one place and refused in another: .*one.csv.* line 2.*other.csv"
    ):
        curate_list.read_reviews([one, other])
    (tmp_path / "list.csv").write_text("code,cui,name,source\n")
    with pytest.raises(InputError, match="Missing: concept, neighbour_of"):
        curate_list.read_reviews([tmp_path / "list.csv"])


def test_offer_review_and_list_on_a_study(
    tiny: Pipeline, extract: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = Vocabulary.read(tiny.store.current("vocabulary").path)
    frequent = max(known.concepts, key=lambda one: one.patients)
    start, offer, out = tmp_path / "start.csv", tmp_path / "offer.csv", tmp_path / "list.csv"
    start.write_text(f"code,cui,name,source\n,{frequent.concept},a name,me\n")
    settings = ["--settings", str(write_settings(tmp_path / "s.toml", extract, tiny.store.root))]
    assert cli.main(["curate", str(start), "--offer", str(offer), *settings]) == 0
    with offer.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert 0 < len(rows) <= 10
    assert all(int(row["patients"]) % 10 == 0 for row in rows)
    rows[0] |= {"decision": "accept", "reviewer": "me", "date": "2026-03-31"}
    with offer.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    again = ["curate", str(start), "--review", str(offer), "--out", str(out), "--offer", str(tmp_path / "more.csv")]
    capsys.readouterr()
    assert cli.main([*again, *settings]) == 0
    assert f"1 decided, {len(rows) - 1} not yet" in capsys.readouterr().out
    assert [row.cui for row in code_lists.read(out)] == [frequent.concept, rows[0]["concept"]]
    with (tmp_path / "more.csv").open(newline="") as stream:
        assert [row["concept"] for row in csv.DictReader(stream)] == [row["concept"] for row in rows[1:]]
    assert cli.main(["curate", str(start), "--out", str(tmp_path / "x.csv"), *settings]) == 2
    with pytest.raises(UserError, match="already exists"):
        curate_list.write_offer(offer, [])
