"""What other numbers of clusters and other methods would have given."""

from pathlib import Path
from typing import Any

import pytest

from ehr_pipeline.reports import pictures
from ehr_pipeline.reports.sections import alternatives
from ehr_pipeline.store.artifacts import Artifact
from ehr_pipeline_tests.conftest import unpublished

HEAD = "n,eigenvalue,gap,residual,converged,agreement,agreement_sd\n"


def clusters(folder: Path, agreement: dict[int, str]) -> Artifact:
    rows = [f"{n},0.9,0.1,1e-7,true,{value},0.1\n" for n, value in agreement.items()]
    (folder / "choice.csv").write_text(HEAD + "".join(rows))
    return unpublished(folder)


@pytest.mark.parametrize(
    ("agreement", "told"),
    [
        ({2: "0.5", 10: "0.989", 20: "0.845"}, "agree best on 10 (adjusted Rand index 0.99; 0.84 with 20)."),
        ({2: "0.5", 20: "0.845"}, "agree best on 20 as well (adjusted Rand index 0.84)."),
        (
            {3: "0.992", 10: "0.989", 20: "0.75"},
            "agree best on 3 (adjusted Rand index 0.99; on up to 10 about as well; 0.75 with 20).",
        ),
        ({2: "0.5", 3: "0.7"}, "agree best on 3 (adjusted Rand index 0.70)."),
    ],
)
def test_the_number_that_halves_agree_on_stands_beside_the_one_asked_for(
    tmp_path: Path, agreement: dict[int, str], told: str
) -> None:
    words = str(alternatives.how_many(clusters(tmp_path, agreement), 20))
    assert words.startswith(f"20 clusters were asked for. Among {min(agreement)} to ")
    assert words.endswith(told)


def test_nothing_is_said_of_numbers_that_were_not_tried(tmp_path: Path) -> None:
    assert alternatives.how_many(clusters(tmp_path, {2: "", 3: ""}), 3) is None


def test_agreement_is_drawn_over_the_numbers_that_were_tried(tmp_path: Path, drawn: list[Any]) -> None:
    agreement = alternatives.agreements(clusters(tmp_path, {2: "0.5", 3: "", 10: "0.9", 20: "0.8"}))
    assert agreement == {2: (0.5, 0.1), 10: (0.9, 0.1), 20: (0.8, 0.1)}
    pictures.agreement_by_number(tmp_path / "curve.png", agreement, 10)
    (axes,) = drawn
    curve = next(line for line in axes.get_lines() if len(line.get_xdata()) == 3)
    assert (list(curve.get_xdata()), list(curve.get_ydata())) == ([2, 10, 20], [0.5, 0.9, 0.8])
    assert any(set(line.get_xdata()) == {10} for line in axes.get_lines()), "the chosen number is marked"


def test_methods_that_are_clearly_steadier_are_named() -> None:
    found = {"spectral": 0.48, "kmeans": 0.741, "agglomerative": 0.55, "baseline": 0.67, "hdbscan": None}
    rows = [{"method": name, "stability": value} for name, value in found.items()]
    assert alternatives.steadier(rows, "spectral") == [("kmeans", "0.74")]
    assert alternatives.steadier(rows, "kmeans") == []
