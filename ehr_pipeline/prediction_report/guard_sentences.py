"""Sentences about guards, and about the concepts that decide an outcome."""

from collections.abc import Mapping, Sequence

from ehr_pipeline.disclosure.figures import FEWEST
from ehr_pipeline.predictions.table import NEARLY
from ehr_pipeline.reports.statements.statement import Statement, are, counted, listed, markup, say

FEW_NAMED = 3
"""Most tasks that are named where a guard found something; more are counted."""


def concepts(shown: int, of: int) -> Statement:
    """Say what the listed concepts are, how many are not shown because too few patients have them, or that there is none."""
    if not of:
        return say(
            "No concept is always, nearly always or never followed by an outcome, beyond what chance gives. Concepts of under"
            " {fewest} patients, and the outcome’s own, are not looked at.",
            fewest=FEWEST,
        )
    return say(
        "On the training side, the outcome always, nearly always or never follows {which}. Always and never: chance would list a"
        " concept in one task of a hundred (Bonferroni). Nearly always: with as much confidence, in more than {nearly:.0f} % of"
        " histories. A concept that it always or nearly always follows may be the outcome under another name, its work-up, or what"
        " was recorded because of it: it may belong into the list of the outcome, or before a gap; until then, the task’s AUROC may"
        " show this alone. A concept that it never follows may tell of patients who cannot have the outcome.{hidden}",
        which="these concepts" if shown else "some concepts",
        nearly=100 * NEARLY,
        hidden=f" Not shown, because too few patients have them: {counted(of - shown, 'concept')}."
        if shown < of
        else "",
    )


def failed_guards(found: Mapping[str, Sequence[str]]) -> Statement | None:
    """Name the guards that found something, each with its tasks (none for a guard of all); None if there is no such guard."""
    parts = [
        markup("“{guard}”{tasks}", guard=guard, tasks=f" ({listed(of)})" if 0 < len(of) <= FEW_NAMED else _in_tasks(of))
        for guard, of in found.items()
    ]
    if not parts:
        return None
    return say(
        "<b>Not so, in the guards below:</b> {parts}. Read there what was found before any figure.", parts=listed(parts)
    )


def _in_tasks(names: Sequence[str]) -> str:
    return f" (in {counted(len(names), 'task')})" if names else ""


def guards(failed: int, unknown: int, of: int) -> Statement:
    """Say how many of the guards (`of` in all) found something in any task (`failed`), and how many others could not be checked."""
    if not failed and not unknown:
        return say("Each of {of} against results that are too good was passed.", of=counted(of, "guard"))
    parts = [f"{failed:,} found something"] if failed else []
    parts += [f"{unknown:,} {are(unknown)} open"] if unknown else []
    return say("Of {of}, {parts}: read these first.", of=counted(of, "guard"), parts=listed(parts))
