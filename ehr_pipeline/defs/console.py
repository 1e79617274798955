"""The log lines that the command line shows during a run: those of the library and its jobs, without Dagster's events."""

import logging
import sys

import dagster as dg

from ehr_pipeline.errors import printable


class _OwnLinesOnly(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return getattr(record, "dagster_meta", {}).get("dagster_event") is None


@dg.logger
def quiet_console(context: dg.InitLoggerContext) -> logging.Logger:
    """A logger that writes to standard error."""
    logger = logging.Logger("ehr_pipeline.console", level=logging.INFO)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Plain("%(asctime)s %(message)s", "%H:%M:%S"))
    handler.addFilter(_OwnLinesOnly())
    logger.addHandler(handler)
    return logger


class _Plain(logging.Formatter):
    """Formats the message as it was logged, without the run id and step that Dagster prepends."""

    def format(self, record: logging.LogRecord) -> str:
        plain = logging.makeLogRecord(
            record.__dict__
            | {"msg": getattr(record, "dagster_meta", {}).get("orig_message", record.getMessage()), "args": None}
        )
        return printable(super().format(plain))
