"""Copies of a store in a folder and in S3, and back: whole artifacts or none, and nobody who left."""

import dataclasses
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from ehr_pipeline import cli
from ehr_pipeline.errors import InputError, UserError
from ehr_pipeline.mirror.object_store import Mirror
from ehr_pipeline.mirror.pull import pull
from ehr_pipeline.mirror.push import push
from ehr_pipeline.records import catalog
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.store import integrity, secret_key
from ehr_pipeline.store.artifacts import Store
from ehr_pipeline.study.settings import Study
from ehr_pipeline.synthetic.generate import EXTRACT
from ehr_pipeline.tables.asset_names import STAGES
from ehr_pipeline_tests.mirror.conftest import ALL, content, fill, indexed, kill, objects, put, study_at


def test_a_store_comes_back_byte_by_byte(tmp_path: Path, uri: str) -> None:
    here, there = study_at(tmp_path, "here", uri), study_at(tmp_path, "there", uri)
    store = fill(here)
    pushed = push(here)
    assert (pushed["copied"], pushed["kept"], pushed["removed"], pushed["left_out"]) == (ALL, 0, 0, {})
    pulled = pull(there)
    assert (pulled["copied"], pulled["kept"], pulled["unfinished"], pulled["left_out"]) == (ALL, 0, 0, {})
    assert content(Store(there.study.store)) == content(store)
    assert pushed["bytes"] <= pulled["bytes"]  # equal files of an artifact are one object


def test_what_is_there_is_not_copied_again(tmp_path: Path, uri: str) -> None:
    here = study_at(tmp_path, "here", uri)
    fill(here)
    push(here)
    before = objects(uri)
    again = push(here)
    assert (again["copied"], again["kept"], again["bytes"]) == (0, ALL, 0)
    assert objects(uri) == before
    there = study_at(tmp_path, "there", uri)
    pull(there)
    again = pull(there)
    assert (again["copied"], again["kept"], again["bytes"]) == (0, ALL, 0)


@pytest.mark.parametrize("damage", ["changed", "longer", "shorter"])
def test_another_file_than_was_published_is_an_error(tmp_path: Path, uri: str, damage: str) -> None:
    here, there = study_at(tmp_path, "here", uri), study_at(tmp_path, "there", uri)
    put(here, "vocabulary", {})
    put(here, "clusters", {})
    push(here)
    mirror, digest = Mirror.at(uri), Store(here.study.store).current("clusters").digest("events/0003.arrow")
    (path,) = [path for path in objects(uri) if path.endswith(digest)]
    good = mirror.read(path)
    assert good
    mirror.write(path, {"changed": b"?" + good[1:], "longer": good + b"?", "shorter": good[:-1]}[damage])
    with pytest.raises(
        UserError, match=r"events/0003.arrow is not the file that was published .* Nothing of this artifact"
    ):
        pull(there)
    store = Store(there.study.store)
    assert store.has("vocabulary")
    assert not store.has("clusters")
    assert store.published("clusters") == []
    if damage == "changed":  # sizes tell the others
        mirror.remove([path])
    assert push(here)["copied"] == 1
    assert pull(there)["copied"] == 1


def test_a_damaged_file_of_the_store_is_not_published(tmp_path: Path, uri: str) -> None:
    here = study_at(tmp_path, "here", uri)
    put(here, "clusters", {})
    file = Store(here.study.store).current("clusters").file("events/0003.arrow")
    file.write_bytes(b"?" + file.read_bytes()[1:])
    with pytest.raises(UserError, match=r"0003.arrow: the file is not what was published \(its content"):
        push(here)
    assert indexed(uri) == set()
    digest = Store(here.study.store).current("clusters").digest("events/0003.arrow")
    assert not any(digest in path for path in objects(uri))


def test_what_is_replaced_goes_when_the_new_one_is_there(tmp_path: Path, uri: str) -> None:
    here, there = study_at(tmp_path, "here", uri), study_at(tmp_path, "there", uri)
    fill(here)
    push(here)
    pull(there)
    old = indexed(uri)
    put(here, "clusters", {"mapped_events": Store(here.study.store).current("mapped_events").data_version}, n=2)
    kill(here, "push", "put", 2)
    assert indexed(uri) == old  # the old one stays until the new one is whole
    counts = push(here)
    assert (counts["copied"], counts["removed"], counts["kept"]) == (1, 1, ALL - 1)
    new = Store(here.study.store).current("clusters")
    assert indexed(uri) - old == {f"clusters/clusters/{new.path.name}"}
    assert pull(there)["copied"] == 1
    assert Store(there.study.store).current("clusters").path.name == new.path.name
    assert len(Store(there.study.store).published("clusters")) == 2  # going back costs nothing


def test_what_is_newer_here_stays(tmp_path: Path, uri: str) -> None:
    here, there = study_at(tmp_path, "here", uri), study_at(tmp_path, "there", uri)
    fill(here)
    push(here)
    pull(there)
    store = Store(there.study.store)
    put(there, "clusters", {"mapped_events": store.current("mapped_events").data_version}, n=3)
    manifest = store.current("clusters").path / "manifest.json"
    told = json.loads(manifest.read_text()) | {"made_at": "2126-01-01T00:00:00+00:00"}
    told.pop("checksum")
    manifest.write_text(json.dumps(integrity.sealed(told)))
    counts = pull(there)
    assert (counts["copied"], counts["newer"], counts["kept"]) == (0, 1, ALL - 1)


def test_an_extract_that_is_gone_goes(tmp_path: Path, uri: str) -> None:
    here = study_at(tmp_path, "here", uri)
    store = fill(here)
    push(here)
    store.retire("raw_records", "2024-01")
    put(here, "extract_catalog", catalog.versions(store), n=2)
    assert push(here)["removed"] == 2  # with the catalog that named it
    assert not any("2024-01" in path for path in objects(uri))


