"""Links in the landing folder and in vocabularies: followed, named where they lead out, and forbidden where the settings say so."""

import json
import shutil
from pathlib import Path

import pytest

from ehr_pipeline import typed_settings
from ehr_pipeline.assets import ASSETS
from ehr_pipeline.errors import InputError
from ehr_pipeline.planning import preflight
from ehr_pipeline.records import landing_folder as landed
from ehr_pipeline.records.extract_files import list_extract
from ehr_pipeline.records.sources.meds import Meds
from ehr_pipeline.runs import extracts
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.store.artifacts import MANIFEST, Store
from ehr_pipeline.store.file_listing import NOWHERE
from ehr_pipeline.study import settings
from ehr_pipeline.synthetic.generate import EXTRACT
from ehr_pipeline.terminology import omop
from ehr_pipeline_tests.conftest import records_settings, tiny_settings


@pytest.fixture
def study(extract: Path, tmp_path: Path) -> settings.Study:
    """The tiny study, whose extract is a link, with one more link in it."""
    shutil.copytree(extract / "landing" / EXTRACT, tmp_path / "disk")
    (tmp_path / "landing").mkdir()
    (tmp_path / "landing" / EXTRACT).symlink_to(tmp_path / "disk")
    (tmp_path / "events").mkdir()
    moved = sorted((tmp_path / "disk").glob("events*"))[0]
    shutil.move(moved, tmp_path / "events" / moved.name)
    moved.symlink_to(tmp_path / "events" / moved.name)
    own = {"landing": str(tmp_path / "landing")}
    return tiny_settings(extract, study={"store": str(tmp_path / "store")}, records=own)


def test_links_are_followed_and_the_manifest_names_those_that_lead_out(
    study: settings.Study, extract: Path, tmp_path: Path
) -> None:
    found = preflight.inspect(study)
    assert not found.problems
    (told,) = [fact for fact in found.facts if "outside" in fact]
    assert f"extract {EXTRACT}: 2 links lead outside" in told
    made = Pipeline(study).raw_records(EXTRACT)
    links = json.loads((made.path / MANIFEST).read_text())["links"]
    (event,) = sorted((tmp_path / "events").iterdir())
    assert links == {EXTRACT: str(tmp_path / "disk"), f"{EXTRACT}/{event.name}": str(event)}
    without = tiny_settings(extract, study={"store": str(tmp_path / "other")})
    plain = Pipeline(without).raw_records(EXTRACT)
    assert plain.data_version == made.data_version
    assert "links" not in plain.manifest


def test_forbidden_links_are_named_by_check_and_by_the_run(study: settings.Study) -> None:
    strict = settings.with_overrides(study, {"records": {"follow_links": False}})
    with pytest.raises(InputError) as refused:
        Pipeline(strict).raw_records(EXTRACT)
    for told in (*preflight.inspect(strict).problems, str(refused.value)):
        assert f"records.follow_links is false, but {EXTRACT}, {EXTRACT}/events" in told
        assert "are links" in told
    assert not Store(strict.study.store).has("raw_records", EXTRACT)


def test_the_setting_decides_no_result(study: settings.Study) -> None:
    strict = settings.with_overrides(study, {"records": {"follow_links": False}})
    assert typed_settings.identity(strict.records) == typed_settings.identity(study.records)
    assert ASSETS["raw_records"].code_version(strict) == ASSETS["raw_records"].code_version(study)


def test_an_extract_that_is_a_link_to_nowhere_is_a_problem(study: settings.Study) -> None:
    place = Path(study.records.landing) / "2030-01-01"
    place.symlink_to("/nothing/there")
    assert f"{place}: {NOWHERE}" in preflight.inspect(study).problems


def test_a_file_that_comes_into_a_linked_folder_is_seen(study: settings.Study, tmp_path: Path) -> None:
    store = Store(study.study.store)
    _, listing = extracts.text_of(EXTRACT, store, study)
    (before,) = landed.check_folders(Path(study.records.landing), study.operation, 0.0)
    (event,) = sorted((tmp_path / "events").iterdir())
    shutil.copy(event, tmp_path / "disk" / "events_more.txt")
    assert listing is not None
    assert "events_more.txt: the file appeared while the others were in use" in listing.watched.changed()
    (after,) = landed.check_folders(Path(study.records.landing), study.operation, 0.0)
    assert before.state != after.state


@pytest.mark.parametrize("place", ["data", "data/train"])
def test_linked_folders_of_meds_are_read_and_gone_ones_are_named(tmp_path: Path, place: str) -> None:
    folder = tmp_path / "landing" / "2020-01-01"
    (folder / place).parent.mkdir(parents=True)
    own = records_settings(tmp_path / "landing", source="meds", events=(), patients=(), meds=Meds())
    (folder / place).symlink_to(tmp_path / "disk")
    with pytest.raises(InputError, match=f"{place}: the link leads to a file or folder that does not exist"):
        list_extract(folder, own)
    (tmp_path / "disk" / "deep").mkdir(parents=True)
    (tmp_path / "disk" / "deep" / "0.parquet").write_bytes(b"x")
    assert list_extract(folder, own).names == [f"{place}/deep/0.parquet"]


def test_linked_tables_of_a_vocabulary(tmp_path: Path) -> None:
    folder = tmp_path / "athena"
    folder.mkdir()
    (tmp_path / "concept").write_text("x")
    (folder / "CONCEPT.csv").symlink_to(tmp_path / "concept")
    assert omop.files(folder) == {"concept": folder / "CONCEPT.csv"}
    (folder / "CONCEPT_ANCESTOR.csv").symlink_to(tmp_path / "ancestor")
    with pytest.raises(
        InputError, match=r"CONCEPT_ANCESTOR.csv: the link leads to a file or folder that does not exist"
    ):
        omop.files(folder)
