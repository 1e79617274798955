import gzip
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ehr_pipeline.errors import InputError
from ehr_pipeline.terminology import rf2
from ehr_pipeline_tests.conftest import SHARED

SHARED_ASSOCIATIONS = SHARED / "umls_like/der2_cRefset_AssociationSnapshot_DERIVED.txt"


def write(path: Path, columns: tuple[str, ...], *rows: dict[str, str]) -> str:
    rows = tuple({"id": f"{number}"} | row for number, row in enumerate(rows))  # components of their own
    lines = ["\t".join(columns), *("\t".join(row.get(name, "1") for name in columns) for row in rows)]
    path.write_text("\r\n".join(lines) + "\r\n", encoding="utf-8")
    return str(path)


def edges(*pairs: tuple[str, str, int]) -> pl.DataFrame:
    return pl.DataFrame(pairs, schema=["source", "target", "rank"], orient="row")


def walked(start: str, known: list[str], depth: int, *pairs: tuple[str, str, int]) -> tuple[str, int] | None:
    found = rf2.nearest_known(pl.Series([start]), edges(*pairs), pl.Series(known), depth)
    return found.select("target", "distance").row(0) if found.height else None


def test_the_nearest_known_code() -> None:
    pairs = [("a", "b", 0), ("b", "c", 0), ("a", "d", 0), ("d", "e", 0), ("e", "f", 0)]
    assert walked("a", ["c", "f"], 5, *pairs) == ("c", 2)
    assert walked("a", ["f"], 5, *pairs) == ("f", 3)
    assert walked("a", ["f"], 2, *pairs) is None
    assert walked("x", ["f"], 5, *pairs) is None


def test_ties_go_to_the_lowest_rank_and_then_the_lowest_id() -> None:
    assert walked("a", ["b", "c"], 1, ("a", "c", 0), ("a", "b", 1)) == ("c", 1)
    assert walked("a", ["b", "c"], 1, ("a", "c", 0), ("a", "b", 0)) == ("b", 1)


def test_a_cycle_ends() -> None:
    assert walked("a", ["z"], 20, ("a", "b", 0), ("b", "a", 0), ("b", "b", 0)) is None
    assert walked("a", ["z"], 20, ("a", "b", 0), ("b", "a", 0), ("b", "z", 0)) == ("z", 2)


def test_files_are_read_with_their_line_ends(tmp_path: Path) -> None:
    row = {
        "active": "1",
        "refsetId": rf2.ASSOCIATIONS["same_as"],
        "referencedComponentId": "11",
        "targetComponentId": "22",
    }
    other = row | {"refsetId": rf2.ASSOCIATIONS["was_a"], "targetComponentId": "33"}
    path = write(tmp_path / "a.txt", rf2.ASSOCIATION, row, row | {"active": "0", "targetComponentId": "44"}, other)
    assert rf2.associations((path,), ("same_as",)).rows() == [("11", "22", 0)]
    assert rf2.associations((path, path), ("was_a", "same_as")).rows() == [("11", "22", 1), ("11", "33", 0)]
    isa = {"sourceId": "1", "destinationId": "2", "typeId": rf2.IS_A}
    path = write(tmp_path / "r.txt", rf2.RELATIONSHIP, isa, isa | {"typeId": "363698007", "destinationId": "3"})
    assert rf2.parents((path,)).rows() == [("1", "2", 0)]
    path = write(tmp_path / "d.txt", rf2.DESCRIPTION, {"id": "7", "conceptId": "8", "term": 'a "quoted'}, {"id": "9"})
    assert rf2.descriptions((path,), pl.Series(["7"])).rows() == [("7", "8")]


def test_a_file_of_another_kind_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "d.txt", rf2.DESCRIPTION)
    with pytest.raises(
        InputError,
        match=r"d.txt \(events.relationships\), line 1: no column sourceId, destinationId, relationshipGroup",
    ):
        rf2.parents((path,))
    with pytest.raises(InputError, match=r"\(events.relationships\): this RF2 file cannot be read: No such file"):
        rf2.parents((str(tmp_path / "nothing"),))


