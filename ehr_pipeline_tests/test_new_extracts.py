"""New extracts, withdrawals and replaced snapshots: who is in which artifact, and what is made anew."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from ehr_pipeline.disclosure.kinds import People
from ehr_pipeline.errors import GateFailed, InputError
from ehr_pipeline.records import removals, withdrawals
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.store.artifacts import Artifact, unbalanced
from ehr_pipeline.synthetic.generate import EXTRACT
from ehr_pipeline.tables import schemas
from ehr_pipeline.tables.hashing import bucket_of, hash_of
from ehr_pipeline_tests.conftest import tiny_settings

pytestmark = pytest.mark.slow

LATER = "2030-01-01"
CHAIN = ("extract_catalog", "mapped_events", "vocabulary", "patient_dataset", "data_split")


@pytest.fixture
def landing(extract: Path, tmp_path: Path) -> Path:
    """A landing folder of one extract, which a test may add to."""
    shutil.copytree(extract / "landing", tmp_path / "landing")
    return tmp_path / "landing"


def run(extract: Path, landing: Path, store: str = "store", upto: int = len(CHAIN), **records: Any) -> Pipeline:
    """The data plane over all extracts of the landing folder."""
    study = tiny_settings(
        extract,
        study={"store": str(landing.parent / store)},
        records={"landing": str(landing), "buckets": 8, "latest_date": EXTRACT, **records},
        vocabulary={"min_appearances": 3},
    )
    pipeline = Pipeline(study)
    for name in pipeline.extracts():
        pipeline.raw_records(name)
    for asset in CHAIN[:upto]:
        getattr(pipeline, asset)()
        counts = pipeline.store.current(asset).counts
        assert not unbalanced(counts)
    return pipeline


def current(pipeline: Pipeline, *assets: str) -> dict[str, str]:
    return {asset: pipeline.store.current(asset).data_version for asset in assets or CHAIN[1:]}


def patients_of(artifact: Artifact, folder: str = "patients") -> list[str]:
    tables = [schemas.read(path, ["patient_id"]) for path in artifact.files(folder)]
    return sorted(pa.concat_tables(tables).column("patient_id").to_pylist())


def event_lines(landing: Path, extract: str = EXTRACT) -> tuple[Path, list[str]]:
    path = sorted((landing / extract).glob("*ev*"))[0]
    return path, path.read_text("latin-1").splitlines(keepends=True)


def everything(root: Path) -> Iterator[tuple[Path, pa.Table]]:
    for path in root.rglob("*.arrow"):
        with pa.memory_map(str(path)) as source:
            yield path, pa.ipc.open_file(source).read_all()


def who_is_anywhere(root: Path, ids: list[str]) -> list[str]:
    """The files that hold one of the patients, by id or by the hash in a quarantine."""
    hashes = hash_of(pl.Series(ids)).tolist()
    return [
        path.as_posix()
        for path, table in everything(root)
        for column, values in (("patient_id", ids), ("patient_hash", hashes))
        if column in table.column_names and set(table.column(column).to_pylist()) & set(values)
    ]


def test_an_extract_that_lands_twice_adds_nothing(extract: Path, landing: Path) -> None:
    before = current(run(extract, landing))
    shutil.copytree(landing / EXTRACT, landing / LATER)
    pipeline = run(extract, landing)
    assert current(pipeline) == before
    counts = pipeline.store.current("mapped_events").counts
    assert counts["collapsed"] == pipeline.store.current("raw_records", LATER).counts["kept"]


def test_only_buckets_with_new_events_are_made_anew(extract: Path, landing: Path) -> None:
    before = run(extract, landing)
    patients = patients_of(before.store.current("patient_dataset"))
    frequent = pl.read_csv(before.store.current("mapped_events").file("mapping.csv"), infer_schema=False)
    code = frequent.filter(pl.col("concept").is_not_null()).sort(pl.col("events").cast(pl.Int64))["snomed"][-1]
    shutil.copytree(landing / EXTRACT, landing / LATER)
    for path in (landing / LATER).glob("*ev*"):
        lines = path.read_text("latin-1").splitlines(keepends=True)
        fields = lines[1].rstrip("\n").split("\t")
        assert len(fields) == 3, "the demo's layout has changed"
        path.write_text(lines[0] + f"{patients[0]}\t05/03/2015\t{code}\n")
    again = run(extract, landing)
    changed = {
        asset: 8 - again.store.current(asset).counts["buckets_unchanged"]
        for asset in ("mapped_events", "patient_dataset")
    }
    assert changed == {"mapped_events": 1, "patient_dataset": 1}
    assert current(again) == current(run(extract, landing, "from scratch"))
    assert current(again, "data_split") == current(before, "data_split")


def test_who_withdraws_leaves_every_file(extract: Path, landing: Path) -> None:
    shutil.copytree(landing / EXTRACT, landing / LATER)
    path, lines = event_lines(landing)
    everybody = patients_of(run(extract, landing, upto=4).store.current("raw_records", EXTRACT))
    gone = [everybody[3], everybody[-5], "a stranger"]
    # Lines of theirs that were quarantined: no date, nobody of that id, and before anybody's birth.
    with path.open("a") as stream:
        stream.write(f"{gone[0]}\tnever\t24079001\n{gone[2]}\t05/03/2015\t24079001\n{gone[1]}\t05/03/1801\t24079001\n")
    assert lines
    run(extract, landing, upto=4)
    listed = landing.parent / "withdrawn.txt"
    listed.write_text("patient_id\n" + "\n".join(gone) + "\n\n")
    assert who_is_anywhere(landing.parent / "store", gone)
    pipeline = run(extract, landing, withdrawals=str(listed))
    # Old versions of raw_records were purged with their partitions; and nothing was read again.
    assert who_is_anywhere(landing.parent / "store", gone) == []
    counts = pipeline.store.current("raw_records", EXTRACT).counts
    assert counts["patients"]["dropped"]["withdrawn"] == 2
    assert not unbalanced(counts)
    assert not unbalanced(counts["patients"])
    buckets = len(set(bucket_of(pl.Series(gone), 8).tolist()))
    assert pipeline.store.current("mapped_events").counts["buckets_unchanged"] >= 8 - buckets
    fresh = run(extract, landing, "from scratch", withdrawals=str(listed))
    # Token ids are those of before: who leaves moves none of them.
    same = ("mapped_events", "data_split")
    assert current(fresh, *same) == current(pipeline, *same)
    assert patients_of(fresh.store.current("patient_dataset")) == patients_of(pipeline.store.current("patient_dataset"))
    for name in (EXTRACT, LATER):
        one, other = (each.store.current("raw_records", name) for each in (pipeline, fresh))
        assert (one.data_version, one.counts) == (other.data_version, other.counts)
        assert quarantine(one) == quarantine(other)
    told = removals.recorded(pipeline.store)
    assert [(row["extract"], row["reason"], row["patients"]) for row in told] == [
        (EXTRACT, removals.WITHDREW, 2),
        (LATER, removals.WITHDREW, 2),
    ]
    assert not any(word in str(told) for word in gone)


def quarantine(artifact: Artifact) -> list[tuple[Any, ...]]:
    """Its rows but for the hashes of patients, which are made with the key of the store."""
    tables = [pl.DataFrame(schemas.read(path)).drop("patient_hash") for path in artifact.files("quarantine")]
    rows = [row for table in tables for row in table.iter_rows()]
    return sorted(rows, key=str)


def test_who_comes_back_is_read_again(extract: Path, landing: Path) -> None:
    before = current(run(extract, landing))
    listed = landing.parent / "withdrawn.txt"
    patient = patients_of(Pipeline(run(extract, landing).study).store.current("raw_records", EXTRACT))[0]
    listed.write_text(patient + "\n")
    assert current(run(extract, landing, withdrawals=str(listed))) != before
    listed.write_text("\n")
    assert current(run(extract, landing, withdrawals=str(listed))) == before


def test_text_that_was_archived_is_not_missed(extract: Path, landing: Path) -> None:
    before = run(extract, landing)
    patient = patients_of(before.store.current("raw_records", EXTRACT))[0]
    shutil.rmtree(landing / EXTRACT)
    assert current(run(extract, landing)) == current(before)
    listed = landing.parent / "withdrawn.txt"
    listed.write_text(patient + "\n")
    assert patient not in patients_of(run(extract, landing, withdrawals=str(listed)).store.current("patient_dataset"))
    assert who_is_anywhere(landing.parent / "store", [patient]) == []
    with pytest.raises(InputError, match="there is no such extract"):
        run(extract, landing, latest_date="2018-01-01")


def test_the_list_of_withdrawals_is_a_list_of_ids(tmp_path: Path) -> None:
    path = tmp_path / "withdrawn.csv"
    path.write_text("patient_id\n7\nABC,2020-01-01\n")
    with pytest.raises(InputError, match=r"line 3: more than one field") as error:
        withdrawals.read(str(path))
    assert "ABC" not in str(error.value)
    with pytest.raises(InputError, match="cannot be read"):
        withdrawals.read(str(tmp_path / "nothing"))
    path.write_text("\ufeff7\r\n007\r\n7\r\n")
    assert withdrawals.read(str(path)).to_list() == ["007", "7"]


def test_a_newer_snapshot_replaces_the_older(extract: Path, landing: Path) -> None:
    old = run(extract, landing, mode="snapshot")
    everybody = patients_of(old.store.current("raw_records", EXTRACT))
    gone = everybody[:5]
    shutil.copytree(landing / EXTRACT, landing / LATER)
    for path in (landing / LATER).iterdir():
        lines = path.read_text("latin-1").splitlines(keepends=True)
        path.write_text("".join(line for line in lines if line.split("\t")[0].strip() not in gone), "latin-1")
    pipeline = run(extract, landing, mode="snapshot")
    assert pipeline.extracts() == [LATER]
    assert pipeline.store.partitions("raw_records") == [LATER]
    assert who_is_anywhere(landing.parent / "store", gone) == []
    fresh = run(extract, landing, "from scratch", mode="snapshot")
    assert current(pipeline, "mapped_events", "data_split") == current(fresh, "mapped_events", "data_split")
    [removal] = removals.recorded(pipeline.store)
    assert (removal["extract"], removal["reason"], removal["patients"]) == (LATER, removals.ABSENT, 5)
    assert removal["events"] > 0
    assert not any(patient in str(removal) for patient in gone)


def test_nothing_is_built_on_those_who_left_and_checkpoints_are_flagged(
    tiny: Pipeline, extract: Path, tmp_path: Path
) -> None:
    shutil.copytree(tiny.store.root, tmp_path / "store")
    listed = tmp_path / "withdrawn.txt"
    listed.write_text("\n".join(patients_of(tiny.store.current("patient_dataset"))[:12]))
    study = tiny_settings(extract, study={"store": str(tmp_path / "store")}, records={"withdrawals": str(listed)})
    pipeline = Pipeline(study)
    with pytest.raises(GateFailed, match="patients_present"):
        pipeline.extract_catalog()
    pipeline.raw_records(EXTRACT)
    pipeline.extract_catalog()
    with pytest.raises(GateFailed, match=r"About 10 patients have left since mapped_events was made .* Rebuild it"):
        pipeline.vocabulary()
    for asset in CHAIN[1:]:
        getattr(pipeline, asset)()
    flagged = {outcome.name: outcome for outcome in pipeline.check("encoder_checkpoint")}["patients_present"]
    assert not flagged.passed
    assert not flagged.blocking
    assert flagged.figures == {"removed_since": People(12)}
    versions = list(pipeline.store.folder("patient_dataset").glob("*/manifest.json"))
    assert len(versions) == 1, "the version with the patients who left should be gone"


def test_a_union_counts_an_event_as_often_as_the_extract_that_has_it_most_often() -> None:
    from ehr_pipeline.tables import row_keys

    parts = [np.array(part, np.uint64) for part in ([1, 1, 4], [1, 2, 2, 2], [], [2, 4, 4])]
    assert row_keys.union(parts).tolist() == [1, 1, 2, 2, 2, 4, 4]
    assert row_keys.union([parts[2], parts[2]]).tolist() == []
