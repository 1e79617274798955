from ehr_pipeline.guard import Guard

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
    assert told == {"kept": 1230, "clusters": 7, "largest": None, "score": 0.123, "method": "spectral"}
    told = GUARD.artifact(
        "vocabulary", {"kept": 1387, "untyped": 3, "events": {"kept": 1_092_891, "dropped": {"rare": 4}}}
    )
    assert told == {"kept": 1387, "untyped": 3, "events": {"kept": 1_092_890, "dropped": {"rare": None}}}


def test_zero_is_told() -> None:
    assert GUARD.count(0) == 0
    assert [GUARD.count(value) for value in (1, 9, 10, -3, 14, 16)] == [None, None, 10, None, 10, 20]
