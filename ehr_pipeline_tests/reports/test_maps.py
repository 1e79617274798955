"""Maps of patients: what is drawn of each group cannot be counted, and no patient is drawn."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from matplotlib.text import Text
from numpy.typing import NDArray

from ehr_pipeline.clusters.table import Clusters
from ehr_pipeline.disclosure.suppression import OTHERS, Disclosure, Marks
from ehr_pipeline.reports import maps, pictures
from ehr_pipeline.reports.settings import ReportsSettings

RULE = Disclosure(10)
MANY = 60_000


def islands(sizes: list[int], seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Places (n, 2) and groups (n,), each group on an island of its own."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(len(sizes)), sizes)
    return rng.normal(0, 1, (len(group), 2)) + 20.0 * np.stack([group, group % 2], axis=1), group


def cohort(sizes: list[int]) -> Clusters:
    points, group = islands(sizes)
    return Clusters(pa.table({"x": points[:, 0], "y": points[:, 1], "cluster": group + 1}))


@pytest.mark.parametrize("seed", range(5))
def test_each_mark_stands_for_ten_patients_of_one_group_or_more(seed: int) -> None:
    sizes = [200, 10, 9, 37, 19, 3]
    points, group = islands(sizes, seed)
    marks = RULE.marks(points, group, MANY)
    for number, size in enumerate(sizes):
        shown = int((marks.group == number).sum())
        assert (shown == 0) if size < 10 else (size / 19 <= shown <= size / 10)
        assert (
            not shown
            or np.linalg.norm(marks.places[marks.group == number] - [20 * number, 20 * (number % 2)], axis=1).max() < 3
        )
    assert (marks.group == OTHERS).sum() == 1, "the 9 and the 3 together"
    assert not marks.apart.any()
    patients = {tuple(place) for place in points.tolist()}
    assert not [place for place in marks.places.tolist() if tuple(place) in patients]


def test_few_others_are_not_drawn_at_all() -> None:
    points, group = islands([50, 9])
    assert set(RULE.marks(points, group, MANY).group.tolist()) == {0}
    assert not len(RULE.marks(*islands([4, 5]), MANY).group)
    assert (RULE.marks(*islands([6, 5]), MANY).group == OTHERS).all()


def test_marks_of_patients_who_lie_apart_are_told() -> None:
    marks = RULE.marks(*islands([40, 4, 4, 4]), MANY)
    assert np.array_equal(marks.apart, marks.group == OTHERS)
    assert marks.apart.sum() == 1


def test_all_in_one_place_are_drawn_there() -> None:
    marks = RULE.marks(np.ones((40, 2)), np.zeros(40, int), MANY)
    assert (marks.places == 1).all()
    assert 2 <= len(marks.group) <= 4


def test_islands_stay_apart() -> None:
    """Of two islands of one group, no mark lies between them."""
    points, _ = islands([33, 47])
    x = RULE.marks(points, np.zeros(80, int), MANY).places[:, 0]
    assert ((x < 5) | (x > 15)).all()


@pytest.mark.parametrize("salt", ["", "sex"])
def test_without_a_threshold_every_patient_is_a_mark_where_the_patient_is(salt: str) -> None:
    points, group = islands([5, 1])
    marks = Disclosure(1).marks(points, group, MANY, salt)
    assert sorted(marks.places.round(9).tolist()) == sorted(points.round(9).tolist())
    assert np.bincount(marks.group).tolist() == [5, 1]
    assert marks.fewest == 1


def test_a_patient_far_from_all_others_is_no_mark_of_his_own() -> None:
    points = np.vstack([np.random.default_rng(0).normal(0, 1, (24, 2)), [[100.0, 0.0]]])
    marks = RULE.marks(points, np.zeros(25, int), MANY)
    assert 1 <= len(marks.group) <= 2
    assert (marks.places[:, 0] < 50).all()


def test_marks_are_as_few_as_asked_for() -> None:
    points, group = islands([6000, 4000])
    marks = RULE.marks(points, group, 100)
    assert 50 <= len(marks.group) <= 100
    assert marks.fewest == 10, "what holds of a group of 30 as well"


def names(layer: maps.Layer | None) -> list[str]:
    return [group.name for group in layer.groups.values()] if layer else []


def test_what_the_maps_show() -> None:
    """A small cluster has neither colour nor number; nor has a small region, age band or a number's band a colour."""
    people = cohort([200, 60, 9, 5])
    n = people.table.num_rows
    region = np.array(["North"] * 150 + ["South"] * (n - 150 - 4) + ["Isles"] * 4)
    age = np.array([30] * (n - 80) + [70] * 73 + [85] * 7)
    year = np.array([2001] * (n - 8) + [2009] * 8)
    attributes = {"region": region, "age": age, "year": year, "sex": np.array(["F"] * (n - 3) + ["M"] * 3)}
    layers = maps.layers(attributes, people, ReportsSettings(), RULE, "key")
    assert [name for name, layer in layers.items() if layer is None] == ["year", "sex"], "they would have one colour"
    assert names(layers["cluster"]) == ["1", "2", "others"]
    assert names(layers["region"]) == ["North", "South"]
    assert names(layers["age"]) == ["18–39", "60–79"]
    clusters = layers["cluster"]
    assert clusters
    assert 200 / 19 <= (clusters.marks.group == 0).sum() <= 20
    assert (clusters.marks.group == OTHERS).sum() == 1
    assert [group.share for group in clusters.groups.values()] == ["about 74 %", "about 22 %", "about 4 %"]
    assert set(maps.centres(clusters.marks)) == {0, 1}


