"""Readers of artifacts: they give back what was written, in whatever order it is asked for, and refuse anything else in words."""

from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ehr_pipeline.clusters import comparison
from ehr_pipeline.clusters.table import Clusters
from ehr_pipeline.cohort.members import Cohort
from ehr_pipeline.disclosure import spreadsheet
from ehr_pipeline.embeddings.vectors import Vectors
from ehr_pipeline.errors import Damaged, UserError
from ehr_pipeline.events.table import Mapping
from ehr_pipeline.tables import align, schemas

IDS = st.lists(st.text("abc", min_size=1, max_size=3), unique=True, min_size=1, max_size=12)


def cohort(*rows: tuple[str, str, int]) -> Cohort:
    ids, shards, places = zip(*rows, strict=True) if rows else ((), (), ())
    columns = [list(ids), list(shards), list(places), ["d"] * len(rows), [["d"]] * len(rows), [0] * len(rows)]
    fields = zip(columns, schemas.COHORT, strict=True)
    arrays = [pa.array(c, pa.int32() if f.type == pa.date32() else f.type).cast(f.type) for c, f in fields]
    return Cohort(pa.table(arrays, schema=schemas.COHORT))


def vectors_of(ids: list[str], width: int = 3) -> Vectors:
    """Vectors in shards of four, each of its number."""
    every = np.arange(len(ids) * width, dtype=np.float32).reshape(-1, width)
    parts = [slice(start, start + 4) for start in range(0, len(ids), 4)]
    columns = {part.start: {"patient_id": ids[part], "vector": schemas.vectors(every[part])} for part in parts}
    return Vectors(tuple(pa.table(each) for each in columns.values()))


@given(IDS, st.randoms())
@settings(deadline=None)
def test_rows_are_aligned_by_patient(ids: list[str], random: "np.random.RandomState") -> None:
    asked = [*ids, "nobody"]
    random.shuffle(asked)
    found = align.rows(pa.array(asked), pa.chunked_array([ids[:2], ids[2:]], pa.string()))
    assert [ids[row] if row >= 0 else "nobody" for row in found] == asked


def test_patients_who_are_not_there_are_an_error_without_their_names() -> None:
    with pytest.raises(UserError, match="different patients") as caught:
        align.every_row(pa.array(["p1", "secret"]), pa.array(["p1"]))
    assert "secret" not in str(caught.value)


@given(IDS, st.randoms())
@settings(deadline=None)
def test_vectors_in_the_order_that_is_asked_for(ids: list[str], random: "np.random.RandomState") -> None:
    vectors, asked = vectors_of(ids), list(ids)
    random.shuffle(asked)
    asked = asked[: len(asked) // 2 + 1]
    assert vectors.ids.to_pylist() == ids
    expected = vectors.all()[[ids.index(name) for name in asked]]
    assert np.array_equal(vectors.of(pa.array(asked)), expected)


def test_vectors_of_shards_without_patients(tmp_path: Path) -> None:
    empty = vectors_of(["a"]).shards[0].slice(0, 0)
    schemas.write(tmp_path / "empty.arrow", empty)
    vectors = Vectors((schemas.read(tmp_path / "empty.arrow"), *vectors_of(["a", "b"]).shards))
    assert vectors.of(pa.array(["b", "a"])).tolist() == [[3, 4, 5], [0, 1, 2]]


def test_the_cohort_by_shard_and_by_patient(tmp_path: Path) -> None:
    made = cohort(("x", "b", 4), ("y", "a", 7), ("z", "b", 1), ("w", "a", 2))
    made.write(tmp_path)
    read = Cohort.read(tmp_path)
    assert read.rows("b").tolist() == [1, 4]
    assert read.rows("a").tolist() == [2, 7]
    assert read.rows("c").tolist() == []
    assert [read.ids[row].as_py() for row in read.order.tolist()] == ["w", "y", "z", "x"]
    assert read.of(pa.array(["z", "x"])).table["row"].to_pylist() == [1, 4]
    assert read.among(pa.array(["z", "x", "nobody"])).ids.to_pylist() == ["x", "z"]
    assert cohort().rows("a").tolist() == []


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        (None, "there is no such file"),
        (b"no Arrow", "it is no Arrow file"),
        (pa.table({"patient_id": ["a"]}), "column cluster is missing"),
        (pa.table({"patient_id": ["a"], "cluster": [1.5]}), "column cluster is double, but should be int32"),
    ],
)
def test_what_is_no_table_of_clusters_is_refused(tmp_path: Path, table: pa.Table | bytes | None, problem: str) -> None:
    path = tmp_path / "clusters.arrow"
    if isinstance(table, bytes):
        path.write_bytes(table)
    elif table is not None:
        schemas.write(path, table)
    with pytest.raises(Damaged, match=f"clusters.arrow: {problem}"):
        Clusters.read(tmp_path)


