"""Choose from the data the encoder's share of a patient's vector: the share for which both halves of a record agree best.

Groups are made by k-means on whole records, and each half of a patient's visits is assigned to one of these groups. Two halves
agree if they are in the same group. The measure is how much more often the halves of one patient agree than the halves of different
patients of the same disease and sex, and of similar age and number of recorded concepts. So agreement that comes from age or
disease does not count, and groups that follow these attributes leave less to agree on. (Cohen's kappa would reward such groups,
because it divides by the agreement that is left to reach.) The measure is averaged over several numbers of groups.

Retrieval of a patient's other half (`clusters.contributions`) would be a bad criterion. It measures whether vectors identify a
person, which many weak traits can do, and it favours a share that hides the groups (docs/ablation.md).

The patients are divided into two parts, block by block. Canonical directions and groups are learned from one part and evaluated on
the other, and then the other way round. A share is accepted only if it is better than no encoder, by intervals that hold for all
shares tried (Bonferroni). Of the accepted shares, the best is chosen.

Axes: n patients, D dimensions.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ehr_pipeline.embeddings import ablations, canonical_correlation
from ehr_pipeline.embeddings.geometry import spatial_median, unit_length
from ehr_pipeline.embeddings.patient_blocks import Estimate, Labels, matched_blocks, mean_over_blocks
from ehr_pipeline.embeddings.transform import Part, Sample, Transform
from ehr_pipeline.embeddings.vectors import SHARE
from ehr_pipeline.store.artifacts import Artifact

_log = logging.getLogger("ehr_pipeline")
SHARES = (0.1, 0.2, 0.3, 0.5)
"""Shares to try, in addition to 0."""
GROUPS, STARTS = (5, 10, 20), 3
"""Numbers of groups, and number of random starts of k-means for each."""
MOST, FEWEST = 5_000, 200
"""Largest number of patients used for the choice, and the smallest; with fewer patients, the share is 0."""
CERTAIN = NormalDist().inv_cdf(1 - 0.05 / (2 * len(SHARES)))
"""Half the width of each interval in standard deviations, so all intervals hold together in 95 % of cases."""
Vectors = NDArray[np.float32]
Three = tuple[Vectors, Vectors, Vectors]
"""Vectors (n, D) of the same patients: of whole records, and of each half."""


@dataclass(frozen=True)
class TriedShare:
    """A share that was tried, and how well the halves of records agree on the groups made with it."""

    share: float
    agreement: float
    """How much more often a patient's two halves agree than halves of two similar patients, averaged over patients."""
    gain: Estimate
    """Agreement minus the agreement without the encoder, for the same patients."""


@dataclass(frozen=True)
class ChosenShare:
    """The chosen share, and all shares tried, of which the first is 0."""

    share: float
    patients: int
    tried: tuple[TriedShare, ...]

    @property
    def adds(self) -> TriedShare | None:
        """Return the tried share that shows how much the encoder adds: the chosen share or, if that is 0, the best other share."""
        some = [one for one in self.tried if (one.share == self.share if self.share else one.share)]
        return max(some, key=lambda one: one.gain.value, default=None)

    def as_dict(self) -> dict[str, Any]:
        """Return a dictionary for the artifact's counts, which `of` reads."""
        gains = [one.gain for one in self.tried]
        return {
            "share": self.share,
            "patients": self.patients,
            "tried": [one.share for one in self.tried],
            "agreement": [one.agreement for one in self.tried],
            "gain": [gain.value for gain in gains],
            "low": [gain.low for gain in gains],
            "high": [gain.high for gain in gains],
        }

    @classmethod
    def of(cls, embeddings: Artifact) -> "ChosenShare | None":
        """Read the choice from the counts of a `patient_embeddings` artifact; None if its share was set by hand."""
        counts = embeddings.counts.get(SHARE)
        if counts is None:
            return None
        columns = (counts[name] for name in ("tried", "agreement", "gain", "low", "high"))
        tried = (TriedShare(at, agreed, Estimate(*gain)) for at, agreed, *gain in zip(*columns, strict=True))
        return cls(counts["share"], counts["patients"], tuple(tried))


def choose(
    learned: Transform, samples: list[Sample], kinds: Callable[[int, NDArray[np.int64]], NDArray[Any]], seed: int
) -> ChosenShare:
    """Choose the encoder's share for a transform with a profile.

    `kinds(number, rows)` returns disease and sex, as one text, of the patients in some rows of the shard with the index `number`.
    """
    some = ablations.sampled(samples, MOST)
    usable = np.concatenate([np.all([part.there for part in (one.whole, *one.halves)], axis=0) for one in some])
    if usable.sum() < FEWEST:
        return ChosenShare(0.0, int(usable.sum()), ())

    def joined(vectors: Callable[[Part], Vectors]) -> Three:
        whole, one, other = (
            np.concatenate([vectors(part) for part in parts])[usable]
            for parts in zip(*((one.whole, *one.halves) for one in some), strict=True)
        )
        return whole, one, other

    def viewed(side: int) -> Vectors:
        views = [learned.profile(one.views[side], one.whole.patients) for one in some]
        both: Vectors = np.concatenate(views)[usable]
        return both

    numbers = np.concatenate([_age_and_amount(one.whole) for one in some])[usable]
    kind = np.concatenate([kinds(number, one.whole.patients) for number, one in enumerate(some)])[usable]
    blocks = matched_blocks([kind], list(numbers.T))
    if (matched := int((np.bincount(blocks)[blocks] > 1).sum())) < FEWEST:  # the others have nobody to be compared with
        return ChosenShare(0.0, matched, ())
    profiles = joined(lambda part: learned.profile(part.shard, part.patients))
    whole, one, other = joined(lambda part: learned.network(part).vectors_PD)
    network = unit_length(whole), unit_length(one), unit_length(other)
    views = (viewed(0), viewed(1)) if "directions" in learned.arrays else None
    chosen = compared(profiles, views, network, blocks, most=learned.settings.reliable, seed=seed)
    adds = chosen.adds
    if adds:
        _log.info(
            "The encoder accounts for %.0f %% of the squared distance between patients. With %.0f %%, halves of records agree on"
            " groups by %+.3f (%+.3f to %+.3f) more than without it",
            *(100 * chosen.share, 100 * adds.share, adds.gain.value, adds.gain.low, adds.gain.high),
        )
    return chosen


