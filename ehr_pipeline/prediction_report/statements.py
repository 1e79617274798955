"""The sentences of the page: functions of values. Counts come in as text that may be shown."""

import math
from collections.abc import Mapping, Sequence

from markupsafe import Markup

from ehr_pipeline.prediction_report import cells
from ehr_pipeline.prediction_report.curves import KINDS, NONE, Curves, LabelsSaved, Z
from ehr_pipeline.predictions.models import BOOSTED_FROM, BY_NAME, MASKED
from ehr_pipeline.predictions.table import CHANCE
from ehr_pipeline.reports.statements.statement import Rate, Statement, counted, listed, markup, say

VERDICTS = {
    "better": "better",
    "level": "level",
    "worse": "worse",
    "not needed": "does not need the model",
    "too few": "too few with or without the outcome",
}
"""Verdicts in words, in the order in which they are counted."""
COLOURS = {"better": "clear", "level": "weak", "worse": "none"}
"""Class of the page's style for the first sentence."""


def title(model: str) -> str:
    """Return a model's name inside a sentence."""
    name = BY_NAME[model].title
    return name[0].lower() + name[1:]


def labels(number: int | None) -> str:
    """Return a number of labels in words."""
    return "all labels" if number is None else "no labels" if number == 0 else counted(number, "label")


def about(number: float) -> str:
    """Return an interpolated number of labels in two digits."""
    digits = max(int(math.log10(max(number, 1))) - 1, 0)
    return f"{round(number, -digits):,.0f}"


def head(found: LabelsSaved | None, curves: Curves | None) -> Statement:
    """Say how good the model is: the first sentence of the page."""
    if found is None or curves is None:
        return say("<b>Nothing can be said of what the model predicts:</b> no task has enough cases.", Rate.PREDICTIONS)
    beginning = f"With {labels(found.labels)}, the model"
    aurocs = markup(
        "its mean AUROC over {tasks} is {model:.3f}; that of counting is {baseline:.3f}",
        model=_value(curves, found.model, found.labels),
        baseline=_value(curves, found.baseline, found.labels),
        tasks=counted(len(curves.tasks), "task"),
    )
    certain = found.verdict == "better" and found.low > (curves.all if found.labels is None else found.labels)
    if certain:
        return say(
            "<b>{beginning} is {worth}</b>{interval}. With the same labels, {aurocs}.",
            Rate.PREDICTIONS,
            beginning=beginning,
            worth=_label_range(found.equals, found.low),
            interval=_interval(found.low, found.high, curves.all),
            aurocs=aurocs,
        )
    return say(
        "<b>{beginning} is {word} counting</b> with the same labels: {aurocs} (difference {difference:+.3f}, 95 % interval"
        " {low:+.3f} to {high:+.3f}).{hardly}",
        Rate.PREDICTIONS,
        beginning=beginning,
        word={"better": "better than", "level": "not shown to be better than", "worse": "worse than"}[found.verdict],
        aurocs=aurocs,
        difference=found.difference,
        low=found.difference - Z * found.error,
        high=found.difference + Z * found.error,
        hardly=_hardly(found, curves) if found.verdict == "better" and found.labels else "",
    )


def _hardly(found: LabelsSaved, curves: Curves) -> str:
    """Say that a model is better, but that the number of labels to which this corresponds is uncertain."""
    fewest = curves.baseline[0][0]
    least = f"{about(fewest)} or fewer" if found.low <= fewest else about(found.low)
    most = f"more than all, about {about(curves.all)}" if math.isinf(found.high) else about(found.high)
    return (
        f" How many labels counting needs to be as good is uncertain (95 % interval {least} to {most}): chance often inflates a"
        " difference that is only just significant."
    )


def _label_range(equals: float, low: float, unit: str = "") -> str:
    """Return the words for the number of labels (`equals`, at least `low`) with which the best baseline is as good as a model."""
    if math.isinf(low):
        return "better than counting with all labels"
    least = "at least " if math.isinf(equals) else ""
    return f"{least}as good as counting with {about(low if least else equals)}{unit}"


def _interval(low: float, high: float, every: int) -> str:
    """Return the 95 % interval of a number of labels, in brackets; empty if it is only known to exceed all labels (`every`)."""
    most = f"more than all, about {about(every)}"
    if math.isinf(low):
        return ""
    return f" (95 % interval {about(low)} to {most if math.isinf(high) else about(high)})"


