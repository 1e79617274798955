"""A study that `init` starts from files passes `check`, and has what is in the files."""

import codecs
import datetime
import gzip
import re
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from ehr_pipeline import cli
from ehr_pipeline.errors import InputError, UserError
from ehr_pipeline.planning import finding_codes, guess_codes, guess_format, init_study, preflight
from ehr_pipeline.planning.guess_columns import read_names
from ehr_pipeline.records import dates
from ehr_pipeline.records.layouts import PatientColumns
from ehr_pipeline.runs import extracts
from ehr_pipeline.store.artifacts import Store
from ehr_pipeline.study import settings

TODAY = datetime.date(2024, 6, 1)
CODES = ("195967001", "73211009", "38341003", "44054006")
PEOPLE = [(f"p{number:04}", 1940 + number % 60, "MF"[number % 2]) for number in range(60)]
EVENTS = [
    (PEOPLE[number % 60][0], datetime.date(2001 + number % 20, 1 + number % 12, 1 + number % 28), CODES[number % 4])
    for number in range(600)
]
Write = Callable[[Path], list[Path]]


def text(
    path: Path, head: list[str], rows: list[list[str]], mark: str, encoding: str = "utf-8", end: str = "\n"
) -> Path:
    content = end.join(mark.join(row) for row in [head, *rows]) + end
    path.write_bytes(
        (codecs.BOM_UTF8 if encoding == "utf-8-sig" else b"") + content.encode(encoding.removesuffix("-sig"))
    )
    return path


def quoted_csv(folder: Path) -> list[Path]:
    events = [[f'"{who}"', day.isoformat(), code, '"pain, ""acute"""'] for who, day, code in EVENTS]
    people = [[f'"{who}"', f"{year}-07-01", {"M": "Male", "F": "Female"}[sex]] for who, year, sex in PEOPLE]
    return [
        text(folder / "events.csv", ["PersonID", "EventDate", "SnomedCode", "Term"], events, ","),
        text(folder / "people.csv", ["PersonID", "DOB", "Sex"], people, ","),
    ]


def saved_by_excel(folder: Path) -> list[Path]:
    events = [[who, f"{day:%d/%m/%Y}", code] for who, day, code in EVENTS]
    people = [[who, str(year), sex, "North;South"[: 5 + 0 * year]] for who, year, sex in PEOPLE]
    return [
        text(folder / "Events.csv", ["Patient ID", "Event date", "SNOMED code"], events, ";", "utf-8-sig", "\r\n"),
        text(
            folder / "Patients.csv",
            ["Patient ID", "Year of birth", "Gender", "Region"],
            people,
            ";",
            "utf-8-sig",
            "\r\n",
        ),
    ]


def tabs_in_gzip(folder: Path) -> list[Path]:
    lines = [f"{who}\t{day:%d-%b-%Y}\t{code}\tM\xe9ni\xe8re" for who, day, code in EVENTS]
    with gzip.open(folder / "clinical.txt.gz", "wb") as stream:
        stream.write("\n".join(["PATID\tOBSDATE\tSNOMEDCTCONCEPTID\tTERM", *lines, ""]).encode("latin-1"))
    people = [[who, str(year), {"M": "1", "F": "2"}[sex]] for who, year, sex in PEOPLE]
    return [folder / "clinical.txt.gz", text(folder / "patients.txt", ["PATID", "YOB", "GENDER"], people, "\t")]


def with_comments_before_the_header(folder: Path) -> list[Path]:
    """Two files of events, whose columns are in another order; a day before its month."""
    head = "# Export M\xe9dical, 2024\n#\n"
    rows = [(who, f"{day:%Y/%d/%m}", code, "") for who, day, code in EVENTS]
    half = len(rows) // 2
    for name, order, own in (("a.txt.gz", (0, 1, 2, 3), rows[:half]), ("b.txt.gz", (3, 2, 0, 1), rows[half:])):
        lines = [[row[place] for place in order] for row in [("Patient", "Date", "Code", "Libell\xe9"), *own]]
        with gzip.open(folder / name, "wb") as stream:
            stream.write((head + "".join("\t".join(line) + "\n" for line in lines)).encode("latin-1"))
    people = [[{"M": "1", "F": "2"}[sex], who, str(year)] for who, year, sex in PEOPLE]
    patients = text(folder / "patients.txt", ["Sexe", "Patient", "YOB"], people, "\t")
    patients.write_text(f"All patients\n\n{patients.read_text()}")
    return [folder / "a.txt.gz", folder / "b.txt.gz", patients]


def with_ends_of_observation(folder: Path) -> list[Path]:
    events = [[who, day.isoformat(), code] for who, day, code in EVENTS]
    people = [
        [who, f"{year}-07-01", sex, "2000-01-31", "" if year % 3 else "2021-05-31", "" if year % 5 else "2020-12-24"]
        for who, year, sex in PEOPLE
    ]
    head = ["patid", "date_of_birth", "sex", "reg_start_date", "reg_end_date", "date_of_death"]
    return [
        text(folder / "events.csv", ["patid", "obsdate", "code"], events, ","),
        text(folder / "people.csv", head, people, ","),
    ]


def parquet(folder: Path) -> list[Path]:
    pl.DataFrame(EVENTS, schema=["patient_id", "date", "code"], orient="row").write_parquet(folder / "events.parquet")
    people = pl.DataFrame(PEOPLE, schema=["patient_id", "birth_year", "sex"], orient="row")
    people.write_parquet(folder / "patients.parquet")
    return [folder / "events.parquet", folder / "patients.parquet"]


def icd_codes(folder: Path) -> list[Path]:
    events = [[who, day.isoformat(), f"E1{CODES.index(code)}.9"] for who, day, code in EVENTS]
    people = [[who, str(year), sex] for who, year, sex in PEOPLE]
    return [
        text(folder / "events.psv", ["patient", "date", "icd10"], events, "|"),
        text(folder / "patients.psv", ["patient", "yob", "sex"], people, "|"),
    ]


