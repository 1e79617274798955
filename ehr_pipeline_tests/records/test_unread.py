"""Nothing in the folder of an extract goes unmentioned."""

import json
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ehr_pipeline.errors import InputError
from ehr_pipeline.records import build, files, header, lines, unread
from ehr_pipeline.records.extract_files import list_extract
from ehr_pipeline.records.kinds import EventKind
from ehr_pipeline.records.layouts import DelimitedText, EventColumns, EventFiles
from ehr_pipeline.records.sources.cprd_aurum import CprdAurum
from ehr_pipeline.records.sources.omop import EVENTS, Omop
from ehr_pipeline.store.file_listing import walk
from ehr_pipeline_tests.conftest import records_settings

OMOP = {kind.where.split(": ")[1]: kind for kind in Omop().kinds() if kind.where.startswith("records.omop")}
DELIMITED = EventKind(
    where="records.events[0]",
    files=EventFiles(files="events*.csv*", columns=EventColumns(patient="p", date="d", code="c")),
)
CPRD = {kind.where: kind for kind in CprdAurum().kinds()}


def put(folder: Path, name: str, text: str = "x") -> Path:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
    return folder / name


@pytest.mark.parametrize(
    "name",
    [
        "condition_occurrence.csv",
        "CONDITION_OCCURRENCE.CSV.gz",
        "Condition_Occurrence.Parquet",
        "condition_occurrence_000001.csv",
        "Condition_Occurrence/part-0.parquet",
        "condition_occurrence.parquet/part-00000-abc.snappy.parquet",
        "CONDITION_OCCURRENCE.csv/part-00000.csv",
        "condition_occurrence.parquet/year=2020/part-0.parquet",
    ],
)
def test_omop_tables_in_any_case_and_in_folders_of_parts(tmp_path: Path, name: str) -> None:
    path = put(tmp_path, name)
    assert files.find(walk(tmp_path), OMOP["condition_occurrence"]) == [path]
    assert not any(files.find(walk(tmp_path), OMOP[table]) for table in EVENTS if table != "condition_occurrence")


@pytest.mark.parametrize(
    "name", ["._condition_occurrence.csv", "condition_occurrence/.part.csv", "condition_occurrence/.old/1.csv"]
)
def test_hidden_files_are_never_read_nor_mentioned(tmp_path: Path, name: str) -> None:
    put(tmp_path, name)
    assert files.find(walk(tmp_path), OMOP["condition_occurrence"]) == []
    assert unread.find_unread(walk(tmp_path), []).names == ()


@pytest.mark.parametrize(
    ("name", "kinds", "where"),
    [
        ("drug_exposure.zip", OMOP, "drug_exposure"),
        ("Drug-Exposure.txt", OMOP, "drug_exposure"),
        ("drug_exposure.csv.zip", OMOP, "drug_exposure"),
        ("from_spark/DRUG_EXPOSURE.orc/part-0.orc", OMOP, "drug_exposure"),
        ("drug_exposure_2.tsv", OMOP, "drug_exposure"),
        ("a_Extract_DrugIssue_001.zip", CPRD, "records.cprd_aurum.drug_issues"),
        ("b_extract_drugissue_001.csv", CPRD, "records.cprd_aurum.drug_issues"),
    ],
)
def test_a_file_that_bears_the_name_of_a_missing_table_is_a_problem(
    tmp_path: Path, name: str, kinds: dict[str, EventKind], where: str
) -> None:
    put(tmp_path, name)
    absent = [kind for kind in kinds.values() if not kind.required]
    problems = list(unread.misnamed(tmp_path, absent, unread.find_unread(walk(tmp_path), [])))
    assert len(problems) == 1
    assert f"no file for {kinds[where].where}, but unread files with a similar name: {name}." in problems[0]


@pytest.mark.parametrize(
    "name", ["cause_of_death.txt", "notes.txt", "observation_fact.csv", "dataset.json", "drug.zip"]
)
def test_other_files_are_none(tmp_path: Path, name: str) -> None:
    put(tmp_path, name)
    assert not list(unread.misnamed(tmp_path, OMOP.values(), unread.find_unread(walk(tmp_path), [])))
    assert unread.find_unread(walk(tmp_path), []).names == (name,)