def without_labels(curves: Curves | None) -> Statement | None:
    """Say how well the encoder predicts without a label; None if this was not measured."""
    found = curves.points.get(MASKED, {}).get(NONE) if curves else None
    if curves is None or found is None:
        return None
    low, high = found.interval
    error = Z * found.minus(curves.nearest_baseline(found.value)).error
    least, equals, most = (curves.labels_for(found.value + step) for step in (-error, 0.0, error))
    fewest = curves.baseline[0][0]
    worth, interval = _label_range(equals, least, " labels"), _interval(least, most, curves.all)
    if low <= CHANCE:
        worth, interval = "not shown to be better than chance", ""
    elif most <= fewest:
        worth, interval = f"no better than counting with {about(fewest)} labels", ""
    return say(
        "Without any labels, the encoder’s masked-token probability of the outcome has a mean AUROC of {auroc:.3f} (95 % interval"
        " {low:.3f} to {high:.3f}, over {tasks}): {worth}{interval}.",
        Rate.PREDICTIONS,
        auroc=found.value,
        low=low,
        high=high,
        tasks=counted(len(curves.tasks), "task"),
        worth=worth,
        interval=interval,
    )


def verdicts(counts: Mapping[str, int], also_worse: int = 0, chance: int = 0) -> Statement:
    """Say how many tasks have which verdict, with all labels.

    `also_worse`: number of tasks that do not need the model, and in which it is also worse than the best baseline. `chance`: number
    of tasks in which neither side beats chance.
    """
    of_them = "where" if also_worse == counts.get("not needed") else f"in {also_worse:,} of them"
    worse = f" ({of_them} the model is also worse than the best baseline)" if also_worse else ""
    words = {
        "better": "the model is better than the best baseline",
        "level": "no difference from the best baseline is shown",
        "worse": "the model is worse than the best baseline",
        "not needed": f"the task does not need the model{worse}",
        "too few": "too few index dates have the outcome, or too few have not",
    }
    parts = [f"in {counts[name]:,} {words[name]}" for name in VERDICTS if counts.get(name)]
    return say(
        "With all labels, of {tasks}: {parts}.{chance}",
        Rate.PREDICTIONS,
        tasks=counted(sum(counts.values()), "task"),
        parts=listed(parts),
        chance=f" In {chance:,}, neither the model nor the best baseline is shown to predict better than chance."
        if chance
        else "",
    )


def at_chance(curves: Curves | None) -> Statement | None:
    """Say that neither side is shown to predict better than chance on average over tasks; None if one is, or nothing was scored."""
    sides = [curves.best(kind, None) for kind in KINDS] if curves else []
    found = [point for side in sides if side for point in side[1:]]
    best = max(found, key=lambda point: point.value, default=None)
    if best is None or best.interval[0] > CHANCE:
        return None
    return say(
        "<b>Neither the model nor counting is shown to predict better than chance:</b> with all labels, the best mean AUROC is"
        " {auroc}; chance is 0.5.",
        Rate.PREDICTIONS,
        auroc=cells.point(best),
    )


def baselines() -> Statement:
    """Say what counting is."""
    return say(
        "Counting is the best of the baselines, which do not use the encoder: age and sex; a rule of thumb (age and sex, and how"
        " much is recorded and when); the history of the outcome; counts of concepts, with and without their recency. The model"
        " is the best of those that use the encoder. At each number of labels, the best model is compared with the best baseline."
    )


def index_may_know(tasks: Sequence[str]) -> Statement | None:
    """Warn of tasks whose index dates come from a file; None if there are no such tasks."""
    if not tasks:
        return None
    return say(
        "<b>The index dates of {tasks} come from a file.</b> If the outcome influenced their choice (for cases, the day of"
        " diagnosis; for others, any day), every model learns how they were chosen, and no figure means anything. Look at the"
        " rule of thumb first: if it alone predicts well, the choice of the dates is the likely reason.",
        tasks=listed(tasks),
    )


def not_needed(tasks: Sequence[str], also_worse: Sequence[str]) -> Statement | None:
    """Say which tasks do not need the model, and in which of these the model is also worse than the best baseline. None if all
    tasks need it."""
    if not tasks:
        return None
    worse = markup(" In {tasks}, the model is also worse than the best baseline.", tasks=listed(also_worse))
    return say(
        "{tasks} {do} not need the model: a rule of thumb reaches at least 95 % of the model’s gain over chance (with 95 %"
        " confidence, at least 80 %).{worse}",
        Rate.PREDICTIONS,
        tasks=listed(tasks),
        do="does" if len(tasks) == 1 else "do",
        worse=worse if also_worse else "",
    )


