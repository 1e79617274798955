"""The model card that lies beside the weights: what a stranger needs to know before using them."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch
import transformers

from ehr_pipeline import __version__
from ehr_pipeline.disclosure.figures import FEWEST as FEWEST_PATIENTS
from ehr_pipeline.disclosure.figures import Guard, told
from ehr_pipeline.disclosure.kinds import Events, Share
from ehr_pipeline.encoder.evaluate import Tally
from ehr_pipeline.encoder.settings import EncoderSettings
from ehr_pipeline.fields import identity
from ehr_pipeline.terminology.semantic_types import TYPE_NAMES
from ehr_pipeline.vocabulary.table import Vocabulary

FEWEST = 100  # masked tokens of a semantic type that are needed for a figure


def by_semantic_type(vocabulary: Vocabulary, model: Tally, baseline: Tally) -> list[dict[str, Any]]:
    """Scores by semantic type, most asked first, for types that were asked often enough; a concept counts in each of its types."""
    tokens: dict[str, list[int]] = {}
    for concept in vocabulary.concepts:
        for tui in concept.semantic_types:
            tokens.setdefault(tui, []).append(concept.token_id)
    rows = []
    for tui, ids in tokens.items():
        ours, theirs = model.scores(ids), baseline.scores(ids)
        if ours.masked_tokens >= FEWEST:
            rows.append(
                {
                    "type": tui,
                    "name": TYPE_NAMES.get(tui, tui),
                    **asdict(ours),
                    "baseline_loss": theirs.loss,
                    "baseline_top10": theirs.top10,
                }
            )
    return sorted(rows, key=lambda row: (-row["masked_tokens"], row["type"]))


def text(settings: EncoderSettings, vocabulary: Vocabulary, metrics: dict[str, Any]) -> str:
    """The card, as Markdown with the head that the Hugging Face hub reads."""
    best, baseline = metrics["best"], metrics["baseline"]
    masked = int(best["validation_masked_tokens"])
    return f"""---
library_name: transformers
pipeline_tag: fill-mask
tags: [ehr, masked-language-modeling]
---
# Encoder of patient histories

A RobertaPreLayerNorm model with {metrics["parameters"]:,} parameters, trained from scratch by masked language modelling on the
coded concepts in patients' health records. It takes a patient's history as a list of concepts and gives a vector for each, or
the likeliest concepts in a masked place. Made with ehr_pipeline {__version__}, torch {torch.__version__} and transformers
{transformers.__version__}; seed {metrics["seed"]}. {_machine(metrics["machine"])}

Research software: not a medical device, and not to be used for decisions about a patient. The weights were made from patients'
records, and a model can give away what it was trained on: hand it on under the same rules as the records.

## Input

- One concept is one token; `vocabulary.csv` names them. A code that is not in it becomes `[UNK]` without a warning.
- A history is in order of dates, and within a day in order of token ids. Nothing is added at either end.
- The position id of a token is the patient's age at that time, in whole {settings.age_unit}s, plus one.
  **Always pass it.** Without `position_ids` the stock class counts 0, 1, 2 … and its answers mean nothing.
- At most {settings.context} tokens at once: the model never saw longer pieces. Cut a longer history.

## Use

```python
import csv

import torch
from transformers import AutoModelForMaskedLM, AutoTokenizer

model = AutoModelForMaskedLM.from_pretrained(".").eval()
tokenizer = AutoTokenizer.from_pretrained(".")
tokens = tokenizer("{vocabulary.concepts[0].concept} [MASK]", return_tensors="pt")["input_ids"]
ages = torch.tensor([[40, 41]])  # {settings.age_unit}s
scores = model(tokens, position_ids=ages + 1).logits[0, 1]
best = tokenizer.convert_ids_to_tokens(scores.topk(5).indices.tolist())
with open("vocabulary.csv", encoding="utf-8", newline="") as stream:
    names = {{row["concept"]: row["name"] for row in csv.DictReader(stream)}}
print([names.get(token, token) for token in best])
```

Hidden states, to make patient vectors of: `AutoModel.from_pretrained(".", add_pooling_layer=False)`.

## Data

| | Patients | Tokens |
|---|---|---|
| training | {told(metrics["training_patients"])} | {told(metrics["training_tokens"])} |
| validation | {told(metrics["validation_patients"])} | {told(metrics["validation_tokens"])} |

