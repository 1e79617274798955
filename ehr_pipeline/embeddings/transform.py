"""From a patient's chunk vectors and concepts to the final vector. What it needs is learned once from the cohort, and kept.

1. The encoder's vector: attention between chunks, or none, and their mean; scaled to length 1.
2. The common component goes out: the middle of the cohort, and leading principal components (Arora 2017; Mu & Viswanath 2018).
3. The concept profile, in which substitutes (`concepts.substitutes`) count as one, its course and its mean age
   (`embeddings.profile`), in the directions that are found again in the other half of the visits (`embeddings.canonical`).
4. Both are scaled to length 1, centred at their spatial median, scaled again, and stand beside each other, so that the cosine of
   two patients is the weighted mean of two cosines, and nobody lies nearer to the middle of the cohort than others.

Each step can be switched off; with all of them off, and attention 'plain', the vectors are the published ones.
`transform.safetensors` and `transform.json` hold what was learned, so that vectors of new patients lie in the same space.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from ehr_pipeline.concepts.substitutes import Substitutes
from ehr_pipeline.embeddings import aggregator, canonical, profile
from ehr_pipeline.embeddings.geometry import leading_axes, spatial_median, unit_length
from ehr_pipeline.embeddings.pooling import Attention, ChunkVectors, Pooled, attend, over_chunks
from ehr_pipeline.embeddings.settings import VectorSettings
from ehr_pipeline.errors import InputError
from ehr_pipeline.patients.shard import Shard

Vectors = NDArray[np.float32]
PATIENTS_PER_COMPONENT = 20
"""At least, so that halves of few patients do not agree by chance in some of many directions."""
ARRAYS, FACTS = "transform.safetensors", "transform.json"


@dataclass(frozen=True)
class Part:
    """Some patients of a shard, or of a half of it, with their chunk vectors."""

    shard: Shard
    patients: NDArray[np.int64]
    chunks: ChunkVectors


def some_of(part: Part, own: NDArray[np.int64]) -> Part:
    """Only some patients of a part, with a copy of their visits alone: `own` (p,) are indices into its patients, rising."""
    place = np.full(len(part.patients), -1)
    place[own] = np.arange(len(own))
    chunks = part.chunks
    kept = np.flatnonzero(place[chunks.patient] >= 0)
    fewer = ChunkVectors(
        chunks.vectors_CD[kept], place[chunks.patient[kept]], chunks.weights[kept], chunks.tokens[kept]
    )
    wanted = np.zeros(len(part.shard.birth_day), bool)
    wanted[part.patients[own]] = True
    visits = np.repeat(wanted, np.diff(part.shard.patient_start))
    return Part(part.shard.keep_visits(visits), part.patients[own], fewer)


@dataclass(frozen=True)
class Transform:
    """What makes the vectors of any patient. Arrays of steps that are switched off are empty."""

    settings: VectorSettings
    weights: Vectors
    """Weight of each token id (V,), 0 where it is not chosen."""
    arrays: dict[str, NDArray[Any]]
    """centre, common; concepts, passed, usual, basis, whole_centre, directions, profile_centre; aggregator.query and .key."""

    def attention(self) -> Attention | None:
        """What stands between the chunks."""
        if self.settings.attention == "trained":
            query, key = (torch.from_numpy(self.arrays[f"aggregator.{name}"]) for name in ("query", "key"))
            return partial(aggregator.attend, query, key)
        return attend if self.settings.attention == "plain" else None

    def apply(self, part: Part) -> Pooled:
        """Final vectors of some patients. Who has no chosen token has none: zeros."""
        pooled = over_chunks(part.chunks, len(part.patients), self.attention())
        vectors = pooled.vectors_PD
        if "centre" in self.arrays:
            vectors = self.without_common(vectors)
        if "basis" in self.arrays:
            told = unit_length(self.confirmed(part) - self.arrays["profile_centre"])
            share = self.settings.encoder_share
            vectors = np.hstack([np.sqrt(share) * unit_length(vectors), np.sqrt(1 - share) * told])
        vectors[pooled.tokens == 0] = 0
        return replace(pooled, vectors_PD=vectors.astype(np.float32))

    def profile(self, shard: Shard, patients: NDArray[np.int64]) -> Vectors:
        """Concept profiles of some patients (P, K), and their course and mean age behind them."""
        arrays = {name: self.arrays[name] for name in ("concepts", "passed", "usual", "basis")}
        return profile.features(shard, patients, **arrays, course=self.settings.course, ages=self.settings.ages)

    def confirmed(self, part: Part) -> Vectors:
        """Profiles in the directions that halves agree on (P, M), scaled to length 1."""
        told = self.profile(part.shard, part.patients)
        if "directions" in self.arrays:
            told = (told - self.arrays["whole_centre"]) @ self.arrays["directions"]
        return unit_length(told)

    def without_common(self, vectors: Vectors) -> Vectors:
        """Vectors (P, D) of length 1 without their common component."""
        moved: Vectors = unit_length(vectors) - self.arrays["centre"]
        common = self.arrays["common"]
        return moved - (moved @ common) @ common.T if common.shape[1] else moved

    def write(self, folder: Path) -> None:
        """Write the two files."""
        # safetensors writes memory as it lies: an array in another order would come back as another.
        arrays = {"weights": self.weights, **self.arrays}
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, folder / ARRAYS)
        (folder / FACTS).write_text(json.dumps(asdict(self.settings), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> "Transform":
        """Read what `write` wrote. Raises InputError when it is not there or damaged."""
        try:
            facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
            if facts.keys() != VectorSettings.__dataclass_fields__.keys():  # today's defaults are not how it was made
                raise ValueError("of another version")
            settings = VectorSettings(**facts)
            arrays = load_file(folder / ARRAYS)
            return cls(settings, arrays.pop("weights"), arrays)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise InputError(
                f"{folder}: {ARRAYS} and {FACTS} cannot be read ({type(error).__name__})."
                " The folder of a patient_embeddings artifact holds both."
            ) from None


@dataclass(frozen=True)
class Sample:
    """Some patients to learn from."""

    whole: Part
    halves: tuple[Part, Part]
    """The halves of the split-half test, with chunk vectors: trained attention learns from them."""
    views: tuple[Shard, Shard]
    """Two other halves of the visits of the patients of `whole.shard`: canonical directions are learned from them."""


def fit(
    settings: VectorSettings,
    weights: Vectors,
    vectors: Vectors,
    *,
    substitutes: Substitutes,
    occurrences: NDArray[np.int64],
    samples: Iterable[Sample],
    seed: int,
) -> tuple[Transform, dict[str, object]]:
    """Learn the transform from samples of the cohort, and say how it went.

    `vectors` (V, D) are the concept vectors, `occurrences` (V,) the tokens of the cohort; `substitutes` count as one. Where the
    sample is too small for canonical directions, the profile stays as it is, and that is told.
    """
    samples, arrays, told = list(samples), dict[str, NDArray[Any]](), dict[str, object]()
    transform = Transform(settings, weights, arrays)
    if settings.attention == "trained":
        trained = aggregator.train([(s.halves[0].chunks, s.halves[1].chunks) for s in samples], seed)
        arrays |= {f"aggregator.{name}": array for name, array in trained.arrays.items()}
        told["aggregator"] = trained.facts
    if settings.common_components:
        pooled = [over_chunks(s.whole.chunks, len(s.whole.patients), transform.attention()) for s in samples]
        unit = np.concatenate([unit_length(p.vectors_PD)[p.tokens > 0] for p in pooled])
        arrays["centre"] = spatial_median(unit)
        centred = unit - arrays["centre"]
        arrays["common"] = leading_axes(centred.T @ centred, settings.common_components - 1)
    if settings.profile:
        arrays["concepts"] = profile.profiled(occurrences, weights > 0)
        kin = profile.kinship(arrays["concepts"], vectors, settings.kinship)
        arrays["passed"] = substitutes.passed(arrays["concepts"]) @ kin
        arrays["usual"] = profile.usual(arrays["concepts"], occurrences, settings.smoothing)
        gram = profile.Gram(len(arrays["concepts"]))
        for sample in samples:
            for block in profile.profiles(
                sample.whole.shard, sample.whole.patients, arrays["concepts"], arrays["passed"], arrays["usual"]
            ):
                gram.add(block)
        patients = sum(len(sample.whole.patients) for sample in samples)
        arrays["basis"] = gram.components(max(2, min(settings.profile, patients // PATIENTS_PER_COMPONENT)))
    if settings.profile and settings.reliable:
        found = canonical.fit(*_views(transform, samples), settings.reliable, seed)
        told["reliable"] = _reliability(found)
        if found is not None:
            # Centred as whole records lie: halves are sparser, and long records would all lie to one side of their centre.
            whole = [transform.profile(s.whole.shard, s.whole.patients)[_there(s.whole)] for s in samples]
            arrays |= {"whole_centre": np.concatenate(whole).mean(0), "directions": found.directions}
    if settings.profile:
        confirmed = [transform.confirmed(s.whole)[_there(s.whole)] for s in samples]
        arrays["profile_centre"] = spatial_median(np.concatenate(confirmed))
    return transform, told


def _views(transform: Transform, samples: list[Sample]) -> tuple[Vectors, Vectors]:
    """Profiles of both views of the patients that have chosen concepts in both."""
    sides: tuple[list[Vectors], list[Vectors]] = ([], [])
    for sample in samples:
        told = [transform.profile(view, sample.whole.patients) for view in sample.views]
        both = told[0].any(1) & told[1].any(1)
        for side, own in zip(sides, told, strict=True):
            side.append(own[both])
    return np.concatenate(sides[0]), np.concatenate(sides[1])


def _there(part: Part) -> NDArray[np.bool_]:
    """Which patients (P,) have a chosen token: the others have no vector, and no part in the centre."""
    return np.bincount(part.chunks.patient, minlength=len(part.patients)) > 0


def _reliability(found: canonical.Canonical | None) -> dict[str, object]:
    if found is None:
        return {"directions": 0}
    return {
        "directions": len(found.reliabilities),
        "correlations": [round(float(value), 3) for value in found.reliabilities],
        "chance": round(found.chance, 3),
    }
