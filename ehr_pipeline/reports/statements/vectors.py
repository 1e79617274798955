"""Sentences about the parts of the patients' vectors: how much of the distances comes from each, the largest first."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ehr_pipeline.reports.statements.statement import Statement, listed, percent, say


@dataclass(frozen=True)
class VectorMethod:
    """How the vectors of a run were made."""

    settings: Mapping[str, Any]
    """The settings of the vectors (`embeddings.settings.VectorSettings`)."""
    preset: str
    changed: bool
    """Whether the settings differ from the preset."""
    pooling: str
    """'all', 'types' or 'list': which recorded concepts are pooled."""
    neighbours: bool
    """Whether, with a list, the encoder chose further concepts: the neighbours of those on it."""
    chosen: int
    """Number of pooled concepts."""
    vocabulary: int
    substitutes: bool
    """Whether some concepts are merged, because they are recorded in place of each other."""
    confirmed: bool
    """Whether the profile keeps only the parts that both halves of the visits confirm."""

    @property
    def by_network(self) -> bool:
        """Whether the encoder contributes to the vectors: as a separate part, by the similarities of concepts, or by choosing
        concepts."""
        own = not self.settings["profile"] or bool(self.settings["encoder_share"] or self.settings["kinship"])
        return own or (self.pooling == "list" and self.neighbours)


def concepts(made: VectorMethod) -> str:
    """Return, in words, the recorded concepts from which a vector is made. Where no concept has a semantic type, all are chosen."""
    chosen = f"{made.chosen:,} of {made.vocabulary:,} concepts"
    near = " or are nearest to a concept that is" if made.neighbours else ""
    over = {
        "all": "all recorded concepts",
        "types": f"the recorded concepts of chosen semantic types ({chosen})",
        "list": f"those recorded concepts that are on a list{near} ({chosen})",
    }["all" if made.chosen == made.vocabulary else made.pooling]
    return f"{over}, including those that count as one with any of them" if made.substitutes else over


def what_decides(made: VectorMethod) -> list[Statement]:
    """Say which parts the distance between two patients comes from, the most important first."""
    settings = made.settings
    if not settings["profile"]:
        return [
            say(
                "Each patient’s vector is the mean of the vectors that the encoder, a neural network, computes for {over}.",
                over=concepts(made),
            )
        ]
    share = settings["encoder_share"]
    parts = sorted([(1 - share, profile(made)), (share, encoder(made))], key=lambda part: -part[0])
    sentences = [part for decided, part in parts if decided]
    if made.confirmed and share < 1:
        sentences.append(
            say(
                "The concept profile uses only features that agree between two random halves of a patient’s visits, weighted by"
                " how well they agree."
            )
        )
    return sentences


def profile(made: VectorMethod) -> Statement:
    """Say what the concept profile contains, and how much of the distance comes from it."""
    settings = made.settings
    holds = ["their shares in the record"]
    if settings["course"]:
        holds.append("how these shares changed from the earlier half of the record to the later half")
    if settings["ages"]:
        holds.append("the mean age at which they were recorded")
    similar = (
        " Similar concepts are treated as partly the same, using the encoder’s similarities."
        if settings["kinship"]
        else ""
    )
    return say(
        "The concept profile accounts for {share} of the squared distance between two patients. It is made from {over}:"
        " {holds}.{similar}",
        share=percent(1 - settings["encoder_share"]),
        over=concepts(made),
        holds=listed(holds, ", and "),
        similar=similar,
    )


def encoder(made: VectorMethod) -> Statement:
    """Say how much of the distance comes from the encoder."""
    return say(
        "The encoder, a neural network, accounts for {share}: the mean of the vectors that it computes for the same concepts.",
        share=percent(made.settings["encoder_share"]),
    )


def learned(made: VectorMethod) -> Statement:
    """Say what the encoder learned from, or that it has no part in the vectors."""
    return no_part(made) or say(
        "The encoder learned which concepts occur in the same records, and at what age, without knowing which"
        " patient has which disease."
    )


def no_part(made: VectorMethod) -> Statement | None:
    """Say that the clusters do not rest on the encoder; None if it has a part in the vectors."""
    if made.by_network:
        return None
    return say(
        "The encoder, a neural network, accounts for 0 % of the distances between patients: the clusters do not depend on it."
    )


def called(made: VectorMethod) -> Statement:
    """Name the preset of the settings that makes these choices."""
    return say(
        "This set of choices is called “{preset}” in the settings{changed}.",
        preset=made.preset,
        changed="; some of them were changed for this run" if made.changed else "",
    )
