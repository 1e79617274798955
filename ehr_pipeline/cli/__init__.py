"""The command line, `ehr-pipeline`. Each module defines some commands: their arguments and their code.

Dagster is imported only by the commands that need it, when they run.
"""

import argparse
import logging
import os
import select
import shlex
import signal
import sys
import threading
import traceback
from pathlib import Path

from ehr_pipeline import __version__
from ehr_pipeline.cli import compare, curate, export, forecast, init, key, predict, preparing, run, status
from ehr_pipeline.cli.common import FAILED, INTERRUPTED, NOBODY_READS, USER_ERROR, Printable, print_problem
from ehr_pipeline.cli.parsing import Parser
from ehr_pipeline.cli.relations import add as add_relations
from ehr_pipeline.errors import UserError

__all__ = ["FAILED", "INTERRUPTED", "USER_ERROR", "main", "parser"]


def main(arguments: list[str] | None = None) -> int:
    """Run a command. Return 0; 1 for a failed stage or check; 2 for a user error; 130 if interrupted; 141 if output has no
    reader."""
    options = parser().parse_args(arguments)
    from ehr_pipeline.disclosure.governance import private_files

    private_files()
    handler = logging.StreamHandler()
    handler.setFormatter(Printable("%(asctime)s %(message)s", "%H:%M:%S"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    logging.getLogger("ehr_pipeline").setLevel(logging.INFO)
    try:
        code = _run(options)
        sys.stdout.flush()
        return code
    except BrokenPipeError as error:
        # In `ehr-pipeline … | head`, the reader has seen enough: this is not an error and needs no message.
        if _nobody_reads():
            return NOBODY_READS
        print_problem("error", str(error.strerror))
        return _failed(options, USER_ERROR)
    except UserError as error:
        print_problem("error", str(error))
        return _failed(options, USER_ERROR)
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        print_problem("error", f"{place}{error.strerror or error}")
        return _failed(options, USER_ERROR)
    except KeyboardInterrupt:
        command = shlex.join(["ehr-pipeline", *(sys.argv[1:] if arguments is None else arguments)])
        print(f"stopped. Everything published before is unchanged. To continue: {command}", file=sys.stderr)
        return INTERRUPTED


def _run(options: argparse.Namespace) -> int:
    """Run the command. SIGTERM ends it as Ctrl-C does, but not outside the main thread, where signals cannot be handled."""
    if threading.current_thread() is not threading.main_thread():
        return int(options.command(options))
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return int(options.command(options))
    finally:
        signal.signal(signal.SIGTERM, before)


def _nobody_reads() -> bool:
    """Return whether standard output is a pipe with no reader. If so, discard what is still to be printed."""
    output = select.poll()
    output.register(sys.stdout, 0)
    if not output.poll(0):
        return False
    sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - until the process ends
    return True


def _failed(options: argparse.Namespace, code: int) -> int:
    if options.verbose:
        traceback.print_exc()
    return code


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands. The attribute `command` of the parsed options is the function to call with them."""
    whole = Parser(
        prog="ehr-pipeline",
        description="From raw primary-care records to patient clusters and a report.",
        epilog="begin with:\n  ehr-pipeline demo                      the whole pipeline on synthetic patients\n  ehr-pipeline init"
        " DIR --from FILE ...  a study with your files\n  ehr-pipeline COMMAND --help            what a command does, with an"
        " example",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    whole.add_argument("--version", action="version", version=__version__)
    commands = whole.add_subparsers(required=True, metavar="COMMAND")
    for module in (run, compare, status, curate, init, export, predict, forecast, key, preparing):
        module.add(commands)
    add_relations(commands)
    return whole
