"""Materialise assets from the command line, through the same instance that the UI shows."""

import difflib
import importlib
import operator
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial, reduce
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg

from ehr_pipeline.assets import ASSETS, of_study
from ehr_pipeline.checks.model import Outcome as Checked
from ehr_pipeline.defs import liveness
from ehr_pipeline.defs.build_definitions import build
from ehr_pipeline.defs.console_progress import INTERRUPTIONS, Console, error_kind, usual_seconds
from ehr_pipeline.defs.dagster_assets import build_assets
from ehr_pipeline.defs.extract_partitions import register_extracts
from ehr_pipeline.defs.failures import USER_ERRORS
from ehr_pipeline.defs.quick_commits import quick_commits
from ehr_pipeline.defs.serve import log_cleanup
from ehr_pipeline.errors import UserError
from ehr_pipeline.runs import unchanged_run
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.runs.run_outcome import Row, RunOutcome
from ehr_pipeline.store.artifacts import Artifact
from ehr_pipeline.study.dagster_home import ensure_home
from ehr_pipeline.study.settings import Study
from ehr_pipeline.tables.asset_names import RAW_RECORDS

SELECTION = re.compile(r"(\*|\d*\+)?(?P<asset>[a-z_]+)(\*|\+\d*)?")
"""An asset name without 'key:', with optional signs before and after it that add upstream and downstream assets."""
TRACEBACK = "\nTraceback:\n"
"""Separates the message of a problem from its traceback, which only `--verbose` shows."""


def run(study: Study, select: str | None, verbose: bool = False) -> RunOutcome:
    """Materialise a selection with its checks, for all extracts.

    `select` is Dagster's asset selection syntax, several selections separated by commas; None selects everything.
    `verbose` also shows Dagster's lines, and tracebacks.
    """
    ensure_home()
    pipeline, wanted = Pipeline(study), _selected(select, study)
    stages = len(wanted - {RAW_RECORDS}) + (len(pipeline.extracts()) if RAW_RECORDS in wanted else 0)
    console = Console(stages, usual_seconds(pipeline.store), verbose)
    with console.showing(), _helpers_in_new_sessions(), quick_commits():
        outcome = _run(study, pipeline, wanted, console)
    if select is None and not outcome.problems and not outcome.interrupted:
        unchanged_run.note(study, outcome)
    return outcome


@contextmanager
def _helpers_in_new_sessions() -> Iterator[None]:
    """Until the end of the block, put the processes by which Dagster copies a step's output into sessions of their own.

    A terminal sends Ctrl-C to all processes in its foreground. Without this, each of these would end with a traceback and lose the
    last lines of output; Dagster ends them properly.
    """
    module: Any = importlib.import_module("dagster._core.execution.compute_logs")
    before = module.subprocess
    module.subprocess = SimpleNamespace(Popen=partial(subprocess.Popen, start_new_session=True))
    try:
        yield
    finally:
        module.subprocess = before


def _run(study: Study, pipeline: Pipeline, wanted: set[str], console: Console) -> RunOutcome:
    definitions = build(study, {"console": console.definition()})
    outcome = RunOutcome()
    with dg.DagsterInstance.get() as instance:
        log_cleanup(liveness.reap(instance))
        extracts = register_extracts(instance, pipeline)
        steps: list[tuple[list[str], str | None]] = (
            [([RAW_RECORDS], extract) for extract in extracts] if RAW_RECORDS in wanted else []
        )
        steps.append(([asset for asset in ASSETS if asset in wanted and asset != RAW_RECORDS], None))
        for assets, extract in steps:
            if assets and not outcome.problems and not outcome.interrupted:
                _materialise(definitions, instance, pipeline, assets, extract=extract, outcome=outcome)
                if not console.verbose:
                    outcome.problems = [problem.split(TRACEBACK)[0] for problem in outcome.problems]
    reached = {row.asset for row in outcome.rows}
    outcome.rows += [Row(asset, "", "not reached") for asset in ASSETS if asset in wanted and asset not in reached]
    return outcome


