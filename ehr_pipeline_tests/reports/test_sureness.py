"""How sure the clusters are, in words."""

from pathlib import Path

import pytest

from ehr_pipeline.artifacts import Artifact
from ehr_pipeline.reports import sureness
from ehr_pipeline_tests.conftest import unpublished

HEAD = "n,eigenvalue,gap,residual,converged,agreement,agreement_sd\n"


def clusters(folder: Path, agreement: dict[int, str]) -> Artifact:
    rows = [f"{n},0.9,0.1,1e-7,true,{value},0.1\n" for n, value in agreement.items()]
    (folder / "choice.csv").write_text(HEAD + "".join(rows))
    return unpublished(folder)


@pytest.mark.parametrize(
    ("agreement", "told"),
    [
        ({2: "0.5", 10: "0.989", 20: "0.845"}, "agree best on 10 (adjusted Rand index 0.99, and 0.84 with 20)."),
        ({2: "0.5", 20: "0.845"}, "agree best on 20 as well (adjusted Rand index 0.84)."),
        ({2: "0.5", 3: "0.7"}, "agree best on 3 (adjusted Rand index 0.70)."),
    ],
)
def test_the_number_that_halves_agree_on_stands_beside_the_one_asked_for(
    tmp_path: Path, agreement: dict[int, str], told: str
) -> None:
    words = sureness.how_many(clusters(tmp_path, agreement), 20)
    assert words.startswith("20 clusters were asked for. Among 2 to ")
    assert words.endswith(told)


def test_nothing_is_told_of_what_was_not_examined(tmp_path: Path) -> None:
    assert sureness.how_many(clusters(tmp_path, {2: "", 3: ""}), 3) == ""
    assert sureness.stability({"jaccard": None, "words": "untested"}) == ""


def test_stability_in_words() -> None:
    assert sureness.stability({"jaccard": 0.5, "words": "unstable"}) == (
        "Unstable (0.50): other samples of patients do not find it."
    )


@pytest.mark.parametrize(
    ("own", "by_chance", "told"), [(0.16, 0.15, "none"), (0.3, 0.2, "weak"), (0.9, 0.4, "clear"), (1.0, 1.0, "none")]
)
def test_a_cluster_is_held_against_its_own_chance(own: float, by_chance: float, told: str) -> None:
    assert sureness.recognition(own, by_chance) == told


def test_how_many_clusters_are_stable() -> None:
    assert sureness.counted(["stable", "unstable", "stable", "doubtful"]) == "2 stable, 1 doubtful, 1 unstable"
    assert sureness.counted(["untested"] * 3) == "3 untested"
