import polars as pl
import pytest

from ehr_pipeline.terminology.spelling import normalise_code, normalise_codes


@pytest.mark.parametrize(
    ("code", "written"),
    [
        ("icd10:c99.1", "icd10:C99.1"),
        ("icd10:c991", "icd10:C99.1"),
        ("ICD-10-GM:c99.1", "ICD-10-GM:C99.1"),
        ("ICD-10-GM:E1030+", "ICD-10-GM:E10.30+"),
        ("ICD10GM:I10.-", "ICD10GM:I10"),
        ("ICD10:I10X", "ICD10:I10"),
        ("ICD10CM:I10", "ICD10CM:I10"),
        ("ICD10CM:T360X1A", "ICD10CM:T36.0X1A"),
        ("ICD10CM:C7A00", "ICD10CM:C7A.00"),
        ("ICD10CM:e119//left", "ICD10CM:E11.9//left"),
        ("dx_icd10:n189", "dx_icd10:N18.9"),
        ("ICD10PCS:B2111ZZ", "ICD10PCS:B2111ZZ"),
        ("icd9:v101", "icd9:V10.1"),
        ("ICD9CM:4101", "ICD9CM:410.1"),
        ("ICD9CM:25000", "ICD9CM:250.00"),
        ("ICD9CM:E8001", "ICD9CM:E800.1"),
        ("ICD9CM:E800", "ICD9CM:E800"),
        ("ICD9CM:37.22", "ICD9CM:37.22"),
        ("ICD9Proc:3722", "ICD9Proc:37.22"),
        ("OPCS4:W371", "OPCS4:W37.1"),
        ("OPCS-4:W37.1", "OPCS-4:W37.1"),
        ("DIAGNOSIS:ICD//10//I219", "ICD10:I21.9"),
        ("DIAGNOSIS//ICD//9//4019", "ICD9:401.9"),
        ("DIAGNOSIS:ICD10CM//I21.9", "ICD10CM:I21.9"),
        ("PROCEDURE:ICD//9//3722", "ICD9Proc:37.22"),
        ("PROCEDURE//ICD//10//B2111ZZ", "ICD10PCS:B2111ZZ"),
        ("FAMILY_HISTORY:ICD//10//I219", "FAMILY_HISTORY:ICD//10//I219"),
        ("DIAGNOSIS:ICD//10//I219//NEGATED", "ICD10:I21.9//NEGATED"),
        ("ICDO3:8140/3", "ICDO3:8140/3"),
        ("atc:A10BA02", "atc:A10BA02"),
        ("read:xE0aa", "read:xE0aa"),
        ("xE0aa", "xE0aa"),
        ("9014002", "9014002"),
        ("", ""),
    ],
)
def test_only_codes_of_the_icd_and_of_opcs_are_written_in_one_way(code: str, written: str) -> None:
    assert normalise_code(code) == written
    assert normalise_code(written) == written
    codes = pl.DataFrame({"code": [code, None]})
    assert codes.select(normalise_codes(pl.col("code")))["code"].to_list() == [written, None]


def test_columns_are_normalised_like_single_codes() -> None:
    codes = [
        "22298006",
        "K",
        "XE0Uh00",
        "G30..",
        "icd10:c991",
        "a b",
        "x\u00a0y",
        "\x1dz",
        "DIAGNOSIS//ICD//10//I219",
        "icd10:c991\n",
    ]
    column = pl.DataFrame({"code": [*codes, "", None, "22298006\n"]}).select(normalise_codes(pl.col("code")))["code"]
    assert column.to_list() == [*map(normalise_code, codes), "", None, "22298006"]
