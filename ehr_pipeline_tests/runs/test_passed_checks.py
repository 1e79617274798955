"""What passed its checks is not opened again; what changed since is, and is refused where it was."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from ehr_pipeline.assets.asset import Asset
from ehr_pipeline.checks.model import Outcome
from ehr_pipeline.errors import Damaged, GateFailed
from ehr_pipeline.runs.passed_checks import NOTE
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.store import secret_key
from ehr_pipeline.study.settings import Study
from ehr_pipeline.synthetic.generate import EXTRACT
from ehr_pipeline.tables import schemas
from ehr_pipeline_tests.conftest import tiny_settings


@pytest.fixture
def study(tiny: Pipeline, extract: Path, tmp_path: Path) -> Study:
    """A study with one extract that was read, and of which nobody knows yet whether it passes."""
    folder = tiny.store.current("raw_records", EXTRACT).path.parent
    own = shutil.copytree(folder, tmp_path / "store/records/raw_records" / EXTRACT)
    (own / NOTE).unlink(missing_ok=True)
    shutil.copy(tiny.store.root / secret_key.FILE, tmp_path / "store")
    return tiny_settings(extract, study={"store": str(tmp_path / "store")})


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The assets whose checks were run."""
    asked: list[str] = []
    evaluate = Asset.evaluate

    def told(asset: Asset, *arguments: object) -> list[Outcome]:
        asked.append(asset.name)
        return evaluate(asset, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Asset, "evaluate", told)
    return asked


def shard(study: Study) -> Path:
    return Pipeline(study).store.current("raw_records", EXTRACT).files("events")[0]


def torn(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def edited(path: Path) -> None:
    table = schemas.read(path)
    before = path.stat()
    with pa.OSFile(str(path.with_suffix(".new")), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table.slice(1))
    path.with_suffix(".new").replace(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def lost(path: Path) -> None:
    path.unlink()


def test_what_passed_is_not_opened_again(study: Study, checked: list[str]) -> None:
    Pipeline(study).extract_catalog()
    assert checked == ["raw_records"]
    checked.clear()
    assert Pipeline(study).extract_catalog().skipped
    assert not checked


@pytest.mark.parametrize("harm", [torn, edited, lost])
def test_what_changed_since_it_passed_is_refused_as_before(
    study: Study, checked: list[str], harm: Callable[[Path], None]
) -> None:
    Pipeline(study).extract_catalog()
    harm(shard(study))
    for _ in range(2):
        with pytest.raises(Damaged, match=r"events/00000.arrow: the file is not what was published"):
            Pipeline(study).extract_catalog()
    assert checked == ["raw_records"], "what is damaged is not opened to be checked"


def test_what_fails_is_checked_each_time(study: Study, checked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    failed = [Outcome("rows_as_counted", False, "of a test", True, {})]
    monkeypatch.setattr(Asset, "evaluate", lambda asset, *arguments: checked.append(asset.name) or failed)
    for _ in range(2):
        with pytest.raises(GateFailed, match="rows_as_counted"):
            Pipeline(study).extract_catalog()
    assert checked == ["raw_records"] * 2


def test_other_withdrawals_ask_the_checks_again(study: Study, extract: Path, tmp_path: Path) -> None:
    Pipeline(study).extract_catalog()
    (tmp_path / "withdrawn.txt").write_text("patient_id\n1\n")
    own = {"study": {"store": study.study.store}, "records": {"withdrawals": str(tmp_path / "withdrawn.txt")}}
    with pytest.raises(GateFailed, match="patients_present"):
        Pipeline(tiny_settings(extract, **own)).extract_catalog()


def test_other_limits_ask_the_checks_again(study: Study, extract: Path) -> None:
    Pipeline(study).extract_catalog()
    own = {
        "study": {"store": study.study.store},
        "records": {"limits": {"rejected_warning": 0, "rejected_error": 1e-6}},
    }
    with pytest.raises(GateFailed, match="rejected_rows"):
        Pipeline(tiny_settings(extract, **own)).extract_catalog()


def test_a_note_that_cannot_be_written_or_is_torn_costs_the_checks_alone(study: Study, checked: list[str]) -> None:
    Pipeline(study).extract_catalog()
    note = shard(study).parents[2] / NOTE
    note.write_text(note.read_text()[:5])
    assert Pipeline(study).extract_catalog().skipped
    note.unlink()
    note.mkdir()
    assert Pipeline(study).extract_catalog().skipped
    assert checked == ["raw_records"] * 3
