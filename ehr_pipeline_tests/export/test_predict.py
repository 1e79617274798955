"""`ehr-pipeline predict`: calibrated risks for everyone asked for, and what they rest on, against weights that are known."""

import json
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
import torch
from scipy.special import expit, logit

from ehr_pipeline.encoder import checkpoint
from ehr_pipeline.errors import Damaged, InputError
from ehr_pipeline.export.predict import Folders, _applied, predict
from ehr_pipeline.predictions import tuned_weights
from ehr_pipeline.predictions.fitted import Fitted
from ehr_pipeline.predictions.heads import Start, Tuned
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.synthetic.generate import EXTRACT
from ehr_pipeline.tables import schemas
from ehr_pipeline.vocabulary.table import FIRST_CONCEPT, Vocabulary
from ehr_pipeline_tests.export.fitted_task import INTERCEPT, SLOPE, written
from ehr_pipeline_tests.prediction_report.invented import results as invented
from ehr_pipeline_tests.prediction_report.invented import rising

CUT = date(2012, 6, 30)


def folders(tiny: Pipeline, extract: Path, results: Path) -> Folders:
    return Folders(tiny.store.current("encoder_checkpoint").file("checkpoint"), results, extract / "landing" / EXTRACT)


def test_risks_are_those_of_the_weights_and_rest_on_what_they_weigh(
    tiny: Pipeline, extract: Path, tmp_path: Path
) -> None:
    (tmp_path / "results").mkdir()
    weights = written(tiny, tmp_path / "results")
    tables = [
        schemas.read(path, ["patient_id", "visits"]) for path in tiny.store.current("patient_dataset").files("patients")
    ]
    records = {row["patient_id"]: row["visits"] for table in tables for row in table.to_pylist()}
    patients = [*list(records)[:20], "nobody"]
    file = tmp_path / "days.csv"
    file.write_text("patient_id,event_date\n" + "".join(f"{who},{CUT}\n" for who in patients))
    counts = predict(tiny.study, folders(tiny, extract, tmp_path / "results"), "a", file, tmp_path / "out", explained=2)
    found = pl.DataFrame(pq.read_table(tmp_path / "out" / "risks.parquet"))
    assert found["patient_id"].to_list() == patients
    expected = [odds_of(records.get(who, []), weights) for who in patients]
    risks = [None if each is None else float(expit(INTERCEPT + SLOPE * each)) for each in expected]
    assert found["predicted_boolean_probability"].to_list() == [
        None if r is None else pytest.approx(r, abs=1e-5) for r in risks
    ]
    assert counts == {
        "rows_in": 21,
        "with_risk": sum(each is not None for each in expected),
        "not_in_extract": 1,
        "explained": 2,
    }

    rests_on = pl.DataFrame(pq.read_table(tmp_path / "out" / "concepts.parquet"))
    highest = sorted(
        (who for who, r in zip(patients, risks, strict=True) if r), key=dict(zip(patients, risks, strict=True)).get
    )  # type: ignore[arg-type]
    assert set(rests_on["patient_id"]) == {*highest[-2:]}
    names = Vocabulary.read(tiny.store.current("encoder_checkpoint").file("checkpoint")).concepts
    for who, concept, adds in rests_on.select("patient_id", "concept", "adds_to_log_odds").iter_rows():
        token = FIRST_CONCEPT + next(place for place, one in enumerate(names) if one.concept == concept)
        without = odds_of(records[who], weights, token)
        whole = odds_of(records[who], weights)
        assert whole is not None
        assert adds == pytest.approx(SLOPE * (whole - (without if without is not None else -1.0)), abs=1e-4)
    told = json.loads((tmp_path / "out" / "task.json").read_text())
    assert (told["task"], told["model"]) == ("a", "recency")


def odds_of(visits: list[dict[str, object]], weights: np.ndarray, left_out: int = -1) -> float | None:
    """The log-odds before recalibration, by hand: log(1 + visits) and 2^(-days since the last / 365) of each concept."""
    days: dict[int, list[int]] = {}
    for visit in visits:
        day = visit["date"]
        assert isinstance(day, date)
        if day <= CUT:
            for token in visit["concepts"]:  # type: ignore[attr-defined]
                days.setdefault(token, []).append((CUT - day).days)
    days.pop(left_out, None)
    if not days:
        return None
    return -1.0 + sum(
        weights[token - FIRST_CONCEPT, 0] * np.log1p(len(own))
        + weights[token - FIRST_CONCEPT, 1] * 2 ** (-min(own) / 365)
        for token, own in days.items()
    )


