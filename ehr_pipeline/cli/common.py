"""What the commands share: which study they are about, how they tell what is wrong, how they end."""

import argparse
import logging
import os
import sys
from pathlib import Path

from ehr_pipeline.errors import printable
from ehr_pipeline.study import settings

Commands = argparse._SubParsersAction  # argparse has no public name for it
FAILED, USER_ERROR = 1, 2


def tell(kind: str, text: str) -> None:
    """Say what is wrong. Names of files and folders stand in it, which others may have chosen."""
    print(f"{kind}: {printable(text)}", file=sys.stderr)


class Printable(logging.Formatter):
    """Lines of the log for a terminal: names stand in them, too."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, with what is not to be seen spelled."""
        return printable(super().format(record))


def about_a_study(command: argparse.ArgumentParser) -> None:
    """Have a command ask for the settings."""
    command.add_argument(
        "--settings",
        type=Path,
        help=f"TOML file of the study (default: ${settings.ENVIRONMENT_VARIABLE}, or the embedded demo)",
    )


def study_of(options: argparse.Namespace) -> settings.Study:
    """The study that a command is about; Dagster's processes find it through the environment."""
    path = options.settings or settings.settings_path()
    os.environ[settings.ENVIRONMENT_VARIABLE] = str(path.resolve())
    return settings.load(path)
