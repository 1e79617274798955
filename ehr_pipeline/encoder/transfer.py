"""Start an encoder from the checkpoint of another study whose vocabulary partly overlaps with this study's.

Concepts are matched by concept id, whatever their token ids. The rows of matched concepts are copied, and so are all weights that
do not belong to a token. A concept that the other study does not know starts from a vector predicted from its name
(`encoder.vectors_from_names`), or from the mean of all learned vectors. The result is a checkpoint with this study's vocabulary,
from which a training run starts (`encoder.initial_weights`). Concepts of the other study that do not occur here are left out.
"""

import shutil
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ehr_pipeline.encoder import checkpoint, shape_check, vectors_from_names
from ehr_pipeline.encoder.initial_weights import GROWING, Facts
from ehr_pipeline.encoder.model import config_for, new_model
from ehr_pipeline.encoder.resume import publish
from ehr_pipeline.encoder.roberta_weights import StockWeights
from ehr_pipeline.encoder.settings import EncoderSettings
from ehr_pipeline.errors import InputError
from ehr_pipeline.vocabulary.table import FIRST_CONCEPT, Vocabulary


def begin(folder: Path, vocabulary: Vocabulary, settings: EncoderSettings, out: Path) -> Facts:
    """Write a checkpoint with this study's vocabulary to the folder `out`, unless it is already there. Return facts on the overlap.

    Raises InputError as `shape_check.look` does, and also if no concept is in both vocabularies. Raises UserError for a damaged
    checkpoint.
    """
    if (earlier := Facts.of(out)) is not None:  # by an earlier run, which was interrupted
        return earlier
    shape_check.look(folder, settings)
    other = Vocabulary.read(folder)
    known = np.array([other.token_of.get(one.concept, -1) for one in vocabulary.concepts], np.int64)
    if not (known >= 0).any():
        raise InputError(
            f"{shape_check.SETTING}: no concept of this study is in the vocabulary of {folder}. Concepts are matched by id, such as"
            f" {_example(other)} there and {_example(vocabulary)} here: both studies must map codes to the same terminology."
        )
    learned = checkpoint.load(folder, other, torch.device("cpu")).stock
    model, explained = carried(learned, other, vocabulary, known, settings)
    facts = Facts(
        use=settings.transfer.use,
        unknown=settings.transfer.unknown,
        matched=int((known >= 0).sum()),
        not_matched=int((known < 0).sum()),
        share_of_events=_share(vocabulary, known < 0),
        explained_by_names=explained,
    )
    work = out.with_name(f".{out.name}")
    shutil.rmtree(work, ignore_errors=True)
    checkpoint.save(work, model, vocabulary)
    facts.write(work)
    publish(work, out)
    return facts


def carried(
    learned: StockWeights,
    other: Vocabulary,
    vocabulary: Vocabulary,
    known: NDArray[np.int64],
    settings: EncoderSettings,
) -> tuple[StockWeights, float]:
    """Return a model for this study's vocabulary with the other study's weights, and the share of the variance of learned vectors
    that names explain.

    `known` (n,) has the other study's token id of each concept of this study; -1 for a concept that the other study does not have.
    """
    before = dict(learned.named_parameters())
    model = new_model(config_for(settings, vocabulary.size, vocabulary.hash), seed=0)
    rows = torch.cat([before[name][FIRST_CONCEPT:].detach().reshape(len(other.concepts), -1) for name in GROWING], 1)
    new = [one.name for one, token in zip(vocabulary.concepts, known.tolist(), strict=True) if token < 0]
    begun, explained = _unknown(rows.double().numpy(), other, new, settings.transfer.unknown)
    place = torch.from_numpy(known)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name not in GROWING:
                parameter.copy_(before[name])
        first = 0
        for name in GROWING:
            new_values, width = dict(model.named_parameters())[name], before[name][0].numel()
            new_values[:FIRST_CONCEPT] = before[name][:FIRST_CONCEPT]
            new_values[FIRST_CONCEPT:][place >= 0] = before[name][place[place >= 0]]
            part = torch.from_numpy(begun[:, first : first + width]).to(new_values)
            new_values[FIRST_CONCEPT:][place < 0] = part.reshape(-1, *new_values.shape[1:])
            first += width
    return model, explained


def _unknown(
    rows: NDArray[np.float64], other: Vocabulary, new: list[str], unknown: str
) -> tuple[NDArray[np.float64], float]:
    """Predict rows (n, D + 1), each a vector and a bias, for concepts with the names `new` from the learned rows (m, D + 1) of
    `other`. Also return the share of the variance of learned rows that names explain."""
    if unknown == "mean" or not new:
        return np.tile(rows.mean(0), (len(new), 1)), 0.0
    # Sorted by name and id, so the order of the vocabularies does not matter.
    in_order = sorted(range(len(rows)), key=lambda n: (other.concepts[n].name, other.concepts[n].concept))
    distinct = sorted(set(new))
    predicted = vectors_from_names.predict([other.concepts[n].name for n in in_order], rows[in_order], distinct)
    place = {name: number for number, name in enumerate(distinct)}
    return predicted.rows[[place[name] for name in new]], predicted.explained


def _share(vocabulary: Vocabulary, missing: NDArray[np.bool_]) -> float:
    appearances = np.array([one.appearances for one in vocabulary.concepts], np.float64)
    return round(float(appearances[missing].sum() / max(appearances.sum(), 1)), 4)


def _example(vocabulary: Vocabulary) -> str:
    return vocabulary.concepts[0].concept if vocabulary.concepts else "none"
