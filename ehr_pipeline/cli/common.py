"""What the commands share: loading the study, error output, exit codes."""

import argparse
import logging
import os
import sys
from typing import TYPE_CHECKING

from ehr_pipeline.errors import printable
from ehr_pipeline.study import ENVIRONMENT_VARIABLE

if TYPE_CHECKING:
    from ehr_pipeline.study.settings import Study

FAILED, USER_ERROR, INTERRUPTED, NOBODY_READS = 1, 2, 130, 141


def print_problem(kind: str, text: str) -> None:
    """Print a problem to standard error. Invisible characters are escaped, since file names in it may come from others."""
    print(f"{kind}: {printable(text)}", file=sys.stderr)


class Printable(logging.Formatter):
    """Formats log lines for a terminal, with invisible characters escaped, since file names in them may come from others."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the log line, with invisible characters written as escapes."""
        return printable(super().format(record))


def names_no_study(options: argparse.Namespace) -> bool:
    """Return whether neither the command nor the environment names a study."""
    return not options.settings and ENVIRONMENT_VARIABLE not in os.environ


def study_of(options: argparse.Namespace) -> "Study":
    """Load the study that a command works on, and set the environment variable by which Dagster's processes find it.

    Without --settings, load the embedded demo and say so.
    """
    from ehr_pipeline.study import settings

    path = options.settings or settings.settings_path()
    if names_no_study(options):
        print_problem("note", f"no --settings FILE was given, so this is the embedded demo ({path})")
    os.environ[ENVIRONMENT_VARIABLE] = str(path.resolve())
    return settings.load(path)
