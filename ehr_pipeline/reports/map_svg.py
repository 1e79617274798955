"""The map of patients as one SVG: a layer for each colouring, of which the page shows one at a time.

Only marks are drawn (`Disclosure.marks`). All numbers in the drawing are whole, and the marks of a group are sorted by their
places. They are divided among a few paths, so that no group covers another."""

from collections.abc import Mapping, Sequence

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from ehr_pipeline.disclosure.suppression import OTHERS
from ehr_pipeline.reports.maps import Layer, centres
from ehr_pipeline.reports.pictures import label_offsets

WIDTH, HEIGHT, MARGIN = 1120, 860, 40
"""Size of the drawing in its own units, two for each pixel of a wide screen."""
COLUMNS = 3
"""Columns of the names of colours."""
SLICES = 4
"""Number of paths into which the marks of a group are divided."""
FILLED, LEAST, MOST = 0.1, 5, 22
"""Share of the drawing that the marks would fill side by side, and the smallest and largest diameter of a mark."""
Places = NDArray[np.float64]


def svg(layers: Sequence[Layer], hints: Sequence[Mapping[int, str]], alt: str, *, key: bool = False) -> Markup:
    """Draw the map. `hints` has, for each layer, the text of each group that is shown while the pointer rests on the group.

    With `key`, the colours of the first layer are explained within the drawing, below the map.
    """
    everywhere = np.concatenate([layer.marks.places for layer in layers])
    low, high = everywhere.min(0), everywhere.max(0)
    drawn = [
        _layer(place, layer, _placed(layer.marks.places, low, high), hint)
        for place, (layer, hint) in enumerate(zip(layers, hints, strict=True))
    ]
    numbers = _numbers(layers[0], low, high) if layers[0].name == "cluster" else Markup()
    explained, more = _key(layers[0]) if key else (Markup(), 0)
    return Markup('<svg viewBox="0 0 {w} {h}" role="img" aria-label="{alt}">{layers}{numbers}{key}</svg>').format(
        w=WIDTH, h=HEIGHT + more, alt=alt, layers=Markup("").join(drawn), numbers=numbers, key=explained
    )


def _key(layer: Layer) -> tuple[Markup, int]:
    """Return the colours of a layer with their names, in columns below the map, and the height that they take."""
    wide, line = WIDTH // COLUMNS, 34
    parts = [
        Markup(
            '<circle cx="{x}" cy="{y}" r="9" fill="{colour}"/><text x="{t}" y="{b}" font-size="22" fill="#111">{name}</text>'
        ).format(
            x=14 + wide * (place % COLUMNS),
            t=32 + wide * (place % COLUMNS),
            y=HEIGHT + line * (place // COLUMNS),
            b=HEIGHT + line * (place // COLUMNS) + 8,
            colour=group.colour,
            name=group.name,
        )
        for place, group in enumerate(layer.groups.values())
    ]
    return Markup("").join(parts), line * -(-len(parts) // COLUMNS)


def _placed(places: Places, low: Places, high: Places) -> NDArray[np.int64]:
    """Return places (m, 2) in units of the drawing."""
    share = (places - low) / np.maximum(high - low, 1e-9)
    x = MARGIN + share[:, 0] * (WIDTH - 2 * MARGIN)
    y = HEIGHT - MARGIN - share[:, 1] * (HEIGHT - 2 * MARGIN)
    return np.stack([x, y], axis=1).round().astype(np.int64)


def _layer(place: int, layer: Layer, at: NDArray[np.int64], hints: Mapping[int, str]) -> Markup:
    size = float(np.clip((FILLED * WIDTH * HEIGHT / max(len(at), 1)) ** 0.5, LEAST, MOST))
    rng = np.random.default_rng(place)
    paths = []
    dealt = rng.integers(0, SLICES, len(at))
    for part in range(SLICES):
        for number, group in layer.groups.items():
            here = (layer.marks.group == number) & (dealt == part)
            if here.any():
                own = Markup(' data-group="{}"').format(group.name) if _is_choice(layer, number) else Markup()
                paths.append(
                    Markup('<path{own} stroke="{colour}" d="{d}"><title>{hint}</title></path>').format(
                        own=own, colour=group.colour, d=_dots(at[here]), hint=hints[number]
                    )
                )
        if (ring := layer.marks.apart & (dealt == part)).any():
            width = round(0.55 * size, 1)
            paths.append(
                Markup('<path pointer-events="none" stroke="#fff" stroke-width="{w}" d="{d}"/>').format(
                    w=width, d=_dots(at[ring])
                )
            )
    return Markup(
        '<g class="layer layer-{place} marks" stroke-width="{size}" stroke-opacity=".85" stroke-linecap="round">{paths}</g>'
    ).format(place=place, size=round(size, 1), paths=Markup("").join(paths))


def _is_choice(layer: Layer, number: int) -> bool:
    """Return whether a click on a mark selects its group: only clusters that may be shown can be selected."""
    return layer.name == "cluster" and number != OTHERS


def _dots(at: NDArray[np.int64]) -> str:
    """Return places (m, 2) as a path of dots, in the order of the places."""
    ordered = at[np.lexsort((at[:, 0], at[:, 1]))]
    return "".join(f"M{x} {y}h0" for x, y in ordered.tolist())


def _numbers(layer: Layer, low: Places, high: Places) -> Markup:
    """Return the numbers of the clusters, moved apart where they would overlap."""
    middle = centres(layer.marks)
    at = _placed(np.array(list(middle.values())), low, high) / 2
    offsets = label_offsets(at * (1, -1)) * (1, -1)
    texts = [
        Markup('<text x="{x}" y="{y}">{number}</text>').format(
            x=round(2 * (x + dx)), y=round(2 * (y + dy)) + 9, number=layer.groups[group].name
        )
        for group, (x, y), (dx, dy) in zip(middle, at.tolist(), offsets.tolist(), strict=True)
    ]
    return Markup(
        '<g class="layer layer-0 numbers" pointer-events="none" text-anchor="middle" font-size="27" font-weight="700"'
        ' fill="#111" stroke="#fff" stroke-width="6" paint-order="stroke">{texts}</g>'
    ).format(texts=Markup("").join(texts))
