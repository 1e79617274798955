"""The flow diagrams and tables: everything is accounted for, and no difference tells of a few patients."""

import copy
import re
from itertools import pairwise
from typing import Any

import pytest

from ehr_pipeline.disclosure.suppression import Disclosure
from ehr_pipeline.reports import diagram
from ehr_pipeline.reports.sections import flow, published
from ehr_pipeline.reports.shown_counts import StageCounts
from ehr_pipeline.tables.drop_reasons import in_words

COUNTS: dict[str, Any] = {
    "raw_records": {
        "rows_in": 100_000,
        "kept": 99_000,
        "dropped": {"sentinel_date": 990, "future_date": 3, "missing_code": 7},
        "patients": {"rows_in": 5_030, "kept": 5_000, "collapsed": 30, "dropped": {}},
    },
    "mapped_events": {"rows_in": 99_000, "kept": 60_000, "dropped": {"unmapped_read": 39_000}, "codes": 900},
    "vocabulary": {
        "rows_in": 800,
        "kept": 700,
        "dropped": {"rare": 100},
        "events": {"rows_in": 60_000, "kept": 59_000, "dropped": {"rare": 1_000}},
    },
    "patient_dataset": {
        "rows_in": 60_000,
        "kept": 50_000,
        "collapsed": 8_000,
        "dropped": {"not_in_vocabulary": 1_000, "large_visits": 900, "few_visits": 100},
        "patients_without_events": 50,
        "visits": {"rows_in": 9_000, "kept": 8_900, "dropped": {"large": 40, "few_visits": 60}},
        "patients": {"rows_in": 4_950, "kept": 4_900, "dropped": {"few_visits": 50, "only_large_visits": 0}},
    },
    "data_split": {"rows_in": 4_900, "kept": 4_900, "train": 4_800, "validation": 100},
    "cohort": {
        "rows_in": 2_040,
        "kept": 2_000,
        "dropped": {"not_in_patient_dataset": 40},
        "by_disease": {"eczema": 2_040},
    },
    "patient_embeddings": {
        "rows_in": 2_000,
        "kept": 1_980,
        "dropped": {"no_chosen_concept": 20},
        "pooling": "list",
        "selected_concepts": 649,
    },
    "concept_embeddings": {"rows_in": 150, "kept": 129, "dropped": {}},
    "clusters": {"rows_in": 1_980, "kept": 1_980, "clusters": 20},
}
RULE = Disclosure(10)


def counted(**changed: Any) -> StageCounts:
    counts = copy.deepcopy(COUNTS)
    for asset, values in changed.items():
        counts[asset] |= values
    return StageCounts.of(counts, [990, 990], RULE)


def numbers(steps: list[diagram.Step]) -> list[str]:
    return [step.number for step in steps]


def test_what_is_left_at_each_step_and_what_fell_out() -> None:
    steps = flow.patients(counted())
    assert numbers(steps) == ["5,030", "5,000", "4,950", "4,900", "2,000", "1,980"]
    assert steps[0].lost == (("further rows of the same patients", "30"),)
    assert steps[2].lost == (("with too few visits", "50"),)
    assert steps[4].lost == (("without a chosen concept", "20"),)
    assert numbers(flow.events(counted())) == ["100,000", "99,000", "60,000", "59,000", "50,000"]


def test_every_difference_of_the_events_is_named() -> None:
    steps = flow.events(counted())
    for step, following in pairwise(steps):
        lost = sum(int(number.replace(",", "")) for _, number in step.lost)
        assert int(step.number.replace(",", "")) - lost == int(following.number.replace(",", ""))


def test_further_ingredients_of_drugs_are_a_step_of_their_own() -> None:
    found = counted(
        mapped_events={"kept": 60_500, "added": 500},
        vocabulary={"events": {"rows_in": 60_500, "kept": 60_000, "dropped": {"rare": 500}}},
    )
    steps = flow.events(found)
    assert numbers(steps)[:5] == ["100,000", "99,000", "60,000", "60,500", "60,000"]
    assert "one for each ingredient" in flow.summary(found)
    few = counted(mapped_events={"kept": 60_003, "added": 3})
    assert few.event.rounded, "three added events could be computed from exact numbers"


