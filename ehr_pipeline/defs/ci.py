"""`ehr-pipeline ci-check`: run the whole graph on a small synthetic slice in a temporary folder; fail on any failed check.

It is meant for a site's CI. After an upgrade or a change made by the site, it shows within a minute whether every asset
can still be made, and every check still passes, on this machine. Dagster's own exit code covers blocking checks only.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ehr_pipeline.defs.run import run
from ehr_pipeline.runs.run_outcome import RunOutcome
from ehr_pipeline.study import settings
from ehr_pipeline.study.dagster_home import CONFIGURATION, default_home
from ehr_pipeline.synthetic.generate import generate
from ehr_pipeline.synthetic.study import SMALL, places
from ehr_pipeline.terminology.shipped import shipped

PATIENTS, SEED = 400, 7
# The slice has too few patients, and too small a model, to judge whether groups are meaningful and reproducible. The shipped lists
# also hold codes that the shipped approximation of the UMLS does not know.
NOT_OF_THE_SLICE = (
    "clusters: check evidence_of_subgroups failed",
    "clusters: check clusters_stable failed",
    "vocabulary: check lists_understood failed",
    "cohort: check lists_understood failed",
)


def ci_check(overrides: Mapping[str, Any] | None = None) -> RunOutcome:
    """Materialise the slice. Failed non-blocking checks count as problems, too. `overrides` replace settings of the slice."""
    with tempfile.TemporaryDirectory(prefix="ehr-ci-") as named, _home(Path(named) / "home"):
        folder = Path(named)
        generate(folder, PATIENTS, SEED)
        # Skip the comparison with the planted groups, which are too small here for the model to recover.
        untold = {"clusters": {"truth": ""}}
        values = settings.merged(SMALL, places(folder), untold, overrides or {})
        study = settings.load(shipped("demo/settings.toml"), values)
        outcome = run(study, None)
    outcome.problems += [warning for warning in outcome.warnings if not warning.startswith(NOT_OF_THE_SLICE)]
    outcome.warnings = [warning for warning in outcome.warnings if warning.startswith(NOT_OF_THE_SLICE)]
    return outcome


@contextmanager
def _home(folder: Path) -> Iterator[None]:
    """Use a separate Dagster home, so that the check leaves nothing in the site's own."""
    folder.mkdir(parents=True)
    shutil.copyfile(default_home() / CONFIGURATION, folder / CONFIGURATION)
    before = {name: os.environ.get(name) for name in ("DAGSTER_HOME", "EHR_STATE_DIR")}
    os.environ.update(DAGSTER_HOME=str(folder), EHR_STATE_DIR=str(folder / "state"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
