"""What `ehr-pipeline check` sees in the first rows of files."""

import datetime
import gzip
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from ehr_pipeline.planning import extracts, preflight
from ehr_pipeline.planning.findings import Preflight
from ehr_pipeline.records import sample
from ehr_pipeline.records.layouts import EventColumns, EventFiles, PatientColumns, PatientFiles
from ehr_pipeline.records.settings import Limits
from ehr_pipeline.store.file_listing import walk
from ehr_pipeline_tests.conftest import records_settings, tiny_settings
from ehr_pipeline_tests.records.sources.reading import folder as write_folder
from ehr_pipeline_tests.records.sources.reading import parquet
from ehr_pipeline_tests.records.sources.test_cprd_aurum import DRUGS, OBSERVATIONS, PATIENTS, PRACTICES

Landing = Callable[..., Path]
EVENTS = "id\tdate\tcode\n"


def look(folder: Path, **changes: object) -> Preflight:
    """What is found in the files of an extract."""
    found = Preflight()
    extracts.look_at(walk(folder), records_settings(folder.parent, **changes), found, into_rows=True)
    return found


def problems(folder: Path, **changes: object) -> list[str]:
    """The problems with the files of an extract."""
    return look(folder, **changes).problems


def rows(count: int, date: str = "05/03/2001") -> str:
    return f"1\t{date}\t9014002\n" * count


def test_files_in_order(landing: Landing) -> None:
    assert problems(landing(EVENTS + rows(3))) == []


@pytest.mark.parametrize("count", [1, 30_000])
def test_dates_in_another_format_are_told_with_column_and_formats_but_without_a_date(
    landing: Landing, count: int
) -> None:
    (told,) = problems(landing(EVENTS + rows(count, "05.03.2001")))
    assert (
        "events.txt: none of its first rows has a date that can be read in column 'date' (records.events[0].columns.date)"
        in told
    )
    assert "Tried: '%d/%m/%Y', 'iso' (records.events[0].date_formats)" in told
    assert "2001" not in told


def test_years_of_birth_that_are_none_are_told(landing: Landing) -> None:
    (told,) = problems(landing(EVENTS + rows(1), "id\tyear\n1\tfifty\n"))
    assert "a year of birth that can be read in column 'year' (records.patients[0].columns.birth_year)" in told
    assert "fifty" not in told


def test_whole_dates_under_birth_year_propose_birth_date(landing: Landing) -> None:
    (told,) = problems(landing(EVENTS + rows(1), "id\tyear\n" + "".join(f"{n}\t03/04/19{n}\n" for n in range(10, 40))))
    cure = "name the column in records.patients[0].columns.birth_date in place of birth_year"
    assert f"Found: of the shape 99/99/9999 (a whole date? {cure})." in told


@pytest.mark.parametrize(
    ("day", "years", "told"),
    [
        (
            "01/07",
            30,
            "(07-01), so it is probably a placeholder: events of that year before the day are rejected as before birth, and",
        ),
        ("01/01", 30, "(01-01), so it is probably a placeholder: ages are counted from it. If only the year is known"),
        ("01/07", 1, ""),
        ("", 30, ""),
    ],
)
def test_births_on_one_day_of_the_year_are_told(landing: Landing, day: str, years: int, told: str) -> None:
    born = [f"{day or f'{1 + n % 28:02}/03'}/{1950 + n % years}" for n in range(60)]
    columns = PatientColumns(patient="id", birth_date="born")
    own = {"patients": (PatientFiles(files="patients*", columns=columns),)}
    found = look(
        landing(EVENTS + rows(3), "id\tborn\n" + "".join(f"{n}\t{day}\n" for n, day in enumerate(born))), **own
    )
    assert found.problems == found.warnings == []
    facts = [fact for fact in found.facts if "probably a placeholder" in fact]
    assert len(facts) == bool(told)
    assert all(
        told in fact and "records.patients[0].columns.birth_year to this column, instead of birth_date" in fact
        for fact in facts
    )


def test_bad_rows_beside_good_ones_are_no_problem(landing: Landing) -> None:
    folder = landing(EVENTS + rows(90) + rows(3, "05.03.2001") + "ragged\n")
    (folder / "events_2.txt").write_text(EVENTS + rows(2, "nonsense"))
    assert problems(folder) == []
    (folder / "events_3.txt").write_text(EVENTS + rows(10, "nonsense"))
    (told,) = problems(folder)
    assert "events_3.txt" in told


