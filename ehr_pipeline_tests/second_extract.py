"""A second extract of the tiny study: new patients, changed ones, and a concept that was too rare before."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.store.artifacts import Artifact
from ehr_pipeline.study.settings import Study, merged
from ehr_pipeline.synthetic.generate import EXTRACT
from ehr_pipeline.tables import schemas
from ehr_pipeline.tables.asset_names import STAGES
from ehr_pipeline_tests.conftest import tiny_settings

LATER = "2019-05-01"
NEW, CHANGED, TOUCHED = 25, 5, 12
LONGER = {"max_epochs": 5}
"""With these the tiny encoder is better than frequency on other data too, by more than luck."""


@dataclass(frozen=True)
class Grown:
    """A copy of the tiny study beside a landing folder with a second extract."""

    extract: Path
    folder: Path
    changed: list[str]
    """Patients of the first extract with a further event that the encoder knows."""
    touched: list[str]
    """Those with a further visit of a concept that it does not know."""
    new: list[str]
    concept: str
    """The concept that was too rare."""

    def study(self, does: str, **overrides: Any) -> Study:
        own = {
            "study": {"store": str(self.folder / "store")},
            "records": {"landing": str(self.folder / "landing")},
            "encoder": {"on_new_extract": does, **LONGER},
        }
        return tiny_settings(self.extract, **merged(own, overrides))


def base(tiny: Pipeline, extract: Path, folder: Path) -> None:
    """The tiny study, trained for longer, in a store of its own: what a second extract comes to."""
    shutil.copytree(tiny.store.root, folder / "store")
    run(steady_in(folder, extract).study)


def steady_in(folder: Path, extract: Path) -> Pipeline:
    """The study that `base` made in a folder."""
    return Pipeline(tiny_settings(extract, study={"store": str(folder / "store")}, encoder=LONGER))


def grow(tiny: Pipeline, extract: Path, folder: Path) -> Grown:
    """Write the second extract beside a copy of the first, and copy the store of the study that `base` made."""
    shutil.copytree(tiny.store.root, folder / "store")
    shutil.copytree(extract / "landing" / EXTRACT, folder / "landing" / EXTRACT)
    landing = folder / "landing" / LATER
    landing.mkdir()
    members = vectors(tiny.store.current("patient_embeddings"))
    ids = sorted(members)
    copied, changed, touched = ids[:NEW], ids[NEW : NEW + CHANGED], ids[NEW + CHANGED : NEW + CHANGED + TOUCHED]
    mapping = pl.read_csv(tiny.store.current("mapped_events").file("mapping.csv"), infer_schema=False)
    code_of = dict(mapping.filter(pl.col("concept").is_not_null()).select("concept", "code").iter_rows())
    rare = pl.read_csv(tiny.store.current("vocabulary").file("dropped.csv")).filter(pl.col("reason") == "rare")
    frequent = pl.read_csv(tiny.store.current("vocabulary").file("vocabulary.csv"))["concept"][0]
    concept = rare.sort("appearances", "concept", descending=[True, False])["concept"][0]
    new = {patient: f"9{patient}" for patient in copied}
    for path in sorted((folder / "landing" / EXTRACT).iterdir()):
        head, *lines = path.read_text("latin-1").splitlines(keepends=True)
        own = [line.split("\t", 1) for line in lines]
        text = [f"{new[patient]}\t{rest}" for patient, rest in own if patient in new]
        if not path.name.startswith("events"):  # an event counts for patients whom its own extract holds
            text += [line for line, (patient, _) in zip(lines, own, strict=True) if patient in (*changed, *touched)]
        else:
            text += [f"{patient}\t05/03/2015\t{code_of[frequent]}\n" for patient in changed]
            text += [f"{patient}\t29/02/2016\t{code_of[concept]}\n" for patient in touched]
        (landing / path.name).write_text(head + "".join(text), "latin-1")
    return Grown(extract, folder, changed, touched, sorted(new.values()), concept)


def run(study: Study, *extracts: str) -> dict[str, Artifact]:
    """The whole chain over some extracts."""
    pipeline = Pipeline(study)
    for name in extracts:
        pipeline.raw_records(name)
    return {asset: pipeline.asset(asset) for asset in STAGES if asset != "raw_records"}


def vectors(embeddings: Artifact, folder: str = "embeddings") -> dict[str, bytes]:
    """The bytes of each patient's vector."""
    found = {}
    for path in embeddings.files(folder):
        table = schemas.read(path).combine_chunks()
        column = table.column("vector").combine_chunks()
        matrix = column.values.to_numpy().reshape(-1, column.type.list_size)
        found |= {patient: row.tobytes() for patient, row in zip(table["patient_id"].to_pylist(), matrix, strict=True)}
    return found


def clusters_of(clusters: Artifact) -> dict[str, int]:
    """The number of each patient's cluster."""
    table = schemas.read(clusters.file("clusters.arrow"))
    return dict(zip(table["patient_id"].to_pylist(), table["cluster"].to_pylist(), strict=True))
