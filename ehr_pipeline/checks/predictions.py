"""Checks of task results: each guard against misleading results must pass in every task."""

from ehr_pipeline.checks.model import Check, Result
from ehr_pipeline.disclosure.kinds import Plain
from ehr_pipeline.predictions.result_schemas import RULE_OF_THUMB
from ehr_pipeline.predictions.table import Row, TaskResults
from ehr_pipeline.store.artifacts import Artifact, Store
from ehr_pipeline.study.settings import Study
from ehr_pipeline.tasks import names


def of_guard(guard: str, description: str, blocking: bool = True, name: str = "") -> Check:
    """Make a check, named `name` or after the guard, that the guard passed in every task; it warns if it could not be checked in
    some."""

    def rows(results: TaskResults) -> list[Row]:
        return [row for row in results.guards if row["guard"] == guard]

    def test(artifact: Artifact, store: Store, study: Study) -> Result:
        results = TaskResults.read(artifact.path)
        found = rows(results)
        failed = [row for row in found if row["passed"] is not True]
        own = {row["task"]: str(row["name"]) for row in results.verdicts} if failed else {}
        named = dict(zip(own, names.for_messages([*own.values()], store, study.reports.suppress_below), strict=True))
        tasks: dict[str, list[str]] = {}
        for row in failed:
            tasks.setdefault(_message(results, row), []).extend([named[row["task"]]] if row["task"] else [])
        listed = "; ".join(f"{', '.join(of)}: {message}" if of else message for message, of in tasks.items())
        figures = {"tasks": Plain(len(found)), "failed": Plain(len(failed))}
        return not failed, listed or (found[0]["message"] if found else "there are no tasks"), {**figures}

    def only_warns(artifact: Artifact, study: Study) -> bool:
        return all(row["passed"] is not False for row in rows(TaskResults.read(artifact.path)))

    return Check(name or guard, description, test, blocking, only_warns)


def _message(results: TaskResults, row: Row) -> str:
    """Return what a guard found; where a rule of thumb suffices, also whether the model is worse than the best baseline."""
    worse = row["guard"] == RULE_OF_THUMB and results.compared(row["task"]) == "worse"
    return f"{row['message']}{', and it is worse than the best baseline' if worse else ''}"
