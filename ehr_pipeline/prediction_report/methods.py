"""Sentences on how the page's figures were computed."""

from ehr_pipeline.predictions.table import DRAWS_OF_SUBGROUPS
from ehr_pipeline.reports.statements.statement import Statement, say


def methods(draws: int) -> list[Statement]:
    """Say how everything was computed. `draws`: bootstrap draws of patients."""
    return [
        say(
            "Histories are cut on the day of the prediction; nothing later is read. Samples of labels are nested: a smaller one is"
            " part of a larger one, and every model of a task has the same. Five samples up to 100 labels, three above."
        ),
        say(
            "Intervals of AUROCs, of their differences, and of slopes and intercepts: {draws:,} draws of patients with replacement,"
            " the same draws for all models of a task (Efron 1979); {fewer:,} draws in subgroups. Means over tasks, and their"
            " differences: tasks share patients, so the standard error comes from how all their AUROCs move together with the"
            " patients (multiplier bootstrap, Mammen 1993); the variance over samples of labels is added.",
            draws=draws,
            fewer=min(draws, DRAWS_OF_SUBGROUPS),
        ),
        say(
            "How many labels of counting equal those of the model: the number at which the best baseline has the same mean AUROC,"
            " interpolated in the logarithm of labels. In the first sentence, its interval allows for the number being given only"
            " of a model that is better (Zhong and Prentice 2008): where this is found only if chance adds to the difference, the"
            " usual interval lies too high."
        ),
        say(
            "Net benefit: true positives minus false positives weighted by the odds of the threshold, for each prediction (Vickers"
            " and Elkin 2006). Average precision is to be read beside the prevalence, which it has by chance."
        ),
    ]


def fine_tuned() -> Statement:
    """Say what a fine-tuned model is."""
    return say(
        "Fine-tuned: the encoder itself is trained on for each task, from the labels of each sample. The classifier begins at the"
        " logistic regression on the vectors; the others begin at the encoder’s own log-odds of the outcome’s concepts, at the mask"
        " or from the mean state of the history (He, Rasmy, Zhi and Tao 2025). With at least 100 cases in a sample, a fifth of its"
        " patients tells after how many passes to stop; that may be before the first."
    )
