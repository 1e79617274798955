"""Task files of ACES: what is read is read as it is meant, everything else is refused in words."""

import importlib.util
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from ehr_pipeline.errors import InputError
from ehr_pipeline.tasks import aces, meds
from ehr_pipeline.tasks.rule import FOREVER, VISIT, Condition
from ehr_pipeline_tests.tasks.reference import LENGTH, ORIGIN, Patient, draw_patients
from ehr_pipeline_tests.tasks.test_labels import labelled

CONCEPTS = ["C0000001", "C0000002", "SCT:1234567", "LOCAL:x"]
PLAIN: dict[str, Any] = {
    "predicates": {
        "index": {"code": "UMLS//C0000001"},
        "other": {"code": {"any": ["SNOMED//1234567", "LOCAL//x", "UMLS//C9999999"]}},
        "umls": {"code": {"regex": "^UMLS"}},
        "either": {"expr": "or(other, umls)"},
    },
    "trigger": "index",
    "windows": {
        "input": {
            "start": None,
            "end": "trigger",
            "start_inclusive": True,
            "end_inclusive": True,
            "has": {"_ANY_EVENT": "(2, None)"},
            "index_timestamp": "end",
        },
        "gap": {
            "start": "input.end",
            "end": "start + 48h",
            "start_inclusive": False,
            "end_inclusive": True,
            "has": {"other": "(None, 0)"},
        },
        "target": {
            "start": "gap.end",
            "end": "start + 365 days",
            "start_inclusive": False,
            "end_inclusive": True,
            "label": "other",
        },
    },
}


def read(path: Path, told: Any, concepts: list[str] = CONCEPTS) -> aces.Rule:
    file = path / "task.yaml"
    file.write_text(yaml.safe_dump(told, sort_keys=False), encoding="utf-8")
    return aces.read(file, "task", concepts)


def test_a_predicate_names_a_code_as_the_data_set_has_it(tmp_path: Path) -> None:
    told = changed(
        "predicates", "other", to={"code": {"any": ["ICD10CM/n189", "DIAGNOSIS//ICD//10//I219", "SNOMED/1234567"]}}
    )
    concepts = [*CONCEPTS, "ICD10CM:N18.9", "ICD10:I21.9"]
    assert read(tmp_path, told, concepts).outcome == {"ICD10CM:N18.9", "ICD10:I21.9", "SCT:1234567"}


def changed(*path: str, to: Any) -> dict[str, Any]:
    copy: dict[str, Any] = yaml.safe_load(yaml.safe_dump(PLAIN, sort_keys=False))
    place = copy
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = to
    return copy


def test_a_task_is_read(tmp_path: Path) -> None:
    rule = read(tmp_path, PLAIN)
    assert (rule.index, rule.entry, rule.outcome) == ("trigger", {"C0000001"}, {"SCT:1234567", "LOCAL:x"})
    assert (rule.last, rule.opens, rule.closes, rule.lookback, rule.incident) == (0, 3, 367, 0, False)
    assert rule.conditions == (
        Condition(frozenset({VISIT}), -FOREVER, 0, 2),
        Condition(frozenset({"SCT:1234567", "LOCAL:x"}), 1, 2, 0, 0),
    )


def test_patterns_expressions_and_a_history_of_some_days(tmp_path: Path) -> None:
    told = changed("windows", "target", "label", to="either")
    told["windows"]["input"] |= {"start": "end - 90d", "end": "trigger - 1d"}
    told["windows"]["gap"]["start"] = "trigger"
    told["trigger"] = "umls"
    rule = read(tmp_path, told)
    assert rule.outcome == {*CONCEPTS}
    assert rule.entry == {"C0000001", "C0000002"}
    assert (rule.last, rule.lookback) == (-1, 91)


def test_a_death_is_the_outcome(tmp_path: Path) -> None:
    assert read(tmp_path, changed("predicates", "other", to={"code": "MEDS_DEATH"})).outcome == {meds.DEATH}


