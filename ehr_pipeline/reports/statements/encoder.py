"""Sentences about how the encoder was trained, and how well it predicts masked concepts."""

from collections.abc import Mapping
from typing import Any

from ehr_pipeline.encoder.metrics import of_concepts
from ehr_pipeline.reports.statements.statement import Statement, counted, listed, percent, say


def trained(metrics: Mapping[str, Any]) -> list[Statement]:
    """Say how large the encoder is, how long it was trained, and on what task."""
    ended = (
        "stopped when both losses were flat"
        if metrics["stopped_early"]
        else "the largest number that the settings allow"
    )
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
        course = say("{parameters:,} parameters, not trained in this study.", parameters=metrics["parameters"])
    return [
        course,
        *_transferred(metrics.get("transfer")),
        say(
            "The task is to guess hidden (“masked”) concepts from the rest of the record. The published encoder has 12.6 million"
            " parameters."
        ),
        *([say("In addition, {others}.", others=listed(others))] if (others := _auxiliary_targets(metrics)) else []),
    ]


def _auxiliary_targets(metrics: Mapping[str, Any]) -> list[str]:
    """Return the training targets in addition to the objective, in words."""
    words = {
        "contrastive": "two pieces of one record were trained to be more similar than pieces of different patients",
        "metadata": "the encoder was trained to predict attributes of the patients",
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
            "The encoder comes from another study, which knew {matched:,} of {all:,} concepts. {share} of the events have one of"
            " the other concepts, whose vectors started at {where}.",
            matched=facts["matched"],
            all=facts["matched"] + facts["not_matched"],
            share=percent(facts["share_of_events"], 1),
            where="what their names predict" if facts["unknown"] == "names" else "the mean of all vectors",
        )
    ]


def held_out(patients: str) -> Statement:
    """Say on how many held-out patients the scores were computed, and that they have no interval."""
    return say(
        "The scores come from the validation set ({patients} patients), which was not used for training. They have no"
        " interval: do not rely on small differences.",
        patients=patients,
    )


def scores(metrics: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return rows of (measure, value of this encoder, value of guessing by frequency alone)."""
    best, base = metrics["best"], metrics["baseline"]
    loss, by_frequency = of_concepts(metrics)
    return [
        ("loss (in nats per hidden concept; lower is better)", f"{loss:.3f}", f"{by_frequency:.3f}"),
        ("first guess correct", percent(best["validation_top1"], 1), percent(base["top1"], 1)),
        ("correct among the first ten guesses", percent(best["validation_top10"], 1), percent(base["top10"], 1)),
    ]


def no_curve(metrics: Mapping[str, Any]) -> Statement:
    """Say why there is no learning curve, and how the training ended."""
    epochs, last = len(metrics["epochs"]), metrics["epochs"][-1]
    if not last["updates"]:
        return say("There is no learning curve, because this study trained nothing.")
    return say(
        "No learning curve is drawn, because training had only {epochs}. At the end, the training loss is {training:.3f}, and the"
        " loss on held-out patients {validation:.3f}.",
        epochs=counted(epochs, "epoch"),
        training=last["training_loss"],
        validation=last["validation_loss"],
    )
