"""The outcome of a run from the command line."""

from dataclasses import dataclass, field
from typing import Any

from ehr_pipeline.checks.model import Outcome
from ehr_pipeline.store.artifacts import Artifact


@dataclass(frozen=True)
class Row:
    """The result of one asset in a run."""

    asset: str
    partition: str
    state: str
    """'made', 'unchanged', 'failed' or 'not reached'."""
    read: int | None = None
    """Rows that the asset read; None if it counts none."""
    kept: int | None = None
    merged: int | None = None
    """Rows that repeat a kept one, and were merged with it."""
    rejected: int | None = None
    """Rows that the asset dropped, for any reason."""
    seconds: float | None = None
    version: str = ""
    note: str = ""
    counts: dict[str, Any] = field(default_factory=dict)
    """All counts of its manifest."""

    @classmethod
    def of(cls, artifact: Artifact, partition: str | None, skipped: bool) -> "Row":
        """Return the row of an artifact that was made, or `skipped` because it existed already."""
        counts = artifact.counts
        return cls(
            artifact.manifest["asset"],
            partition or "",
            "unchanged" if skipped else "made",
            counts.get("rows_in"),
            counts.get("kept"),
            counts.get("collapsed"),
            sum(dropped.values()) if (dropped := counts.get("dropped")) is not None else None,
            None if skipped else artifact.manifest["seconds"],
            artifact.data_version,
            counts=counts,
        )


@dataclass
class RunOutcome:
    """The result of a run."""

    rows: list[Row] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """Errors and failed blocking checks; empty if the run succeeded."""
    warnings: list[str] = field(default_factory=list)
    """Failed non-blocking checks."""
    checks: dict[str, bool] = field(default_factory=dict)
    """Whether each check passed, by asset, extract and name."""
    interrupted: bool = False
    """Whether Ctrl-C, or a signal, ended the run."""

    def add(self, asset: str, partition: str | None, check: Outcome) -> None:
        """Add the outcome of a check."""
        self.checks[f"{asset} {partition or ''} {check.name}"] = check.passed
        if not check.passed:
            messages = self.problems if check.blocking else self.warnings
            messages.append(f"{asset}: check {check.name} failed: {check.message}")