@pytest.mark.skipif(not SHARED_ASSOCIATIONS.is_file(), reason="the shared RF2 file is not at hand")
def test_the_shared_association_file() -> None:
    found = rf2.associations((str(SHARED_ASSOCIATIONS),), ("same_as", "replaced_by"))
    assert found.height > 700
    assert found.filter(pl.col("source") == "268273004")["target"].to_list() == ["86268005"]


def test_every_start_walks_from_itself() -> None:
    starts = pl.Series([str(number) for number in range(2_000)])
    edges = pl.DataFrame({"source": starts, "target": "to " + starts, "rank": 0})
    found = rf2.nearest_known(starts, edges, "to " + starts, 1)
    assert found.filter(pl.col("target") != "to " + pl.col("source")).is_empty()
    assert found.height == 2_000


ROW = st.tuples(st.integers(0, 5), st.integers(2002, 2024), st.booleans(), st.integers(0, 3))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(
    rows=st.lists(ROW, min_size=1, max_size=25, unique_by=lambda row: row[:2]),
    cuts=st.lists(st.integers(0, 25), max_size=2),
    packed=st.booleans(),
)
def test_of_each_component_the_latest_row_over_all_files_counts(
    tmp_path: Path, rows: list[tuple[int, int, bool, int]], cuts: list[int], packed: bool
) -> None:
    """Full files, Snapshots, and several that overlap, in any order."""
    borders = [0, *sorted(cuts), len(rows)]
    paths = []
    for number, (begin, end) in enumerate(pairwise(borders)):
        written = [
            {
                "id": f"{component}",
                "effectiveTime": f"{year}0131",
                "active": "1" if active else "0",
                "refsetId": rf2.ASSOCIATIONS["same_as"],
                "referencedComponentId": f"old{component}",
                "targetComponentId": f"new{target}",
            }
            for component, year, active, target in rows[begin:end]
        ]
        path = Path(write(tmp_path / f"{number}.txt", rf2.ASSOCIATION, *written))
        if packed:
            path.write_bytes(gzip.compress(path.read_bytes(), 1))
        paths.append(str(path))
    latest = {component: (active, target) for component, _, active, target in sorted(rows, key=lambda row: row[1])}
    expected = sorted((f"old{one}", f"new{target}", 0) for one, (active, target) in latest.items() if active)
    assert rf2.associations((*paths, paths[0]), ("same_as",)).rows() == expected


@pytest.mark.parametrize("columns", [rf2.DESCRIPTION, rf2.ASSOCIATION, rf2.RELATIONSHIP])
def test_an_rf2_file_that_ends_in_the_middle_is_refused(tmp_path: Path, columns: tuple[str, ...]) -> None:
    columns = columns if columns[-1].endswith("Id") and columns != rf2.RELATIONSHIP else (*columns, "modifierId")
    last = {columns[-1]: "900000000000451002"}
    path = Path(write(tmp_path / "x.txt", columns, last, last))
    whole, border = path.read_bytes(), path.read_bytes().rstrip().rfind(b"\n") + 1
    accepted = []
    for end in range(border + 1, len(whole)):
        path.write_bytes(whole[:end])
        with suppress(InputError):
            rf2.refuse_cut(path, "x")
            accepted.append(whole[border:end])
    complete = whole[border:].rstrip()
    # One in ten ids has the right check digit by chance.
    assert {complete, complete + b"\r"} <= set(accepted)
    assert len(accepted) <= 3


def test_an_archive_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(b"PK\x03\x04\x14\0\0\0\x08\0")
    with pytest.raises(InputError, match=r"x.zip \(x\): not a text file, but probably a zip archive"):
        rf2.scan(tmp_path / "x.zip", rf2.ASSOCIATION, "x")
