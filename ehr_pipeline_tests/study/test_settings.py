import dataclasses
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pydantic
import pytest

from ehr_pipeline import typed_settings
from ehr_pipeline.encoder.settings import EncoderSettings
from ehr_pipeline.errors import SettingsError
from ehr_pipeline.study import settings
from ehr_pipeline.terminology.shipped import shipped

MINIMAL: dict[str, Any] = {
    "study": {"name": "test", "store": "store"},
    "records": {
        "landing": "landing",
        "events": [{"files": "e*", "columns": {"patient": "p", "date": "d", "code": "c"}}],
        "patients": [{"files": "p*", "columns": {"patient": "p", "birth_year": "y"}}],
    },
    "events": {"mrconso": "MRCONSO.RRF"},
    "vocabulary": {"mrsty": "MRSTY.RRF"},
    "concepts": {"concepts_of_interest": "list.csv"},
    "embeddings": {"cohort": [{"name": "Psoriasis", "concepts": "list.csv"}]},
}


def changed(**sections: dict[str, Any]) -> dict[str, Any]:
    return {**MINIMAL, **{name: {**MINIMAL.get(name, {}), **values} for name, values in sections.items()}}


def problems_of(values: dict[str, Any]) -> str:
    with pytest.raises(SettingsError) as error:
        settings.validate(values)
    return str(error.value)


def test_minimal_settings_take_the_published_values() -> None:
    study = settings.validate(MINIMAL)
    assert (study.vocabulary.min_appearances, study.patients.max_concepts_per_visit, study.patients.min_visits) == (
        100,
        512,
        3,
    )
    assert (study.encoder.hidden_size, study.encoder.context, study.encoder.mask_share) == (256, 256, 0.15)
    assert (study.clusters.n, study.clusters.method, study.patients.split.validation_share) == (20, "spectral", 0.02)


@pytest.mark.parametrize("n", [1, 7, "auto"])
def test_the_number_of_clusters_may_be_left_to_the_data(n: int | str) -> None:
    assert settings.validate(changed(clusters={"n": n})).clusters.n == n


@pytest.mark.parametrize(("given", "share"), [(1, 1.0), (0.1, 0.1), ("auto", "auto")])
def test_a_share_of_the_encoder_is_one_setting_however_it_is_written(given: float | str, share: float | str) -> None:
    study = settings.validate(changed(embeddings={"vectors": {"encoder_share": given}}))
    assert repr(study.embeddings.vectors.encoder_share) == repr(share)


def test_shifted_dates_refuse_what_needs_the_calendar() -> None:
    task = {"name": "A", "outcome": "list.csv", "index": "calendar", "index_dates": ["2012-01-01"]}
    given = {"tasks": {"observed_until": "extract", "task": [task]}, "trajectories": {"windows": "calendar"}}
    given |= {"encoder": {"metadata": {"weight": 0.1, "attributes": ["birth_decade"]}}}
    settings.validate(changed(**given))
    found = problems_of(changed(study={"shifted_dates": True}, **given))
    assert "tasks.observed_until is 'extract', but study.shifted_dates says that" in found
    assert "tasks: 'A' has index = 'calendar', but" in found
    assert "trajectories.windows is 'calendar', but" in found
    assert "encoder.metadata.attributes has 'birth_decade', but" in found
    settings.validate(changed(study={"shifted_dates": True}))


def test_fine_tuning_needs_tasks_and_layers() -> None:
    said = problems_of(changed(predictions={"fine_tuning": {"heads": ["mask"], "frozen_layers": 5}}))
    assert "predictions.fine_tuning.heads: there is no task to fine-tune the encoder for." in said
    assert "frozen_layers is 5, but the encoder has 4 layers" in said
    assert "predictions.fine_tuning.heads" in problems_of(changed(predictions={"fine_tuning": {"heads": ["gru"]}}))
    said = problems_of(changed(predictions={"models": ["tuned_mask"]}))
    assert "name its head under predictions.fine_tuning.heads instead" in said


