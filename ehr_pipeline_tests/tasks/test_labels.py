"""Labels are those of a reference that looks at one patient and one day after the other, whatever the settings."""

from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ehr_pipeline.patients.settings import EVERY_SIDE
from ehr_pipeline.tables import schemas
from ehr_pipeline.tasks import censoring, data_end, table
from ehr_pipeline.tasks.assign_labels import REASONS
from ehr_pipeline.tasks.build import BucketLabels, LabelJob, build_bucket
from ehr_pipeline.tasks.data_end import NEVER, DataEnd
from ehr_pipeline.tasks.meds import DEATH
from ehr_pipeline.tasks.records import Deaths, FollowUp
from ehr_pipeline.tasks.rule import VISIT, Condition, Rule, from_task
from ehr_pipeline.tasks.settings import Task
from ehr_pipeline_tests.tasks.reference import (
    ORIGIN,
    Patient,
    Until,
    age,
    as_tables,
    draw_patients,
    fate,
    index_days,
    outcomes,
)

DRAW = (0x0706050403020100, 0x0F0E0D0C0B0A0908)
DEATHS = Deaths(attribute="died")
"""Of every second patient; the others have a day of death."""
NO_END = Until()
SETS = st.sampled_from([frozenset({"A"}), frozenset({"B", "X"}), frozenset({"C"}), frozenset({"X"}), frozenset[str]()])


def job_of(
    patients: list[Patient], rules: tuple[Rule, ...], folder: Path, until: Until = NO_END, deaths: Deaths = DEATHS
) -> LabelJob:
    """The job for a bucket of these patients, whose files are written into the folder."""
    for name, one in zip(("events", "dataset", "split"), as_tables(patients), strict=True):
        schemas.write(folder / f"{name}.arrow", one)
    return LabelJob(
        "00000.arrow",
        folder / "events.arrow",
        folder / "dataset.arrow",
        folder / "split.arrow",
        rules,
        deaths,
        FollowUp(
            None if until.patient is None else ORIGIN + until.patient,
            DataEnd(ORIGIN + until.data, {"sex": {"F": ORIGIN + until.women}}),
        ),
        DRAW,
        folder,
    )


def labelled(
    patients: list[Patient],
    *rules: Rule,
    folder: Path,
    until: Until = NO_END,
    deaths: Deaths = DEATHS,
    visit_window: int = 0,
) -> tuple[BucketLabels, pl.DataFrame]:
    """What the stage makes of a bucket."""
    job = job_of(patients, rules, folder, until, deaths)
    found = build_bucket(job)
    (rows,) = (rows for _, rows in table.shards(folder))
    return found, pl.DataFrame(rows).with_columns(pl.col("patient_id", "side", "ended").cast(pl.String))


@st.composite
def rules(draw: st.DrawFn) -> Rule:
    """A rule with any combination of settings."""
    kind = draw(st.sampled_from(["recorded", "recorded", "first", "stop", "death"]))
    index = draw(st.sampled_from(["landmark", "first_entry", "calendar", "trigger"]))
    opens = draw(st.integers(0, 12))
    entry = draw(SETS) if index in ("first_entry", "trigger") else draw(st.one_of(st.none(), SETS))
    young = draw(st.sampled_from([0, 0, 35]))
    conditions = st.builds(
        Condition,
        SETS.map(lambda one: one or frozenset({VISIT})),
        st.integers(-40, 0),
        st.integers(-10, 10),
        st.integers(0, 1),
    )
    return Rule(
        name="task",
        outcome=frozenset({DEATH}) if kind == "death" else draw(SETS),
        kind="recorded" if kind == "death" else kind,
        outcome_days=draw(st.integers(1, 2)) if kind == "recorded" else 1,
        stop_days=draw(st.integers(1, 30)),
        entry=entry,
        entry_days=draw(st.integers(1, 2)),
        exclude=draw(st.one_of(st.just(frozenset[str]()), SETS)),
        index=index,
        dates=tuple(ORIGIN + day for day in draw(st.lists(st.integers(0, 110), min_size=1, max_size=3, unique=True))),
        from_visit=draw(st.integers(1, 4)),
        per_patient=draw(st.integers(1, 3)),
        last=draw(st.integers(-1, 0)) if opens else -1,
        opens=opens,
        closes=opens + draw(st.integers(0, 60)),
        lookback=draw(st.sampled_from([0, 0, 1, 30])),
        incident=draw(st.booleans()),
        min_visits=draw(st.integers(1, 3)),
        min_observed=draw(st.sampled_from([0, 0, 10])),
        ages=(young, draw(st.sampled_from([150, 60]))),
        sex=draw(st.sampled_from(["", "", "F"])),
        conditions=tuple(draw(st.lists(conditions, max_size=1))),
        visit_window=draw(st.sampled_from([0, 0, 3])),
    )