@pytest.mark.parametrize(
    "name",
    [
        *(
            "Events_2.CSV",
            "events_2",
            "events_2.dat",
            "Copy of events_2.csv",
            "events_2.csv/part-0.csv",
            "events/x.csv",
        ),
        *("events_2.zip", "Extract.zip", "everything.xlsx", ".events_2.csv", ".events/2.csv", ".events_2.csv.Qx71bA"),
    ],
)
def test_what_may_be_a_part_of_a_table_that_is_there_is_a_warning(tmp_path: Path, name: str) -> None:
    read = [put(tmp_path, "events_1.csv")]
    put(tmp_path, name)
    (warning,) = unread.unread_candidates(tmp_path, [DELIMITED], unread.find_unread(walk(tmp_path), read))
    assert f"may contain rows of the extract: {'.events' if name.startswith('.events/') else name}." in warning


@pytest.mark.parametrize(
    "name",
    [
        "README.txt",
        "events_1.csv.md5",
        "events.pdf",
        "codebook.csv",
        "._events_1.csv",
        ".events_1.csv",
        ".~lock.events#",
    ],
)
def test_what_stands_beside_tables_is_none(tmp_path: Path, name: str) -> None:
    read = [put(tmp_path, "events_1.csv")]
    put(tmp_path, name)
    assert not list(unread.unread_candidates(tmp_path, [DELIMITED], unread.find_unread(walk(tmp_path), read)))


def test_names_of_unfinished_and_former_copies_are_a_warning() -> None:
    names = ["events.csv", "events.csv.part", "events.csv.TMP", "events.csv~", "events.csv.gz", "events.bak"]
    found = list(unread.unfinished(map(Path, names)))
    assert [warning.split(":")[0] for warning in found] == [
        "events.csv.part",
        "events.csv.TMP",
        "events.csv~",
        "events.bak",
    ]


@given(st.sampled_from(sorted(EVENTS)), st.randoms())
def test_any_spelling_of_a_table_is_read_or_a_problem(table: str, rng: random.Random) -> None:
    name = "".join(rng.choice((c.upper(), c)) for c in table.replace("_", rng.choice(("_", "-", " ", ""))))
    problems = unread.misnamed(Path("x"), [OMOP[table]], unread.UnreadFiles((f"{name}.dat",), 1))
    assert len(list(problems)) == 1


def test_what_nothing_reads_stands_in_the_manifest_and_beside_it(landing, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    folder = landing("id\tdate\tcode\n1\t01/02/2003\t9014002\n")
    put(folder, "old/readme.md", "text")
    put(folder, "_SUCCESS", "")
    (tmp_path / "out").mkdir()
    counts = build.build(folder, records_settings(folder.parent), tmp_path / "out")
    assert counts["unread"] == {"files": 1, "bytes": 4}
    assert json.loads((tmp_path / "out" / unread.NOTE).read_text()) == ["old/readme.md"]


def test_a_run_refuses_an_extract_whose_table_was_not_unpacked(tmp_path: Path) -> None:
    folder = tmp_path / "2020-01-01"
    put(folder, "person.csv")
    put(folder, "observation.csv")
    put(folder, "death.zip")
    found = records_settings(tmp_path, source="omop", events=(), patients=())
    with pytest.raises(
        InputError, match=r"no file for records.omop: death, but unread files with a similar name: death.zip"
    ):
        list_extract(folder, found)


def test_no_message_names_a_setting_that_a_known_layout_does_not_have(tmp_path: Path) -> None:
    where, layout = "records.cprd_aurum.observations", DelimitedText(files="*")
    marked = tmp_path / "x.txt"
    marked.write_bytes("id\tcode\n".encode("utf-16"))
    looks = [
        lambda: header.read(marked, "a\0b", layout, {"code": "code"}, where),
        lambda: header.read(marked, "12345,67890", layout, {"code": "code"}, where),
        lambda: header.read(marked, "code\tcode", layout, {"code": "code"}, where),
        lambda: list(lines.blocks(marked, "utf-8", where, 100)),
        lambda: files.find(walk(tmp_path), CPRD["records.cprd_aurum.patients"]),
    ]
    for look in looks:
        with pytest.raises(InputError) as told:
            look()
        assert f"{where}." not in str(told.value).replace(f"{where}. ", "") or "[[records" in str(told.value)
        assert "records.cprd_aurum.patients.files" not in str(told.value)
