"""Turn a patient's chunk vectors and concepts into the final vector. The transform is learned once from the cohort, and stored.

1. The encoder's vector is computed: attention between chunks, or none, then the mean over chunks, scaled to length 1.
2. The common component is removed from it: the centre of the cohort, and leading principal components (Arora 2017; Mu & Viswanath
   2018).
3. The concept profile is computed (`embeddings.profile`): how often the patient has each concept, how that changes over time, and
   the mean age at which concepts were recorded. Concepts that substitute for each other (`concepts.substitutes`) count as one. The
   profile is then projected onto the directions that are reproduced in both halves of the visits
   (`embeddings.canonical_correlation`).
4. Both vectors are scaled to length 1, centred at their spatial median, scaled again, and concatenated. So the cosine of two
   patients is the weighted mean of two cosines, and no patient lies nearer to the centre of the cohort than others. How much the
   encoder's vector weighs is chosen from the data (`embeddings.encoder_share`); a vector of weight 0 is left out.

Each step can be switched off. With all of them off, and attention 'plain', the vectors are computed as in the published study.
`transform.safetensors` and `transform.json` hold what was learned, so vectors of new patients lie in the same space.
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
from ehr_pipeline.embeddings import aggregator, canonical_correlation, profile
from ehr_pipeline.embeddings.geometry import leading_axes, spatial_median, unit_length
from ehr_pipeline.embeddings.pooling import Attention, ChunkVectors, Pooled, attend, over_chunks
from ehr_pipeline.embeddings.settings import VectorSettings
from ehr_pipeline.embeddings.vectors import ARRAYS, FACTS
from ehr_pipeline.errors import InputError
from ehr_pipeline.patients.shard import Shard
from ehr_pipeline.tables import json_files

Vectors = NDArray[np.float32]
PATIENTS_PER_COMPONENT = 20
"""Smallest number of patients per component: with few patients and many directions, halves agree in some by chance."""


@dataclass(frozen=True)
class Part:
    """Patients of a shard, or of one half of its visits, with their chunk vectors."""

    shard: Shard
    patients: NDArray[np.int64]
    chunks: ChunkVectors

    @property
    def there(self) -> NDArray[np.bool_]:
        """Return flags (P,) of the patients with a chosen token; other patients have no vector."""
        return np.bincount(self.chunks.patient, minlength=len(self.patients)) > 0


def some_of(part: Part, rows: NDArray[np.int64]) -> Part:
    """Return a copy of a part with only some of its patients and their visits; `rows` (p,) are ascending indices of patients."""
    place = np.full(len(part.patients), -1)
    place[rows] = np.arange(len(rows))
    chunks = part.chunks
    kept = np.flatnonzero(place[chunks.patient] >= 0)
    fewer = ChunkVectors(
        chunks.vectors_CD[kept], place[chunks.patient[kept]], chunks.weights[kept], chunks.tokens[kept]
    )
    wanted = np.zeros(len(part.shard.birth_day), bool)
    wanted[part.patients[rows]] = True
    visits = np.repeat(wanted, np.diff(part.shard.patient_start))
    return Part(part.shard.keep_visits(visits), part.patients[rows], fewer)


@dataclass(frozen=True)
class Transform:
    """Computes patients' vectors. `arrays` lacks the arrays of steps that are switched off."""

    settings: VectorSettings
    weights: Vectors
    """Weight of each token id (V,); 0 when it is not chosen."""
    arrays: dict[str, NDArray[Any]]
    """centre, common; concepts, passed, usual, basis, whole_centre, directions, profile_centre; aggregator.query and .key."""

    def width(self, hidden: int) -> int:
        """Return the length of a final vector, given the hidden size of the encoder."""
        if "basis" not in self.arrays:
            return hidden
        return (hidden if self.share else 0) + (len(self.arrays["profile_centre"]) if self.share < 1 else 0)

    @property
    def share(self) -> float:
        """Return the encoder's share of the squared distance, which must have been chosen before."""
        share = self.settings.encoder_share
        if isinstance(share, str):
            raise ValueError("no share of the encoder has been chosen yet")
        return share

    def attention(self) -> Attention | None:
        """Return the attention between chunks; None if there is none."""
        if self.settings.attention == "trained":
            query, key = (torch.from_numpy(self.arrays[f"aggregator.{name}"]) for name in ("query", "key"))
            return partial(aggregator.attend, query, key)
        return attend if self.settings.attention == "plain" else None

    def apply(self, part: Part) -> Pooled:
        """Return the final vectors of the patients; zeros for a patient without a chosen token, who has no vector."""
        pooled = self.network(part)
        if "basis" not in self.arrays:
            return pooled
        share, blocks = self.share, list[Vectors]()
        if share:
            blocks.append(np.sqrt(share) * unit_length(pooled.vectors_PD))
        if share < 1:
            blocks.append(np.sqrt(1 - share) * self.centred_profile(part.shard, part.patients))
        vectors = np.hstack(blocks)
        vectors[pooled.tokens == 0] = 0
        return replace(pooled, vectors_PD=vectors.astype(np.float32))

    def network(self, part: Part) -> Pooled:
        """Return the encoder's part of the vectors, without the common component if its removal is switched on."""
        pooled = over_chunks(part.chunks, len(part.patients), self.attention())
        vectors = pooled.vectors_PD
        if "centre" in self.arrays:
            vectors = self.without_common(vectors)
        vectors[pooled.tokens == 0] = 0
        return replace(pooled, vectors_PD=vectors.astype(np.float32))

    def centred_profile(self, shard: Shard, patients: NDArray[np.int64]) -> Vectors:
        """Return the profile's part of the vectors (P, M): projected by `confirmed`, centred, and scaled to length 1."""
        return self.centred(self.profile(shard, patients))

    def centred(self, features: Vectors) -> Vectors:
        """Do the same as `centred_profile`, starting from features (P, K) that `profile` returned."""
        return unit_length(self.confirmed(features) - self.arrays["profile_centre"])

    def profile(self, shard: Shard, patients: NDArray[np.int64]) -> Vectors:
        """Return concept profiles of patients (P, K), followed by columns for change over time and mean age if switched on."""
        arrays = {name: self.arrays[name] for name in ("concepts", "passed", "usual", "basis")}
        return profile.features(shard, patients, **arrays, course=self.settings.course, ages=self.settings.ages)

    def confirmed(self, features: Vectors) -> Vectors:
        """Return features (P, K) projected on the directions in which halves agree (P, M), scaled to length 1."""
        if "directions" in self.arrays:
            features = (features - self.arrays["whole_centre"]) @ self.arrays["directions"]
        return unit_length(features)

    def without_common(self, vectors: Vectors) -> Vectors:
        """Scale vectors (P, D) to length 1, and remove their common component."""
        moved: Vectors = unit_length(vectors) - self.arrays["centre"]
        common = self.arrays["common"]
        return moved - (moved @ common) @ common.T if common.shape[1] else moved

    def write(self, folder: Path) -> None:
        """Write the files ARRAYS and FACTS."""
        # safetensors writes memory as it is laid out: an array that is not in C order would be read back with other values.
        arrays = {"weights": self.weights, **self.arrays}
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, folder / ARRAYS)
        json_files.write(folder / FACTS, asdict(self.settings))

    @classmethod
    def read(cls, folder: Path) -> "Transform":
        """Read the files that `write` wrote. Raises InputError if they are missing or damaged."""
        try:
            facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
            if facts.keys() != VectorSettings.__dataclass_fields__.keys():  # do not fill gaps with today's defaults
                raise ValueError("of another version")
            settings = VectorSettings(**facts)
            arrays = load_file(folder / ARRAYS)
            return cls(settings, arrays.pop("weights"), arrays)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise InputError(
                f"{folder}: {ARRAYS} and {FACTS} cannot be read ({type(error).__name__}). Give the folder of a"
                " patient_embeddings artifact, which contains both; if it is a copy, copy it again."
            ) from None


