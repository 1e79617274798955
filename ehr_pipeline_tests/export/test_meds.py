"""The export, judged by the `meds` package itself."""

import csv
import json
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest

from ehr_pipeline import cli
from ehr_pipeline.errors import UserError
from ehr_pipeline.export import meds
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.store import secret_key
from ehr_pipeline.store.artifacts import Artifact, unbalanced
from ehr_pipeline.store.secret_key import Key
from ehr_pipeline.tables import schemas
from ehr_pipeline_tests.conftest import write_settings


def artifacts(pipeline: Pipeline) -> tuple[Artifact, Artifact, Artifact]:
    current = pipeline.store.current
    return current("mapped_events"), current("patient_dataset"), current("data_split")


@pytest.fixture(scope="module")
def exported(tiny: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("export") / "meds"
    counts = meds.export(artifacts(tiny), "Tiny", secret_key.of(tiny.store.root), out, crosswalk=True)
    assert unbalanced(counts) == 0
    return out


def test_the_meds_package_accepts_every_file(exported: Path) -> None:
    standard = pytest.importorskip("meds", reason="the package `meds` is not installed (extra [meds])")
    shards = sorted((exported / standard.data_subdirectory).rglob("*.parquet"))
    assert len(shards) > 2
    for shard in shards:
        standard.DataSchema.validate(pq.read_table(shard))
    standard.SubjectSplitSchema.validate(pq.read_table(exported / standard.subject_splits_filepath))
    standard.CodeMetadataSchema.validate(pq.read_table(exported / standard.code_metadata_filepath))
    about = json.loads((exported / standard.dataset_metadata_filepath).read_text())
    standard.DatasetMetadataSchema.validate(about)
    assert standard.birth_code == meds.BIRTH
    assert {standard.train_split, standard.tuning_split, standard.held_out_split} == set(meds.SPLITS.values())


def test_a_subject_stands_in_one_file_contiguous_and_sorted_by_time(exported: Path) -> None:
    seen: set[int] = set()
    splits = dict(pl.read_parquet(exported / "metadata/subject_splits.parquet").iter_rows())
    codes = set(pl.read_parquet(exported / "metadata/codes.parquet")["code"])
    for shard in sorted((exported / "data").rglob("*.parquet")):
        frame = pl.read_parquet(shard)
        subjects = frame["subject_id"].rle().struct.field("value").to_list()
        assert len(subjects) == len(set(subjects))
        assert not seen & set(subjects)
        seen |= set(subjects)
        assert {splits[subject] for subject in subjects} == {shard.parent.name}
        assert frame.sort("subject_id", "time", nulls_last=False, maintain_order=True).equals(frame)
        assert set(frame["code"]) <= codes
    assert seen == set(splits)


def test_it_holds_exactly_the_mapped_events_of_the_data_set(exported: Path, tiny: Pipeline) -> None:
    mapped, dataset, split = artifacts(tiny)
    with (exported.parent / "meds_crosswalk.csv").open() as stream:
        patient_of = {int(row["subject_id"]): row["patient_id"] for row in csv.DictReader(stream)}
    frame = pl.concat([pl.read_parquet(path) for path in sorted((exported / "data").rglob("*.parquet"))])
    events = frame.filter(pl.col("code").str.contains("^(?:UMLS|SNOMED)//"))
    found = sorted((patient_of[s], t.date(), c.split("//")[1]) for s, t, c in events.drop("numeric_value").iter_rows())
    people = pl.concat([pl.DataFrame(schemas.read(path)) for path in dataset.files("patients")])
    wanted = pl.concat(
        [
            pl.DataFrame(schemas.read(path)).cast({"concept": pl.String, "patient_id": pl.String})
            for path in mapped.files("events")
        ]
    )
    wanted = wanted.filter(pl.col("patient_id").is_in(people["patient_id"].implode()))
    assert found == sorted((p, d, c.removeprefix("SCT:")) for p, d, c in wanted.iter_rows())
    births = frame.filter(pl.col("code") == meds.BIRTH)
    assert {patient_of[s]: t.date() for s, t in births.select("subject_id", "time").iter_rows()} == dict(
        people.select("patient_id", "birth_date").iter_rows()
    )
    assert frame.filter(pl.col("time").is_null())["code"].str.extract("^(.*?)//").unique().sort().to_list() == [
        "ETHNICITY", "GENDER", "PRACTICE", "REGION", "TREATMENT",
    ]  # fmt: skip
    sides = pl.concat([pl.DataFrame(schemas.read(path)) for path in split.files("split")])
    splits = pl.read_parquet(exported / "metadata/subject_splits.parquet")
    assert sorted((patient_of[s], side) for s, side in splits.iter_rows()) == sorted(
        (patient, meds.SPLITS[side]) for patient, side in sides.iter_rows()
    )


def test_the_same_artifacts_give_the_same_bytes(exported: Path, tiny: Pipeline, tmp_path: Path) -> None:
    meds.export(artifacts(tiny), "Tiny", secret_key.of(tiny.store.root), tmp_path / "again")
    for path in exported.rglob("*"):
        if path.is_file():
            assert (tmp_path / "again" / path.relative_to(exported)).read_bytes() == path.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["again"], "no crosswalk unless it is asked for"


def test_subjects_follow_from_the_id_and_the_key_of_the_store() -> None:
    key, other = Key(bytes(32)), Key(bytes([1] * 32))
    assert meds.subject_id("1", key) == 9046716747213966416 != meds.subject_id("1", other)
    assert len({meds.subject_id(str(number), key) for number in range(5000)}) == 5000


def test_two_patients_of_one_subject_are_refused(
    tiny: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meds, "subject_id", lambda patient_id, key: len(patient_id))
    with pytest.raises(UserError, match="same 63-bit subject id"):
        meds.export(artifacts(tiny), "Tiny", Key(bytes(32)), tmp_path / "out")
    assert list(tmp_path.iterdir()) == [], "nothing is left of what failed"


def test_what_is_there_is_never_overwritten(tiny: Pipeline, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match="already exists"):
        meds.export(artifacts(tiny), "Tiny", Key(bytes(32)), tmp_path / "out")


def test_artifacts_of_different_runs_are_refused(tiny: Pipeline, tmp_path: Path) -> None:
    mapped, dataset, split = artifacts(tiny)
    other = Artifact(mapped.path, mapped.manifest | {"data_version": "another"})
    with pytest.raises(UserError, match="patient_dataset was made from another version of mapped_events"):
        meds.export((other, dataset, split), "Tiny", Key(bytes(32)), tmp_path / "out")


def test_the_command(extract: Path, tiny: Pipeline, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_settings(tmp_path / "s.toml", extract, tiny.store.root)
    assert cli.main(["export", "meds", "--settings", str(path), "--out", str(tmp_path / "out")]) == 0
    assert "subjects to" in capsys.readouterr().out
    assert (tmp_path / "out/metadata/dataset.json").is_file()
