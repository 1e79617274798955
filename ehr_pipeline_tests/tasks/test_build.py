"""The asset in the chain: its files, what is checked of them, and what makes it stale."""

import shutil
import tomllib
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest

from ehr_pipeline.checks.model import Outcome
from ehr_pipeline.errors import InputError, SettingsError
from ehr_pipeline.events import resolve_lists
from ehr_pipeline.export import meds as export
from ehr_pipeline.patients.settings import TEST
from ehr_pipeline.planning import preflight
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.store import secret_key
from ehr_pipeline.store.artifacts import Artifact, unbalanced
from ehr_pipeline.store.count_kinds import shown_counts
from ehr_pipeline.study import settings
from ehr_pipeline.synthetic.generate import EXTRACT
from ehr_pipeline.tables import schemas
from ehr_pipeline.tasks import label_file, study_rules, table
from ehr_pipeline.terminology import code_lists
from ehr_pipeline.terminology.shipped import shipped
from ehr_pipeline.typed_settings import file_hash
from ehr_pipeline.vocabulary.table import Vocabulary
from ehr_pipeline_tests.conftest import tiny_settings

PSORIASIS = str(shipped("lists/psoriasis.csv"))
SPLIT = {"split": {"validation_share": 0.1, "test_share": 0.2}}
TASKS: dict[str, Any] = {
    "screen": 3,
    "observed_until": "extract",
    "task": [
        {"name": "Asthma", "outcome": str(shipped("tasks/lists/asthma.csv")), "window_days": 730},
        {
            "name": "After psoriasis",
            "file": str(shipped("tasks/depression.toml")),
            "entry": PSORIASIS,
            "index": "first_entry",
        },
        {
            "name": "New Year",
            "outcome": PSORIASIS,
            "index": "calendar",
            "index_dates": ["2012-01-01"],
            "follow_up": "censor",
        },
    ],
}


def study_of(extract: Path, store: Path, tasks: dict[str, Any] = TASKS, seed: int = 0) -> settings.Study:
    return tiny_settings(extract, study={"store": str(store), "seed": seed}, patients=SPLIT, tasks=tasks)


