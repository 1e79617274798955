"""One style for all pictures. matplotlib is imported only when something is drawn, and never opens a window."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "figure.dpi": 110,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "ehr_pipeline",
    "text.parse_math": False,  # names of concepts and places are not formulas, even if they contain dollar signs
}
DISTINCT = (
    *("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9"),
    *("#332288", "#999933", "#882255", "#117733", "#aa4499", "#8c6d46"),
)
"""Colours that people with colour-blindness can distinguish: Okabe & Ito (2008), then Tol's muted scheme (2021)."""
COLOURS_LEFT = 128  # kept in a picture that was too large, rare colours included, since they mark something
OVER, UNDER, NEUTRAL = "#b5452b", "#2b6cb5", "#7a7a7a"


@contextmanager
def figure(path: Path, width: float, height: float) -> Iterator[Any]:
    """Yield a figure of the given size (inches), and at the end save it to `path` (PNG or SVG) without software or time metadata.

    An SVG holds exact coordinates, so draw only points whose exact position may be shown.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", "Glyph .* missing from font"
        )  # names in other scripts: a box replaces each letter
        drawn = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(drawn)
        yield drawn
        path.parent.mkdir(parents=True, exist_ok=True)
        drawn.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else {"Software": None})


def within(path: Path, size: int) -> bytes:
    """Return a picture (PNG) in at most `size` bytes: the file itself if it fits, else with fewer colours, then fewer pixels."""
    content = path.read_bytes()
    if len(content) <= size:
        return content
    from PIL import Image

    with Image.open(path) as opened:
        whole = opened.convert("RGB")
    scale = 1.0
    while len(content) > size:
        smaller = whole.resize([max(1, round(side * scale)) for side in whole.size], Image.Resampling.LANCZOS)
        written = io.BytesIO()
        smaller.quantize(COLOURS_LEFT, Image.Quantize.MAXCOVERAGE).save(written, "PNG", optimize=True)
        content, scale = written.getvalue(), 0.8 * scale
    return content


def colours(count: int) -> list[Any]:
    """Return `count` distinguishable colours: from a fixed palette up to 20, beyond that evenly spaced hues."""
    import matplotlib

    if count <= 10:
        return [matplotlib.colormaps["tab10"](index) for index in range(count)]
    if count <= 20:
        return [matplotlib.colormaps["tab20"](index) for index in range(count)]
    return [matplotlib.colormaps["hsv"](index / count) for index in range(count)]


def distinct(count: int) -> list[str]:
    """Return `count` colours as '#rrggbb'; they repeat after twelve, since no more can be distinguished."""
    return [DISTINCT[place % len(DISTINCT)] for place in range(count)]


def steps(count: int) -> list[str]:
    """Return `count` colours from low to high as '#rrggbb': evenly spaced in viridis, which is safe for colour-blind readers."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    return [to_hex(colormaps["viridis"](0.9 * place / max(count - 1, 1))) for place in range(count)]


def learning_curves(path: Path, metrics: dict[str, Any]) -> None:
    """Draw training and validation loss by epoch (`metrics.json` of the encoder), and the frequency-only baseline."""
    epochs = [row["epoch"] for row in metrics["epochs"]]
    with figure(path, width=5, height=3) as drawn:
        axes = drawn.add_subplot()
        for side, colour in (("training", UNDER), ("validation", OVER)):
            losses = [float("nan") if row[f"{side}_loss"] is None else row[f"{side}_loss"] for row in metrics["epochs"]]
            axes.plot(epochs, losses, color=colour, marker="o", markersize=3, label=side)
        axes.axhline(metrics["baseline"]["loss"], color=NEUTRAL, linestyle="--", label="frequency baseline")
        axes.set(title="Masked language modelling", xlabel="epoch", ylabel="loss (nats)")
        axes.legend()
