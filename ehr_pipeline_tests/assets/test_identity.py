"""Every setting of every section decides just the assets that it should: the code version that Dagster compares says so."""

import contextlib
import dataclasses
import json
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pydantic
import pytest

from ehr_pipeline import typed_settings
from ehr_pipeline.assets import ASSETS, identity
from ehr_pipeline.study import settings
from ehr_pipeline.study.settings import Study
from ehr_pipeline.synthetic.study import WITHOUT_TASKS
from ehr_pipeline.tables.asset_names import STAGES
from ehr_pipeline.terminology.shipped import shipped
from ehr_pipeline_tests.conftest import to_toml

STORE = tempfile.TemporaryDirectory()
OWN = WITHOUT_TASKS | {"study": {"store": str(Path(STORE.name).resolve())}}
DEMO = settings.load(shipped("demo/settings.toml"), OWN)
SECTIONS = [field.name for field in dataclasses.fields(Study)]
MODEL = {"encoder_checkpoint", "patient_embeddings", "clusters"}
SEEDED = {*MODEL, "concept_embeddings", "concept_relations", "patient_trajectories", "cluster_reports"}
DECIDES: dict[str, set[str]] = {
    "study.name": {"cluster_reports", "prediction_report"},
    "study.seed": SEEDED,
    "study.shifted_dates": {"clusters", "patient_trajectories"},
    "records": {"raw_records"},
    "records.mode": {"extract_catalog"},
    "records.outside_observation": {"raw_records", "extract_catalog"},
    "events": {"mapped_events"},
    "vocabulary": {"vocabulary"},
    "patients": {"patient_dataset"},
    "patients.split": {"data_split"},
    # With a test set, or a column of sides, everything that is learned from a part of the patients depends on the split.
    **{
        f"patients.split.{name}": {"extract_catalog", "vocabulary", "data_split", "patient_embeddings", "forecasts"}
        for name in ("test_share", "column")
    },
    "tasks": {"task_labels"},
    # Without tasks, nothing else decides their results.
    **{name: {"task_labels", "task_results"} for name in ("tasks.screen", "tasks.task")},
    "predictions": {"task_results"},
    "encoder": {"encoder_checkpoint"},
    "encoder.on_new_extract": MODEL,
    # A path, but the files there decide: none, here, is a state as well.
    "encoder.transfer.checkpoint": {"encoder_checkpoint"},
    **{
        f"encoder.{name}": {"encoder_checkpoint", "patient_embeddings", "patient_trajectories"}
        for name in identity.ENCODER_SHAPE
    },
    "concepts": {"concept_embeddings"},
    "relations": {"concept_relations"},
    "embeddings": {"patient_embeddings"},
    "embeddings.vectors.habits": {"patient_embeddings", "concept_relations"},
    "embeddings.cohort": {"cohort"},
    "clusters": {"clusters"},
    "trajectories": {"patient_trajectories"},
    "forecasts": {"forecasts"},
    "reports": {"cluster_reports"},
    "reports.suppress_below": {"cluster_reports", "prediction_report"},
    "governance": {"cluster_reports", "prediction_report"},
}
"""By place, the longest that fits. Of the others in a section, roles say which decide nothing (`typed_settings.Role`)."""


def every_setting(section: Any, place: str) -> Iterator[tuple[str, typed_settings.Role]]:
    """The place and the role of every setting."""
    for field in dataclasses.fields(section):
        value, own = getattr(section, field.name), f"{place}.{field.name}"
        if dataclasses.is_dataclass(value):
            yield from every_setting(value, own)
        else:
            yield own, typed_settings.role(field)


SETTINGS = [found for name in SECTIONS for found in every_setting(getattr(DEMO, name), name)]