def verdict_of(verdict: str, compared: str, *, at_chance: bool = False) -> Markup:
    """Return a verdict as a cell of the table. `compared`: how the model compares with the best baseline, whether or not it is
    needed.

    `at_chance`: whether neither side is better than chance.
    """
    kind = {"better": "yes", "worse": "no", "not needed": "no"}.get(verdict, "soft")
    words = VERDICTS[verdict]
    if verdict == "not needed" and compared:
        words += {"worse": ", and the model is worse", "level": "; level", "better": "; the model is better"}[compared]
    words += ", both at chance" if at_chance else ""
    return markup('<span class="{kind}">{words}</span>', kind=kind, words=words)


def table(tests: Mapping[str, int], unchosen: Sequence[str], weighted: Sequence[str]) -> Statement:
    """Say how to read the table of tasks. `tests`: for each chosen model, in how many tasks it was compared with the best
    baseline. `unchosen`: tasks with too few cases to choose by. `weighted`: tasks in which weights make up for leavers."""
    tests_by_model = listed(f"{title(model)}: {counted(number, 'task')}" for model, number in tests.items())
    return say(
        "Results on the test set: neither the encoder nor any model has seen these patients. A patient can have several index"
        " dates, each with its own prediction; cases (index dates with the outcome) and shares count index dates, not"
        " patients{weights}. The model and the baseline of a task are chosen on the validation set{unchosen}. Difference: AUROC of"
        " the model minus that of the baseline, on the same patients, with its 95 % interval. “Better” and “worse”: the false"
        " discovery rate over the tasks of the same model (Benjamini and Hochberg 1995) is below 5 %{tests}; “better” also requires"
        " an AUROC above that of every other baseline. Everything else is “level”. “Does not need the model”: a rule of thumb is"
        " enough, whatever the difference from the best baseline. There are two rules: the baseline of this name, and age and sex"
        " alone. Each is tested at half the error, and the higher AUROC is shown. “At chance”: the 95 % interval of the AUROC does"
        " not lie above 0.5.",
        tests=markup(" ({tests_by_model})", tests_by_model=tests_by_model) if tests else "",
        unchosen=markup(
            " (in a fixed order if the validation set has fewer than 20 cases: {tasks})", tasks=listed(unchosen)
        )
        if unchosen
        else "",
        weights=markup(
            ". They are unweighted. In tasks with weights for patients who left ({tasks}), the AUROC and the average precision"
            " are weighted; there, the share of cases is not the average precision expected by chance",
            tasks=listed(weighted),
        )
        if weighted
        else "",
    )


def curve(found: Curves) -> Statement:
    """Say what the learning curves show."""
    return say(
        "Mean AUROC over {tasks}, by the number of labels used to fit a model (one for each index date; half of them cases, if"
        " there are enough). Bands: 95 % intervals, over test patients and samples of labels, for the model and the baseline that"
        " the first sentence compares. Here, the best model and the best baseline are chosen on the test set, so both curves are"
        " slightly too high.{boosted}{left_out}{untrained}",
        tasks=counted(len(found.tasks), "task"),
        boosted=f" Models that use gradient boosting have no point below {BOOSTED_FROM} labels, because boosting cannot be fitted"
        " with fewer; the rule of thumb is one of them."
        if found.labels
        and found.labels[0] < BOOSTED_FROM
        and any(BY_NAME[name].learner == "boosting" for name in found.points)
        else "",
        left_out=" Left out of the curves and of the means in the first sentences, because they have too few labels for one of"
        f" these numbers: {counted(found.left_out, 'scored task')}."
        if found.left_out
        else "",
        untrained=" Models with untrained weights show how much comes from the architecture and the counting alone."
        if any(BY_NAME[name].kind == "control" for name in found.points)
        else "",
    )


def curve_alt(found: Curves) -> str:
    """Describe the learning curves: the best model and the best baseline, each with all labels."""
    best = [(kind, found.best(kind, None)) for kind in KINDS]
    text = "; ".join(f"best {kind} ({title(one[0])}) {one[1].value:.3f}" for kind, one in best if one)
    return f"Mean AUROC by the number of labels, one line per model. With all labels: {text}. The table below has all figures."


def no_subgroups() -> Statement:
    """Say that no subgroup is shown."""
    return say("Subgroups are shown for tasks with at least 200 cases in the test set; there is no such task.")


def subgroups() -> Statement:
    """Say how to read the table of subgroups."""
    return say(
        "For tasks with at least 200 cases (index dates with the outcome) in the test set: the AUROC of the best model within each"
        " group, with its 95 % interval (not adjusted for the number of groups); and the mean predicted risk after recalibration,"
        " next to the share of cases. A lower AUROC in a group need not mean that the model is worse there: its patients may be"
        " more similar to each other. By amount of record, fifth 1 has the least recorded."
    )


def _value(curves: Curves, model: str, number: int | None) -> float:
    points = curves.points[model]
    return points[0 if 0 in points else number].value
