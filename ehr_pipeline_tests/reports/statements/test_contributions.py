from dataclasses import replace

import pytest

from ehr_pipeline.clusters.contributions import Contributions, Row
from ehr_pipeline.clusters.planted import THIS_RUN
from ehr_pipeline.embeddings.ablations import NO_NETWORK
from ehr_pipeline.embeddings.patient_blocks import Estimate
from ehr_pipeline.reports.statements import contributions as say

COLLAPSE = {"age": 0.1, "concepts": -0.2, "spread": 0.0}


def row(name: str, retrieved: float, gain: Estimate) -> Row:
    return Row(name, 8, Estimate(retrieved, retrieved - 0.02, retrieved + 0.02), gain, 0.4, -2.0, COLLAPSE)


FOUND = Contributions(
    2000,
    0.07,
    4.2,
    10,
    [row(THIS_RUN, 0.413, Estimate(0, 0, 0)), row(NO_NETWORK, 0.402, Estimate(0.011, -0.003, 0.025))],
)


def test_what_the_network_adds_stands_with_its_interval() -> None:
    told = str(say.adds(FOUND, 1, by_network=True))
    assert "found for 40 % of these patients; with the vectors of this run, for 41 %" in told
    assert "+1.1 percentage points (95 % interval -0.3 to +2.5)" in told
    assert say.adds(replace(FOUND, rows=FOUND.rows[:1]), 1, by_network=True) is None, (
        "without the row there is nothing to say"
    )


def test_without_a_part_of_the_network_there_is_no_difference_to_test() -> None:
    told = str(say.adds(FOUND, 1, by_network=False))
    assert told.startswith("The encoder accounts for 0 %: the vectors of this run contain no encoder at all")
    assert "interval" not in told


def test_a_rank_correlation_stands_with_how_much_the_distance_varies() -> None:
    thin = replace(FOUND, rows=[replace(FOUND.rows[0], collapse=COLLAPSE | {"spread": 0.0091})])
    assert "with the vectors of this run, this distance varies by 0.9 % of its mean." in str(say.measures(thin))


def test_planted_figures_stand_with_their_patients_and_their_method() -> None:
    found = {"adjusted_rand_index": 0.04, "within_diseases": 0.04, "homogeneity": 0.2}
    planted = {"groups": 10, "n": 9, "disease": 0.5, "vectors": {"this_run": found, "counts": found}}
    told = str(say.clusters_of_this_run(planted, "about 2,680"))
    assert told.endswith("Each figure comes from one division of about 2,680 patients, without an interval.")
    assert "whatever method made the clusters of the page" in str(say.by_starts(FOUND))


def test_shares_tell_no_fewer_patients_than_the_threshold() -> None:
    for patients, below, step in ((2000, 10, 1), (400, 10, 3), (60, 10, 17), (60, 1, 1)):
        assert say.step_of(patients, below) == step
        assert step * patients / 100 >= min(below, patients / 100)
    assert say.row(FOUND.rows[0], 3)["retrieved"] == "42 % (39–42)"


def test_the_network_has_a_part_where_it_chose_the_concepts() -> None:
    assert say.chosen_by_network(False) is None
    assert "concepts. Some of them" in str(say.chosen_by_network(True))


@pytest.mark.parametrize("name", [THIS_RUN, NO_NETWORK])
def test_no_row_is_called_encoder(name: str) -> None:
    assert not say.NAMES[name].lower().startswith("encoder")
