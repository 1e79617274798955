"""Write the model card, which is stored with the weights: what a new user must know before using them."""

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import torch

from ehr_pipeline import __version__
from ehr_pipeline.disclosure.figures import FEWEST as FEWEST_PATIENTS
from ehr_pipeline.disclosure.figures import count_text
from ehr_pipeline.encoder.objectives.base import Objective
from ehr_pipeline.encoder.settings import EncoderSettings
from ehr_pipeline.typed_settings import identity
from ehr_pipeline.vocabulary.table import Vocabulary


def text(settings: EncoderSettings, vocabulary: Vocabulary, objective: Objective, metrics: dict[str, Any]) -> str:
    """Return the card as Markdown, with the header that the Hugging Face hub reads."""
    return f"""---
library_name: transformers
pipeline_tag: {objective.pipeline_tag}
tags: [ehr, {objective.tag}]
---
# Encoder of patient histories

A RobertaPreLayerNorm model with {metrics["parameters"]:,} parameters, trained {_where(metrics)} by {objective.task} on the
coded concepts in patients' health records. It takes a patient's history as a list of concepts and gives a vector for each, or
{objective.answers}. Made with ehr_pipeline {__version__}, torch {torch.__version__} and transformers
{version("transformers")}; seed {metrics["seed"]}. {_machine(metrics["machine"])}

Research software: not a medical device, and not to be used for decisions about a patient. The weights were made from patients'
records, and a model can give away what it was trained on: hand it on under the same rules as the records.

## Input

- One concept is one token; `vocabulary.csv` names them. A code that is not in it becomes `[UNK]` without a warning.
- A history is in order of dates, and within a day in order of token ids. Nothing is added at either end.
- The position id of a token is the patient's age at that time, in whole {settings.age_unit}s, plus one.
  **Always pass it.** Without `position_ids` the stock class counts 0, 1, 2 … and its answers mean nothing.
- At most {settings.context} tokens at once: the model never saw longer pieces. Cut a longer history.

## Use

{objective.example(settings.age_unit)}

Hidden states, to make patient vectors of: `AutoModel.from_pretrained(".", add_pooling_layer=False)`.

## Data

| | Patients | Tokens |
|---|---|---|
{_training(metrics)}| validation | {count_text(metrics["validation_patients"])} | {count_text(metrics["validation_tokens"])} |

{_began(metrics)}Vocabulary: {len(vocabulary.concepts):,} concepts, hash `{vocabulary.hash}`. Token ids mean nothing under another
vocabulary. {_names(vocabulary)} Ages outside the position table, moved to its ends: {count_text(metrics["clipped_ages"])}.
Share of padding among the computed slots: {metrics["padding_share"]:.2%}.

## Results on the validation patients

{_validation_use(metrics)} {objective.results(metrics)}

{_curves(objective, metrics)}

## Settings

{_settings(settings)}
"""


def _names(vocabulary: Vocabulary) -> str:
    """Return a sentence on whether the list of concepts may reveal a small group of patients."""
    few = len(vocabulary.concepts) - len(vocabulary.of_patients(FEWEST_PATIENTS))
    if not few:
        return f"Each was recorded of at least {FEWEST_PATIENTS} patients when the training began."
    return (
        f"**{few:,} of them were recorded of fewer than {FEWEST_PATIENTS} patients, and their names tell of them: do not hand this"
        " folder on.** A model that may be handed on is trained with `vocabulary.min_patients`."
    )


def _machine(machine: dict[str, str]) -> str:
    """Return a sentence on what the machine decided for settings that are `auto`."""
    compiled = {"yes": "compiled", "no": "not compiled"}.get(machine["compiled"], "compiled in part")
    device = machine["device"].replace("cpu", "a CPU").replace("cuda", "a GPU")
    return (
        f"Trained on {device} in {machine['precision']}, {compiled}: hidden states are computed in the same precision."
    )


def _table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def _curves(objective: Objective, metrics: dict[str, Any]) -> str:
    if not _trained(metrics):
        return "Nothing was trained here, so there are no learning curves."
    header, rows = "", []
    for row in metrics["epochs"]:
        scores = {name.removeprefix("validation_"): value for name, value in row.items()}
        header, score = objective.column(scores)
        losses = (f"{row['training_loss']:.4f}", f"{row['validation_loss']:.4f}")
        rows.append((str(row["epoch"]), f"{row['updates']:,}", *losses, score))
    end = (
        "Training ended because both losses were flat."
        if metrics["stopped_early"]
        else "Training ran to its last epoch."
    )
    table = _table(("Epoch", "Updates", "Training loss", "Validation loss", header), rows)
    return f"## Learning curves\n\n{table}\n\n{end}"


def _settings(settings: EncoderSettings) -> str:
    values = identity(settings)
    values |= {f"transfer.{name}": value for name, value in values.pop("transfer", {}).items()}
    return _table(("Setting", "Value"), [(f"`{name}`", f"`{value}`") for name, value in values.items()])


def _trained(metrics: dict[str, Any]) -> bool:
    return bool(metrics["epochs"][-1]["updates"])


def _where(metrics: dict[str, Any]) -> str:
    """Return words that say where the training took place."""
    if "transfer" not in metrics:
        return "from scratch"
    return "by another study and further on other patients" if _trained(metrics) else "by another study"


def _training(metrics: dict[str, Any]) -> str:
    """Return the line about the training patients; empty if there are none."""
    if not _trained(metrics):
        return ""
    return f"| training | {count_text(metrics['training_patients'])} | {count_text(metrics['training_tokens'])} |\n"


def _validation_use(metrics: dict[str, Any]) -> str:
    """Return a sentence on how the validation patients were used in the training."""
    if not _trained(metrics):
        return "Patients of this study, of whom nothing was learned here."
    return "Patients whom the training never saw; the best epoch was chosen on them, which flatters it a little."


def _began(metrics: dict[str, Any]) -> str:
    """Return a sentence on where the weights came from before training; empty if they were random."""
    if "transfer" in metrics:
        return _transferred(metrics["transfer"])
    if "tokens_added" not in metrics:
        return ""
    added = f"{metrics['tokens_added']:,} concepts that were new to it"
    return f"The training went on from the weights of an earlier one, with {added}.\n"


def _transferred(facts: dict[str, Any]) -> str:
    """Return sentences on another study's encoder from which training started, and on the concepts that it did not know."""
    use = "The training began from" if facts["use"] == "tuned" else "Nothing was trained here: this is"
    text = (
        f"{use} the encoder of another study, which knew {facts['matched']:,} of these concepts;\n{facts['not_matched']:,}, with"
        f" {facts['share_of_events']:.1%} of this study's events, were unknown to it."
    )
    if facts["not_matched"] and facts["unknown"] == "names":
        text += (
            f" They began at what their names predict, which explains {facts['explained_by_names']:.0%} of how the vectors of known"
            " concepts differ."
        )
    elif facts["not_matched"]:
        text += " They began at the mean of all known concepts."
    return text + "\n\n"
