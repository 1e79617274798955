"""Histories that are typed in: what is understood, and what is said of the rest."""

import re

import pytest

from ehr_pipeline.errors import UserError
from ehr_pipeline.forecasts.typed_history import TypedTexts, read
from ehr_pipeline.vocabulary.table import Concept, Vocabulary

CONCEPTS = tuple(
    Concept(5 + number, cui, name, (), 100, 50)
    for number, (cui, name) in enumerate(
        [("C0004096", "Asthma"), ("C0033860", "Psoriasis"), ("C0011615", "Atopic dermatitis"), ("C9", "Secret disease")]
    )
)
KNOWN = TypedTexts.of(
    Vocabulary(CONCEPTS, ""),
    frozenset({"C0004096", "C0033860", "C0011615"}),
    [("195967001", "C0004096"), ("1", "C9"), ("omop:7", "C0004096"), ("omop:7", "C0011615")],
)


def test_ages_with_codes_concepts_and_names() -> None:
    lines = ["age,code", "# mine", "41.5,Psoriasis", "", "34,195967001", '34,"atopic dermatitis"', "34\tC0004096"]
    made = read(lines, KNOWN)
    assert made.tokens.tolist() == [5, 7, 6]
    assert made.visit_start.tolist() == [0, 2, 3]
    assert made.birth_day.tolist() == [0]
    assert made.visit_day.tolist() == [round(34 * 365.2425), round(41.5 * 365.2425)]


def test_a_drug_with_several_ingredients_is_all_of_them() -> None:
    assert read(["34,omop:7"], KNOWN).tokens.tolist() == [5, 7]


def test_dates_with_a_date_of_birth_or_its_year() -> None:
    made = read(["2019-04-01,Asthma"], KNOWN, "1980-05-01")
    assert made.visit_day - made.birth_day == pytest.approx(14_214)
    assert read(["2019-04-01,Asthma"], KNOWN, "1980").birth_day == made.birth_day + 61


@pytest.mark.parametrize(
    ("lines", "born", "message"),
    [
        (["34,Asthmaa"], "", "line 1: the encoder knows no code, concept or name 'Asthmaa'; nearest: Asthma"),
        (["34,dermatitis"], "", "nearest: Atopic dermatitis"),
        (["34,C0004097"], "", "nearest: C0004096"),
        (["34,Secret disease"], "", "knows no code, concept or name"),
        (["34,1"], "", "knows no code, concept or name"),
        (["34"], "", "no code or name"),
        (["130,Asthma"], "", "the age 130 must be between 0 and 120"),
        (["nan,Asthma", "1,Asthma"], "", None),
        (["x1,Asthma"], "", "neither an age in years nor a date"),
        (["2019-04-01,Asthma"], "", "add --born"),
        (["1979-04-01,Asthma"], "1980", "before the date of birth"),
        (["34,Asthma", "2019-04-01,Asthma"], "1980", "Use only ages, or only dates"),
        (["34,Asthma"], "soon", "--born: 'soon'"),
        ([], "", "The history is empty"),
        (["age,code"], "", "The history is empty"),
    ],
)
def test_what_is_not_understood_is_said(lines: list[str], born: str, message: str | None) -> None:
    if message is None:
        assert len(read(lines, KNOWN, born).visit_day) == 1, "a first line without a number is a header"
        return
    with pytest.raises(UserError, match=re.escape(message)):
        read(lines, KNOWN, born)


def test_all_problems_are_told_at_once_but_not_without_end() -> None:
    with pytest.raises(UserError) as caught:
        read(["200,Asthma", "34,\x1b[31mred"] * 30, KNOWN)
    assert "line 1: the age" in str(caught.value)
    assert "line 2" in str(caught.value)
    assert "\x1b" not in str(caught.value)
    assert "and 40 more problems" in str(caught.value)
