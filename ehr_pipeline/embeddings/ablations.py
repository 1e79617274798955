"""Compute vectors of a sample of patients by single parts of the method, to see what each part contributes.

There are three variants. `network` is the part of the vectors that comes from the encoder. `profile` is the part that comes from
the concept profile. `no_network` is a profile that uses nothing from the encoder, because concepts do not share values with related
ones (an ablation, as in Meyes et al. 2019). All variants are computed from the existing chunk vectors, so nothing is embedded a
second time.

`variants/<name>.arrow` has one row for each sampled patient: patient_id, and the vectors of the whole record and of both halves.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ehr_pipeline.embeddings.settings import VectorSettings
from ehr_pipeline.embeddings.transform import Part, Sample, Transform, some_of
from ehr_pipeline.embeddings.vectors import HALVES
from ehr_pipeline.store.artifacts import Artifact
from ehr_pipeline.tables import schemas
from ehr_pipeline.tables.align import one_chunk

Vectors = NDArray[np.float32]
FOLDER, COLUMNS = "variants", ("whole", *HALVES)
NETWORK, PROFILE, NO_NETWORK = "network", "profile", "no_network"
SAMPLED, FITTED = 5_000, 10_000
"""Largest numbers of patients whose vectors are kept, and from whom `no_network` is learned; both limit time and size."""
Fit = Callable[[VectorSettings, list[Sample]], Transform]


@dataclass(frozen=True)
class Variant:
    """Vectors of the n sampled patients, in the order of `ids`. Rows are zero for a patient without a pooled concept."""

    ids: pa.Array
    whole: Vectors
    halves: tuple[Vectors, Vectors]


def write(out: Path, dataset: list[Path], samples: list[Sample], learned: Transform, fit: Fit) -> None:
    """Write the variants of a sample. `samples` (one for each shard of `dataset`) are those that the transform was learned from.

    A variant is left out if the run does not use that part, or if its vectors consist of that part alone. If the run has no
    profile, `no_network` is the profile with the default settings. If the run's profile does not spread values over related
    concepts, `no_network` is the same as `profile`, which is left out.
    """
    few = sampled(samples, FITTED)
    base = learned.settings if learned.settings.profile else VectorSettings(habits=learned.settings.habits)
    without = learned.settings.profile and not learned.settings.kinship
    bare = (
        learned
        if without
        else fit(replace(base, kinship=0.0, encoder_share=0.0, attention="none", common_components=0), few)
    )
    variants: dict[str, Callable[[Part], Vectors]] = {
        NO_NETWORK: lambda part: bare.centred_profile(part.shard, part.patients)
    }
    if learned.settings.profile:
        variants[NETWORK] = lambda part: learned.network(part).vectors_PD
    if learned.settings.kinship and learned.settings.profile:
        variants[PROFILE] = lambda part: learned.centred_profile(part.shard, part.patients)
    shown = sampled(few, SAMPLED)
    for name, vectors in variants.items():
        schemas.write(out / FOLDER / f"{name}.arrow", _table(dataset, shown, vectors))


def take_over(earlier: Artifact, out: Path, unchanged: pa.Array) -> None:
    """Copy the variants of an earlier artifact with comparable vectors, but only for the patients `unchanged`."""
    for path in sorted((earlier.path / FOLDER).glob("*.arrow")):
        table = schemas.read(path)
        kept = pc.is_in(table.column("patient_id"), value_set=unchanged)
        schemas.write(out / FOLDER / path.name, table.filter(kept))


def read(artifact: Artifact) -> dict[str, Variant]:
    """Read the variants of a `patient_embeddings` artifact, by name; {} if it was made before there were any."""
    variants = {}
    for name in (NETWORK, PROFILE, NO_NETWORK):
        path = artifact.file(f"{FOLDER}/{name}.arrow")
        if path.is_file():
            table = schemas.read(path)
            whole, one, other = (schemas.matrix(table, name) for name in COLUMNS)
            variants[name] = Variant(one_chunk(table.column("patient_id")), whole, (one, other))
    return variants


def sampled(samples: list[Sample], most: int) -> list[Sample]:
    """Draw about `most` patients, the same share of each sample; all of them if there are no more."""
    rng = np.random.default_rng(0x7A1)
    share = min(most / max(sum(len(sample.whole.patients) for sample in samples), 1), 1.0)
    if share == 1:
        return samples
    drawn = []
    for sample in samples:
        count = len(sample.whole.patients)
        kept = np.sort(rng.permutation(count)[: int(np.ceil(share * count))])
        whole, one, other = (some_of(part, kept) for part in (sample.whole, *sample.halves))
        wanted = np.zeros(len(sample.whole.shard.birth_day), bool)
        wanted[whole.patients] = True
        first, second = (view.keep_visits(np.repeat(wanted, np.diff(view.patient_start))) for view in sample.views)
        drawn.append(Sample(whole, (one, other), (first, second)))
    return drawn


def _table(dataset: list[Path], samples: list[Sample], vectors: Callable[[Part], Vectors]) -> pa.Table:
    """Return a table of the sampled patients who have a vector."""
    parts = []
    for path, sample in zip(dataset, samples, strict=True):
        ids = schemas.read(path, ["patient_id"]).column("patient_id").take(pa.array(sample.whole.patients))
        vectors_of_parts = (np.where(part.there[:, None], vectors(part), 0) for part in (sample.whole, *sample.halves))
        columns = {
            name: schemas.vectors(each.astype(np.float32)) for name, each in zip(COLUMNS, vectors_of_parts, strict=True)
        }
        parts.append(pa.table({"patient_id": ids, **columns}).filter(pa.array(sample.whole.there)))
    return pa.concat_tables(parts)