def with_other(section: Any, path: list[str], empty: Path) -> Any:
    """A section in which one setting has another value, the first that the setting may have."""
    name, *rest = path
    value = getattr(section, name)
    if rest:
        return dataclasses.replace(section, **{name: with_other(value, rest, empty)})
    role = next(typed_settings.role(field) for field in dataclasses.fields(section) if field.name == name)
    for other in [str(empty)] if role == "list" else others(value, get_type_hints(type(section))[name]):
        with contextlib.suppress(pydantic.ValidationError):
            return dataclasses.replace(section, **{name: other})
    raise AssertionError(f"no other value of {name} is tried that it may have")


def others(value: Any, hint: Any) -> list[Any]:
    """Values that a setting of some type may have in place of the one that it has."""
    if get_origin(hint) is Literal:
        return [choice for choice in get_args(hint) if choice != value]
    match value:
        case bool():
            return [not value]
        case int() | float():
            return [value + 1, value - 1, value / 2 + 0.125]
        case str():
            return [
                f"{value} other",
                *(part(0.5) if part is float else 5 for part in get_args(hint) if part in (int, float)),
            ]
        case dict():
            return (
                [{}]
                if value
                else [{"other": each} for each in ("other", *get_args(get_args(hint)[1]), smallest(get_args(hint)[1]))]
            )
        case tuple() if value:
            return [value[:-1]]
        case tuple() if get_origin(get_args(hint)[0]) is Literal:
            return [get_args(get_args(hint)[0])]
        case tuple() if dataclasses.is_dataclass(get_args(hint)[0]):
            return [(smallest(get_args(hint)[0]),)]
        case _:
            return [("other",)]


def smallest(cls: Any) -> dict[str, str]:
    """What must be given of a table."""
    every = dataclasses.fields(cls) if dataclasses.is_dataclass(cls) else ()
    return {field.name: "other" for field in every if typed_settings.default(field) is dataclasses.MISSING}


def changed_by(study: Study) -> set[str]:
    return {asset for asset in STAGES if ASSETS[asset].code_version(study) != ASSETS[asset].code_version(DEMO)}


@pytest.mark.parametrize(("place", "role"), SETTINGS, ids=[place for place, _ in SETTINGS])
def test_a_setting_marks_what_depends_on_it_and_nothing_else(
    place: str, role: typed_settings.Role, tmp_path: Path
) -> None:
    (tmp_path / "empty.csv").touch()
    study = with_other(DEMO, place.split("."), tmp_path / "empty.csv")
    assert study != DEMO
    decided = max((known for known in DECIDES if f"{place}.".startswith(f"{known}.")), key=len, default=None)
    if role in ("result", "list") or decided == place:
        assert decided, "a section that decides a result stands in the table"
        assert changed_by(study) == DECIDES[decided]
    else:
        assert changed_by(study) == set()


@pytest.mark.parametrize("section", SECTIONS)
def test_a_section_that_is_written_out_as_it_is_marks_nothing(section: str) -> None:
    """Each value that was a default, or a preset's, stands in the file afterwards."""
    written = settings.load(
        shipped("demo/settings.toml"), settings.merged(OWN, {section: dataclasses.asdict(DEMO)[section]})
    )
    assert written == DEMO
    assert settings.digest(written) == settings.digest(DEMO)
    assert changed_by(written) == set()


def test_a_file_in_another_order_with_comments_marks_nothing(tmp_path: Path) -> None:
    text = shipped("demo/settings.toml").read_text(encoding="utf-8")
    for folder in ("lists", "tasks"):
        text = text.replace(f"../{folder}", str(shipped(folder)))
    values = tomllib.loads(text)
    turned = {name: dict(reversed(values[name].items())) for name in reversed(values)}
    files = {"as it was": text, "turned": "# a comment\n" + to_toml(json.loads(json.dumps(turned)))}
    studies = []
    for name, content in files.items():
        path = tmp_path / f"{name}.toml"
        path.write_text(content, encoding="utf-8")
        studies.append(settings.load(path))
    assert studies[0] == studies[1]
    assert settings.digest(studies[0]) == settings.digest(studies[1])
