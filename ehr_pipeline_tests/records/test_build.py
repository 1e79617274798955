import hashlib
import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from ehr_pipeline.checks import data
from ehr_pipeline.errors import InputError, UserError
from ehr_pipeline.records import build
from ehr_pipeline.records.layouts import PatientColumns, PatientFiles
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.store.artifacts import Artifact, unbalanced
from ehr_pipeline.synthetic.dirt import REJECTED
from ehr_pipeline.synthetic.generate import EXTRACT
from ehr_pipeline.tables import schemas
from ehr_pipeline_tests.conftest import records_settings, tiny_settings

Landing = Callable[..., Path]


def events_of(out: Path) -> list[tuple[str, str, str]]:
    tables = [pl.DataFrame(schemas.read(path)).cast(pl.String) for path in sorted((out / "events").iterdir())]
    return sorted(pl.concat(tables).iter_rows())  # type: ignore[arg-type]


def quarantine_of(out: Path) -> list[tuple[str, int, str]]:
    tables = [pl.DataFrame(schemas.read(path)) for path in sorted((out / "quarantine").iterdir())]
    return sorted(pl.concat(tables).select("file", "line", "reason").iter_rows())  # type: ignore[arg-type]


def content(out: Path) -> dict[str, str]:
    """Hashes of the data files."""
    paths = [path for folder in ("events", "patients") for path in sorted((out / folder).iterdir())]
    return {f"{path.parent.name}/{path.name}": hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def test_rows_in_rows_out(landing: Landing, tmp_path: Path) -> None:
    folder = landing(
        "id\tdate\tcode\n"
        "1\t05/03/2001\t9014002\n"
        "2\t05/03/2001\t24079001\n"
        "1\t05/03/2001\t9014002\n"  # a duplicate: kept here, collapsed later
        "3\t05/03/2001\t9014002\n"  # nobody knows patient 3
        "2\t05/03/1979\t9014002\n"  # before birth
        "2\t05/03/1980\t9014002\n"  # in the year of birth
        "1\t01/01/1900\t9014002\n"
        "1\t9014002\n"
    )
    out = tmp_path / "out"
    out.mkdir()
    counts = build.build(folder, records_settings(folder.parent), out)
    assert events_of(out) == [
        ("1", "2001-03-05", "9014002"),
        ("1", "2001-03-05", "9014002"),
        ("2", "1980-03-05", "9014002"),
        ("2", "2001-03-05", "24079001"),
    ]
    assert quarantine_of(out) == [
        ("events.txt", 5, "unknown_patient"),
        ("events.txt", 6, "before_birth"),
        ("events.txt", 8, "sentinel_date"),
        ("events.txt", 9, "wrong_number_of_fields"),
    ]
    assert counts["dropped"] == {
        "before_birth": 1,
        "sentinel_date": 1,
        "unknown_patient": 1,
        "wrong_number_of_fields": 1,
    }
    assert (counts["rows_in"], counts["kept"], unbalanced(counts)) == (8, 4, 0)
    assert not [path for path in out.iterdir() if path.name.startswith(".")]


def test_a_row_lost_for_want_of_the_quote_is_told_even_if_it_is_one(
    landing: Landing, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good = "".join(f"1\t05/03/2001\t9014002\t{number}\n" for number in range(2_000))
    folder = landing("id\tdate\tcode\tnote\n" + good + '1\t05/03/2001\t9014002\t"a\tb"\n')
    plain = records_settings(folder.parent)
    (tmp_path / "out").mkdir()
    build.build(folder, plain, tmp_path / "out")
    (told,) = (record.getMessage() for record in caplog.records if "in quotes" in record.getMessage())
    assert told.endswith("set `quote` of these files to '\"' (`ehr-pipeline check` shows the files)")
    assert "some rows of events were rejected" in told
    caplog.clear()
    (tmp_path / "again").mkdir()
    own = tuple(replace(files, quote='"') for files in plain.events)
    build.build(folder, replace(plain, events=own), tmp_path / "again")
    ragged = "1\t05/03/2001\t9014002\n"
    (folder / "events.txt").write_text("id\tdate\tcode\tnote\n" + good + ragged)
    (tmp_path / "third").mkdir()
    build.build(folder, plain, tmp_path / "third")
    assert "in quotes" not in caplog.text


def test_the_order_of_rows_and_the_cut_into_files_change_no_byte(extract: Path, tmp_path: Path) -> None:
    study = tiny_settings(extract)
    other = tmp_path / "landing" / EXTRACT
    other.mkdir(parents=True)
    rng = random.Random(5)
    import gzip

    lines: list[bytes] = []
    for path in sorted((extract / "landing" / EXTRACT).glob("events_*")):
        raw = path.read_bytes()
        head, *rest = (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).splitlines()
        lines += rest
    rng.shuffle(lines)
    for number in range(3):
        (other / f"events_{9 - number}.txt").write_bytes(b"\r\n".join([head, *lines[number::3]]) + b"\r\n")
    head, *people = (extract / "landing" / EXTRACT / "patients.txt").read_bytes().splitlines()
    rng.shuffle(people)
    (other / "patients.txt").write_bytes(b"\n".join([head, *people, people[0]]))
    outs = [tmp_path / name for name in ("one", "two")]
    for out in outs:
        out.mkdir()
    one = build.build(extract / "landing" / EXTRACT, study.records, outs[0])
    two = build.build(other, study.records, outs[1])
    assert content(outs[0]) == content(outs[1])
    assert (one["kept"], one["dropped"]) == (two["kept"], two["dropped"])
    assert two["patients"]["collapsed"] == 1


def test_every_kind_of_dirt_is_found_as_often_as_it_was_put_in(tiny: Pipeline, extract: Path) -> None:
    put_in = json.loads((extract / "truth/dirt.json").read_text())["rows"]
    counts = tiny.store.current("raw_records", EXTRACT).counts
    assert counts["rows_in"] == put_in["rows"]
    assert counts["dropped"] == {name: put_in[name] for name in sorted(REJECTED)}
    assert unbalanced(counts) == unbalanced(counts["patients"]) == 0


def test_inline_and_on_a_pool_of_processes_the_files_are_the_same(extract: Path, tmp_path: Path) -> None:
    contents = []
    for workers in (1, 2):
        out = tmp_path / str(workers)
        out.mkdir()
        build.build(extract / "landing" / EXTRACT, tiny_settings(extract, records={"workers": workers}).records, out)
        contents.append(content(out))
    assert contents[0] == contents[1]


def test_no_usable_row_is_told_with_the_reasons(landing: Landing, tmp_path: Path) -> None:
    rows = "1\t2001/03/05\t9014002\n" * 1200 + "9\t05/03/2001\t9014002\n"
    folder = landing(f"id\tdate\tcode\n{rows}")
    with pytest.raises(InputError, match="none of the event rows can be used") as error:
        build.build(folder, records_settings(folder.parent), tmp_path)
    assert (
        "Rejected: about 1,200 with an unreadable date, fewer than 10 of patients without a usable patient row. Check"
        in str(error.value)
    )


def test_files_without_a_row_are_told(landing: Landing, tmp_path: Path) -> None:
    folder = landing("id\tdate\tcode\n")
    with pytest.raises(InputError, match=r"the event files \(records.events\[0\]\) have no row"):
        build.build(folder, records_settings(folder.parent), tmp_path)


def test_values_of_patients_in_another_encoding_are_counted_and_told(
    landing: Landing, tmp_path: Path, tiny: Pipeline
) -> None:
    people = "id\tyear\tregion\tarea\n" + "1\t1950\tN\xf6rth\tSouth\n2\t1980\tN\xf6rth\tE\xe4st\n" * 6
    folder = landing("id\tdate\tcode\n1\t05/03/2001\t9014002\n", people.encode("latin-1"))
    columns = PatientColumns(patient="id", birth_year="year")
    files = PatientFiles(files="patients*", columns=columns, attributes={"place": "region", "area": "area"})
    read = {}
    for encoding in ("utf-8", "latin-1"):
        (tmp_path / encoding).mkdir()
        settings = records_settings(folder.parent, patients=(replace(files, encoding=encoding),))
        read[encoding] = build.build(folder, settings, tmp_path / encoding)
    found = {"records.patients[0]: area": 6, "records.patients[0]: region": 12}
    assert read["utf-8"]["undecodable_values"] == found
    assert "undecodable_values" not in read["latin-1"]
    passed, told, _ = data.patients_decodable(Artifact(folder, {"counts": read["utf-8"]}), tiny.store, tiny.study)
    assert not passed
    assert "records.patients[0]: area (fewer than 10), records.patients[0]: region (about 10). Set `encoding`" in told
    assert data.patients_decodable(Artifact(folder, {"counts": read["latin-1"]}), tiny.store, tiny.study)[0]


def test_an_extract_that_no_date_names(landing: Landing, tmp_path: Path) -> None:
    folder = landing("id\tdate\tcode\n1\t05/03/2001\t9014002\n", extract="spring")
    with pytest.raises(UserError, match=r"'spring' is not named by a date.*set records.latest_date"):
        build.build(folder, records_settings(folder.parent), tmp_path)
    out = tmp_path / "out"
    out.mkdir()
    assert build.build(folder, records_settings(folder.parent, latest_date="2020-01-01"), out)["kept"] == 1


def test_a_missing_file_is_told(landing: Landing, tmp_path: Path) -> None:
    folder = landing("id\tdate\tcode\n")
    (folder / "patients.txt").unlink()
    with pytest.raises(InputError, match=r"no file matches 'patients\*'"):
        build.build(folder, records_settings(folder.parent), tmp_path)


@pytest.mark.parametrize("latest", ["9999-12-31", "1700-01-01"])
def test_a_last_day_that_cannot_be_is_told(landing: Landing, tmp_path: Path, latest: str) -> None:
    folder = landing("id\tdate\tcode\n1\t05/03/2001\t9014002\n")
    with pytest.raises(UserError, match=r"Set records.latest_date to a day from 1800 to 2499"):
        build.build(folder, records_settings(folder.parent, latest_date=latest), tmp_path)


def test_joined_files_of_different_layouts_are_told_with_file_and_line(landing: Landing, tmp_path: Path) -> None:
    folder = landing("id\tdate\tcode\n1\t05/03/2001\t9014002\ndate\tid\tcode\n05/03/2001\t1\t9014002\n")
    with pytest.raises(
        InputError, match=r"events.txt, line 3: a second header line .* another order.* Split the file there"
    ):
        build.build(folder, records_settings(folder.parent), tmp_path)


def test_sentinel_dates_in_any_iso_form(landing: Landing, tmp_path: Path) -> None:
    folder = landing("id\tdate\tcode\n1\t05/03/2001\t9014002\n1\t06/03/2001\t9014002\n")
    counts = build.build(folder, records_settings(folder.parent, sentinel_dates=("20010305",)), tmp_path)
    assert counts["dropped"] == {"sentinel_date": 1}
