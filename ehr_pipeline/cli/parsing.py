"""The parser of the command line: every command has a description and an example; misspelt commands get a suggestion."""

import argparse
import difflib
import shutil
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from ehr_pipeline.study import ENVIRONMENT_VARIABLE

Commands = argparse._SubParsersAction  # argparse has no public name for it


class Parser(argparse.ArgumentParser):
    """An argument parser that prints its help when no command is given, and suggests a command for a misspelt one."""

    def error(self, message: str) -> NoReturn:
        """Print what is wrong and how to get help; exit with code 2."""
        if message.endswith("are required: COMMAND") and len(sys.argv) < 2:
            self.print_help(sys.stderr)
        else:
            self._print_message(f"error: {message}\nHelp: {self.prog} --help\n", sys.stderr)
        raise SystemExit(2)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if isinstance(action, argparse._SubParsersAction) and value not in action.choices:
            names = list(action.choices)
            near = difflib.get_close_matches(str(value), names, n=1, cutoff=0.5)
            hint = f"Did you mean {near[0]!r}?" if near else f"Commands: {', '.join(names)}."
            raise argparse.ArgumentError(None, f"there is no command {value!r}. {hint}")
        super()._check_value(action, value)


def add_command(
    commands: "Commands[Any]",
    name: str,
    run: Callable[[argparse.Namespace], int] | None,
    summary: str,
    *examples: str,
    about: str = "",
    study: bool = True,
) -> argparse.ArgumentParser:
    """Add a command, by default one that works on a study.

    Its help shows the summary, then `about`, then the examples (given without the program's name).
    """
    width = max(min(shutil.get_terminal_size().columns, 100) - 2, 40)
    text = f"{summary[0].upper()}{summary[1:]}.{f' {about}' if about else ''}"
    made: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=textwrap.fill(text, width),
        epilog="\n".join([f"example{'s' * (len(examples) > 1)}:", *(f"  ehr-pipeline {one}" for one in examples)]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument(
        "-v", "--verbose", action="store_true", help="also show Dagster's log lines, and tracebacks of errors"
    )
    if study:
        made.add_argument(
            "--settings",
            type=Path,
            help=f"TOML file of the study (default: ${ENVIRONMENT_VARIABLE}, or the embedded demo)",
        )
    made.set_defaults(command=run)
    return made
