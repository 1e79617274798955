"""Drawings of groups as SVG: the lift of concepts with its interval, a pyramid of ages, and ages side by side.

Every coordinate is computed from a text of the page, or from counts rounded to the threshold, so a drawing shows no figure that the
page does not give in words beside it.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from ehr_pipeline.disclosure.suppression import Disclosure
from ehr_pipeline.drawing import plots
from ehr_pipeline.reports.cards import AGE_BANDS, ConceptRow, band_name

ROW, NAMES, AXIS, RIGHT = 17, 205, 210, 100
"""Height of a row, and widths of names, axis and shares, in pixels."""
LETTERS = 33
"""Letters of a name that are drawn."""
OUTERMOST = 16.0
"""The largest lift on an axis; its inverse is the smallest. Lifts beyond these are drawn at the end of the axis."""
GRID, COARSE = (0.25, 0.5, 1.0, 2.0, 4.0), (0.0625, 0.25, 1.0, 4.0, 16.0)
"""Lifts at which a line is drawn, on a short axis and on a long one."""
LONG, END = 6.0, 8
"""The largest lift of a short axis, and the room at the ends of an axis, in pixels."""
SEXES = ("F", "M")
INK, SOFT, LINE = "#1d2733", "#55616d", "#d9dee4"


def lifts(rows: Sequence[ConceptRow], alt: str, hints: Sequence[str]) -> Markup:
    """Draw a dot for the lift of each concept, with its 95 % interval, on a logarithmic axis; next to it, the shares here and
    elsewhere.

    If the lift of a row may not be shown, the row has no interval; it is drawn with a name and without a dot. Where no lift may be
    shown, there is no axis either.
    """
    dotted = any(row.interval for row in rows)
    ends = [part for row in rows if row.interval for part in (row.lift, *row.interval.split("–"))]
    most = min(max([2.0, *(_distance(_number(text)) for text in ends)]) * 1.1, OUTERMOST)
    grid = [value for value in (COARSE if most > LONG else GRID) if _distance(value) <= most]
    height = ROW * len(rows) + (34 if dotted else 18)

    def x(value: float) -> float:
        inside = min(max(value, 1 / most), most)
        return round(NAMES + END + (AXIS - 2 * END) * (0.5 + math.log(inside) / math.log(most) / 2), 1)

    parts = [
        Markup(
            '<path d="M{x} 16V{h}" stroke="{c}"/><text x="{x}" y="{y}" text-anchor="middle" fill="{soft}">{n}×</text>'
        ).format(
            x=x(value), h=height - 16, y=height - 4, n=_fraction(value), c="#8b95a1" if value == 1 else LINE, soft=SOFT
        )
        for value in (grid if dotted else ())
    ]
    parts += [_head(NAMES + AXIS / 2, "lift", "middle")] if dotted else []
    parts += [_head(NAMES + AXIS + RIGHT, "here · elsewhere", "end")]
    parts += [_lift(place, row, hint, x) for place, (row, hint) in enumerate(zip(rows, hints, strict=True))]
    return _drawing(NAMES + AXIS + RIGHT, height, alt, parts)


def _fraction(value: float) -> str:
    return f"{value:g}" if value >= 1 else f"1/{1 / value:g}"


def _distance(value: float) -> float:
    """Return a ratio or its inverse, whichever is 1 or more: how far it is from 1."""
    return max(value, 1 / value) if value > 0 else OUTERMOST


def _number(text: str) -> float:
    found = re.sub(r"[^\d.]", "", text)
    return float(found) if found else OUTERMOST if "∞" in text else 1.0


def _lift(place: int, row: ConceptRow, hint: str, x: Callable[[float], float]) -> Markup:
    y = 26 + ROW * place
    colour = plots.OVER if row.over else plots.UNDER
    name = row.name if len(row.name) <= LETTERS else row.name[: LETTERS - 1] + "…"
    text = Markup('<text x="0" y="{b}" fill="{ink}">{name}</text>').format(b=y + 4, name=name, ink=INK)
    shares = Markup('<text x="{r}" y="{b}" text-anchor="end" fill="{ink}">{here} · {there}</text>').format(
        r=NAMES + AXIS + RIGHT, b=y + 4, here=_short(row.share), there=_short(row.elsewhere), ink=SOFT
    )
    dot = Markup()
    if row.interval:
        low, high = (x(_number(part)) for part in row.interval.split("–"))
        dot = Markup(
            '<path d="M{low} {y}H{high}" stroke="{c}" stroke-width="2"/><circle cx="{at}" cy="{y}" r="4.5" fill="{c}"/>'
        ).format(low=low, high=high, y=y, at=x(_number(row.lift)), c=colour)
    return Markup(
        '<g><title>{hint}</title><rect x="0" y="{t}" width="{w}" height="{h}" fill="#fff" fill-opacity="0"/>{all}</g>'
    ).format(hint=hint, t=y - 8, w=NAMES + AXIS + RIGHT, h=ROW, all=text + dot + shares)


def _short(share: str) -> str:
    """Return a share in a shorter form than in the table: '~20%' for 'about 20 %'."""
    return share.replace("about ", "~").replace(" %", "%")


@dataclass(frozen=True)
class Pyramid:
    """Patients of a group by age band and sex. All shares are computed from rounded counts; they are 0 where there are too few
    patients."""

    shares: NDArray[np.float64]
    """Share of the group (bands, 2)."""

    @property
    def is_empty(self) -> bool:
        """Whether no share may be shown."""
        return not self.shares.any()


def pyramid(age: NDArray[np.number], sex: Sequence[str], disclosure: Disclosure) -> Pyramid:
    """Return the shares of a group's patients (n,) by age band and sex. Small counts are left empty, as if they were 0 (see
    `several_diseases.overlap`)."""
    band = np.searchsorted(AGE_BANDS[1:], age, side="right")
    sexes = np.array(sex)
    counts = [[int(((band == row) & (sexes == one)).sum()) for one in SEXES] for row in range(len(AGE_BANDS))]
    rounded = np.array([[disclosure.rounded_or_none(count) for count in row] for row in counts], float)
    return Pyramid(rounded / max(disclosure.rounded(len(age)), 1))


def draw_pyramid(found: Pyramid, alt: str, hints: Sequence[Sequence[str]]) -> Markup:
    """Draw the pyramid: women to the left, men to the right, the young at the bottom."""
    side, middle, step = 74, 66, 15
    most = max(float(found.shares.max()), 0.01)
    parts = [_head(side, "women", "end"), _head(side + middle, "men", "start")]
    for row in range(len(AGE_BANDS)):
        y = 20 + step * (len(AGE_BANDS) - 1 - row)
        parts.append(
            Markup('<text x="{x}" y="{y}" text-anchor="middle" fill="{ink}">{name}</text>').format(
                x=side + middle / 2, y=y + 10, name=_band(row), ink=INK
            )
        )
        for column, colour in enumerate((plots.DISTINCT[3], plots.DISTINCT[0])):
            width = round(side * float(found.shares[row, column]) / most, 1)
            left = side - width if column == 0 else side + middle
            parts.append(
                Markup('<rect x="{x}" y="{y}" width="{w}" height="12" fill="{c}"><title>{hint}</title></rect>').format(
                    x=round(left, 1), y=y, w=width, c=colour, hint=hints[row][column]
                )
            )
    return _drawing(2 * side + middle, 24 + step * len(AGE_BANDS), alt, parts)


def _band(row: int) -> str:
    return band_name(row).replace("under ", "<").replace(" and over", "+")


@dataclass(frozen=True)
class Strip:
    """A quantity, such as age, in each group: its median, and its quartiles where they may be shown, with the same texts as on the
    page."""

    title: str
    texts: tuple[str, ...]
    """'47 (38–59)', or '47', or empty where nothing may be shown; one for each group."""


def strips(names: Sequence[str], colours: Sequence[str], found: Sequence[Strip], alt: str) -> Markup:
    """Draw the groups side by side: a panel for each quantity, a dot for each median, a line between the quartiles."""
    panel, first, gap, row = 250, 190, 34, 20
    height = row * len(names) + 52
    parts = [
        Markup('<text x="0" y="{y}" fill="{ink}">{name}</text>').format(
            y=34 + row * place, ink=INK, name=name if len(name) <= LETTERS - 3 else name[: LETTERS - 4] + "…"
        )
        for place, name in enumerate(names)
    ]
    for number, strip in enumerate(found):
        left = first + number * (panel + gap)
        values = [[float(value) for value in re.findall(r"\d+", text)] for text in strip.texts]
        most = _round_up(max((value for own in values for value in own), default=1.0))
        parts.append(_head(left, strip.title, "start"))
        for mark in (0, most / 2, most):
            at = round(left + panel * mark / most, 1)
            parts.append(
                Markup(
                    '<path d="M{x} 18V{h}" stroke="{c}"/>'
                    '<text x="{x}" y="{y}" text-anchor="middle" fill="{s}">{n:g}</text>'
                ).format(x=at, h=height - 20, c=LINE, y=height - 6, n=mark, s=SOFT)
            )
        for place, own in enumerate(values):
            if own:
                y = 30 + row * place
                ends = [round(left + panel * value / most, 1) for value in (own[1:3] or own * 2) + own[:1]]
                parts.append(
                    Markup(
                        '<g><title>{hint}</title><path d="M{a} {y}H{b}" stroke="{c}" stroke-width="4" stroke-opacity=".45"/>'
                        '<circle cx="{m}" cy="{y}" r="5" fill="{c}"/></g>'
                    ).format(
                        hint=f"{names[place]}: {strip.texts[place]}",
                        a=ends[0],
                        b=ends[1],
                        m=ends[2],
                        y=y,
                        c=colours[place],
                    )
                )
    return _drawing(first + len(found) * (panel + gap), height, alt, parts)


def _round_up(value: float) -> float:
    """Return the next number that is easy to halve: 10, 20, 40, 60, 80, 100, 200 and so on."""
    scale = float(10 ** math.floor(math.log10(max(value, 1))))
    return next(step * scale for step in (1, 2, 4, 6, 8, 10) if step * scale >= value)


def _head(x: float, words: str, anchor: str) -> Markup:
    return Markup('<text x="{x}" y="12" text-anchor="{anchor}" fill="{c}">{words}</text>').format(
        x=x, anchor=anchor, c=SOFT, words=words
    )


def _drawing(width: float, height: float, alt: str, parts: Sequence[Markup]) -> Markup:
    return Markup(
        '<svg viewBox="0 0 {w} {h}" width="{w}" height="{h}" role="img" aria-label="{alt}" font-size="12">{all}</svg>'
    ).format(w=width, h=height, alt=alt, all=Markup("").join(parts))
