import polars as pl
import pytest

from ehr_pipeline.terminology.spelling import normalise_code, normalise_codes


@pytest.mark.parametrize(
    ("code", "written"),
    [
        ("icd10:c99.1", "icd10:C99.1"),
        ("ICD-10-GM:c99.1", "ICD-10-GM:C99.1"),
        ("ICD10CM:e11.9//left", "ICD10CM:E11.9//left"),
        ("icd9:v10.1", "icd9:v10.1"),
        ("read:xE0aa", "read:xE0aa"),
        ("xE0aa", "xE0aa"),
        ("9014002", "9014002"),
        ("", ""),
    ],
)
def test_only_codes_of_icd_10_are_read_in_upper_case(code: str, written: str) -> None:
    assert normalise_code(code) == written
    assert pl.select(normalise_codes(pl.lit(code))).item() == written
