"""The page says which concepts count as one, or that nobody could look."""

from pathlib import Path
from typing import Any

import pytest

from ehr_pipeline.reports.inputs import Inputs
from ehr_pipeline.reports.sections import short
from ehr_pipeline.reports.statements import vectors
from ehr_pipeline.reports.substituted_concepts import Substituted, substituted
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.store.artifacts import Artifact
from ehr_pipeline.tables import schemas
from ehr_pipeline.vocabulary.table import Vocabulary

PAIRS = (("A", "B"), ("C", "D"), ("E", "B"))


def read(folder: Path, habits: str, counts: dict[str, Any], named: str = "ABCDE") -> Substituted:
    rows = [f"{one},name of {one},{other},name of {other},0.1,0.9" for one, other in PAIRS[: counts.get("substitutes")]]
    (folder / "substitutes.csv").write_text("\n".join([",".join(schemas.SUBSTITUTES.names), *rows]) + "\n")
    manifest = {"counts": counts, "settings": {"vectors": {"habits": habits}}}
    inputs = Inputs("study", [], {"patient_embeddings": Artifact(folder, manifest)}, {}, 0, {})
    return substituted(inputs, named)


def test_pairs_hang_together_in_sets_the_largest_first(tmp_path: Path) -> None:
    found = read(tmp_path, "practice", {"substitutes": 3})
    assert found.sets == (("name of A", "name of E", "name of B"), ("name of C", "name of D"))
    assert found.sentence.startswith(
        "5 concepts, in 2 sets, occur in similar records, but seldom in those of the same practice"
    )


def test_what_few_patients_have_is_not_named(tmp_path: Path) -> None:
    assert read(tmp_path, "practice", {"substitutes": 3}, named="ABDE").sets == (
        ("name of A", "name of E", "name of B"),
    )


@pytest.mark.parametrize(
    ("habits", "counts", "told"),
    [
        ("practice", {"substitutes": 0}, "no two concepts were found that occur with the same other concepts"),
        ("home_region", {}, "no text column “home region” with at least two values"),
        ("", {}, "the settings name no patient column"),
    ],
)
def test_what_was_not_found_and_what_was_not_looked_for(
    tmp_path: Path, habits: str, counts: dict[str, Any], told: str
) -> None:
    found = read(tmp_path, habits, counts)
    assert not found.sets
    assert told in found.sentence
    assert bool(found.method) == bool(counts)


def test_what_counts_as_one_is_pooled_with_the_chosen(tiny: Pipeline, tmp_path: Path) -> None:
    made = tiny.store.current("patient_embeddings")
    vocabulary = Vocabulary.read(tiny.store.current("vocabulary").path)
    for count in (0, 2):
        manifest = {**made.manifest, "counts": {**made.counts, "substitutes": count}}
        artifacts = {"patient_embeddings": Artifact(made.path, manifest)}
        told = vectors.concepts(short.vector_method(Inputs("study", [], artifacts, {}, 0, {}), vocabulary))
        assert ("including those that count as one with any of them" in told) == bool(count)


def test_the_page_says_it(tiny: Pipeline) -> None:
    page = tiny.store.current("cluster_reports").file("report.html").read_text(encoding="utf-8")
    assert (
        "Recording habits: no two concepts were found that occur with the same other concepts, but seldom at the same practice."
        " Pairs with few other records are missed." in page
    )
