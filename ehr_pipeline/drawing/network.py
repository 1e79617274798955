"""Draw a graph of concepts as SVG, with names that do not overlap, and as a matrix in the order of its communities."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from ehr_pipeline.drawing import plots

WIDTH, HEIGHT, STEPS, LETTERS, LINE = 900, 640, 300, 30, 15
REACH = 2.0
COLOURS = ("#2b6cb5", "#b5452b", "#4a8f3c", "#8a5aa8", "#b58a2b", "#3c8f8a", "#7a7a7a")


def places(edges: NDArray[np.int64], nodes: int, seed: int) -> NDArray[np.float64]:
    """Return places (n, 2), from 0 to 1, of nodes that attract each other along edges (m, 2) and otherwise repel (Fruchterman &
    Reingold 1991).

    Nodes repel each other only up to REACH times the length of an edge. Otherwise unconnected parts would drive each other to the
    margins, and closely connected nodes would shrink to a dot in between.
    """
    rng = np.random.default_rng([seed, 0x9E7])
    at = rng.random((nodes, 2))
    ideal = 1 / max(nodes, 1) ** 0.5
    for step in range(STEPS):
        apart = at[:, None] - at[None]
        distance = np.maximum(np.linalg.norm(apart, axis=2), 1e-6)
        push = np.where(distance < REACH * ideal, (ideal / distance) ** 2, 0)
        move = (apart * push[:, :, None]).sum(1)
        along = at[edges[:, 0]] - at[edges[:, 1]]
        pull = along * (np.linalg.norm(along, axis=1, keepdims=True) / ideal)
        np.add.at(move, edges[:, 0], -pull)
        np.add.at(move, edges[:, 1], pull)
        move += (0.5 - at) * 0.5  # parts without a link stay in the picture
        length = np.maximum(np.linalg.norm(move, axis=1, keepdims=True), 1e-9)
        at += move / length * np.minimum(length, 0.1 * (1 - step / STEPS))
    low, high = at.min(0), at.max(0)
    found: NDArray[np.float64] = (at - low) / np.maximum(high - low, 1e-9)
    return found


def labels(at: NDArray[np.float64], widths: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return heights (n,) of names, moved down until none covers another; `at` (n, 2) and `widths` (n,) are in pixels, too."""
    height = at[:, 1].copy()
    order = np.argsort(height, kind="stable")
    for place, one in enumerate(order):
        moved = True
        while moved:
            moved = False
            for other in order[:place]:
                over = abs(at[one, 0] - at[other, 0]) < (widths[one] + widths[other]) / 2
                # The tolerance allows for rounding; without it, a name that was just moved could be moved again without end.
                if over and abs(height[one] - height[other]) < LINE - 1e-6:
                    height[one] = height[other] + LINE
                    moved = True
    return height


def svg(
    names: Sequence[str],
    edges: NDArray[np.int64],
    texts: Sequence[str],
    *,
    arrows: NDArray[np.int64],
    group: NDArray[np.int64],
    seed: int,
) -> Markup:
    """Return a network as SVG. `texts` (m,) appear when the pointer rests on an edge; `group` (n,) colours the names.

    Names and edges carry their indices (`data-node`, `data-link`), by which a page can select them.

    `arrows` (m,) are 1 for an arrow to the second node, -1 to the first, 0 for none.
    """
    shown = [name if len(name) <= LETTERS else name[: LETTERS - 1] + "…" for name in names]
    widths = np.array([6.4 * len(name) + 8 for name in shown])
    at = places(edges, len(names), seed) * (WIDTH - 240, HEIGHT - 60) + (120, 30)
    height = labels(at, widths)
    tall = max(HEIGHT, int(height.max(initial=0)) + 40)
    at[:, 1] = height
    lines = [
        _line(at, ends, text, arrow) for ends, text, arrow in zip(edges.tolist(), texts, arrows.tolist(), strict=True)
    ]
    nodes = [
        Markup(
            '<g data-node="{place}"><title>{whole}</title><rect x="{x:.0f}" y="{y:.0f}" width="{w:.0f}" height="13"'
            ' rx="3" fill="#fff" fill-opacity=".85"/>'
            '<text x="{middle:.0f}" y="{base:.0f}" text-anchor="middle" font-size="11" fill="{colour}">{name}</text></g>'
        ).format(
            place=place,
            whole=whole,
            x=x - w / 2,
            y=y - 7,
            w=w,
            middle=x,
            base=y + 4,
            colour=COLOURS[number % len(COLOURS)],
            name=name,
        )
        for place, (whole, name, (x, y), w, number) in enumerate(
            zip(names, shown, at, widths, group.tolist(), strict=True)
        )
    ]
    return Markup(
        '<svg viewBox="0 0 {w} {h}" width="{w}" height="{h}" role="img" aria-label="Network of concepts" style="max-width:100%">'
        '<defs><marker id="later" viewBox="0 0 6 6" refX="6" refY="3" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0L6 3L0 6z" fill="#555"/></marker></defs>{inner}</svg>'
    ).format(w=WIDTH, h=tall, inner=Markup("").join([*lines, *nodes]))


def _line(at: NDArray[np.float64], ends: Sequence[int], text: str, arrow: int) -> Markup:
    start, end = (at[place] for place in (ends[::-1] if arrow < 0 else ends))
    middle = start + 0.62 * (end - start)
    second = Markup('<path d="M{a:.0f} {b:.0f}L{c:.0f} {d:.0f}" stroke="#555" marker-end="url(#later)"/>').format(
        a=start[0], b=start[1], c=middle[0], d=middle[1]
    )
    return Markup(
        '<g data-link="{ends}" stroke="#bbb" stroke-width="1.4"><title>{text}</title>'
        '<path d="M{a:.0f} {b:.0f}L{c:.0f} {d:.0f}"/>{second}</g>'
    ).format(
        ends=" ".join(map(str, ends)),
        text=text,
        a=start[0],
        b=start[1],
        c=end[0],
        d=end[1],
        second=second if arrow else "",
    )


def matrix(path: Path, names: Sequence[str], weights: NDArray[np.float64], group: NDArray[np.int64]) -> None:
    """Draw weights (n, n) as a matrix of cells, rows and columns sorted by group (n,); 0 is white."""
    order = np.lexsort((np.arange(len(group)), group))
    side = 2.6 + 0.17 * len(names)
    with plots.figure(path, width=side, height=side) as figure:
        axes = figure.add_subplot()
        axes.imshow(weights[np.ix_(order, order)], cmap="Blues", vmin=0, aspect="equal")
        shown = [names[place][:LETTERS] for place in order]
        axes.set_xticks(range(len(names)), shown, rotation=90, fontsize=7)
        axes.set_yticks(range(len(names)), shown, fontsize=7)
        for bound in np.flatnonzero(np.diff(group[order])):
            axes.axhline(bound + 0.5, color=plots.NEUTRAL, linewidth=0.6)
            axes.axvline(bound + 0.5, color=plots.NEUTRAL, linewidth=0.6)
