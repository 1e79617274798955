"""Sentences about guards, and about the concepts that decide an outcome."""

from collections.abc import Mapping, Sequence

from ehr_pipeline.disclosure.figures import FEWEST
from ehr_pipeline.predictions.table import NEARLY
from ehr_pipeline.reports.statements.statement import Statement, counted, listed, markup, say

TITLES = {
    "no_future": "Nothing after the day of the prediction is read",
    "test_side_unseen": "The encoder has seen no patient of the test set",
    "index_rule": "The rule for the index date does not read the outcome",
    "rule_of_thumb": "A rule of thumb is not enough (if the model is above chance)",
    "deciding_concepts": "No single concept decides the outcome",
    "groups_have_cases": "Every group of the audited attributes, and every year, has cases",
    "permuted_labels": "Permuted labels are not predicted",
    "enough_cases": "There are enough cases",
}
"""Guards in words."""
WITHOUT_YEARS = {"groups_have_cases": "Every group of the audited attributes has cases"}
"""The same, if each patient's dates are shifted: years are not examined."""
FEW_NAMED = 3
"""Largest number of tasks that are listed for a guard; if there are more, only their number is given."""


def title(guard: str, shifted_dates: bool) -> str:
    """Return a guard in words."""
    words = TITLES | WITHOUT_YEARS if shifted_dates else TITLES
    return words.get(guard, guard)


def concepts(shown: int, of: int) -> Statement:
    """Say what the listed concepts are, how many are not shown because too few patients have them, or that there is none."""
    if not of:
        return say(
            "No concept was found that the outcome always, nearly always or never follows, beyond chance. Concepts of fewer than"
            " {fewest} patients, and those of the outcome itself, were not examined.",
            fewest=FEWEST,
        )
    return say(
        "In the training set, the outcome always, nearly always or never follows {which}. “Always” and “never”: chance would list"
        " a concept in at most one of a hundred tasks (Bonferroni). “Nearly always”: with the same confidence, in more than"
        " {nearly:.0f} % of histories with the concept. A concept that the outcome always or nearly always follows may be the"
        " outcome under another name, its work-up, or something recorded because of it. Add it to the list of the outcome, or"
        " leave a gap between history and window; until then, the AUROC of the task may show this alone. A concept that the"
        " outcome never follows may mark patients who cannot have the outcome.{hidden}",
        which="these concepts" if shown else "some concepts",
        nearly=100 * NEARLY,
        hidden=f" Not shown, because too few patients have them: {counted(of - shown, 'concept')}."
        if shown < of
        else "",
    )


def failed_guards(found: Mapping[str, Sequence[str]]) -> Statement | None:
    """List the guards that found something, each with its tasks (none for a guard of all tasks); None if there is no such guard."""
    parts = [
        markup("“{guard}”{tasks}", guard=guard, tasks=f" ({listed(of)})" if 0 < len(of) <= FEW_NAMED else _in_tasks(of))
        for guard, of in found.items()
    ]
    if not parts:
        return None
    return say(
        "<b>Some conditions of valid results are not met:</b> {parts}. Read what the guards below found before you read any"
        " figure.",
        parts=listed(parts),
    )


def _in_tasks(names: Sequence[str]) -> str:
    return f" (in {counted(len(names), 'task')})" if names else ""


def guards(failed: int, unknown: int, of: int) -> Statement:
    """Say how many of the guards (`of` in all) found something in any task (`failed`), and how many others could not be checked."""
    if not failed and not unknown:
        return say("All guards ({of}) against results that are too good to be true were passed.", of=f"{of:,}")
    parts = [f"{failed:,} found something"] if failed else []
    parts += [f"{unknown:,} could not be checked"] if unknown else []
    return say("Of {of}, {parts}: read these first.", of=counted(of, "guard"), parts=listed(parts))
