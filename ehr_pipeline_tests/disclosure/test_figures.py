from ehr_pipeline.disclosure.figures import Guard, Naming

GUARD = Guard(10, 10)


def test_what_a_stage_lost_cannot_be_reckoned_from_what_is_told() -> None:
    cohort = GUARD.artifact("cohort", {"rows_in": 2516, "kept": 2482, "dropped": {"not_in_patient_dataset": 34}})
    embedded = GUARD.artifact("patient_embeddings", {"rows_in": 2482, "kept": 2480, "dropped": {"no_concept": 2}})
    assert cohort == {"rows_in": 2520, "kept": 2480, "dropped": {"not_in_patient_dataset": 30}}
    assert embedded == {"rows_in": 2480, "kept": 2480, "dropped": {"no_concept": None}}


def test_counts_of_things_stay_as_they_are() -> None:
    told = GUARD.artifact(
        "clusters", {"kept": 1234, "clusters": 7, "largest": 3, "score": 0.12345, "method": "spectral"}
    )
    assert told == {"kept": 1230, "clusters": 7, "largest": None, "score": 0.12, "method": "spectral"}
    told = GUARD.artifact(
        "vocabulary", {"kept": 1387, "untyped": 3, "events": {"kept": 1_092_891, "dropped": {"rare": 4}}}
    )
    assert told == {"kept": 1387, "untyped": 3, "events": {"kept": 1_092_890, "dropped": {"rare": None}}}


def test_zero_is_told() -> None:
    assert GUARD.count(0) == 0
    assert [GUARD.count(value) for value in (1, 9, 10, -3, 14, 16)] == [None, None, 10, None, 10, 20]


def test_a_name_needs_more_than_the_threshold_and_each_another_number() -> None:
    """So a name that is gone after one patient withdrew leaves open how many there are, and they are not below the threshold."""
    needed = [Naming(10, "secret").needed(f"concept {number}") for number in range(2000)]
    assert set(needed) == set(range(11, 21))
    assert all(150 < needed.count(number) < 250 for number in range(11, 21))
    assert needed == [Naming(10, "secret").needed(f"concept {number}") for number in range(2000)]
    assert needed != [Naming(10, "another").needed(f"concept {number}") for number in range(2000)]
    assert Naming(1, "secret").needed("any") == 1
    assert not Naming(1, "secret").shows("any", 0)
