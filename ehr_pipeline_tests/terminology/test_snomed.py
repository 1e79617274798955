import gzip
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ehr_pipeline.terminology import snomed


@given(st.lists(st.integers(1000, 10**16), min_size=1, max_size=20))
def test_an_appended_check_digit_is_valid_and_any_other_is_not(stems: list[int]) -> None:
    whole = snomed.with_check_digit(np.array(stems))
    assert snomed.verhoeff_valid(whole).all()
    assert not snomed.verhoeff_valid(whole // 10 * 10 + (whole % 10 + 1) % 10).any()


@pytest.mark.parametrize(
    ("code", "kind", "namespace"),
    [
        ("9014002", "concept", "international"),  # psoriasis
        ("279991000000102", "concept", "uk_extension"),  # text message sent to patient
        ("10629311000119107", "concept", "other_extension"),  # a concept of the US extension
        ("264177017", "description", "description"),
        ("9014003", "bad_check_digit", "bad_check_digit"),
        ("H33..", "read", "read"),
        ("XE0Uc", "read", "read"),
        ("H33..00", "read", "read"),
        ("see notes", "other", "other"),
        ("", "other", "other"),
        ("00140022", "other", "other"),
        ("1234567890123456789", "other", "other"),
        ("9٠١٤٠٠٢", "other", "other"),  # \d would take the digits of other scripts
        ("H33..٠٠", "other", "other"),
    ],
)
def test_kinds_of_codes(code: str, kind: str, namespace: str) -> None:
    row = snomed.classify(pl.Series([code])).row(0, named=True)
    assert (row["kind"], row["namespace"]) == (kind, namespace)


def test_every_code_that_practices_used_is_valid(shared: Path) -> None:
    with gzip.open(shared / "nhs/SNOMED_code_usage_2018-19.txt.gz") as stream:
        codes = pl.read_csv(stream.read(), separator="\t", infer_schema=False)["SNOMED_Concept_ID"]
    kinds = snomed.classify(codes)
    assert len(codes) == 102_429
    assert kinds["kind"].unique().to_list() == ["concept"]
    assert {"international", "uk_extension"} <= set(kinds["namespace"])


def test_semantic_tags() -> None:
    assert snomed.without_tag("Asthma (disorder)") == "Asthma"
    assert snomed.without_tag("Reading (10 ml) bottle (physical object)") == "Reading (10 ml) bottle"
    assert snomed.without_tag("Vitamin B (complex)") == "Vitamin B (complex)"
