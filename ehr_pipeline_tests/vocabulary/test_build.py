from pathlib import Path

import numpy as np
import polars as pl
import pytest

from ehr_pipeline.errors import InputError
from ehr_pipeline.events.counts import count_concepts, sum_buckets
from ehr_pipeline.events.resolve_lists import ResolvedRow
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.store.artifacts import unbalanced
from ehr_pipeline.tables import schemas
from ehr_pipeline.tables.row_keys import from_table, pack
from ehr_pipeline.terminology.code_lists import ListedConcept
from ehr_pipeline.vocabulary import build
from ehr_pipeline.vocabulary.settings import VocabularySettings
from ehr_pipeline.vocabulary.table import FIRST_CONCEPT, Vocabulary

Rows = list[tuple[str, int, str]]  # patient, day, concept


def shard(tmp_path: Path, rows: Rows, name: str = "00000.arrow") -> Path:
    """Write a shard of mapped events and its counts; returns where the counts lie."""
    frame = pl.DataFrame(sorted(rows), schema=["patient_id", "date", "concept"], orient="row")
    table = frame.with_columns(pl.col("date").cast(pl.Int32).cast(pl.Date)).to_arrow(
        compat_level=pl.CompatLevel.oldest()
    )
    for column in ("patient_id", "concept"):
        place = table.schema.get_field_index(column)
        table = table.set_column(place, column, sorted_dictionary(table.column(column).to_pylist()))
    mapped = table.cast(schemas.MAPPED_EVENTS)
    schemas.write(tmp_path / "events" / name, mapped)
    patient, day, concept, _, names = from_table(mapped, "concept")
    path = tmp_path / "concepts" / name
    schemas.write(path, count_concepts(np.sort(pack(patient, day, concept)), names))
    return path


def sorted_dictionary(values: list[str]) -> object:
    import pyarrow as pa

    names = sorted(set(values))
    return pa.DictionaryArray.from_arrays(
        pa.array([names.index(value) for value in values], pa.int32()), pa.array(names, pa.string())
    )


def mapping(concepts: dict[str, str]) -> pl.DataFrame:
    """A mapping table with one code for each concept."""
    table = {
        "code": list(concepts),
        "snomed": list(concepts),
        "concept": list(concepts.values()),
        "name": [f"{c} (disorder)" for c in concepts.values()],
    }
    return pl.DataFrame(table).with_columns(events=pl.lit(1, dtype=pl.Int64))


def settings_in(tmp_path: Path, types: str, **changes: object) -> VocabularySettings:
    path = tmp_path / "MRSTY.RRF"
    path.write_text("".join(f"{cui}|{tui}||name|AT||\n" for cui, tui in (pair.split() for pair in types.split(", "))))
    return VocabularySettings(mrsty=str(path), **({"min_appearances": 1} | changes))  # type: ignore[arg-type]


def test_events_appearances_and_patients_are_counted(tmp_path: Path) -> None:
    rows = [("a", 1, "C1"), ("a", 1, "C1"), ("a", 2, "C1"), ("b", 1, "C1"), ("b", 1, "C2")]
    table = sum_buckets([shard(tmp_path, rows)], "concept")
    assert list(table.iter_rows()) == [("C1", 4, 3, 2), ("C2", 1, 1, 1)]


def test_counts_add_up_over_shards(tmp_path: Path) -> None:
    shards = [
        shard(tmp_path, [("a", 1, "C1"), ("a", 1, "C2")]),
        shard(tmp_path, [("b", 1, "C1")], "00001.arrow"),
        shard(tmp_path, [], "00002.arrow"),
    ]
    assert list(sum_buckets(shards, "concept").iter_rows()) == [("C1", 2, 2, 2), ("C2", 1, 1, 1)]


def test_concepts_are_dropped_for_the_first_reason_that_holds(tmp_path: Path) -> None:
    listed = [ListedConcept(*row, "", "") for row in (("", "C3"), ("5", ""), ("", "C1"))]
    administrative = tuple(ResolvedRow(row, ("C5",) if row.code else ()) for row in listed)
    rows = [
        (f"p{n}", 1, concept)
        for concept, times in {"C1": 9, "C2": 9, "C3": 9, "C4": 1, "C5": 9, "C6": 9, "C7": 9}.items()
        for n in range(times)
    ]
    settings = settings_in(
        tmp_path,
        "C1 T170, C2 T083, C3 T047, C4 T047, C5 T047, C7 T170, C7 T047",
        min_appearances=2,
        drop_semantic_types=("T170",),
        drop_semantic_groups=("GEOG",),
    )
    out = tmp_path / "out"
    out.mkdir()
    counts = build.build(
        [shard(tmp_path, rows)],
        mapping({f"c{n}": f"C{n}" for n in range(1, 8)}),
        settings,
        out,
        administrative=administrative,
    )
    assert counts["lists"] == {"administrative_concepts": {"codes": 3, "concepts": 3, "rows_without_concept": 0}}
    dropped = dict(pl.read_csv(out / "dropped.csv").select("concept", "reason").iter_rows())
    assert dropped == {
        "C1": "semantic_type",
        "C2": "semantic_group",
        "C3": "administrative",
        "C5": "administrative",
        "C4": "rare",
    }
    kept = pl.read_csv(out / "vocabulary.csv")
    # C6 has no type, so it stays and is flagged; C7 has one type that is kept.
    assert list(kept.select("token_id", "concept", "untyped").iter_rows()) == [
        (FIRST_CONCEPT, "C6", True),
        (FIRST_CONCEPT + 1, "C7", False),
    ]
    assert unbalanced(counts) == unbalanced(counts["events"]) == 0
    assert counts["untyped"] == 1


