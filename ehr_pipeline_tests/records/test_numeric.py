import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ehr_pipeline.records.numeric import guess, in_words, numbers


@pytest.mark.parametrize(
    ("name", "values", "kind"),
    [
        ("bmi", ["27.4", "31.0", "", "22"], "number"),
        ("bmi", ["27,4", "31,0"], "number"),
        ("ratio", ["1e-3", ".5", "-0.25", "+1.5"], "number"),
        ("visits", [str(number) for number in range(40)], "number"),
        ("decile", [str(number) for number in range(1, 11)], "category"),
        ("smoker", ["0", "1", "1"], "category"),
        ("flag", ["1.0", "2.0", "1.0"], "category"),
        ("site", [str(number) for number in range(20001, 29001, 37)] * 2, "category"),
        ("income", [str(number) for number in range(20001, 29001, 37)], "number"),
        ("income", ["45,000", "1,234", "20,500"], "category"),
        ("income", [f"{number:,}" for number in range(20001, 29001, 37)], "number"),
        ("practice", [str(number) for number in range(40)], "category"),
        ("code", [f"{number:03d}" for number in range(40)], "category"),
        ("bmi", ["27.4", "about 30"], "category"),
        ("region", ["North", "South"], "category"),
        ("empty", ["", " "], "category"),
        ("nothing", [], "category"),
        ("odd", ["nan", "inf", "1.5"], "category"),
        ("dates", ["2020-01-01", "2021-05-03"], "category"),
        ("versions", ["1.2.3", "1.2"], "category"),
    ],
)
def test_numbers_and_codes_are_told_apart(name: str, values: list[str], kind: str) -> None:
    assert guess(name, values) == kind


def test_texts_as_numbers() -> None:
    assert numbers(["27.4", " 31,5 ", "+2", "-1e2"]).tolist() == [27.4, 31.5, 2.0, -100.0]
    assert np.isnan(numbers(["", "x", "nan", "inf", "1e999", "1.2.3", "1 000", "٣"])).all()
    assert numbers([]).shape == (0,)


def test_commas_are_between_thousands_where_all_look_like_it() -> None:
    assert numbers(["45,000", "1,234,567.5", "12"]).tolist() == [45_000.0, 1_234_567.5, 12.0]
    assert numbers(["5,123", "5,12"]).tolist() == [5.123, 5.12]
    assert numbers(["0,125"]).tolist() == [0.125]


def test_what_is_guessed_is_said_and_what_the_settings_say_is_held_against_the_values() -> None:
    assert in_words("bmi", ["27.4", "31"], None) == (
        False,
        "attribute bmi: a number, judging by its first values (reports.attribute_types)",
    )
    doubtful, text = in_words("bmi", ["27.4", "secret", "", "31"], "number")
    assert doubtful
    assert "about 33 % of its first values are not numbers" in text
    assert "secret" not in text
    assert not in_words("bmi", ["27.4", ""], "number")[0]
    assert not in_words("bmi", ["x"], "category")[0]


@given(st.lists(st.floats(-1e6, 1e6).filter(lambda value: value != round(value)), min_size=1))
def test_decimals_are_read_as_they_were_written_and_are_numbers(values: list[float]) -> None:
    texts = [repr(value) for value in values]
    assert numbers(texts).tolist() == values
    assert guess("measure", texts) == "number"


@given(st.lists(st.text(max_size=8)))
def test_any_text_is_a_number_or_none(values: list[str]) -> None:
    assert len(numbers(values)) == len(values)
    assert guess("anything", values) in ("number", "category")
