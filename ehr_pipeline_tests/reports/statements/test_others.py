"""Sentences of the other sections: one and many, none, and what they leave out."""

from typing import Any

import pytest

from ehr_pipeline.reports.bias_audit import Effect
from ehr_pipeline.reports.cohort_lists import DiseaseConcepts
from ehr_pipeline.reports.statements import (
    alternatives,
    audit,
    encoder,
    flow,
    methods,
    new_extracts,
    patient_map,
    pictures,
    record_checklist,
    settings,
)
from ehr_pipeline.reports.statements.glossary import WORDS


def metrics(epochs: int, stopped: bool = False) -> dict[str, Any]:
    score = {"epoch": 3, "validation_loss": 4.5648, "validation_top1": 0.1479, "validation_top10": 0.3824}
    losses = {"training_loss": 4.61, "validation_loss": 4.57}
    course = [{"epoch": n + 1, "updates": 10 * (n + 1)} | losses for n in range(epochs)]
    baseline = {"loss": 5.0959, "top1": 0.0466, "top10": 0.2745}
    counts = {"parameters": 527_728, "training_tokens": 990_546, "stopped_early": stopped}
    return counts | {"epochs": course, "best": score, "baseline": baseline}


def test_how_the_encoder_was_trained() -> None:
    assert str(encoder.trained(metrics(1, True))[0]) == (
        "527,728 parameters, trained on 990,546 tokens for 1 epoch (stopped when both losses were flat)."
    )
    assert "4 epochs (the largest number that the settings allow)" in str(encoder.trained(metrics(4))[0])
    assert "training had only 1 epoch." in str(encoder.no_curve(metrics(1)))
    untrained = metrics(1)
    untrained["epochs"][-1] |= {"epoch": 0, "updates": 0}
    assert "not trained in this study" in str(encoder.trained(untrained)[0])
    assert "this study trained nothing" in str(encoder.no_curve(untrained))
    assert (
        "training had only 2 epochs. At the end, the training loss is 4.610, and the loss on held-out patients 4.570."
        in str(encoder.no_curve(metrics(2)))
    )
    assert "from the validation set (about 470 patients)" in str(encoder.held_out("about 470"))
    assert encoder.scores(metrics(1))[1] == ("first guess correct", "14.8 %", "4.7 %")


def test_how_many_clusters() -> None:
    assert str(alternatives.how_many({1: 1.0, 2: 0.5}, 1, 20)).startswith("Among 1 to 2 clusters")
    told = str(alternatives.steadier([("a", "0.74"), ("b", "0.80")], "c", "0.5"))
    assert "clusters than the method of this page (a 0.74 and b 0.80; c, on this page, 0.5)." in told


@pytest.mark.parametrize(
    ("words", "told"),
    [(0.005, "next to nothing"), (0.15, "little"), (0.4, "a good deal"), (0.6, "a great deal")],
)
def test_what_an_effect_says(words: float, told: str) -> None:
    value = 0.05 if told == "next to nothing" else words
    assert (
        str(audit.meaning(Effect("practice", "Cramér's V", value, p=0.005)))
        == f"The cluster of a patient says {told} about practice."
    )
    assert "6 % of the variation in age at the last visit" in str(audit.meaning(Effect("age", "η²", 0.06, p=0.005)))


def test_what_the_vectors_are_made_of_is_followed_by_construction() -> None:
    age, disease, sex = (Effect(name, "η²", 0.5, p=0.005) for name in ("age", "disease", "sex"))
    assert "the vectors contain the mean age" in str(audit.by_construction(age, diseases=True, ages=True))
    assert "codes of the diseases" in str(audit.by_construction(disease, diseases=True, ages=True))
    assert audit.by_construction(sex, diseases=True, ages=True) is None
    assert audit.by_construction(age, diseases=True, ages=False) is None
    assert audit.by_construction(disease, diseases=False, ages=True) is None
    told = audit.by_construction(sex, diseases=True, ages=True, predicted=("sex", "birth_decade"))
    assert "the vectors, was trained to predict it" in str(told)
    assert audit.by_construction(age, diseases=True, ages=False, predicted=("birth_decade",)) == told
    limits = "0.01, 0.06 and 0.14 (η²) or 0.1, 0.3 and 0.5 (Cramér's V)"
    assert limits in str(audit.purpose(9, several_diseases=True)[1])
    assert "p comes from 200 permutations. Each of the 9 attributes stands alone, without correction" in str(
        audit.purpose(9, several_diseases=True)[-1]
    )


