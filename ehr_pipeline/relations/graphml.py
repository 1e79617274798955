"""Write the consensus edges as GraphML, for Gephi, Cytoscape and networkx (http://graphml.graphdrawing.org)."""

from pathlib import Path
from typing import Any
from xml.etree import ElementTree as XML

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
    """Write the edges (`consensus.EDGES`); nodes are the concepts that have one."""
    root = XML.Element("graphml", xmlns="http://graphml.graphdrawing.org/xmlns")
    for kind, fields in (("node", NODE), ("edge", EDGE)):
        for name, of in fields.items():
            XML.SubElement(root, "key", {"id": f"{kind}_{name}", "for": kind, "attr.name": name, "attr.type": of})
    graph = XML.SubElement(root, "graph", edgedefault="undirected")
    rows = edges.to_pylist()
    nodes: dict[str, dict[str, Any]] = {}
    for row in rows:
        for side in ("first", "second"):
            nodes[row[side]] = {"name": row[f"{side}_name"], "community": row[f"community_of_{side}"]}
    for concept, values in nodes.items():
        _fill(XML.SubElement(graph, "node", id=_plain(concept)), "node", values)
    for row in rows:
        edge = XML.SubElement(graph, "edge", source=_plain(row["first"]), target=_plain(row["second"]))
        _fill(edge, "edge", {name: row[name] for name in EDGE})
    XML.indent(root)
    XML.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)


def _fill(element: XML.Element, kind: str, values: dict[str, Any]) -> None:
    for name, value in values.items():
        if value is not None:
            XML.SubElement(element, "data", key=f"{kind}_{name}").text = _plain(str(value))


def _plain(text: str) -> str:
    """Without characters that XML cannot hold."""
    return "".join(letter for letter in text if letter >= " " or letter in "\t\n")
