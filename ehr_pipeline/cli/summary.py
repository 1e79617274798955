"""What a run ends with: a table for people, and `summary.json` for machines."""

import json
from pathlib import Path
from typing import Any

from ehr_pipeline.disclosure.figures import Guard
from ehr_pipeline.study import settings


def report_of(study: settings.Study) -> str | None:
    """Where the report lies, if there is one."""
    from ehr_pipeline.store.artifacts import Store

    store = Store(study.study.store)
    report = store.usable("cluster_reports")
    return str(report.file("report.html")) if report else None


COLUMNS = ("read", "kept", "rejected")
"""What became of the rows that a stage took in."""


def print_table(rows: list[Any], guard: Guard) -> None:
    """Print what became of each asset (`defs.run.Row`). Counts that are too small to be shown are bounds."""
    heads = "".join(f"{name:>14}" for name in COLUMNS)
    print(f"\n{'asset':<22}{'extract':<12}{'state':<13}{heads}{'seconds':>10}  version")
    for row in rows:
        counts = {
            name: _text(count, guard) for name, count in _shown(row, guard).items() if getattr(row, name) is not None
        }
        told = "".join(f"{counts.get(name, ''):>14}" for name in COLUMNS)
        seconds = "" if row.seconds is None else f"{row.seconds:.1f}"
        print(f"{row.asset:<22}{row.partition:<11} {row.state:<13}{told}{seconds:>10}  {row.version}")


def _text(count: int | None, guard: Guard) -> str:
    return f"<{guard.below}" if count is None else f"{count:,}"


def _shown(row: Any, guard: Guard) -> dict[str, int | None]:
    """The counts of an asset as they may be shown; None for what an asset has none of, and for what is too small."""
    counts = {name: getattr(row, name) for name in COLUMNS}
    return guard.artifact(row.asset, counts)


def write_summary(study: settings.Study, outcome: Any, report: str | None, guard: Guard) -> None:
    """`summary.json` beside the artifacts: the same table for machines."""
    from ehr_pipeline.store.durable import write_atomically

    stages = [vars(row) | _shown(row, guard) for row in outcome.rows]
    summary = {
        "study": study.study.name,
        "ok": not outcome.problems,
        "problems": outcome.problems,
        "warnings": outcome.warnings,
        "report": report,
        "stages": stages,
    }
    write_atomically(Path(study.study.store) / "summary.json", json.dumps(summary, indent=1) + "\n")
