"""Checks of the forecasts: test patients were unseen, there are enough of them, and the encoder forecasts better than counting."""

from ehr_pipeline.checks import train_test_sides
from ehr_pipeline.checks.model import Result, check
from ehr_pipeline.disclosure.figures import count_text
from ehr_pipeline.disclosure.kinds import Figure, People, Score
from ehr_pipeline.forecasts.cases import YEAR
from ehr_pipeline.forecasts.evaluate import FEWEST
from ehr_pipeline.forecasts.metrics import NEW, RECURRING
from ehr_pipeline.forecasts.table import Forecasts
from ehr_pipeline.store.artifacts import Artifact, Store
from ehr_pipeline.study.settings import Study
from ehr_pipeline.tables.asset_names import ENCODER_CHECKPOINT

NOTHING = "nothing was forecast: no patient in the test set has enough visits, or forecasts.patients is 0"


def cannot_be_checked(artifact: Artifact, study: Study) -> bool:
    """Return whether it is unknown which patients the encoder was trained on; the check then only warns."""
    return train_test_sides.cannot_be_checked(Store(study.study.store).intact(ENCODER_CHECKPOINT), study)


@check(only_warns=cannot_be_checked, applies=lambda study: study.patients.split.leaves_out)
def test_side_unseen(artifact: Artifact, store: Store, study: Study) -> Result:
    """The encoder was not trained on any patient whose future is forecast, according to hashes of its training patients."""
    return train_test_sides.test_side_unseen(store.intact(ENCODER_CHECKPOINT), store, study)


def enough_patients(artifact: Artifact, store: Store, study: Study) -> Result:
    """There are enough patients to compare the encoder with counting."""
    below, results = study.reports.suppress_below, Forecasts.read(artifact.path)
    rows = {name: results.verdict(YEAR, name) for name in (RECURRING, NEW)}
    patients = {name: row["patients"] if row else 0 for name, row in rows.items()}
    message = ", ".join(
        f"{count_text(number, below)} patients with a {name} concept" for name, number in patients.items()
    )
    return all(number >= FEWEST for number in patients.values()), message, {k: People(v) for k, v in patients.items()}


@check(blocking=False, applies=lambda study: study.patients.split.leaves_out)
def better_than_counting(artifact: Artifact, store: Store, study: Study) -> Result:
    """For the next year, the encoder's forecast is better than counting, both for recurring and for new concepts."""
    results, parts, figures = Forecasts.read(artifact.path), [], dict[str, Figure]()
    verdicts = [row for name in (RECURRING, NEW) if (row := results.verdict(YEAR, name))]
    for row in verdicts:
        if row["patients"] < study.reports.suppress_below:
            parts.append(f"{row['list']} concepts: too few patients")
            continue
        word = {"better": "better than counting", "worse": "worse than counting"}.get(row["verdict"], row["verdict"])
        word = "no better than counting" if row["verdict"] == "no better" else word
        parts.append(
            f"{row['list']} concepts: {word}; recall at ten is {row['recall']:.3f}, that of {row['baseline']} is"
            f" {row['baseline_recall']:.3f} (difference {row['low']:+.3f} to {row['high']:+.3f})"
        )
        figures |= {
            f"{row['list']}_recall": Score(row["recall"]),
            f"{row['list']}_counting": Score(row["baseline_recall"]),
        }
    passed = bool(verdicts) and all(row["verdict"] == "better" for row in verdicts)
    return passed, "; ".join(parts) or NOTHING, figures