@pytest.fixture(scope="module")
def made(extract: Path, tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    pipeline = Pipeline(study_of(extract, tmp_path_factory.mktemp("tasks") / "store"))
    pipeline.make(EXTRACT, until="task_labels")
    return pipeline


def labels(pipeline: Pipeline) -> Artifact:
    return pipeline.store.current("task_labels")


def checked(pipeline: Pipeline) -> dict[str, Outcome]:
    return {outcome.name: outcome for outcome in pipeline.check("task_labels")}


def rows_of(pipeline: Pipeline) -> pl.DataFrame:
    return pl.concat([pl.DataFrame(rows) for _, rows in table.shards(labels(pipeline).path)])


def test_every_task_is_labelled_and_counted(made: Pipeline) -> None:
    artifact = labels(made)
    definitions = table.definitions(artifact.path)
    names = [each.slug for each in definitions]
    assert names[:3] == ["asthma", "after_psoriasis", "new_year"]
    assert len(names) == 6
    assert all(name.startswith("screen_c") for name in names[3:])
    rows = rows_of(made)
    for definition in definitions:
        counts = artifact.counts[definition.slug]
        assert unbalanced(counts) == 0
        own = rows.filter(task=definition.number)
        assert counts["kept"] == own.height > 0
        assert counts["cases"] == own["label"].sum()
        assert counts["by_side"][TEST]["labels"] == (own["side"] == TEST).sum()
    assert artifact.counts["asthma"]["cases"] > 0


def test_rows_are_those_of_the_data_set(made: Pipeline) -> None:
    for name, rows in table.shards(labels(made).path):
        ids = schemas.read(made.store.current("patient_dataset").file(f"patients/{name}")).column("patient_id")
        assert ids.take(rows.column("row")).to_pylist() == rows.column("patient_id").to_pylist()
        sides = schemas.read(made.store.current("data_split").file(f"split/{name}")).column("side")
        assert sides.take(rows.column("row")).to_pylist() == rows.column("side").to_pylist()


def test_label_files_are_of_the_meds_schema(made: Pipeline) -> None:
    standard = pytest.importorskip("meds", reason="the package `meds` is not installed (extra [meds])")
    artifact, key = labels(made), secret_key.of(made.store.root)
    rows = rows_of(made)
    for definition in table.definitions(artifact.path):
        file = pq.read_table(artifact.file(f"labels/{definition.slug}.parquet"))
        standard.LabelSchema.validate(file)
        own = rows.filter(task=definition.number)
        assert file.column("boolean_value").to_pylist() == own["label"].to_list()
        assert file.column("subject_id").to_pylist() == [
            export.subject_id(one, key) for one in own["patient_id"].cast(pl.String)
        ]
        times = pl.Series(file.column("prediction_time"))
        assert (times.dt.date() == own["prediction_date"]).all()
        assert (times < own["index_date"].cast(pl.Datetime("us"))).all(), (
            "nothing of the index date may be read by then"
        )


def test_its_checks(made: Pipeline) -> None:
    outcomes = checked(made)
    assert [name for name, outcome in outcomes.items() if not outcome.passed] == ["enough_cases"]
    assert not outcomes["few_leave"].blocking
    message = outcomes["enough_cases"].message
    assert "Asthma" in message
    vocabulary = Vocabulary.read(made.store.current("vocabulary").path)
    screened = [each.name for each in table.definitions(labels(made).path)][3:]
    assert screened[0].startswith("screen C"), "how data name it"
    assert any(vocabulary.name(vocabulary.token_of[name[7:]]) in message for name in screened), "how people read it"
    assert "screen C" not in message


def test_a_history_that_reaches_into_the_window_is_refused(made: Pipeline, tmp_path: Path) -> None:
    copy = Pipeline(
        study_of(Path(made.study.records.landing).parent, shutil.copytree(made.store.root, tmp_path / "store"))
    )
    path = next(path for path in labels(copy).files("rows"))
    rows = schemas.read(path)
    until = rows.schema.get_field_index("history_until")
    bad = rows.set_column(until, rows.schema.field(until), rows.column("window_until"))
    schemas.write(path.with_suffix(".new"), bad)
    path.with_suffix(".new").replace(path)
    check = next(check for check in declared_checks() if check.name == "history_before_label")
    passed, message, _ = check.test(labels(copy), copy.store, copy.study)
    assert not passed
    assert "reaches into the window" in message


def declared_checks() -> tuple[Any, ...]:
    from ehr_pipeline.assets import ASSETS

    return ASSETS["task_labels"].all_checks


def test_small_counts_are_not_shown(made: Pipeline) -> None:
    counts = labels(made).counts
    told = shown_counts("task_labels", counts, made.study.guard)
    assert told["tasks"] == 6
    small = [name for name in counts if isinstance(counts[name], dict) and 0 < counts[name]["cases"] < 10]
    assert small
    assert all(told[name]["cases"] is None for name in small)


def test_counts_of_index_dates_need_as_many_patients(made: Pipeline, extract: Path, tmp_path: Path) -> None:
    """With five landmarks, 45 index dates can be those of nine patients."""
    store = shutil.copytree(made.store.root, tmp_path / "store")
    tasks = {"task": [TASKS["task"][0] | {"per_patient": 5, "window_days": 60}]}
    pipeline = Pipeline(tiny_settings(extract, study={"store": str(store)}, patients=SPLIT, tasks=tasks))
    pipeline.task_labels()
    counts = labels(pipeline).counts
    assert counts["asthma"]["most_per_patient"] == counts["most_per_patient"] == 5
    told = shown_counts("task_labels", counts, made.study.guard)
    few = counts["asthma"] | {"cases": 45, "died": 46}
    told = shown_counts("task_labels", counts | {"asthma": few}, made.study.guard)
    assert (told["asthma"]["cases"], told["asthma"]["died"]) == (None, 50)
    assert "most_per_patient" not in told
    assert labels(made).counts["asthma"]["most_per_patient"] == 1


def test_the_same_settings_give_the_same_bytes(made: Pipeline, tmp_path: Path) -> None:
    first = labels(made)
    store = shutil.copytree(made.store.root, tmp_path / "store")
    shutil.rmtree(store / "tasks")
    again = Pipeline(
        study_of(Path(made.study.records.landing).parent, store, tasks=TASKS | {"workers": 2})
    ).task_labels()
    assert again.data_version == first.data_version
    other = Pipeline(study_of(Path(made.study.records.landing).parent, store, seed=5)).task_labels()
    assert other.data_version != first.data_version, "another seed draws other landmarks"


def test_the_task_of_the_guide_is_labelled_as_it_stands_there(made: Pipeline, extract: Path, tmp_path: Path) -> None:
    """Ten lines, with the lists that are shipped."""
    page = (Path(__file__).parents[2] / "docs/tasks.md").read_text(encoding="utf-8")
    block = page.partition("This is enough:")[2].partition("```toml\n")[2].partition("```")[0]
    assert len(block.splitlines()) == 10
    (task,) = tomllib.loads(block)["tasks"]["task"]
    places = {"outcome": shipped("tasks") / "lists", "entry": shipped("lists")}
    task |= {name: str(place / Path(task[name]).name) for name, place in places.items()}
    store = shutil.copytree(made.store.root, tmp_path / "store")  # what the other tests read stays the current one
    pipeline = Pipeline(study_of(extract, store, tasks={"task": [task]}))
    artifact = pipeline.task_labels()
    (definition,) = table.definitions(artifact.path)
    assert (definition.name, definition.index) == (task["name"], "first_entry")
    assert artifact.counts[definition.slug]["kept"] > 0


def test_without_tasks_nothing_is_labelled(made: Pipeline, tmp_path: Path) -> None:
    store = shutil.copytree(made.store.root, tmp_path / "store")
    pipeline = Pipeline(study_of(Path(made.study.records.landing).parent, store, tasks={}))
    artifact = pipeline.task_labels()
    assert artifact.counts == {"tasks": 0, "most_per_patient": 1}
    assert table.definitions(artifact.path) == ()
    assert all(outcome.passed for outcome in checked(pipeline).values())


def test_tasks_need_a_test_side(made: Pipeline, extract: Path, tmp_path: Path) -> None:
    study = tiny_settings(extract, study={"store": str(tmp_path / "store")}, tasks=TASKS)
    with pytest.raises(InputError, match="no test set"):
        Pipeline(study).task_labels()
    assert study_rules.NO_TEST_SET in preflight.inspect(study).problems
    assert study_rules.NO_TEST_SET not in preflight.inspect(made.study).problems


@pytest.fixture(scope="module")
def everybody(made: Pipeline) -> pl.DataFrame:
    """Patients of the data set with the days of their visits."""
    paths = made.store.current("patient_dataset").files("patients")
    return pl.concat([pl.DataFrame(schemas.read(path, ["patient_id", "visits"])) for path in paths]).with_columns(
        days=pl.col("visits").list.eval(pl.element().struct.field("date"))
    )


def of_file(made: Pipeline, rows: pl.DataFrame, tmp_path: Path, **changes: Any) -> Pipeline:
    """The study with one task whose index dates are those of a file."""
    rows.write_parquet(tmp_path / "labels.parquet")
    task = {"name": "Mine", "index": "file", "index_file": str(tmp_path / "labels.parquet"), **changes}
    store = shutil.copytree(made.store.root, tmp_path / "store")
    extract = Path(made.study.records.landing).parent
    pipeline = Pipeline(study_of(extract, store, tasks={"observed_until": "extract", "task": [task]}))
    pipeline.task_labels()
    return pipeline


def test_index_days_of_a_file_in_the_meds_schema(made: Pipeline, everybody: pl.DataFrame, tmp_path: Path) -> None:
    """Its labels, written by subject ids, are taken as they are; who is not in the data set is counted."""
    key = secret_key.of(made.store.root)
    day = everybody["days"].list.get(2)
    rows = pl.DataFrame(
        {
            "subject_id": [export.subject_id(one, key) for one in everybody["patient_id"]],
            "prediction_time": day.cast(pl.Datetime("us")),
            "boolean_value": [number % 3 == 0 for number in range(len(day))],
        }
    )
    rows = pl.concat([rows, rows.head(1).with_columns(subject_id=pl.lit(1, pl.Int64))])
    pipeline = of_file(made, rows, tmp_path)
    counts = labels(pipeline).counts["mine"]
    assert counts["rows_in"] == rows.height
    assert counts["dropped"]["not_in_data_set"] == 1
    found = rows_of(pipeline).with_columns(pl.col("patient_id", "ended").cast(pl.String)).sort("patient_id")
    expected = everybody.select("patient_id", index=day, label=rows["boolean_value"].head(len(day))).sort("patient_id")
    assert found["patient_id"].to_list() == expected["patient_id"].to_list()
    assert found["index_date"].to_list() == expected["index"].to_list()
    assert found["label"].to_list() == expected["label"].to_list()
    assert set(found["ended"]) == {"file"}


def test_where_dates_are_shifted_the_data_have_no_common_last_day(
    made: Pipeline, extract: Path, tmp_path: Path
) -> None:
    """A window may end later than nearly all visits; who left within it has no label all the same."""
    tasks = {"task": [TASKS["task"][1] | {"window_days": 3650}]}
    found = dict[bool, Any]()
    for shifted in (False, True):
        store = shutil.copytree(made.store.root, tmp_path / str(shifted))
        study = {"store": str(store), "shifted_dates": shifted}
        pipeline = Pipeline(tiny_settings(extract, study=study, patients=SPLIT, tasks=tasks))
        pipeline.task_labels()
        assert shifted is False or labels(pipeline).counts["groups_ending_earlier"] == 0
        found[shifted] = labels(pipeline).counts["after_psoriasis"]
    assert found[False]["dropped"]["window_after_data"] > 0
    assert found[True]["dropped"]["window_after_data"] == 0
    assert found[True]["dropped"]["left_in_window"] > found[False]["dropped"]["left_in_window"]


def test_a_written_label_file_gives_the_same_index_days(made: Pipeline, tmp_path: Path) -> None:
    rows = pl.read_parquet(labels(made).file("labels/asthma.parquet"))
    pipeline = of_file(made, rows, tmp_path, outcome=TASKS["task"][0]["outcome"], window_days=730)
    columns = [pl.col("patient_id").cast(pl.String), "index_date", "label", "window_until"]
    order = ["patient_id", "index_date"]
    own = rows_of(made).filter(task=0).select(columns).sort(order)
    assert rows_of(pipeline).select(columns).sort(order).equals(own)


def test_a_file_of_case_onsets_and_random_dates_is_a_warning(
    made: Pipeline, everybody: pl.DataFrame, tmp_path: Path
) -> None:
    """Cases are indexed at a visit, controls on any day: what such a file predicts is that there is a visit."""
    case = pl.Series([number % 2 == 0 for number in range(everybody.height)])
    visit = everybody["days"].list.get(3, null_on_oob=True).fill_null(everybody["days"].list.get(2))
    other = visit.dt.offset_by("1d")
    rows = pl.DataFrame(
        {
            "patient_id": everybody["patient_id"],
            "prediction_time": pl.select(pl.when(case).then(visit).otherwise(other))
            .to_series()
            .cast(pl.Datetime("us")),
            "boolean_value": case,
        }
    )
    outcome = checked(of_file(made, rows, tmp_path))["index_before_outcome"]
    assert (outcome.passed, outcome.blocking) == (False, False)
    assert "visits for cases" in outcome.message


BAD: list[tuple[dict[str, list[Any]], str]] = [
    ({"subject_id": [1]}, "prediction_time"),
    ({"prediction_time": ["2012-01-01"]}, "subject_id"),
    (
        {"subject_id": ["x"], "prediction_time": ["2012-01-01"]},
        "row 1 below the header, column subject_id: it is not a whole number",
    ),
    (
        {"patient_id": ["1", None], "prediction_time": ["2012-01-01"] * 2},
        "row 2 below the header, column patient_id: it is empty",
    ),
    ({"subject_id": [1, 1], "prediction_time": ["2012-01-01"] * 2}, "same patient and time"),
]


@pytest.mark.parametrize(("columns", "why"), BAD)
def test_what_is_no_file_of_labels_is_refused(tmp_path: Path, columns: dict[str, list[Any]], why: str) -> None:
    frame = pl.DataFrame(columns)
    if "prediction_time" in frame.columns:
        frame = frame.with_columns(pl.col("prediction_time").str.to_datetime("%Y-%m-%d"))
    frame.write_parquet(tmp_path / "labels.parquet")
    with pytest.raises(InputError, match=why):
        label_file.read(tmp_path / "labels.parquet")


SHIPPED = sorted(shipped("tasks").glob("*.toml"))


def test_twenty_tasks_are_shipped_and_found_in_the_terminology_of_the_demo(extract: Path) -> None:
    """Each stands for concepts of the demo, and says what it is as a study does."""
    assert len(SHIPPED) == 20
    study = tiny_settings(
        extract,
        patients=SPLIT,
        tasks={"death": str(shipped("tasks/lists/death.csv")), "task": [{"file": str(path)} for path in SHIPPED]},
    )
    assert len({task.name for task in study.tasks.task}) == 20
    resolved = {
        where: resolve_lists.concepts(rows)
        for where, rows in resolve_lists.resolve(
            {where: Path(path) for where, path in study_rules.lists(study.tasks).items()}, study.events
        ).items()
    }
    rules = study_rules.rules(study.tasks, resolved, (), 0)
    assert len(rules) == 20
    assert min(len(found) for found in resolved.values()) >= 1
    assert not [text for text in preflight.inspect(study).problems if "tasks" in text]


def test_lists_of_shipped_tasks_name_their_source() -> None:
    for path in sorted(shipped("tasks/lists").glob("*.csv")):
        assert {row.source for row in code_lists.read(path)} <= {"OpenSAFELY", "NHS usage; by its name"}
    used = {tomllib.loads(path.read_text()).get(name, "") for path in SHIPPED for name in ("outcome", "entry")}
    there = {f"lists/{path.name}" for path in shipped("tasks/lists").glob("*.csv")} - {"lists/death.csv"}
    assert there <= used


def test_a_task_takes_from_its_file_what_it_does_not_set(extract: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('name = "Mine"\noutcome = "list.csv"\nwindow_days = 90\n')
    (tmp_path / "list.csv").write_text("code,cui,name,source\n9014002,,Psoriasis,x\n")
    study = tiny_settings(
        extract, patients=SPLIT, tasks={"task": [{"file": str(tmp_path / "mine.toml"), "window_days": 30}]}
    )
    (task,) = study.tasks.task
    assert (task.name, task.window_days, task.outcome) == ("Mine", 30, str(tmp_path / "list.csv"))
    again = settings.with_overrides(study, {"tasks": {"screen": 2}})
    assert again.tasks.task == study.tasks.task


PROBLEMS: list[tuple[dict[str, Any], str]] = [
    ({"name": "x"}, "set outcome to a concept list"),
    ({"name": "Tasks", "outcome": "x"}, "file name"),
    ({"name": "x", "outcome": "x", "index": "first_entry"}, "needs entry"),
    ({"name": "x", "outcome": "x", "index": "calendar"}, "index_dates"),
    ({"name": "x", "outcome": "x", "index_dates": ["2012-01-01"]}, "index_dates"),
    ({"name": "x", "outcome": "x", "index": "calendar", "index_dates": ["1.1.2012"]}, "YYYY-MM-DD"),
    ({"name": "x", "outcome": "x", "index": "file"}, "index_file"),
    ({"name": "x", "outcome": "x", "min_age": 60, "max_age": 50}, "min_age"),
    ({"name": "x", "outcome_kind": "death"}, "how deaths are recorded"),
    ({"name": "x", "outcome_kind": "stop", "outcome": "x", "outcome_days": 2}, "outcome_days"),
    ({"name": "x", "aces": "x", "gap_days": 3}, "gap_days"),
    ({"file": "nowhere.toml"}, "nowhere.toml"),
]


@pytest.mark.parametrize(("task", "why"), PROBLEMS)
def test_settings_that_do_not_fit(extract: Path, task: dict[str, Any], why: str) -> None:
    with pytest.raises(SettingsError, match=why):
        tiny_settings(extract, patients=SPLIT, tasks={"task": [task]})


def test_two_tasks_of_one_file_name_are_refused(extract: Path) -> None:
    task = {"name": "Asthma", "outcome": PSORIASIS}
    with pytest.raises(SettingsError, match="tasks have the same file name"):
        tiny_settings(extract, patients=SPLIT, tasks={"task": [task, task | {"name": "asthma!"}]})


def test_an_unread_file_of_a_task_is_named(extract: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("nme = 'x'\n")
    with pytest.raises(SettingsError, match="sets nme, which no task has"):
        tiny_settings(extract, tasks={"task": [{"file": str(tmp_path / "mine.toml")}]})


def test_a_list_without_concepts_is_an_error(made: Pipeline, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("code,cui,name,source\n999999991000000101,,x,x\n")
    tasks = {"task": [{"name": "x", "outcome": str(tmp_path / "list.csv")}]}
    store = shutil.copytree(made.store.root, tmp_path / "store")
    pipeline = Pipeline(study_of(Path(made.study.records.landing).parent, store, tasks=tasks))
    with pytest.raises(InputError, match=r"task\[0\]\.outcome"):
        pipeline.task_labels()


def test_labels_of_other_programs_do_not_count_for_the_data_version(made: Pipeline) -> None:
    """Subject ids are hashed with the store's key, and data have the same bytes whatever the key."""
    artifact = labels(made)
    assert not [name for name in artifact.manifest["files"] if name.startswith("labels/")]
    noted = [name for name in artifact.manifest["notes"] if name.startswith("labels/")]
    assert len(noted) == 6
    assert artifact.manifest["notes"][noted[0]]["sha256"] == file_hash(artifact.file(noted[0]))