@dataclass(frozen=True)
class Sample:
    """Patients from whom the transform is learned."""

    whole: Part
    halves: tuple[Part, Part]
    """The halves of the split-half test, with chunk vectors; trained attention learns from them."""
    views: tuple[Shard, Shard]
    """Another division of the visits in `whole.shard` into two halves; canonical directions are learned from them."""


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
    """Learn the transform from samples of the cohort. Return it, and facts about how it was learned.

    `vectors` (V, D) are the concept vectors, `occurrences` (V,) the token counts of the cohort. Concepts that are `substitutes` of
    each other count as one. If no canonical directions are found, as in a small sample, the profile is left as it is, and the facts
    report 0 directions.
    """
    samples, arrays, facts = list(samples), dict[str, NDArray[Any]](), dict[str, object]()
    transform = Transform(settings, weights, arrays)
    if settings.attention == "trained":
        trained = aggregator.train([(s.halves[0].chunks, s.halves[1].chunks) for s in samples], seed)
        arrays |= {f"aggregator.{name}": array for name, array in trained.arrays.items()}
        facts["aggregator"] = trained.facts
    if settings.common_components:
        pooled = [over_chunks(s.whole.chunks, len(s.whole.patients), transform.attention()) for s in samples]
        unit = np.concatenate([unit_length(p.vectors_PD)[p.tokens > 0] for p in pooled])
        arrays["centre"] = spatial_median(unit)
        centred = unit - arrays["centre"]
        arrays["common"] = leading_axes(centred.T @ centred, settings.common_components - 1)
    if settings.profile:
        arrays["concepts"] = profile.profiled(occurrences, weights > 0)
        kin = profile.kinship(arrays["concepts"], vectors, settings.kinship)
        arrays["passed"] = substitutes.exchange(arrays["concepts"]) @ kin
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
        canonical = canonical_correlation.fit(*_views(transform, samples), settings.reliable, seed)
        facts["reliable"] = _reliability(canonical)
        if canonical is not None:
            # Centre at the mean of whole records: halves are sparser, and long records would all lie on one side of the halves'
            # centre.
            whole = [transform.profile(s.whole.shard, s.whole.patients)[s.whole.there] for s in samples]
            arrays |= {"whole_centre": np.concatenate(whole).mean(0), "directions": canonical.directions}
    if settings.profile:
        # Patients without a chosen token do not influence the centre.
        confirmed = [
            transform.confirmed(transform.profile(s.whole.shard, s.whole.patients))[s.whole.there] for s in samples
        ]
        arrays["profile_centre"] = spatial_median(np.concatenate(confirmed))
    return transform, facts


def _views(transform: Transform, samples: list[Sample]) -> tuple[Vectors, Vectors]:
    """Return profiles of both halves of the visits (`Sample.views`), for the patients who have profiled concepts in both halves."""
    sides: tuple[list[Vectors], list[Vectors]] = ([], [])
    for sample in samples:
        profiles = [transform.profile(view, sample.whole.patients) for view in sample.views]
        both = profiles[0].any(1) & profiles[1].any(1)
        for side, part in zip(sides, profiles, strict=True):
            side.append(part[both])
    return np.concatenate(sides[0]), np.concatenate(sides[1])


def _reliability(canonical: canonical_correlation.Canonical | None) -> dict[str, object]:
    if canonical is None:
        return {"directions": 0}
    return {
        "directions": len(canonical.reliabilities),
        "correlations": [round(float(value), 3) for value in canonical.reliabilities],
        "chance": round(canonical.chance, 3),
    }
