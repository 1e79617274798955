"""Versions of stages are not a matter of memory: code that changed asks for a new version, or why results stay the same."""

import shutil
from pathlib import Path

import pytest

from ehr_pipeline.assets import ASSETS, identity
from ehr_pipeline.tables.asset_names import STAGES
from ehr_pipeline_tests import versions
from ehr_pipeline_tests.versions import CARRIERS, MADE_BY, PACKAGE, Record, digest, imports

SOURCE = '''
"""What it is."""
import numpy as np

_log = None
LIMIT = 10
"""Most of them."""


def count(rows: list[int], most: int = LIMIT) -> int:
    """How many."""
    # at most so many
    if len(rows) > most:
        _log.warning("more than %d", most)
        raise ValueError(f"more than {most}")
    return option("What it sets.", len(rows) * 2)
'''
SAME = {
    "docstring": ("How many.", "Their number."),
    "docstring of a module": ("What it is.", "What it was."),
    "text below a value": ("Most of them.", "The most."),
    "comment": ("# at most so many", "# a limit"),
    "log": ("more than %d", "over %d"),
    "error": ("more than {most}", "{most} are too many"),
    "annotation": ("-> int:", "-> float:"),
    "import": ("import numpy as np", "import polars as pl"),
    "text of a setting": ("What it sets.", "What is set."),
    "layout": ("    return option", "\n\n    return option"),
}
OTHER = {
    "constant": ("LIMIT = 10", "LIMIT = 11"),
    "operator": ("* 2", "+ 2"),
    "comparison": ("> most:", ">= most:"),
    "default of a setting": ("len(rows) * 2)", "len(rows) * 3)"),
    "name": ("most: int = LIMIT", "most: int = None"),
    "statement": ("    return", "    rows = rows[1:]\n    return"),
}
NOW = {"vocabulary/filters.py": "aaaa", "tables/row_keys.py": "bbbb"}
TODAY = dict.fromkeys(MADE_BY, "1")


def test_every_change_of_a_stage_raised_its_version_or_says_why_results_stay_the_same() -> None:
    record = Record.of(versions.RECORD.read_text(encoding="utf-8").splitlines())
    problem = versions.problem(record, versions.digests(), versions.VERSIONS)
    assert not problem, problem


def test_every_asset_is_made_by_modules_that_there_are() -> None:
    assert {*MADE_BY, "cluster_reports", "prediction_report"} == set(STAGES)
    assert all((PACKAGE / name).is_file() for names in MADE_BY.values() for name in names)
    assert all((PACKAGE / name).is_file() for name in CARRIERS)


def test_shared_modules_count_for_the_stages_that_use_them() -> None:
    assert {"raw_records", "mapped_events", "patient_dataset"} <= set(versions.assets_of("tables/row_keys.py"))
    assert {"encoder_checkpoint", "patient_embeddings"} <= set(versions.assets_of("encoder/model.py"))
    assert "encoder_checkpoint" not in versions.assets_of("clusters/scores.py")
    assert set(versions.assets_of("tables/schemas.py")) == set(MADE_BY)


@pytest.mark.parametrize("change", SAME)
def test_what_is_said_is_not_what_is_done(change: str) -> None:
    assert SOURCE.count(SAME[change][0])
    assert digest(SOURCE.replace(*SAME[change])) == digest(SOURCE)


@pytest.mark.parametrize("change", OTHER)
def test_what_is_done_counts(change: str) -> None:
    assert SOURCE.count(OTHER[change][0])
    assert digest(SOURCE.replace(*OTHER[change])) != digest(SOURCE)


def test_a_change_needs_a_reason_or_a_version_for_every_asset(tmp_path: Path) -> None:
    record = tmp_path / "versions.txt"
    assert versions.renew(record, "first recorded", NOW, TODAY) == ""
    assert not versions.problem(Record.of(record.read_text().splitlines()), NOW, TODAY)
    changed = NOW | {"vocabulary/filters.py": "cccc"}
    before = record.read_text()
    refused = versions.renew(record, "", changed, TODAY)
    assert "vocabulary/filters.py: vocabulary" in refused
    assert versions.COMMAND in refused
    assert record.read_text() == before
    assert versions.renew(record, "a loop became a sum", changed, TODAY) == ""
    assert "vocabulary/filters.py cccc same result, because a loop became a sum\n" in record.read_text()


def test_a_raised_version_is_reason_enough_and_has_to_be_recorded(tmp_path: Path) -> None:
    record = tmp_path / "versions.txt"
    versions.renew(record, "first recorded", NOW, TODAY)
    raised = TODAY | {"vocabulary": "2"}
    assert "raised: vocabulary" in versions.problem(Record.of(record.read_text().splitlines()), NOW, raised)
    assert versions.renew(record, "", NOW | {"vocabulary/filters.py": "cccc"}, raised) == ""
    assert "vocabulary/filters.py cccc raised vocabulary 2\n" in record.read_text()
    assert "\nvocabulary 2\n" in record.read_text()
    assert versions.renew(record, "", NOW | {"vocabulary/filters.py": "dddd"}, raised), (
        "it was raised for another change"
    )


def test_lines_of_two_branches_stand_beside_each_other() -> None:
    lines = [
        "<<<<<<< ours",
        "vocabulary 2",
        "tables/row_keys.py bbbb one",
        "=======",
        "vocabulary 3",
        "tables/row_keys.py eeee two",
        ">>>>>>> theirs",
    ]
    record = Record.of(lines)
    assert record.versions == {"vocabulary": 3}
    assert record.changed({"tables/row_keys.py": "bbbb"}) == record.changed({"tables/row_keys.py": "eeee"}) == []
    assert record.changed({"tables/row_keys.py": "ffff", "new.py": "0000"}) == ["tables/row_keys.py", "new.py"]


def test_the_version_of_the_reports_follows_from_their_sources(tmp_path: Path) -> None:
    copy = Path(shutil.copytree(PACKAGE, tmp_path / "ehr_pipeline", ignore=shutil.ignore_patterns("__pycache__")))

    def version() -> str:
        return identity.version_of_page("reports", *identity.COUNTED_IN, package=copy)

    found = [version()]
    assert found == [ASSETS["cluster_reports"].version]
    for name in ("reports/sections/short.html.j2", "reports/bias_audit.py", "drawing/plots.py", "events/__init__.py"):
        (copy / name).write_text((copy / name).read_text(encoding="utf-8") + "\n# changed\n", encoding="utf-8")
        found.append(version())
    assert len({*found}) == 5
    (copy / "records" / "text.py").write_text("")
    (copy / "reports" / "__pycache__").mkdir()
    (copy / "reports" / "__pycache__" / "audit.cpython-311.pyc").write_bytes(b"")
    assert version() == found[-1]


@pytest.mark.parametrize("room", ["reports", "prediction_report"])
def test_what_a_page_imports_is_among_its_sources(room: str) -> None:
    for path in (PACKAGE / room).rglob("*.py"):
        found = {each.relative_to(PACKAGE).as_posix() for each in identity._imported(path, PACKAGE)}
        assert {*imports(path, PACKAGE)} <= found | {"__init__.py"}, path
