"""What other numbers of clusters and other methods would have given."""

import re
from pathlib import Path
from typing import Any

import pytest

from ehr_pipeline.reports import pictures
from ehr_pipeline.reports.sections import alternatives
from ehr_pipeline.reports.statements import alternatives as say
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
        (
            {2: "0.5", 10: "0.989", 20: "0.845"},
            "agree best on 10 (adjusted Rand index 0.99; 0.84 with 20, less than with 1 of the 3 numbers).",
        ),
        ({2: "0.5", 20: "0.845"}, "agree best on 20, the number on this page (adjusted Rand index 0.84)."),
        (
            {3: "0.992", 10: "0.989", 20: "0.75"},
            "agree best on 3 (adjusted Rand index 0.99; almost as well on up to 10; 0.75 with 20, less than with 2 of the 3"
            " numbers).",
        ),
        ({2: "0.5", 3: "0.7"}, "agree best on 3 (adjusted Rand index 0.70)."),
    ],
)
def test_the_number_that_halves_agree_on_stands_beside_the_one_of_the_page(
    tmp_path: Path, agreement: dict[int, str], told: str
) -> None:
    words = str(alternatives.how_many(clusters(tmp_path, agreement), 20, 6))
    assert words.startswith(
        f"Among {min(agreement)} to {max(agreement)} clusters, 6 random halves of the patients agree best"
    )
    assert words.endswith(told)


def test_nothing_is_said_of_numbers_that_were_not_tried(tmp_path: Path) -> None:
    assert alternatives.how_many(clusters(tmp_path, {2: "", 3: ""}), 3, 6) is None


def test_agreement_is_drawn_over_the_numbers_that_were_tried(tmp_path: Path, drawn: list[Any]) -> None:
    agreement = alternatives.agreements(clusters(tmp_path, {2: "0.5", 3: "", 10: "0.9", 20: "0.8"}))
    assert agreement == {2: (0.5, 0.1), 10: (0.9, 0.1), 20: (0.8, 0.1)}
    pictures.agreement_by_number(tmp_path / "curve.png", agreement, 10, {"another curve": {2: 0.1, 3: 0.2}})
    (axes,) = drawn
    curve = next(line for line in axes.get_lines() if len(line.get_xdata()) == 3)
    assert (list(curve.get_xdata()), list(curve.get_ydata())) == ([2, 10, 20], [0.5, 0.9, 0.8])
    other = next(line for line in axes.get_lines() if line.get_label() == "another curve")
    assert (list(other.get_xdata()), list(other.get_ydata())) == ([2, 3], [0.1, 0.2])
    assert any(set(line.get_xdata()) == {10} for line in axes.get_lines()), "the chosen number is marked"


def test_methods_that_are_clearly_steadier_are_named() -> None:
    found = {"spectral": 0.48, "kmeans": 0.741, "agglomerative": 0.55, "baseline": 0.67}
    steadier = alternatives.steadier(found, "spectral")
    assert steadier == [("kmeans", "0.74")]
    told = str(say.steadier(steadier, "spectral", "0.48"))
    assert "clusters than the method of this page (k-means 0.74; spectral clustering, on this page, 0.48)" in told
    assert "need not be meaningful" in told
    assert alternatives.steadier(found, "kmeans") == []
    assert say.steadier([], "kmeans", "0.74") is None


@pytest.mark.parametrize(
    ("largest", "asked", "chosen", "told"),
    [
        (
            7,
            20,
            False,
            r"7 is the largest number of clusters \(of 2 to 30 tried\) for which the two halves of a record agree overall, and also"
            r" on each cluster against its nearest rival \(kappa at least 0\.2, p < 0\.05; this is a weaker test than"
            r" “recognised”\); the settings ask for 20\.",
        ),
        (20, 20, False, "20 is the largest .*; the settings ask for this number."),
        (7, 7, True, "7 is the largest .*; so the patients were divided into this number."),
        (
            1,
            1,
            True,
            r"No number of clusters was found \(of 2 to 30 tried\) for which .*; so the patients are not divided.",
        ),
        (1, 20, False, r"No number of clusters was found \(of 2 to 30 tried\) for which .*; the settings ask for 20."),
    ],
)
def test_the_number_that_the_records_support_is_named(largest: int, asked: int, chosen: bool, told: str) -> None:
    assert re.fullmatch(told, str(say.supported(range(2, 31), largest, asked, chosen=chosen)))


def test_nothing_is_said_of_support_that_was_not_examined() -> None:
    assert (
        str(say.supported([], 1, 1, chosen=True))
        == "The largest number of clusters that the records support was not examined; there is one cluster."
    )
    assert str(say.supported([], 1, 20, chosen=False)).endswith("was not examined: the settings ask for 20.")