def test_withdrawn_patients_are_not_pushed_and_not_brought_back(tmp_path: Path, uri: str) -> None:
    listed = tmp_path / "withdrawn.csv"
    listed.write_text("patient_id\n")
    records: dict[str, Any] = {"records": {"withdrawals": str(listed)}}
    here, there, early = (study_at(tmp_path, name, uri, **records) for name in ("here", "there", "early"))
    fill(here)
    push(here)
    with pytest.raises(UserError, match=r"who withdrew is unknown.*`ehr-pipeline key export FILE`"):
        pull(early)
    secret_key.export(Path(here.study.store), tmp_path / "key")
    for study in (early, there):
        secret_key.bring(Path(study.study.store), tmp_path / "key")
    pull(early)
    listed.write_text("patient_id\n7\n")
    # Fetched after the withdrawal from a mirror of before: only the checkpoint, which holds no patient.
    counts = pull(there)
    assert counts["copied"] == 1
    assert sum(counts["left_out"].values()) == ALL - 1
    assert [asset for asset in STAGES if Store(there.study.store).has(asset)] == ["encoder_checkpoint"]
    with pytest.raises(UserError, match="left artifacts in the mirror that were not made here since"):
        push(there)
    # Pushed before the chain ran again: what they are in goes.
    counts = push(here)
    assert (counts["copied"], counts["removed"], sum(counts["left_out"].values())) == (0, ALL - 1, ALL - 1)
    assert {folder.split("/")[1] for folder in indexed(uri)} == {"encoder_checkpoint"}
    fill(here, n=2)
    assert push(here)["left_out"] == {}
    for study in (there, early):
        assert pull(study)["left_out"] == {}
        assert not any(b"mapped_events 1" in each for each in content(Store(study.study.store)).values() if each)


def test_what_held_withdrawn_patients_goes_before_anything_is_copied(tmp_path: Path, uri: str) -> None:
    listed = tmp_path / "withdrawn.csv"
    listed.write_text("patient_id\n")
    here = study_at(tmp_path, "here", uri, records={"withdrawals": str(listed)})
    fill(here)
    push(here)
    listed.write_text("patient_id\n7\n")
    fill(here, n=2)
    kill(here, "push", "put", 0)
    assert not any(folder.startswith("records/raw_records") for folder in indexed(uri))


def test_a_missing_list_of_withdrawals_copies_and_removes_nothing(tmp_path: Path, uri: str) -> None:
    listed = tmp_path / "withdrawn.csv"
    listed.write_text("patient_id\n")
    here = study_at(tmp_path, "here", uri, records={"withdrawals": str(listed)})
    fill(here)
    push(here)
    before = objects(uri)
    listed.unlink()
    for command in (push, pull):
        with pytest.raises(InputError, match="it is unknown who withdrew"):
            command(here)
    assert objects(uri) == before


def test_an_older_snapshot_is_not_brought_back(tmp_path: Path, uri: str) -> None:
    here = study_at(tmp_path, "here", uri, records={"mode": "snapshot"})
    there = study_at(tmp_path, "there", uri, records={"mode": "snapshot"})
    fill(here, ("2024-01",))
    push(here)
    pull(there)
    store = Store(there.study.store)
    put(there, "raw_records", {"text": "2024-02"}, 2, "2024-02")
    store.retire("raw_records", "2024-01")
    (store.folder("mapped_events") / "current").unlink()
    counts = pull(there)
    assert store.partitions("raw_records") == ["2024-02"]
    assert not store.has("mapped_events")
    assert counts["left_out"]
    fill(there, ("2024-02",), n=2)
    put(there, "raw_records", {"text": "2024-01"}, 1, "2024-01")
    push(there)
    assert not any("2024-01" in folder for folder in indexed(uri))


def test_the_commands(
    tmp_path: Path, uri: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    studies = {"here": study_at(tmp_path, "here", uri), "there": study_at(tmp_path, "there", uri)}
    store = fill(studies["here"])
    monkeypatch.setattr("ehr_pipeline.cli.export.study_of", lambda options: studies[str(options.settings)])
    before = os.umask(0o022)
    try:
        assert cli.main(["push", "--settings", "here"]) == 0
        assert f"copied {ALL} artifacts" in capsys.readouterr().out
        assert cli.main(["pull", "--settings", "there"]) == 0
        assert f"fetched {ALL} artifacts" in capsys.readouterr().out
        modes = {path.stat().st_mode & 0o007 for path in tmp_path.joinpath("there").rglob("*")}
        assert modes == {0}  # closed to users outside the group
        put(studies["here"], "vocabulary", {"mapped_events": store.current("mapped_events").data_version})
        kill(studies["here"], "push", "put", 1)
        assert cli.main(["pull", "--settings", "there"]) == 1
        assert "1 artifacts were only partly pushed. Push again, then pull." in capsys.readouterr().err
    finally:
        os.umask(before)


def test_a_whole_study_goes_on_where_it_is_pulled(tiny: Pipeline, tmp_path: Path, uri: str) -> None:
    def at(store: str) -> Study:
        return dataclasses.replace(tiny.study, study=dataclasses.replace(tiny.study.study, store=store, mirror=uri))

    own = tmp_path / "own"
    shutil.copytree(tiny.study.study.store, own)
    push(at(str(own)))
    there = at(str(tmp_path / "there"))
    pulled = pull(there)
    assert pulled["left_out"] == {}
    made = Pipeline(there).make(EXTRACT)
    assert all(artifact.skipped for artifact in made.values())
    for asset, artifact in made.items():
        assert (
            artifact.data_version == tiny.store.current(asset, EXTRACT if asset == "raw_records" else None).data_version
        )
