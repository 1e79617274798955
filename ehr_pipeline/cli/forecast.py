"""The command `forecast`: forecast what may follow a typed-in history, or write a sheet of made-up timelines to rate."""

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

from ehr_pipeline.cli.common import study_of
from ehr_pipeline.cli.parsing import Commands, add_command
from ehr_pipeline.errors import UserError

HORIZONS = {"next": "next_visit", "30": "30_days", "365": "365_days"}


def add(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add the command."""
    forecast = add_command(
        commands,
        "forecast",
        _forecast,
        "forecast what may follow a history that you type, or write synthetic timelines for clinicians to rate",
        "forecast history.csv --sex F --settings my_study.toml",
        "forecast --sheet to_rate --timelines 20 --settings my_study.toml",
        about="It needs a study with an encoder. It reads no patient's record.",
    )
    forecast.add_argument(
        "history",
        nargs="?",
        help="CSV file of lines 'age,code' or 'date,code' ('-': read from the terminal); instead of a code, you can give a concept"
        " id or a name, as in '41,Asthma'",
    )
    forecast.add_argument("--sex", choices=["F", "M"], help="sex of the person; used to say how common each concept is")
    forecast.add_argument("--born", default="", help="date or year of birth; needed if lines begin with dates")
    forecast.add_argument(
        "--within",
        choices=list(HORIZONS),
        default="365",
        help="time to forecast: the next visit, or the next 30 or 365 days (default: 365)",
    )
    forecast.add_argument("--top", type=int, default=10, help="number of concepts in each list (default: 10)")
    forecast.add_argument(
        "--sheet", type=Path, metavar="FOLDER", help="new folder for a sheet of synthetic timelines to rate"
    )
    forecast.add_argument("--timelines", type=int, default=20, help="number of timelines on the sheet (default: 20)")
    forecast.add_argument("--seed", type=int, default=0, help="random seed of the timelines (default: 0)")


def _forecast(options: argparse.Namespace) -> int:
    study = study_of(options)
    if (options.history is None) == (options.sheet is None):
        raise UserError(
            "No history given. Give a file with a history ('-' reads the terminal), or --sheet FOLDER for synthetic timelines."
        )
    if options.history is not None and options.sex is None:
        raise UserError("The sex is missing: add --sex F or --sex M. How common a concept is depends on it.")
    if not 1 <= options.top <= 1000:
        raise UserError(f"--top {options.top}: must be between 1 and 1,000.")
    from ehr_pipeline.export import forecast, rating_sheet
    from ehr_pipeline.runs.pipeline import Pipeline

    opened, horizon = forecast.LoadedStudy.of(Pipeline(study)), HORIZONS[options.within]
    if options.sheet is not None:
        written = rating_sheet.write(opened, options.sheet, options.timelines, options.seed, horizon)
        print(f"wrote {written:,} synthetic timelines to {options.sheet}: print sheet.html, or fill in ratings.csv")
        return 0
    answer = opened.answer(_lines(options.history), options.sex, options.born, horizon, options.top)
    for line in forecast.text(opened, answer, horizon):
        print(line)
    return 0


def _lines(history: str) -> Iterable[str]:
    """Return the lines of a file or of the terminal. Raises UserError for a file that is not text."""
    if history == "-":
        if sys.stdin.isatty():
            print("Type lines such as '41,Asthma', then end with Ctrl-D.", file=sys.stderr)
        return sys.stdin.read().splitlines()
    try:
        return Path(history).read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise UserError(f"{history}: not UTF-8 text. Save the file as UTF-8.") from None
