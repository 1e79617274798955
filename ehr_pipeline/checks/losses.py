"""Checks of what was lost while an extract was read: rows that were rejected."""

from collections.abc import Iterator
from dataclasses import dataclass

from ehr_pipeline.artifacts import Artifact, Store
from ehr_pipeline.checks.model import Found
from ehr_pipeline.guard import told
from ehr_pipeline.reasons import cure, in_words, lost_of
from ehr_pipeline.settings import Study


@dataclass(frozen=True)
class Loss:
    """Rows of one kind of file that were rejected."""

    kind: str
    """'events', 'patients' or 'linked'."""
    rows: int
    """Rows that were read, without lines that hold none."""
    rejected: dict[str, int]
    """How many were rejected, by reason."""

    @property
    def total(self) -> int:
        """How many rows were rejected."""
        return sum(self.rejected.values())

    @property
    def share(self) -> float:
        """Which share of the rows was rejected, from 0 to 1."""
        return self.total / self.rows if self.rows else 0.0


def losses(artifact: Artifact) -> Iterator[Loss]:
    """What was rejected of each kind of file of an extract."""
    for kind in ("events", "patients", "linked"):
        counts = artifact.counts if kind == "events" else artifact.counts.get(kind, {})
        rejected = lost_of(counts.get("dropped", {}))
        others = sum(counts.get("dropped", {}).values()) - sum(rejected.values())
        yield Loss(kind, counts.get("rows_in", 0) - others, rejected)


def rejected_rows(artifact: Artifact, store: Store, study: Study) -> Found:
    """Few of the rows of events and of patients are rejected."""
    limits, below = study.records.limits, study.reports.suppress_below
    found = list(losses(artifact))
    many = [loss for loss in found if loss.total and loss.share >= limits.rejected_warning]
    figures = {f"rejected_{loss.kind}": round(loss.share, 3) for loss in found if not 0 < loss.total < below}
    if not many:
        return True, f"fewer than {limits.rejected_warning:.1%} of the rows are rejected", figures
    message = "; ".join(_told(loss, below) for loss in many)
    message += (
        f". records.limits warns from {limits.rejected_warning:.1%} and stops at {limits.rejected_error:.1%}. The quarantine of the"
        " extract names file, line and reason of each row"
    )
    return False, message, figures


def below_the_limit(artifact: Artifact, study: Study) -> bool:
    """Whether no kind of file lost as much as records.limits.rejected_error."""
    limit = study.records.limits.rejected_error
    return not any(loss.total and loss.share >= limit for loss in losses(artifact))


def _told(loss: Loss, below: int) -> str:
    """How much was lost of one kind of file, why above all, and what to do."""
    name = {"linked": "joined tables"}.get(loss.kind, loss.kind)
    largest = max(loss.rejected, key=lambda reason: loss.rejected[reason])
    share = f" of {loss.rows:,} rows ({loss.share:.1%})" if loss.total >= below else " rows"
    return (
        f"{name}: {told(loss.total, below)}{share} are rejected, above all rows {in_words(largest)} ({cure(largest)})"
    )
