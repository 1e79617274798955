"""What `init` finds in MEDS data sets, and in parts of them."""

from pathlib import Path

import polars as pl
import pytest

from ehr_pipeline.errors import InputError
from ehr_pipeline.planning import init_study, meds_sets, preflight
from ehr_pipeline.records import extract_files
from ehr_pipeline.records.files import find
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.study import settings
from ehr_pipeline.study.settings import Study
from ehr_pipeline_tests.planning import test_init_study as files

TODAY = files.TODAY


def started(folder: Path, *sources: Path) -> tuple[init_study.NewStudy, Study]:
    """A study of these files, which passes `check`."""
    made = init_study.start(folder, sources, None, TODAY)
    study = settings.load(made.settings, {"vocabulary": {"min_size": len(files.CODES)}})
    found = preflight.inspect(study)
    assert found.problems == found.warnings == []
    return made, study


@pytest.fixture
def meds(tmp_path: Path) -> Path:
    """A data set in three shards, with names of codes and a split; the sex has a prefix of its own."""
    root = tmp_path / "set"
    root.mkdir()
    files.meds(root)
    table = pl.read_parquet(root / "data/0.parquet").with_columns(
        pl.col("code").str.replace("GENDER//", "SEX_AT_BIRTH//")
    )
    (root / "data/0.parquet").unlink()
    race = table.filter(pl.col("code") == "MEDS_BIRTH").select(
        "subject_id",
        time=pl.lit(None, pl.Datetime("us")),
        code=pl.format("RACE//{}", pl.col("subject_id") % 3),
        numeric_value=pl.lit(None, pl.Float32),
    )
    table = pl.concat([table, race])
    sides = ["train", "tuning", "held_out"]
    for number, side in enumerate(sides):
        (root / "data" / side).mkdir()
        table.filter(pl.col("subject_id") % 3 == number).write_parquet(root / "data" / side / "0.parquet")
    (root / "metadata").mkdir()
    people = table.select(pl.col("subject_id").unique().sort())
    split = (pl.col("subject_id") % 3).replace_strict(dict(enumerate(sides)), return_dtype=pl.String)
    people.with_columns(split=split).write_parquet(root / "metadata/subject_splits.parquet")
    codes = table.select(pl.col("code").unique().sort()).with_columns(description=pl.format("name of {}", "code"))
    codes.write_parquet(root / "metadata/codes.parquet")
    return root


def test_a_meds_data_set_is_described_by_itself(meds: Path, tmp_path: Path) -> None:
    made, study = started(tmp_path / "study", meds)
    own = study.records.meds
    assert (own.sex_prefixes, own.attributes, own.splits) == (("SEX_AT_BIRTH//",), {"race": "RACE//"}, "meds_split")
    assert (study.patients.split.column, study.patients.split.draw_validation) == ("meds_split", False)
    assert [one.file for one in study.events.names] == [str(meds / "metadata/codes.parquet")]
    assert study.reports.audited == ("race",)
    assert "the sex is read from codes that begin with SEX_AT_BIRTH//" in made.facts
    assert made.doubts == [
        "Without --umls DIR, each code is a separate concept: codes with the same meaning are not joined.",
        "Only 4 codes appear 5 times or more. A vocabulary is usually larger, so vocabulary.min_size was lowered. If the"
        " extract has more codes, check which column is read as the code.",
    ]


@pytest.mark.parametrize("ending", [".csv", ".csv.gz"])
def test_a_meds_data_set_as_csv_is_read_like_parquet(meds: Path, tmp_path: Path, ending: str) -> None:
    made = {}
    for name in ("parquet", "csv"):
        if name == "csv":
            for path in sorted((meds / "data").glob("*/*.parquet")):
                pl.read_parquet(path).with_columns(pl.col("time").dt.to_string("%Y-%m-%d %H:%M:%S")).write_csv(
                    path.with_name(f"0{ending}"), compression="gzip" if ending.endswith("gz") else "uncompressed"
                )
                path.unlink()
        _, study = started(tmp_path / name, meds)
        (extract,) = Path(study.records.landing).iterdir()
        made[name] = Pipeline(study).raw_records(extract.name)
    assert study.records.meds.data == f"data/**/*{ending}"
    assert made["csv"].counts["kept"] == made["parquet"].counts["kept"] > 0
    for kind in ("events", "patients"):
        tables = [pl.concat(pl.read_ipc(path) for path in one.files(kind)) for one in made.values()]
        assert tables[0].equals(tables[1])


