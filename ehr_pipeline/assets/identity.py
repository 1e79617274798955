"""Values that decide an asset's result beside those of its own section of the settings."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ehr_pipeline import fields
from ehr_pipeline.patients.settings import SIDES, SplitSettings
from ehr_pipeline.store import secret_key
from ehr_pipeline.store.artifacts import Store, hash_of
from ehr_pipeline.study.settings import Study
from ehr_pipeline.tables.asset_names import DATA_SPLIT, STAGES

REPORT_SOURCES = (
    "reports",
    "clusters/comparison.py",
    "clusters/divide.py",
    "clusters/planted.py",
    "clusters/table.py",
    "concepts/table.py",
    "embeddings/vectors.py",
    "encoder/metrics.py",
    "events/coverage.py",
    "disclosure/spreadsheet.py",
    "disclosure/suppression.py",
    "disclosure/by_subtraction.py",
    "disclosure/tabulate.py",
    "clusters/baseline.py",
    "clusters/evidence.py",
    "clusters/overlap.py",
    "clusters/trust.py",
    "concepts/substitutes.py",
    "drawing/plots.py",
    "cohort/members.py",
    "patients/shard.py",
    "disclosure/figures.py",
    "disclosure/kinds.py",
    "store/declared.py",
    *(f"{stage}/__init__.py" for stage in dict.fromkeys((*STAGES.values(), "cohort"))),
    "drawing/data_stages.py",
    "tables/asset_names.py",
    "tables/drop_reasons.py",
    "records/deltas.py",
    "records/numeric.py",
    "tables/schemas.py",
    "terminology/semantic_types.py",
    "trajectories/build.py",
    "trajectories/transitions.py",
    "vocabulary/table.py",
)
"""What the page is made of: modules and folders of this package. A page is quickly made, so any change of them makes it anew."""


def version_of_sources(root: Path, sources: Sequence[str]) -> str:
    """A version that follows from the bytes of Python modules and templates, by their places below `root`."""
    found = [path for name in sources for path in ([root / name] if name.endswith(".py") else (root / name).rglob("*"))]
    kept = sorted(path for path in found if path.suffix in (".py", ".j2"))
    return hash_of([(path.relative_to(root).as_posix(), fields.file_hash(path)) for path in kept])


ENCODER_SHAPE = ("context", "age_unit", "max_positions", "precision")


def seed(study: Study) -> dict[str, Any]:
    """The seed of everything random."""
    return {"seed": study.study.seed}


def split_settings(study: Study) -> SplitSettings:
    """The settings of the split with its key: the one of the settings file, else that of the store's split, else the store's own.

    So a new study never gets a key that others know, and a split that was made keeps its key whatever becomes of the store's.
    """
    split, store = study.patients.split, Store(study.study.store)
    if split.key:
        return split
    current, made = store.fingerprint(DATA_SPLIT), store.published(DATA_SPLIT)
    made.sort(key=lambda artifact: artifact.manifest["fingerprint"] == current)  # the current one last, else the newest
    return replace(split, key=made[-1].manifest["settings"]["key"] if made else secret_key.of(store.root).text("split"))


def sides(study: Study) -> dict[str, Any]:
    """What decides from whom is learned, as a hash since it has the key in it; nothing where everybody is learned from."""
    return {SIDES: hash_of(fields.identity(split_settings(study)))} if study.patients.split.leaves_out else {}


def encoder_shape(study: Study) -> dict[str, Any]:
    """What the embedding job has to know of the encoder."""
    return {name: getattr(study.encoder, name) for name in ENCODER_SHAPE}