@pytest.mark.parametrize(
    ("text", "problem"), [(None, "cannot be read"), ("a,b\n1,2\n", "no column code, concept, events")]
)
def test_what_is_no_mapping_is_refused(tmp_path: Path, text: str | None, problem: str) -> None:
    if text:
        (tmp_path / "mapping.csv").write_text(text)
    with pytest.raises(Damaged, match=f"mapping.csv: it .*{problem}"):
        Mapping.read(tmp_path)


def test_a_mapping_comes_back(tmp_path: Path) -> None:
    table = pl.DataFrame({"code": ["=1", "2"], "snomed": ["1", "2"], "concept": ["C1", None], "events": [3, 4]})
    Mapping(table).write(tmp_path)
    read = Mapping.read(tmp_path)
    assert read.table.equals(table)
    assert not read.counts_patients
    assert read.concept_of_code() == {"1": "C1"}


def test_of_a_mapping_the_named_columns_are_read_as_far_as_it_has_them(tmp_path: Path) -> None:
    table = pl.DataFrame({"code": ["=1", "2"], "snomed": ["1", "2"], "concept": ["C1", None], "events": [3, 4]})
    Mapping(table).write(tmp_path)
    assert Mapping.read(tmp_path, "events", "code", "patients").table.equals(table.select("events", "code"))
    Mapping(table.drop("concept")).write(tmp_path)
    with pytest.raises(Damaged, match="no column concept"):
        Mapping.read(tmp_path, "code", "concept")


SCHEMA = pa.schema([("text", pa.string()), ("number", pa.int64()), ("share", pa.float64()), ("yes", pa.bool_())])
CELLS = st.tuples(st.text(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.booleans())


@given(st.lists(CELLS, max_size=5))
@settings(deadline=None)
def test_tables_come_back_by_their_schema(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[object, ...]]
) -> None:
    path = tmp_path_factory.mktemp("table") / "t.csv"
    spreadsheet.write(path, SCHEMA, rows)
    assert [tuple(row.values()) for row in spreadsheet.read(path, SCHEMA)] == rows


def test_texts_become_cells_and_empty_numbers_none(tmp_path: Path) -> None:
    spreadsheet.write(tmp_path / "t.csv", SCHEMA, [("=1+1", "", "", "")])
    assert (tmp_path / "t.csv").read_text() == "text,number,share,yes\n'=1+1,,,\n"
    assert [*spreadsheet.read(tmp_path / "t.csv", SCHEMA)] == [
        {"text": "=1+1", "number": None, "share": None, "yes": None}
    ]


@pytest.mark.parametrize(("text", "problem"), [(None, "cannot be read"), ("text\n", "no column number, share, yes")])
def test_a_table_of_other_columns_is_refused(tmp_path: Path, text: str | None, problem: str) -> None:
    if text:
        (tmp_path / "t.csv").write_text(text)
    with pytest.raises(Damaged, match=problem):
        list(spreadsheet.read(tmp_path / "t.csv", SCHEMA))


def test_methods_beside_each_other_come_back(tmp_path: Path) -> None:
    rows = [comparison.Row("kmeans", 3, 10, 20, 0, 0.5, None, 0.25)]
    comparison.write(tmp_path, rows)
    assert comparison.read(tmp_path) == rows
