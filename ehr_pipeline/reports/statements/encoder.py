"""Sentences about how the encoder was trained, and how well it predicts masked concepts."""

from collections.abc import Mapping
from typing import Any

from ehr_pipeline.encoder.metrics import of_concepts
from ehr_pipeline.reports.statements.statement import Statement, counted, listed, percent, say


def trained(metrics: Mapping[str, Any]) -> list[Statement]:
    """Say how large the network is, how long it was trained, and on what task."""
    ended = "stopped when both losses were flat" if metrics["stopped_early"] else "the most that the settings allow"
    epochs = metrics["epochs"][-1]["epoch"]
    if epochs:
        course = say(
            "{parameters:,} parameters, trained on {tokens:,} tokens for {epochs} ({ended}).",
            parameters=metrics["parameters"],
            tokens=metrics["training_tokens"],
            epochs=counted(epochs, "epoch"),
            ended=ended,
        )
    else:
        course = say("{parameters:,} parameters, none of them trained in this study.", parameters=metrics["parameters"])
    return [
        course,
        *_transferred(metrics.get("transfer")),
        say(
            "The task is to guess hidden (“masked”) concepts from the rest of the record. The published network has 12.6 million"
            " parameters."
        ),
        *([say("Beside it, {others}.", others=listed(others))] if (others := _auxiliary_targets(metrics)) else []),
    ]


def _auxiliary_targets(metrics: Mapping[str, Any]) -> list[str]:
    """Return the training targets in addition to the objective, in words."""
    words = {
        "contrastive": "two stretches of a record were to be nearer to each other than to those of other patients",
        "metadata": "attributes of the patients were to be predicted",
    }
    return [
        f"{words[name]} (weight {weight:g})" for name, weight in metrics.get("weights", {}).items() if name in words
    ]


def _transferred(facts: Mapping[str, Any] | None) -> list[Statement]:
    """Say how many of this study's concepts another study's encoder knew; nothing if training began with random weights."""
    if facts is None:
        return []
    return [
        say(
            "It came from another study, which knew {matched:,} of {all:,} concepts; {share} of the events are of the others, which"
            " began at {where}.",
            matched=facts["matched"],
            all=facts["matched"] + facts["not_matched"],
            share=percent(facts["share_of_events"], 1),
            where="what their names predict" if facts["unknown"] == "names" else "the mean of all",
        )
    ]


def held_out(patients: str) -> Statement:
    """Say on how many held-out patients the scores were computed, and that they have no interval."""
    return say(
        "The scores are of the {patients} patients on the validation side, from whom nothing was learned. They have no interval:"
        " take a small difference for none.",
        patients=patients,
    )


def scores(metrics: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return rows of (measure, value of this encoder, value of guessing by frequency alone)."""
    best, base = metrics["best"], metrics["baseline"]
    loss, by_frequency = of_concepts(metrics)
    return [
        ("loss (in nats per hidden concept: lower is better)", f"{loss:.3f}", f"{by_frequency:.3f}"),
        ("right at the first guess", percent(best["validation_top1"], 1), percent(base["top1"], 1)),
        ("right among ten guesses", percent(best["validation_top10"], 1), percent(base["top10"], 1)),
    ]


def no_curve(metrics: Mapping[str, Any]) -> Statement:
    """Say why there is no learning curve, and how the training ended."""
    epochs, last = len(metrics["epochs"]), metrics["epochs"][-1]
    if not last["updates"]:
        return say("There is no learning curve, because nothing was trained in this study.")
    return say(
        "A learning curve is not drawn: {epochs} {show} no course. Training loss at the end {training:.3f}, on held-out patients"
        " {validation:.3f}.",
        epochs=counted(epochs, "epoch"),
        show="shows" if epochs == 1 else "show",
        training=last["training_loss"],
        validation=last["validation_loss"],
    )
