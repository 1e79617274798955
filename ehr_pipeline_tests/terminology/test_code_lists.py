import csv
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ehr_pipeline.errors import InputError
from ehr_pipeline.terminology import code_lists, snomed
from ehr_pipeline.terminology.shipped import shipped


def test_a_missing_list_is_told_with_the_setting_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"none.csv \(events.overrides\): this concept list cannot be read: No such file"
    ):
        code_lists.read(tmp_path / "none.csv", "events.overrides")


def written(tmp_path: Path, *rows: str) -> Path:
    path = tmp_path / "list.csv"
    path.write_text("".join(f"{row}\n" for row in ("code,cui,name,source", *rows)))
    return path


def test_what_a_list_may_hold(tmp_path: Path) -> None:
    """SNOMED concepts and descriptions, Read codes, codes of other systems, CUIs, and concepts without one by their name."""
    path = written(
        tmp_path,
        "9014002,C0033860,one,x",
        ' 24079001.0 ,,"two, too",x',
        "15170013,,a description,x",
        "M161.,,Read,x",
        "M161.00,,Read with a term number,x",
        "ICD10CM:L40.0,,another system,x",
        "ICD10CM//L40.0,,as in MEDS,x",
        "DIAGNOSIS//ICD//10//L400,,as in MIMIC-IV's MEDS,x",
        "LOINC/2345-7,,as in OMOP's MEDS,x",
        "SNOMED//9014002,,SNOMED as in MEDS,x",
        "SNOMED//9014002//NEGATED,,with a modifier,x",
        ",SCT:999,without a CUI,x",
        "",
    )
    assert [(row.code or row.cui, row.line) for row in code_lists.read(path)] == [
        ("9014002", 2),
        ("24079001", 3),
        ("15170013", 4),
        ("M161.", 5),
        ("M161.00", 6),
        ("ICD10CM:L40.0", 7),
        ("ICD10CM:L40.0", 8),
        ("DIAGNOSIS:ICD//10//L400", 9),
        ("LOINC:2345-7", 10),
        ("9014002", 11),
        ("SNOMED:9014002//NEGATED", 12),
        ("SCT:999", 13),
    ]


WRONG = {
    "1.04E+15": "rounded",
    "1,04e+15": "rounded",
    "24079002": "check digit",
    "'24079001": "begins with a character",
    "L40": "system:code",
    "123": "system:code",
    "0240790010": "6 to 18 digits",
    "٩٠١٤٠٠٢": "6 to 18 digits",
    "H33..٠٠": "nor a Read code",
}


def test_all_wrong_rows_are_told_at_once_with_line_and_reason(tmp_path: Path) -> None:
    cuis = ["c0011615", "C001161", "C00116155", "C0O11615", "C٠٠٣٣٨٦٠"]
    rows = [f'"{code}",,x,x' for code in WRONG] + [f",{cui},x,x" for cui in cuis]
    with pytest.raises(InputError) as error:
        code_lists.read(written(tmp_path, *rows))
    for line, (code, told) in enumerate(WRONG.items(), start=2):
        assert f"line {line}: code {code!r}" in str(error.value) or "'" in code
        assert told in str(error.value).split(f"line {line}: ")[1].split(";")[0]
    for line, cui in enumerate(cuis, start=2 + len(WRONG)):
        assert f"line {line}: CUI {cui!r}" in str(error.value)


@given(st.integers(10**5, 10**17 - 1), st.integers(0, 9))
def test_a_number_is_taken_exactly_where_its_check_digit_is_right(stem: int, digit: int) -> None:
    number = str(stem)[:-2] + "00" + str(digit)
    right = bool(snomed.verhoeff_valid(np.array([int(number)]))[0])
    with tempfile.TemporaryDirectory() as folder:
        path = written(Path(folder), f"{number},,x,x")
        if right:
            assert code_lists.read(path)[0].code == number
        else:
            with pytest.raises(InputError, match=r"line 2: code '.*' is a mistyped or rounded"):
                code_lists.read(path)


def test_overrides_take_local_codes_as_recorded_but_no_mangled_ids(tmp_path: Path) -> None:
    path = written(tmp_path, "EMISNQTE62,C0011615,local,x", "M161.,SCT:9014002,Read,x")
    assert [row.code for row in code_lists.read_overrides(path)] == ["EMISNQTE62", "M161."]
    path = written(tmp_path, "24079002,C0011615,x,x", "24079001,C00338,x,x", "1.04E+15,C0011615,x,x")
    with pytest.raises(InputError, match=r"events.overrides\), line 2: .*line 3: CUI 'C00338'.*line 4: "):
        code_lists.read_overrides(path)
    path = written(tmp_path, "24079001,C0011615,x,x", "9014002,,x,x", ",C0011615,x,x")
    with pytest.raises(
        InputError, match=r"line 3: no CUI; line 4: no code\. Every row of a table of overrides needs both"
    ):
        code_lists.read_overrides(path)


