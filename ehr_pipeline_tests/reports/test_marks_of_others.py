"""Which clusters hold patients of one disease with the marks of another cluster."""

from typing import Any

from ehr_pipeline.reports import marks_of_others

BULLOUS, PSORIASIS = "Bullous pemphigoid", "Psoriasis"
REFLUX, DEMENTIA, HEART = (
    ["reflux", "depression", "alcohol"],
    ["parkinson", "stroke", "dementia"],
    ["heart failure", "flutter"],
)


def card(number: int, disease: str, marks: list[str], hidden: bool = False) -> dict[str, Any]:
    return {
        "number": number,
        "marks": marks,
        "diseases": [(disease, ">90 %")],
        "dominant": disease,
        "hidden": hidden,
        "carried": None,
    }


def test_patients_of_one_disease_with_the_marks_of_another_cluster() -> None:
    known = [card(6, PSORIASIS, [*REFLUX, PSORIASIS]), card(7, BULLOUS, [*DEMENTIA, BULLOUS])]
    small = card(15, BULLOUS, [*REFLUX, *DEMENTIA, BULLOUS])
    assert marks_of_others.carried(small, known) == marks_of_others.Carried(BULLOUS, 6, tuple(REFLUX))
    assert marks_of_others.carried(card(16, BULLOUS, [*REFLUX[:2], *HEART]), known) is None, "not all of its marks"
    assert marks_of_others.carried(small | {"dominant": ""}, known) is None
    assert marks_of_others.carried(small, []) is None
