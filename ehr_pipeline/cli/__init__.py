"""The command line, `ehr-pipeline`. Each module defines some commands: their arguments and their code.

Dagster is imported only by the commands that need it, when they run.
"""

import argparse
import logging
import sys

from ehr_pipeline import __version__
from ehr_pipeline.cli import chain, keys, preparing, results
from ehr_pipeline.cli.common import FAILED, USER_ERROR, Printable, tell
from ehr_pipeline.disclosure.governance import private_files
from ehr_pipeline.errors import UserError

__all__ = ["FAILED", "USER_ERROR", "main", "parser"]


def main(arguments: list[str] | None = None) -> int:
    """Run a command. Returns 0; 1 for a failed stage or blocking check; 2 for a user error; 130 when interrupted."""
    options = parser().parse_args(arguments)
    private_files()
    handler = logging.StreamHandler()
    handler.setFormatter(Printable("%(asctime)s %(message)s", "%H:%M:%S"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    logging.getLogger("ehr_pipeline").setLevel(logging.INFO)
    try:
        return int(options.command(options))
    except UserError as error:
        tell("error", str(error))
        return USER_ERROR
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        tell("error", f"{place}{error.strerror or error}")
        return USER_ERROR
    except KeyboardInterrupt:
        print("interrupted; what was published before stays as it was", file=sys.stderr)
        return 130


def parser() -> argparse.ArgumentParser:
    """The parser of all commands. The attribute `command` of the parsed options is the function to call with them."""
    whole = argparse.ArgumentParser(
        prog="ehr-pipeline", description="From raw primary-care records to patient clusters and a report."
    )
    whole.add_argument("--version", action="version", version=__version__)
    commands = whole.add_subparsers(required=True, metavar="COMMAND")
    for module in (chain, results, keys, preparing):
        module.add(commands)
    return whole