def test_a_wrong_path_is_told_with_what_the_folder_holds(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"list_{number}.csv").touch()
    with pytest.raises(
        InputError, match=r"No such file or directory\. .* contains list_0\.csv, list_1\.csv, list_2\.csv\."
    ):
        code_lists.read(tmp_path / "lists.csv")
    with pytest.raises(InputError, match=r"There is no folder .*/list\."):
        code_lists.read(tmp_path / "list" / "list_0.csv")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty contains no \.csv file\."):
        code_lists.read(tmp_path / "empty" / "list_0.csv")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "line 1"),
        ("code,name\n1,x\n", "Missing: cui, source"),
        ("code,name\n1,x\n", r"A row needs a code or a cui; its other fields may be empty, but all four"),
        ("code;cui;name;source\n1;;x;x\n", r"separated by semicolons: save the file with commas"),
        ("code\tcui\tname\tsource\n1\t\tx\tx\n", r"separated by tabs"),
        ("code,cui,name,source\n", "is empty"),
        ("code,cui,name,source\n9014002,,one, two,x\n", "line 2: 5 fields"),
        (
            "code,cui,name,source\n9014002,,one,x\n,,two,x\n",
            "line 3: neither a code nor a CUI. `ehr-pipeline find-codes` finds",
        ),
        (
            "name\nPsoriasis\n",
            "Missing: code, cui, source. .* `ehr-pipeline find-codes` finds codes by words of their names",
        ),
    ],
)
def test_a_broken_list_is_told_by_file_and_line(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "list.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=told) as error:
        code_lists.read(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("name", "at_least", "code"),
    [
        ("psoriasis", 50, "9014002"),
        ("atopic_dermatitis", 50, "24079001"),
        ("hidradenitis_suppurativa", 2, "59393003"),
        ("bullous_pemphigoid", 3, "77090002"),
        ("prurigo_nodularis", 1, "63501000"),
        ("diseases_of_interest", 140, "44054006"),
        ("symptoms_and_diagnoses", 240, "195967001"),
        ("administrative", 50, "185317003"),
    ],
)
def test_the_shipped_lists(name: str, at_least: int, code: str) -> None:
    listed = code_lists.read(shipped(f"lists/{name}.csv"))
    assert len(listed) >= at_least
    assert code in {row.code for row in listed}
    assert len({row.code for row in listed}) == len(listed)
    assert not any(row.cui.startswith("C9") for row in listed), "invented concepts never enter a list"


def test_retired_codes_of_the_diseases_are_listed() -> None:
    codes = {
        row.code
        for name in ("psoriasis", "atopic_dermatitis", "hidradenitis_suppurativa")
        for row in code_lists.read(shipped(f"lists/{name}.csv"))
    }
    assert {"156331003", "156369008", "201204008"} <= codes


def test_the_lists_agree_with_the_open_map(shared: Path) -> None:
    import gzip

    with gzip.open(shared / "umls_like/snomed_to_cui_open.tsv.gz", "rt") as stream:
        open_map = {(row["sctid"], row["cui"]) for row in csv.DictReader(stream, delimiter="\t")}
    for path in sorted(shipped("lists").glob("*.csv")):
        for row in code_lists.read(path):
            assert not row.cui or (row.code, row.cui) in open_map, f"{path.name}: {row.code}"


def test_a_line_break_in_quotes_belongs_to_its_name_and_lines_are_those_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text('code,cui,name,source\n9014002,,"Psoriasis,\nplaque",me\n24079001,,"Atopic\n24079001,,x",me\n1,2\n')
    with pytest.raises(InputError, match=r"line 6: .*2 fields"):
        code_lists.read(path)
    path.write_text(path.read_text().removesuffix("1,2\n"))
    assert [(row.code, row.name) for row in code_lists.read(path)] == [
        ("9014002", "Psoriasis,\nplaque"),
        ("24079001", "Atopic\n24079001,,x"),
    ]


@pytest.mark.parametrize("row", ['9014002,,Psoriasis,"me', '9014002,,"Psor"iasis,me', '9014002,,"Psoriasis,me'])
def test_a_quote_that_does_not_close_swallows_no_rows_of_a_list(tmp_path: Path, row: str) -> None:
    (tmp_path / "list.csv").write_text(f"code,cui,name,source\n1,,x,y\n{row}\n24079001,,z,me\n")
    with pytest.raises(InputError, match="line 3: a quote in this row does not close"):
        code_lists.read(tmp_path / "list.csv")