def test_rows_without_a_date_may_stand_first(landing: Landing) -> None:
    assert problems(landing(EVENTS + rows(30_000, "") + rows(1))) == []
    assert "a date that can be read" in problems(landing(EVENTS + rows(5, "")))[0]


def test_lines_that_are_no_rows_are_told_with_the_reason(landing: Landing) -> None:
    (told,) = problems(landing(EVENTS + "1\t05/03/2001\n" * 4))
    assert (
        "events.txt: none of its first rows can be read: with a wrong number of fields, mostly 2 where the header has 3"
        " (records.events[0])" in told
    )
    assert problems(landing(EVENTS + "x" * 200_000 + "\n" + rows(9))) == []


def test_a_header_alone_beside_files_with_rows_is_a_warning(landing: Landing) -> None:
    folder = landing(EVENTS + rows(3))
    (folder / "events_2.txt").write_text(EVENTS)
    own = EventFiles(files="events*", columns=EventColumns(patient="id", date="date", code="code"))
    (warning,) = look(folder, events=(own,)).warnings
    assert "events_2.txt: no row below the header, though other files of records.events[0] have rows" in warning


@pytest.mark.parametrize(("digits", "told"), [(15, False), (16, True), (19, True)])
def test_long_numbers_that_end_in_zeros_are_a_warning(landing: Landing, digits: int, told: bool) -> None:
    ids = [str(n).ljust(15, "7").ljust(digits, "0") for n in range(1, 40)]
    events = EVENTS + "".join(f"{one}\t05/03/2001\t9014002\n" for one in ids)
    found = look(landing(events, "id\tyear\n" + "".join(f"{one}\t1950\n" for one in ids))).warnings
    assert len([warning for warning in found if "end in zeros from there on" in warning]) == 2 * told


def test_files_without_a_row_are_told_where_nothing_else_tells_of_events_or_patients(landing: Landing) -> None:
    folder = landing(EVENTS, "id\tyear\n")
    assert [told.partition(": ")[2] for told in problems(folder)] == [
        "the files of events (records.events[0]) have no rows. Copy them again.",
        "the files of patients (records.patients[0]) have no rows. Copy them again.",
    ]
    (folder / "events_2.txt").write_text(EVENTS + rows(1))
    (folder / "patients_2.txt").write_text("id\tyear\n1\t1950\n")
    assert problems(folder) == []


