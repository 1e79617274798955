"""Inputs that change between the moment at which they are hashed and the end of the reading: nothing is published of them."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ehr_pipeline.errors import InputError
from ehr_pipeline.records import build, withdrawals
from ehr_pipeline.runs import extracts
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.store.artifacts import Store
from ehr_pipeline.study import settings
from ehr_pipeline.synthetic.generate import EXTRACT
from ehr_pipeline_tests.conftest import tiny_settings

MORE = "events_000_more.txt"


@pytest.fixture
def study(extract: Path, tmp_path: Path) -> settings.Study:
    """The tiny study with a landing folder of its own."""
    shutil.copytree(extract / "landing", tmp_path / "landing")
    own = {"landing": str(tmp_path / "landing"), "withdrawals": str(tmp_path / "withdrawn.txt")}
    (tmp_path / "withdrawn.txt").write_text("patient_id\n")
    return tiny_settings(extract, study={"store": str(tmp_path / "store")}, records=own)


def after(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, does: Callable[[], object]) -> None:
    """Have something done each time right after a function of a module."""
    function = getattr(module, name)

    def and_then(*arguments: Any, **named: Any) -> Any:
        result = function(*arguments, **named)
        does()
        return result

    monkeypatch.setattr(module, name, and_then)


@pytest.mark.parametrize(
    ("module", "name"), [(extracts, "text_of"), (build, "latest_date"), (build, "shuffle_patients")]
)
def test_a_file_that_lands_while_an_extract_is_read(
    study: settings.Study, monkeypatch: pytest.MonkeyPatch, module: Any, name: str
) -> None:
    folder = Path(study.records.landing) / EXTRACT
    events = sorted(folder.glob("events*"))[0]
    after(monkeypatch, module, name, lambda: shutil.copy(events, folder / MORE))
    with pytest.raises(InputError, match=f"{MORE}: the file appeared while the others were in use"):
        Pipeline(study).raw_records(EXTRACT)
    store = Store(study.study.store)
    assert not store.has("raw_records", EXTRACT)
    monkeypatch.undo()
    (folder / MORE).unlink()
    once = Pipeline(study).raw_records(EXTRACT)
    assert not once.skipped
    assert once.counts["files"] == len(list(folder.iterdir()))
    shutil.copy(events, folder / MORE)
    twice = Pipeline(study).raw_records(EXTRACT)
    assert twice.counts["rows_in"] > once.counts["rows_in"], "when it is complete, it is read"


def test_archived_text_that_comes_back_meanwhile(study: settings.Study, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Pipeline(study).raw_records(EXTRACT)
    folder = Path(study.records.landing) / EXTRACT
    kept = folder.rename(folder.parent.parent / "archive")
    Path(study.records.withdrawals).write_text("somebody\n")
    monkeypatch.setattr(withdrawals, "can_reuse", lambda applied, ids: False)

    def back() -> None:
        shutil.copytree(kept, folder)
        (folder / MORE).write_bytes(sorted(folder.glob("events*"))[0].read_bytes())

    after(monkeypatch, extracts, "text_of", back)
    with pytest.raises(InputError, match="appeared while"):
        Pipeline(study).raw_records(EXTRACT)
    assert Store(study.study.store).current("raw_records", EXTRACT).path == first.path


def test_the_list_of_withdrawals_that_is_edited_while_records_are_read(
    study: settings.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    after(
        monkeypatch,
        build,
        "shuffle_events",
        lambda: Path(study.records.withdrawals).write_text("patient_id\nsomebody\n"),
    )
    with pytest.raises(InputError, match=r"withdrawn.txt: the file changed while it was in use"):
        Pipeline(study).raw_records(EXTRACT)


def test_a_list_that_is_edited_before_the_catalog_is_noticed_by_the_same_pipeline(study: settings.Study) -> None:
    """The gate is asked again: what it said of the records was for the list of before."""
    from ehr_pipeline.errors import GateFailed

    pipeline = Pipeline(study)
    pipeline.raw_records(EXTRACT)
    pipeline.check("raw_records", EXTRACT)
    Path(study.records.withdrawals).write_text("patient_id\nsomebody\n")
    with pytest.raises(GateFailed, match="patients_present"):
        pipeline.extract_catalog()


def test_an_artifact_tells_of_the_withdrawals_that_its_records_know(study: settings.Study) -> None:
    """A list that is edited in the middle of a run does not make what is made afterwards look as if it knew of it."""
    pipeline = Pipeline(study)
    made = pipeline.make(EXTRACT, until="mapped_events")
    Path(study.records.withdrawals).write_text("patient_id\nsomebody\n")
    later = pipeline.vocabulary()
    assert later.manifest["population"] == made["mapped_events"].manifest["population"]
    again = Pipeline(study).make(EXTRACT, until="mapped_events")
    assert Pipeline(study).store.current("mapped_events").path == again["mapped_events"].path


STAGES = {
    "events.mrconso": ("mapped_events", "ehr_pipeline.events.build.map_by_files"),
    "vocabulary.mrsty": ("vocabulary", "ehr_pipeline.vocabulary.build.sum_buckets"),
    "vocabulary.administrative_concepts": ("vocabulary", "ehr_pipeline.vocabulary.build.sum_buckets"),
    "concepts.concepts_of_interest": ("concept_embeddings", "ehr_pipeline.concepts.build.build"),
    "clusters.truth": ("clusters", "ehr_pipeline.clusters.build.build"),
}


@pytest.mark.parametrize("setting", STAGES)
def test_every_input_of_every_stage_is_watched(
    tiny: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    """Each is touched while its stage works: the stage ends with its name, and nothing is published."""
    (section, name), (asset, inside) = setting.split("."), STAGES[setting]
    source = Path(getattr(getattr(tiny.study, section), name))
    own = tmp_path / source.name
    shutil.copytree(source, own) if source.is_dir() else shutil.copy(source, own)
    shutil.copytree(tiny.study.study.store, tmp_path / "store")
    study = settings.with_overrides(
        tiny.study, settings.merged({section: {name: str(own)}}, {"study": {"store": str(tmp_path / "store")}})
    )
    file = own / "patients.csv" if own.is_dir() else own
    with file.open("a") as stream:  # so that there is something to make
        stream.write("" if own.is_dir() else "\n")

    def works(*_: Any, **__: Any) -> None:
        file.touch()
        raise ZeroDivisionError

    monkeypatch.setattr(inside, works)
    pipeline = Pipeline(study)
    shutil.rmtree(pipeline.store.folder(asset))
    with pytest.raises(InputError, match=f"{file.name}: the file changed while it was in use"):
        getattr(pipeline, asset)()
    assert not pipeline.store.has(asset)