@given(
    seed=st.integers(0, 2**32 - 1),
    several=st.lists(rules(), min_size=4, max_size=4),
    until=st.builds(
        Until, st.sampled_from([None, 125]), st.sampled_from([10**6, 118, 70]), st.sampled_from([10**6, 80])
    ),
)
@settings(deadline=None, max_examples=60)
def test_labels_are_those_of_the_reference(
    tmp_path_factory: pytest.TempPathFactory, seed: int, several: list[Rule], until: Until
) -> None:
    patients = draw_patients(np.random.default_rng(seed), 40)
    kept = [one for one in patients if one.visits]
    by_name = {one.name: one for one in patients}
    found, rows = labelled(patients, *several, folder=tmp_path_factory.mktemp("bucket"), until=until)
    for number, rule in enumerate(several):
        expected, reasons = {}, dict.fromkeys(REASONS, 0)
        for one in kept:
            for day in index_days(one, rule, DRAW, until, []):
                reason, label, ended, followed = fate(one, rule, day, until)
                if reason:
                    reasons[reason] += 1
                else:
                    expected[one.name, day] = (label, ended, followed, one.side)
        own = rows.filter(task=number)
        made = {
            (name, (day - np.datetime64("1970-01-01").item()).days - ORIGIN): tuple(rest)
            for name, day, *rest in own.select(
                "patient_id", "index_date", "label", "ended", "followed_days", "side"
            ).iter_rows()
        }
        assert made == expected, rule
        counts = found.counts[number]
        assert counts["kept"] == len(expected)
        assert counts["cases"] == sum(label for label, *_ in expected.values())
        on_one_day = [len(outcomes(by_name[name], rule)) == 1 for (name, _), (label, *_) in expected.items() if label]
        assert counts["single"] == (sum(on_one_day) if rule.kind == "recorded" and rule.outcome != {DEATH} else 0)
        assert counts["rows_in"] == counts["kept"] + sum(counts[reason] for reason in REASONS)
        if rule.index in ("landmark", "first_entry"):
            each = rule.per_patient if rule.index == "landmark" else 1
            assert counts["rows_in"] == each * len(kept), "patients without an index date are counted with the reason"
        for reason in REASONS:
            if reason not in ("never_at_risk", "no_visit_to_predict_at"):  # these count those without an index date too
                assert counts[reason] == reasons[reason], reason
        for side in EVERY_SIDE:
            assert counts[f"{side}/labels"] == sum(one[3] == side for one in expected.values())


def patient(*events: tuple[int, str], **other: int | None) -> Patient:
    values = {"start": 0, "end": 100, "death": None} | other
    return Patient("p1", "F", sorted([(0, "D"), *events]), values["start"], values["end"], values["death"])


def one(folder: Path, who: Patient, **changes: object) -> str:
    """How follow-up ended for a patient with index date 50 and a window of 30 days, or the reason why there is no label."""
    values = {"name": "task", "outcome": frozenset({"A"}), "index": "calendar", "dates": (ORIGIN + 50,), "closes": 30}
    rule = Rule(**{**values, **changes})  # type: ignore[arg-type]
    found, rows = labelled([who], rule, folder=folder)
    if len(rows):
        return str(rows["ended"][0])
    return next(reason for reason in REASONS if found.counts[0][reason])


