"""Who is told of a failed run, and of what."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from ehr_pipeline.defs import failures
from ehr_pipeline.defs.build_definitions import build
from ehr_pipeline.errors import InputError
from ehr_pipeline_tests.conftest import tiny_settings

PLANTED = "patient 4711"


@pytest.fixture
def received() -> Iterator[tuple[str, list[bytes]]]:
    """A server that keeps what is sent to it."""
    bodies: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *arguments: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/hook", bodies
    server.shutdown()
    server.server_close()


@dg.asset
def told() -> None:
    raise InputError("events.txt: no column 'code'")


@dg.asset
def kept_quiet() -> None:
    raise RuntimeError(PLANTED)


@dg.asset
def stopped_by_a_check() -> None:
    raise dg.Failure("raw_records: check rejected_rows failed: 40 % of the rows were rejected", allow_retries=False)


def failed(asset: dg.AssetsDefinition, instance: dg.DagsterInstance) -> dg.RunFailureSensorContext:
    result = dg.materialize([asset], instance=instance, raise_on_error=False)
    event = next(event for event in result.all_events if event.event_type_value == "PIPELINE_FAILURE")
    context = dg.build_run_status_sensor_context("failures", event, instance, result.dagster_run)
    return context.for_run_failure()


def test_a_failure_is_written_and_sent_without_what_may_be_data(
    tmp_path: Path, received: tuple[str, list[bytes]]
) -> None:
    address, bodies = received
    log = tmp_path / "logs" / "failures.jsonl"
    study = tiny_settings(tmp_path, operation={"failure_log": str(log), "webhook": address})
    sensor = build(study).resolve_sensor_def("report_failed_runs")
    assert sensor.default_status == dg.DefaultSensorStatus.RUNNING
    with dg.instance_for_test() as instance:
        for asset in (told, kept_quiet, stopped_by_a_check):
            sensor(failed(asset, instance))
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["failed"] for line in lines] == [
        [{"asset": "told", "error": "InputError", "message": "events.txt: no column 'code'"}],
        [{"asset": "kept_quiet", "error": "RuntimeError"}],
        [
            {
                "asset": "stopped_by_a_check",
                "error": "Failure",
                "message": "raw_records: check rejected_rows failed: 40 % of the rows were rejected",
            }
        ],
    ]
    assert [json.loads(body) for body in bodies] == lines
    assert PLANTED not in log.read_text()


def test_an_address_that_cannot_be_reached_loses_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = tmp_path / "failures.jsonl"
    settings = {"failure_log": str(log), "webhook": "http://127.0.0.1:9/hook"}
    failures.send_report(tiny_settings(tmp_path, operation=settings), {"run": "1"})
    assert json.loads(log.read_text()) == {"run": "1"}
    assert "operation.webhook cannot be reached" in caplog.text


def test_nobody_is_told_unless_the_settings_say_so(tmp_path: Path) -> None:
    assert (
        build(tiny_settings(tmp_path)).resolve_sensor_def("report_failed_runs").default_status
        == dg.DefaultSensorStatus.STOPPED
    )
