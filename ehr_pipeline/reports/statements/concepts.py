"""Whether neighbours of concepts are meaningful: recorded together, of the same semantic type, in the same ontology group."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ehr_pipeline.concepts.recorded_together import DRAWS, JointVisits
from ehr_pipeline.reports.statements.statement import Rate, Statement, counted, percent, say

TWICE = 2.0
"""Semantic types clearly support the neighbours from this multiple of the share expected by chance."""
MAX_CHANCE = 1 / TWICE
"""If the share by chance is at least this, semantic types show nothing, because no share could be twice as large."""
FEWEST_CONCEPTS = 10
"""With fewer concepts than this, semantic types show nothing."""
MAX_P = 0.05


@dataclass(frozen=True)
class TypeAgreement:
    """Mean share of neighbours that have a semantic type of their concept, and the share by chance, over some concepts."""

    concepts: int
    share: float
    chance: float
    low: float
    """The lower end of the 95 % interval, over concepts, of the share minus the share by chance; the interval is symmetric."""

    @property
    def interval(self) -> str:
        """The difference of the shares with its interval, in percentage points; empty if it is unknown."""
        difference = self.share - self.chance
        if not math.isfinite(self.low):
            return ""
        return f"{100 * self.low:+.0f} to {100 * (2 * difference - self.low):+.0f}"

    @property
    def can_tell(self) -> bool:
        """Whether the measure can distinguish meaningful neighbours from others."""
        return self.concepts >= FEWEST_CONCEPTS and self.chance < MAX_CHANCE


def purpose() -> Statement:
    """Say what is checked, and for what reason."""
    return say("If the encoder understood the records, the neighbours of a concept should make sense to a clinician.")


def recorded_together(found: JointVisits | None, patients: str) -> Statement:
    """Say whether neighbours are recorded together in visits not used for training. `found` is None if this could not be tested.

    `patients`: the number of held-out patients, as it may be shown.
    """
    if found is None:
        return say(
            "It is not known whether neighbours are recorded together: too few patients were held out from the training of the"
            " encoder, or they have too few visits with these concepts."
        )
    meaning = "That is no more than expected by chance: do not rely on these neighbours."
    if found.p < MAX_P and found.low > 1:
        part = "" if found.ratio >= TWICE else ", in part,"
        meaning = f"So the neighbours reflect{part} what is recorded together; look at the rows before you trust single neighbours."
    return say(
        "In the visits of {patients} patients who were held out from the training of the encoder, concepts and their neighbours"
        " ({pairs}) are recorded together {ratio:.2f} times as often as other pairs of equally frequent concepts (95 % interval"
        " {low:.2f}–{high:.2f} over patients; permutation p {sign} {p:.3f}, {permutations} permutations). {meaning}",
        Rate.NEIGHBOURS,
        patients=patients,
        pairs=counted(found.pairs, "pair"),
        permutations=DRAWS,
        ratio=found.ratio,
        low=found.low,
        high=found.high,
        sign="<" if found.p < MAX_P / 10 else "=",
        p=max(found.p, MAX_P / 10),
        meaning=meaning,
    )


def types(interest: TypeAgreement | None, own: TypeAgreement | None) -> Statement | None:
    """Say whether neighbours share semantic types more often than by chance; None without types. `own`: for the cohort's
    diseases."""
    if interest is None:
        return None
    sentence = (
        f"Of the nearest neighbours of {interest.concepts:,} concepts of interest in the whole vocabulary,"
        f" {percent(interest.share)} have the same semantic type as the concept (such as “disease” or “laboratory test”);"
        f" {percent(interest.chance)} are expected by chance{_points_between(interest)}. {_of_types(interest)}"
    )
    if own is not None:
        sentence += (
            f" For the diseases of the cohort ({own.concepts:,} concepts; the first rows below), it is {percent(own.share)};"
            f" {percent(own.chance)} are expected by chance{_points_between(own)}. {_of_own_types(own)}"
        ).rstrip()
    return say("{sentence}", Rate.NEIGHBOURS, sentence=sentence)


def _points_between(agreement: TypeAgreement) -> str:
    return (
        f" (95 % interval of the difference over concepts: {agreement.interval} points)" if agreement.interval else ""
    )


def _of_types(interest: TypeAgreement) -> str:
    """Return an interpretation of the shares, or why they have none."""
    if interest.concepts < FEWEST_CONCEPTS:
        return "This measure cannot show whether neighbours are meaningful: there are too few concepts."
    if not interest.can_tell:
        return (
            "This measure cannot show whether neighbours are meaningful: most of the vocabulary has the same few types."
        )
    if interest.low <= 0:
        return "That is no more than expected by chance: semantic types do not support these neighbours."
    if interest.share < TWICE * interest.chance:
        return "That is more than expected by chance, but less than twice as much."
    return "That is at least twice what is expected by chance, but semantic types are broad."


def _of_own_types(own: TypeAgreement) -> str:
    """Return an interpretation of the shares of the cohort's own diseases; empty where the measure cannot tell."""
    if own.concepts < FEWEST_CONCEPTS:
        return "These are too few concepts to rely on."
    if not own.can_tell:
        return ""
    return "That is more than expected by chance." if own.low > 0 else "That is no more than expected by chance."


def ontology(found: Mapping[str, Any] | None) -> Statement:
    """Say whether neighbours belong to the same group of a disease ontology. `found` is None if no ontology is set."""
    if not found:
        return say(
            "Whether neighbours belong to the same group of a disease ontology was not measured, because no ontology is set"
            " (concepts.ontology)."
        )
    if "share" not in found:
        return say(
            "Only {concepts:,} concepts have a group in the disease ontology: too few to test whether neighbours belong to the"
            " same group.",
            concepts=found["concepts"],
        )
    low, high = found["excess_interval"]
    if low > 0:
        meaning = (
            f"The encoder has learned something about these groups, although it never saw them: {_points(found['excess'])} points"
            f" ({_points(low)}–{_points(high)}) above chance."
        )
    else:
        meaning = "That is no more than expected by chance."
    return say(
        "{concepts:,} concepts have a group in the disease ontology. Of their {neighbours} nearest neighbours, {share} (95 %"
        " interval {from_share}–{to_share}) belong to one of the groups of the concept; {chance} are expected by chance."
        " {meaning}",
        Rate.NEIGHBOURS,
        neighbours=found["neighbours"],
        concepts=found["concepts"],
        share=percent(found["share"], 1),
        from_share=_points(found["share_interval"][0]),
        to_share=percent(found["share_interval"][1], 1),
        chance=percent(found["chance"], 1),
        meaning=meaning,
    )


def _points(share: float) -> str:
    return f"{100 * share:.1f}"


def habits(sentence: str) -> Statement:
    """Say whether some concepts are recorded in place of others. `sentence` comes from `substituted_concepts`."""
    return say("Recording habits: {sentence}", sentence=sentence)


def more_sets(number: int) -> Statement | None:
    """Say how many sets of concepts the page leaves out; None if none."""
    if number <= 0:
        return None
    return say(
        "substitutes.csv of the asset patient_embeddings lists {number:,} more {sets}.",
        number=number,
        sets="set" if number == 1 else "sets",
    )
