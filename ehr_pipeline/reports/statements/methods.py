"""How everything on the page was computed, and what it cannot show."""

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
        "Records: rows with unusable dates, codes or patients were set aside with a reason, and are counted above. A visit is a"
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
        "none": "the chunks are averaged, weighted by the number of chosen tokens",
        "plain": "the chunk vectors A attend to each other as softmax(A Aᵀ/√d) A, and the result is averaged",
        "trained": (
            "the chunk vectors A attend to each other as softmax(A Q Kᵀ Aᵀ/√d) A, with Q and K trained to tell which halves"
            " belong to one patient, and the result is averaged"
        ),
    }[settings["attention"]]
    removed = {0: "", 1: "; the spatial median of all patients is subtracted"}.get(
        settings["common_components"],
        "; the spatial median of all patients is subtracted, and the leading principal components are removed",
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
        ' (concepts that <a href="#concepts">count as one</a> share the records of any of them)' if substitutes else ""
    )
    smoothed = f", smoothed by {percent(settings['smoothing'])} of the cohort’s shares" if settings["smoothing"] else ""
    also = [
        *(
            ["the change of these shares from the earlier half of the record to the later"]
            if settings["course"]
            else []
        ),
        *(["the mean age at which the concepts were recorded"] if settings["ages"] else []),
    ]
    more = ""
    if settings["kinship"]:
        more += (
            f" {percent(settings['kinship'])} of each share is passed on to the most similar concepts, by the encoder (“kinship”:"
            " a patient with one of two similar diagnoses is somewhat similar to a patient with the other)."
        )
    if also:
        more += f" The profile also contains {' and '.join(also)}."
    if confirmed:
        more += (
            " Only directions that two random halves of the visits confirm are kept, weighted by how well the halves agree; no"
            " patient’s disease or group is used as a label."
        )
    return say(
        f"Concept profile of a patient: the square root of each chosen concept’s share of the record{one}{{smoothed}}.{{more}}",
        smoothed=smoothed,
        more=more,
    )


def shares(settings: Mapping[str, Any]) -> Statement:
    """Say how much the profile and the encoder each contribute to distances between vectors."""
    share = settings["encoder_share"]
    return say(
        "The profile accounts for {profile} of the squared distance between two patients, the encoder for {encoder}.",
        profile=percent(1 - share),
        encoder=percent(share),
    )


