"""What is not copied, and what is said of it: ended licences, damaged or foreign indexes, places that cannot be used."""

import json
from pathlib import Path
from typing import Any

import pytest

from ehr_pipeline.errors import UserError
from ehr_pipeline.mirror.index import INDEX
from ehr_pipeline.mirror.object_store import Mirror
from ehr_pipeline.mirror.pull import pull
from ehr_pipeline.mirror.push import push
from ehr_pipeline.store.artifacts import Store
from ehr_pipeline.study.settings import Study
from ehr_pipeline_tests.mirror.conftest import asked, fill, in_folder, objects, put, study_at


def pushed(folder: Path) -> tuple[Study, Study, Path, dict[str, Any]]:
    """A study that pushed an artifact, one that could pull it, and its index in the mirror: the path, and what it says."""
    here, there = (study_at(folder, name, in_folder(folder)) for name in ("here", "there"))
    put(here, "clusters", {})
    push(here)
    (path,) = (folder / "a mirror").rglob(INDEX)
    return here, there, path, json.loads(path.read_text())


def test_an_expired_licence_is_refused(tmp_path: Path) -> None:
    here = study_at(tmp_path, "here", in_folder(tmp_path), governance={"expires": "2020-01-01"})
    fill(here)
    for command in (push, pull):
        with pytest.raises(UserError, match="may be used until 2020-01-01"):
            command(here)
    assert not (tmp_path / "a mirror").exists()


def test_a_licence_does_not_end_by_leaving_it_out_of_the_settings(tmp_path: Path) -> None:
    _, there, path, told = pushed(tmp_path)
    told["manifest"]["governance"] = {"expires": "2020-01-01"}
    path.write_text(json.dumps(told))
    assert list(pull(there)["left_out"].values()) == [1]
    renewed = study_at(tmp_path, "there", in_folder(tmp_path), governance={"expires": "2999-01-01"})
    assert pull(renewed)["copied"] == 1


@pytest.mark.parametrize("name", ["../../outside", "/outside", "events/../../outside", "..", "a\nb", INDEX])
def test_an_index_cannot_name_files_elsewhere(tmp_path: Path, name: str) -> None:
    _, there, path, told = pushed(tmp_path)
    told["files"][name] = told["files"]["events/0001.arrow"]
    path.write_text(json.dumps(told))
    with pytest.raises(UserError, match="is not a file of an artifact"):
        pull(there)
    assert not (tmp_path / "outside").exists()
    assert not Store(there.study.store).has("clusters")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"files": {}}, "not those of its manifest"),
        ({"manifest": {}}, "damaged"),
        ({"files": {"a": {"bytes": 1, "sha256": "../x"}}}, "not a hash"),
        ({"folders": ["../x"]}, "not a file of an artifact"),
    ],
)
def test_a_damaged_index_is_told(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    here, there, path, told = pushed(tmp_path)
    path.write_text(json.dumps(told | change))
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
    with pytest.raises(UserError, match="contains no artifact"):
        push(study_at(tmp_path, "empty", uri))
    assert objects(uri) == before


def test_a_place_with_other_files_is_refused(tmp_path: Path, uri: str) -> None:
    here = study_at(tmp_path, "here", uri)
    put(here, "clusters", {})
    Mirror.at(uri).write("holiday.jpg", b"?")
    with pytest.raises(UserError, match="contains files, but is not a mirror"):
        push(here)


def test_a_disk_that_is_not_mounted_is_told(tmp_path: Path) -> None:
    here = study_at(tmp_path, "here", in_folder(tmp_path))
    put(here, "clusters", {})
    push(here)
    (tmp_path / "a mirror").rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="is the right disk mounted"):
        push(here)
    with pytest.raises(UserError, match=r"there is no folder .*: create it, mount it"):
        push(study_at(tmp_path, "here", f"file://{tmp_path}/no/disk"))


def test_two_at_once_are_refused(tmp_path: Path) -> None:
    from ehr_pipeline.mirror import copy_checks

    here = study_at(tmp_path, "here", in_folder(tmp_path))
    put(here, "clusters", {})
    with copy_checks.one_copy_at_a_time(Store(here.study.store)):
        for command in (push, pull):
            with pytest.raises(UserError, match="under way"):
                command(here)


def test_no_bucket_is_told(tmp_path: Path, bucket: str) -> None:
    here = study_at(tmp_path, "here", bucket.replace("s3://bucket", "s3://basket"))
    put(here, "clusters", {})
    with pytest.raises(UserError, match=r"there is no bucket basket-\w+: create it"):
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
    with pytest.raises(UserError, match=r"It cannot be reached: check the network.* run the command again"):
        push(here)
