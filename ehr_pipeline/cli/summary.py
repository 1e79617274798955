"""The output at the end of a run: a table for people, and `summary.json` for machines."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ehr_pipeline.disclosure.figures import Guard
from ehr_pipeline.disclosure.kinds import Events, Plain, figures
from ehr_pipeline.errors import printable
from ehr_pipeline.prediction_report import PAGE as PREDICTIONS_PAGE
from ehr_pipeline.reports import PAGE
from ehr_pipeline.store.count_kinds import declared, shown_counts
from ehr_pipeline.store.durable import write_atomically
from ehr_pipeline.tables.asset_names import CLUSTER_REPORTS, PREDICTION_REPORT

if TYPE_CHECKING:
    from ehr_pipeline.study.settings import Study


def report_of(study: "Study") -> str | None:
    """Return the path of the report; None if there is none."""
    from ehr_pipeline.store.artifacts import Store

    report = Store(study.study.store).usable(CLUSTER_REPORTS)
    return str(report.file(PAGE)) if report else None


def link_of_report(study: "Study") -> Path | None:
    """Make the store's link to the current report and return the link's path; None if there is no report."""
    report, link = report_of(study), Path(study.study.store) / PAGE
    if report is None:
        return None
    target = Path(report).relative_to(link.parent)
    try:
        if not link.is_symlink() or link.readlink() != target:
            fresh = link.with_name(f".{PAGE}.{os.getpid()}")
            fresh.symlink_to(target)
            fresh.replace(link)
    except OSError:  # a file system without links
        return Path(report)
    return link


def predictions_of(study: "Study") -> str | None:
    """Return the path of the page of predictions; None if there is none."""
    from ehr_pipeline.store.artifacts import Store

    page = Store(study.study.store).usable(PREDICTION_REPORT) if study.tasks.any else None
    return str(page.file(PREDICTIONS_PAGE)) if page else None


COLUMNS = ("read", "kept", "merged", "rejected")
"""The columns of the printed table that hold counts of rows."""


def print_table(rows: list[Any], guard: Guard) -> None:
    """Print the result of each asset (`runs.run_outcome.Row`). Counts that are too small to show appear as upper bounds."""
    heads = "".join(f"{name:>13}" for name in COLUMNS)
    print(f"\n{'asset':<22}{'extract':<12}{'state':<13}{heads}{'seconds':>10}  version")
    for row in rows:
        counts = _suppressed(row, guard)
        numbers = "".join(f"{_text(getattr(row, name), counts[name], guard):>13}" for name in COLUMNS)
        seconds = "" if row.seconds is None else f"{row.seconds:.1f}"
        print(
            printable(
                f"{row.asset:<22}{row.partition:<11} {row.state:<13}{numbers}{seconds:>10}  {row.version}".rstrip()
            )
        )
    if guard.step > 1:
        print(f"counts are rounded to multiples of {guard.step}; the store's manifests contain the exact counts")


def _text(count: int | None, shown: float | None, guard: Guard) -> str:
    """Return a count for the table: '' if there is none, an upper bound if too small to show, '–' if hidden for another reason."""
    if count is None:
        return ""
    return f"{shown:,}" if shown is not None else f"<{guard.below}" if 0 < count < guard.below else "–"


def _suppressed(row: Any, guard: Guard) -> dict[str, float | None]:
    """Return the counts of a stage; None for a count that the stage does not have, or that must not be shown."""
    counts = shown_counts(row.asset, row.counts, guard)
    lost = figures(row.counts, declared(row.asset)).get("dropped")
    if lost is None or counts.get("collapsed", 0) is None:  # the total of all reasons would reveal what was collapsed
        rejected = None
    else:
        things = bool(lost) and all(isinstance(figure, Plain) for figure in lost.values())
        rejected = guard.number((Plain if things else Events)(row.rejected or 0))
    return {
        "read": counts.get("rows_in"),
        "kept": counts.get("kept"),
        "merged": counts.get("collapsed"),
        "rejected": rejected,
    }


def write_summary(study: "Study", outcome: Any, report: str | None) -> None:
    """Write the table of `print_table` to `summary.json` in the store."""
    stages = [
        {n: value for n, value in vars(row).items() if n != "counts"} | _suppressed(row, study.guard)
        for row in outcome.rows
    ]
    summary = {
        "study": study.study.name,
        "ok": not outcome.problems,
        "problems": outcome.problems,
        "warnings": outcome.warnings,
        "report": report,
        "stages": stages,
    }
    write_atomically(Path(study.study.store) / "summary.json", json.dumps(summary, indent=1) + "\n")