def test_a_reason_with_few_rows_cannot_be_reckoned_from_the_others() -> None:
    (first, *_) = flow.events(counted())
    assert dict(first.lost) == {
        "with a placeholder date (such as 01/01/1900) instead of a real one": "990",
        "dated after the extract or without a code": "10",
    }


def test_the_largest_losses_of_all_steps_are_named() -> None:
    told = "Of 100,000 rows of events, 50,000 (50.0 %) are in the patient data set."
    assert flow.summary(counted()) == (
        f"{told} Largest losses, in % of all rows: 39,000 (39.0 %) Read codes without a UMLS concept; 1,000 (1.0 %) of"
        " concepts that are too"
        " rare; 990 (1.0 %) with a placeholder date (such as 01/01/1900) instead of a real one; 900 (0.9 %) in visits"
        " with too many concepts; 100 (0.1 %) of patients with too few visits."
    )
    nothing = {"dropped": {}}
    vocabulary = {"events": COUNTS["vocabulary"]["events"] | nothing}
    none_lost = counted(
        raw_records=nothing, mapped_events=nothing, vocabulary=vocabulary, patient_dataset=nothing | {"visits": {}}
    )
    assert flow.summary(none_lost) == told


def test_a_loss_of_the_quarantine_is_named_before_the_codes() -> None:
    """In an extract whose rows are mostly rejected, codes without a concept are the smallest of the losses."""
    lost = counted(raw_records={"rows_in": 399_000, "dropped": {"unparsable_date": 300_000}})
    assert (
        "Largest losses, in % of all rows: 300,000 (75.2 %) with an unreadable date; 39,000 (9.8 %) Read codes"
        in flow.summary(lost)
    )
    few = counted(raw_records={"rows_in": 99_003, "dropped": {"unparsable_date": 3}})
    assert "unreadable" not in flow.summary(few)


def test_the_two_ways_of_counting_the_cohort_are_reconciled() -> None:
    told = flow.reconciled(counted())
    assert "(2,040); 40 of them are not in the data set" in told
    assert "(4,900); 2,900 of its patients have no such code." in told
    rounded = flow.reconciled(counted(cohort={"rows_in": 2_003, "dropped": {"not_in_patient_dataset": 3}}))
    assert "<10 of them are not" in rounded
    assert "2,003" not in rounded
    assert "The table and the diagram" not in flow.reconciled(
        counted(cohort={"dropped": {"not_in_patient_dataset": 0}})
    )


def test_rows_with_codes_without_a_concept_are_told_with_their_kind() -> None:
    told = "39,000 of 99,000 usable rows of events (39.4 %) have a code without a UMLS concept, and were left out"
    assert flow.summary_of_codes(counted()) == f"{told}."
    two = counted(mapped_events={"dropped": {"unmapped_read": 9_000, "unmapped_uk_extension": 30_000, "other": 5}})
    assert flow.summary_of_codes(two) == f"{told}; most of them are UK extension codes (30.3 % of the usable rows)."
    few = counted(mapped_events={"dropped": {"unmapped_read": 5, "unmapped_uk_extension": 38_995}})
    assert flow.summary_of_codes(few) == f"{told}.", "the few others would follow from the largest"
    assert flow.summary_of_codes(counted(mapped_events={"dropped": {"unmapped_read": 5}})) == ""
    assert flow.summary_of_codes(counted(mapped_events={"dropped": {}})) == ""


def test_a_reason_without_words_of_its_own_is_shown_as_it_is_counted() -> None:
    assert in_words("not_known_yet") == "not known yet"
    assert (in_words("few_visits"), in_words("few_visits", patients=True)) == (
        "of patients with too few visits",
        "with too few visits",
    )