def test_without_a_cluster_to_tell_of_there_is_no_map() -> None:
    assert maps.layers({}, cohort([5, 6, 7]), ReportsSettings(), RULE, "key") == {"cluster": None}


def test_the_rarest_of_many_categories_are_others() -> None:
    practice = np.array([f"practice {number % 20:02}" for number in range(400)])
    layer = maps.layers({"practice": practice}, cohort([400]), ReportsSettings(), RULE, "key")["practice"]
    assert names(layer) == [*(f"practice {number:02}" for number in range(11)), "others"]
    assert layer
    assert (layer.marks.group == OTHERS).sum() >= 180 / 19


def test_the_numbers_of_clusters_stand_at_marks() -> None:
    """A number stands where a mark is, never at the place of a patient or a median of patients."""
    points, group = islands([60, 40, 4])
    marks = RULE.marks(points, group, MANY, "key/cluster")
    centres = maps.centres(marks)
    assert set(centres) == {0, 1}
    assert {tuple(place) for place in marks.places.tolist()} >= set(centres.values())


def test_courses_show_no_small_cluster(drawn: list[Any], tmp_path: Path) -> None:
    points, group = islands([60, 40, 4])
    marks = RULE.marks(points, group, MANY)
    centres = {number + 1: place for number, place in maps.centres(marks).items()}
    assert set(centres) == {1, 2}
    path = tmp_path / "courses.png"
    pictures.map_of_courses(
        path, marks, centres, courses=dict.fromkeys((1, 2, 3), np.empty((0, 2))), moves=[(1, 2), (2, 3)]
    )
    left, right = drawn
    assert [text.get_text() for text in left.texts] == ["1", "2"]
    assert [text.get_text() for text in right.texts] == ["", "1", "2"], "one arrow, and numbers on it"
    (scattered,) = left.collections
    assert len(np.unique(scattered.get_edgecolors()[:, :3].round(6), axis=0)) == 2


def test_no_two_labels_overlap_however_close_the_clusters_are() -> None:
    anchors = np.array([(200.0, 200.0)] * 3 + [(204.0, 200.0), (200.0, 208.0), (40.0, 40.0)])
    offsets = pictures.label_offsets(anchors)
    gaps = np.abs((anchors + offsets)[:, None] - (anchors + offsets)[None])[np.triu_indices(len(anchors), 1)]
    assert (gaps >= pictures.LABEL).any(1).all()
    assert offsets[-1].tolist() == [0.0, 10.0], "a label that is alone stays above its cluster"


def test_the_numbers_of_clusters_do_not_overlap_on_any_map(drawn: list[Any], tmp_path: Path) -> None:
    """Neither on the map of clusters nor on the two of courses, where many centres lie together."""
    rng = np.random.default_rng(0)
    places = rng.normal(size=(60, 2)) * 10
    marks = Marks(places, rng.integers(0, 6, 60), np.zeros(60, dtype=bool), 1)
    centres = {number: (float(number) / 10, 0.0) for number in range(1, 7)}
    pictures.map_of_clusters(tmp_path / "one.png", marks, centres, 6)
    courses = dict.fromkeys(range(1, 7), np.array([[0.0, 0.0], [1.0, 1.0]]))
    pictures.map_of_courses(tmp_path / "two.png", marks, centres, courses=courses, moves=[(1, 2)])
    assert len(drawn) == 3
    for axes in drawn:
        numbers = [text for text in axes.texts if text.get_text()]
        assert len(numbers) == 6
        rooms = [Text.get_window_extent(text) for text in numbers]  # of the words, without the lines to centres
        assert not any(room.count_overlaps(rooms[:place]) for place, room in enumerate(rooms))


def test_numbers_are_drawn_in_bands_of_their_decimals_and_unknown_ones_in_one_of_their_own() -> None:
    values = np.append(np.linspace(18.0, 42.5, 200), np.full(20, np.nan))
    names, coded, ordered = maps._groups("bmi", values)
    assert ordered
    assert names == ["under 23", "23 to <28", "28 to <33", "33 to <38", "38 and over", "not known"]
    assert set(coded[200:].tolist()) == {5}
    edges = [23, 28, 33, 38]
    assert coded[:200].tolist() == [sum(value >= edge for edge in edges) for value in values[:200].tolist()]


@pytest.mark.parametrize(
    ("values", "first"),
    [
        (np.linspace(0.0, 1.0, 101) ** 2, "under 0.04"),
        (np.arange(0.0, 200.0), "under 40"),
        (np.arange(13.0, 1513.0), "under 310"),
        (np.arange(2001.0, 2021.0), "under 2005"),
        (np.array([1.5] * 50), "under 2"),
        (np.full(5, np.nan), "not known"),
    ],
)
def test_bands_have_the_decimals_in_which_they_differ(values: NDArray[np.float64], first: str) -> None:
    names, coded, _ = maps._groups("measure", values)
    assert names[0] == first
    assert len(coded) == len(values)
    assert 0 <= coded.min() <= coded.max() < len(names)


def test_the_key_of_a_number_names_bands_and_who_has_none() -> None:
    """Bands and unknown ones of fewer than ten patients are pooled, and none of them is named."""
    rng = np.random.default_rng(0)
    people = Clusters(pa.table({"x": rng.normal(size=100), "y": rng.normal(size=100), "cluster": np.zeros(100, int)}))
    keys = []
    for unknown in (20, 4):
        values = np.append(np.linspace(18.0, 42.5, 100 - unknown), np.full(unknown, np.nan))
        keys.append(names(maps.layers({"bmi": values}, people, ReportsSettings(), Disclosure(10), "key")["bmi"]))
    first, second = keys
    assert first[-1] == "not known"
    assert "not known" not in second
    assert len(first) == 6
