"""The command that starts a study: `ehr-pipeline init`."""

import argparse
import datetime
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ehr_pipeline.cli.common import USER_ERROR, print_problem
from ehr_pipeline.cli.parsing import Commands, add_command
from ehr_pipeline.errors import printable

if TYPE_CHECKING:
    from ehr_pipeline.planning.describing_files import NewStudy


def add(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add the command."""
    init = add_command(
        commands,
        "init",
        _init,
        "start a study: write a settings file that fits your files",
        "init my_study --from events.csv patients.csv",
        "init my_study --from omop_folder --umls umls",
        "init my_study --from aurum_2024-03-01 lookups",
        "init my_study --from events.csv patients.csv --column 'patient=NHS no' --column code=Term_ID",
        about="It reads the first rows of each file (delimiter, quotes, encoding, dates, columns, words for the sex), links the"
        " files into a landing folder, copies concept lists, and writes study.toml with a comment on each choice. It reads"
        " text, gzip and Parquet files, and recognises folders in the layouts of CPRD Aurum, OMOP and MEDS. It looks for"
        " CPRD's dictionaries and OMOP's vocabulary in these folders, and in further folders after --from.",
        study=False,
    )
    init.add_argument("folder", type=Path, help="new folder for the study")
    init.add_argument(
        "--from", dest="sources", nargs="+", type=Path, default=[], metavar="FILE", help="files, or a folder"
    )
    init.add_argument("--umls", type=Path, metavar="DIR", help="folder with MRCONSO.RRF and MRSTY.RRF")
    init.add_argument(
        "--column",
        dest="named",
        action="append",
        default=[],
        metavar="ROLE=NAME",
        help="column for a role, if its name does not show the role: patient=, date=, code=, birth_date=, birth_year=, sex= …,"
        " or an attribute such as practice=; may be repeated",
    )


def _init(options: argparse.Namespace) -> int:
    from ehr_pipeline.planning import guess_columns, init_study, settings_text

    named = guess_columns.read_names(options.named)
    made = init_study.start(options.folder, options.sources, options.umls, datetime.date.today(), named)
    for fact in made.facts:
        print(printable(fact))
    for doubt in made.doubts:
        print_problem("please check", doubt)
    print(printable(f"wrote {made.settings}"))
    for question in [*made.open, *made.absent]:
        print_problem("unknown", question)
    if made.open or made.absent:
        print_problem("error", f"give what is missing: {'; '.join(_cures(made, options))}.")
        return USER_ERROR
    if options.sources:
        print(printable(f"next: ehr-pipeline check --settings {made.settings}"))
    else:
        place = options.folder / settings_text.LANDING
        print(
            printable(
                f"next: put files into {place}, each extract in a folder with its date as the name; set their columns in the"
                " settings"
            )
        )
    return 0


def _cures(made: "NewStudy", options: argparse.Namespace) -> Iterator[str]:
    """Yield what to do about columns and files that were not recognised. As long as the settings file has placeholders for missing
    names, the same command can be given again."""
    if made.absent:
        given = shlex.join(map(str, [options.folder, "--from", *options.sources]))
        yield f"give all files in one command, for example: ehr-pipeline init {given} FILE"
    if made.open:
        yield (
            "add --column ROLE=NAME to the same command, such as --column patient=NAME --column date=NAME --column code=NAME, or"
            f" replace the marks '?' in {made.settings} by the names"
        )
