"""Fitted models are kept as arrays, and give new patients the log-odds that the fit gave its own rows."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from scipy import sparse

from ehr_pipeline.errors import Damaged
from ehr_pipeline.predictions import fitted
from ehr_pipeline.predictions.compare import Case, Fit
from ehr_pipeline.predictions.fitted import Fitted
from ehr_pipeline.predictions.learners import Sample, Table, logistic
from ehr_pipeline.predictions.models import BY_NAME
from ehr_pipeline.tasks.table import Definition
from ehr_pipeline.vocabulary.table import Vocabulary


def case_of(seed: int, rows: int = 300) -> Any:
    """Blocks of features, dense and sparse, of other means and lengths; the outcome follows from some of them."""
    rng = np.random.default_rng(seed)
    blocks = {
        "masked": rng.normal(-3, 2, (rows, 1)),
        "age_sex": rng.normal(4, 3, (rows, 4)),
        "counts": sparse.csr_array(rng.poisson(0.3, (rows, 12)).astype(float)),
        "recency": sparse.csr_array(rng.random((rows, 12)) * (rng.random((rows, 12)) < 0.3)),
    }

    class Rows:
        prevalence = 0.1

        def __len__(self) -> int:
            return rows

    return SimpleNamespace(
        rows=Rows(),
        block=lambda name, _: blocks[name],
        concepts=np.arange(5, 17),
        tokens=np.array([6]),
        stops=False,
        settings=SimpleNamespace(tokens_before=0),
    )


def test_plain_weights_give_the_log_odds_of_the_fit(tmp_path: Path) -> None:
    case, model = case_of(0), BY_NAME["masked_recency"]
    blocks = [case.block(name, None) for name in model.features]
    label = np.random.default_rng(1).random(300) < 1 / (1 + np.exp(-(blocks[0][:, 0] + 3)))
    learned_from = np.arange(200)
    table = Table.of(blocks, learned_from, free=model.free)
    odds, weights = logistic(table, Sample(learned_from, label[:200], np.ones(200), 0.1), 0)
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    fit = Fit(model, None, 0, np.zeros(0), None, 0.5, weights)
    rule = {"last": -1, "opens": 1, "closes": 365, "lookback": 0, "visit_window": 0}
    definition = Definition(0, "Asthma", "asthma", ("C1",), (), "landmark", False, True, rule)
    fitted.write(
        definition,
        cast(Case, case),
        [fit],
        (cast(Vocabulary, SimpleNamespace(hash="abc")), tmp_path),
        tmp_path / "fitted" / "asthma",
    )
    read = Fitted.read(tmp_path, "asthma")
    assert np.allclose(read.log_odds(cast(Case, case), model), odds, atol=1e-9)
    assert (read.facts.concepts[0], read.facts.tokens, read.facts.vocabulary) == (5, (6,), "abc")
    assert np.allclose(read.log_odds(cast(Case, case), BY_NAME["masked"]), blocks[0][:, 0])
    assert read.applies("masked_recency")
    assert read.applies("masked")
    assert not read.applies("recency_boosting")
    assert not read.applies("vectors")


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(Damaged, match="Rebuild task_results"):
        Fitted.read(tmp_path, "asthma")