def test_settings_of_fine_tuning_change_no_result_while_they_are_as_they_were() -> None:
    study = settings.validate(changed(tasks={"screen": 2}, predictions={"fine_tuning": {"heads": ["mask"]}}))
    assert typed_settings.identity(study.predictions)["fine_tuning"]["heads"] == ["mask"]
    assert study.predictions.chosen[-1] == "tuned_mask"
    assert "fine_tuning" not in typed_settings.identity(settings.validate(MINIMAL).predictions)


def test_all_problems_are_told_at_once() -> None:
    message = problems_of(changed(clusters={"n": 0}, encoder={"dropout": 1.5}, events={"mrconso": 5}))
    assert "3 problems" in message
    assert "clusters.n" in message
    assert "encoder.dropout" in message
    assert "events.mrconso" in message


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (changed(clusters={"nn": 5}), "clusters.nn is not a setting. Did you mean 'n'? Valid keys: n, "),
        (
            changed(clusters={"number": 5}),
            "clusters.number is not a setting. Did you mean 'keep_numbers'? Valid keys: n, ",
        ),
        (changed(clusters={"n": 0}), 'clusters.n: must be "auto" or a whole number of at least 1. Got 0.'),
        (changed(clusters={"n": "five"}), 'clusters.n: must be "auto" or a whole number of at least 1. Got "five".'),
        (changed(clusters={"n": 2.5}), 'clusters.n: must be "auto" or a whole number of at least 1. Got 2.5.'),
        (changed(patients={"min_visit": 5}), "Did you mean 'min_visits'?"),
        (changed(patients={"xyzzy": 5}), "Valid keys: max_concepts_per_visit"),
        ({**MINIMAL, "cluster": {}}, "Did you mean 'clusters'?"),
        ({name: part for name, part in MINIMAL.items() if name != "records"}, "records is missing"),
        (changed(encoder={"preset": "large"}), "'published', 'demo' or 'small'"),
        (changed(encoder={"heads": 3}), "must be a multiple of heads (3)"),
        (changed(records={"buckets": 12}), "power of two. Got 12; use 16"),
        (changed(records={"latest_date": "31/12/2020"}), "not a date of the form YYYY-MM-DD"),
        (changed(study={"seed": "0"}), 'study.seed must be a whole number. Got "0"'),
        (
            changed(embeddings={"cohort": [{"name": "Everybody", "min_visits": 2}]}),
            "cohort[0] has no list, so every patient",
        ),
        (changed(embeddings={"pooling": {"select": "list"}}), "concepts must be a concept list"),
    ],
)
def test_a_problem_says_where_and_what_to_do(values: dict[str, Any], told: str) -> None:
    assert told in problems_of(values)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"delimiter": "||"}, "delimiter must be one character"),
        ({"encoding": "latin-11"}, "not known to Python"),
        ({"date_formats": ["%Y"]}, "must contain day, month and year"),
        ({"date_formats": []}, "at least one format"),
        (
            {"columns": {"patient": "p", "date": "d", "kode": "c"}},
            "records.events[0].columns.kode is not a setting. Did you mean 'code'?",
        ),
    ],
)
def test_problems_of_files_name_their_place(change: dict[str, Any], told: str) -> None:
    events = [{**MINIMAL["records"]["events"][0], **change}]
    assert told in problems_of(changed(records={"events": events}))


def test_a_file_that_is_no_toml_or_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    with pytest.raises(SettingsError, match=r"there is no such file\. `ehr-pipeline init DIR` starts one"):
        settings.load(path)
    path.write_bytes(b"\xff")
    with pytest.raises(SettingsError, match="cannot be read"):
        settings.load(path)
    path.write_text("[study\n")
    with pytest.raises(SettingsError, match=r"not valid TOML.*line 1"):
        settings.load(path)


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    dictionary = {"file": "table.txt", "code_column": "c", "snomed_column": "s"}
    terminology = changed(events={"descriptions": ["a", "/b"], "dictionaries": {"local": dictionary}})
    study = settings.validate(terminology, base=tmp_path)
    assert study.study.store == str(tmp_path / "store")
    assert study.events.descriptions == (str(tmp_path / "a"), "/b")
    assert study.events.dictionaries["local"].file == str(tmp_path / "table.txt")
    assert study.events.dictionaries["local"].code_column == "c"
    assert study.embeddings.cohort[0].concepts == str(tmp_path / "list.csv")
    assert study.vocabulary.administrative_concepts == ""


