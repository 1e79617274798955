"""The declaration of the forecasts."""

from collections.abc import Mapping
from pathlib import Path

from ehr_pipeline.assets import identity
from ehr_pipeline.assets.asset import Asset
from ehr_pipeline.checks import forecasts, rows
from ehr_pipeline.checks.model import Check
from ehr_pipeline.forecasts import evaluate, pictures, table
from ehr_pipeline.store.artifacts import Artifact, Counts
from ehr_pipeline.study.settings import Study
from ehr_pipeline.tables import asset_names
from ehr_pipeline.tables.asset_names import DATA_SPLIT, ENCODER_CHECKPOINT, PATIENT_DATASET, VOCABULARY
from ehr_pipeline.work.jobs import Launch


def _forecasts(study: Study, read: Mapping[str, Artifact], launch: Launch, out: Path) -> Counts:
    """Forecast the next concepts of the patients in the test set; forecast nothing if the split has no test set."""
    from ehr_pipeline.forecasts import build
    from ehr_pipeline.predictions.answers_job import AnswersJob
    from ehr_pipeline.predictions.encoder_queries import work_of

    if not study.patients.split.leaves_out or not study.forecasts.patients:
        return build.write_empty(out)
    job = identity.encoder_job(
        AnswersJob,
        study,
        read,
        work_of(out),
        batch_tokens=study.embeddings.batch_tokens,
        tokens_before=study.forecasts.tokens_before,
        means=False,
        untrained=False,
    )
    return build.build(read, study.forecasts, job, study.study.seed, launch=launch, out=out)


FORECASTS = (
    Asset(
        name=asset_names.FORECASTS,
        description="Which concepts follow after a randomly drawn visit of test patients, forecast by the encoder and"
        " by counting. Empty without a test set.",
        reads=(VOCABULARY, PATIENT_DATASET, DATA_SPLIT, ENCODER_CHECKPOINT),
        build=_forecasts,
        version="2",
        heavy=True,
        section="forecasts",
        also=(identity.of_forecasts,),
        checks=(
            rows.rows_conserved,
            forecasts.test_side_unseen,
            Check(
                "enough_patients",
                f"In the next year, at least {evaluate.FEWEST} patients have a new concept, and as many a recurring one.",
                forecasts.enough_patients,
                blocking=False,
                applies=lambda study: study.patients.split.leaves_out,
            ),
            forecasts.better_than_counting,
        ),
        columns=lambda study: table.FORECASTS,
        meanings=table.MEANINGS,
        lineage=lambda study: dict.fromkeys(
            set(table.FORECASTS.names) - {"horizon", "list", "model", "measure"},
            ((PATIENT_DATASET, "visits"), (DATA_SPLIT, "side")),
        ),
        counts_rows=False,
        group="predictions",
        kinds=("torch", "scikitlearn", "csv"),
        pictures={"recall at ten": pictures.RECALLS},
    ),
)