EDGES: list[tuple[Patient, dict[str, object], str]] = [
    (patient((60, "A")), {}, "outcome"),
    (patient(), {}, "window"),
    # Of the index date itself nobody knows what came first.
    (patient((50, "A")), {}, "outcome_on_index_day"),
    (patient((50, "A"), (50, "B"), (50, "C")), {"incident": False}, "window"),
    (patient((50, "A"), (60, "A")), {"incident": False}, "outcome"),
    (patient((50, "A")), {"opens": 0}, "outcome"),
    (patient((50, "A")), {"last": 0}, "outcome_before"),
    (patient((49, "A")), {}, "outcome_before"),
    # The gap, and both ends of the window.
    (patient((51, "A")), {}, "outcome"),
    (patient((55, "A")), {"opens": 6}, "outcome_in_gap"),
    (patient((56, "A")), {"opens": 6}, "outcome"),
    (patient((80, "A")), {}, "outcome"),
    (patient((81, "A")), {}, "window"),
    # The window ends with the record.
    (patient(end=80), {}, "window"),
    (patient(end=79), {}, "left_in_window"),
    (patient((70, "A"), end=75), {}, "outcome"),
    (patient((78, "A"), end=75), {}, "left_in_window"),
    (patient(end=None), {}, "not_observed"),
    (patient(end=50), {}, "left_before_window"),
    (patient(end=49), {}, "not_observed"),
    # Death.
    (patient(death=70), {}, "died"),
    (patient((70, "A"), death=70), {}, "outcome"),
    (patient((71, "A"), death=70), {}, "died"),
    (patient(death=81), {}, "window"),
    (patient(death=50), {}, "died_before_window"),
    (patient(end=60, death=70), {}, "left_in_window"),
    (patient(death=70), {"outcome": frozenset({DEATH})}, "outcome"),
    (patient(death=50), {"outcome": frozenset({DEATH}), "opens": 0}, "outcome"),
    # Treatments: the first prescription, and none for so long.
    (patient((30, "A"), (60, "A")), {"kind": "first", "incident": False}, "window"),
    (patient((40, "A"), (48, "A")), {"kind": "stop", "stop_days": 10}, "outcome"),
    (patient((40, "A"), (48, "A"), (58, "A"), (68, "A"), (78, "A")), {"kind": "stop", "stop_days": 10}, "window"),
    (patient((48, "A"), end=57), {"kind": "stop", "stop_days": 10}, "left_in_window"),
    # The history.
    (patient(), {"lookback": 20}, "few_visits_before"),
    (patient((31, "B")), {"lookback": 20}, "window"),
    (patient((30, "X")), {"lookback": 20}, "few_visits_before"),
    (patient(), {"min_observed": 51}, "observed_too_short"),
    (patient((10, "B")), {"exclude": frozenset({"B"})}, "excluded_by_list"),
    (patient((50, "B")), {"exclude": frozenset({"B"})}, "window"),
    (patient((50, "B")), {"entry": frozenset({"B"})}, "never_at_risk"),
    # A visit holds what was recorded up to three days after its date.
    (patient((47, "B")), {"lookback": 5, "visit_window": 3}, "few_visits_before"),
    (patient((46, "B")), {"lookback": 5, "visit_window": 3}, "window"),
]  # fmt: skip


@pytest.mark.parametrize(("who", "changes", "expected"), EDGES)
def test_edges(tmp_path: Path, who: Patient, changes: dict[str, object], expected: str) -> None:
    assert one(tmp_path, who, **changes) == expected


def test_a_window_that_ends_after_the_data_is_refused_whatever_the_outcome(tmp_path: Path) -> None:
    """Otherwise patients with the outcome would keep their label, and others would not: a late index date would mark the cases."""
    rule = Rule(name="task", outcome=frozenset({"A"}), index="calendar", dates=(ORIGIN + 50,), closes=30)
    for who in (patient((60, "A")), patient()):
        for end, kept in ((80, 1), (79, 0)):
            found, rows = labelled([who], rule, folder=tmp_path, until=Until(data=end))
            assert (len(rows), found.counts[0]["window_after_data"]) == (kept, 1 - kept)


def test_the_data_end_where_all_but_a_few_stray_visits_end(tmp_path: Path) -> None:
    days = [[(day, "A") for day in range(n % 7, 400)] for n in range(40)]
    for number, own in enumerate((days[:20], days[20:] + [[(400 + 900 * n, "A")] for n in range(5)])):
        people = [Patient(f"{number}-{n}", "F", events, None, None, None) for n, events in enumerate(own)]
        schemas.write(tmp_path / f"{number}.arrow", as_tables(people)[1])
    assert data_end.find([tmp_path / "0.arrow", tmp_path / "1.arrow"], ()) == DataEnd(ORIGIN + 399)
    schemas.write(tmp_path / "none.arrow", schemas.read(tmp_path / "0.arrow").slice(0, 0))
    assert data_end.find([tmp_path / "none.arrow"], ()) == DataEnd(NEVER)


