"""The numbers of clusters that were tried, as a picture."""

from pathlib import Path
from typing import Any

from ehr_pipeline.reports import pictures, sureness
from ehr_pipeline_tests.reports.test_sureness import clusters


def test_agreement_is_drawn_over_the_numbers_that_were_tried(tmp_path: Path, drawn: list[Any]) -> None:
    agreement = sureness.agreements(clusters(tmp_path, {2: "0.5", 3: "", 10: "0.9", 20: "0.8"}))
    assert agreement == {2: (0.5, 0.1), 10: (0.9, 0.1), 20: (0.8, 0.1)}
    pictures.agreement_by_number(tmp_path / "curve.png", agreement, 10)
    (axes,) = drawn
    curve = next(line for line in axes.get_lines() if len(line.get_xdata()) == 3)
    assert (list(curve.get_xdata()), list(curve.get_ydata())) == ([2, 10, 20], [0.5, 0.9, 0.8])
    assert any(set(line.get_xdata()) == {10} for line in axes.get_lines()), "the chosen number is marked"
