"""`ehr-pipeline embed --cut`: one row for everyone asked for, of what was known by then and of nothing later."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from ehr_pipeline import cli
from ehr_pipeline.export import histories
from ehr_pipeline.export.histories import names_of
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.synthetic.generate import EXTRACT
from ehr_pipeline.tables import schemas
from ehr_pipeline_tests.conftest import write_settings

LATER = "2090-01-01"


@pytest.fixture(scope="module")
def record(tiny: Pipeline) -> tuple[str, list[Any]]:
    """A patient of the cohort with a vector, and the days of the visits."""
    patient = schemas.read(tiny.store.current("patient_embeddings").files("embeddings")[0])["patient_id"][0].as_py()
    for path in tiny.store.current("patient_dataset").files("patients"):
        table = schemas.read(path, ["patient_id", "visits"])
        found = table.filter(pa.compute.equal(table["patient_id"], patient))
        if found.num_rows:
            return patient, [visit["date"] for visit in found["visits"][0].as_py()]
    raise AssertionError


def folders(tiny: Pipeline, landing: Path) -> tuple[Path, Path, Path]:
    checkpoint = tiny.store.current("encoder_checkpoint").file("checkpoint")
    return checkpoint, tiny.store.current("patient_embeddings").path, landing / EXTRACT


def asked(path: Path, rows: list[tuple[str, str]]) -> Path:
    path.write_text("".join(f"{who},{day}\n" for who, day in [("patient_id", "event_date"), *rows]))
    return path


def test_nothing_after_the_cut_is_read(
    tiny: Pipeline, extract: Path, record: tuple[str, list[Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same rows from the extract, and from one whose events after the cuts are others: many more, of one code."""
    patient, days = record
    middle = days[len(days) // 2]
    everybody = pl.read_csv(
        extract / "landing" / EXTRACT / "patients.txt", separator="\t", infer_schema=False, encoding="latin-1"
    )
    others = [each for each in everybody["patient_id"] if each != patient]
    cuts = [(patient, str(middle)), ("nobody", "2010-01-01"), *((each, "2008-06-30") for each in others)]
    cuts += [(patient, str(days[0])), (patient, "1900-01-01"), (patient, str(middle))]
    changed = shutil.copytree(extract / "landing", tmp_path / "landing")
    for path in sorted((changed / EXTRACT).glob("events_*.txt")):
        header, *lines = path.read_bytes().splitlines()
        fields = [line.split(b"\t") for line in lines]
        dates = [b"-".join(reversed(cells[1].split(b"/"))) for cells in fields]
        last = {who.encode(): day.encode() for who, day in sorted(cuts, key=lambda cut: cut[1])}
        kept = [line for line, cells, day in zip(lines, fields, dates, strict=True) if day <= last.get(cells[0], b"")]
        code = fields[0][2:]
        kept += [b"\t".join([cells[0], b"01/01/2018", *code]) for cells in fields if cells[0] in last]
        path.write_bytes(b"\n".join([header, *kept, b""]))
    monkeypatch.setattr(histories, "AT_ONCE", 50)
    file, out = asked(tmp_path / "cuts.csv", cuts), tmp_path / "out.arrow"
    counts = histories.embed(tiny.study, folders(tiny, extract / "landing"), file, out)
    rows = schemas.read(out)
    histories.embed(tiny.study, folders(tiny, changed), file, tmp_path / "changed.arrow")
    again = schemas.read(tmp_path / "changed.arrow")
    assert again.drop_columns("vector").equals(rows.drop_columns("vector"))
    assert again["vector"].is_null().equals(rows["vector"].is_null())
    one, other = (np.array(table["vector"].drop_null().to_pylist()) for table in (again, rows))
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-5)  # other patients of a batch change the rounding

    assert list(zip(rows["patient_id"].to_pylist(), map(str, rows["cut"].to_pylist()), strict=True)) == cuts
    table = pl.DataFrame({name: rows[name].to_pylist() for name in ("tokens", "pooled_tokens", "age_at_cut", "vector")})
    assert (table["vector"].is_null() == (table["pooled_tokens"] == 0)).all()
    assert table.row(0) == table.row(-1)
    assert table["tokens"][0] > table["tokens"][-3] > table["tokens"][-2] == 0
    assert table.row(1) == (0, 0, None, None)
    assert table["age_at_cut"][0] == middle.year - int(everybody.row(by_predicate=pl.col("patient_id") == patient)[1])
    assert counts["rows_in"] == len(cuts) == counts["with_vector"] + sum(counts["without"].values())
    assert counts["without"]["not_in_extract"] == 1
    assert counts["without"]["no_history"] >= 1


def test_whoever_is_cut_after_all_events_has_the_vector_of_the_whole_record(
    tiny: Pipeline, extract: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the command, and with the names of MEDS."""
    tables = [schemas.read(path) for path in tiny.store.current("patient_embeddings").files("embeddings")]
    whole = pa.concat_tables(tables)
    file = tmp_path / "cuts.parquet"
    pl.DataFrame({"patient_id": whole["patient_id"].to_pylist(), "prediction_time": LATER}).with_columns(
        pl.col("prediction_time").str.to_datetime()
    ).write_parquet(file)
    model, vectors, landing = folders(tiny, extract / "landing")
    settings = write_settings(tmp_path / "settings.toml", extract, tmp_path / "store")
    arguments = ["--model", model, "--vectors", vectors, "--extract", landing, "--cut", file, "--settings", settings]
    assert cli.main(["embed", *map(str, arguments), "--out", str(tmp_path / "out.arrow")]) == 0
    rows = schemas.read(tmp_path / "out.arrow")
    assert np.allclose(schemas.matrix(rows), schemas.matrix(whole), atol=1e-4)
    assert rows["pooled_tokens"].equals(whole["tokens"])
    assert f"wrote {whole.num_rows:,} rows" in capsys.readouterr().out


def test_visits_that_may_go_on_after_the_cut_are_left_out(
    tiny: Pipeline, extract: Path, record: tuple[str, list[Any]], tmp_path: Path
) -> None:
    patient, days = record
    study = replace(tiny.study, patients=replace(tiny.study.patients, visit_window_days=30))
    file = asked(tmp_path / "cuts.csv", [(patient, str(days[0])), (patient, LATER)])
    histories.embed(study, folders(tiny, extract / "landing"), file, tmp_path / "out.arrow")
    tokens = schemas.read(tmp_path / "out.arrow")["tokens"].to_pylist()
    assert tokens[0] == 0 < tokens[1]


def test_the_names_of_other_sources(tiny: Pipeline) -> None:
    names = names_of(tiny.study.records)
    assert (names.patient, names.date) == (("patient_id",), ("event_date", "date"))
    assert names.date_formats == ("%d/%m/%Y", "iso")
