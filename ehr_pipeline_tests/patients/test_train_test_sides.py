"""The side of each patient: by the hash with a test set, or by a column of the patients, known before the vocabulary."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ehr_pipeline import typed_settings
from ehr_pipeline.checks import train_test_sides as checks
from ehr_pipeline.errors import InputError, SettingsError, UserError
from ehr_pipeline.patients import preview, split, train_test_sides
from ehr_pipeline.patients.settings import LEARNED_FROM, TEST, SplitSettings
from ehr_pipeline.records.layouts import PatientColumns, PatientFiles
from ehr_pipeline.records.settings import RecordsSettings
from ehr_pipeline.records.sources.meds import Meds
from ehr_pipeline.store.artifacts import Artifact
from ehr_pipeline.tables import schemas
from ehr_pipeline.tables.hashing import bucket_of
from ehr_pipeline.work import buckets
from ehr_pipeline_tests.conftest import records_settings, tiny_settings
from ehr_pipeline_tests.records.sources.reading import parquet

KEY = "a key"
IDS = [str(number) for number in range(20_000)]
People = dict[str, str]


def records(folder: Path, people: People, shards: int = 2) -> Artifact:
    """Raw records of patients, each with a value of the column `fold`."""
    ids = pl.Series(list(people), dtype=pl.String)
    own = bucket_of(ids, shards)
    for number in range(shards):
        part = pl.DataFrame({"patient_id": ids, "fold": list(people.values())}).filter(pl.Series(own == number))
        table = part.with_columns(
            birth_date=pl.lit(None, pl.Date), birth_precision=pl.lit(""), sex=pl.lit("")
        ).to_arrow(compat_level=pl.CompatLevel.oldest())
        schema = schemas.patients(("fold",))
        schemas.write(folder / "patients" / buckets.shard_name(number), table.select(schema.names).cast(schema))
    return Artifact(folder, {})


def made(out: Path) -> People:
    """The sides that were written."""
    frames = [pl.DataFrame(schemas.read(path)) for path in sorted((out / train_test_sides.FOLDER).iterdir())]
    return dict(pl.concat(frames).iter_rows())


def by_column(tmp_path: Path, *extracts: People, **settings: Any) -> tuple[dict[str, Any], People]:
    own = SplitSettings(key=KEY, column="fold", **settings)
    found = [records(tmp_path / str(number), people) for number, people in enumerate(extracts)]
    counts = train_test_sides.build(found, own, tmp_path / "out")
    return counts, made(tmp_path / "out")


def test_the_shares_are_as_asked() -> None:
    found = [split.side(patient, SplitSettings(key=KEY, validation_share=0.1, test_share=0.2)) for patient in IDS]
    assert found.count("validation") / len(IDS) == pytest.approx(0.1, abs=0.01)
    assert found.count("test") / len(IDS) == pytest.approx(0.2, abs=0.01)


def test_a_test_side_takes_nobody_from_validation_and_a_larger_one_gives_nobody_back() -> None:
    two, three, more = (
        {patient: split.side(patient, SplitSettings(key=KEY, test_share=share)) for patient in IDS}
        for share in (0.0, 0.1, 0.3)
    )
    assert {two[patient] for patient in IDS if three[patient] == TEST} == {"train"}
    assert all(two[patient] == three[patient] for patient in IDS if three[patient] != TEST)
    assert {patient for patient in IDS if three[patient] == TEST} < {
        patient for patient in IDS if more[patient] == TEST
    }


@pytest.mark.parametrize("workers", [1, 2, 6])
def test_the_side_is_the_same_in_any_number_of_shards_on_any_workers_and_after_new_extracts(
    tmp_path: Path, workers: int
) -> None:
    settings = SplitSettings(key=KEY, validation_share=0.1, test_share=0.2)
    first, second = dict.fromkeys(IDS[:600], ""), dict.fromkeys(IDS[500:900], "")
    whole = {patient: split.side(patient, settings) for patient in IDS[:900]}
    for shards in (1, 4):
        out = tmp_path / f"out{shards}"
        found = [
            records(tmp_path / f"{shards}-{place}", people, shards) for place, people in enumerate((first, second))
        ]
        counts = train_test_sides.build(found, settings, out, workers)
        assert made(out) == whole
        assert sum(counts["sides"].values()) == 900
        alone = tmp_path / f"alone{shards}"
        train_test_sides.build(found[:1], settings, alone, workers)
        assert made(alone).items() < whole.items()


@pytest.mark.parametrize(
    ("written", "side"),
    [
        (["train", "Train", "TRAINING", " training ", "train_set"], "train"),
        (["tuning", "validation", "Valid", "VAL", "dev", "tune"], "validation"),
        (["held_out", "held-out", "Held Out", "heldout", "hold_out", "TEST", "test_set", "testing"], "test"),
        (["", "none", "NA", "unassigned"], "unassigned"),
        (["development", "evaluation", "A", "1", "fold 2"], "unassigned"),
    ],
)
def test_usual_spellings(tmp_path: Path, written: list[str], side: str) -> None:
    people = {"t": "train", "v": "tuning"} | {f"p{number}": value for number, value in enumerate(written)}
    counts, found = by_column(tmp_path, people)
    assert {found[f"p{number}"] for number in range(len(written))} == {side}
    assert counts["not_understood"] == (len(written) if "A" in written else 0)


def test_what_the_settings_say_of_a_value_comes_first(tmp_path: Path) -> None:
    people = {"a": "A", "b": "b ", "c": "C", "d": "train", "e": "1.0", "f": "dev"}
    named = {"A": "train", "B": "held out", "C": "tuning", "1": "test", "dev": "train"}
    counts, found = by_column(tmp_path, people, values=named)
    assert found == {"a": "train", "b": "test", "c": "validation", "d": "train", "e": "test", "f": "train"}
    assert not counts["not_understood"]


def test_the_oldest_extract_that_tells_a_side_decides_and_other_ones_are_counted(tmp_path: Path) -> None:
    first = {"t": "train", "v": "tuning", "moved": "train", "late": "", "garbled": "??", "gone": "held_out"}
    second = {"moved": "held_out", "late": "held_out", "garbled": "train", "gone": "", "new": "tuning", "never": ""}
    counts, found = by_column(tmp_path, first, second)
    assert found == {
        "t": "train",
        "v": "validation",
        "moved": "train",
        "late": "test",
        "garbled": "train",
        "gone": "test",
        "new": "validation",
        "never": "unassigned",
    }
    assert counts == {
        "sides": {"train": 3, "validation": 2, "test": 2, "unassigned": 1},
        "not_understood": 1,
        "differing": 1,
    }


def test_validation_patients_can_be_drawn_where_the_column_tells_none(tmp_path: Path) -> None:
    people = {patient: "held_out" if int(patient) % 4 == 0 else "train" for patient in IDS[:400]}
    with pytest.raises(InputError, match=r"draw_validation = true to draw validation patients"):
        by_column(tmp_path / "none", people)
    counts, found = by_column(tmp_path, people, draw_validation=True, validation_share=0.2)
    assert {patient for patient, side in found.items() if side == "test"} == {
        patient for patient, value in people.items() if value == "held_out"
    }
    assert counts["sides"]["validation"] == pytest.approx(60, abs=25)


def test_a_column_of_words_that_nobody_knows_ends_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"have an unknown value: give its meaning in patients.split.values") as said:
        by_column(tmp_path, dict.fromkeys(IDS[:30], "Cambridge"))
    assert "Cambridge" not in str(said.value)


def test_a_patient_of_another_catalog_is_refused(tmp_path: Path) -> None:
    found = records(tmp_path / "all", dict.fromkeys(IDS[:50], "train"))
    train_test_sides.build(
        [records(tmp_path / "some", {"1": "train", "2": "tuning"})],
        SplitSettings(key=KEY, column="fold"),
        tmp_path / "out",
    )
    with pytest.raises(UserError, match="extract_catalog has changed"):
        split.build(found, SplitSettings(key=KEY), tmp_path / "split", tmp_path / "out" / train_test_sides.FOLDER)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"column": "fold", "values": {"A": "left"}}, "which is not a set"),
        ({"column": "fold", "test_share": 0.1}, "give either column or test_share"),
        ({"draw_validation": True}, "need column"),
        ({"test_share": 0.5}, "test_share"),
    ],
)
def test_settings_that_cannot_be_meant(extract: Path, wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        tiny_settings(extract, patients={"split": wrong})


def test_settings_that_came_later_decide_nothing_by_default() -> None:
    assert typed_settings.identity(SplitSettings(key=KEY)) == {"validation_share": 0.02, "key": KEY}
    assert "values" in typed_settings.identity(SplitSettings(key=KEY, column="fold", values={"A": "train"}))


def catalog(folder: Path, understood: int, of: int, differing: int = 0, unassigned: int = 0) -> Artifact:
    (folder / "notes").mkdir(parents=True)
    (folder / train_test_sides.VALUES).write_text(json.dumps({"Leeds": understood}), encoding="utf-8")
    counted = {"train": of - unassigned, "validation": 0, "test": 0, "unassigned": unassigned}
    return Artifact(
        folder, {"counts": {"split": {"sides": counted, "not_understood": understood, "differing": differing}}}
    )


@pytest.mark.parametrize(
    ("numbers", "passes", "only_warns", "says"),
    [
        ({"understood": 0, "of": 1000}, True, True, "every value is understood"),
        ({"understood": 9, "of": 100}, False, True, "fewer than 10"),
        ({"understood": 20, "of": 10_000}, False, True, "('Leeds')"),
        ({"understood": 200, "of": 10_000}, False, False, "(2.0%)"),
        ({"understood": 0, "of": 10_000, "differing": 100}, False, False, "extracts assign"),
        (
            {"understood": 0, "of": 1_000, "unassigned": 200},
            False,
            True,
            "are in no set of the split, and are not used for training",
        ),
        ({"understood": 0, "of": 1_000, "unassigned": 5}, True, True, "every value"),
    ],
)
def test_sides_in_doubt_warn_and_stop_from_the_limit_on(
    tmp_path: Path, extract: Path, numbers: dict[str, int], passes: bool, only_warns: bool, says: str
) -> None:
    study = tiny_settings(extract, patients={"split": {"column": "fold"}})
    artifact = catalog(tmp_path / "catalog", **numbers)
    passed, message, _ = checks.sides_understood(artifact, None, study)  # type: ignore[arg-type]
    assert (passed, checks.few_misunderstood(artifact, study)) == (passes, only_warns), message
    assert says in message
    assert "Leeds" not in message or numbers["understood"] >= 10


def noted(records: RecordsSettings, settings: SplitSettings) -> list[tuple[str, str]]:
    return list(preview.notes(records, settings, 10))


def test_check_says_early_that_the_column_is_not_there_or_not_understood(tmp_path: Path, landing: Any) -> None:
    patients = "id\tyear\tfold\n" + "".join(f"{number}\t1950\tLeeds\n" for number in range(20))
    folder = landing(events="id\tdate\tcode\n", patients=patients)
    own = SplitSettings(column="fold")
    assert noted(records_settings(folder.parent), own)[0][0] == "problems"
    files = PatientFiles(
        files="patients*", columns=PatientColumns(patient="id", birth_year="year"), attributes={"fold": "fold"}
    )
    known = records_settings(folder.parent, patients=(files,))
    ((level, message),) = noted(known, own)
    assert level == "problems"
    assert "the set is not understood in about 20 of its first rows ('Leeds')" in message
    assert noted(known, SplitSettings(column="fold", values={"Leeds": "train"})) == []
    (folder / "patients.txt").write_text("id\tyear\tfold\n1\t1950\t\n", encoding="utf-8")
    assert [level for level, _ in noted(known, own)] == ["warnings"]


def test_check_says_that_a_data_sets_own_split_is_not_followed(tmp_path: Path) -> None:
    parquet(tmp_path / "2020-01-01" / preview.SPLITS, subject_id=[1, 3], split=["train", "held_out"])
    meds = RecordsSettings(landing=str(tmp_path), source="meds")
    ((level, message),) = noted(meds, SplitSettings())
    assert (level, "its held-out subjects train the encoder" in message) == ("facts", True)
    followed = RecordsSettings(landing=str(tmp_path), source="meds", meds=Meds(splits="meds_split"))
    assert noted(followed, SplitSettings(column="meds_split")) == []


def test_left_out_are_those_on_the_test_side_or_on_none(tmp_path: Path) -> None:
    by_column(tmp_path, {"t": "train", "v": "tuning", "h": "held_out", "n": ""})
    assert sorted(train_test_sides.left_out(Artifact(tmp_path / "out", {}))) == ["h", "n"]
    assert LEARNED_FROM == ("train", "validation")
