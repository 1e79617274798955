"""What tests of engines need to disturb work while it runs, and to compare what it makes."""

import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.synthetic.generate import EXTRACT
from ehr_pipeline_tests.engines.work import Bucket
from ehr_pipeline_tests.processes import until

ROOT = Path(__file__).parents[2]


def pids(notes: list[Path]) -> list[int]:
    """The process ids that work noted."""
    return [int(note.read_text()) for note in notes]


def meanwhile(work: Callable[[], Any], disturb: Callable[[], None]) -> Any:
    """The result of work, during which something happens. Its thread does not keep the tests from ending when that fails."""
    found: Future[Any] = Future()

    def run() -> None:
        try:
            found.set_result(work())
        except BaseException as error:
            found.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    disturb()
    return found.result(120)


def assert_same_files(pipeline: Pipeline, inline: Pipeline) -> None:
    """Make the chain up to the patients' vectors, and compare the hashes of its data files with those that were made inline."""
    made = pipeline.raw_records(EXTRACT)
    assert made.data_version == inline.store.current("raw_records", EXTRACT).data_version
    for asset in ("extract_catalog", "mapped_events", "vocabulary", "patient_dataset", "data_split"):
        assert getattr(pipeline, asset)().data_version == inline.store.current(asset).data_version, asset
    trained = pipeline.encoder_checkpoint(pipeline.engine.launch)
    assert trained.data_version == inline.store.current("encoder_checkpoint").data_version
    for asset in ("concept_embeddings", "cohort"):
        getattr(pipeline, asset)()
    vectors = pipeline.patient_embeddings(pipeline.engine.launch)
    assert vectors.data_version == inline.store.current("patient_embeddings").data_version


def start_client(code: str, folder: Path, lapse: float) -> tuple["subprocess.Popen[bytes]", list[int]]:
    """A process of this code that has two buckets worked on, which wait; and the ids of those that work."""
    command = [sys.executable, "-c", code, str(folder), str(lapse)]
    with (folder / "client.txt").open("wb") as told:
        client = subprocess.Popen(command, cwd=ROOT, stderr=told)
    buckets = [Bucket(folder, number) for number in range(2)]
    assert until(lambda: all(bucket.begun for bucket in buckets)), (folder / "client.txt").read_text()
    return client, [pid for bucket in buckets for pid in pids(bucket.begun)]
