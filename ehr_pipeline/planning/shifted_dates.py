"""Recognise an extract with dates in the future, as in de-identified records, where each patient's dates are shifted."""

from pathlib import Path

from ehr_pipeline.errors import UserError
from ehr_pipeline.records import check_first_rows, extract_files, files
from ehr_pipeline.records.dates import LAST_YEAR
from ehr_pipeline.study import settings

LOOKED_INTO = 4
"""Most files of each kind whose first rows are read."""
SETTING = (
    f'latest_date = "{LAST_YEAR}-12-31" # most dates lie in the future, as de-identified ones do: none is too late'
)


def in_future(path: Path, folder: Path) -> bool:
    """Return whether the settings file `path` would reject most of the first events of the extract `folder` as dated after the
    extract.

    False if the settings or the files cannot be read: `ehr-pipeline check` says why.
    """
    try:
        records = settings.load(path).records
        tree, rules = extract_files.tree_of(folder, records), check_first_rows.rules(folder.name, records)
        seen = [
            check_first_rows.first_rows(file, kind, rules).sample
            for kind in records.kinds.events
            for file in files.find(tree, kind)[:LOOKED_INTO]
        ]
    except UserError:
        return False
    future = sum(one.rows for sample in seen for one in sample.rejects if one.reason == "future_date")
    return future > sum(sample.rows for sample in seen) / 2
