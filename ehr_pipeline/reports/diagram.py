"""Flow diagrams as CONSORT and RECORD require: what remained at each step, and next to it what was lost. SVG, no script."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

MAIN, SIDE, GAP, LINE, PAD = 178, 236, 26, 15, 9  # pixels
STYLE = "font-family:system-ui,sans-serif;font-size:12px"


@dataclass(frozen=True)
class Step:
    """A box of the diagram; `lost` are the lines next to the arrow to the following box."""

    words: str
    number: str
    lost: tuple[tuple[str, str], ...] = ()
    """Pairs of (reason, number)."""


def draw(title: str, steps: Sequence[Step]) -> Markup:
    """Draw one column of boxes from the first step to the last."""
    parts, y = [], 0
    for step, last in zip(steps, [False] * (len(steps) - 1) + [True], strict=True):
        words = _wrap(step.words, 25)
        height = PAD * 2 + LINE * (len(words) + 1)
        parts.append(_box(0, y, MAIN, height, "main"))
        parts.append(_text(MAIN / 2, y + PAD + 11, [step.number], "middle", "bold"))
        parts.append(_text(MAIN / 2, y + PAD + 11 + LINE, words, "middle"))
        y += height
        if last:
            break
        lines = [line for reason, number in step.lost for line in _wrap(f"{number} {reason}", 33)]
        beside = PAD * 2 + LINE * len(lines) - 3 if lines else 0
        drop = max(GAP, beside + 10)
        parts.append(_line(MAIN / 2, y, MAIN / 2, y + drop - 5) + _head(MAIN / 2, y + drop))
        if lines:
            top = y + (drop - beside) / 2
            parts.append(
                _line(MAIN / 2, y + drop / 2, MAIN + GAP - 5, y + drop / 2) + _head_right(MAIN + GAP, y + drop / 2)
            )
            parts.append(_box(MAIN + GAP, top, SIDE, beside, "side") + _text(MAIN + GAP + PAD, top + PAD + 10, lines))
        y += drop
    inner = Markup("").join(parts)
    return Markup(
        '<svg viewBox="-1 -1 {w} {h}" width="{w}" height="{h}" role="img" aria-label="{title}" style="{style};max-width:100%">'
        "{inner}</svg>"
    ).format(w=MAIN + GAP + SIDE + 2, h=round(y) + 2, title=title, style=STYLE, inner=inner)


def _wrap(text: str, width: int) -> list[str]:
    lines, line = [], ""
    for word in text.split():
        if line and len(line) + 1 + len(word) > width:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}".strip()
    return [*lines, line]


def _box(x: float, y: float, width: float, height: float, kind: str) -> Markup:
    fill = "#eef3fa" if kind == "main" else "#ffffff"
    return Markup('<rect x="{}" y="{}" width="{}" height="{}" rx="6" fill="{}" stroke="#9aa4b2"/>').format(
        x, y, width, height, fill
    )


def _text(x: float, y: float, lines: Sequence[str], anchor: str = "start", weight: str = "normal") -> Markup:
    spans = Markup("").join(
        Markup('<tspan x="{}" y="{}">{}</tspan>').format(x, y + LINE * number, line)
        for number, line in enumerate(lines)
    )
    return Markup('<text text-anchor="{}" font-weight="{}" fill="#1d2530">{}</text>').format(anchor, weight, spans)


def _line(x1: float, y1: float, x2: float, y2: float) -> Markup:
    return Markup('<line x1="{}" y1="{}" x2="{}" y2="{}" stroke="#9aa4b2"/>').format(x1, y1, x2, y2)


def _head(x: float, y: float) -> Markup:
    return Markup('<path d="M{},{} l-4,-7 h8 z" fill="#9aa4b2"/>').format(x, y)


def _head_right(x: float, y: float) -> Markup:
    return Markup('<path d="M{},{} l-7,-4 v8 z" fill="#9aa4b2"/>').format(x, y)
