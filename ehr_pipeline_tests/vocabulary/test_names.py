"""Names are found by words in any order, and misspelt ones by likeness."""

from ehr_pipeline.vocabulary.names import nearest, with_all_words

NAMES = ["Juvenile arthritis, psoriatic", "Arthritis, Psoriatic", "Psoriasis", "Osteoarthritis"]


def test_all_words_in_any_order_the_shortest_first() -> None:
    assert with_all_words("psoriatic ARTHRITIS", NAMES) == ["Arthritis, Psoriatic", "Juvenile arthritis, psoriatic"]
    assert with_all_words(" ", NAMES) == []


def test_a_misspelt_name_is_answered_with_what_resembles_it() -> None:
    assert nearest("psoriasiss", NAMES)[0] == "Psoriasis"
    assert nearest("arthritis psoriatic", NAMES)[0] == "Arthritis, Psoriatic"
    assert len(nearest("arthritis", NAMES, most=2)) == 2