@pytest.mark.parametrize(
    "changed",
    [
        {"patient_embeddings": {"kept": 1_997, "dropped": {"no_chosen_concept": 3}}, "clusters": {"kept": 1_997}},
        {"patient_dataset": {"patients": {"rows_in": 4_950, "kept": 4_944, "dropped": {"few_visits": 6}}}},
    ],
)
def test_numbers_of_patients_that_differ_by_few_are_rounded_everywhere(changed: dict[str, Any]) -> None:
    found = counted(**changed)
    assert found.rounded
    shown = [*numbers(flow.patients(found)), *(row["kept"] for row in flow.rows(found) if "patients" in row["words"])]
    for text in shown:
        assert re.fullmatch(r"about [\d,]+0|>1,979|1,997|1,980|>1,996", text), text
    run = published.Run(found, {"parameters": 1, "epochs": []}, {}, 50, 0.1, {}, is_tested=True)
    rows = {quantity: own for quantity, _, own in published.of_the_clusters(run)}
    assert rows["cohort patients"] in (">1,979", ">1,996")


@pytest.mark.parametrize(
    "changed",
    [
        {"raw_records": {"patients": {"rows_in": 5_003, "kept": 5_000, "collapsed": 0, "dropped": {"withdrawn": 3}}}},
        {"raw_records": {"patients": {"rows_in": 5_030, "kept": 5_000, "collapsed": 5, "dropped": {"no_birth": 25}}}},
        {"cohort": {"by_disease": {"psoriasis": 2_000, "prurigo": 4}}},
    ],
)
def test_few_rows_of_patients_and_few_of_a_disease_round_the_numbers_too(changed: dict[str, Any]) -> None:
    assert counted(**changed).rounded
    assert not counted().rounded


def test_the_sum_of_the_cards_does_not_tell_how_few_were_lost_before_them() -> None:
    """9,823 are on the cards; of 'about 9,820' in the cohort, up to 9,824, the '<10' without a vector would be one."""
    found = StageCounts.of(
        copy.deepcopy(COUNTS)
        | {
            "cohort": {"rows_in": 9_900, "kept": 9_824, "dropped": {"not_in_patient_dataset": 76}, "by_disease": {}},
            "patient_embeddings": {"rows_in": 9_824, "kept": 9_823, "dropped": {"no_chosen_concept": 1}},
            "clusters": {"rows_in": 9_823, "kept": 9_823, "clusters": 2},
        },
        [5_000, 4_823],
        RULE,
    )
    told = {lost: found.person(9_823 + lost) for lost in range(1, 10)}
    assert told[1] == ">9,822"
    others = [
        StageCounts.of(
            found.counts | {"cohort": found.counts["cohort"] | {"kept": 9_823 + lost}}, [5_000, 4_823], RULE
        ).person(9_823 + lost)
        for lost in range(1, 10)
    ]
    assert set(others) == {">9,822"}, "the same text whatever was lost"


def test_a_step_that_loses_few_events_rounds_their_numbers() -> None:
    few = counted(raw_records={"rows_in": 99_003, "kept": 99_000, "dropped": {"missing_code": 3}})
    first, second, *_ = flow.events(few)
    assert (first.number, second.number) == ("about 99,000", "about 99,000")
    assert dict(first.lost) == {"without a code": "<10"}
    assert flow.summary(few).startswith("Of about 99,000 rows of events, about 50,000")


def test_a_small_cluster_rounds_the_total_that_would_tell_its_size() -> None:
    assert StageCounts.of(COUNTS, [1_975, 5], RULE).rounded
    assert not StageCounts.of(COUNTS, [1_970, 10], RULE).rounded


def test_words_of_the_diagram_are_escaped() -> None:
    drawn = diagram.draw("A & B", [diagram.Step("a <b>", "1", (("<script>", "2"),)), diagram.Step("end", "0")])
    assert "<script>" not in drawn
    assert "&lt;b&gt;" in drawn
    assert drawn.count("<rect") == 3
