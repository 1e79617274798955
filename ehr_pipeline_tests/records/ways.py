"""Ways in which exports change tables (`exports`): by spreadsheets, R, Python, databases, transfers and people."""

import random

from ehr_pipeline_tests.records.changed_files import FILES, PARQUET, WRITTEN
from ehr_pipeline_tests.records.changed_values import DATES, IDS, VALUES, Way

GROUPS = (WRITTEN, IDS, DATES, VALUES, FILES, PARQUET)
WAYS: dict[str, Way] = {name: way for group in GROUPS for name, way in group.items()}


def chosen(rng: random.Random) -> dict[str, Way]:
    """One or two ways by chance: two change different things, and Parquet, whose columns must still have types, comes alone."""
    group = rng.choices(GROUPS, [len(one) for one in GROUPS])[0]
    names = [rng.choice(sorted(group))]
    if group is not PARQUET and rng.random() < 0.3:
        other = rng.choice([one for one in GROUPS if one is not PARQUET and one is not group])
        names.append(rng.choice(sorted(other)))
    return {name: WAYS[name] for name in names}