def test_p_values_of_the_audit() -> None:
    p_texts = [audit.p_text(Effect("age", "η²", 0.1, p=p)) for p in (None, 1 / 201, 2 / 201, 0.2)]
    assert p_texts == ["–", "<0.005", "0.010", "0.200"]


def test_how_attributes_were_read() -> None:
    kinds = {"bmi": "number", "region": "category", "practice": "category"}
    assert str(audit.read_as(kinds, {"region": "category"})).startswith(
        "Attributes were read as categories: region, practice (guessed); as numbers: bmi (guessed). Patients"
    )
    assert audit.read_as({}, {}) is None
    assert audit.without_map([], 10) is None
    assert "have 10 patients: age and sex." in str(audit.without_map(["age", "sex"], 10))


def test_what_is_suppressed_on_the_map() -> None:
    assert len(patient_map.how_to_read(10)) == len(patient_map.how_to_read(1)) + 1
    assert "at least 10 neighbours" in " ".join(map(str, patient_map.how_to_read(10)))


def test_what_new_extracts_changed() -> None:
    assert "1 concept was new to it" in str(new_extracts.continued_encoder(1))
    assert "1,200 concepts were new to it" in str(new_extracts.continued_encoder(1200))
    assert "is not shown" in str(new_extracts.overlap_table({"rows": [], "blank": 0}))
    assert "a multiple of 20" in str(new_extracts.overlap_table({"rows": [1], "blank": 20}))


def test_how_numbers_of_the_flow_are_shown() -> None:
    assert len(flow.rounding(10, rounded=True)) == 2
    assert len(flow.rounding(10, rounded=False)) == 1
    assert len(flow.cases(everybody=True)) == len(flow.cases(everybody=False)) + 1
    assert flow.codes({"codes": "2", "rows": ["a", "b"]}) == "a · b"
    assert flow.codes({"codes": "1,200", "rows": ["a", "b"]}) == "a · b · …"


def test_how_codes_were_mapped() -> None:
    coverage = {"events_share": 0.456, "codes_share": 0.5, "source": "<UMLS>", "kept_events": 0, "events": 1000}
    told = flow.mapped(coverage)
    assert str(told[0]) == "45.6 % of events and 50.0 % of codes were mapped to the UMLS, using <UMLS>."
    assert "<UMLS>" not in told[0].text
    assert (len(told), flow.mapped_so_far(coverage)) == (2, "Events mapped so far")
    kept = coverage | {"kept_events": 123}
    assert "12.3 % of events were kept" in str(flow.mapped(kept)[1])
    assert "a table of names" in str(flow.mapped(kept)[1])
    assert not any("codes with the same meaning" in str(each) for each in flow.mapped(kept | {"events_share": 0.0}))
    assert flow.mapped_so_far(kept) == "Events mapped or kept so far"


VECTORS = {
    "weighting": "equal",
    "attention": "none",
    "common_components": 1,
    "profile": 64,
    "smoothing": 0.3,
    "kinship": 0.3,
    "course": True,
    "ages": True,
    "encoder_share": 0.1,
}


def test_how_vectors_are_made() -> None:
    told = methods.vectors(VECTORS, 256, substitutes=True, confirmed=True)
    words = " ".join(map(str, told))
    assert str(told[0]).startswith("Concept profile of a patient"), "what decides most comes first"
    for part in (
        "count as one",
        "smoothed by 30 %",
        "30 % of each share is passed on",
        "earlier half",
        "mean age",
        "two random halves",
    ):
        assert part in words
    assert "The profile accounts for 90 % of the squared distance between two patients, the encoder for 10 %." in words
    assert "the spatial median of all patients is subtracted." in words
    plain = VECTORS | {"profile": 0, "attention": "plain", "common_components": 0, "weighting": "sif"}
    (alone,) = methods.vectors(plain, 128, substitutes=False, confirmed=False)
    assert "within chunks of 128" in str(alone)
    assert "weighted by how rare" in str(alone)
    assert "softmax(A Aᵀ/√d) A, and the result is averaged." in str(alone)
    assert "and the leading principal components are" in str(methods.encoder(VECTORS | {"common_components": 3}, 256))
    assert "count as one" not in str(methods.profile(VECTORS, substitutes=False, confirmed=True))


