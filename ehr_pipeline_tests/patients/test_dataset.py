import datetime
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ehr_pipeline.errors import InputError
from ehr_pipeline.patients import dataset
from ehr_pipeline.patients.settings import PatientsSettings
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.store.artifacts import Artifact, hash_of, unbalanced
from ehr_pipeline.tables import schemas
from ehr_pipeline_tests.conftest import unpublished
from ehr_pipeline_tests.vocabulary.test_build import Rows, shard

CONCEPTS = ("C1", "C2", "C3")


def people(tmp_path: Path, name: str, **births: int) -> Artifact:
    """A raw_records artifact with one patient shard: id = year of birth."""
    rows = [(patient, datetime.date(year, 7, 1), "year", "F") for patient, year in sorted(births.items())]
    table = pa.table(
        [pa.array(column) for column in zip(*rows, strict=True)],
        names=["patient_id", "birth_date", "birth_precision", "sex"],
    )
    schemas.write(tmp_path / name / "patients" / "00000.arrow", table.cast(schemas.patients(())))
    return unpublished(tmp_path / name)


def vocabulary(tmp_path: Path) -> Path:
    folder = tmp_path / "vocabulary"
    folder.mkdir(exist_ok=True)
    lines = [f"{token},{concept},{concept},T047,false,1,1,1" for token, concept in enumerate(CONCEPTS, start=5)]
    (folder / "vocabulary.csv").write_text(
        "token_id,concept,name,semantic_types,untyped,events,appearances,patients\n" + "\n".join(lines) + "\n"
    )
    (folder / "hash.txt").write_text(hash_of(list(CONCEPTS)))
    return folder


def made(
    tmp_path: Path, rows: Rows, records: list[Artifact] | None = None, **changes: int
) -> tuple[pl.DataFrame, dict[str, object]]:
    shard(tmp_path / "mapped", rows)
    out = tmp_path / "out"
    records = records or [people(tmp_path, "raw", a=1950, b=1960)]
    limits = PatientsSettings(**({"min_visits": 1, "max_concepts_per_visit": 3} | changes))  # type: ignore[arg-type]
    counts = dataset.build(records, unpublished(tmp_path / "mapped"), vocabulary(tmp_path), limits, out)
    assert unbalanced(counts) == unbalanced(counts["visits"]) == unbalanced(counts["patients"]) == 0
    return pl.DataFrame(schemas.read(out / "patients" / "00000.arrow")), counts


def visits_of(frame: pl.DataFrame) -> dict[str, list[tuple[int, list[int]]]]:
    epoch = datetime.date(1970, 1, 1)
    return {
        row["patient_id"]: [((visit["date"] - epoch).days, visit["concepts"]) for visit in row["visits"]]
        for row in frame.iter_rows(named=True)
    }


def test_visits_are_days_with_each_concept_once_in_token_order(tmp_path: Path) -> None:
    frame, counts = made(
        tmp_path, [("a", 9, "C3"), ("a", 9, "C1"), ("a", 9, "C3"), ("a", 2, "C2"), ("b", 1, "C2"), ("b", 1, "unknown")]
    )
    assert visits_of(frame) == {"a": [(2, [6]), (9, [5, 7])], "b": [(1, [6])]}
    assert (counts["rows_in"], counts["kept"], counts["collapsed"]) == (6, 4, 1)
    assert counts["dropped"] == {"not_in_vocabulary": 1, "large_visits": 0, "few_visits": 0}


def test_a_window_joins_days_and_collapses_what_repeats_in_it(tmp_path: Path) -> None:
    rows = [("a", 1, "C1"), ("a", 3, "C1"), ("a", 3, "C2"), ("a", 4, "C3"), ("b", 4, "C1")]
    frame, counts = made(tmp_path, rows, visit_window_days=2)
    assert visits_of(frame) == {"a": [(1, [5, 6]), (4, [7])], "b": [(4, [5])]}
    assert (counts["rows_in"], counts["kept"], counts["collapsed"]) == (5, 4, 1)


