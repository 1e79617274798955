"""Checks of the results of tasks: each guard against misleading results must pass in every task."""

from collections.abc import Callable

from ehr_pipeline.checks.model import Found, Test
from ehr_pipeline.disclosure.kinds import Things
from ehr_pipeline.predictions.table import TaskResults
from ehr_pipeline.store.artifacts import Artifact, Store
from ehr_pipeline.study.settings import Study


def of_guard(name: str) -> Test:
    """A check that passes if a guard passed in every task. A guard that could not be checked counts as failed."""

    def test(artifact: Artifact, store: Store, study: Study) -> Found:
        rows = [row for row in TaskResults.read(artifact.path).guards if row["guard"] == name]
        failed = [row for row in rows if row["passed"] is not True]
        told = "; ".join(f"{row['task']}: {row['message']}" if row["task"] else row["message"] for row in failed)
        figures = {"tasks": Things(len(rows)), "failed": Things(len(failed))}
        return not failed, told or (rows[0]["message"] if rows else "there is no task"), {**figures}

    return test


def cannot_be_checked(name: str) -> Callable[[Artifact, Study], bool]:
    """A function that tells whether a guard failed only because it could not be checked; the check then only warns."""

    def only_warns(artifact: Artifact, study: Study) -> bool:
        rows = [row for row in TaskResults.read(artifact.path).guards if row["guard"] == name]
        return all(row["passed"] is not False for row in rows)

    return only_warns