def meds(folder: Path) -> list[Path]:
    (folder / "data").mkdir()
    number = {who: place + 1 for place, (who, _, _) in enumerate(PEOPLE)}
    rows: list[tuple[int, datetime.datetime | None, str]] = []
    for who, year, sex in PEOPLE:
        rows += [(number[who], datetime.datetime(year, 7, 1), "MEDS_BIRTH"), (number[who], None, f"GENDER//{sex}")]
    rows += [
        (number[who], datetime.datetime(day.year, day.month, day.day), f"ICD10CM//{code[:3]}")
        for who, day, code in EVENTS
    ]
    table = pl.DataFrame(
        rows, schema={"subject_id": pl.Int64, "time": pl.Datetime("us"), "code": pl.String}, orient="row"
    )
    table.with_columns(numeric_value=pl.lit(None, dtype=pl.Float32)).write_parquet(folder / "data" / "0.parquet")
    return [folder]


def omop(folder: Path) -> list[Path]:
    number = {who: str(place + 1) for place, (who, _, _) in enumerate(PEOPLE)}
    people = [[number[who], {"M": "8507", "F": "8532"}[sex], str(year), "x", "y"] for who, year, sex in PEOPLE]
    head = ["person_id", "gender_concept_id", "year_of_birth", "race_source_value", "ethnicity_source_value"]
    text(folder / "person.csv", head, people, ",")
    events = [[number[who], day.isoformat(), code, "0"] for who, day, code in EVENTS]
    names = ["person_id", "condition_start_date", "condition_concept_id", "condition_source_concept_id"]
    text(folder / "condition_occurrence.csv", names, events, ",")
    return [folder]


def synthea(folder: Path) -> list[Path]:
    """Events with the name of each code beside it."""
    names = dict(zip(CODES, ("Asthma", "Diabetes", "Hypertension, essential", "Type 2 diabetes"), strict=True))
    events = [[day.isoformat(), "", who, "e", code, f'"{names[code]}"'] for who, day, code in EVENTS]
    people = [[who, f"{year}-07-01", sex] for who, year, sex in PEOPLE]
    return [
        text(folder / "conditions.csv", ["START", "STOP", "PATIENT", "ENCOUNTER", "CODE", "DESCRIPTION"], events, ","),
        text(folder / "patients.csv", ["ID", "BIRTHDATE", "GENDER"], people, ","),
    ]


def cprd(folder: Path) -> list[Path]:
    events = [[who[1:], f"{day:%d/%m/%Y}", f"{day:%d/%m/%Y}", code] for who, day, code in EVENTS]
    text(folder / "a_Extract_Observation_001.txt", ["patid", "obsdate", "enterdate", "medcodeid"], events, "\t")
    people = [
        [who[1:], "1", {"M": "1", "F": "2"}[sex], str(year), "", "01/01/1990", "", ""] for who, year, sex in PEOPLE
    ]
    head = ["patid", "pracid", "gender", "yob", "mob", "regstartdate", "regenddate", "cprd_ddate"]
    text(folder / "a_Extract_Patient_001.txt", head, people, "\t")
    return [folder]