def test_concepts_of_few_patients_are_dropped_where_it_is_asked_for(tmp_path: Path) -> None:
    """However often they appear; and one that was in an earlier vocabulary keeps its id, as when it becomes too rare."""
    rows = [("a", day, "C1") for day in range(30)] + [(f"p{n}", 1, "C2") for n in range(3)]
    every, _ = grown(tmp_path, "every", rows, None)
    asked, counts = grown(tmp_path, "asked", rows, None, min_patients=3)
    assert {concept.concept for concept in Vocabulary.read(every).concepts} == {"C1", "C2"}
    assert [concept.concept for concept in Vocabulary.read(asked).concepts] == ["C2"]
    assert counts["dropped"] == {"few_patients": 1}
    again, _ = grown(tmp_path, "again", [("p1", 1, "C2")], asked, min_patients=3)
    assert [(concept.concept, concept.patients) for concept in Vocabulary.read(again).concepts] == [("C2", 1)]


def test_token_ids_follow_the_number_of_appearances(tmp_path: Path) -> None:
    rows = [("a", 1, "C3"), ("a", 2, "C3"), ("a", 1, "C2"), ("a", 1, "C1")]
    out = tmp_path / "out"
    out.mkdir()
    build.build(
        [shard(tmp_path, rows)], mapping({"1": "C1", "2": "C2", "3": "C3"}), settings_in(tmp_path, "C1 T047"), out
    )
    vocabulary = Vocabulary.read(out)
    assert [concept.concept for concept in vocabulary.concepts] == ["C3", "C1", "C2"]
    assert vocabulary.token_of["C3"] == FIRST_CONCEPT
    assert vocabulary.size == FIRST_CONCEPT + 3
    assert vocabulary.name(0) == "[PAD]"
    assert vocabulary.name(FIRST_CONCEPT) == "C3", "names stand without their semantic tag"


def test_the_hash_follows_the_concepts_and_their_order(tmp_path: Path) -> None:
    hashes = []
    for name, rows in (
        ("a", [("a", 1, "C1"), ("a", 1, "C2")]),
        ("b", [("a", 1, "C1"), ("a", 1, "C2"), ("b", 1, "C2")]),
        ("c", [("x", 5, "C1"), ("x", 5, "C2")]),
    ):
        out = tmp_path / name
        out.mkdir()
        build.build([shard(tmp_path, rows)], mapping({"1": "C1", "2": "C2"}), settings_in(tmp_path, "C1 T047"), out)
        hashes.append(Vocabulary.read(out).hash)
    assert hashes[0] == hashes[2] != hashes[1]


def test_an_empty_vocabulary_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"No concept is left of 1\. Dropped by reason: rare 1\."):
        build.build(
            [shard(tmp_path, [("a", 1, "C1")])],
            mapping({"1": "C1"}),
            settings_in(tmp_path, "C1 T047", min_appearances=2),
            tmp_path,
        )


def test_the_demo_has_administrative_concepts_to_remove(tiny: Pipeline) -> None:
    dropped = pl.read_csv(tiny.store.current("vocabulary").file("dropped.csv"))
    names = dropped.filter(pl.col("reason") == "administrative")["name"].to_list()
    assert len(names) >= 50
    assert "Did not attend" in names


def grown(
    tmp_path: Path, name: str, rows: Rows, earlier: Path | None, **changes: object
) -> tuple[Path, dict[str, object]]:
    out = tmp_path / name
    out.mkdir()
    concepts = mapping({str(number): f"C{number}" for number in range(1, 6)})
    settings = settings_in(tmp_path, "C1 T047, C2 T047", **changes)
    return out, build.build([shard(tmp_path, rows)], concepts, settings, out, earlier)


def test_ids_are_appended_to_and_never_move(tmp_path: Path) -> None:
    first, _ = grown(tmp_path, "first", [("a", 1, "C3"), ("a", 2, "C3"), ("a", 1, "C2")], None)
    later = [("b", day, "C4") for day in range(9)] + [("b", 1, "C1"), ("b", 2, "C1"), ("b", 1, "C2"), ("c", 1, "C5")]
    second, counts = grown(tmp_path, "second", later, first, min_appearances=2)
    one, other = Vocabulary.read(first), Vocabulary.read(second)
    # C3 does not occur any more, C2 is rare now, C5 is too rare to come; C4 and C1 follow by frequency.
    assert [c.concept for c in one.concepts] == ["C3", "C2"]
    assert [c.concept for c in other.concepts] == ["C3", "C2", "C4", "C1"]
    assert [c.token_id for c in other.concepts] == list(range(FIRST_CONCEPT, FIRST_CONCEPT + 4))
    assert [(c.appearances, c.patients) for c in other.concepts] == [(0, 0), (1, 1), (9, 1), (2, 1)]
    assert other.first(one.size).hash == one.hash != other.hash
    assert other.concepts[0].name == "C3", "a concept that is gone keeps its name"
    assert counts["appended"] == counts["kept_though_rarer"] == 2
    assert unbalanced(counts) == unbalanced(counts["events"]) == 0  # type: ignore[arg-type]
    third, _ = grown(tmp_path, "third", [("a", 1, "C5")], second)
    assert [c.concept for c in Vocabulary.read(third).concepts] == ["C3", "C2", "C4", "C1", "C5"]
