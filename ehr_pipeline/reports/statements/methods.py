"""How everything on the page was computed, and what it cannot tell."""

from collections.abc import Mapping
from typing import Any

from ehr_pipeline.clusters import microaggregation, trait_correlations
from ehr_pipeline.clusters.evidence import NONE_BELOW, WEAK_BELOW
from ehr_pipeline.concepts.recorded_together import DRAWS
from ehr_pipeline.reports.bias_audit import RESAMPLES
from ehr_pipeline.reports.cohort_lists import DiseaseConcepts
from ehr_pipeline.reports.statements.statement import Statement, listed, percent, say

EQUAL = 1e-3
"""Distances count as equal if their variation, as a share of their mean, is below this."""
SLIGHT = 2e-2
"""Distances count as hardly different if their variation, as a share of their mean, is below this."""
MOST_NAMED = 12
"""Most disease concepts that a sentence names."""


def records() -> Statement:
    """Say how raw rows were read, rejected and counted."""
    return say(
        "Records: rows with unusable dates, codes or patients were set aside with a reason and are counted above. A visit is a"
        " day with at least one concept."
    )


def vectors(settings: Mapping[str, Any], context: int, *, substitutes: bool, confirmed: bool) -> list[Statement]:
    """Say how patients' vectors are made: the profile, if there is one, and what the encoder adds."""
    sentences = [encoder(settings, context)]
    if settings["profile"]:
        sentences = [profile(settings, substitutes=substitutes, confirmed=confirmed), *sentences, shares(settings)]
    return sentences


def encoder(settings: Mapping[str, Any], context: int) -> Statement:
    """Say how the encoder's vectors of a patient are pooled."""
    between = {
        "none": "the chunks are averaged, each by its number of such tokens",
        "plain": "the chunk vectors A attend to each other as softmax(A Aᵀ/√d) A, and the result is averaged",
        "trained": (
            "the chunk vectors A attend to each other as softmax(A Q Kᵀ Aᵀ/√d) A, with Q and K trained to tell which halves"
            " belong to one patient, and the result is averaged"
        ),
    }[settings["attention"]]
    removed = {0: "", 1: "; the middle (spatial median) of all patients is taken out"}.get(
        settings["common_components"],
        "; the middle (spatial median) of all patients and the leading principal components are taken out",
    )
    return say(
        "The encoder’s part of a patient’s vector: all tokens attend to each other within chunks of {context:,}; the chosen"
        " tokens of a chunk are averaged{weighted}; {between}{removed}.",
        context=context,
        weighted="" if settings["weighting"] == "equal" else ", weighted by how rare their concepts are",
        between=between,
        removed=removed,
    )


def profile(settings: Mapping[str, Any], *, substitutes: bool, confirmed: bool) -> Statement:
    """Say what the concept profile is made of."""
    one = (
        ' (concepts that <a href="#concepts">count as one</a> share what is recorded of any of them)'
        if substitutes
        else ""
    )
    smoothed = f", smoothed by {percent(settings['smoothing'])} of the cohort’s shares" if settings["smoothing"] else ""
    also = [
        *(["how these shares changed from the earlier half of the record to the later"] if settings["course"] else []),
        *(["the mean age at which the concepts were recorded"] if settings["ages"] else []),
    ]
    more = ""
    if settings["kinship"]:
        more += (
            f" {percent(settings['kinship'])} of each share is passed on to the concepts that the network holds to be nearest"
            " (“kinship”: a patient with one of two similar diagnoses is a little like a patient with the other)."
        )
    if also:
        more += f" The profile also contains {' and '.join(also)}."
    if confirmed:
        more += (
            " Only those directions are kept on which two random halves of the visits agree, weighted by how well; nobody’s disease"
            " or group is used as a label."
        )
    return say(
        f"Concept profile of a patient: the square roots of each chosen concept’s share of the record{one}{{smoothed}}.{{more}}",
        smoothed=smoothed,
        more=more,
    )


def shares(settings: Mapping[str, Any]) -> Statement:
    """Say how much the profile and the encoder each contribute to distances between vectors."""
    share = settings["encoder_share"]
    return say(
        "The profile decides {profile} of the squared distance between two patients, the encoder {encoder}.",
        profile=percent(1 - share),
        encoder=percent(share),
    )


