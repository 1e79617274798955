"""The map in the page: what is embedded of one colour cannot be joined with another, and shows no patient and no order."""

import re
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from ehr_pipeline.clusters.table import Clusters
from ehr_pipeline.disclosure.suppression import Disclosure
from ehr_pipeline.reports import map_svg, maps
from ehr_pipeline.reports.settings import ReportsSettings
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline_tests.reports.test_maps import islands

RULE = Disclosure(10)
Dots = dict[str, NDArray[np.int64]]


def embedded(html: str) -> Iterator[Dots]:
    """The dots of each layer of a page's map, by the hint of their group."""
    for layer in re.findall(r'<g class="layer layer-\d+ marks".*?</g>', html, re.DOTALL):
        found: dict[str, list[tuple[int, int]]] = {}
        for path, hint in re.findall(r'd="([^"]*)"><title>([^<]*)</title>', layer):
            found.setdefault(hint, []).extend((int(x), int(y)) for x, y in re.findall(r"M(\d+) (\d+)h0", path))
        yield {hint: np.array(dots) for hint, dots in found.items()}


def joined(first: Dots, second: Dots) -> float:
    """The share of dots of one layer that an attacker finds again in another, at the same place."""
    one, other = (np.concatenate(list(layer.values())) for layer in (first, second))
    places = {tuple(dot) for dot in other.tolist()}
    return float(np.mean([tuple(dot) in places for dot in one.tolist()]))


def drawn(key: str = "secret", order: NDArray[np.int64] | None = None) -> str:
    """A map of patients whose two attributes divide them as their clusters do: the worst case for joining colours."""
    points, group = islands([200, 120, 60, 14], seed=3)
    names = np.array(["a", "b", "c", "d"])[group]
    order = np.arange(len(points)) if order is None else order
    people = Clusters(pa.table({"x": points[order, 0], "y": points[order, 1], "cluster": group[order] + 1}))
    found = maps.layers({"region": names[order], "other": names[order]}, people, ReportsSettings(), RULE, key)
    layers = [layer for layer in found.values() if layer]
    hints = [{number: group.name for number, group in layer.groups.items()} for layer in layers]
    return str(map_svg.svg(layers, hints, "map"))


def test_two_colours_cannot_be_joined_even_where_they_divide_alike() -> None:
    clusters, region, other = embedded(drawn())
    assert joined(clusters, clusters) == 1, "the attack works"
    for one, two in ((clusters, region), (clusters, other), (region, other)):
        assert joined(one, two) < 0.05


def test_without_marks_of_its_own_a_colour_could_be_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Disclosure.marks
    monkeypatch.setattr(Disclosure, "marks", lambda self, points, group, most, salt="": real(self, points, group, most))
    clusters, region, _ = embedded(drawn())
    assert joined(clusters, region) > 0.9


def test_the_map_says_nothing_about_the_order_of_patients() -> None:
    assert drawn() == drawn(order=np.random.default_rng(5).permutation(394))


def test_another_key_moves_the_marks() -> None:
    """Who knows the code and not the key cannot take back by how much a mark was moved."""
    (first, *_), (second, *_) = embedded(drawn()), embedded(drawn("another"))
    assert joined(first, second) < 0.05


def test_dots_stand_in_the_order_of_their_places() -> None:
    for path in re.findall(r'd="((?:M\d+ \d+h0)+)"', drawn()):
        dots = [(int(y), int(x)) for x, y in re.findall(r"M(\d+) (\d+)h0", path)]
        assert dots == sorted(dots)


def test_what_the_page_embeds_of_a_study(tiny: Pipeline) -> None:
    """On the whole page: no place of a patient, no colour that can be joined with another, at most a dot for ten patients."""
    html = tiny.store.current("cluster_reports").file("report.html").read_text(encoding="utf-8")
    people = Clusters.read(tiny.store.current("clusters").path)
    layers = list(embedded(html))
    assert len(layers) >= 5
    for place, layer in enumerate(layers):
        assert 1 <= sum(map(len, layer.values())) <= people.table.num_rows / 10
        assert all(joined(layer, other) < 0.2 for other in layers[:place]), "by chance, on a small map"
    shown = {float(number) for number in re.findall(r"\d+\.\d{3,}", re.sub(r"base64,[\w+/=]+", "", html))}
    assert not shown & {float(np.float32(value)) for value in people.points.ravel().tolist()}