def test_csv_with_the_columns_of_meds_but_none_of_its_codes_is_no_meds(meds: Path, tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    pl.read_parquet(meds / "data/train/0.parquet").filter(pl.col("code") != "MEDS_BIRTH").write_csv(path)
    assert meds_sets.recognised([path], [], []) is None


@pytest.mark.parametrize("part", ["data", "data/train", "data/train/0.parquet"])
def test_a_part_of_a_meds_data_set_has_its_names_too(meds: Path, tmp_path: Path, part: str) -> None:
    made, study = started(tmp_path / "study", meds / part)
    assert [one.file for one in study.events.names] == [str(meds / "metadata/codes.parquet")]
    tree = extract_files.tree_of(next(Path(study.records.landing).iterdir()), study.records)
    shards = sorted(path.parent.name for path in find(tree, study.records.kinds.events[0]))
    assert shards == (["held_out", "train", "tuning"] if part == "data" else ["train"])
    left_out = [doubt for doubt in made.doubts if "held_out, tuning next to it" in doubt]
    assert bool(left_out) == (part == "data/train")
    assert bool(study.patients.split.column) == (part == "data"), "without held_out, a hash splits"


def test_a_split_without_a_held_out_side_is_not_used(meds: Path, tmp_path: Path) -> None:
    path = meds / "metadata/subject_splits.parquet"
    pl.read_parquet(path).with_columns(split=pl.lit("train")).write_parquet(path)
    made, study = started(tmp_path / "study", meds)
    assert study.patients.split.column == study.records.meds.splits == ""
    assert any("no split into train and held_out" in doubt for doubt in made.doubts)


def test_a_sex_below_another_prefix_and_births_under_another_code_are_read_and_said(meds: Path, tmp_path: Path) -> None:
    """The prefix before the sex was an attribute as well, with the sexes as its values."""
    for path in sorted((meds / "data").glob("*/*.parquet")):
        code = pl.col("code").str.replace("SEX_AT_BIRTH//", "DEMO//SEX//").str.replace("MEDS_BIRTH", "SNOMED/3950001")
        pl.read_parquet(path).with_columns(code).write_parquet(path)
    (meds / "metadata/codes.parquet").unlink()
    made, study = started(tmp_path / "study", meds)
    assert study.records.meds.sex_prefixes == ("DEMO//SEX//",)
    assert study.records.meds.attributes == {"race": "RACE//"}
    assert any("births are read from SNOMED/3950001. Check records.meds.birth_codes" in doubt for doubt in made.doubts)


@pytest.mark.parametrize("name", ["data/subject_splits.parquet", "data/train/aaa.parquet"])
def test_another_table_among_the_shards_is_left_out_and_said(meds: Path, tmp_path: Path, name: str) -> None:
    (meds / name).write_bytes((meds / "metadata/subject_splits.parquet").read_bytes())
    made, study = started(tmp_path / "study", meds)
    assert [doubt for doubt in made.doubts if "not read" in doubt] == [
        f"{meds / name}: without the columns code, subject_id, time of MEDS, so not linked and not read."
    ]
    (extract,) = Path(study.records.landing).iterdir()
    shards = find(extract_files.tree_of(extract, study.records), study.records.kinds.events[0])
    assert [path.relative_to(extract / "data").as_posix() for path in shards] == [
        f"{side}/0.parquet" for side in ("held_out", "train", "tuning")
    ]
    assert study.patients.split.column == "meds_split"
    assert [one.file for one in study.events.names] == [str(meds / "metadata/codes.parquet")]


def test_events_with_the_columns_of_meds_beside_a_table_of_patients_are_no_meds(meds: Path, tmp_path: Path) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    table = pl.read_parquet(meds / "data/train/0.parquet")
    births = table.filter(pl.col("code") == "MEDS_BIRTH").select("subject_id", birth_date=pl.col("time").dt.date())
    births.write_parquet(folder / "a_patients.parquet")
    table.filter(pl.col("code") != "MEDS_BIRTH", pl.col("time").is_not_null()).write_parquet(folder / "events.parquet")
    study = settings.load(init_study.start(tmp_path / "study", [folder], None, TODAY).settings)
    assert study.records.source == "delimited"
    assert study.records.patients[0].columns.birth_date == "birth_date"


def test_a_copy_of_the_split_beside_the_data_is_no_warning(meds: Path, tmp_path: Path) -> None:
    (meds / "subject_splits.parquet").write_bytes((meds / "metadata/subject_splits.parquet").read_bytes())
    started(tmp_path / "study", meds)  # `check` has no warning


def test_files_of_the_same_name_are_all_read(meds: Path, tmp_path: Path) -> None:
    paths = []
    for number, side in enumerate(("train", "tuning")):
        path = tmp_path / str(number) / "data/0.parquet"
        path.parent.mkdir(parents=True)
        path.write_bytes((meds / "data" / side / "0.parquet").read_bytes())
        paths.append(path)
    _, study = started(tmp_path / "study", *paths)
    (extract,) = Path(study.records.landing).iterdir()
    found = find(extract_files.tree_of(extract, study.records), study.records.kinds.events[0])
    assert sorted(path.resolve() for path in found) == paths


def test_a_damaged_shard_is_said(meds: Path, tmp_path: Path) -> None:
    (meds / "data/train/1.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"train/1.parquet: not a Parquet file, or truncated"):
        init_study.start(tmp_path / "study", [meds], None, TODAY)
