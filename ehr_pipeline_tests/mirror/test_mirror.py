"""Copies of a store in a folder and in S3, and back: whole artifacts or none, and nobody who left."""

import dataclasses
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ehr_pipeline import cli
from ehr_pipeline.artifacts import STAGES, Store
from ehr_pipeline.errors import InputError, UserError
from ehr_pipeline.mirror.index import INDEX, grouped
from ehr_pipeline.mirror.place import Mirror
from ehr_pipeline.mirror.pull import pull
from ehr_pipeline.mirror.push import push
from ehr_pipeline.pipeline import Pipeline
from ehr_pipeline.records import catalog
from ehr_pipeline.settings import Study
from ehr_pipeline.synthetic.generate import EXTRACT
from ehr_pipeline_tests.mirror.conftest import asked, content, fill, in_folder, put, study_at

ALL = 6  # artifacts of `fill`

KILLED = """
import sys, time
from pathlib import Path
from ehr_pipeline import settings
from ehr_pipeline.mirror import place, pull, push
study = settings.validate(__import__("json").loads(sys.argv[1]), base=Path("/"))
place.TOGETHER = 1
name = sys.argv[3]
if name == "_go_on":  # once for each block
    place.BLOCK = 100
left, work = [int(sys.argv[4])], getattr(place.Mirror, name)
def some(*arguments):
    left[0] -= 1
    if left[0] < 0:
        print("there", flush=True)
        time.sleep(600)
    return work(*arguments)
setattr(place.Mirror, name, some)
{"push": push.push, "pull": pull.pull}[sys.argv[2]](study)
"""


def kill(study: Study, command: str, method: str, after: int) -> None:
    """SIGKILL a push or a pull in the middle of it, after some files."""
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, json.dumps(dataclasses.asdict(study)), command, method, str(after)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout
        assert process.stdout.readline() == "there\n"
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()


def indexed(uri: str) -> set[str]:
    """The artifacts of a mirror, by folder."""
    found = grouped(Mirror.at(uri).files(""))
    return {folder for folder, objects in found.items() if INDEX in objects}


def objects(uri: str) -> dict[str, int]:
    return Mirror.at(uri).files("")


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


def test_a_killed_push_leaves_no_artifact_and_goes_on(tmp_path: Path, uri: str) -> None:
    here, there = study_at(tmp_path, "here", uri), study_at(tmp_path, "there", uri)
    put(here, "clusters", {})
    kill(here, "push", "put", 3)
    assert len([path for path in objects(uri) if path.startswith("clusters/")]) == 3
    assert indexed(uri) == set()
    found = pull(there)
    assert (found["copied"], found["unfinished"]) == (0, 1)
    assert not Store(there.study.store).has("clusters")
    with pytest.raises(UserError, match="The last pull did not end"):
        push(there)
    first = len(objects(uri))
    counts = push(here)
    whole = sum(
        size for path, size in objects(uri).items() if path.startswith("clusters/") and not path.endswith(INDEX)
    )
    assert 0 < counts["bytes"] < whole  # it went on
    assert len(objects(uri)) > first
    assert pull(there)["copied"] == 1


def test_a_push_that_is_killed_within_a_file_leaves_no_half_one(tmp_path: Path, uri: str) -> None:
    here, there = study_at(tmp_path, "here", uri), study_at(tmp_path, "there", uri)
    put(here, "clusters", {})
    kill(here, "push", "_go_on", 40)
    there_now = [path for path in objects(uri) if path.startswith("clusters/") and not path.endswith(".part")]
    assert there_now
    for path in there_now:
        assert hashlib.sha256(Mirror.at(uri).read(path) or b"").hexdigest() == path.rpartition("/")[2]
    assert pull(there)["unfinished"] == 1
    assert push(here)["copied"] == 1
    assert not [path for path in objects(uri) if path.endswith(".part")]
    assert pull(there)["copied"] == 1


