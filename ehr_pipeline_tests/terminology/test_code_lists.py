import csv
from pathlib import Path

import pytest

from ehr_pipeline.errors import InputError
from ehr_pipeline.shipped import shipped
from ehr_pipeline.terminology import code_lists


def test_a_missing_list_is_told_with_the_setting_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"none.csv \(events.overrides\): this concept list cannot be read: No such file"
    ):
        code_lists.read(tmp_path / "none.csv", "events.overrides")


def test_a_list_stands_for_its_cuis_and_what_its_codes_map_to(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text('code,cui,name,source\n1,C1,one,x\n2,,"two, too",x\n3,,three,x\n\n')
    assert code_lists.concepts(path, {"1": "C9", "2": "C2"}) == {"C1", "C9", "C2"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "line 1"),
        ("code,name\n1,x\n", "Missing: cui, source"),
        ("code,cui,name,source\n", "is empty"),
        ("code,cui,name,source\n1,C1,one, two,x\n", "line 2: 5 fields"),
        ("code,cui,name,source\n1,C1,one,x\n,,two,x\n", "line 3: neither a code nor a CUI"),
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
