"""Which clusters are alike, and which hold patients of one disease with the marks of another cluster."""

from typing import Any

from ehr_pipeline.reports import likeness

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


def test_clusters_with_nearly_the_same_marks_are_named_together() -> None:
    marked = {1: ["a", "b", "c"], 2: ["x", "y", "z"], 3: ["c", "d", "b"], 4: ["d", "b", "e"], 5: ["x"], 6: []}
    assert likeness.alike(marked) == [([1, 3, 4], ["b"])]
    assert likeness.alike({1: ["a"], 2: ["a"]}) == []


def test_clusters_of_different_diseases_are_not_one_kind_of_patient() -> None:
    cards = [
        card(1, "x", ["a", "b"]),
        card(2, "y", ["a", "b"]),
        card(3, "x", ["a", "b"]),
        card(4, "x", ["a", "b"], hidden=True),
    ]
    assert likeness.alike_of_one_disease(cards) == [([1, 3], ["a", "b"])]


def test_clusters_that_share_one_groups_marks_but_differ_in_anothers_are_not_alike() -> None:
    """The first three marks of both are of one group; what tells them apart comes next."""
    cards = [card(15, BULLOUS, [*REFLUX, *DEMENTIA, BULLOUS]), card(16, BULLOUS, [*REFLUX, *HEART, BULLOUS])]
    assert likeness.alike_of_one_disease(cards) == []


def test_patients_of_one_disease_with_the_marks_of_another_cluster() -> None:
    known = [card(6, PSORIASIS, [*REFLUX, PSORIASIS]), card(7, BULLOUS, [*DEMENTIA, BULLOUS])]
    small = card(15, BULLOUS, [*REFLUX, *DEMENTIA, BULLOUS])
    assert likeness.carried(small, known) == likeness.Carried(BULLOUS, 6, tuple(REFLUX))
    assert likeness.carried(card(16, BULLOUS, [*REFLUX[:2], *HEART]), known) is None, "not all of its marks"
    assert likeness.carried(small | {"dominant": ""}, known) is None
    assert likeness.carried(small, []) is None


def test_patients_with_another_clusters_marks_on_top_are_not_like_those_without() -> None:
    """Of the six marks of 17 that are compared, four are those of 7; but two are of another group."""
    plain = card(7, BULLOUS, [*DEMENTIA, BULLOUS])
    mixed = card(17, BULLOUS, ["migraine", "insomnia", *DEMENTIA, BULLOUS])
    assert likeness.alike_of_one_disease([plain, mixed]) == [([7, 17], [*DEMENTIA, BULLOUS])]
    on_top = mixed | {"carried": likeness.Carried(BULLOUS, 3, ("migraine", "insomnia"))}
    assert likeness.alike_of_one_disease([plain, on_top]) == []
    assert likeness.alike_of_one_disease([on_top, on_top | {"number": 18}])[0][0] == [17, 18]
