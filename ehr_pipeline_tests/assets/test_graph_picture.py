"""The picture of the asset graph is that of the declarations, and leaves out only what other edges say."""

import xml.etree.ElementTree as ElementTree

from ehr_pipeline.assets import ASSETS
from ehr_pipeline_tests import graph_picture
from ehr_pipeline_tests.conftest import ROOT

READS = {name: asset.reads for name, asset in ASSETS.items()}


def reached(reads: dict[str, list[str]], name: str) -> set[str]:
    return {*reads[name]}.union(*(reached(reads, parent) for parent in reads[name]))


def test_the_picture_in_the_docs_is_up_to_date() -> None:
    found = (ROOT / "docs" / "asset_graph.svg").read_text(encoding="utf-8")
    assert found == graph_picture.svg(), "python -m ehr_pipeline_tests.graph_picture > docs/asset_graph.svg"


def test_edges_are_left_out_only_where_another_way_leads_to_the_same_asset() -> None:
    edges, every = graph_picture.reduced(READS), {name: list(parents) for name, parents in READS.items()}
    for name, parents in edges.items():
        assert reached(edges, name) == reached(every, name), name
        for parent in parents:
            without = edges | {name: [one for one in parents if one != parent]}
            assert parent not in reached(without, name), (parent, name)


def test_no_box_lies_on_another_and_no_name_is_wider_than_its_box() -> None:
    drawn = ElementTree.fromstring(graph_picture.svg())  # noqa: S314 (ours)
    boxes = [(int(one.attrib["x"]), int(one.attrib["y"])) for one in drawn.iter() if one.attrib.get("rx") == "5"]
    assert len(set(boxes)) == len(ASSETS) == len(boxes)
    for place, one in enumerate(boxes):
        for other in boxes[:place]:
            assert abs(one[0] - other[0]) >= graph_picture.BOX[0] or abs(one[1] - other[1]) >= graph_picture.BOX[1]
    assert max(map(len, ASSETS)) * 8 <= graph_picture.BOX[0]
