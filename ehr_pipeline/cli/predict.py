"""The command `predict`: apply the fitted model of a task to new patients."""

import argparse
from pathlib import Path

from ehr_pipeline.cli.common import study_of
from ehr_pipeline.cli.parsing import Commands, add_command
from ehr_pipeline.disclosure.figures import count_text


def add(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add the command."""
    predict = add_command(
        commands,
        "predict",
        _predict,
        "apply the fitted model of a task to new patients: risks, and the concepts behind the highest risks",
        "predict --model DIR --results DIR --task asthma --extract FOLDER --cut days.csv --settings my_study.toml --out risks",
    )
    predict.add_argument("--model", type=Path, required=True, help="folder of the checkpoint")
    predict.add_argument(
        "--results", type=Path, required=True, help="folder of a task_results artifact made with this model"
    )
    predict.add_argument("--task", required=True, help="name of the task")
    predict.add_argument("--extract", type=Path, required=True, help="folder of the extract")
    predict.add_argument(
        "--cut", type=Path, required=True, help="CSV or Parquet file of patients and dates, as for `ehr-pipeline embed`"
    )
    predict.add_argument(
        "--explain",
        type=int,
        default=100,
        help="number of patients with the highest risks who get an explanation (default: 100)",
    )
    predict.add_argument(
        "--out", type=Path, required=True, help="new folder to write to; treat it as confidentially as the records"
    )


def _predict(options: argparse.Namespace) -> int:
    study = study_of(options)
    from ehr_pipeline.export.predict import Folders, predict

    folders = Folders(options.model, options.results, options.extract)
    counts = predict(study, folders, options.task, options.cut, options.out, explained=options.explain)
    below = study.reports.suppress_below
    print(f"wrote {counts['rows_in']:,} rows, one for each row of {options.cut}, to {options.out}")
    without = counts["rows_in"] - counts["with_risk"]
    print(
        f"rows without a risk: {count_text(without, below)}; in {count_text(counts['not_in_extract'], below)} of them, the"
        " patient is not in the extract; in the others, there is no history by that date"
    )
    return 0
