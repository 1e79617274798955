"""Pictures that are made smaller stay what they show."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ehr_pipeline.drawing import plots


@pytest.fixture
def marked(tmp_path: Path) -> Path:
    """Many shades of grey, and one small red mark."""
    grey = np.random.default_rng(0).integers(60, 255, (300, 400, 1), np.uint8)
    grey = np.concatenate([grey, grey, grey], axis=2)
    grey[100:104, 100:104] = (220, 20, 20)
    Image.fromarray(grey).save(tmp_path / "marked.png")
    return tmp_path / "marked.png"


def test_a_picture_that_fits_stays_as_it_is(marked: Path) -> None:
    assert plots.within(marked, marked.stat().st_size) == marked.read_bytes()


def test_a_rare_colour_stays_since_it_marks_something(marked: Path) -> None:
    content = plots.within(marked, marked.stat().st_size - 1)
    assert len(content) < marked.stat().st_size
    red, green, blue = Image.open(BytesIO(content)).convert("RGB").getpixel((102, 102))  # type: ignore[misc]
    assert red - max(green, blue) > 150


def test_pixels_go_when_fewer_colours_are_not_enough(marked: Path) -> None:
    content = plots.within(marked, 20_000)
    assert len(content) <= 20_000
    assert Image.open(BytesIO(content)).width < 400
