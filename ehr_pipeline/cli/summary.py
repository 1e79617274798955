"""What a run ends with: a table for people, and `summary.json` for machines."""

import json
from pathlib import Path
from typing import Any

from ehr_pipeline import settings


def report_of(study: settings.Study) -> str | None:
    """Where the report lies, if there is one."""
    from ehr_pipeline.artifacts import Store

    store = Store(study.study.store)
    return str(store.current("cluster_reports").file("report.html")) if store.has("cluster_reports") else None


def print_table(rows: list[Any]) -> None:
    """Print what became of each asset (`defs.run.Row`)."""
    print(f"\n{'asset':<22}{'extract':<12}{'state':<13}{'rows':>12}{'seconds':>10}  version")
    for row in rows:
        count = "" if row.rows is None else f"{row.rows:,}"
        seconds = "" if row.seconds is None else f"{row.seconds:.1f}"
        print(f"{row.asset:<22}{row.partition:<11} {row.state:<13}{count:>12}{seconds:>10}  {row.version}")


def write_summary(study: settings.Study, outcome: Any, report: str | None) -> None:
    """`summary.json` beside the artifacts: the same table for machines, counts guarded."""
    from ehr_pipeline.disk import write_atomically
    from ehr_pipeline.guard import Guard

    guard = Guard(study.reports.suppress_below, study.governance.round_to)
    stages = [vars(row) | {"rows": guard.artifact(row.asset, {"kept": row.rows})["kept"]} for row in outcome.rows]
    summary = {
        "study": study.study.name,
        "ok": not outcome.problems,
        "problems": outcome.problems,
        "warnings": outcome.warnings,
        "report": report,
        "stages": stages,
    }
    write_atomically(Path(study.study.store) / "summary.json", json.dumps(summary, indent=1) + "\n")
