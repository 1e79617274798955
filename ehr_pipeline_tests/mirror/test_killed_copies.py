"""Copies that are killed in the middle: whole artifacts or none, and the next copy goes on."""

import hashlib
from pathlib import Path

import pytest

from ehr_pipeline.errors import UserError
from ehr_pipeline.mirror.index import INDEX
from ehr_pipeline.mirror.object_store import Mirror
from ehr_pipeline.mirror.pull import pull
from ehr_pipeline.mirror.push import push
from ehr_pipeline.store.artifacts import Store
from ehr_pipeline_tests.mirror.conftest import content, indexed, kill, objects, put, study_at

pytestmark = pytest.mark.slow


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