def space(measured: Mapping[str, Mapping[str, float]]) -> Statement:
    """Describe the space that the vectors span, before and after subtracting their mean."""

    def both(name: str, digits: int = 2) -> str:
        return " and ".join(f"{measured[how][name]:.{digits}f}" for how in ("raw", "centred"))

    return say(
        "The space of the vectors, as they are and with their mean taken out: squared distance of a patient’s halves {alignment}"
        " (alignment; 0 equal, 2 unrelated); uniformity {uniformity} (the lower, the more evenly vectors cover the sphere: Wang and"
        " Isola 2020); effective rank {rank} of {width} dimensions (Roy and Vetterli 2007); hubness {hubness} (0 without patients"
        " who are everybody’s neighbours: Radovanović 2010); the other half of a patient’s visits among the ten nearest of all for"
        " {retrieved}. None of these says whether the clusters mean something.",
        alignment=both("alignment"),
        uniformity=both("uniformity"),
        rank=both("effective_rank", 0),
        width=int(measured["raw"]["dimensions"]),
        hubness=both("hubness"),
        retrieved=" and ".join(percent(measured[how]["retrieved_10"]) for how in ("raw", "centred")),
    )


def collapse(now: Mapping[str, float], published: Mapping[str, float]) -> Statement:
    """Say how much a patient's vector depends on age and length of record alone, compared with the published vectors."""
    asked = "Do the vectors of old patients, or of long records, collapse to the centre?"
    if now["spread"] < SLIGHT:
        answer = (
            "No: they are centred so that all patients lie at the same distance from the middle."
            if now["spread"] < EQUAL
            else f"Hardly: the distance to the centre of all patients varies by {percent(now['spread'], 1)} of its mean, so its"
            " ranks mean little."
        )
        return say(
            "{asked} {answer} (That of the published vectors varies by {spread}, with rank correlations of {age:+.2f} with age and"
            " {concepts:+.2f} with the number of concepts.)",
            asked=asked,
            answer=answer,
            spread=percent(published["spread"], 1),
            age=published["age"],
            concepts=published["concepts"],
        )
    words = {"age": "age", "concepts": "number of concepts", "inverse_frequency": "rarity of concepts"}
    return say(
        "{asked} The distance to the centre of all patients varies by {spread} of its mean (published vectors:"
        " {published}). Rank correlations of that distance: {told}; 0 is best.",
        asked=asked,
        told="; ".join(
            f"{word} {now[name]:+.2f} (published vectors: {published[name]:+.2f})" for name, word in words.items()
        ),
        spread=percent(now["spread"], 1),
        published=percent(published["spread"], 1),
    )


def habits(method: str) -> Statement | None:
    """Say how concepts that are recorded in place of each other were found; None if they were not searched for."""
    return say("Habits of recording: {method}", method=method) if method else None


def disease_concepts(concepts: DiseaseConcepts | None) -> Statement | None:
    """Say how much the codes of the cohort's diseases contribute to the vectors; None if no list defines the cohort."""
    if not concepts:
        return None
    if not concepts.names:
        return say(
            "Diseases of the cohort: no concept of the lists by which the cohort was chosen is among the {pooled:,} that decide a"
            " patient’s vector.",
            pooled=concepts.pooled,
        )
    named = [*concepts.names[:MOST_NAMED], *(["others"] if len(concepts.names) > MOST_NAMED else [])]
    return say(
        "Diseases of the cohort: {some} of the {pooled:,} concepts that decide a patient’s vector {are} on the lists by which"
        " the cohort was chosen ({named}). The name of a patient’s disease is not used to make the vectors, but its codes are"
        " recorded, so clusters follow the disease by construction. That they do is no discovery; what divides the patients of"
        " one disease may be.",
        some=len(concepts.names),
        pooled=concepts.pooled,
        are="is" if len(concepts.names) == 1 else "are",
        named=listed(named),
    )


def ages(settings: Mapping[str, Any]) -> Statement | None:
    """Say that clusters follow age by construction; None if ages have no part in the vectors."""
    if not settings["profile"] or not settings["ages"]:
        return None
    return say(
        "Age: the mean age at which a patient’s concepts were recorded is part of the vector, so clusters follow age by"
        " construction, as they follow the disease. That they do is no discovery either."
    )


def sides(by_side: str) -> Statement | None:
    """Say what the test side is for; None if there is no test side. `by_side`: patients on each side, in words."""
    if not by_side:
        return None
    return say(
        "Sides of the split: of the patients in the data set, {by_side}. Vocabulary, network and the transform of the vectors"
        " were made without the test side. Clusters, map, marking concepts and the audit describe the whole cohort,"
        " the test side included: they are not predictions to be tested on the test side.",
        by_side=by_side,
    )


def clustering(method: str) -> Statement:
    """Say how clusters are made."""
    how = (
        "spectral clustering on the graph of nearest neighbours by cosine"
        if method == "spectral"
        else f"the method {method}"
    )
    return say("Clusters: {how}, with other methods beside it.", how=how)


