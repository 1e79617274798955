"""Columns of the tables of results (`predictions.table`)."""

from ehr_pipeline.tables.schemas import FLAG, INTEGER, REAL, TEXT, schema_of

RESULTS = schema_of(
    (TEXT, "task model"),
    (INTEGER, "labels replicate patients rows cases"),
    (REAL, "auroc auroc_low auroc_high average_precision prevalence brier brier_skill"),
    (REAL, "slope slope_low slope_high intercept intercept_low intercept_high"),
    (REAL, "slope_after slope_after_low slope_after_high intercept_after intercept_after_low intercept_after_high"),
    (REAL, "brier_after"),
)
"""Columns of `results.csv`: a row for each fitted model. `labels` is null if all labels were used; `replicate` counts from 0.
Patients, rows and cases are counted on the test set. Names with `_after` are measures after recalibration. `_low` and `_high` are
the ends of 95 % intervals over patients, of models that were fitted with all labels or need none."""
DIFFERENCES = schema_of(
    (TEXT, "task model baseline"), (INTEGER, "labels"), (REAL, "difference low high p q"), (TEXT, "verdict")
)
"""Columns of `differences.csv`: AUROC of a model minus that of the task's best baseline, on the same patients."""
VERDICTS = schema_of(
    (TEXT, "task name verdict model baseline"),
    (INTEGER, "patients rows cases fitted_rows fitted_cases"),
    (REAL, "rule_auroc baseline_auroc model_auroc"),
    (FLAG, "index_may_know_outcome"),
)
"""Columns of `verdicts.csv`: one row for each task; model, baseline and AUROCs are empty where there are too few cases."""
BENEFIT = schema_of((TEXT, "task model"), (REAL, "threshold net_benefit treat_all"))
"""Columns of `net_benefit.csv`, of recalibrated probabilities."""
SUBGROUPS = schema_of(
    (TEXT, "task model attribute value"),
    (INTEGER, "patients rows cases"),
    (REAL, "auroc auroc_low auroc_high predicted observed"),
)
"""Columns of `subgroups.csv`. AUROC is null where there are too few cases or others; `predicted` is the mean probability."""
CALIBRATION = schema_of((TEXT, "task model"), (INTEGER, "bin rows cases"), (REAL, "predicted observed predicted_after"))
"""Columns of `calibration.csv`: bins of equally many rows, by probability before recalibration."""
GUARDS = schema_of((TEXT, "guard task"), (FLAG, "passed"), (TEXT, "message"))
"""Columns of `guards.csv`. `task` is empty for a guard of the whole artifact; `passed` is null where it cannot be checked."""
CONCEPTS = schema_of((TEXT, "task concept name kind"), (INTEGER, "patients rows cases"))
"""Columns of `deciding_concepts.csv`: concepts of a history after which the outcome always, nearly always or never follows
(`kind`). Patients, rows and cases are those of the training set whose history has the concept."""

NO_FUTURE, UNSEEN, INDEX_RULE = "no_future", "test_side_unseen", "index_rule"
RULE_OF_THUMB, DECIDING, PERMUTED, CASES = "rule_of_thumb", "deciding_concepts", "permuted_labels", "enough_cases"
GROUPS = "groups_have_cases"
"""Names of guards."""
MEANINGS = {
    "task": "Name of the task as a file name.",
    "patients": "Patients in the test set.",
    "model": "The model (predictions.models).",
    "labels": "Number of labels that it was fitted with; empty: all; 0: it needs none.",
    "replicate": "Which sample of labels it was fitted with.",
    "rows": "Index dates with a label in the test set.",
    "cases": "Those of them with the outcome.",
    "auroc": "Area under the ROC curve, on the test set.",
    "auroc_low": "Lower bound of its 95 % interval, over patients.",
    "auroc_high": "Upper bound of its 95 % interval.",
    "average_precision": "Area under the curve of precision by recall, to be compared with the prevalence.",
    "prevalence": "Share of cases in the test set.",
    "brier": "Mean squared error of the probabilities.",
    "brier_skill": "1 - brier / that of the prevalence.",
    "slope": "Calibration slope: below 1 where predictions are too extreme. Empty where all predictions are the same.",
    "intercept": "Calibration in the large: below 0 where predictions are too high.",
    "slope_after": "The slope after recalibration on the validation set.",
    "intercept_after": "Calibration in the large after recalibration.",
    **{
        f"{name}_{end}": f"{which} bound of the 95 % interval of {name}, over patients."
        for name in ("slope", "intercept", "slope_after", "intercept_after")
        for end, which in (("low", "Lower"), ("high", "Upper"))
    },
    "brier_after": "Mean squared error after recalibration.",
}
"""The meaning of columns of `results.csv`."""
