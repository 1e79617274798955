"""Compute the values, beyond an asset's section of the settings, that determine its result."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ehr_pipeline import typed_settings
from ehr_pipeline.embeddings.embedding_job import AnyEncoderJob, Inference
from ehr_pipeline.encoder.configuration import SUMS
from ehr_pipeline.patients.settings import SIDES, SplitSettings
from ehr_pipeline.store import secret_key
from ehr_pipeline.store.artifacts import Artifact, Store, hash_of
from ehr_pipeline.study.settings import Study
from ehr_pipeline.tables.asset_names import (
    DATA_SPLIT,
    ENCODER_CHECKPOINT,
    PATIENT_DATASET,
    STAGES,
    VOCABULARY,
    package_of,
)

PACKAGE = Path(__file__).parents[1]
COUNTED_IN = tuple(f"{room}/__init__.py" for room in dict.fromkeys(map(package_of, STAGES)))
"""The modules that describe each stage's counts; the report page shows these descriptions."""
_IMPORT = re.compile(r"^ *from ehr_pipeline\.([\w.]+) import (?:\(([^)]*)\)|(.+))$", re.MULTILINE)


def version_of_page(room: str, *more: str, package: Path = PACKAGE) -> str:
    """Return a version of a page: a hash of all the code files that determine it.

    These are the files of the package folder `room`, the modules that these import, and `more`. A change in any of them makes the
    page again, which is quick.
    """
    sources = [path for path in (package / room).rglob("*") if path.suffix in (".py", ".j2", ".css", ".js")]
    imported = [each for path in sources if path.suffix == ".py" for each in _imported(path, package)]
    found = sorted({*sources, *imported, *(package / name for name in more)})
    return hash_of([(path.relative_to(package).as_posix(), typed_settings.file_hash(path)) for path in found])


def _imported(path: Path, package: Path) -> Iterator[Path]:
    """Yield the modules of the package that a module imports."""
    for module, several, one in _IMPORT.findall(path.read_text(encoding="utf-8")):
        place = package.joinpath(*module.split("."))
        if place.is_dir():
            modules = [place / f"{name}.py" for name in re.findall(r"(\w+)(?: as \w+)?", several or one)]
            yield from (each if each.is_file() else place / "__init__.py" for each in modules)
        else:
            yield place.with_suffix(".py")


ENCODER_SHAPE = ("context", "age_unit", "max_positions", "precision")


def seed(study: Study) -> dict[str, Any]:
    """Return the seed of all random numbers."""
    return {"seed": study.study.seed}


def shifted_dates(study: Study) -> dict[str, Any]:
    """Return whether each patient's dates are shifted; empty if not, as before this could be said."""
    return {"shifted_dates": True} if study.study.shifted_dates else {}


def split_settings(study: Study) -> SplitSettings:
    """Return the settings of the split with its key: from the settings file, else from the store's existing split, else the store's
    own key.

    So a new study never gets a key that others know, and an existing split keeps its key when the store's key changes.
    """
    split, store = study.patients.split, Store(study.study.store)
    if split.key:
        return split
    current, made = store.fingerprint(DATA_SPLIT), store.published(DATA_SPLIT)
    made.sort(key=lambda artifact: artifact.manifest["fingerprint"] == current)  # the current one last, else the newest
    return replace(split, key=made[-1].manifest["settings"]["key"] if made else secret_key.of(store.root).text("split"))


def transferred(study: Study) -> dict[str, Any]:
    """Return a hash of another study's checkpoint from which the encoder starts; empty if training starts from random weights."""
    folder = study.encoder.transfer.checkpoint
    return {"transferred": typed_settings.file_hash(Path(folder) / SUMS)} if folder else {}


def habits(study: Study) -> dict[str, Any]:
    """Return the patient column, such as the practice, whose recording habits are to be removed (`embeddings.vectors.habits`)."""
    return {"habits": study.embeddings.vectors.habits}


def sides(study: Study) -> dict[str, Any]:
    """Return a hash of the settings, with the key, that determine who is used for training; empty if all patients are."""
    return {SIDES: hash_of(typed_settings.identity(split_settings(study)))} if study.patients.split.leaves_out else {}


def encoder_shape(study: Study) -> dict[str, Any]:
    """Return the encoder settings that an embedding job needs."""
    return {name: getattr(study.encoder, name) for name in ENCODER_SHAPE}


def encoder_job(
    kind: type[AnyEncoderJob], study: Study, read: Mapping[str, Artifact], work: Path, batch_tokens: int, **further: Any
) -> AnyEncoderJob:
    """Return a job, of the class `kind`, that runs the encoder on the patients of the data set in the folder `work`. `further` are
    the fields that only this class has."""
    return kind(
        checkpoint=read[ENCODER_CHECKPOINT].file("checkpoint"),
        vocabulary=read[VOCABULARY].path,
        dataset=read[PATIENT_DATASET].file("patients"),
        work=work,
        settings=Inference(**encoder_shape(study), batch_tokens=batch_tokens),
        seed=study.study.seed,
        threads=study.launcher.threads,
        **further,
    )


def of_predictions(study: Study) -> dict[str, Any]:
    """Return the values beyond the prediction settings that determine task results; empty if the study has no tasks."""
    if not study.tasks.any:
        return {}
    return {**seed(study), **encoder_shape(study), **shifted_dates(study), "audited": study.reports.audited}


def of_forecasts(study: Study) -> dict[str, Any]:
    """Return the values beyond their settings that determine forecasts: seed, split, encoder shape; empty without a test set."""
    if not study.patients.split.leaves_out:
        return {}
    return {**seed(study), **sides(study), **encoder_shape(study)}


def of_tasks(study: Study) -> dict[str, Any]:
    """Return the values beyond the task settings that determine labels: seed, split, semantic types; empty without tasks."""
    if not study.tasks.any:
        return {}
    values: dict[str, Any] = {
        **seed(study),
        **shifted_dates(study),
        "split": hash_of(typed_settings.identity(split_settings(study))),
    }
    values |= {"visit_window_days": study.patients.visit_window_days, "groups": study.groups}
    if study.tasks.screen:
        values |= {"semantic_types": study.embeddings.pooling.semantic_types}
    return values