def test_a_preset_fills_what_the_file_does_not_set() -> None:
    study = settings.validate(changed(encoder={"preset": "demo", "layers": 3}))
    assert (study.encoder.hidden_size, study.encoder.layers) == (128, 3)


def test_overrides_replace_single_values() -> None:
    study = settings.load(shipped("demo/settings.toml"), {"clusters": {"n": 7}})
    assert study.clusters.n == 7
    assert study.clusters.truth


def test_identity_leaves_out_speed_places_and_checks(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("one")
    study = settings.validate(MINIMAL, base=tmp_path)
    identity = typed_settings.identity(study.records)
    assert "landing" not in identity
    assert "workers" not in identity
    assert "coverage_floor" not in typed_settings.identity(study.events)
    before = typed_settings.identity(study.embeddings)
    (tmp_path / "list.csv").write_text("two")
    assert typed_settings.identity(study.embeddings) != before


def settings_classes(cls: Any) -> list[Any]:
    found = [cls]
    for hint in get_type_hints(cls).values():
        for inner in (hint, *get_args(hint)):
            if dataclasses.is_dataclass(inner):
                found += settings_classes(inner)
    return found


def test_a_setting_that_came_later_changes_nothing_until_it_is_set() -> None:
    own = EncoderSettings()
    assert "output_bias" not in typed_settings.identity(own), (
        "models that were trained before it came are not trained again"
    )
    assert typed_settings.identity(dataclasses.replace(own, output_bias="frequency")) == typed_settings.identity(
        own
    ) | {"output_bias": "frequency"}


WRONG_BY = {"ge": -1, "gt": 0, "le": 1, "lt": 0}


@pytest.mark.parametrize(
    ("cls", "name", "bound", "limit"),
    [
        (cls, field.name, bound, field.metadata[bound])
        for cls in dict.fromkeys(settings_classes(settings.Study))
        for field in dataclasses.fields(cls)
        for bound in WRONG_BY
        if bound in field.metadata
    ],
)
def test_a_value_out_of_bounds_is_refused_wherever_it_is_set(cls: Any, name: str, bound: str, limit: float) -> None:
    with pytest.raises(pydantic.ValidationError) as error:
        cls(**{name: limit + WRONG_BY[bound]})
    assert [one["ctx"] for one in error.value.errors() if one["loc"] == (name,)] == [{bound: limit}]


def test_every_setting_is_documented() -> None:
    for cls in settings_classes(settings.Study):
        for field in dataclasses.fields(cls):
            assert field.metadata["description"].endswith("."), f"{cls.__name__}.{field.name}"


def test_the_published_preset_has_12_6_million_parameters() -> None:
    from ehr_pipeline.encoder.model import config_for, new_model, parameter_count
    from ehr_pipeline.encoder.settings import EncoderSettings

    model = new_model(config_for(EncoderSettings(), 36_058 + 5, "x"), seed=0)
    assert parameter_count(model) == pytest.approx(12.6e6, rel=0.005)


def test_a_setting_under_its_old_name_is_read_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    old = settings.validate(changed(reports={"colour_by": ["region"]}))
    assert "reports.colour_by is called reports.audited now" in caplog.text
    caplog.clear()
    new = settings.validate(changed(reports={"audited": ["region"]}))
    assert not caplog.text
    assert old == new
    assert settings.digest(old) == settings.digest(new)
    again = settings.with_overrides(new, {"reports": {"colour_by": ["sex"]}})
    assert again.reports.audited == ("sex",)


def test_a_setting_under_both_of_its_names_is_refused() -> None:
    told = problems_of(changed(reports={"colour_by": ["region"], "audited": ["region"]}))
    assert "reports.colour_by is the old name of reports.audited: remove reports.colour_by" in told


def test_a_type_of_an_attribute_is_one_of_two() -> None:
    assert settings.validate(changed(reports={"attribute_types": {"bmi": "number"}})).reports.attribute_types == {
        "bmi": "number"
    }
    with pytest.raises(SettingsError, match="attribute_types"):
        settings.validate(changed(reports={"attribute_types": {"bmi": "continuous"}}))