def test_a_push_that_is_killed_before_the_index_leaves_no_artifact(tmp_path: Path, uri: str) -> None:
    here, there = study_at(tmp_path, "here", uri), study_at(tmp_path, "there", uri)
    put(here, "clusters", {})
    kill(here, "push", "write", 1)  # the first is the mark of the mirror
    assert pull(there)["unfinished"] == 1
    assert not Store(there.study.store).has("clusters")
    counts = push(here)
    assert (counts["copied"], counts["bytes"]) == (1, 0)


def test_a_killed_pull_publishes_nothing_and_goes_on(tmp_path: Path, uri: str) -> None:
    here, there = study_at(tmp_path, "here", uri), study_at(tmp_path, "there", uri)
    put(here, "clusters", {})
    push(here)
    kill(there, "pull", "get", 3)
    store = Store(there.study.store)
    assert not store.has("clusters")
    assert store.published("clusters") == []
    with pytest.raises(UserError, match="The last pull did not end"):
        push(there)
    whole = sum(
        path.stat().st_size for path in Store(here.study.store).current("clusters").path.rglob("*") if path.is_file()
    )
    counts = pull(there)
    assert counts["copied"] == 1
    assert 0 < counts["bytes"] < whole
    assert content(store) == content(Store(here.study.store))
    assert push(there)["kept"] == 1


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
    with pytest.raises(UserError, match="is not what its manifest says"):
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
    manifest.write_text(manifest.read_text().replace('"made_at": "20', '"made_at": "21'))
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
        with pytest.raises(InputError, match="who withdrew is unknown"):
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


def test_an_expired_licence_is_refused(tmp_path: Path) -> None:
    here = study_at(tmp_path, "here", in_folder(tmp_path), governance={"expires": "2020-01-01"})
    fill(here)
    for command in (push, pull):
        with pytest.raises(UserError, match="may be used until 2020-01-01"):
            command(here)
    assert not (tmp_path / "a mirror").exists()


def test_a_licence_does_not_end_by_leaving_it_out_of_the_settings(tmp_path: Path) -> None:
    uri = in_folder(tmp_path)
    here, there = study_at(tmp_path, "here", uri), study_at(tmp_path, "there", uri)
    put(here, "clusters", {})
    push(here)
    (path,) = (tmp_path / "a mirror").rglob(INDEX)
    told = json.loads(path.read_text())
    told["manifest"]["governance"] = {"expires": "2020-01-01"}
    path.write_text(json.dumps(told))
    assert list(pull(there)["left_out"].values()) == [1]
    renewed = study_at(tmp_path, "there", uri, governance={"expires": "2999-01-01"})
    assert pull(renewed)["copied"] == 1


@pytest.mark.parametrize("name", ["../../outside", "/outside", "events/../../outside", "..", "a\nb", INDEX])
def test_an_index_cannot_name_files_elsewhere(tmp_path: Path, name: str) -> None:
    uri = in_folder(tmp_path)
    here, there = study_at(tmp_path, "here", uri), study_at(tmp_path, "there", uri)
    put(here, "clusters", {})
    push(here)
    (path,) = (tmp_path / "a mirror").rglob(INDEX)
    told = json.loads(path.read_text())
    told["files"][name] = told["files"]["events/0001.arrow"]
    path.write_text(json.dumps(told))
    with pytest.raises(UserError, match="is no file of an artifact"):
        pull(there)
    assert not (tmp_path / "outside").exists()
    assert not Store(there.study.store).has("clusters")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"files": {}}, "not those of its manifest"),
        ({"manifest": {}}, "damaged"),
        ({"files": {"a": {"bytes": 1, "sha256": "../x"}}}, "no hash"),
        ({"folders": ["../x"]}, "no file of an artifact"),
    ],
)
def test_a_damaged_index_is_told(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    uri = in_folder(tmp_path)
    here, there = study_at(tmp_path, "here", uri), study_at(tmp_path, "there", uri)
    put(here, "clusters", {})
    push(here)
    (path,) = (tmp_path / "a mirror").rglob(INDEX)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match=message):
        pull(there)
    assert push(here)["copied"] == 1  # mended
    assert pull(there)["copied"] == 1