def test_what_follows_by_construction() -> None:
    assert "so clusters follow age by construction" in str(methods.ages(VECTORS))
    assert methods.ages(VECTORS | {"ages": False}) is None
    assert methods.disease_concepts(None) is None
    assert "none of the 1,200 concepts" in str(methods.disease_concepts(DiseaseConcepts((), 1200, frozenset())))
    assert "1 of the 1,200 concepts from which patients’ vectors are made is on the lists" in str(
        methods.disease_concepts(DiseaseConcepts(("a",), 1200, frozenset()))
    )
    many = str(methods.disease_concepts(DiseaseConcepts(tuple("abcdefghijklmn"), 1200, frozenset())))
    assert "14 of the 1,200 concepts from which patients’ vectors are made are on the lists" in many
    assert "l and others)" in many


def test_equal_distances_are_no_collapse() -> None:
    published = {"spread": 0.1763, "age": -0.05, "concepts": -0.23, "inverse_frequency": 0.31}
    none = str(methods.collapse({"spread": 0.0, "age": 0.0, "concepts": 0.0, "inverse_frequency": 0.0}, published))
    assert "at the same distance from the middle. (That of the published vectors varies by 17.6 %" in none
    some = str(methods.collapse({"spread": 0.1, "age": 0.2, "concepts": -0.1, "inverse_frequency": 0.0}, published))
    assert "Rank correlations of that distance: age" in some
    assert "Hardly" not in some
    hardly = str(
        methods.collapse({"spread": 0.0031, "age": -0.9, "concepts": -0.5, "inverse_frequency": 0.0}, published)
    )
    assert (
        "centre? Hardly: the distance to the centre of all patients varies by 0.3 % of its mean, so its ranks mean little."
        in hardly
    )
    assert "-0.90" not in hardly, "a rank correlation of differences that are too small to matter"
    assert "age +0.20 (published vectors: -0.05)" in some
    assert "varies by 10.0 % of its mean" in some


def test_methods_that_were_not_used_are_left_out() -> None:
    assert methods.windows(None) is None
    windows = str(methods.windows({"kept": "60", "dropped": "about 20", "too_few": "<10"}))
    assert "two windows (<10) are left out" in windows
    assert "beyond the difference expected: score test" in windows, (
        "the exact test alone would take ageing for a change"
    )
    assert methods.sides("") is None
    assert methods.habits("") is None
    assert "spectral clustering" in str(methods.clustering("spectral"))
    assert "the method kmeans" in str(methods.clustering("kmeans"))


def test_what_a_lift_of_nobody_is_made_of_is_said() -> None:
    assert "half a patient is added to each count (Walter 1975)" in str(methods.intervals()[0])


@pytest.mark.parametrize(
    ("agreements", "told"),
    [
        (
            [0.184, 0.171],
            (
                "The same number of clusters, made from the same vectors by other methods, agrees with the clusters of this page"
                " at an adjusted Rand index of 0.17 to 0.18."
            ),
        ),
        (
            [0.5],
            (
                "The same number of clusters, made from the same vectors by another method, agrees with the clusters of this page"
                " at an adjusted Rand index of 0.50."
            ),
        ),
    ],
)
def test_how_far_other_methods_agree(agreements: list[float], told: str) -> None:
    assert str(alternatives.other_divisions(agreements)) == told
    assert alternatives.other_divisions([]) is None


def test_which_p_values_are_of_drawn_permutations() -> None:
    told = str(methods.p_values(1000))
    assert (
        "1,000 for the split-half test and for conditions that go together, 200 for the bias audit, 400 for the concept"
        in told
    )
    assert "fitted to the exact moments of all permutations (mark test, gamma;" in told


