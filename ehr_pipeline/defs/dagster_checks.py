"""Run the library's checks as Dagster asset checks: one step for all checks of an asset."""

import logging
from collections.abc import Collection, Iterator
from typing import Any

import dagster as dg

from ehr_pipeline.assets import ASSETS
from ehr_pipeline.checks.model import Outcome
from ehr_pipeline.disclosure.figures import Guard
from ehr_pipeline.disclosure.kinds import Figure
from ehr_pipeline.errors import printable
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.study.settings import Study
from ehr_pipeline.tables.asset_names import RAW_RECORDS

PARTITION_TAG = "dagster/partition"


def build_checks(study: Study) -> list[dg.AssetChecksDefinition]:
    """Return all checks that apply to a study."""
    return [_checks_of(asset, study) for asset in ASSETS]


def _checks_of(asset: str, study: Study) -> dg.AssetChecksDefinition:
    specs = [
        dg.AssetCheckSpec(check.name, asset=asset, description=check.description, blocking=check.blocking)
        for check in ASSETS[asset].all_checks
        if check.applies(study)
    ]

    @dg.multi_asset_check(name=f"{asset}_checks", specs=specs, can_subset=True)
    def run_checks(
        context: dg.AssetCheckExecutionContext, pipeline: dg.ResourceParam[Pipeline]
    ) -> Iterator[dg.AssetCheckResult]:
        reasons, wanted = [], {key.name for key in context.selected_asset_check_keys}
        for outcome in outcomes(asset, pipeline, context.run.tags.get(PARTITION_TAG), wanted):
            if not outcome.passed:
                reason = printable(f"{asset}: check {outcome.name} failed: {outcome.message}")
                context.log.log(logging.ERROR if outcome.blocking else logging.WARNING, reason)
                reasons += [reason] if outcome.blocking else []
            yield dg.AssetCheckResult(asset_key=asset, **in_dagster(outcome, pipeline))
        if reasons:  # the run's page ends with the reasons, not with a stack of Dagster's own error
            raise dg.Failure("\n".join(reasons), allow_retries=False)

    return run_checks


def in_dagster(outcome: Outcome, pipeline: Pipeline) -> dict[str, Any]:
    """Return the arguments of Dagster's check result for an outcome, by name."""
    return {
        "check_name": outcome.name,
        "passed": outcome.passed,
        "severity": severity(outcome),
        "description": outcome.message,
        "metadata": shown(outcome.figures, pipeline.study.guard),
    }


def outcomes(
    asset: str, pipeline: Pipeline, extract: str | None, wanted: Collection[str] | None = None
) -> list[Outcome]:
    """Return the outcomes of the `wanted` checks (None: all). For raw_records: of one extract, or the worst over all extracts."""
    if asset != RAW_RECORDS:
        return pipeline.check(asset, only=wanted)
    worst: dict[str, Outcome] = {}
    for partition in [extract] if extract else pipeline.store.partitions(asset):
        for outcome in pipeline.check(asset, partition, only=wanted):
            known = worst.get(outcome.name)
            if known is None or _gravity(outcome) > _gravity(known):
                worst[outcome.name] = Outcome(
                    outcome.name, outcome.passed, f"{partition}: {outcome.message}", outcome.blocking, outcome.figures
                )
    return list(worst.values())


def severity(outcome: Outcome) -> dg.AssetCheckSeverity:
    """Return Dagster's severity of an outcome."""
    return dg.AssetCheckSeverity.ERROR if outcome.blocking else dg.AssetCheckSeverity.WARN


def _gravity(outcome: Outcome) -> int:
    """Return 0 if the check passed, 1 for a warning, 2 for a failed blocking check."""
    return 0 if outcome.passed else 2 if outcome.blocking else 1


def shown(figures: dict[str, Figure], guard: Guard) -> dict[str, Any]:
    """Return the figures that may be shown; small counts are left out."""
    shown = {name: guard.number(figure) for name, figure in figures.items()}
    return {name: float(value) for name, value in shown.items() if value is not None}
