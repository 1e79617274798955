"""Sentences about patients without a label, and about those who left or died during the window."""

from collections.abc import Sequence

from markupsafe import Markup

from ehr_pipeline.reports.statements.statement import Statement, counted, listed, markup, say


def excluded(until: str, ending_earlier: int = 0, *, common_end: bool = True) -> Statement:
    """Say what the flow shows, and until when patients are followed whose end of observation is unknown
    (`tasks.observed_until`). `ending_earlier`: groups of patients, such as a practice, whose data end earlier than others.
    `common_end`: whether the data have a last day, as they do unless each patient's dates are shifted."""
    end = "the day of the newest extract" if until == "extract" else "the patient’s last record"
    earlier = (
        f"; in {counted(ending_earlier, 'group')} of patients (such as a practice), the data end earlier than in others, and their"
        " windows with them"
    )
    return say(
        "How many index dates have a label, and why the others have none. A patient can have several index dates. Numbers are"
        " rounded; reasons with few are combined. If a patient leaves observation within the window without the outcome, the index"
        " date has no label; the definitions of the tasks say whether weights make up for this. If the end of a patient’s"
        " observation is unknown, the pipeline uses {end}.{windows}",
        end=end,
        windows=f" No window ends after the last day of the data{earlier if ending_earlier else ''}."
        if common_end
        else "",
    )


def leavers(tasks: Sequence[tuple[str, str]]) -> Statement | None:
    """Warn of tasks that leave out many patients who left within the window; None if there are none. `tasks` are names with the
    share left out."""
    if not tasks:
        return None
    return say(
        "<b>Many patients left during the prediction window.</b> They left without the outcome, and these index dates are excluded."
        " The share of all index dates that would otherwise have a label: {tasks}. Excluding them selects patients by their future:"
        " patients with the outcome are kept even if they left soon after it. So the share with the outcome is too high, unless"
        " patients who left would have had the outcome far more often. The figures hold for patients who stay. If no end of"
        " observation is recorded, the last event counts as leaving (<code>tasks.observed_until</code>)."
        " <code>follow_up = “censor”</code> gives"
        " the other patients weights that make up for those who left (inverse probability of censoring); it assumes that leaving"
        " has nothing to do with the outcome.",
        tasks=_with_shares(tasks),
    )


def deaths(tasks: Sequence[tuple[str, str]]) -> Statement | None:
    """Warn of tasks in which many patients died within the window without the outcome; None if there are none. `tasks` are names
    with the share of the index dates."""
    if not tasks:
        return None
    return say(
        "<b>Many patients died during the prediction window without the outcome.</b> They count as free of it. The share of"
        " index dates: {tasks}. So the predicted risk is the risk that the outcome is recorded before death. It is low for patients"
        " who are likely to die first, although their risk of the disease, while they live, may be high.",
        tasks=_with_shares(tasks),
    )


def _with_shares(tasks: Sequence[tuple[str, str]]) -> Markup:
    return listed(markup("{name} ({share})", name=name, share=share) for name, share in tasks)
