"""The asset graph as a picture, from the declarations: `python -m ehr_pipeline_tests.graph_picture > docs/asset_graph.svg`.

The picture omits an edge between two assets that are also connected through a third one (transitive reduction), so that fewer lines
cross. Dagster's own graph shows every edge, because each of them can make an asset stale.
"""

import sys
from collections.abc import Mapping, Sequence

from ehr_pipeline.assets import ASSETS

BOX, HIGH = (168, 30), 58
"""Width and height of a box, and height of a row, in pixels."""
GAP, HEAD = 22, 34
COLOURS = {
    "data": "#e3edf7",
    "encoder": "#e6f3e6",
    "patients": "#f9efdc",
    "predictions": "#f0e6f5",
    "reports": "#f7e3e3",
}
Reads = Mapping[str, Sequence[str]]


def reduced(reads: Reads) -> dict[str, list[str]]:
    """Return what each asset reads, without the assets that it also reaches through another one. Keeps the order of the chain."""
    before: dict[str, set[str]] = {}
    for name, parents in reads.items():
        before[name] = {*parents}.union(*(before[parent] for parent in parents))
    return {
        name: [one for one in parents if not any(one in before[other] for other in parents)]
        for name, parents in reads.items()
    }


def rows(reads: Reads) -> dict[str, int]:
    """Return the row of each asset: one below the lowest asset that it reads."""
    found: dict[str, int] = {}
    for name, parents in reads.items():
        found[name] = 1 + max((found[parent] for parent in parents), default=-1)
    return found


def svg() -> str:
    """Return the picture as SVG: one lane for each group, inputs above the assets that read them."""
    reads = {name: asset.reads for name, asset in ASSETS.items()}
    row, edges = rows(reads), reduced(reads)
    place, lanes, right = _placed(row)
    tall = HEAD + (1 + max(row.values())) * HIGH
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {right} {tall}" font-family="system-ui, sans-serif" font-size="14">',
        "<title>The asset graph: the edges that carry the chain</title>",
        '<defs><marker id="a" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto"><path'
        ' d="M0 0 8 4 0 8z" fill="#667"/></marker></defs>',
        f'<rect width="{right}" height="{tall}" fill="white"/>',
    ]
    for group, (left, wide) in lanes.items():
        lines.append(f'<rect x="{left}" y="4" width="{wide}" height="{tall - 8}" rx="8" fill="{COLOURS[group]}"/>')
        lines.append(f'<text x="{left + 10}" y="23" fill="#445" font-weight="600">{group}</text>')
    lines += [_edge(place[parent], place[name]) for name, parents in edges.items() for parent in parents]
    for name, (x, y) in place.items():
        lines.append(f'<rect x="{x}" y="{y}" width="{BOX[0]}" height="{BOX[1]}" rx="5" fill="white" stroke="#667"/>')
        lines.append(f'<text x="{x + BOX[0] // 2}" y="{y + 20}" text-anchor="middle" fill="#223">{name}</text>')
    return "\n".join([*lines, "</svg>", ""])


def _placed(row: Mapping[str, int]) -> tuple[dict[str, tuple[int, int]], dict[str, tuple[int, int]], int]:
    """Return the upper left corner of each box, the left edge and width of each lane, and the width of the picture."""
    place, lanes, left = dict[str, tuple[int, int]](), dict[str, tuple[int, int]](), 4
    for group in sorted({asset.group for asset in ASSETS.values()}):
        beside: dict[int, list[str]] = {}
        for name, asset in ASSETS.items():
            if asset.group == group:
                beside.setdefault(row[name], []).append(name)
        wide = max(map(len, beside.values())) * (BOX[0] + GAP) + GAP
        for number, names in beside.items():
            for place_in_row, name in enumerate(names):
                place[name] = left + GAP + place_in_row * (BOX[0] + GAP), HEAD + number * HIGH
        lanes[group] = left, wide
        left += wide + 6
    return place, lanes, left


def _edge(start: tuple[int, int], end: tuple[int, int]) -> str:
    x, y, to_x, to_y = start[0] + BOX[0] // 2, start[1] + BOX[1], end[0] + BOX[0] // 2, end[1] - 1
    middle = (to_y - y) // 2
    path = f"M{x} {y}C{x} {y + middle} {to_x} {to_y - middle} {to_x} {to_y}"
    return f'<path d="{path}" fill="none" stroke="#667" stroke-width="1.5" marker-end="url(#a)"/>'


if __name__ == "__main__":
    sys.stdout.write(svg())