@pytest.mark.parametrize(
    "write",
    [
        *(quoted_csv, saved_by_excel, tabs_in_gzip, with_comments_before_the_header, with_ends_of_observation),
        *(parquet, icd_codes, meds, omop, cprd, synthea),
    ],
)
def test_a_study_from_files_passes_check(
    write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And every row of the first rows can be read."""
    (tmp_path / "files").mkdir()
    made = init_study.start(tmp_path / "study", write(tmp_path / "files"), None, TODAY)
    study = settings.load(made.settings, {"vocabulary": {"min_size": len(CODES)}})  # these files have no more codes
    found = preflight.inspect(study)
    assert found.problems == found.warnings == []
    assert not [fact for fact in found.facts if "rows are rejected" in fact]
    assert study.encoder.preset == "small"
    assert study.clusters.n == "auto", "no number fits whatever is in the files"
    last = tmp_path / "study/landing" / max(day for _, day, _ in EVENTS).isoformat()
    assert last.exists()
    assert [
        fact
        for fact in made.facts
        if f"the extract is named after its last event: {last}. If the extract was made later" in fact
    ]
    assert not [doubt for doubt in made.doubts if "will be rejected" in doubt]
    assert (tmp_path / "study/lists/psoriasis.csv").is_file()


@pytest.mark.parametrize("write", [quoted_csv, saved_by_excel, parquet, meds, omop, cprd])
def test_dates_that_were_shifted_into_the_future_are_allowed(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Open hospital data are de-identified so. Without the setting, every event would be rejected."""
    monkeypatch.setitem(
        globals(), "EVENTS", [(who, day.replace(year=day.year + 148), code) for who, day, code in EVENTS]
    )
    monkeypatch.setitem(globals(), "PEOPLE", [(who, year + 148, sex) for who, year, sex in PEOPLE])
    made = init_study.start(tmp_path / "study", write(tmp_path), None, TODAY)
    study = settings.load(made.settings, {"vocabulary": {"min_size": len(CODES)}})
    assert study.records.latest_date == "2499-12-31"
    assert study.study.shifted_dates
    assert settings.load(made.settings).vocabulary.min_size == len(CODES) // 2, "codes are counted all the same"
    assert [doubt for doubt in made.doubts if doubt.startswith("Most dates are in the future")]
    found = preflight.inspect(study)
    assert found.problems == found.warnings == []
    assert not [fact for fact in found.facts if "rows are rejected" in fact]


def test_the_ends_of_observation_and_the_death_are_read(tmp_path: Path) -> None:
    """Without them, a patient who has left or died counts as one to whom nothing happened."""
    made = init_study.start(tmp_path / "study", with_ends_of_observation(tmp_path), None, TODAY)
    study = settings.load(made.settings)
    columns = study.records.patients[0].columns
    assert columns.observation_start == "reg_start_date"
    assert columns.observation_ends == ("reg_end_date",)
    assert columns.death == "date_of_death"
    assert study.records_deaths
    assert not study.records.patients[0].attributes


def test_a_damaged_row_is_no_reason_to_refuse_a_file(tmp_path: Path) -> None:
    first, _ = saved_by_excel(tmp_path)
    first.write_bytes(first.read_bytes() + b"p0001;01/02/2003;1959\x0067001\r\n")
    assert guess_format.sniff(first).is_events


def test_the_files_are_described_as_they_are(tmp_path: Path) -> None:
    first, second = saved_by_excel(tmp_path)
    found = guess_format.sniff(first)
    assert (found.delimiter, found.quote, found.encoding, found.rows) == (";", '"', "utf-8", 600)
    assert guess_format.date_format(found.values("Event date"), TODAY) == ("%d/%m/%Y", False)
    assert guess_format.sniff(second).column("birth_year") == "Year of birth"
    packed = guess_format.sniff(tabs_in_gzip(tmp_path)[0])
    assert (packed.encoding, packed.rows) == ("latin-1", len(EVENTS))


def test_days_that_could_be_months_are_left_to_a_person(tmp_path: Path) -> None:
    assert guess_format.date_format(pl.Series(["03/04/2001", "05/06/2010"]), TODAY) == ("%d/%m/%Y", True)
    assert guess_format.date_format(pl.Series(["03/14/2001", "05/06/2010"]), TODAY) == ("%m/%d/%Y", False)
    assert guess_format.date_format(pl.Series(["03-04-2001", "05-06-2010"]), TODAY) == ("%d-%m-%Y", True)
    assert guess_format.date_format(pl.Series(["soon", "later"]), TODAY) == ("", False)


@pytest.mark.parametrize(
    ("day", "form"),
    [
        ("13.4.2015 0:00", "%d.%m.%Y %H:%M"),
        ("13.4.15", "%d.%m.%y"),
        ("04-13-2015", "%m-%d-%Y"),
        ("4/13/2015 11:05:09 PM", "%m/%d/%Y %I:%M:%S %p"),
        ("13 Apr 2015", "%d %B %Y"),
        ("13-Apr-15 23:05", "%d-%b-%y %H:%M"),
        ("20150413", "iso"),
    ],
)
def test_dates_as_programs_write_them_are_recognised(day: str, form: str) -> None:
    """`check` proposes the same formats."""
    assert guess_format.date_format(pl.Series([day]), TODAY) == (form, False)
    assert pl.Series([day]).to_frame("t").select(dates.parse(pl.col("t"), (form,))).item() == datetime.date(2015, 4, 13)


def test_codes_and_sexes_are_recognised() -> None:
    assert guess_codes.code_system(pl.Series(CODES)) == "snomed"
    assert guess_codes.code_system(pl.Series(["E11.9", "J45"])) == "icd10"
    assert guess_codes.code_system(pl.Series(["100001", "100002", "100003"])) == "local", "no check digit fits"
    assert guess_codes.rewritten_by_excel(pl.Series(["1.9E+08"]))
    assert guess_codes.rewritten_by_excel(pl.Series(["195967001.0"]))
    assert not guess_codes.rewritten_by_excel(pl.Series(CODES))
    assert guess_format.sexes(pl.Series(["1", "2", "0"])) == ({"1": "M", "2": "F", "0": ""}, True)
    assert guess_format.sexes(pl.Series(["Male", "f"])) == ({}, True)
    assert guess_format.sexes(pl.Series(["V", "M"])) == ({}, False)
    assert guess_format.sexes(pl.Series(["divers", "weiblich"])) == ({"divers": "", "weiblich": "F"}, True)
    assert guess_format.sexes(pl.Series(["Mann", "Frau", "unknown"])) == ({"Frau": "F", "Mann": "M"}, True)


def odd_names(folder: Path, patient: str = "NHS pseudo ID", code: str = "What") -> list[Path]:
    """Files whose columns have no usual names."""
    events = [[str(line), who, f"{day:%d/%m/%Y}", code, "seen"] for line, (who, day, code) in enumerate(EVENTS)]
    people = [[who, f"01/07/{year}", sex] for who, year, sex in PEOPLE]
    return [
        text(folder / "a.csv", ["Row id", patient, "Seen on", code, "Remark"], events, ";"),
        text(folder / "b.csv", [patient, "Born", "Patient's sex"], people, ";"),
    ]


@pytest.mark.parametrize("patient", ["NHS pseudo ID", "nhsPseudoId", "Patient ref.", "StudyID", "Kennung"])
def test_columns_without_usual_names_are_guessed_and_said(patient: str, tmp_path: Path) -> None:
    """By words in the name, or by the ids that both files have: a number of the row is not taken for the patient."""
    made = init_study.start(tmp_path / "study", odd_names(tmp_path, patient), None, TODAY)
    assert (
        f"a.csv: read as: patient = {patient!r}, date = 'Seen on', code = 'What'. If this is wrong, change it in study.toml."
        in made.doubts
    )
    said = f"b.csv: read as: patient = {patient!r}, birth_date = 'Born', sex = \"Patient's sex\". If this is wrong"
    assert any(doubt.startswith(said) for doubt in made.doubts)
    study = settings.load(made.settings, {"vocabulary": {"min_size": len(CODES)}})
    found = preflight.inspect(study)
    assert found.problems == found.warnings == made.open == []


def test_usual_names_need_no_guess(tmp_path: Path) -> None:
    made = init_study.start(tmp_path / "study", quoted_csv(tmp_path), None, TODAY)
    assert not [doubt for doubt in made.doubts if "read as:" in doubt]


def test_two_columns_that_fit_as_well_are_left_to_a_person(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What was seen is kept, `check` names what is missing, and the same command with the names goes on."""
    events = [[who, f"{day:%d/%m/%Y}", f"{day:%d/%m/%Y}", code, code] for who, day, code in EVENTS]
    head = ["Kennung", "Seen", "Sent", "One", "Two"]
    source = text(tmp_path / "a.csv", head, events, ";", "utf-8-sig")
    people = text(tmp_path / "b.csv", ["Kennung", "DOB", "Sex"], [[w, f"01/07/{y}", s] for w, y, s in PEOPLE], ";")
    command = ["init", str(tmp_path / "study"), "--from", str(source), str(people)]
    assert cli.main(command) == 2
    told = capsys.readouterr().err
    assert "a.csv: which column is the date, code? The header has Kennung, Seen, Sent, One, Two." in told
    assert "--column date=NAME" in told
    written = tmp_path / "study/study.toml"
    assert 'columns = { patient = "Kennung", date = "?", code = "?" }' in written.read_text()
    assert 'delimiter = ";"' in written.read_text()
    (problem,) = (one for one in preflight.inspect(settings.load(written)).problems if "which column" in one)
    assert "records.events[0].columns.date, records.events[0].columns.code by its name" in problem
    assert "The header has: Kennung, Seen, Sent, One, Two." in problem
    assert cli.main([*command, "--column", "date=Seen", "--column", "code=Two"]) == 0
    columns = settings.load(written).records.events[0].columns
    assert (columns.patient, columns.date, columns.code) == ("Kennung", "Seen", "Two")
    assert '"?"' in (tmp_path / "study/study.toml.before").read_text()


def test_a_column_that_is_nowhere_is_refused_with_the_headers(tmp_path: Path) -> None:
    sources = odd_names(tmp_path)
    with pytest.raises(UserError, match=r"--column code=Kode: no file has this column \(a\.csv has Row id, .*; b\.csv"):
        init_study.start(tmp_path / "study", sources, None, TODAY, {"code": ["Kode"]})
    with pytest.raises(UserError, match="must be ROLE=NAME, where ROLE is one of patient, date, code"):
        read_names(["birthdate=x"])
    assert not (tmp_path / "study").exists()


def test_a_file_of_events_alone_has_its_part_of_the_settings_and_the_other_may_follow(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    events, people = map(str, quoted_csv(tmp_path))
    folder = tmp_path / "study"
    assert cli.main(["init", str(folder), "--from", events]) == 2
    told = capsys.readouterr().err
    assert "no file contains patients (patient, birth_date)" in told
    assert f"give all files in one command, for example: ehr-pipeline init {folder} --from {events} FILE." in told
    assert "--column" not in told
    written = folder / "study.toml"
    assert 'columns = { patient = "PersonID", date = "EventDate", code = "SnomedCode" }' in written.read_text()
    assert any("patients.csv" in problem for problem in preflight.inspect(settings.load(written)).problems)
    assert cli.main(["init", str(folder), "--from", events, people]) == 0
    assert not preflight.inspect(settings.load(written)).problems


def test_what_is_not_recognised_is_said_and_nothing_is_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "book.csv").write_bytes(b"PK\x03\x04")
    with pytest.raises(UserError, match="Excel workbook"):
        init_study.start(tmp_path / "study", [tmp_path / "book.csv"], None, TODAY)
    (tmp_path / "noise.csv").write_bytes(bytes(range(256)) * 40)
    with pytest.raises(UserError, match="neither a text file nor a Parquet file"):
        init_study.start(tmp_path / "study", [tmp_path / "noise.csv"], None, TODAY)
    assert cli.main(["init", str(tmp_path / "empty")]) == 0
    assert "put files into" in capsys.readouterr().out
    study = settings.load(tmp_path / "empty/study.toml")
    assert (study.study.name, study.encoder.preset) == ("empty", "small")
    written = (tmp_path / "empty/study.toml").read_text()
    for name in ("quote = ", "date_formats = ", "sex_values = ", "birth_date"):  # what a newcomer would look for
        assert f"\n# {name}" in written or f" {name} = " in written
    assert cli.main(["init", str(tmp_path / "empty")]) == 2
    assert "already exists" in capsys.readouterr().err


def test_a_folder_of_data_does_not_become_a_study(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shard = tmp_path / "meds/data/train/0.parquet"
    shard.parent.mkdir(parents=True)
    shard.write_bytes(b"")
    assert cli.main(["init", str(tmp_path / "meds")]) == 2
    assert f"init my_study --from {tmp_path / 'meds'}" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "meds").iterdir()] == ["data"]
    (tmp_path / "ready/landing/2024-01-01").mkdir(parents=True)
    (tmp_path / "ready/landing/2024-01-01/events.csv").write_text("id,date,code\n")
    assert cli.main(["init", str(tmp_path / "ready")]) == 0


def test_the_tables_that_name_the_codes_are_found(tmp_path: Path) -> None:
    """In the extract's folder and in others that were given; CPRD's quotes are no quoting."""
    (lookups := tmp_path / "lookups").mkdir()
    (extract := tmp_path / "aurum_2024-03-01").mkdir()
    cprd(extract)
    names = ["MedCodeId", "Term", "SnomedCTConceptId"]
    quote = [["77", '"M\xe9ni\xe8re', "195967001"], ["78", "Asthma", "195967001"]]
    text(lookups / "CPRDAurumMedical.txt", names, quote, "\t", "latin-1")
    text(
        extract / "CPRDAurumProduct.txt",
        ["ProdCodeId", "dmdid", "Term.from.EMIS"],
        [["9", "", "Emollient"], ["8", "", "b"]],
        "\t",
    )
    made = init_study.start(tmp_path / "study", [extract, lookups], None, TODAY)
    read = settings.load(made.settings)
    assert sorted(finding_codes.find("e", read, None).table["name"]) == ['"M\xe9ni\xe8re', "Emollient"]
    assert [path.name for path in (tmp_path / "study" / "landing").iterdir()] == ["2024-03-01"]
    assert not [doubt for doubt in made.doubts if "name" in doubt]

    (tables := tmp_path / "omop").mkdir()
    omop(tables)
    head = "concept_id,concept_name,domain_id,vocabulary_id,concept_class_id,standard_concept,concept_code"
    (tables / "CONCEPT.csv").write_text(f"{head}\n1,Asthma,Condition,SNOMED,Clinical Finding,S,195967001\n")
    people = pl.read_csv(tables / "person.csv", infer_schema=False)
    people.with_columns(care_site_id=pl.col("person_id").str.slice(-1)).write_csv(tables / "person.csv")
    read = settings.load(init_study.start(tmp_path / "other", [tables], None, TODAY).settings)
    assert finding_codes.find("asthma", read, None).table["code"].to_list() == ["195967001"]
    assert read.records.omop.attributes["practice"] == "care_site_id"
    (tables / "NOTE.csv").write_text("note_id\n1\n")
    assert any(fact.endswith("): NOTE.csv") for fact in preflight.inspect(read).facts), (
        "CONCEPT.csv is read by the mapping"
    )
    (extract,) = (path.name for path in (tmp_path / "other" / "landing").iterdir())
    _, listing = extracts.text_of(extract, Store(read.study.store), read)
    assert listing is not None
    assert listing.unread.names == ("NOTE.csv",)


def test_names_beside_the_codes_of_a_file_are_used(tmp_path: Path) -> None:
    made = init_study.start(tmp_path / "study", synthea(tmp_path), None, TODAY)
    study = settings.load(made.settings)
    assert [one.file for one in study.events.names] == [str(tmp_path / "conditions.csv")]
    assert not [doubt for doubt in made.doubts if "no name" in doubt]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "2022-07-20,982192b6-6843,314529007,Review\n2022-08-24,982192b6-6843,314529008,Review\n",
            "looks like a row of data",
        ),
        ('{"PATIENT": "982192b6-6843", "CODE": "314529007", "DATE": "2022-07-20"}\n', "JSON, which is not read"),
    ],
)
def test_a_file_without_a_header_is_refused_before_a_row_of_it_is_shown(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "patients.csv").write_text("patient,birth_date\np1,1980-01-02\np2,1990-03-04\n")
    (tmp_path / "events.csv").write_text(text)
    files = [tmp_path / "events.csv", tmp_path / "patients.csv"]
    with pytest.raises(InputError, match=words) as refused:
        init_study.start(tmp_path / "study", files, None, TODAY)
    assert "982192b6" not in str(refused.value)
    made = init_study.start(tmp_path / "study", [tmp_path], None, TODAY)
    said = " ".join([*made.facts, *made.doubts, *made.open, made.settings.read_text("utf-8")])
    assert words in said
    assert "982192b6" not in said


def test_a_date_of_death_is_no_birth(tmp_path: Path) -> None:
    rows = "".join(f"p{number},{1950 + number % 60}-01-02\n" for number in range(200))
    (tmp_path / "patients.csv").write_text(f"patient,DEATHDATE\n{rows}")
    rows = "".join(f"p{number % 200},2015-01-02,22298006\n" for number in range(400))
    (tmp_path / "events.csv").write_text(f"patient,date,code\n{rows}")
    made = init_study.start(tmp_path / "study", [tmp_path / "events.csv", tmp_path / "patients.csv"], None, TODAY)
    assert [text for text in made.open if "which column is the birth_date?" in text]
    assert 'birth_date = "DEATHDATE"' not in made.settings.read_text("utf-8")


def test_the_tasks_that_are_proposed_can_be_asked(tmp_path: Path) -> None:
    """What stands behind marks in the settings is valid once the marks are gone."""
    made = init_study.start(tmp_path / "study", synthea(tmp_path), None, TODAY)
    text = made.settings.read_text("utf-8")
    begin = text.index("# [patients]")
    made.settings.write_text(text[:begin] + re.sub(r"(?m)^# ", "", text[begin:]), "utf-8")
    study = settings.load(made.settings)
    assert (study.tasks.screen, study.patients.min_visits, study.patients.split.test_share) == (20, 1, 0.4)
    assert study.tasks.screen_landmarks == 10, "few patients have few cases"


def test_tables_of_cprd_are_known_by_their_columns_where_their_names_are_others(tmp_path: Path) -> None:
    """Described as files of no known layout, drug issues and practices would be left out."""
    cprd(tmp_path)
    for path in list(tmp_path.glob("a_Extract_*")):
        path.rename(path.with_name(path.name.replace("a_Extract_", "Aurum_")))
    drugs = [[who[1:], f"{day:%d/%m/%Y}", "7"] for who, day, _ in EVENTS[:20]]
    text(tmp_path / "Aurum_DrugIssue_001.txt", ["patid", "issuedate", "prodcodeid"], drugs, "\t")
    text(tmp_path / "Aurum_Practice_001.txt", ["pracid", "lcd", "uts", "region"], [["1", "01/01/2024", "", "3"]], "\t")
    read = settings.load(init_study.start(tmp_path / "study", [tmp_path], None, TODAY).settings)
    assert read.records.source == "cprd_aurum"
    kinds = read.records.kinds
    found = [sorted(path.name for path in tmp_path.glob(kind.files.files)) for kind in (*kinds.events, *kinds.patients)]
    assert found == [["Aurum_Observation_001.txt"], ["Aurum_DrugIssue_001.txt"], ["Aurum_Patient_001.txt"]]
    assert [path.name for path in tmp_path.glob(kinds.patients[0].files.linked[0].files)] == ["Aurum_Practice_001.txt"]


@pytest.mark.parametrize("acceptable", ["0", "1"])
def test_patients_whom_cprd_calls_not_acceptable_are_told(tmp_path: Path, acceptable: str) -> None:
    cprd(tmp_path)
    (path,) = tmp_path.glob("*Patient*")
    head, first, *others = path.read_text().splitlines()
    rows = [f"{head}\tacceptable", f"{first}\t{acceptable}", *(f"{row}\t1" for row in others)]
    path.write_text("\n".join([*rows, ""]))
    made = init_study.start(tmp_path / "study", [tmp_path], None, TODAY)
    said = [doubt for doubt in made.doubts if "not `acceptable`" in doubt]
    assert (len(said), "not `acceptable`" in made.settings.read_text("utf-8")) == (acceptable == "0", acceptable == "0")
    facts = preflight.inspect(settings.load(made.settings)).facts
    assert len([fact for fact in facts if "not `acceptable`" in fact]) == (acceptable == "0")


@pytest.mark.parametrize(
    ("lines", "before"),
    [
        (["id;date;code", "1;2;3"], 0),
        (["#id;date;code", "1;2;3"], 0),
        (["# made by hand; not whole", "id;date;code", "1;2;3"], 1),
        (["sep=;", "Report;;", "", "id;date;code", "1;2;3"], 3),
        (["Report of 2024", "id;date;code", "1;2;3"], 1),
    ],
)
def test_lines_before_the_header_are_counted(tmp_path: Path, lines: list[str], before: int) -> None:
    path = tmp_path / "x.csv"
    path.write_text("\n".join([*lines, ""]))
    found = guess_format.sniff(path)
    assert (found.before, found.delimiter, found.table.height) == (before, ";", 1)


def test_nothing_is_said_of_words_in_a_column_that_is_not_read(tmp_path: Path) -> None:
    events, patients = quoted_csv(tmp_path)
    patients.write_text(patients.read_text().replace(",M", ",männlich", 1).replace(",F", ",V", 1), "utf-8")
    doubts = [
        one for one in init_study.start(tmp_path / "study", [events, patients], None, TODAY).doubts if "sex" in one
    ]
    assert len(doubts) == 1
    assert "the column is not read" in doubts[0]


def foreign(folder: Path) -> list[Path]:
    """A layout of its own: two files of contacts with other orders of columns, people, names of codes in a file by itself. Some
    practices write codes in lower case."""
    icd = dict(zip(CODES, ("E11.9", "J45.9", "I10", "M54.5"), strict=True))
    names = [(code if place % 2 else code.lower(), f"Name of {code}") for place, code in enumerate(icd.values())]
    contacts = [
        [f"{day:%d/%m/%Y}", who.upper(), icd[code].lower() if who[-1] == "3" else icd[code], "7,1"]
        for who, day, code in EVENTS
    ]
    drugs = [
        [f"{code[:3]},5", who.upper(), f"A1{code[0]}BA0{code[1]}", f"{day:%d/%m/%Y}"] for who, day, code in EVENTS[::2]
    ]
    people = [
        [
            who.upper(),
            f"13/07/{year}",
            {"M": "m", "F": "w"}[sex],
            f"P{year % 7:02}",
            f"01/02/{max(year, 2000)}",
            "" if year % 3 else "14/03/2020",
            "" if year % 5 else "14/03/2021",
        ]
        for who, year, sex in PEOPLE
    ]
    return [
        text(folder / "Contacts.csv", ["ContactDt", "Pseud", "DiagCd", "Result"], contacts, ";", "utf-8-sig", "\r\n"),
        text(folder / "Drugs.csv", ["Amount", "Pseud", "ATC", "Issued"], drugs, ";"),
        text(
            folder / "People.csv",
            ["Pseud", "Gebdat", "Geschl", "Surgery", "RegFrom", "RegTo", "Gestorben_Todesdatum"],
            people,
            ";",
        ),
        text(folder / "codebook.csv", ["DiagCd", "Bezeichnung"], [list(each) for each in names], ";"),
    ]


def test_a_foreign_layout_is_understood_and_all_that_was_guessed_is_said(tmp_path: Path) -> None:
    """The file of people was taken for events, the names of codes for people, and dates of death for an attribute."""
    (tmp_path / "files").mkdir()
    foreign(tmp_path / "files")
    (tmp_path / "files/README.txt").write_text("A letter")
    made = init_study.start(tmp_path / "study", [tmp_path / "files"], None, TODAY)
    study = settings.load(made.settings, {"vocabulary": {"min_size": len(CODES)}})
    found = preflight.inspect(study)
    assert found.problems == found.warnings == made.open == made.absent == []
    first, second = study.records.events
    assert (first.columns.patient, first.columns.date, first.columns.code) == ("Pseud", "ContactDt", "DiagCd")
    assert (second.columns.patient, second.columns.date, second.columns.code) == ("Pseud", "Issued", "ATC")
    assert (first.code_system, second.code_system) == ("icd10", "atc")
    (people,) = study.records.patients
    assert (people.columns.birth_date, people.columns.sex, people.columns.death) == (
        "Gebdat",
        "Geschl",
        "Gestorben_Todesdatum",
    )
    assert (people.columns.observation_start, people.columns.observation_ends) == ("RegFrom", ("RegTo",))
    assert people.attributes == {"practice": "Surgery"}
    (table,) = study.events.names
    assert (table.code_column, table.name_column, table.code_system) == ("DiagCd", "Bezeichnung", "icd10")
    said = " ".join(made.doubts)
    for guess in ("'ContactDt'", "'DiagCd'", "'Gebdat'", "'Geschl'", "'RegFrom'", "'RegTo'", "'Gestorben_Todesdatum'"):
        assert guess in said
    assert "README.txt: the first line has no tab" in said
    assert "practice (Surgery)" in " ".join(made.facts)


def claims(folder: Path, header: list[str], codes: Callable[[int], list[str]]) -> list[Path]:
    """A file of claims with further columns of codes, and a file of members."""
    rows = [[who, f"{day}", *codes(number)] for number, (who, day, _) in enumerate(EVENTS)]
    people = [[who, f"{year}-02-03", sex] for who, year, sex in PEOPLE]
    return [
        text(folder / "claims.csv", ["member_id", "service_date", *header], rows, ","),
        text(folder / "members.csv", ["member_id", "dob", "sex"], people, ","),
    ]


ICD = ("E119", "J459", "I10", "M545")


@pytest.mark.parametrize("named", [[], ["code=dx1"], ["code=dx2", "code=dx1"]])
def test_each_code_of_claims_with_several_columns_is_read(tmp_path: Path, named: list[str]) -> None:
    paths = claims(
        tmp_path, ["dx1", "dx2", "dx3", "note"], lambda n: [ICD[n % 4], ICD[(n + 1) % 4] if n % 2 else "", "", ""]
    )
    made = init_study.start(tmp_path / "study", paths, None, TODAY, read_names(named))
    assert not made.open
    study = settings.load(made.settings)
    (kind,) = study.records.events
    further = ("dx2",) if len(named) > 1 else ("dx2", "dx3")
    assert (kind.columns.code, kind.columns.further_codes, kind.code_system) == ("dx1", further, "icd10")
    assert f"claims.csv: each code of a row is an event: dx1, {', '.join(further)}" in made.facts
    assert not [doubt for doubt in made.doubts if "contain codes" in doubt]
    assert preflight.inspect(study).problems == []


def test_columns_that_may_qualify_codes_are_named(tmp_path: Path) -> None:
    """As in German claims, where A means that the diagnosis was excluded."""
    paths = claims(
        tmp_path, ["dx", "certainty", "amount", "unit"], lambda n: [ICD[n % 4], "GVAZ"[n % 4], f"{n}.5", "EUR"]
    )
    made = init_study.start(tmp_path / "study", paths, None, TODAY)
    assert "claims.csv: columns that are not read: certainty, amount, unit" in made.facts
    (doubt,) = [doubt for doubt in made.doubts if "changes the meaning of a code" in doubt]
    assert "few different values: certainty. If" in doubt
    assert not [line for line in (*made.facts, *made.doubts) if "members.csv: columns that are not read" in line]


def test_a_column_of_a_series_is_read_or_named(tmp_path: Path) -> None:
    """One in three values is the word for an empty cell; those of dx3 are no codes."""
    paths = claims(
        tmp_path, ["dx1", "dx2", "dx3"], lambda n: [ICD[n % 4], "nan" if n % 3 else ICD[(n + 1) % 4], f"see note {n}"]
    )
    made = init_study.start(tmp_path / "study", paths, None, TODAY)
    (kind,) = settings.load(made.settings).records.events
    assert kind.columns.further_codes == ("dx2",)
    (doubt,) = [doubt for doubt in made.doubts if "further_codes" in doubt]
    assert "the values of dx3 do not look like the codes of dx1" in doubt


def test_a_register_with_a_main_diagnosis_and_numbered_ones_is_read(tmp_path: Path) -> None:
    """As the Nordic registers are: dates as YYYYMMDD, names of columns in Swedish, drugs as ATC."""
    codes = [
        [who, f"{day}".replace("-", ""), ICD[n % 4], ICD[(n + 1) % 4], ""] for n, (who, day, _) in enumerate(EVENTS)
    ]
    atc = ("A10BA02", "C09AA05", "M01AE01", "N02B")
    drugs = [[who, f"{day}", atc[n % 4]] for n, (who, day, _) in enumerate(EVENTS)]
    people = [
        [who, f"{year}", "12"[sex == "F"], "20200103" if n % 9 == 0 else ""]
        for n, (who, year, sex) in enumerate(PEOPLE)
    ]
    paths = [
        text(tmp_path / "diagnoser.csv", ["lopnr", "INDATUM", "HDIA", "DIA1", "DIA2"], codes, ";"),
        text(tmp_path / "lakemedel.csv", ["lopnr", "EDATUM", "ATC"], drugs, ";"),
        text(tmp_path / "individer.csv", ["lopnr", "FodelseAr", "Kon", "Dodsdatum"], people, ";"),
    ]
    study = settings.load(init_study.start(tmp_path / "study", paths, None, TODAY).settings)
    diagnoses, dispensed = study.records.events
    assert (diagnoses.columns.code, diagnoses.columns.further_codes) == ("HDIA", ("DIA1", "DIA2"))
    assert (diagnoses.columns.date, diagnoses.date_formats, diagnoses.code_system) == ("INDATUM", ("iso",), "icd10")
    assert (dispensed.columns.code, dispensed.code_system) == ("ATC", "atc")
    (people_file,) = study.records.patients
    assert people_file.columns == PatientColumns(patient="lopnr", birth_year="FodelseAr", sex="Kon", death="Dodsdatum")
    assert preflight.inspect(study).problems == []


def test_several_files_of_patients_are_read(tmp_path: Path) -> None:
    events = [[who, f"{day}", ICD[n % 4]] for n, (who, day, _) in enumerate(EVENTS)]
    paths = [
        text(tmp_path / "events.csv", ["nhs", "date", "code"], events, ","),
        text(tmp_path / "births.csv", ["nhs", "dob"], [[who, f"{year}-02-03"] for who, year, _ in PEOPLE], ","),
        text(
            tmp_path / "more.csv",
            ["nhs", "sex", "region"],
            [[who, sex, "NS"[n % 2]] for n, (who, _, sex) in enumerate(PEOPLE)],
            ",",
        ),
        text(tmp_path / "deaths.csv", ["nhs", "date_of_death"], [[who, "2020-03-04"] for who, *_ in PEOPLE[:9]], ","),
        text(tmp_path / "letters.csv", ["nhs", "letter"], [[who, f"L{n}"] for n, (who, *_) in enumerate(PEOPLE)], ","),
    ]
    made = init_study.start(tmp_path / "study", paths, None, TODAY)
    assert not made.open
    study = settings.load(made.settings)
    read = {one.files: one for one in study.records.patients}
    assert set(read) == {"births.csv", "more.csv", "deaths.csv"}, "letters have nothing to read"
    assert (read["more.csv"].columns.sex, read["more.csv"].attributes) == ("sex", {"region": "region"})
    assert read["deaths.csv"].columns.death == "date_of_death"
    assert preflight.inspect(study).problems == []


@pytest.mark.parametrize("filled", ["VisitStart", ""])
def test_an_empty_column_with_a_usual_name_is_not_preferred_to_one_with_values(tmp_path: Path, filled: str) -> None:
    events = [[who, "", f"{day}" if filled else "x", ICD[n % 4]] for n, (who, day, _) in enumerate(EVENTS)]
    people = [[who, f"{year}", sex] for who, year, sex in PEOPLE]
    paths = [
        text(tmp_path / "events.csv", ["patient_id", "date", "VisitStart", "code"], events, ","),
        text(tmp_path / "people.csv", ["patient_id", "yob", "sex"], people, ","),
    ]
    study = settings.load(init_study.start(tmp_path / "study", paths, None, TODAY).settings)
    assert study.records.events[0].columns.date == (filled or "date")


def test_columns_of_the_same_name_are_told(tmp_path: Path) -> None:
    paths = claims(tmp_path, ["dx", "code", "code"], lambda n: [ICD[n % 4], "x", "y"])
    made = init_study.start(tmp_path / "study", paths, None, TODAY)
    assert "claims.csv: several columns are called code. They cannot be told apart, so rename them." in made.doubts


def test_rows_are_counted_and_not_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "patients.csv"
    path.write_text("pid,address\n" + "".join(f'{n},"1 High St\nTown"\n' for n in range(50)))
    assert guess_format.sniff(path).rows == 50


def test_other_columns_of_codes_are_told(tmp_path: Path) -> None:
    paths = claims(tmp_path, ["main_dx", "cause_icd"], lambda n: [ICD[n % 4], ICD[(n + 1) % 4]])
    made = init_study.start(tmp_path / "study", paths, None, TODAY, read_names(["code=main_dx"]))
    (told,) = (doubt for doubt in made.doubts if "contain codes" in doubt)
    assert told.startswith("claims.csv: main_dx, cause_icd all contain codes, but main_dx is read.")
    assert settings.load(made.settings).records.events[0].columns.further_codes == ()


@pytest.mark.parametrize(
    ("column", "values", "system", "codes"),
    [
        ("vocabulary_id", ["ICD10CM", "RxNorm", "LOINC", "SNOMED CT"], "", ["E11.9", "1191", "718-7", "24079001"]),
        ("icd_version", ["9", "10", "9", "10"], "icd", ["25000", "E119", "4019", "I10"]),
    ],
)
def test_a_column_with_the_systems_of_codes_is_read(
    tmp_path: Path, column: str, values: list[str], system: str, codes: list[str]
) -> None:
    paths = claims(tmp_path, ["dx_code", column], lambda n: [codes[n % 4], values[n % 4]])
    made = init_study.start(tmp_path / "study", paths, None, TODAY)
    study = settings.load(made.settings)
    (kind,) = study.records.events
    assert (kind.columns.code, kind.columns.code_system, kind.code_system) == ("dx_code", column, system)
    assert f"code_system = {column!r}" in " ".join(made.doubts)
    assert preflight.inspect(study).problems == []


def test_places_are_not_taken_for_systems_of_codes(tmp_path: Path) -> None:
    places = ("Reading", "Reading West", "Readington", "Atcham")
    paths = claims(tmp_path, ["dx", "town"], lambda n: [ICD[n % 4], places[n % 4]])
    made = init_study.start(tmp_path / "study", paths, None, TODAY)
    assert settings.load(made.settings).records.events[0].columns.code_system == ""


def test_a_birth_is_known_by_its_values_where_no_name_tells_it(tmp_path: Path) -> None:
    events, drugs, people, codes = foreign(tmp_path)
    people.write_text(people.read_text().replace("Gebdat", "D1").replace("Surgery", "Wing"))
    made = init_study.start(
        tmp_path / "study", [events, drugs, people, codes], None, TODAY, read_names(["practice=Wing"])
    )
    (kind,) = settings.load(made.settings).records.patients
    assert (kind.columns.birth_date, kind.columns.observation_start) == ("D1", "RegFrom")
    assert kind.attributes == {"practice": "Wing"}


def test_one_file_with_all_that_is_known_of_a_patient_on_each_row(tmp_path: Path) -> None:
    """A name beside the code is no attribute of the patient; and codes of SNOMED have names too."""
    people = {who: (year, sex) for who, year, sex in PEOPLE}
    rows = [
        [
            who,
            f"{people[who][0]}-07-01",
            people[who][1],
            f"R{people[who][0] % 3}",
            day.isoformat(),
            code,
            f"Term {code}",
        ]
        for who, day, code in EVENTS
    ]
    head = ["Pseudo_NHS", "DOB", "Gender", "Region", "Event_Date", "SNOMED_Code", "SNOMED_Term"]
    made = init_study.start(tmp_path / "study", [text(tmp_path / "all.csv", head, rows, ",")], None, TODAY)
    study = settings.load(made.settings, {"vocabulary": {"min_size": len(CODES)}})
    assert not preflight.inspect(study).problems
    assert study.records.patients[0].attributes == {"region": "Region"}
    assert [(one.code_column, one.name_column) for one in study.events.names] == [("SNOMED_Code", "SNOMED_Term")]


def test_a_table_from_local_codes_to_snomed_becomes_a_dictionary(tmp_path: Path) -> None:
    local = {code: str(900 + place) for place, code in enumerate(CODES)}
    events = [[who, day.isoformat(), local[code]] for who, day, code in EVENTS]
    people = [[who, str(year), sex] for who, year, sex in PEOPLE]
    files = [
        text(tmp_path / "obs.csv", ["patid", "obsdate", "medcodeid"], events, ","),
        text(tmp_path / "pat.csv", ["patid", "yob", "gender"], people, ","),
        text(
            tmp_path / "med.csv",
            ["medcodeid", "snomedctconceptid", "term"],
            [[own, code, f"T {code}"] for code, own in local.items()],
            ",",
        ),
    ]
    study = settings.load(init_study.start(tmp_path / "study", files, None, TODAY).settings)
    (system,) = study.events.dictionaries
    assert (system, study.events.dictionaries[system].snomed_column) == ("medcodeid", "snomedctconceptid")
    assert not preflight.inspect(study).problems


def test_a_folder_of_extracts_and_a_folder_without_readable_files_are_refused_in_words(tmp_path: Path) -> None:
    for name in ("2020-01-01", "2021-01-01"):
        (tmp_path / "landing" / name).mkdir(parents=True)
        quoted_csv(tmp_path / "landing" / name)
    with pytest.raises(
        UserError, match=r"It contains the folders 2020-01-01, 2021-01-01. Each extract is one folder: give one"
    ):
        init_study.start(tmp_path / "study", [tmp_path / "landing"], None, TODAY)
    (tmp_path / "noise").mkdir()
    (tmp_path / "noise/a.bin").write_bytes(bytes(range(256)) * 40)
    with pytest.raises(UserError, match=r"no file in this folder can be read. .*a.bin: neither a text file nor"):
        init_study.start(tmp_path / "study", [tmp_path / "noise"], None, TODAY)
    assert not (tmp_path / "study").exists()


def test_parquet_with_lists_is_sniffed_and_damaged_parquet_is_said(tmp_path: Path) -> None:
    pl.DataFrame({"id": [1, 2], "codes": [["a"], ["b"]], "raw": [b"\xff", b""], "kept": ["x", "y"]}).write_parquet(
        tmp_path / "a.parquet"
    )
    assert guess_format.sniff(tmp_path / "a.parquet").table.columns == ["id", "kept"]
    (tmp_path / "b.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"b.parquet: not a Parquet file, or truncated"):
        guess_format.sniff(tmp_path / "b.parquet")


@pytest.mark.parametrize(
    ("codes", "column", "system"),
    [
        (["E11.9", "j45.9", "i10"], "c", "icd10"),
        (["A10BA02", "C09AA05"], "c", "atc"),
        (["A10BA02", "M01A", "C09AA", "N02"], "c", "atc"),
        (["A10", "M01"], "ATC_code", "atc"),
        (["A10", "M01"], "c", "icd10"),
        (["I10X", "E119", "J45X", "N189"], "c", "icd10"),
        (["I80W", "M06A"], "icd10", "icd10"),
        (["H33..", "C10..", "14B4."], "c", "read"),
        (["718-7", "2345-7"], "c", "loinc"),
        (["ICD10:E11.9", "ICD9:250.0"], "c", ""),
        (["250.00", "401.9"], "icd9_code", "icd9"),
        (["P0001", "P0002"], "c", "local"),
    ],
)
def test_code_systems_are_known_by_their_shape_or_by_the_name_of_their_column(
    codes: list[str], column: str, system: str
) -> None:
    assert guess_codes.code_system(pl.Series(codes), column) == system


def test_a_stray_late_date_is_not_the_end_of_the_data(tmp_path: Path) -> None:
    events, people = quoted_csv(tmp_path)
    late = "".join(f'"{who}","{day}",{code},\n' for who, day, code in EVENTS[:600] * 2)
    events.write_text(events.read_text() + late + f'"{PEOPLE[0][0]}",2024-02-01,{CODES[0]},\n')
    made = init_study.start(tmp_path / "study", [events, people], None, TODAY)
    (extract,) = (tmp_path / "study/landing").iterdir()
    assert extract.name == (last := max(day for _, day, _ in EVENTS).isoformat())
    (doubt,) = [each for each in made.doubts if "will be rejected" in each]
    assert doubt.startswith(f"Events dated later than {last} (fewer than 10, after a gap) will be rejected")
