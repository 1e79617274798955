from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from ehr_pipeline.errors import InputError
from ehr_pipeline.events import build
from ehr_pipeline.events.settings import EventsSettings
from ehr_pipeline.events.table import Mapping
from ehr_pipeline.records import build as records
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.store.artifacts import Artifact, Recipe, Store, unbalanced
from ehr_pipeline.tables import schemas
from ehr_pipeline_tests.conftest import records_settings

MRCONSO = "".join(
    f"{cui}|ENG|P|L|PF|S|Y|A||{code}||SNOMEDCT_US|PT|{code}|{name}|9|N||\n"
    for cui, code, name in (
        ("C0033860", "9014002", "Psoriasis"),
        ("C0033860", "156369008", "Psoriasis"),
        ("C0011615", "24079001", "Atopic dermatitis"),
    )
)


def read(landing: Callable[..., Path], store: Store, extract: str, events: str) -> Artifact:
    folder = landing("id\tdate\tcode\n" + events, extract=extract)
    return store.make(
        Recipe("raw_records", "1", extract, {}, extract),
        lambda out: records.build(folder, records_settings(folder.parent), out),
    )


def mapped_rows(out: Path) -> list[tuple[str, ...]]:
    return [
        row
        for path in sorted((out / "events").iterdir())
        for row in pl.DataFrame(schemas.read(path)).cast(pl.String).iter_rows()
    ]


def settings_in(tmp_path: Path, text: str = MRCONSO, **more: object) -> EventsSettings:
    path = tmp_path / "MRCONSO.RRF"
    path.write_text(text)
    return EventsSettings(mrconso=str(path), **more)  # type: ignore[arg-type]


def test_the_events_of_all_extracts_come_together_sorted(landing: Callable[..., Path], tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    older = read(
        landing, store, "2020-01-01", "1\t05/03/2001\t9014002\n2\t05/03/2001\t24079001\n1\t05/03/2001\t195967001\n"
    )
    newer = read(landing, store, "2021-01-01", "1\t04/03/2001\t156369008\n1\t05/03/2001\t9014002\n")
    out = tmp_path / "out"
    (out / "events").mkdir(parents=True)
    counts = build.build([older, newer], settings_in(tmp_path), out)
    rows = mapped_rows(out)
    assert sorted(rows) == [
        ("1", "2001-03-04", "C0033860"),
        ("1", "2001-03-05", "C0033860"),
        ("2", "2001-03-05", "C0011615"),
    ]
    for path in sorted((out / "events").iterdir()):
        own = [tuple(row) for row in pl.DataFrame(schemas.read(path)).cast(pl.String).iter_rows()]
        assert own == sorted(own)
    assert counts["dropped"] == {"unmapped_international": 1}
    assert (counts["rows_in"], counts["kept"], counts["collapsed"], unbalanced(counts)) == (5, 3, 1, 0)
    lost = pl.read_csv(out / "unmapped.csv", infer_schema=False)
    assert lost.row(0) == ("195967001", "international", "1")


def test_patients_are_counted_by_code_over_buckets_and_extracts(landing: Callable[..., Path], tmp_path: Path) -> None:
    """Each patient once, however often, in how many extracts and on which days; buckets are disjoint by patient."""
    store = Store(tmp_path / "store")
    often = "".join(f"1\t{day:02}/03/2001\t9014002\n" for day in range(1, 29))
    older = read(landing, store, "2020-01-01", often + "2\t05/03/2001\t24079001\n1\t05/03/2001\t195967001\n")
    newer = read(landing, store, "2021-01-01", "1\t04/03/2001\t9014002\n2\t05/03/2001\t9014002\n")
    for out, previous in ((tmp_path / "out", None), (tmp_path / "again", Artifact(tmp_path / "out", {}))):
        counts = build.build([older, newer], settings_in(tmp_path), out, previous)
        table = Mapping.read(out).table
        assert dict(table.select("code", "patients").iter_rows()) == {"9014002": 2, "24079001": 1, "195967001": 1}
        assert dict(table.select("code", "events").iter_rows())["9014002"] == 29
    assert counts["buckets_unchanged"] == counts["buckets"] == 2, "what is linked is counted as well"


def test_the_mapping_table_can_be_reviewed(tiny: Pipeline) -> None:
    table = Mapping.read(tiny.store.current("mapped_events").path).table
    assert table["events"].sum() == tiny.store.current("mapped_events").counts["rows_in"]
    assert table.filter(pl.col("code") == "9014002").select("concept", "name", "step").row(0) == (
        "C0033860",
        "Psoriasis",
        "current",
    )
    retired = table.filter(pl.col("step") == "obsolete")
    assert retired["events"].sum() > 0
    assert set(table.filter(pl.col("namespace") == "uk_extension")["concept"]) == {None}


def test_coverage_resembles_the_umls(tiny: Pipeline) -> None:
    assert 0.40 < tiny.store.current("mapped_events").counts["coverage_of_events"] < 0.50


def test_no_mapped_code_at_all_is_told(landing: Callable[..., Path], tmp_path: Path) -> None:
    record = read(landing, Store(tmp_path / "store"), "2020-01-01", "1\t05/03/2001\t195967001\n")
    with pytest.raises(
        InputError,
        match=r"none of the fewer than 10 events has a code of source 'SNOMEDCT_US'.*international fewer than 10",
    ):
        build.build([record], settings_in(tmp_path), tmp_path)
