"""The stage on a small study: what is planted is predicted, what is not is not, and every guard catches the leak planted for it."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from ehr_pipeline.predictions import build, guards, result_schemas, result_tables
from ehr_pipeline.predictions.learners import Table
from ehr_pipeline.predictions.models import MODELS
from ehr_pipeline.predictions.rows import FIT, JUDGE, TUNE, Rows, read
from ehr_pipeline.predictions.settings import PredictionsSettings
from ehr_pipeline.predictions.table import PREDICTIONS, TaskResults, read_calibrations
from ehr_pipeline.store import secret_key
from ehr_pipeline.tables import schemas
from ehr_pipeline.work.progress import Progress
from ehr_pipeline_tests.prediction_report import invented
from ehr_pipeline_tests.predictions.data import SMALL, Planted, definition

FEW = PredictionsSettings(models=("age_sex", "counts", "masked"), labels=(10,), bootstrap=200)


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    return Planted(tmp_path_factory.mktemp("planted"))


@pytest.fixture(scope="module")
def made(planted: Planted, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TaskResults]:
    out = tmp_path_factory.mktemp("made") / "out"
    return out, planted.results(out)


def guard(results: TaskResults, name: str, task: str = "risky") -> dict[str, Any]:
    (row,) = [row for row in results.guards if (row["guard"], row["task"]) == (name, task)]
    return dict(row)


def auroc(results: TaskResults, model: str, task: str = "risky", labels: int | None = None) -> float:
    return float(np.mean([row["auroc"] for row in results.of(task, model, labels)]))


def test_what_is_planted_is_predicted_and_a_null_is_not(made: tuple[Path, TaskResults]) -> None:
    _, results = made
    assert auroc(results, "counts") > 0.75
    assert auroc(results, "masked_recency") > 0.75
    assert auroc(results, "history_fitted", labels=10) == pytest.approx(0.5, abs=0.1), "its history says nothing"
    nothing = [row for row in results.results if row["task"] == "null" and row["labels"] is None]
    assert all(row["auroc_low"] < 0.53 and row["auroc_high"] > 0.47 for row in nothing)
    switched_on = {model.name for model in MODELS if model.learner != "tuned"}
    assert {row["model"] for row in results.results} == switched_on
    verdicts = {row["task"]: row for row in results.verdicts}
    assert verdicts["null"]["verdict"] == "level"
    assert verdicts["risky"]["cases"] == results.of("risky", "counts", None)[0]["cases"] >= 50


def test_each_size_of_sample_has_its_replicates(made: tuple[Path, TaskResults]) -> None:
    _, results = made
    assert [row["replicate"] for row in results.of("risky", "vectors", 10)] == list(range(5))
    assert len(results.of("risky", "vectors", None)) == len(results.of("risky", "masked", 0)) == 1
    assert not results.of("risky", "rule_of_thumb", 10), "boosting needs more"
    assert len(results.of("risky", "rule_of_thumb", None)) == 1


def test_predictions_give_the_figures_of_the_table(made: tuple[Path, TaskResults]) -> None:
    """To 1e-9, as another program reads the file: that is how meds-evaluation computes them."""
    out, results = made
    for model, labels in (("counts", None), ("masked", 0), ("vectors", None)):
        table = pl.read_parquet(out / PREDICTIONS / "risky" / f"{model}.parquet")
        label, score = table["boolean_value"].to_numpy(), table["predicted_boolean_probability"].to_numpy()
        (row,) = results.of("risky", model, labels)
        assert row["auroc"] == pytest.approx(roc_auc_score(label, score), abs=1e-9)
        assert row["average_precision"] == pytest.approx(average_precision_score(label, score), abs=1e-9)
        if row["brier"] is not None:
            assert row["brier"] == pytest.approx(brier_score_loss(label, score.astype(float)), abs=1e-9)
        assert (table["subject_id"].n_unique(), len(table)) == (row["patients"], row["rows"])


def test_recalibration_comes_from_the_validation_side(made: tuple[Path, TaskResults]) -> None:
    out, results = made
    found = read_calibrations(out, "risky")
    (row,) = results.of("risky", "history_fitted", None)
    assert set(found) >= {"counts", "masked", "vectors"}
    assert row["intercept_after_low"] < row["intercept_after"] < row["intercept_after_high"]
    (counts,) = results.of("risky", "counts", None)
    for name in ("slope", "slope_after"):
        assert counts[f"{name}_low"] < counts[name] < counts[f"{name}_high"]
    (masked,) = results.of("risky", "masked", 0)
    assert masked["brier"] is None, "a score without labels is no probability"
    assert masked["brier_after"] < 0.25


def test_where_dates_are_shifted_the_index_date_is_no_predictor(
    planted: Planted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rule of thumb learns from amounts of record alone, and no year is looked at."""
    tables, years = result_tables.tables, guards._years_without_cases
    seen, asked = list[np.ndarray](), list[int]()
    monkeypatch.setattr(
        result_tables, "tables", lambda *given: seen.append(given[1].recorded.amounts) or tables(*given)
    )
    monkeypatch.setattr(guards, "_years_without_cases", lambda rows: asked.append(len(rows)) or years(rows))
    planted.results(tmp_path / "plain", FEW)
    before = len(asked)
    planted.results(tmp_path / "shifted", FEW, shifted_dates=True)
    plain, shifted = seen[0], seen[len(seen) // 2]
    assert (plain.shape[1], shifted.shape[1]) == (7, 6)
    np.testing.assert_array_equal(plain[:, :6], shifted)
    assert len(asked) == before > 0


def test_subgroups_need_cases_and_bins_hold_everybody(made: tuple[Path, TaskResults]) -> None:
    _, results = made
    (row,) = results.of("risky", "counts", None)
    bins = [each for each in results.calibration if (each["task"], each["model"]) == ("risky", "counts")]
    assert (sum(each["rows"] for each in bins), sum(each["cases"] for each in bins)) == (row["rows"], row["cases"])
    assert not results.subgroups, "under 200 cases"


def test_subgroups_by_age_and_by_amount_of_record() -> None:
    age = np.array([17.9, 18.0, 39.9, 40.0, 59.9, 60.0, 74.9, 75.0, 90.0, 18.0])
    amounts = np.array([[0.0, fifth] for fifth in (9, 8, 7, 6, 5, 4, 3, 2, 1, 0)])
    rows = SimpleNamespace(on=lambda side: np.full(10, side == JUDGE))
    case: Any = SimpleNamespace(
        rows=rows,
        people=SimpleNamespace(attributes={"sex": ["F"] * 10}),
        recorded=SimpleNamespace(age=age, amounts=amounts),
    )
    found = {name: values.tolist() for name, values in result_tables.groups_of(case)}
    bands = ["0 to 17", *["18 to 39"] * 2, *["40 to 59"] * 2, *["60 to 74"] * 2, *["75 and over"] * 2, "18 to 39"]
    assert found == {"sex": ["F"] * 10, "age": bands, "amount of record, fifth": list("5544332211")}


def test_a_model_has_the_same_figures_whatever_stands_beside_it(
    planted: Planted, made: tuple[Path, TaskResults], tmp_path: Path
) -> None:
    again = planted.results(tmp_path / "out", FEW)
    kept = [row for row in made[1].results if row["model"] in FEW.models]
    assert list(again.results) == kept


def test_the_log_tells_what_is_fitted_and_how_much_is_left(
    planted: Planted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[float, str]] = []

    class Kept(Progress):
        def advance(self, amount: float, note: str = "") -> None:
            super().advance(amount, note)
            told.append((self.done / self.total, note))

    monkeypatch.setattr(build, "Progress", Kept)
    planted.results(tmp_path / "out", FEW)
    notes = [note for _, note in told]
    assert notes[:2] == ["Risky: Age and sex", "Risky: Counts, logistic regression"]
    assert notes[-1] == "Null: judged"
    assert [share for share, _ in told] == sorted(share for share, _ in told)
    assert told[-1][0] == pytest.approx(1)


def test_clean_data_pass_every_guard(made: tuple[Path, TaskResults]) -> None:
    failed = [row for row in made[1].guards if row["passed"] is not True]
    assert failed == []


def test_a_history_cut_late_is_caught(tmp_path: Path) -> None:
    """The placebo leak: with the window in the history, the outcome's own history predicts everything; and the guard sees it."""
    late = Planted(tmp_path, late=400)
    results = late.results(tmp_path / "out", replace(FEW, models=("history_fitted", "masked")))
    assert auroc(results, "history_fitted") >= 0.99
    assert guard(results, result_schemas.NO_FUTURE)["passed"] is False


def test_a_test_patient_in_training_is_caught(tmp_path: Path, planted: Planted) -> None:
    study = Planted(tmp_path)
    study.learn_from([f"p{number}" for number in range(900)])
    results = study.results(tmp_path / "out", FEW)
    assert guard(results, result_schemas.UNSEEN, "")["passed"] is False
    row = guards.not_trained_on(
        study.artifacts()["encoder_checkpoint"], secret_key.of(tmp_path / "another"), pl.Series(["p1"])
    )
    assert row["passed"] is None
    assert "ehr-pipeline key export" in row["message"], "which file would allow it"


def test_the_test_sides_of_all_tasks_are_looked_up(planted: Planted) -> None:
    """Tasks may draw other patients: one who is of the test set of any task must not be known to the encoder."""
    rows = rows_of(planted)
    halves = [rows.take(np.arange(len(rows)) % 2 == rest) for rest in (0, 1)]
    found = build._test_side(planted.artifacts()["patient_dataset"].files("patients"), halves)
    assert sorted(found) == sorted(f"p{number}" for number in np.flatnonzero(planted.side == JUDGE))


def test_a_window_that_opens_within_what_is_known_is_caught(planted: Planted) -> None:
    rows = rows_of(planted)
    latest = rows.last
    assert guards.no_future("risky", rows, latest)["passed"] is True
    assert guards.no_future("risky", replace(rows, opens=rows.known), latest)["passed"] is False
    assert guards.no_future("risky", rows, rows.known + 1)["passed"] is False


def test_index_days_of_a_file_are_a_warning(tmp_path: Path) -> None:
    study = Planted(tmp_path, (definition(0, "Risky", 6, index="file", index_may_know_outcome=True),))
    results = study.results(tmp_path / "out", FEW)
    assert guard(results, result_schemas.INDEX_RULE)["passed"] is False
    assert results.verdicts[0]["index_may_know_outcome"] is True


def test_too_few_cases_are_shown_and_not_scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ehr_pipeline.predictions.compare.FEWEST_CASES", 500)
    results = Planted(tmp_path).results(tmp_path / "out", FEW)
    assert not results.results
    assert [row["verdict"] for row in results.verdicts] == ["too few", "too few"]
    assert all(row["cases"] > 0 for row in results.verdicts)
    assert guard(results, result_schemas.CASES)["passed"] is False


def test_a_practice_without_cases_is_found_even_if_too_few_cases_remain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another code in one of two hospitals is why there are too few."""
    monkeypatch.setattr("ehr_pipeline.predictions.compare.FEWEST_CASES", 500)
    study = Planted(tmp_path)
    for name, (_, _, label) in study.rows.items():
        practice = schemas.read(study.folder / "dataset/patients" / name).column("practice").to_pylist()
        label[0] &= np.array(practice) == "a"
    study.labels()
    results = study.results(tmp_path / "out", FEW)
    assert [row["verdict"] for row in results.verdicts] == ["too few", "too few"]
    assert guard(results, result_schemas.GROUPS)["message"].startswith("no case in 1 of 2 groups by practice")
    assert guard(results, result_schemas.GROUPS, "null")["passed"] is True


def test_a_task_without_labels_has_no_group_without_cases(planted: Planted) -> None:
    rows = rows_of(planted)
    assert guards.groups_without_cases("risky", rows.take(np.arange(0)), {"practice": []})["passed"] is True


def test_a_rule_of_thumb_is_enough() -> None:
    rng = np.random.default_rng(0)

    def drawn(auroc: float, error: float) -> tuple[float, np.ndarray]:
        return auroc, np.append(auroc + error * rng.normal(size=2_000), np.nan)

    model = drawn(0.87, 0.02)
    assert guards.rule_is_enough([drawn(0.86, 0.02)], model)
    assert guards.rule_is_enough([drawn(0.70, 0.02), drawn(0.86, 0.02)], model), "the other rule"
    assert not guards.rule_is_enough([drawn(0.80, 0.02)], model)
    assert not guards.rule_is_enough([drawn(0.80, 0.02), drawn(0.80, 0.02)], model)
    assert not guards.rule_is_enough([drawn(0.52, 0.03)], drawn(0.49, 0.03)), "neither predicts anything"
    assert not guards.rule_is_enough([drawn(0.86, 0.1)], drawn(0.87, 0.1)), "too few cases to tell"
    assert not guards.rule_is_enough([], model)
    nearly = drawn(0.86, 0.04)
    assert guards.rule_is_enough([nearly], drawn(0.86, 0.0))
    assert not guards.rule_is_enough([nearly, nearly], drawn(0.86, 0.0)), "two rules, each at half the doubt"


def test_a_model_at_chance_is_not_better_than_a_baseline_below_it() -> None:
    """Which a small test set can give by bad luck. Nor is it said that such a model has more than the rule of thumb."""
    for model, verdict, rules in ((0.52, "level", []), (0.62, "better", [True])):
        told = invented.results(["a"], {"counts": 0.36, "vectors": model}, width=0.1, verdict="")
        told = result_tables.with_verdicts(told)
        assert told.verdicts[0]["verdict"] == verdict
        assert [row["passed"] for row in told.guards] == rules


@pytest.mark.parametrize(("other", "verdict"), [(0.60, "better"), (0.66, "level")])
def test_a_model_below_another_baseline_is_not_better_than_the_best(other: float, verdict: str) -> None:
    """The best baseline was chosen on a small validation set, and another one is better on the test set."""
    told = invented.results(["a"], {"counts": 0.61, "vectors": 0.65}, verdict="")
    also = invented.result("a", "counts_boosting", None, 0, other, 0.02)
    told = result_tables.with_verdicts(replace(told, results=(*told.results, also)))
    assert told.verdicts[0]["verdict"] == told.compared("a") == verdict


def rows_of(planted: Planted, most: int = 10_000) -> Rows:
    return read(planted.folder / "labels", planted.definitions[0], most, 0)


def test_permuted_labels_that_are_predicted_are_caught(planted: Planted, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = rows_of(planted)
    noise = np.random.default_rng(0).normal(0, 1, (len(rows), 5))
    clean = Table.of([noise], rows.on(FIT), free=False)
    assert guards.permuted_labels("risky", rows, clean, 0)["passed"] is True
    told = np.random.default_rng([0, 0x9E]).permutation(
        rows.label
    )  # features that know the very labels that are permuted
    leak = Table.of([noise, told[:, None].astype(float)], rows.on(FIT), free=False)
    assert guards.permuted_labels("risky", rows, leak, 0)["passed"] is False


def test_deciding_concepts_are_found(planted: Planted) -> None:
    rows = rows_of(planted)
    held = np.zeros((len(rows), 4))
    held[rows.label, 1] = 1  # every case, and nobody else
    held[~rows.label, 2] = 1
    held[:, 3] = 1
    found = {token: told["kind"] for token, told in guards.deciding(rows, np_sparse(held), np.arange(4))}
    assert found == {1: "always", 2: "never"}


def np_sparse(dense: np.ndarray) -> Any:
    from scipy import sparse

    return sparse.csr_array(dense)


def test_patients_are_capped_with_cases_first(planted: Planted) -> None:
    everybody, few = rows_of(planted), rows_of(planted, 100)
    assert [len(few.on(side)) for side in (FIT, TUNE, JUDGE)] == [100, 100, 100]
    assert few.label[few.on(FIT)].mean() == pytest.approx(0.5)
    assert few.prevalence == everybody.prevalence == pytest.approx(everybody.label[everybody.on(FIT)].mean())
    assert {*few.patient} <= {*everybody.patient}


def test_settings_name_their_problems() -> None:
    assert [*SMALL.problems()] == []
    assert "models: 'nobody' is not a model" in " ".join(PredictionsSettings(models=("nobody",)).problems())
    assert "fewer than 4" in " ".join(PredictionsSettings(labels=(2,)).problems())