def _selected(select: str | None, study: Study) -> set[str]:
    if select is None:
        return set(of_study(study))
    for part in select.split(","):
        _refuse_unknown(part.strip())
    try:
        parts = [dg.AssetSelection.from_string(_as_in_the_ui(part.strip())) for part in select.split(",")]
        keys = reduce(operator.or_, parts).resolve(build_assets(study))
    except dg.DagsterError as error:
        raise UserError(
            f"--select {select!r} is not a valid selection of assets ({str(error).splitlines()[0]}). Assets: {', '.join(ASSETS)}."
        ) from None
    if not keys:
        raise UserError(
            f"--select {select!r} selects no asset. Assets: {', '.join(ASSETS)}. With everything upstream: '+clusters'; downstream:"
            " 'clusters+'; with one layer upstream: '1+clusters'."
        )
    return {key.to_user_string() for key in keys}


def _refuse_unknown(selection: str) -> None:
    """Raise UserError for a bare name that no asset has."""
    match = SELECTION.fullmatch(selection)
    if match and match["asset"] not in ASSETS:
        near = difflib.get_close_matches(match["asset"], ASSETS, n=1, cutoff=0.5)
        hint = f"Did you mean {near[0]!r}?" if near else f"Assets: {', '.join(ASSETS)}."
        raise UserError(f"--select: there is no asset {match['asset']!r}. {hint}")


def _as_in_the_ui(selection: str) -> str:
    """Return a selection in the syntax of Dagster's UI: '+key:clusters' adds all upstream assets, '1+key:clusters' one layer.

    Before a bare asset name, Dagster's library takes '+' as one layer and '*' as all layers. Here both mean all layers,
    as '+' does in the UI. Other UI syntax ('group:data', 'key:vocabulary+ and not group:reports') is left unchanged.
    """
    match = SELECTION.fullmatch(selection)
    if not match:
        return selection
    before, after = (
        sign and (sign if sign[:-1].isdecimal() or sign[1:].isdecimal() else "+") for sign in match.group(1, 3)
    )
    return f"{before or ''}key:{match['asset']}{after or ''}"


def _materialise(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    pipeline: Pipeline,
    assets: list[str],
    *,
    extract: str | None,
    outcome: RunOutcome,
) -> None:
    """Materialise some assets with their checks in one run, and add the results to the outcome."""
    chosen = dg.AssetSelection.assets(*assets)
    job = dg.define_asset_job(
        "command_line", selection=chosen | dg.AssetSelection.checks_for_assets(*map(dg.AssetKey, assets))
    )
    resolved = dg.Definitions.merge(definitions, dg.Definitions(jobs=[job])).resolve_job_def("command_line")
    result = resolved.execute_in_process(
        instance=instance, partition_key=extract, run_config={"loggers": {"console": {}}}, raise_on_error=False
    )
    for check in result.get_asset_check_evaluations():
        blocking = check.severity == dg.AssetCheckSeverity.ERROR
        asset, message = check.asset_key.to_user_string(), check.description or ""
        outcome.add(asset, extract, Checked(check.check_name, check.passed, message, blocking))
    failures = {
        event.step_key or "": event.step_failure_data.error for event in result.all_events if event.is_step_failure
    }
    outcome.interrupted |= any(error_kind(error) in INTERRUPTIONS for error in failures.values())
    outcome.problems += [
        f"{step}: {_message(error)}"
        for step, error in failures.items()
        if step in assets and error_kind(error) not in INTERRUPTIONS
    ]
    if not result.success and not outcome.problems and not outcome.interrupted:
        outcome.problems.append(f"run {result.run_id} failed; the Dagster UI shows its log")
    made = {
        event.asset_key.to_user_string(): event
        for event in result.get_asset_materialization_events()
        if event.asset_key
    }
    outcome.rows += [
        _row(pipeline, asset, extract, made.get(asset)) for asset in assets if asset in made or asset in failures
    ]


def _message(error: Any) -> str:
    """Return the message of a failed step, followed by the end of the traceback unless the user can fix the error."""
    cause: Any = error.cause or error
    message = str(cause.message).strip()
    if cause.cls_name in USER_ERRORS:
        return message.split(": ", 1)[1]
    where = re.search(r'File "([^"]+)", line (\d+)', cause.stack[-1]) if cause.stack else None
    place = f" ({Path(where[1]).name}, line {where[2]}; --verbose shows the traceback)" if where else ""
    return f"{message}{place}{TRACEBACK}{''.join(cause.stack)}"


def _row(pipeline: Pipeline, asset: str, extract: str | None, event: Any) -> Row:
    if event is None:
        return Row(asset, extract or "", "failed")
    artifact: Artifact = pipeline.store.current(asset, extract)
    return Row.of(artifact, extract, bool(event.materialization.metadata["skipped"].value))
