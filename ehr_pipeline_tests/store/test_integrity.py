"""A file is what its manifest says: every damage is one message with the file and what to do, or is mended by the next run."""

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ehr_pipeline import cli
from ehr_pipeline.errors import Damaged, InputError, MissingArtifact
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.store import integrity
from ehr_pipeline.store.artifacts import Artifact, Recipe, Store
from ehr_pipeline.study.settings import Study
from ehr_pipeline.synthetic.generate import EXTRACT
from ehr_pipeline.typed_settings import file_hash
from ehr_pipeline_tests.conftest import tiny_settings, write_settings


def made(store: Store, n: int = 1) -> Artifact:
    """A small artifact: two shards, a table, and notes."""

    def build(out: Path) -> dict[str, int]:
        for folder, name in (("events", "00000.arrow"), ("events", "00001.arrow"), ("notes", "buckets.json")):
            (out / folder).mkdir(exist_ok=True)
            (out / folder / name).write_bytes(f"{folder}{name}{n}".encode() * 50)
        (out / "mapping.csv").write_text("code,concept\n")
        return {"rows_in": n, "kept": n}

    return store.make(Recipe("vocabulary", "1", {"n": n}, {}), build)


def test_what_is_hashed_during_the_work_is_what_the_file_holds_at_its_end(tmp_path: Path) -> None:
    """Files that are complete are hashed once; one that changes after that, in silence as far as possible, is hashed again."""
    names = "whole", "longer", "flipped", ".scratch/rows"
    (tmp_path / ".scratch").mkdir()
    for name in names:
        (tmp_path / name).write_bytes(name.encode() * 50)
        os.utime(tmp_path / name, ns=(1, 1))
    hashing = integrity.Hashing(tmp_path)
    hashing.go_on()
    before = {name: file_hash(tmp_path / name) for name in names}
    (tmp_path / "longer").write_bytes(b"longer" * 51)
    in_silence(tmp_path / "flipped")
    (tmp_path / "new").write_bytes(b"new")
    data, _, _ = integrity.measured(tmp_path, hashing)
    assert {name: each["sha256"] for name, each in data.items()} == {name: file_hash(tmp_path / name) for name in data}
    assert {name for name in names if data[name]["sha256"] != before[name]} == {"longer", "flipped"}