def test_large_visits_go_before_patients_with_few_visits(tmp_path: Path) -> None:
    rows = [
        ("a", 1, "C1"),
        ("a", 2, "C1"),
        ("a", 2, "C2"),
        ("a", 2, "C3"),
        ("a", 3, "C2"),
        ("b", 1, "C1"),
        ("b", 2, "C1"),
    ]
    frame, counts = made(tmp_path, rows, max_concepts_per_visit=2, min_visits=2)
    assert visits_of(frame) == {"a": [(1, [5]), (3, [6])], "b": [(1, [5]), (2, [5])]}
    assert counts["dropped"] == {"not_in_vocabulary": 0, "large_visits": 3, "few_visits": 0}
    frame, counts = made(tmp_path / "again", rows[:5] + rows[5:6], max_concepts_per_visit=2, min_visits=2)
    assert list(visits_of(frame)) == ["a"]
    assert counts["dropped"] == {"not_in_vocabulary": 0, "large_visits": 3, "few_visits": 1}
    assert counts["patients"] == {"rows_in": 2, "kept": 1, "dropped": {"only_large_visits": 0, "few_visits": 1}}


def test_a_patient_with_only_large_visits(tmp_path: Path) -> None:
    _, counts = made(tmp_path, [("a", 2, "C1"), ("a", 2, "C2"), ("b", 1, "C1")], max_concepts_per_visit=1)
    assert counts["patients"]["dropped"] == {"only_large_visits": 1, "few_visits": 0}  # type: ignore[index]


def test_the_newest_extract_tells_who_a_patient_is(tmp_path: Path) -> None:
    records = [people(tmp_path, "old", a=1950, b=1960), people(tmp_path, "new", a=1951, c=1970)]
    frame, counts = made(tmp_path, [("a", 1, "C1"), ("b", 1, "C1")], records)
    assert dict(frame.select("patient_id", pl.col("birth_date").dt.year()).iter_rows()) == {"a": 1951, "b": 1960}
    assert counts["patients_without_events"] == 1


def test_no_patient_left_is_told(tmp_path: Path) -> None:
    with pytest.raises(
        InputError,
        match=r"No patient is left: fewer than 10 have events of the vocabulary, fewer than 10 of them fewer than 3 visits",
    ):
        made(tmp_path, [("a", 1, "C1")], min_visits=3)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.integers(0, 4), st.sampled_from((*CONCEPTS, "C9"))), min_size=1, max_size=40
    )
)
def test_read_back_the_data_set_gives_exactly_the_kept_events(tmp_path: Path, rows: Rows) -> None:
    tokens = dict(zip(CONCEPTS, range(5, 8), strict=True))
    events = {(patient, day, tokens[concept]) for patient, day, concept in rows if concept in tokens}
    sizes = {(patient, day): sum(e[:2] == (patient, day) for e in events) for patient, day, _ in events}
    kept = {event for event in events if sizes[event[:2]] <= 2}
    kept = {event for event in kept if len({day for patient, day, _ in kept if patient == event[0]}) >= 2}
    if not kept:
        return
    frame, _ = made(tmp_path, list(rows), max_concepts_per_visit=2, min_visits=2)
    found = {
        (patient, day, token)
        for patient, visits in visits_of(frame).items()
        for day, concepts in visits
        for token in concepts
    }
    assert found == kept


def test_the_data_set_is_small_and_opens_with_polars_alone(tiny: Pipeline) -> None:
    artifact = tiny.store.current("patient_dataset")
    paths = artifact.files("patients")
    frame = pl.concat([pl.read_ipc(path) for path in paths])
    assert frame.height == artifact.counts["patients"]["kept"]
    assert frame["visits"].explode().struct.field("concepts").list.len().sum() == artifact.counts["kept"]
    assert {"region", "ethnicity", "practice", "treatment", "sex", "birth_date"} <= set(frame.columns)
    assert sum(path.stat().st_size for path in paths) < 10 * artifact.counts["kept"]