{_began(metrics)}Vocabulary: {len(vocabulary.concepts):,} concepts, hash `{vocabulary.hash}`. Token ids mean nothing under another
vocabulary. {_names(vocabulary)} Ages outside the position table, moved to its ends: {told(metrics["clipped_ages"])}.
Share of padding among the computed slots: {metrics["padding_share"]:.2%}.

## Results on the validation patients

Patients whom the training never saw; the best epoch was chosen on them, which flatters it a little. Every evaluation hides the same
{told(best["validation_masked_tokens"])} tokens ({settings.mask_share:.0%}). Loss: mean cross-entropy in nats, less is better.
Found: the hidden concept was the model's first guess, or among its first ten. The baseline predicts by frequency among the training
patients alone.

| | Loss | Found first | Among the first ten |
|---|---|---|---|
{_scores(f"this model (epoch {best['epoch']})", {k.removeprefix("validation_"): v for k, v in best.items()}, masked)}
{_scores("frequency baseline", baseline, masked)}

By semantic type, where at least {FEWEST} tokens were hidden (a concept counts in each of its types):

{_types(metrics["by_semantic_type"])}

## Learning curves

{_curves(metrics)}

## Settings

{_settings(settings)}
"""


def _names(vocabulary: Vocabulary) -> str:
    """Whether the names of the concepts tell of few patients."""
    few = len(vocabulary.concepts) - len(vocabulary.of_patients(FEWEST_PATIENTS))
    if not few:
        return f"Each was recorded of at least {FEWEST_PATIENTS} patients when the training began."
    return (
        f"**{few:,} of them were recorded of fewer than {FEWEST_PATIENTS} patients, and their names tell of them: do not hand this"
        " folder on.** A model that may be handed on is trained with `vocabulary.min_patients`."
    )


def _machine(machine: dict[str, str]) -> str:
    """What the machine decided: `auto` among the settings came to this."""
    compiled = {"yes": "compiled", "no": "not compiled"}.get(machine["compiled"], "compiled in part")
    device = machine["device"].replace("cpu", "a CPU").replace("cuda", "a GPU")
    return (
        f"Trained on {device} in {machine['precision']}, {compiled}: hidden states are computed in the same precision."
    )


def _share(value: float, masked: int) -> str:
    """A share of hidden tokens, as far as it may be shown: with all digits it would tell their number, and so those of patients."""
    return Guard(FEWEST_PATIENTS).percent(Share.of(value, Events(masked)))


def _scores(name: str, scores: dict[str, float], masked: int) -> str:
    first, ten = (_share(scores[rank], masked) for rank in ("top1", "top10"))
    return f"| {name} | {scores['loss']:.4f} | {first} | {ten} |"


def _table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def _types(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return "None: the validation side is too small."
    header = ("Type", "Hidden tokens", "Loss", "Baseline", "Among the first ten", "Baseline")
    return _table(
        header,
        [
            (
                f"{row['name']} ({row['type']})",
                told(row["masked_tokens"]),
                f"{row['loss']:.3f}",
                f"{row['baseline_loss']:.3f}",
                _share(row["top10"], row["masked_tokens"]),
                _share(row["baseline_top10"], row["masked_tokens"]),
            )
            for row in rows
        ],
    )


def _curves(metrics: dict[str, Any]) -> str:
    rows = [
        (
            str(row["epoch"]),
            f"{row['updates']:,}",
            f"{row['training_loss']:.4f}",
            f"{row['validation_loss']:.4f}",
            _share(row["validation_top10"], int(metrics["best"]["validation_masked_tokens"])),
        )
        for row in metrics["epochs"]
    ]
    end = (
        "Training ended because both losses were flat."
        if metrics["stopped_early"]
        else "Training ran to its last epoch."
    )
    return _table(("Epoch", "Updates", "Training loss", "Validation loss", "Among the first ten"), rows) + f"\n\n{end}"


def _settings(settings: EncoderSettings) -> str:
    return _table(("Setting", "Value"), [(f"`{name}`", f"`{value}`") for name, value in identity(settings).items()])


def _began(metrics: dict[str, Any]) -> str:
    """What the training began with, where that were not random weights."""
    if "tokens_added" not in metrics:
        return ""
    added = f"{metrics['tokens_added']:,} concepts that were new to it"
    return f"The training went on from the weights of an earlier one, with {added}.\n"