def windows(facts: Mapping[str, str] | None) -> Statement | None:
    """Say how change over time is computed; None if records were not divided into windows."""
    if facts is None:
        return None
    return say(
        "Change over time: windows with too few pooled concepts ({dropped}; {kept} were kept) and patients with fewer than two"
        " windows ({too_few}) are left out. The transform of the vectors is the one of the whole records. A window lies on the map"
        " at the mean place of those of its nearest whole records that are of its cluster. Whether more patients go one way than"
        " back, beyond the difference expected: score test of two Poisson counts (Krishnamoorthy and Thomson 2004), with a p no"
        " smaller than that of the exact binomial test (McNemar 1947); BH value over the pairs of clusters tested.",
        **facts,
    )


def split_half() -> Statement:
    """Say how the split-half test is made."""
    return say(
        "Split-half test: visits are divided at random into halves. One half is embedded and gets the cluster of its nearest"
        " whole records; from the concepts of the other half, without ages, a naive Bayes classifier trained on other patients"
        " predicts it. Chance is what the classifier predicts from the other patients of a block of {alike} or more who have the"
        " same disease and sex and are nearest in age and number of concepts. Evidence is called clear from {clear:.2f} of the"
        " possible excess over chance, none below {none:.2f}; its interval is that of a ratio of means over patients (delta"
        " method: Cochran 1977, with Student’s t), or Wilson’s (1927) at a share of all or none, and does not decide the word."
        " Patients then differ persistently. Test of conditions that go together, as in subgroups or along one gradient such as"
        " severity: the {traits} concepts that patients most often have in both halves, apart from what belongs to a disease, are"
        " correlated, each in one half with each in the other, among each disease’s patients, and among others of the same sex"
        " and of similar age and number of concepts. Who has what belongs to another of the diseases is left out. The sum of"
        " squares of what correlations are higher by in the disease is compared with diseases permuted among patients alike; a p"
        " of at most {most:.2f} counts as evidence that they do.",
        alike=microaggregation.BLOCK_SIZE,
        clear=WEAK_BELOW,
        none=NONE_BELOW,
        traits=trait_correlations.TRAITS,
        most=trait_correlations.MAX_P,
    )


def p_values(permutations: int) -> Statement:
    """Say which p values are shares of drawn permutations, with their number, and which are tails of a distribution."""
    return say(
        "p values called “permutation p” are shares of permutations that were drawn, the observed value being one of them:"
        " {permutations:,} for the split-half test and for conditions that go together, {effects:,} for the bias audit,"
        " {concepts:,} for the concept check. All other p values are tails of a distribution: of one fitted to the exact moments"
        " of all permutations (half test, gamma; agreement of the halves of a record, normal), of counts (change over time,"
        " published ranking, which diseases go together), or of the normal distribution (which of them comes first).",
        permutations=permutations,
        effects=RESAMPLES,
        concepts=DRAWS,
    )


def intervals() -> list[Statement]:
    """Say how lifts and effect sizes are computed."""
    return [
        say(
            "Lift: share of the cluster’s patients with the concept over the share of the others, with Katz’ interval (1978); where"
            " nobody here or elsewhere has it, half a patient is added to each count (Walter 1975). BH: Benjamini and Hochberg"
            " (1995), over all tests of a kind; their number stands beside each."
        ),
        say(
            "Effect sizes: η² for numbers; Cramér’s V with bias correction (Bergsma 2013) for categories. Intervals from {draws}"
            " resamples of patients, corrected for their bias (a resample contains some patients twice, which looks like more"
            " agreement than there is). “With the map” is the share of variance that"
            " the attribute and the place on the map have in common.",
            draws=RESAMPLES,
        ),
    ]


def neighbours() -> Statement:
    """Say how the concept check is made."""
    return say(
        "Concept check: in visits of held-out patients, each concept and its neighbour are compared with the same concept and"
        " others that are recorded in about as many visits; p from drawing neighbours anew among these, the interval from"
        " resampled patients."
    )


def limits() -> Statement:
    """Say what no method can see."""
    return say(
        "What was never recorded cannot be found; what is recorded more often looks more important. Clusters describe this cohort;"
        " they are not diagnoses."
    )


def error_rates() -> Statement:
    """Say where the reader finds how often sentences of the page are wrong."""
    return say(
        "How often statements of this page are made where they are false was measured on synthetic cohorts:"
        " <code>docs/error_rates.md</code> of ehr_pipeline."
    )
