"""Show the progress of a run on the command line: a line when a stage starts or ends, the library's log, and time left.

Dagster's own lines are shown only with `--verbose`. On a terminal, a status line shows the current stage. Elsewhere,
after some time without output, a line says that the stage is still being made.
"""

import logging
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import dagster as dg

from ehr_pipeline.assets import ASSETS
from ehr_pipeline.errors import UserError, printable
from ehr_pipeline.store.artifacts import Store
from ehr_pipeline.work.progress import duration

SILENCE = 9.0
"""Seconds without output after which a line says that the stage is still being made."""
CHECKS = "_checks"
"""Suffix of the name of a step that runs an asset's checks."""
SHOWN = "ehr_pipeline_shown"
"""Attribute that marks log records which the console has shown. Dagster's handler, which comes later, copies the attribute."""
INTERRUPTIONS = ("DagsterExecutionInterruptedError", "KeyboardInterrupt")
_COLOURS = {logging.WARNING: "yellow", logging.ERROR: "red", logging.CRITICAL: "red"}


class Console(logging.Handler):
    """Shows the progress of a run with this number of `stages`. `usual` has the seconds that each asset took last time."""

    def __init__(self, stages: int, usual: Mapping[str, float], verbose: bool = False):
        super().__init__()
        self._stages, self._usual, self.verbose = stages, usual, verbose
        self._number, self._step, self._since = 0, "", time.monotonic()
        self._between, self._waits = "preparing the next step", ""
        self._last, self._ended = time.monotonic(), threading.Event()
        self._rich = _rich_console()
        self._status: Any = None

    def emit(self, record: logging.LogRecord) -> None:
        """Show a log line of the library, or one from Dagster that says that a stage starts or ends."""
        setattr(record, SHOWN, True)
        meta: Mapping[str, Any] = getattr(record, "dagster_meta", {})
        text = str(meta.get("orig_message", record.getMessage()))
        if event := meta.get("dagster_event"):
            self._of_event(event)
        elif record.levelno >= logging.INFO and (self.verbose or not getattr(record, "orchestrator", False)):
            self._write(text, record.levelno)

    def _of_event(self, event: Any) -> None:
        step = str(event.step_key or "")
        if event.event_type == dg.DagsterEventType.STEP_START:
            self._step, self._since, self._waits = step, time.monotonic(), ""
            if step in ASSETS:
                self._number += 1
                self._write(f"{self._title()} starts{self._expected(', about {} as last time')}")
        elif event.event_type == dg.DagsterEventType.ENGINE_EVENT and (pool := _full_pool(event)) and not self._waits:
            self._waits = f"{step} waits for another run to leave the pool {pool!r} (docs/operating.md)"
            self._write(self._waits)
        elif event.event_type == dg.DagsterEventType.ASSET_MATERIALIZATION and step in ASSETS:
            metadata = event.event_specific_data.materialization.metadata
            unchanged = bool(metadata["skipped"].value) if "skipped" in metadata else False
            self._write(
                f"{self._title()} {'is unchanged' if unchanged else f'was built in {self._spent()}'}", ends=True
            )
        elif event.event_type == dg.DagsterEventType.STEP_FAILURE:
            if error_kind(event.event_specific_data.error) in INTERRUPTIONS:
                self._write(f"{self._title()} was stopped after {self._spent()}", logging.WARNING)
                self._between = "stopping"
            else:
                self._write(f"{self._title()} failed after {self._spent()}", logging.ERROR)
        if event.event_type in (dg.DagsterEventType.STEP_SUCCESS, dg.DagsterEventType.STEP_FAILURE):
            self._step, self._since = "", time.monotonic()

    def _title(self) -> str:
        if self._step.endswith(CHECKS):
            return f"{self._step.removesuffix(CHECKS)}: its checks"
        return f"[{self._number}/{self._stages}] {self._step}"

    def _spent(self) -> str:
        return duration(time.monotonic() - self._since)

    def _expected(self, words: str) -> str:
        seconds = self._usual.get(self._step, 0.0)
        return words.format(duration(seconds)) if seconds > SILENCE else ""

    def _now(self) -> str:
        """Return the current stage, how long it has run, and how long it took last time."""
        spent = time.monotonic() - self._since
        if self._waits:
            return f"{self._waits}: {duration(spent)} so far"
        if not self._step:  # Dagster sets up a run, which takes long on a busy machine
            return f"{self._between}: working for {duration(spent)}"
        left = self._usual.get(self._step, 0) - spent
        about = f", about {duration(left)} left" if left > 0 else ""
        return f"{self._title()}: working for {duration(spent)}{about}"

    def _write(self, text: str, level: int = logging.INFO, ends: bool = False) -> None:
        self._last = time.monotonic()
        line = printable(f"{time.strftime('%H:%M:%S')} {text}")
        if self._rich is None:
            print(line, file=sys.stderr, flush=True)
            return
        style = _COLOURS.get(level, "green" if ends else "")
        self._rich.print(line, style=style, markup=False, highlight=False, soft_wrap=True)

    def _beat(self) -> None:
        """Until the run ends, renew the status line each second; without a terminal, write a line after a long silence."""
        while not self._ended.wait(1.0):
            if self._status is not None:
                self._status.update(printable(self._now()))
            elif time.monotonic() - self._last >= SILENCE:
                self._write(self._now())

    @contextmanager
    def showing(self) -> Iterator[None]:
        """Show the library's log and the current stage until the end of the block."""
        library = logging.getLogger("ehr_pipeline")
        propagated, library.propagate = library.propagate, False  # else each line would be shown twice
        library.addHandler(self)
        thread = threading.Thread(target=self._beat, daemon=True)
        try:
            if self._rich is not None:
                self._status = self._rich.status("starting")
                self._status.start()
            thread.start()
            yield
        finally:
            self._ended.set()
            thread.join()
            if self._status is not None:
                self._status.stop()
            library.removeHandler(self)
            library.propagate = propagated

    def definition(self) -> dg.LoggerDefinition:
        """Return the logger through which Dagster passes its events and log lines to this console."""

        @dg.logger
        def events(context: dg.InitLoggerContext) -> logging.Logger:
            logger = logging.Logger("ehr_pipeline.console", level=logging.DEBUG)  # events have that level
            logger.addHandler(_Passing(self))
            return logger

        return events


class _Passing(logging.Handler):
    """Passes Dagster's log records on to the console. The library's lines reach the console directly."""

    def __init__(self, console: Console):
        super().__init__(logging.DEBUG)
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        if not getattr(record, SHOWN, False):
            record.orchestrator = True
            self._console.handle(record)


def _full_pool(event: Any) -> str:
    """Return the name of the pool whose limit keeps a step from starting; empty for other events."""
    pool = getattr(event.event_specific_data, "metadata", {}).get("pool")
    return str(pool.value) if pool and event.step_key else ""


def error_kind(error: Any) -> str:
    """Return the class name of the error that made a step fail."""
    return str((error.cause or error).cls_name)


def _rich_console() -> Any:
    """Return a rich console if standard error is a terminal, else None."""
    if not sys.stderr.isatty():
        return None
    from rich.console import Console as Rich

    return Rich(stderr=True)


def usual_seconds(store: Store) -> dict[str, float]:
    """Return how many seconds it took to make the current artifact of each asset."""
    seconds: dict[str, float] = {}
    for asset in ASSETS:
        with suppress(UserError):  # not made yet, or not readable: the time is unknown
            partition = max(store.partitions(asset), default=None)
            seconds[asset] = float(store.current(asset, partition).manifest["seconds"])
    return seconds