def test_a_mirror_is_that_of_one_store(tmp_path: Path, uri: str) -> None:
    here, other = study_at(tmp_path, "here", uri), study_at(tmp_path, "other", uri)
    fill(here)
    put(other, "clusters", {}, n=9)
    with pytest.raises(UserError, match="nothing was ever pushed there"):
        pull(other)
    push(here)
    before = objects(uri)
    with pytest.raises(UserError, match="the mirror of another store"):
        push(other)
    with pytest.raises(UserError, match="the two would be mixed"):
        pull(other)
    with pytest.raises(UserError, match="holds no artifact"):
        push(study_at(tmp_path, "empty", uri))
    assert objects(uri) == before


def test_a_place_with_other_files_is_refused(tmp_path: Path, uri: str) -> None:
    here = study_at(tmp_path, "here", uri)
    put(here, "clusters", {})
    Mirror.at(uri).write("holiday.jpg", b"?")
    with pytest.raises(UserError, match="holds files, but no mirror"):
        push(here)


def test_a_disk_that_is_not_mounted_is_told(tmp_path: Path) -> None:
    here = study_at(tmp_path, "here", in_folder(tmp_path))
    put(here, "clusters", {})
    push(here)
    (tmp_path / "a mirror").rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="is the right disk mounted"):
        push(here)
    with pytest.raises(UserError, match=r"there is no folder .*: make it, mount it"):
        push(study_at(tmp_path, "here", f"file://{tmp_path}/no/disk"))


def test_two_at_once_are_refused(tmp_path: Path) -> None:
    from ehr_pipeline.mirror import belonging

    here = study_at(tmp_path, "here", in_folder(tmp_path))
    put(here, "clusters", {})
    with belonging.alone(Store(here.study.store)):
        for command in (push, pull):
            with pytest.raises(UserError, match="under way"):
                command(here)


def test_no_bucket_is_told(tmp_path: Path, bucket: str) -> None:
    here = study_at(tmp_path, "here", bucket.replace("s3://bucket", "s3://basket"))
    put(here, "clusters", {})
    with pytest.raises(UserError, match=r"there is no bucket basket-\w+: make it"):
        push(here)


def test_no_permission_is_told(tmp_path: Path, bucket: str, server: str) -> None:
    here = study_at(tmp_path, "here", bucket)
    put(here, "clusters", {})

    def ask_who(unasked: str) -> None:
        """How many requests the server answers from now on without looking who asks."""
        assert asked(server, "POST", "/moto-api/reset-auth", unasked) == 200

    ask_who("0")
    try:
        with pytest.raises(UserError, match=r"These credentials are refused: .* s3:PutObject") as caught:
            push(here)
    finally:
        ask_who("inf")
    assert "a-secret" not in str(caught.value)


def test_a_server_that_dies_in_between_is_told(tmp_path: Path, credentials: None) -> None:
    here = study_at(tmp_path, "here", "s3://bucket/a?endpoint_override=127.0.0.1:9&scheme=http")
    put(here, "clusters", {})
    with pytest.raises(UserError, match=r"It cannot be reached: look at the network.* run the command again"):
        push(here)


def test_the_commands(
    tmp_path: Path, uri: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    studies = {"here": study_at(tmp_path, "here", uri), "there": study_at(tmp_path, "there", uri)}
    store = fill(studies["here"])
    monkeypatch.setattr("ehr_pipeline.cli.results.study_of", lambda options: studies[str(options.settings)])
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
        assert "1 artifacts were not pushed to their end. Push again, then pull." in capsys.readouterr().err
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
