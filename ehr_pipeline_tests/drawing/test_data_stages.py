"""Pictures of the data stages: they show what the artifacts hold, and no mark stands for fewer patients than may be told of."""

import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ehr_pipeline.assets import ASSETS
from ehr_pipeline.disclosure.figures import Naming
from ehr_pipeline.drawing import data_stages
from ehr_pipeline.patients import dataset
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.tables import schemas
from ehr_pipeline.tables.asset_names import STAGES
from ehr_pipeline.vocabulary import picture

BELOW = 10


def test_no_bar_of_the_follow_up_stands_for_few(drawn: list[Any], tmp_path: Path) -> None:
    data_stages.follow_up(tmp_path / "picture.png", [0, 9, 10, 1, 25], BELOW)
    (axes,) = drawn
    assert [bar.get_height() for bar in axes.patches] == [0, 0, 10, 0, 25]
    assert "fewer than 10 patients are left out" in "".join(text.get_text() for text in axes.texts)
    data_stages.follow_up(tmp_path / "picture.png", [10, 0], BELOW)
    assert not drawn[1].texts


def test_no_bar_of_the_coverage_stands_for_few(drawn: list[Any], tmp_path: Path) -> None:
    codes = {"few": (9, 4), "few_lost": (109, 100), "all_lost": (30, 0), "many": (2000, 1000)}
    told = {
        name: {"events": events, "mapped_events": mapped, "kept_events": 0} for name, (events, mapped) in codes.items()
    }
    data_stages.coverage(tmp_path / "picture.png", told, BELOW)
    (axes,) = drawn
    assert [label.get_text() for label in axes.get_yticklabels()] == ["many", "all lost", "few lost"]
    mapped, lost = ([round(1000 * bar.get_width()) for bar in bars] for bars in axes.containers)
    assert (mapped, lost) == ([1000, 0, 100], [1000, 30, 0])
    assert [text.get_text() for text in axes.texts] == ["2,000", "30", "100"], "small bars can be read"


def test_the_vocabulary_curve_is_that_of_the_tables(tiny: Pipeline, drawn: list[Any], tmp_path: Path) -> None:
    artifact = tiny.store.current("vocabulary")
    assert picture.draw(artifact, Naming(BELOW, ""), tmp_path / "picture.png") == "vocabulary curve"
    kept, *_, threshold = drawn[0].lines
    with artifact.file("vocabulary.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    few = [row for row in rows if int(row["patients"]) < BELOW]
    assert few, "some concepts must be left out"
    appearances = sorted((int(row["appearances"]) for row in rows if int(row["patients"]) >= BELOW), reverse=True)
    assert kept.get_ydata().tolist() == appearances
    assert threshold.get_ydata()[0] == tiny.study.vocabulary.min_appearances
    assert (tmp_path / "picture.png").stat().st_size < 100_000


def test_the_vocabulary_curve_goes_on_with_what_is_too_rare(drawn: list[Any], tmp_path: Path) -> None:
    data_stages.vocabulary(tmp_path / "picture.png", [50, 100, 30], [12, 20], 30)
    kept, rare, threshold = drawn[0].lines
    assert (kept.get_xdata().tolist(), kept.get_ydata().tolist()) == ([1, 2, 3], [100, 50, 30])
    assert (rare.get_xdata().tolist(), rare.get_ydata().tolist()) == ([4, 5], [20, 12])
    assert threshold.get_ydata()[0] == 30


def test_the_follow_up_is_counted_as_it_is(tiny: Pipeline, drawn: list[Any], tmp_path: Path) -> None:
    artifact = tiny.store.current("patient_dataset")
    counted = json.loads(artifact.file(data_stages.FOLLOW_UP).read_text())
    frame = pl.concat([pl.DataFrame(schemas.read(path, ["visits"])) for path in artifact.files("patients")])
    dates = pl.col("visits").list.eval(pl.element().struct.field("date"))
    days = frame.select(days=(dates.list.last() - dates.list.first()).dt.total_days())["days"]
    expected = Counter(int(number / 365.25) for number in days)
    assert {year: number for year, number in enumerate(counted) if number} == expected
    assert sum(counted) == artifact.counts["patients"]["kept"]
    assert not any(name.startswith(dataset.FOLLOW_UP_YEARS) for name in artifact.counts)
    assert data_stages.draw_follow_up(artifact, Naming(BELOW, ""), tmp_path / "picture.png") == "follow-up"
    heights = np.array([bar.get_height() for bar in drawn[0].patches])
    assert ((heights == 0) | (heights >= BELOW)).all()
    assert heights.sum() > 0


def test_what_has_no_picture_has_no_file(tiny: Pipeline, tmp_path: Path) -> None:
    for asset in STAGES:
        if asset != "raw_records":
            path = tmp_path / f"{asset}.png"
            draw = ASSETS[asset].draw
            assert bool(draw and draw(tiny.store.current(asset), Naming(BELOW, ""), path)) == path.is_file()