def compared(
    profiles: Three, views: tuple[Vectors, Vectors] | None, network: Three, blocks: Labels, *, most: int, seed: int
) -> ChosenShare:
    """Compare the shares, and choose one.

    `profiles` are the profile's features. `views` are the same features for another division of the visits into halves; up to
    `most` canonical directions are learned from them. If `views` is None, the features are used unchanged. `blocks` (n,) is the
    index of each patient's block of similar patients.
    """
    rng = np.random.default_rng([seed, 0x5A4E])
    learns = (rng.permutation(int(blocks.max()) + 1) % 2 == 0)[blocks]
    scores = {share: np.zeros(len(blocks)) for share in (0.0, *SHARES)}
    for fitted in (learns, ~learns):
        judged = np.flatnonzero(~fitted)
        parts = _confirmed(profiles, views, fitted, most, seed)
        for share, score in scores.items():
            joined = [
                np.hstack([np.sqrt(share) * block, np.sqrt(1 - share) * part])
                for block, part in zip(network, parts, strict=True)
            ]
            score[judged] = agreement(joined[0][fitted], (joined[1][judged], joined[2][judged]), blocks[judged], seed)
    kept = np.bincount(blocks)[blocks] > 1
    gains = {
        share: mean_over_blocks((score - scores[0.0])[kept], blocks[kept], CERTAIN) for share, score in scores.items()
    }
    better = [share for share in SHARES if gains[share].low > 0]
    tried = tuple(
        TriedShare(share, round(float(score[kept].mean()), 4), _rounded(gains[share]))
        for share, score in scores.items()
    )
    best = max(better, key=lambda share: gains[share].value, default=0.0)
    return ChosenShare(best, int(kept.sum()), tried)


def agreement(fitted: Vectors, halves: tuple[Vectors, Vectors], blocks: Labels, seed: int) -> NDArray[np.float64]:
    """Return, for each patient (m,), how often both halves (m, D) are in the same group, beyond chance. Groups are learned from the
    vectors `fitted` (n, D) of other patients.

    Chance is measured on other patients of the same block; the value is 0 for a patient who is alone in a block.
    """
    from sklearn.cluster import KMeans

    sizes = np.bincount(blocks)[blocks]
    score = np.zeros(len(blocks))
    for groups in GROUPS:
        for start in range(STARTS):
            model = KMeans(groups, n_init=1, random_state=seed + start).fit(fitted)
            one, other = (model.predict(half) for half in halves)
            same = (one == other).astype(float)
            chance = [_agreement_in_blocks(*pair, blocks, groups) for pair in ((one, other), (other, one))]
            score += np.where(sizes > 1, same - sum(chance) / 2, 0)
    return score / (len(GROUPS) * STARTS)


def _agreement_in_blocks(this_half: Labels, other_half: Labels, blocks: Labels, groups: int) -> NDArray[np.float64]:
    """Return, for each patient (m,), the share of the other patients in the block whose label in `other_half` equals the patient's
    label in `this_half`."""
    _, block, sizes = np.unique(blocks, return_inverse=True, return_counts=True)
    counts = np.bincount(block * groups + other_half, minlength=len(sizes) * groups).reshape(-1, groups)
    others = counts[block, this_half] - (this_half == other_half)
    return np.asarray(others / np.maximum(sizes[block] - 1, 1), np.float64)


def _confirmed(
    profiles: Three, views: tuple[Vectors, Vectors] | None, fitted: NDArray[np.bool_], most: int, seed: int
) -> list[Vectors]:
    """Return profiles as by `Transform.centred_profile`, with directions and centres learned only from `fitted` (n,) patients."""
    reliable = None
    if views is not None:
        both = fitted & views[0].any(axis=1) & views[1].any(axis=1)
        reliable = canonical_correlation.fit(views[0][both], views[1][both], most, seed)
    parts = list(profiles)
    if reliable is not None:
        centre = profiles[0][fitted].mean(0)
        parts = [(part - centre) @ reliable.directions for part in parts]
    parts = [unit_length(part) for part in parts]
    middle = spatial_median(parts[0][fitted])
    return [unit_length(part - middle) for part in parts]


def _age_and_amount(part: Part) -> NDArray[np.float64]:
    """Return each patient's mean age in days over the record, and number of tokens (P, 2)."""
    shard = part.shard
    numbers = np.stack([shard.mean_days() - shard.birth_day, np.diff(shard.patient_tokens)], axis=1)
    return np.asarray(numbers[part.patients], np.float64)


def _rounded(gain: Estimate) -> Estimate:
    return Estimate(*(round(value, 4) for value in (gain.value, gain.low, gain.high)))
