from collections.abc import Callable
from pathlib import Path

import pytest

from ehr_pipeline.errors import MissingArtifact, UserError
from ehr_pipeline.records import build, catalog
from ehr_pipeline.store.artifacts import Recipe, Store
from ehr_pipeline_tests.conftest import records_settings

ROWS = "id\tdate\tcode\n1\t05/03/2001\t9014002\n"


def read(store: Store, folder: Path, buckets: int = 2, version: str = "1") -> None:
    settings = records_settings(folder.parent, buckets=buckets)
    store.make(
        Recipe("raw_records", version, {"buckets": buckets}, {}, folder.name),
        lambda out: build.build(folder, settings, out),
    )


def made(store: Store) -> None:
    found = {extract: store.current("raw_records", extract) for extract in catalog.versions(store)}
    store.make(
        Recipe("extract_catalog", "1", {}, catalog.versions(store)),
        lambda out: catalog.build(store, found, records_settings(store.root), out),
    )


def test_the_catalog_lists_extracts_with_their_versions(landing: Callable[..., Path], tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    with pytest.raises(MissingArtifact, match="raw_records has not been built"):
        catalog.versions(store)
    for extract in ("2021-01-01", "2020-01-01"):
        read(store, landing(ROWS, extract=extract))
    made(store)
    listed = catalog.records(store, store.current("extract_catalog"))
    assert [artifact.path.parent.name for artifact in listed] == ["2020-01-01", "2021-01-01"]
    assert store.current("extract_catalog").counts["extracts"] == 2


def test_records_that_changed_after_the_catalog_are_refused(landing: Callable[..., Path], tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    read(store, landing(ROWS))
    made(store)
    read(store, landing(ROWS + "2\t05/03/2001\t9014002\n"), version="2")
    with pytest.raises(UserError, match="Rebuild extract_catalog"):
        catalog.records(store, store.current("extract_catalog"))


def test_extracts_in_different_numbers_of_buckets_are_refused(landing: Callable[..., Path], tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    read(store, landing(ROWS, extract="2020-01-01"), buckets=2)
    read(store, landing(ROWS, extract="2021-01-01"), buckets=4)
    made(store)
    with pytest.raises(UserError, match=r"different numbers of buckets \(\[2, 4\]\)"):
        catalog.records(store, store.current("extract_catalog"))


def test_hidden_folders_and_files_are_no_extracts(tmp_path: Path) -> None:
    for name in ("2020-01-01", ".tmp"):
        (tmp_path / name).mkdir()
    (tmp_path / "notes.txt").touch()
    assert catalog.extracts_in(tmp_path) == ["2020-01-01"]
    assert catalog.extracts_in(tmp_path / "nothing") == []