def test_files_that_were_complete_are_not_read_again_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    monkeypatch.setattr(integrity, "file_hash", lambda path: read.append(path.name) or file_hash(path))
    for name in ("whole", "late", "coarse"):
        (tmp_path / name).write_bytes(name.encode())
    os.utime(tmp_path / "whole", ns=(1, 1))
    os.utime(tmp_path / "coarse", (1, 1))
    hashing = integrity.Hashing(tmp_path)
    hashing.go_on()
    assert read == ["whole"]  # "late" may still be written to, and the times of "coarse" may hide a change
    hashing.go_on()
    integrity.measured(tmp_path, hashing)
    assert sorted(read) == ["coarse", "late", "whole"]


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def in_silence(path: Path) -> None:
    """A flip that leaves size and time of modification as they were."""
    before = path.stat()
    flipped(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def torn(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def a_link_to_nowhere(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


HARMS: dict[str, Callable[[Path], object]] = {
    "flipped": flipped,
    "in_silence": in_silence,
    "torn": torn,
    "emptied": lambda path: path.write_bytes(b""),
    "grown": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    "removed": Path.unlink,
    "a_folder": a_folder,
    "a_link_to_nowhere": a_link_to_nowhere,
}
FILES = ("events/00000.arrow", "events/00001.arrow", "mapping.csv", "notes/buckets.json", "manifest.json")


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("file", FILES)
def test_every_damage_is_one_message_and_is_mended_by_making_it_again(tmp_path: Path, harm: str, file: str) -> None:
    store = Store(tmp_path)
    before = made(store)
    store.intact("vocabulary")
    HARMS[harm](before.file(file))
    if file == "manifest.json" and harm in ("removed", "a_link_to_nowhere"):
        with pytest.raises(MissingArtifact, match=r"vocabulary is gone.*Build it first"):
            store.intact("vocabulary")
    else:
        with pytest.raises(Damaged) as told:
            store.intact("vocabulary")
        message = str(told.value)
        assert message.startswith(str(before.file(file)))
        assert "run --settings FILE --select vocabulary" in message
        assert "\n" not in message
    assert store.usable("vocabulary") is None
    again = made(store)
    assert not again.skipped
    assert again.data_version == before.data_version
    assert store.intact("vocabulary").path == before.path
    assert made(store).skipped


def test_swapped_files_and_manifests_are_noticed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    one, two = made(store), made(store, 2)
    first, second = two.file("events/00000.arrow"), two.file("events/00001.arrow")
    first.rename(tmp_path / "kept")
    second.rename(first)
    (tmp_path / "kept").rename(second)
    with pytest.raises(Damaged, match=r"00000.arrow.*its content differs; 1 more of its files too"):
        store.intact("vocabulary")
    made(store, 2)
    shutil.copy(one.file("manifest.json"), two.file("manifest.json"))
    with pytest.raises(Damaged, match="it is that of another artifact"):
        store.current("vocabulary")


def test_content_is_read_once_and_again_only_when_it_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    file_hash = integrity.file_hash
    monkeypatch.setattr(integrity, "file_hash", lambda path: read.append(path.name) or file_hash(path))
    store = Store(tmp_path)
    path = made(store).path
    assert len(read) == 4, "when it is published"
    read.clear()
    store.intact("vocabulary")
    assert Store(tmp_path).usable("vocabulary")
    assert made(store).skipped
    assert read == []
    (path / "mapping.csv").touch()
    store.intact("vocabulary")
    assert read == ["mapping.csv"]
    read.clear()
    note = integrity.note_of(path)
    for content in ("", "{", "[]", '{"mapping.csv": 3}', note.read_text().replace("1", "2")):
        note.write_text(content)
        store.intact("vocabulary")
        assert read, "a note that is torn or wrong is not believed"
        read.clear()
        store.intact("vocabulary")
        assert read == []
    note.unlink()
    note.mkdir()  # a store that cannot be written to: once in a process
    store.intact("vocabulary")
    assert len(read) == 4
    read.clear()
    store.intact("vocabulary")
    assert read == []


def test_what_rots_below_the_file_system_is_found_by_verify(
    tiny: Pipeline, extract: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rot changes no size and no time: a note of the state after it stands for that."""
    store = tmp_path / "store"
    shutil.copytree(tiny.study.study.store, store)
    settings = write_settings(tmp_path / "s.toml", extract, store)
    assert cli.main(["verify", "--settings", str(settings)]) == 0
    assert "all match the published version" in capsys.readouterr().out
    rotten = Store(store).current("cohort").file("cohort.arrow")
    flipped(rotten)
    known = json.loads(integrity.note_of(rotten.parent).read_text())
    known["cohort.arrow"] = list(integrity._state(rotten.stat()))
    integrity.note_of(rotten.parent).write_text(json.dumps(known))
    Store(store).intact("cohort")
    shutil.rmtree(Store(store).current("clusters").path)
    Store(store).current("vocabulary").file("manifest.json").write_text("{}")
    assert cli.main(["verify", "--settings", str(settings)]) == 1
    told = capsys.readouterr()
    assert "damaged: 3" in told.out
    lines = told.err.strip().splitlines()
    assert len(lines) == 3
    assert any("cohort.arrow: the file is not what was published (its content differs)" in line for line in lines)
    assert any("clusters is gone" in line for line in lines)
    assert any("manifest.json" in line and "it is no manifest" in line for line in lines)
    with pytest.raises(Damaged):
        Store(store).intact("cohort")


def test_a_file_that_nobody_published_is_named_and_hidden_ones_do_no_harm(tmp_path: Path) -> None:
    store = Store(tmp_path)
    path = made(store).path
    for hidden in (".DS_Store", "events/._00000.arrow", ".nfs0001"):
        (path / hidden).write_bytes(b"x")
    assert [found.name for found in store.intact("vocabulary").files("events")] == ["00000.arrow", "00001.arrow"]
    (path / "events/00002.arrow").write_bytes(b"x")
    with pytest.raises(Damaged, match=r"events/00002.arrow: this file was not published.*Remove it"):
        store.intact("vocabulary")
    assert made(store).skipped, "nothing is made again for that"
    assert [found.name for found in store.current("vocabulary").files("events")] == ["00000.arrow", "00001.arrow"]


def test_a_manifest_of_before_checksums_stays_good(tmp_path: Path) -> None:
    """Stores that exist stay usable: what their manifests lack counts as unrecorded."""
    store = Store(tmp_path)
    artifact = made(store)
    path = artifact.file("manifest.json")
    older = {key: value for key, value in artifact.manifest.items() if key not in ("checksum", "notes")}
    path.write_text(json.dumps(older, indent=1))
    integrity.note_of(artifact.path).unlink()
    assert store.intact("vocabulary").data_version == artifact.data_version
    assert (
        store.current("vocabulary").files("notes") == [artifact.file("notes/buckets.json")] == artifact.files("notes")
    )
    assert made(store).skipped
    digest = artifact.digest("mapping.csv")
    path.write_text(json.dumps(older).replace(digest, digest[::-1]))
    with pytest.raises(Damaged, match="it is not as it was written"):
        store.current("vocabulary")


def test_random_flips_of_manifests(tmp_path: Path) -> None:
    """Any byte of it: the artifact is refused with one message, or the manifest says the same as before."""
    store, rng = Store(tmp_path), random.Random(5)
    artifact = made(store)
    path = artifact.file("manifest.json")
    content = path.read_bytes()
    for _ in range(300):
        damaged = bytearray(content)
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        path.write_bytes(bytes(damaged))
        found = store.usable("vocabulary")  # anything but Damaged and MissingArtifact would come through
        assert found is None or found.manifest == artifact.manifest


def test_a_damaged_current_is_mended(tmp_path: Path) -> None:
    store = Store(tmp_path)
    current = made(store).path.parent / "current"
    for content in (b"", b"\xff\xfe", b"../../elsewhere", b"0123456789abcdef"):
        current.write_bytes(content)
        with pytest.raises((Damaged, MissingArtifact)):
            store.current("vocabulary")
        assert store.usable("vocabulary") is None
        assert not store.has("vocabulary")
        assert made(store).skipped
        assert store.intact("vocabulary")


@pytest.fixture
def study(tiny: Pipeline, extract: Path, tmp_path: Path) -> Study:
    """The tiny study with a copy of its store."""
    shutil.copytree(tiny.study.study.store, tmp_path / "store")
    return tiny_settings(extract, study={"store": str(tmp_path / "store")})


DATA = ("raw_records", "extract_catalog", "mapped_events", "vocabulary", "patient_dataset", "data_split", "cohort")


@pytest.mark.parametrize("asset", DATA)
@pytest.mark.parametrize("how", ["folder_gone", "largest_file_flipped"])
def test_a_deleted_folder_or_a_damaged_file_is_no_dead_end(study: Study, asset: str, how: str) -> None:
    pipeline = Pipeline(study)
    before = pipeline.store.current(asset, EXTRACT if asset == "raw_records" else None)
    if how == "folder_gone":
        shutil.rmtree(before.path)
    else:
        in_silence(max((before.file(name) for name in before.manifest["files"]), key=lambda path: path.stat().st_size))
    with pytest.raises((Damaged, MissingArtifact)):
        pipeline.require(asset, EXTRACT if asset == "raw_records" else None)
    again = Pipeline(study).make(EXTRACT, until=max(asset, "vocabulary", key=list(DATA).index))
    assert not again[asset].skipped
    assert again[asset].data_version == before.data_version
    assert all(one.skipped for name, one in again.items() if name != asset), "what follows stays as it was"


def test_damage_is_not_handed_on_as_unchanged_work(study: Study) -> None:
    """A bucket of the artifact before is linked into the next one, where nothing about it changed."""
    store = Store(study.study.store)
    shard = store.current("patient_dataset").files("patients")[0]
    flipped(shard)
    before = store.current("patient_dataset").digest(f"patients/{shard.name}")
    changed = tiny_settings(
        Path(study.records.landing).parent, study={"store": str(store.root)}, patients={"min_visits": 3}
    )
    made_of = Pipeline(changed).patient_dataset()
    same = tiny_settings(Path(study.records.landing).parent, study={"store": str(store.root)})
    again = Pipeline(same).patient_dataset()
    assert made_of.counts["buckets_unchanged"] == 0
    assert again.digest(f"patients/{shard.name}") == before


def test_damaged_records_of_which_the_text_is_gone(study: Study, tmp_path: Path) -> None:
    own = tmp_path / "landing"
    own.mkdir()
    moved = tiny_settings(
        Path(study.records.landing).parent, study={"store": study.study.store}, records={"landing": str(own)}
    )
    pipeline = Pipeline(moved)
    assert pipeline.raw_records(EXTRACT).skipped
    flipped(pipeline.store.current("raw_records", EXTRACT).files("events")[0])
    with pytest.raises((Damaged, InputError)) as told:
        pipeline.raw_records(EXTRACT)
    assert "00000.arrow" in str(told.value)
    assert "no such extract" in str(told.value)


def test_the_release_and_the_page_are_not_made_of_damaged_tables(study: Study, tmp_path: Path) -> None:
    from ehr_pipeline.export.release import release

    pipeline = Pipeline(study)
    table = pipeline.store.current("vocabulary").file("vocabulary.csv")
    table.write_text(table.read_text().replace("a", "o", 1))
    for use in (lambda: release(Pipeline(study), tmp_path / "out"), Pipeline(study).cluster_reports):
        with pytest.raises(Damaged, match=r"vocabulary.csv: the file is not what was published"):
            use()
    assert not (tmp_path / "out").exists()


def test_a_pull_fetches_what_is_damaged(study: Study, tmp_path: Path) -> None:
    from ehr_pipeline.mirror import pull, push

    values: dict[str, Any] = {"study": {"store": study.study.store, "mirror": (tmp_path / "mirror").as_uri()}}
    mirrored = tiny_settings(Path(study.records.landing).parent, **values)
    push.push(mirrored)
    store = Store(study.study.store)
    torn(store.current("encoder_checkpoint").file("checkpoint/model.safetensors"))
    shutil.rmtree(store.current("cohort").path)
    assert pull.pull(mirrored)["copied"] == 2
    for asset in ("encoder_checkpoint", "cohort"):
        store.intact(asset)


@pytest.mark.parametrize("renamed", [False, True])
def test_the_folders_that_embed_is_given_are_looked_at_as_well(study: Study, tmp_path: Path, renamed: bool) -> None:
    store = Store(study.study.store)
    root = store.current("encoder_checkpoint").path
    if renamed:
        root = Path(shutil.copytree(root, tmp_path / "a copy"))
    integrity.verify_copy(root / "checkpoint")
    in_silence(root / "checkpoint/model.safetensors")
    for folder in (root, root / "checkpoint"):
        with pytest.raises(Damaged, match=r"model.safetensors: the file is not what was published"):
            integrity.verify_copy(folder)
    (root / "manifest.json").write_text("[]")
    with pytest.raises(Damaged, match=r"manifest.json"):
        integrity.verify_copy(root / "checkpoint")
    (root / "manifest.json").unlink()
    integrity.verify_copy(root / "checkpoint")  # nothing says what it should be
