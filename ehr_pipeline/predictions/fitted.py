"""The fitted models of a task, stored as arrays for use on new patients. There are no pickles, so reading them runs no code.

fitted/<task>/weights.safetensors     for each logistic regression with all labels: weights of its columns, then the intercept
fitted/<task>/<model>.safetensors     the fine-tuned model that the verdict names, if its weights are kept (`tuned_weights`)
fitted/<task>/facts.json              feature blocks, token ids of counted concepts and of the outcome, hashes of vocabulary and
                                      checkpoint

Gradient boosting is not stored, because its trees are not arrays. Models that need no labels have no weights: the score itself is
the prediction.
"""

import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from ehr_pipeline.encoder.configuration import WEIGHTS
from ehr_pipeline.errors import Damaged
from ehr_pipeline.predictions.compare import Case, Fit, score
from ehr_pipeline.predictions.models import BY_NAME, Model
from ehr_pipeline.predictions.tuning_files import FOLDER as TUNING
from ehr_pipeline.predictions.tuning_files import weights_of
from ehr_pipeline.tasks.table import Definition
from ehr_pipeline.typed_settings import file_hash
from ehr_pipeline.vocabulary.table import Vocabulary

_log = logging.getLogger("ehr_pipeline")
Floats = NDArray[np.float64]
FITTED, ARRAYS, FACTS = "fitted", "weights.safetensors", "facts.json"
TUNED = "tuned_"
"""What names of fine-tuned models begin with; the head follows."""


@dataclass(frozen=True)
class Facts:
    """Facts that all models of a task share."""

    concepts: tuple[int, ...]
    """Token ids of the concepts that serve as features, in the order of the columns."""
    tokens: tuple[int, ...]
    """Token ids of the outcome."""
    name: str
    last: int
    opens: int
    closes: int
    """Days from the index date to the last day of the history, and to the first and the last day of the window."""
    lookback: int
    visit_window: int
    incident: bool
    tokens_before: int
    stops: bool
    prevalence: float
    vocabulary: str
    """Hash of the vocabulary that defines the token ids."""
    checkpoint: str
    """Hash of the weights of the encoder."""


@dataclass(frozen=True)
class Fitted:
    """The models of a task."""

    facts: Facts
    weights: dict[str, Floats]
    """Weights and intercept of each model, by name."""
    tuned: dict[str, Path] = field(default_factory=dict)
    """Files of the weights of fine-tuned models, by name."""

    @classmethod
    def read(cls, folder: Path, task: str) -> "Fitted":
        """Read the models of a task, given by its file name, from the folder of a `task_results` artifact. Raises Damaged."""
        path = folder / FITTED / task
        try:
            content = json.loads((path / FACTS).read_text(encoding="utf-8"))
            facts = Facts(**{**content, "concepts": tuple(content["concepts"]), "tokens": tuple(content["tokens"])})
            tuned = {each.stem: each for each in sorted(path.glob(f"{TUNED}*.safetensors"))}
            return cls(facts, load_file(path / ARRAYS), tuned)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise Damaged(
                f"{path}: the fitted models cannot be read. Rebuild task_results (ehr-pipeline run)."
            ) from error

    def applies(self, model: str) -> bool:
        """Return whether a model can be applied to new patients."""
        return model in self.weights or model in self.tuned or (model in BY_NAME and BY_NAME[model].learner == "none")

    def log_odds(self, case: Case, model: Model) -> Floats:
        """Return the log-odds (n,) of a model for the rows of a case, before recalibration. Not for fine-tuned models."""
        if model.learner == "none":
            return score(case, model)
        blocks = [case.block(name, np.array(self.facts.concepts, np.int64)) for name in model.features]
        weights, odds, start = self.weights[model.name], np.zeros(len(case.rows)), 0
        for block in blocks:
            odds += np.asarray(block @ weights[start : start + block.shape[1]]).ravel()
            start += block.shape[1]
        log_odds: Floats = odds + weights[-1]
        return log_odds


def write(
    definition: Definition, case: Case, fits: Sequence[Fit], made_with: tuple[Vocabulary, Path], folder: Path
) -> None:
    """Write the models of a task that were fitted with all labels, for `Fitted.read`.

    `made_with`: the vocabulary, and the folder of the encoder's checkpoint.
    """
    vocabulary, checkpoint = made_with
    folder.mkdir(parents=True)
    weights = {fit.model.name: np.ascontiguousarray(fit.weights) for fit in fits if fit.weights is not None}
    save_file(weights, folder / ARRAYS)
    concepts, tokens = tuple(case.concepts.tolist()), tuple(case.tokens.tolist())
    facts = Facts(
        concepts,
        tokens,
        definition.name,
        **{name: definition.rule[name] for name in ("last", "opens", "closes", "lookback", "visit_window")},
        incident=definition.incident,
        tokens_before=case.settings.tokens_before,
        stops=case.stops,
        prevalence=case.rows.prevalence,
        vocabulary=vocabulary.hash,
        checkpoint=file_hash(checkpoint / WEIGHTS),
    )
    (folder / FACTS).write_text(json.dumps(asdict(facts)) + "\n", encoding="utf-8")


def keep_tuned(work: Path, task: str, model: str, folder: Path) -> None:
    """Move the weights of a task's fine-tuned model from the folder of the tuning job into that of its other models, and log their
    size. Does nothing if they were not kept."""
    kept = weights_of(work / TUNING, task, model.removeprefix(TUNED))
    if model.startswith(TUNED) and kept.is_file():
        shutil.move(kept, folder / f"{model}.safetensors")
        size = (folder / f"{model}.safetensors").stat().st_size
        _log.info("%s: kept the fine-tuned weights of %s, %.1f MB", task, model, size / 1e6)
