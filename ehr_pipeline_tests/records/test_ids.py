import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ehr_pipeline.records import ids


def whole(text: str, digits: int = 1) -> str:
    return str(pl.select(ids.whole(pl.lit(text), digits)).item())


def inexact(text: str) -> bool:
    found = bool(pl.select(ids.inexact(pl.lit(text))).item())
    assert found == ids.is_inexact(text)
    return found


@pytest.mark.parametrize(
    "text",
    ["1.20E+14", "1e+05", "1,2E+14", "1E5", "1.2e14", "-3.2E+18", "12E+13", "9007199254740992.0", "4e+06", "1.5E-3"],
)
def test_rounded_numbers_are_no_ids(text: str) -> None:
    assert inexact(text)


@pytest.mark.parametrize(
    "text",
    [
        "317009",
        "317009.0",
        "123e45",
        "5e1234567",
        "12345e67",
        "1E500",
        "E11",
        "H33..",
        "1E5Z.",
        "a1e+5",
        "",
        "9007199254740991.0",
    ],
)
def test_other_texts_stay_ids(text: str) -> None:
    assert not inexact(text)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1950.0", "1950"),
        ("5.0000000000", "5"),
        ("-7.0", "-7"),
        ("12.5", "12.5"),
        ("12.", "12."),
        (".0", ".0"),
        ("1.0.0", "1.0.0"),
        ("a.0", "a.0"),
        ("", ""),
    ],
)
def test_whole_numbers_lose_a_fraction_of_zeros(text: str, number: str) -> None:
    assert whole(text) == number


def test_codes_of_few_digits_stay() -> None:
    assert (whole("250.0", 6), whole("195967001.0", 6)) == ("250.0", "195967001")


@given(st.integers(-(10**18), 10**18), st.integers(1, 10))
def test_a_whole_number_is_the_same_however_it_is_written(number: int, zeros: int) -> None:
    assert whole(f"{number}.{'0' * zeros}") == str(number)
    assert inexact(f"{number}.{'0' * zeros}") == (abs(number) >= 2**53)
    assert not inexact(str(number))


@given(st.floats(1e5, 1e22))
def test_what_programs_write_for_large_floats_is_seen(number: float) -> None:
    assert inexact(f"{number:e}")
    assert inexact(f"{number:.2E}")


def test_ids_that_a_spreadsheet_rounded_end_in_zeros() -> None:
    kept = pl.Series([f"{10**17 + 7 * number}" for number in range(1000)])
    assert ids.share_rounded(kept) < 0.02
    assert ids.share_rounded(kept.str.slice(0, 15) + "000") == 1
    assert ids.share_rounded(pl.Series(["100000000000000000"])) == 0


@pytest.mark.parametrize("text", ["٣١٧٠٠٩.0", "１２３.0", "१२३.0"])
def test_digits_of_other_scripts_are_no_number(text: str) -> None:
    assert whole(text) == text
    assert not inexact("١٢٣٤E+٥")
    assert ids.share_rounded(pl.Series(["١٢٣٤٥٦٧٨٩٠١٢٣٤٥" + "0"] * 20)) == 0
