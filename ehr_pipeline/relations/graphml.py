"""Write the consensus edges as GraphML, for Gephi, Cytoscape and networkx (http://graphml.graphdrawing.org)."""

from html import escape
from pathlib import Path
from typing import Any

import pyarrow as pa

NODE = {"name": "string", "community": "long"}
EDGE = {
    "score": "double",
    "patients": "long",
    "odds_ratio": "double",
    "odds_ratio_low": "double",
    "odds_ratio_high": "double",
    "comes_first": "string",
}


def write(path: Path, edges: pa.Table) -> None:
    """Write the edges (`consensus.EDGES`), and the concepts that have at least one edge as nodes."""
    rows = edges.to_pylist()
    nodes: dict[str, dict[str, Any]] = {}
    for row in rows:
        for side in ("first", "second"):
            nodes[row[side]] = {"name": row[f"{side}_name"], "community": row[f"community_of_{side}"]}
    lines = [
        "<?xml version='1.0' encoding='utf-8'?>",
        '<graphml xmlns="http://graphml.graphdrawing.org/xmlns">',
        *(
            f'  <key id="{kind}_{name}" for="{kind}" attr.name="{name}" attr.type="{of}" />'
            for kind, fields in (("node", NODE), ("edge", EDGE))
            for name, of in fields.items()
        ),
        '  <graph edgedefault="undirected">',
    ]
    for concept, values in nodes.items():
        lines += [f'    <node id="{_plain(concept)}">', *_data("node", values), "    </node>"]
    for row in rows:
        ends = f'source="{_plain(row["first"])}" target="{_plain(row["second"])}"'
        lines += [f"    <edge {ends}>", *_data("edge", {name: row[name] for name in EDGE}), "    </edge>"]
    path.write_text("\n".join([*lines, "  </graph>", "</graphml>", ""]), encoding="utf-8")


def _data(kind: str, values: dict[str, Any]) -> list[str]:
    return [
        f'      <data key="{kind}_{name}">{_plain(str(value))}</data>'
        for name, value in values.items()
        if value is not None
    ]


def _plain(text: str) -> str:
    """Escape text for XML, and drop characters that XML cannot hold."""
    return escape("".join(letter for letter in text if letter >= " " or letter in "\t\n"))
