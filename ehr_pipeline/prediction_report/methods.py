"""Sentences on how the page's figures were computed."""

from ehr_pipeline.predictions.table import DRAWS_OF_SUBGROUPS
from ehr_pipeline.reports.statements.statement import Statement, say


def methods(draws: int) -> list[Statement]:
    """Say how everything was computed. `draws`: bootstrap draws of patients."""
    return [
        say(
            "Histories are cut at the day of the prediction; nothing later is read. Samples of labels are nested: a smaller"
            " sample is part of a larger one. All models of a task use the same samples: five of each size up to 100 labels,"
            " three of each larger size."
        ),
        say(
            "The intervals of AUROCs, of their differences, and of slopes and intercepts come from {draws:,} bootstrap samples of"
            " patients, the same for all models of a task (Efron 1979); in subgroups, from {fewer:,}. For means over tasks and"
            " their differences, the standard error comes from how the AUROCs of all tasks vary together with the patients,"
            " because tasks share patients (multiplier bootstrap, Mammen 1993); the variance over samples of labels is added.",
            draws=draws,
            fewer=min(draws, DRAWS_OF_SUBGROUPS),
        ),
        say(
            "“As good as counting with n labels”: with n labels, the best baseline has the same mean AUROC as the model"
            " (interpolated in the logarithm of the number of labels). The first sentence gives n only if the model is better,"
            " and its interval allows for this selection (Zhong and Prentice 2008). If chance helped to find the"
            " difference, the usual interval would lie too high."
        ),
        say(
            "An outcome that is recorded on a single day only, in the whole record, may be a suspicion that was ruled out, if the"
            " disease lasts. <code>outcome_days = 2</code> asks for a second day within the window."
        ),
        say(
            "Net benefit, per index date: true positives minus false positives, where each false positive is weighted by the odds"
            " of the threshold (Vickers and Elkin 2006). Compare average precision with the prevalence, which is its expected"
            " value by chance."
        ),
    ]


def shifted_dates() -> Statement:
    """Say what is left out where the calendar means nothing."""
    return say(
        "Each patient’s dates are shifted by a random number of days, so calendar years mean nothing. They are no part of the rule"
        " of thumb, and no year is examined for missing cases. The data have no common last day, so a window may end after the data"
        " of a patient."
    )


def fine_tuned() -> Statement:
    """Say what a fine-tuned model is."""
    return say(
        "Fine-tuned: the encoder itself is trained further for each task, on each sample of labels. The classifier starts from"
        " the logistic regression on the vectors; the others start from the encoder’s log-odds of the concepts of the outcome, at"
        " the mask or from the mean state of the history (He, Rasmy, Zhi and Tao 2025). If a sample has at least 100 cases, a"
        " fifth of its patients is held out to decide after how many passes to stop; that may be before the first."
    )