def hospital(name: str, patients: int, days: range, every: int = 40) -> list[Patient]:
    """Patients of a hospital, each with a visit in so many days."""
    rng = np.random.default_rng(len(name))
    return [
        Patient(
            f"{name}{n}",
            "F",
            sorted({(int(day), "A") for day in rng.choice(days, len(days) // every)}),
            None,
            None,
            None,
        )
        for n in range(patients)
    ]


def ends_of(folder: Path, *hospitals: list[Patient], ends: dict[str, int] | None = None) -> dict[str, int]:
    """The days, from ORIGIN, on which data of hospitals are found to end earlier than all data, by their order. `ends`: the ends of
    observation by patient."""
    tables = []
    for number, own in enumerate(hospitals):
        people = as_tables(own)[1]
        place = people.schema.get_field_index("observation_end")
        known = [None if ends is None else ORIGIN + ends[name] for name in people.column("patient_id").to_pylist()]
        people = people.set_column(place, people.schema.field(place), pa.array(known, pa.int32()).cast(pa.date32()))
        tables.append(people.append_column("hospital", pa.array([str(number)] * people.num_rows)))
    schemas.write(folder / "0.arrow", pa.concat_tables(tables[:1]))
    schemas.write(folder / "1.arrow", pa.concat_tables(tables[1:]))
    found = data_end.find([folder / "0.arrow", folder / "1.arrow"], ("practice", "hospital"))
    return {name: day - ORIGIN for name, day in found.groups.get("hospital", {}).items()}


def test_a_hospital_whose_data_end_earlier_has_its_own_end(tmp_path: Path) -> None:
    """With a few mistyped later dates; and not if it has few patients, or ends hardly earlier."""
    long, short = hospital("long", 300, range(3_000)), hospital("short", 200, range(2_200))
    found = ends_of(tmp_path, long, short)
    assert 2_190 <= found.pop("1") < 2_200
    assert not found
    assert not ends_of(tmp_path, long, hospital("few", 20, range(2_200)))
    assert not ends_of(tmp_path, long, hospital("nearly", 200, range(2_975)))
    assert not ends_of(tmp_path, long, hospital("rare", 60, range(2_800), 1_000)), "few visits are no silence"
    stray = [*short, Patient("stray", "F", [(2_000, "A"), (2_900, "A")], None, None, None)]
    assert ends_of(tmp_path, long, stray) == ends_of(tmp_path, long, short)


def test_a_small_practice_ends_with_the_last_end_of_observation_of_its_patients(tmp_path: Path) -> None:
    long, small = hospital("long", 300, range(3_000)), hospital("small", 20, range(2_200))
    ends = {one.name: 3_000 for one in long} | {one.name: 2_210 - n for n, one in enumerate(small)}
    assert ends_of(tmp_path, long, small, ends=ends) == {"1": 2_210}
    assert not ends_of(tmp_path, long, small[:9], ends=ends), "too few patients to tell"


def test_one_end_of_the_data_stays_one(tmp_path: Path) -> None:
    """Whatever the number of practices, and how rarely their patients come."""
    practices = [hospital("x" * n, 60, range(2_000), 20 + 10 * n) for n in range(40)]
    assert not ends_of(tmp_path, *practices)


def test_labels_of_a_hospital_end_with_its_data(tmp_path: Path) -> None:
    """Otherwise its last index dates would have cases only."""
    rule = Rule(name="task", outcome=frozenset({"A"}), index="calendar", dates=(ORIGIN + 50,), closes=30)
    for end, kept in ((80, 2), (79, 1)):
        both = [patient((60, "A")), Patient("p2", "M", [(0, "D"), (70, "A")], 0, 100, None)]
        found, _ = labelled(both, rule, folder=tmp_path, until=Until(women=end))
        assert (found.counts[0]["kept"], found.counts[0]["window_after_data"]) == (kept, 2 - kept)


def test_a_list_that_finds_nothing_puts_nobody_at_risk(tmp_path: Path) -> None:
    assert one(tmp_path, patient(), entry=frozenset()) == "never_at_risk"
    assert one(tmp_path, patient(), outcome=frozenset()) == "window"


def test_landmarks_are_drawn_without_looking_at_the_outcome(tmp_path: Path) -> None:
    """Records that differ in later outcomes alone have the same landmarks; another key draws others."""
    rng = np.random.default_rng(3)
    patients = draw_patients(rng, 200)
    rule = Rule(name="task", outcome=frozenset({"X"}), incident=False, from_visit=2, closes=1)
    job_rows = []
    for others in (patients, [with_outcomes(each) for each in patients]):
        _, rows = labelled(others, rule, folder=tmp_path, until=Until(10_000))
        job_rows.append(rows.select("patient_id", "index_date"))
    both = job_rows[0].join(job_rows[1], on="patient_id", suffix="_other")
    assert both.height > 100
    assert both["index_date"].equals(both["index_date_other"])


def with_outcomes(who: Patient) -> Patient:
    return Patient(
        who.name, who.sex, sorted({*who.events, (115, "X")}), who.start, who.end, who.death, who.side, who.born
    )


def test_a_landmark_is_any_visit_with_equal_chance(tmp_path: Path) -> None:
    patients = [
        Patient(f"p{number}", "F", [(day, "D") for day in (0, 10, 20, 30)], 0, 300, None) for number in range(4000)
    ]
    rule = Rule(name="task", outcome=frozenset({"A"}), from_visit=2, closes=10)
    _, rows = labelled(patients, rule, folder=tmp_path)
    counted = rows["index_date"].value_counts()["count"].to_list()
    assert len(counted) == 3
    assert all(abs(count - 4000 / 3) < 4 * np.sqrt(4000 * 2 / 9) for count in counted)


def test_weights_make_up_for_those_who_left() -> None:
    """Kaplan-Meier by hand: one of ten has the outcome on day 0; of the nine left, two leave, so the other seven weigh 9 / 7."""
    left, others = np.array([0, 2, 0, 0, 0]), np.array([1, 0, 0, 1, 6])
    weights = censoring.weights(left, others)
    assert weights == pytest.approx([1, 1, 9 / 7, 9 / 7, 9 / 7])
    assert (weights * others).sum() == pytest.approx((left + others).sum())


def test_weighted_cases_are_as_many_as_without_leaving(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    days = rng.geometric(0.01, 6000)  # of the outcome
    leaves = rng.geometric(0.01, 6000)
    patients = [
        Patient(
            f"p{n}", "F", sorted({(0, "D"), (50, "D"), *([(50 + day, "A")] if day <= gone else [])}), 0, 50 + gone, None
        )
        for n, (day, gone) in enumerate(zip(days.tolist(), leaves.tolist(), strict=True))
    ]
    rule = Rule(name="task", outcome=frozenset({"A"}), index="calendar", dates=(ORIGIN + 50,), closes=100, censor=True)
    found, rows = labelled(patients, rule, folder=tmp_path)
    definition = table.Definition(
        0, "task", "task", (), (), "", False, True, {}, tuple(censoring.weights(found.left[0], found.others[0]))
    )
    own = table.rows_of_task(pa.table(rows.to_arrow()), definition)
    weights, label = table.weights(own, definition), rows["label"].to_numpy()
    assert weights.sum() == pytest.approx(6000)
    plain, weighted = label.mean(), weights[label].sum() / weights.sum()
    assert weighted == pytest.approx((days <= 100).mean(), abs=0.03)
    assert abs(plain - (days <= 100).mean()) > 0.05, "those who left are seldom cases"


def test_the_settings_of_a_task_are_its_rule() -> None:
    task = Task(
        name="Asthma, within 2 years",
        outcome="x",
        gap_days=30,
        window_days=730,
        index_day="outcome",
        follow_up="censor",
    )
    rule = from_task(task, {"outcome": frozenset({"A"})}, 3)
    assert (rule.slug, rule.last, rule.opens, rule.closes) == ("asthma_within_2_years", -1, 30, 759)
    assert (rule.censor, rule.visit_window, rule.entry) == (True, 3, None)
    assert from_task(Task(name="x", outcome="x"), {}, 0).opens == 1
    assert from_task(Task(name="x", outcome="x", index_day="history"), {}, 0).last == 0
    assert from_task(Task(name="x", outcome_kind="death"), {}, 0).outcome == {DEATH}


def test_ages_are_those_on_the_index_day(tmp_path: Path) -> None:
    who = patient()
    assert 40 <= age(who, 50) < 41
    assert one(tmp_path, who, ages=(40, 40)) == "window"
    assert one(tmp_path, who, ages=(41, 60)) == "other_age_or_sex"
    assert one(tmp_path, who, sex="M") == "other_age_or_sex"
