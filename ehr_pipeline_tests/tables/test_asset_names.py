"""Names of assets are written once: everything else calls them by the constants of `tables/asset_names.py`."""

import ast
from collections import Counter
from pathlib import Path

import ehr_pipeline
from ehr_pipeline.tables import asset_names
from ehr_pipeline.tables.asset_names import STAGES

PACKAGE = Path(ehr_pipeline.__file__).parent
LEAF = PACKAGE / "tables/asset_names.py"
WORDS = {
    "assets/data.py": {"vocabulary": 1},  # a section of the settings
    "assets/results.py": {"cohort": 1, "clusters": 1},  # a section and a setting
    "checks/patients.py": {"clusters": 2},  # a count
    "checks/data.py": {"mapped_events": 4},  # a count
    "clusters/__init__.py": {"clusters": 1},  # a count
    "clusters/build.py": {"clusters": 1},  # a count
    "assets/tasks.py": {"prediction_report": 1},  # a room
    "clusters/clustering.py": {"clusters": 1},  # of a file
    "concepts/build.py": {"vocabulary": 1},  # of a file
    "defs/ci.py": {"clusters": 1},  # a section of the settings
    "encoder/train.py": {"vocabulary": 1},  # of a checkpoint
    "drawing/data_stages.py": {"mapped_events": 2},  # a count
    "events/build.py": {"mapped_events": 1},  # a count
    "events/coverage.py": {"mapped_events": 1},  # a count
    "assets/forecasts.py": {"forecasts": 1},  # a section of the settings
    "forecasts/evaluate.py": {"forecasts": 1},  # of a file
    "forecasts/table.py": {"forecasts": 1},  # of a file
    "planning/variant_figures.py": {"clusters": 2},  # a figure, and a count
    "prediction_report/page.py": {"forecasts": 1},  # a section of the page
    "reports/__init__.py": {"clusters": 1},  # a count
    "reports/build.py": {"clusters": 1},  # a count
    "reports/findings.py": {"clusters": 1, "cohort": 1},  # of a file, and a setting
    "reports/cohort_lists.py": {"cohort": 1},  # a count, and a setting
    "reports/page.py": {"clusters": 1},  # a section of the page
    "reports/sections/flow.py": {"cohort": 1},  # a value of a template
    "reports/sections/published.py": {"clusters": 2},  # of the page, and a count
    "reports/sections/settings.py": {"clusters": 1, "cohort": 1, "mapped_events": 1},  # counts, and a setting
    "reports/cluster_reliability.py": {"clusters": 2},  # of the page
    "synthetic/study.py": {"clusters": 2, "vocabulary": 2},  # sections of the settings
}
"""How often words that are names of assets too stand for something else, by module."""


def names_in(source: str) -> Counter[str]:
    """How often each asset's name stands in a module as a text of its own."""
    values = (node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant))
    return Counter(value for value in values if isinstance(value, str) and value in STAGES)


def test_names_of_assets_are_written_in_one_place() -> None:
    modules = [path for path in sorted(PACKAGE.rglob("*.py")) if path != LEAF]
    found = {path.relative_to(PACKAGE).as_posix(): dict(names_in(path.read_text(encoding="utf-8"))) for path in modules}
    assert {path: names for path, names in found.items() if names} == WORDS


def test_each_asset_has_its_constant() -> None:
    assert [getattr(asset_names, asset.upper()) for asset in STAGES] == list(STAGES)


def test_a_name_that_is_written_out_is_seen() -> None:
    assert names_in('store.current("clusters"); f"{counts[\'cohort\']}"; "clusters of"') == {"clusters": 1, "cohort": 1}
