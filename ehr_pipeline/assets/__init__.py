"""Declare all assets of the pipeline: one entry for each, in the order in which they are made.

To add an asset, add a folder for its stage (code, settings class, `COUNTED`), a section in `study.settings.Study`, and an entry in
data.py, tasks.py, results.py or forecasts.py. Dagster's graph, checks, code versions, columns and their lineage, the mirror and the
plan all follow from the entry.
"""

from ehr_pipeline.assets.data import DATA
from ehr_pipeline.assets.forecasts import FORECASTS
from ehr_pipeline.assets.results import RESULTS
from ehr_pipeline.assets.tasks import PREDICTIONS, TASKS
from ehr_pipeline.study.settings import Study
from ehr_pipeline.tables.asset_names import COHORT

ASSETS = {asset.name: asset for asset in (*DATA, *TASKS, *RESULTS, *FORECASTS, *PREDICTIONS)}


def of_study(study: Study) -> tuple[str, ...]:
    """Return the names of the assets that a study makes; if it defines no cohort, only those that need none."""
    left_out: set[str] = set()
    for name, asset in ASSETS.items():
        if not study.embeddings.cohort and (name == COHORT or left_out & {*asset.reads}):
            left_out.add(name)
    return tuple(name for name in ASSETS if name not in left_out)