def test_the_largest_effects_are_named_without_an_order_between_scales() -> None:
    assert pictures.largest_effect(["age"]) == "association of the clusters with age"
    assert pictures.largest_effect(["age", "sex"]) == "association of the clusters with age and sex"
    assert pictures.largest_effect(["age", "sex", "x"]) == "association of the clusters with age and 2 other attributes"


def test_an_interval_of_v_is_not_read_as_a_test() -> None:
    assert "Cramér's V is never below 0" in " ".join(map(str, audit.purpose(9, several_diseases=True)))


def test_a_cohort_of_one_disease_is_not_audited_for_it() -> None:
    told = " ".join(map(str, audit.purpose(9, several_diseases=False)))
    assert "effect of disease" not in told
    assert "Within a disease" not in told
    alone = Effect("disease", "Cramér's V", None, why="it does not vary in this cohort")
    assert audit.by_construction(alone, diseases=True, ages=True) is None


def test_what_marks_a_cluster_stable_is_said_once() -> None:
    told = str(alternatives.columns("stable from 0.75, unstable below 0.60, doubtful between")[0])
    assert told.endswith(
        "On the cards, a single cluster is called stable from 0.75, unstable below 0.60, doubtful between."
    )


def test_the_glossary_tells_what_a_false_discovery_rate_is() -> None:
    words = dict(WORDS)
    assert "about 5 % are expected to be false (the false discovery rate)" in words["Benjamini-Hochberg (BH) value"]
    assert "the diseases of similar patients" in words["Permutation test"]


def test_the_checklist() -> None:
    items = list(record_checklist.items(2, ["age", "<sex>"], "90 are in the training set"))
    assert [number for number, _, _ in items][:4] == ["RECORD 1.1", "RECORD 1.2", "RECORD 1.3", "RECORD 6.1"]
    assert len(items) == 13
    words = " ".join(str(answer) for _, _, answer in items)
    for part in (
        "every row of 2 extracts that",
        "Attributes: age, <sex>.",
        "in the data set, 90 are in the training set.",
    ):
        assert part in words
    assert "every row of 1 extract that" in str(record_checklist.cleaning(1))
    assert str(record_checklist.selection("")).endswith("the flow of patients and of events.")


def test_with_what_the_page_was_made() -> None:
    assert settings.machines([]) is None
    assert settings.machines([("a", "device cpu"), ("b", "<x>")]).text == (  # type: ignore[union-attr]
        "These settings depended on the machines: <code>a</code> device cpu; <code>b</code> &lt;x&gt;."
    )
    assert str(settings.installed([("Python", "3.12"), ("numpy", "2")])).endswith("made: Python 3.12, numpy 2.")


def test_the_glossary_is_in_order() -> None:
    words = [word.lower() for word, _ in WORDS]
    assert words == sorted(words)
    assert len(set(words)) == len(words)


def test_what_was_learned_beside_the_objective_stands_apart() -> None:
    """'validation_loss' is then the weighted sum, and the table shows the loss in predicting concepts."""
    summed = metrics(4) | {"weights": {"masked": 1.0, "contrastive": 0.1}}
    summed["best"] = summed["best"] | {"validation_masked_loss": 4.1, "validation_loss": 4.4}
    summed["baseline"] = summed["baseline"] | {"masked_loss": 5.0}
    assert encoder.scores(summed)[0][1:] == ("4.100", "5.000")
    assert "be more similar than pieces of different patients (weight 0.1)" in str(encoder.trained(summed)[-1])
    assert encoder.scores(metrics(4))[0][1:] == ("4.565", "5.096")
    assert len(encoder.trained(metrics(4))) == 2


def test_a_first_record_on_the_first_day_is_no_beginning_of_a_disease() -> None:
    """Where history is entered at registration, patients of 39 had a "first record" of an asthma that began at 13."""
    told = str(pictures.strips_caption("83–84 %"))
    assert (
        "For 83–84 % of all patients in clusters, the first record of a disease is on the first day of their record"
        in told
    )
    assert "first day" not in str(pictures.strips_caption(""))