def test_a_cut_off_gzip_file_is_told(landing: Landing) -> None:
    packed = gzip.compress((EVENTS + "".join(f"{n}\t05/03/2001\t{n * 7919}\n" for n in range(3000))).encode())
    (told,) = problems(landing(packed[: len(packed) // 2]))
    assert "events.txt: the gzip stream is damaged or cut off" in told


def test_a_damaged_parquet_file_is_told(landing: Landing) -> None:
    folder = landing(EVENTS + rows(1))
    path = folder / "events_2.parquet"
    ids = [str(number) for number in random.Random(1).sample(range(10**6), 5000)]
    pl.DataFrame({"id": ids, "date": ["2001-01-01"] * 5000, "code": ids}).write_parquet(path)
    assert problems(folder) == []
    damaged = bytearray(path.read_bytes())
    damaged[4:4000] = bytes(3996)
    path.write_bytes(damaged)
    (told,) = problems(folder)
    assert "events_2.parquet: this Parquet file is damaged" in told


def test_a_file_that_cannot_be_read_is_no_file_without_rows(landing: Landing) -> None:
    folder = landing(EVENTS)
    (folder / "events_2.txt").write_bytes(b"PK\x03\x04")
    (told,) = problems(folder)
    assert "zip archive" in told


@pytest.mark.parametrize("source", ["cprd_aurum", "omop", "meds"])
def test_files_of_known_layouts(tmp_path: Path, source: str) -> None:
    extract = write_folder(tmp_path)
    if source == "omop":
        shutil.copytree(Path(__file__).parent / "sources/omop_cdm", extract, dirs_exist_ok=True)
    elif source == "cprd_aurum":
        texts = {"Patient": PATIENTS, "Practice": PRACTICES, "Observation": OBSERVATIONS, "DrugIssue": DRUGS}
        for name, text in texts.items():
            (extract / f"set1_Extract_{name}_001.txt").write_text(text)
    else:
        born, seen = datetime.datetime(1950, 1, 2), datetime.datetime(2001, 3, 5)
        told = {"code": ["GENDER//F", "MEDS_BIRTH", "SNOMED//9014002"], "time": [None, born, seen]}
        parquet(extract / "data/0.parquet", subject_id=[1, 1, 1], **told)
    lax = Limits(rejected_error=0.5)  # these few rows hold one of every kind of fault
    assert problems(extract, source=source, events=(), patients=(), limits=lax) == []


def test_what_a_known_layout_leaves_empty_is_no_fault_of_the_export() -> None:
    """Its columns cannot be wrong, and a new export would be the same. Dates that cannot be read are another matter."""
    of_omop = sample.Sample(Path("x"), "records.omop.tables: drug_exposure")
    assert "empty, or 0 for no matching concept" in of_omop.cure("missing_code")
    of_cprd = sample.Sample(Path("x"), "records.cprd_aurum.observations")
    assert "(empty); nothing to do" in of_cprd.cure("missing_date")
    assert of_cprd.cure("unparsable_date").startswith("have the file exported")
    assert of_cprd.cure("future_birth").startswith("name the extract's folder")


def test_of_many_extracts_the_newest_are_looked_into(
    extract: Path, landing: Landing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = [{"files": "events*", "columns": {"patient": "id", "date": "date", "code": "code"}}]
    patients = [{"files": "patients*", "columns": {"patient": "id", "birth_year": "year"}}]
    for name in ("2019-01-01", "2020-01-01"):
        folder = landing(EVENTS + rows(1, "05.03.2001"), extract=name)
    own = {"landing": str(folder.parent), "events": events, "patients": patients}
    study = tiny_settings(extract, study={"store": str(tmp_path / "store")}, records=own)

    def told() -> list[str]:
        return [problem for problem in preflight.inspect(study).problems if "a date that can be read" in problem]

    assert len(told()) == 2
    monkeypatch.setattr(extracts, "LOOKED_INTO", 1)
    (problem,) = told()
    assert "2020-01-01" in problem


def quoted(count: int, every: int) -> str:
    """Rows of comma-separated text with a field that holds commas, in quotes in every so many rows."""
    notes = ('"seen, and well"' if n % every == 0 else "seen" for n in range(count))
    return "id,date,note,code\n" + "".join(f"1,05/03/2001,{note},9014002\n" for note in notes)


def comma(**layout: str) -> EventFiles:
    return EventFiles(
        files="events*", delimiter=",", columns=EventColumns(patient="id", date="date", code="code"), **layout
    )


def test_a_tenth_of_the_rows_in_quotes_is_a_warning_that_names_the_quote(landing: Landing) -> None:
    found = look(landing(quoted(500, 10)), events=(comma(),))
    (warning,) = found.warnings
    assert found.problems == []
    assert (
        "events.txt: 50 of its first 500 rows are rejected (10%): with a wrong number of fields, mostly 5 where"
        in warning
    )
    assert "the header has 4, in lines with quotes (set records.events[0].quote to '\"')" in warning
    assert "(first in line 2)" in warning
    assert "well" not in warning
    good = look(landing(quoted(500, 10)), events=(comma(quote='"'),))
    assert good.warnings == good.problems == []


def test_a_single_field_in_quotes_is_a_warning_that_names_the_quote(landing: Landing) -> None:
    """Whether its row is rejected or not: below the limit of warnings, and where no delimiter stands in the quotes yet."""
    for text, told in (
        (quoted(2_000, 1_999), "2 where"),
        (quoted(500, 10).replace("seen, and", "seen and"), "fields are in quotes (first in line 2)"),
        (quoted(500, 10).replace("seen, and", 'seen ""and""'), "fields are in quotes (first in line 2)"),
    ):
        found = look(landing(text), events=(comma(),))
        (warning,) = found.warnings
        assert "set records.events[0].quote to '\"'" in warning
        assert told in warning or "rows are rejected" in warning
        assert found.problems == []
        assert look(landing(text), events=(comma(quote='"'),)).warnings == []
    inches = quoted(500, 10).replace('"seen, and well"', '6" and 7"')
    assert look(landing(inches), events=(comma(),)).warnings == [], "marks inside a value are no quotes"


def test_a_share_below_the_limit_is_a_fact(landing: Landing) -> None:
    found = look(landing(EVENTS + rows(2_000) + rows(12, "05.03.2001")))
    assert found.warnings == found.problems == []
    (fact,) = (fact for fact in found.facts if "rejected" in fact)
    assert "12 of its first 2,012 rows are rejected (0.6%): with an unreadable date, of the shape 99.99.9999" in fact


def test_most_rows_of_a_large_file_are_a_problem_unless_the_limits_allow_it(landing: Landing) -> None:
    folder = landing(EVENTS + (rows(2, "05.03.2001") + rows(1)) * 10_000)
    (problem,) = problems(folder)
    assert "('%d.%m.%Y' would read them) (first in line 2): set records.events[0].date_formats to" in problem
    assert problems(folder, limits=Limits(rejected_error=0.9)) == []
    assert problems(landing(EVENTS + (rows(2, "") + rows(1)) * 10_000)) == [], "these may come first in a sorted file"


def test_a_share_at_the_limit_is_a_problem_before_the_run_stops_there(landing: Landing) -> None:
    """Although the file is not seen whole; and not where the other files of its kind outweigh it."""
    folder = landing(EVENTS + (rows(2, "05.03.2001") + rows(3)) * 10_000)
    (problem,) = problems(folder)
    assert "rejected (40%)" in problem
    assert problems(folder, limits=Limits(rejected_error=0.45)) == []
    assert problems(landing(EVENTS + (rows(2, "01/01/1900") + rows(3)) * 10_000)) == [], (
        "may come first in a sorted file"
    )
    (folder / "events.txt").write_text(EVENTS + (rows(2, "05.03.2001") + rows(3)) * 10_000)
    (folder / "events_2.txt").write_text(EVENTS + rows(100_000))
    found = look(folder)
    assert found.problems == []
    assert "rejected (40%)" in found.warnings[0]


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("05/03/2001", "99/99/9999"),
        ("01FEB2010", "99AAA9999"),
        ("1.20E+14", "9.99E+99"),
        ("1,2e-05", "9,9E-99"),
        ("Straße 5", "Aaaaaa 9"),
        ("\u0665", "9"),
        ("x" * 30, "a" * 24 + "…"),
    ],
)
def test_shapes_show_no_letter_and_no_digit(text: str, plain: str) -> None:
    assert pl.DataFrame({"text": [text]}).select(sample.shape(pl.col("text"))).item() == plain


@pytest.mark.parametrize(
    ("dates", "told"),
    [
        (["40000", "43831.25"], "of the shape 99999 (day numbers of a spreadsheet?"),
        (["05032001", "31122001"], "of the shape 99999999 ('%d%m%Y' would read them)"),
        (["40000", "77777"], "of the shape 99999"),
        (["13.5.2001 00:00", "31.12.2001 9:05"], "of the shape 99.9.9999 99:99 ('%d.%m.%Y %H:%M' would read them)"),
        (["05/13/2001", "12/31/2001"], "of the shape 99/99/9999 ('%m/%d/%Y' would read them)"),
    ],
)
def test_what_unreadable_dates_may_be(landing: Landing, dates: list[str], told: str) -> None:
    (problem,) = problems(landing(EVENTS + "".join(rows(20, date) for date in dates)))
    assert told in problem
    assert not any(date in problem for date in dates)


def test_row_names_of_r_are_recognised(landing: Landing) -> None:
    """`write.table` writes a header of three names above rows of four fields."""
    (problem,) = problems(landing(EVENTS + "".join(f"{n}\t{rows(1)}" for n in range(1, 30))))
    assert (
        "mostly 4 where the header has 3 (row names of R? write the file with row.names = FALSE, or name all columns in"
        in (problem)
    )
    assert "records.events[0].header" in problem


@pytest.mark.parametrize("mark", ['"', "'"])
def test_names_in_quotes_name_the_setting(landing: Landing, mark: str) -> None:
    (problem,) = problems(landing(f"{mark}id{mark}\t{mark}date{mark}\t{mark}code{mark}\n" + rows(3)))
    assert f"The names are in quotes: set records.events[0].quote to {mark!r}." in problem


def test_ids_in_quotes_under_plain_names_are_a_warning(landing: Landing) -> None:
    found = look(landing(EVENTS + rows(3), "id\tyear\n" + '"1"\t1950\n' * 3))
    assert found.problems == []
    (warning,) = found.warnings
    assert "patients.txt: values of column 'id' are in quotes: set records.patients[0].quote to '\"'." in warning


def people(*sexes: str) -> str:
    return "id\tyear\tsex\n" + "".join(f"{n}\t1950\t{sex}\n" for n, sex in enumerate(sexes))


def test_a_sex_that_nobody_can_read_is_named_where_enough_have_it(landing: Landing) -> None:
    columns = PatientColumns(patient="id", birth_year="year", sex="sex")
    own = {"patients": (PatientFiles(files="patients*", columns=columns),)}
    found = look(landing(EVENTS + rows(3), people(*["1"] * 12, *["2"] * 12, *["Dona"] * 3)), **own)
    (problem,) = found.problems
    assert "patients.txt: 27 of its first rows have a sex that is not understood" in problem
    told = "('1', '2', of the shape Aaaa): give its meaning in records.patients[0].sex_values, such as"
    assert f'{told} {{1 = "M", 2 = "F"}}.' in problem
    tenth = look(landing(EVENTS + rows(3), people(*["F"] * 90, *["Dona"] * 10)), **own)
    assert len(tenth.problems) == 1, "the run stops from 1 % and ten patients"
    few = look(landing(EVENTS + rows(3), people(*["F"] * 30, "Dona")), **own)
    assert few.problems == []
    assert "fewer than 10 of its first rows have a sex" in few.warnings[0]
    assert look(landing(EVENTS + rows(3), people("Male", "f", "", "NA", "unknown")), **own).warnings == []


@pytest.mark.parametrize(
    ("sexes", "told"),
    [
        (
            ["1", "2", ""],
            'set records.patients[0].sex_values = {1 = "M", 2 = "F"} if 1 is male and 2 female, as in ISO/IEC 5218',
        ),
        (["1", "2", "9"], 'sex_values = {1 = "M", 2 = "F", 0 = "", 9 = ""} if 1 is male'),
        (
            ["Mann", "Frau", "unknown"],
            'give its meaning in records.patients[0].sex_values, such as {Frau = "F", Mann = "M"}.',
        ),
        (["Típus 1", "Tip"], 'sex_values = {Tip = …, "Típus 1" = …}: M, F, or an empty text for unknown.'),
    ],
)
def test_the_proposal_for_the_sex_has_the_words_that_were_seen(landing: Landing, sexes: list[str], told: str) -> None:
    columns = PatientColumns(patient="id", birth_year="year", sex="sex")
    own = {"patients": (PatientFiles(files="patients*", columns=columns),)}
    (problem,) = look(landing(EVENTS + rows(3), people(*sexes * 12)), **own).problems
    assert told in problem


def test_dates_of_observation_that_cannot_be_read_are_a_warning(landing: Landing) -> None:
    columns = PatientColumns(patient="id", birth_year="year", observation_ends=("end",))
    own = {"patients": (PatientFiles(files="patients*", columns=columns),)}
    found = look(landing(EVENTS + rows(3), "id\tyear\tend\n1\t1950\tyes\n2\t1950\tNULL\n"), **own)
    assert "fewer than 10 dates of observation in its first rows cannot be read" in found.warnings[0]


def test_parquet_is_judged_alike(landing: Landing) -> None:
    folder = landing(EVENTS + rows(1))
    days = ["2001-01-01"] * 60 + ["01.02.2001"] * 40
    pl.DataFrame({"id": [1] * 100, "date": days, "code": [9014002] * 100}).write_parquet(folder / "events_2.parquet")
    (problem,) = problems(folder)
    assert "events_2.parquet: 40 of its first 100 rows are rejected (40%): with an unreadable date" in problem
    assert "('%d.%m.%Y' would read them) (first in line 61)" in problem
