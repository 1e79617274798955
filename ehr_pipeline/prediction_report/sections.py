"""The sections of the page: each function returns the values for a section's template."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from markupsafe import Markup

from ehr_pipeline.disclosure.figures import Guard
from ehr_pipeline.disclosure.kinds import People
from ehr_pipeline.prediction_report import (
    calibration_sentences,
    cells,
    definitions,
    exclusion_sentences,
    guard_sentences,
    pictures,
)
from ehr_pipeline.prediction_report import methods as methods_of
from ehr_pipeline.prediction_report import statements as say
from ehr_pipeline.prediction_report.curves import ALL
from ehr_pipeline.prediction_report.findings import Findings
from ehr_pipeline.predictions import result_schemas
from ehr_pipeline.predictions.models import BY_NAME, MODELS
from ehr_pipeline.predictions.table import Row
from ehr_pipeline.reports import diagram
from ehr_pipeline.reports.diagram import Step
from ehr_pipeline.reports.inputs import embedded
from ehr_pipeline.reports.statements.statement import Statement
from ehr_pipeline.tasks.assign_labels import REASONS

NOT_NEEDED = "not needed"


def worth(findings: Findings) -> dict[str, Any]:
    """Return the first sentences of the page, and warnings."""
    verdicts = findings.results.verdicts
    names = [row["name"] for row in verdicts if row["index_may_know_outcome"]]
    found = findings.labels_saved
    return {
        "colour": say.COLOURS[found.verdict] if found else "untested",
        "head": head(findings),
        "warnings": list(filter(None, [say.index_may_know(names)])),
        "cautions": list(
            filter(
                None,
                [
                    guard_sentences.failed_guards(_failed(findings)),
                    exclusion_sentences.leavers(findings.leavers),
                    exclusion_sentences.deaths(findings.deaths),
                ],
            )
        ),
        "notes": list(filter(None, [_not_needed(findings), say.baselines() if found else None])),
    }


def head(findings: Findings) -> list[Any]:
    """Return the first sentences of the page, which are also shown in the model card."""
    verdicts = findings.results.verdicts
    counts = Counter(str(row["verdict"]) for row in verdicts)
    parts = [
        say.head(findings.labels_saved, findings.curves),
        say.at_chance(findings.curves),
        say.without_labels(findings.curves),
        say.verdicts(counts, len(_also_worse(findings)), sum(_at_chance(findings, row) for row in verdicts))
        if counts
        else None,
    ]
    return list(filter(None, parts))


def _failed(findings: Findings) -> dict[str, list[str]]:
    """Return the tasks in which each guard found something, by the guard in words. Too few cases and rules of thumb are left out,
    since the page reports them separately."""
    found: dict[str, list[str]] = {}
    for row in findings.results.guards:
        if row["passed"] is False and row["guard"] not in (result_schemas.CASES, result_schemas.RULE_OF_THUMB):
            named = found.setdefault(guard_sentences.title(str(row["guard"]), findings.shifted_dates), [])
            named += [findings.named[str(row["task"])]] if row["task"] else []
    return found


def _at_chance(findings: Findings, row: Row) -> bool:
    """Return whether neither the model nor the baseline of a task is shown to be better than chance."""
    return findings.results.at_chance(row, "model") and findings.results.at_chance(row, "baseline")


def tasks(findings: Findings) -> dict[str, Any]:
    """Return the table of tasks."""
    return {
        "lead": say.table(findings.tests, findings.unchosen, findings.weighted),
        "rows": [_task(findings, row) for row in findings.results.verdicts],
    }


def _task(findings: Findings, row: Row) -> dict[str, Any]:
    shown = findings.of_index_dates(task := row["task"])
    content = {
        "name": row["name"],
        "verdict": say.verdict_of(row["verdict"], findings.results.compared(task), at_chance=_at_chance(findings, row)),
        "patients": findings.disclosure.about(row["patients"]),
        "rows": shown.about(row["rows"]),
        "cases": shown.about(row["cases"], row["rows"]),
        "share": shown.coarse(row["cases"], row["rows"]),
        **dict.fromkeys(("rule", "baseline", "model", "difference", "precision"), cells.NONE),
        "baseline_name": "",
        "model_name": "",
    }
    model, baseline = (_final(findings, row, kind) for kind in ("model", "baseline"))
    if model is None or baseline is None:
        return content
    return content | {
        "rule": cells.auroc(row["rule_auroc"]),
        "baseline": cells.auroc(baseline["auroc"], baseline["auroc_low"], baseline["auroc_high"]),
        "baseline_name": BY_NAME[row["baseline"]].title,
        "model": cells.auroc(model["auroc"], model["auroc_low"], model["auroc_high"]),
        "model_name": BY_NAME[row["model"]].title,
        "difference": cells.difference(findings.results.difference(task, row["model"])),
        "precision": cells.auroc(model["average_precision"]),
    }


def curve(findings: Findings) -> dict[str, Any] | None:
    """Return the learning curves, as a picture and as a table."""
    found = findings.curves
    if found is None:
        return None
    path = findings.pictures / "curve.png"
    pictures.curves(path, found)
    numbers = (*([0] if any(0 in own for own in found.points.values()) else []), *found.labels, ALL)
    return {
        "lead": say.curve(found),
        "picture": embedded(path),
        "alt": say.curve_alt(found),
        "heads": [say.labels(number) for number in numbers],
        "rows": [
            {"name": model.title, "cells": [cells.point(found.points[model.name].get(number)) for number in numbers]}
            for model in MODELS
            if model.name in found.points
        ],
    }


def models(findings: Findings) -> dict[str, Any] | None:
    """Return all models of each task that were fitted with all labels, or need none."""
    tables = []
    for task, name in findings.named.items():
        found = [(model, findings.results.final(task, model.name)) for model in MODELS]
        rows = [cells.model(model.title, row) for model, row in found if row is not None]
        if rows:
            tables.append((name, rows, list(_benefit(findings, task))))
    return {"tables": tables} if tables else None


def _benefit(findings: Findings, task: str) -> Iterator[dict[str, str]]:
    """Yield the net benefit of the chosen model and baseline, by threshold."""
    (verdict,) = (row for row in findings.results.verdicts if row["task"] == task)
    own = [row for row in findings.results.net_benefit if row["task"] == task]
    for threshold in sorted({row["threshold"] for row in own}):
        at = {row["model"]: row for row in own if row["threshold"] == threshold}
        if verdict["model"] in at and verdict["baseline"] in at:
            yield cells.benefit(threshold, at[verdict["model"]], at[verdict["baseline"]])


def calibration(findings: Findings) -> dict[str, Any] | None:
    """Return the calibration of the chosen model of each task in which it is better than chance."""
    chosen = [(row, final) for row in findings.results.verdicts if (final := _final(findings, row, "model"))]
    chance = [row["name"] for row, _ in chosen if findings.results.at_chance(row, "model")]
    judged = [(row, final) for row, final in chosen if not findings.results.at_chance(row, "model")]
    panels = []
    for row, _ in judged:
        own = (row["task"], row["model"])
        bins = [each for each in findings.results.calibration if (each["task"], each["model"]) == own]
        if joined := merged(
            sorted(bins, key=lambda each: int(each["bin"])), findings.of_index_dates(row["task"]).below
        ):
            panels.append((row["name"], joined))
    told = {"lead": None, "found": None, "left_out": calibration_sentences.at_chance(chance), "picture": None}
    if not panels:
        return told if chance else None
    path = findings.pictures / "calibration.png"
    pictures.calibration(path, panels)
    raw = [row["name"] for row, final in judged if final["intercept_after"] is None]
    known = [(row["name"], final) for row, final in judged if final["intercept_after"] is not None]
    return told | {
        "lead": calibration_sentences.lead(raw),
        "found": calibration_sentences.miscalibrated(known),
        "picture": embedded(path),
        "alt": calibration_sentences.alt(panels),
    }


def _final(findings: Findings, verdict: Row, kind: str) -> Row | None:
    """Return the results of the chosen model, or baseline, of a task; None if nothing was chosen."""
    return findings.results.final(verdict["task"], verdict[kind]) if verdict[kind] else None


def merged(bins: list[Row], below: int) -> list[tuple[float, float]]:
    """Return predicted and observed shares, ascending. Neighbouring bins are joined until each has at least `below` cases and
    `below` non-cases."""
    found: list[list[float]] = []
    for row in bins:
        if not found or min(found[-1][1], found[-1][0] - found[-1][1]) >= below:
            found.append([0.0, 0.0, 0.0, 0.0])
        for place, value in enumerate(
            (row["rows"], row["cases"], row["rows"] * row["predicted_after"], row["rows"] * row["observed"])
        ):
            found[-1][place] += value
    while len(found) > 1 and min(found[-1][1], found[-1][0] - found[-1][1]) < below:
        last = found.pop()
        found[-1] = [a + b for a, b in zip(found[-1], last, strict=True)]
    if len(found) == 1 and min(found[0][1], found[0][0] - found[0][1]) < below:
        return []
    return [(predicted / rows, observed / rows) for rows, _, predicted, observed in found]


def subgroups(findings: Findings) -> dict[str, Any]:
    """Return how the chosen model of each task does within groups of patients."""
    tables = []
    for verdict in findings.results.verdicts:
        own = (verdict["task"], verdict["model"])
        rows = [
            _subgroup(findings, row)
            for row in findings.results.subgroups
            if (row["task"], row["model"]) == own and findings.disclosure.named(row["patients"])
        ]
        if rows:
            tables.append((verdict["name"], rows))
    return {"lead": say.subgroups() if tables else say.no_subgroups(), "tables": tables}


def _subgroup(findings: Findings, row: Row) -> dict[str, str]:
    shown = findings.of_index_dates(row["task"])
    return {
        "attribute": row["attribute"],
        "value": row["value"],
        "patients": findings.disclosure.about(row["patients"]),
        "rows": shown.about(row["rows"]),
        "cases": shown.about(row["cases"], row["rows"]),
        "auroc": cells.auroc(row["auroc"], row["auroc_low"], row["auroc_high"]),
        "predicted": f"{100 * row['predicted']:.1f} %",
        "observed": shown.coarse(row["cases"], row["rows"]),
    }


def excluded(findings: Findings) -> dict[str, Any]:
    """Return, for each task, the flow from patients to labels."""
    return {
        "lead": exclusion_sentences.excluded(
            findings.observed_until,
            findings.counts.get("groups_ending_earlier", 0),
            common_end=not findings.shifted_dates,
        ),
        "diagrams": [_flow(findings, row) for row in findings.results.verdicts],
    }


def _flow(findings: Findings, row: Row) -> tuple[str, Markup]:
    counts, shown = findings.counts[row["task"]], findings.of_index_dates(row["task"])
    show = shown.about
    words = {**REASONS, "not_in_data_set": "not in the data set"}
    lost = {words.get(name, name): People(number) for name, number in counts["dropped"].items() if number}
    joined = Guard(shown.below).joined(lost)
    steps = (
        Step(
            "index dates examined",
            show(counts["rows_in"]),
            tuple((" or ".join(names), show(figure.number)) for names, figure in joined),
        ),
        Step("with a label", show(counts["kept"]), (("without the outcome", show(counts["kept"] - counts["cases"])),)),
        Step("with the outcome", show(counts["cases"])),
    )
    return row["name"], diagram.draw(f"Flow of {row['name']}", steps)


def guards(findings: Findings) -> dict[str, Any]:
    """The results of the guards, failures first; and the concepts after which an outcome always, nearly always or never
    follows."""
    found: dict[tuple[str, bool | None, str], list[str]] = {}
    for row in findings.results.guards:
        task = row["task"] or ""
        found.setdefault((row["guard"], row["passed"], row["message"]), []).append(findings.named.get(task, task))
    rows = [
        {
            "guard": guard_sentences.title(guard, findings.shifted_dates),
            "task": ", ".join(filter(None, names)),
            "passed": cells.passed(passed),
            "message": message,
            "state": passed,
        }
        for (guard, passed, message), names in found.items()
    ]
    concepts = [
        {
            "task": findings.named[row["task"]],
            "name": row["name"],
            "kind": row["kind"],
            "patients": findings.disclosure.about(row["patients"]),
        }
        for row in findings.results.deciding_concepts
        if findings.naming.shows(row["concept"], row["patients"])
    ]
    of = {state: [row for row in rows if row["state"] is state] for state in (False, None, True)}
    names = {state: {row["guard"] for row in own} for state, own in of.items()}
    return {
        "lead": guard_sentences.guards(
            len(names[False]), len(names[None] - names[False]), len(set().union(*names.values()))
        ),
        "open": [*of[False], *of[None]],
        "rest": of[True],
        "about_concepts": guard_sentences.concepts(len(concepts), len(findings.results.deciding_concepts)),
        "concepts": concepts,
    }


def methods(findings: Findings) -> dict[str, Any]:
    """Return how everything was computed."""
    rows = [
        (
            findings.named[each.slug],
            definitions.sentences(each, findings.names, findings.died(each.slug), findings.on_one_day(each.slug)),
            len(each.outcome),
        )
        for each in findings.definitions
    ]
    tuned = any(BY_NAME[row["model"]].learner == "tuned" for row in findings.results.results)
    return {
        "notes": [
            *methods_of.methods(findings.draws),
            *([methods_of.fine_tuned()] if tuned else []),
            *([methods_of.shifted_dates()] if findings.shifted_dates else []),
        ],
        "definitions": rows,
    }


def _not_needed(findings: Findings) -> Statement | None:
    names = [row["name"] for row in findings.results.verdicts if row["verdict"] == NOT_NEEDED]
    return say.not_needed(names, _also_worse(findings))


def _also_worse(findings: Findings) -> list[str]:
    """Return names of the tasks that do not need the model, and in which the model is also worse than the best baseline."""
    results = findings.results
    return [
        row["name"]
        for row in results.verdicts
        if row["verdict"] == NOT_NEEDED and results.compared(row["task"]) == "worse"
    ]
