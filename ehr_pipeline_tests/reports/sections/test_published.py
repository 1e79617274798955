"""The published run beside this one: every quantity of the published text, with the digits that it needs."""

from typing import Any

import pytest

from ehr_pipeline.patients.shard import Shard
from ehr_pipeline.reports.sections import published
from ehr_pipeline.reports.shown_counts import Scale
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline_tests.reports.sections.test_flow import COUNTS, RULE, counted

SETTINGS = {
    "encoder_checkpoint": {"hidden_size": 128, "context": 256, "mask_share": 0.15},
    "concept_embeddings": {"neighbours": 10},
}


def rows(visits: dict[int, int] | None = None, tested: bool = False, **changed: Any) -> dict[str, tuple[str, str]]:
    metrics = {"parameters": 527_728, "epochs": [{"epoch": 1}, {"epoch": 2}, {"epoch": 3}]}
    run = published.Run(
        counted(**changed), metrics, SETTINGS, 50, 0.1, visits or {1: 40, 2: 20, 21: 30, 500: 10}, tested
    )
    kinds = (published.of_the_data, published.of_the_encoder, published.of_the_clusters)
    return {quantity: (source, own) for kind in kinds for quantity, source, own in kind(run)}


def test_every_quantity_of_the_published_text_is_there() -> None:
    found = rows()
    told = {source for source, _ in found.values()}
    assert {
        "2,691,123",
        "2, 21",
        "250 → 1,294",
        "about 150",
        "256",
        "15 %",
        "12.6 million",
        "18",
        "20",
        "53,228",
    } <= told
    assert {"more than 3 billion", "270,000", "36,058", "0.00005 %", "about 6,000 (0.2 %)", "2,685,031"} <= told
    assert {"about 50,000 (2 %)", "10"} <= told
    assert found["width of its hidden layers"] == ("256", "128")
    assert found["concepts hidden from it (masked)"] == ("15 %", "15 %")
    assert found["pooled concepts: listed → with neighbours"] == ("250 → 1,294", "a list → 649")
    assert found["patients before short records were removed"] == ("2,691,123", "4,950")
    assert found["concepts of interest"] == ("about 150", "129")
    assert found["epochs"] == ("18", "3")


def test_a_share_of_one_in_thousands_is_not_nothing() -> None:
    visits = COUNTS["patient_dataset"]["visits"] | {"rows_in": 227_643, "dropped": {"large": 14, "few_visits": 60}}
    assert rows(patient_dataset={"visits": visits})["visits removed for their size"] == ("0.00005 %", "14 (0.006 %)")
    assert rows()["visits removed for their size"][1] == "40 (0.4 %)"


@pytest.mark.parametrize(
    ("part", "of", "told"),
    [
        (14, 227_643, "0.006 %"),
        (150, 300_000_000, "0.00005 %"),
        (0, 5_000, "0.0 %"),
        (5, 227_643, "–"),
        (60, 5_000, "1.2 %"),
    ],
)
def test_small_shares(part: int, of: int, told: str) -> None:
    assert Scale(RULE, rounded=False).share(part, of) == told


def test_a_small_share_of_rounded_numbers_follows_from_the_rounded_ones() -> None:
    scale = Scale(RULE, rounded=True)
    assert scale.share(14, 227_643) == scale.share(10, 227_640) == "0.004 %"
    assert scale.share(252_187, 252_301) == ">99.9 %"
    assert scale.share(252_300, 252_300) == "100.0 %"
    assert scale.share(5, 227_643) == "–"


def test_quantiles_of_visits() -> None:
    found = "concepts per visit: median, 90th percentile"
    assert rows()[found][1] == "2, 21"
    assert rows({3: 1})[found][1] == "3, 3"
    few = {"patients": COUNTS["patient_dataset"]["patients"] | {"kept": 9}}
    assert rows(patient_dataset=few)[found][1] == "–"


def test_visits_are_counted_by_their_concepts(tiny: Pipeline) -> None:
    shards = tiny.store.current("patient_dataset").files("patients")
    found = published.concepts_in_visits(shards)
    assert sum(found.values()) == sum(len(Shard.read(path).visit_day) for path in shards)
    assert sum(size * count for size, count in found.items()) == sum(len(Shard.read(path).tokens) for path in shards)


def test_the_concepts_named_are_those_that_pass_or_the_published_ranking() -> None:
    quantity = "concepts named per cluster"
    published_ranking = "the first 50 with p below 0.1"
    assert rows()[quantity] == (published_ranking, published_ranking)
    assert rows(tested=True)[quantity] == (published_ranking, "those that pass the mark test (BH value below 0.05)")