REFUSED = [
    (("predicates", "other", "value_min"), 3, "value_min is not supported"),
    (("predicates", "either", "expr"), "and(other, umls)", "or"),
    (("predicates", "umls", "code"), {"regex": "("}, "regular expression"),
    (("predicates", "other", "code"), {"starts": "x"}, "starts"),
    (("windows", "target", "end"), "start -> other", "is not supported"),
    (("windows", "target", "end"), "other", "an event cannot end a window"),
    (("windows", "target", "end"), "start + 36h", "whole number of days"),
    (("windows", "target", "end"), None, "must end a fixed time"),
    (("windows", "target", "start"), "trigger - 3d", "begins before the history ends"),
    (("windows", "target", "label"), None, "exactly one must have label"),
    (("windows", "input", "index_timestamp"), "start", "index_timestamp must be 'end'"),
    (("windows", "input", "has"), {"other": "about 3"}, "about 3"),
    (("windows", "input", "has"), {"nobody": "(1, None)"}, "nobody"),
    (("windows", "gap", "start"), "target.end", "depends on itself"),
    (("windows", "gap", "stop"), "trigger", "stop is not supported"),
    (("patient_demographics",), {"sex": {"code": "F"}}, "patient_demographics"),
    (("trigger",), "_RECORD_START", "_RECORD_START"),
    (("windows",), [1], "not in the format of ACES"),
]


@pytest.mark.parametrize(("path", "value", "why"), REFUSED, ids=[f"{path[-1]}: {value}" for path, value, _ in REFUSED])
def test_what_is_not_read_is_refused(tmp_path: Path, path: tuple[str, ...], value: Any, why: str) -> None:
    with pytest.raises(InputError, match=r"task\.yaml: ") as caught:
        read(tmp_path, changed(*path, to=value))
    assert why in str(caught.value)


@pytest.mark.parametrize("text", ["{", "- 1", "predicates: {}"])
def test_what_is_no_task_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "task.yaml").write_text(text)
    with pytest.raises(InputError, match=r"cannot be read as YAML|not a task file"):
        aces.read(tmp_path / "task.yaml", "task", ())


@pytest.mark.skipif(
    importlib.util.find_spec("aces") is None, reason="es-aces is not installed (pip install --no-deps es-aces)"
)
def test_labels_are_those_of_aces(tmp_path: Path) -> None:
    """Its own package as the oracle, on patients who are followed for longer than any window."""
    import numpy as np
    from aces import config, predicates, query

    drawn = draw_patients(np.random.default_rng(1), 80)
    patients = [Patient(one.name, one.sex, one.events, -10, LENGTH + 2000, None) for one in drawn if one.visits]
    told = changed("trigger", to="index")
    told["predicates"] = {
        "index": {"code": "UMLS//A"},
        "other": {"code": {"any": ["UMLS//B", "UMLS//C"]}},
    }
    told["windows"]["target"]["end"] = "start + 40d"
    rule = read(tmp_path, told, list("ABCDX"))
    _, own = labelled(patients, rule, folder=tmp_path)
    rows = [
        {"subject_id": int(one.name[1:]), "timestamp": ORIGIN + day, "code": f"UMLS//{concept}"}
        for one in patients
        for day, concept in one.events
        if concept != "X"
    ]
    events = pl.DataFrame(rows).with_columns(pl.col("timestamp").cast(pl.Int32).cast(pl.Date).cast(pl.Datetime("us")))
    (tmp_path / "events.csv").write_text(
        events.with_columns(pl.col("timestamp").dt.strftime("%m/%d/%Y %H:%M")).write_csv()
    )
    task = config.TaskExtractorConfig.load(tmp_path / "task.yaml")
    meds_file = tmp_path / "data.parquet"
    events.rename({"timestamp": "time"}).with_columns(numeric_value=pl.lit(None, pl.Float32)).sort(
        "subject_id", "time"
    ).write_parquet(meds_file)
    from omegaconf import OmegaConf

    found = predicates.get_predicates_df(task, OmegaConf.create({"path": str(meds_file), "standard": "meds"}))
    theirs = query.query(task, found)
    expected = {
        (subject, time.date()): bool(label)
        for subject, time, label in theirs.select("subject_id", "trigger", "label").iter_rows()
    }
    made = {
        (int(name[1:]), day): label for name, day, label in own.select("patient_id", "index_date", "label").iter_rows()
    }
    assert len(expected) > 50
    assert made == expected