def space(measured: Mapping[str, Mapping[str, float]]) -> Statement:
    """Describe the space that the vectors span, before and after subtracting their mean."""

    def both(name: str, digits: int = 2) -> str:
        return " and ".join(f"{measured[how][name]:.{digits}f}" for how in ("raw", "centred"))

    return say(
        "The space of the vectors, as they are and after subtracting the mean: squared distance between the halves of a patient"
        " {alignment} (alignment; 0: equal; 2: unrelated); uniformity {uniformity} (the lower, the more evenly vectors cover the"
        " sphere: Wang and Isola 2020); effective rank {rank} of {width} dimensions (Roy and Vetterli 2007); hubness {hubness}"
        " (0: no patient is a neighbour of very many others: Radovanović 2010); for {retrieved} of the patients, the other half"
        " of the visits is among the ten nearest of all. None of these values shows whether the clusters are meaningful.",
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
            "No: they are centred so that all patients are at the same distance from the middle."
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
    return say("Recording habits: {method}", method=method) if method else None


def disease_concepts(concepts: DiseaseConcepts | None) -> Statement | None:
    """Say how much the codes of the cohort's diseases contribute to the vectors; None if no list defines the cohort."""
    if not concepts:
        return None
    if not concepts.names:
        return say(
            "Diseases of the cohort: none of the {pooled:,} concepts from which patients’ vectors are made is on the lists that"
            " define the cohort.",
            pooled=concepts.pooled,
        )
    named = [*concepts.names[:MOST_NAMED], *(["others"] if len(concepts.names) > MOST_NAMED else [])]
    return say(
        "Diseases of the cohort: {some} of the {pooled:,} concepts from which patients’ vectors are made {are} on the lists that"
        " define the cohort ({named}). The name of a patient’s disease is not used to make the vectors, but the codes"
        " of the disease are, so clusters follow it by construction. This is not a discovery; a division among the patients of one"
        " disease may be a discovery.",
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
        " construction, as they follow the disease. This is not a discovery either."
    )


def sides(by_side: str) -> Statement | None:
    """Say what the test set is for; None if there is no test set. `by_side`: patients in each set, in words."""
    if not by_side:
        return None
    return say(
        "Split: of the patients in the data set, {by_side}. The vocabulary, the encoder and the transform of the vectors were"
        " made without the test set. Clusters, map, marking concepts and the audit describe the whole cohort, including the test"
        " set: do not test them as predictions on the test set.",
        by_side=by_side,
    )


def clustering(method: str) -> Statement:
    """Say how clusters are made."""
    how = (
        "spectral clustering on the graph of nearest neighbours by cosine"
        if method == "spectral"
        else f"the method {method}"
    )
    return say("Clusters: {how}, compared with other methods.", how=how)


def windows(facts: Mapping[str, str] | None) -> Statement | None:
    """Say how change over time is computed; None if records were not divided into windows."""
    if facts is None:
        return None
    return say(
        "Change over time: windows with too few pooled concepts ({dropped}; {kept} were kept) and patients with fewer than two"
        " windows ({too_few}) are left out. The vectors use the transform of the whole records. The position of a window on the"
        " map is the mean position of the nearest whole records in the cluster of the window. Test of whether more patients moved"
        " in one direction than back, beyond the difference expected: score test of two Poisson counts (Krishnamoorthy and"
        " Thomson 2004), with a p at least as large as that of the exact binomial test (McNemar 1947); BH value over the pairs of"
        " clusters tested.",
        **facts,
    )


def split_half() -> Statement:
    """Say how the split-half test is made."""
    return say(
        "Split-half test: visits are divided at random into halves. One half is embedded and is assigned the cluster of its"
        " nearest whole records. From the concepts of the other half, without ages, a naive Bayes classifier trained on other"
        " patients predicts this cluster. Chance is what the classifier predicts from the other patients of a block: at least"
        " {alike} patients of the same disease and sex who are nearest in age and number of concepts. Evidence is clear if the"
        " excess is at least {clear:.2f} of the possible excess over chance, and none if it is below {none:.2f}. The interval of"
        " the excess is that of a ratio of means over patients (delta method: Cochran 1977, with Student’s t), or Wilson’s (1927)"
        " if all or none are recognised. An interval that includes 0 is no evidence. If there is evidence, patients differ"
        " persistently. Test of whether conditions go together, as in subgroups or along one gradient such as severity: it uses"
        " the {traits} concepts that patients most often have in both halves, except those that belong to a disease. Each concept"
        " in one half is correlated with each concept in the other half, among the patients of each disease, and among other"
        " patients of the same sex and of similar age and number of concepts; patients with concepts of another of the diseases"
        " are left out. The statistic is the sum of squares of the amounts by which correlations are higher in the disease; it is"
        " compared with permutations of the disease among similar patients. A p of at most {most:.2f} counts as evidence that"
        " conditions go together; a p above {doubtful:.2f} excludes nothing. Lasting concepts that belong to a disease cannot be"
        " compared: they are correlated in the same way among its patients alone, matched on sex, age and number of other"
        " concepts, and compared with permutations of each concept by itself. If their p is at most {most:.2f}, the page says that"
        " the records do not tell whether there are subgroups, unless the comparison finds that conditions go together.",
        alike=microaggregation.BLOCK_SIZE,
        clear=WEAK_BELOW,
        none=NONE_BELOW,
        traits=trait_correlations.TRAITS,
        most=trait_correlations.MAX_P,
        doubtful=trait_correlations.LEAST_DOUBTFUL_P,
    )


def p_values(permutations: int) -> Statement:
    """Say which p values are shares of drawn permutations, with their number, and which are tails of a distribution."""
    return say(
        "p values called “permutation p” are shares of random permutations, with the observed value counted as one of them:"
        " {permutations:,} for the split-half test and for conditions that go together, {effects:,} for the bias audit,"
        " {concepts:,} for the concept check. All other p values are tails of a distribution: fitted to the exact moments of all"
        " permutations (mark test, gamma; agreement of the halves of a record, normal), of counts (change over time, published"
        " ranking, which diseases go together), or the normal distribution (which of two diseases comes first).",
        permutations=permutations,
        effects=RESAMPLES,
        concepts=DRAWS,
    )


def intervals() -> list[Statement]:
    """Say how lifts and effect sizes are computed."""
    return [
        say(
            "Lift: the share of the cluster’s patients with the concept, divided by the share of the others, with Katz’ interval"
            " (1978); if no patient here or elsewhere has it, half a patient is added to each count (Walter 1975). BH: Benjamini"
            " and Hochberg (1995), over all tests of a kind; their number is given with each."
        ),
        say(
            "Effect sizes: η² for numbers; Cramér’s V with bias correction (Bergsma 2013) for categories. Intervals come from"
            " {draws} resamples of patients, corrected for their bias (a resample contains some patients twice, which looks like"
            " more agreement than there is). “With the map” is the share of variance that the attribute and the position on the"
            " map have in common.",
            draws=RESAMPLES,
        ),
    ]


def neighbours() -> Statement:
    """Say how the concept check is made."""
    return say(
        "Concept check: in visits of held-out patients, each concept and its neighbour are compared with the same concept and"
        " other concepts recorded in about as many visits; p comes from drawing the neighbours again at random from these, the"
        " interval from resampled patients."
    )


def limits() -> Statement:
    """Say what no method can see."""
    return say(
        "What was never recorded cannot be found, and what is recorded more often looks more important. Clusters describe this"
        " cohort; they are not diagnoses."
    )


def error_rates() -> Statement:
    """Say where the reader finds how often sentences of the page are wrong."""
    return say(
        "How often this page makes a statement that is false was measured on synthetic cohorts, for each kind of statement:"
        " <code>docs/error_rates.md</code> of ehr_pipeline."
    )