def test_another_model_is_applied_where_the_best_is_fine_tuned(tmp_path: Path) -> None:
    facts: Any = SimpleNamespace(tokens=(5,))
    curves: Any = {
        "tuned_mask": rising(0.8, 0.02),
        "counts": rising(0.6, 0.02),
        "vectors": rising(0.6, 0.03),
        "masked": 0.7,
    }
    made = invented(("a",), curves)
    (verdict,) = made.verdicts
    assert verdict["model"] == "tuned_mask"
    assert _applied(Fitted(facts, {"vectors": np.zeros(3)}), verdict, made).name == "vectors"
    assert _applied(Fitted(facts, {}), verdict, made).name == "masked"
    without = invented(("a",), {name: curves[name] for name in ("tuned_mask", "counts")})
    with pytest.raises(InputError, match="its weights were not kept"):
        _applied(Fitted(facts, {}), verdict, without)
    assert (
        _applied(Fitted(facts, {"vectors": np.zeros(3)}, {"tuned_mask": tmp_path}), verdict, made).name == "tuned_mask"
    )


def test_a_fine_tuned_model_is_applied_with_its_calibration(tiny: Pipeline, extract: Path, tmp_path: Path) -> None:
    """Weights of which only scale and shift of the head changed: its log-odds are those without labels, scaled and shifted."""
    results = tmp_path / "results"
    results.mkdir()
    written(tiny, results, "tuned_mask")
    own, file = folders(tiny, extract, results), tmp_path / "days.csv"
    ids = schemas.read(tiny.store.current("patient_dataset").files("patients")[0], ["patient_id"]).column("patient_id")
    file.write_text("patient_id,event_date\n" + "".join(f"{who},{CUT}\n" for who in ids.to_pylist()[:20]))
    encoder = checkpoint.load(own.model, Vocabulary.read(own.model), torch.device("cpu"))
    tuned = Tuned(encoder, "mask", Fitted.read(results, "a").facts.tokens, stops=False, precision="float32")
    before = {name: each.detach().clone() for name, each in tuned.named_parameters()}
    tuned.begin(Start(np.zeros(0), 0.3, -0.2))
    kept = results / "fitted/a/tuned_mask.safetensors"
    tuned_weights.save(kept, tuned, before, np.array([0.7]))
    assert kept.stat().st_size < 1_000, "only what changed is kept"
    predict(tiny.study, own, "a", file, tmp_path / "out", explained=3)
    told = json.loads((tmp_path / "out/task.json").read_text())
    assert (told["model"], told["applied model"]) == ("tuned_mask", "tuned_mask")
    risks = pl.DataFrame(pq.read_table(tmp_path / "out/risks.parquet"))["predicted_boolean_probability"]
    kept.unlink()
    (results / "calibrations/a.json").write_text("{}")  # recalibrated by nothing, and without labels
    (results / "results.csv").write_text((results / "results.csv").read_text().replace("tuned_mask,", "masked,"))
    predict(tiny.study, own, "a", file, tmp_path / "plain")
    assert json.loads((tmp_path / "plain/task.json").read_text())["applied model"] == "masked"
    plain = pl.DataFrame(pq.read_table(tmp_path / "plain/risks.parquet"))["predicted_boolean_probability"]
    odds = np.exp(0.3) * logit(plain.drop_nulls().to_numpy()) - 0.2 + 0.7
    assert np.allclose(risks.drop_nulls().to_numpy(), expit(INTERCEPT + SLOPE * odds), atol=1e-5)
    assert risks.n_unique() > 10
    rests_on = pl.DataFrame(pq.read_table(tmp_path / "out/concepts.parquet"))
    assert rests_on["patient_id"].n_unique() == 3
    assert (
        rests_on["adds_to_log_odds"].abs().max() > 1e-5
    )  # in float32, a tiny encoder's answers hardly depend on a concept


def test_another_encoder_and_damaged_weights_are_told(tiny: Pipeline, extract: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    results.mkdir()
    written(tiny, results, "tuned_mask")
    own, file = folders(tiny, extract, results), tmp_path / "days.csv"
    file.write_text(f"patient_id,event_date\nnobody,{CUT}\n")
    (results / "fitted/a/tuned_mask.safetensors").write_bytes(b"half a file")
    with pytest.raises(Damaged, match=r"tuned_mask\.safetensors: the fine-tuned weights cannot be read"):
        predict(tiny.study, own, "a", file, tmp_path / "out")
    facts = results / "fitted/a/facts.json"
    facts.write_text(facts.read_text().replace('"checkpoint": "', '"checkpoint": "0'))
    with pytest.raises(InputError, match="another encoder"):
        predict(tiny.study, own, "a", file, tmp_path / "out")


def test_what_does_not_belong_together_is_told(tiny: Pipeline, extract: Path, tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    written(tiny, tmp_path / "results")
    own, file = folders(tiny, extract, tmp_path / "results"), tmp_path / "days.csv"
    with pytest.raises(InputError, match=r"there is no task 'b'. Tasks: a\."):
        predict(tiny.study, own, "b", file, tmp_path / "out")
    facts = tmp_path / "results/fitted/a/facts.json"
    facts.write_text(facts.read_text().replace('"vocabulary": "', '"vocabulary": "0'))
    with pytest.raises(InputError, match="another vocabulary"):
        predict(tiny.study, own, "a", file, tmp_path / "out")
