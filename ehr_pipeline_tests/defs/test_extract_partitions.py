"""Where Dagster keeps its state: a home without our settings is refused, since telemetry would be on."""

import os
from pathlib import Path

import dagster as dg
import pytest
import yaml

from ehr_pipeline import definitions
from ehr_pipeline.defs import dev, extract_partitions, serve
from ehr_pipeline.defs.liveness import only_server
from ehr_pipeline.errors import UserError
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.study import dagster_home, settings
from ehr_pipeline.terminology.shipped import shipped
from ehr_pipeline_tests.conftest import ROOT, tiny_settings


def test_a_home_without_our_settings_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    with pytest.raises(UserError, match=r"has no dagster\.yaml\. Copy ours there: without it, telemetry is on"):
        dagster_home.ensure_home()


def test_outside_a_checkout_a_home_is_made_that_tells_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DAGSTER_HOME", "EHR_STATE_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(dagster_home, "our_home", lambda: tmp_path / "ehr_pipeline_home")
    folder = tmp_path / "package" / "data"
    folder.mkdir(parents=True)
    for name in ("dagster.yaml", "workspace.yaml"):
        (folder / name).write_bytes((ROOT / name).read_bytes())
    (tmp_path / "package" / "study").mkdir()
    monkeypatch.setattr(dagster_home, "__file__", str(tmp_path / "package" / "study" / "home.py"))
    made = dagster_home.ensure_home()
    assert os.environ["DAGSTER_HOME"] == str(made)
    assert Path(os.environ["EHR_STATE_DIR"]).is_relative_to(made)
    assert yaml.safe_load((made / "dagster.yaml").read_text())["telemetry"] == {"enabled": False}
    with dg.DagsterInstance.get() as instance:
        assert instance.telemetry_enabled is False
        assert instance.nux_enabled is False


def test_a_server_beside_another_is_not_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(ROOT))
    monkeypatch.setenv("EHR_STATE_DIR", str(tmp_path))
    started: list[object] = []
    monkeypatch.setattr(serve, "_serve", lambda *arguments: started.append(arguments) or 0)
    with only_server(tmp_path), pytest.raises(UserError, match="Another server runs on"):
        serve.serve(1, "127.0.0.1")
    assert not started
    assert serve.serve(1, "127.0.0.1") == 0
    assert started == [(ROOT, 1, "127.0.0.1", ())]


def test_a_server_puts_in_order_what_the_last_one_left_before_it_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(ROOT))
    monkeypatch.setenv("EHR_STATE_DIR", str(tmp_path))
    order: list[str] = []
    monkeypatch.setattr(
        dev.liveness, "reap", lambda instance: order.append("could not clean up") or ["a run was ended"]
    )
    monkeypatch.setattr(dev, "start_servers", lambda: order.append("started"))
    dev.main()
    assert order == ["could not clean up", "started"]
    assert "a run was ended" in caplog.text


def test_what_dagster_loads_writes_files_that_are_closed_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.setenv(settings.ENVIRONMENT_VARIABLE, str(shipped("demo/settings.toml")))
    before = os.umask(0)
    try:
        definitions.defs()
        assert os.umask(0) & 0o007 == 0o007
    finally:
        os.umask(before)


def test_of_snapshots_the_newest_alone_stays_a_partition(tmp_path: Path) -> None:
    for name in ("2030-01-01", "2030-02-01"):
        (tmp_path / "landing" / name).mkdir(parents=True)
    for mode, left in {"increment": ["2030-01-01", "2030-02-01"], "snapshot": ["2030-02-01"]}.items():
        study = tiny_settings(tmp_path, records={"landing": str(tmp_path / "landing"), "mode": mode})
        with dg.DagsterInstance.ephemeral() as instance:
            instance.add_dynamic_partitions("extract", ["2030-01-01"])
            assert extract_partitions.register_extracts(instance, Pipeline(study)) == left
            assert sorted(instance.get_dynamic_partitions("extract")) == left
