"""What each part of the method contributes to the patients' vectors."""

import math
from typing import Any

from ehr_pipeline.clusters.contributions import Contributions, Row
from ehr_pipeline.clusters.planted import COUNTS, THIS_RUN
from ehr_pipeline.embeddings.ablations import NETWORK, NO_NETWORK, PROFILE, SAMPLED
from ehr_pipeline.embeddings.encoder_share import FEWEST, ChosenShare
from ehr_pipeline.embeddings.patient_blocks import HALVED, Estimate
from ehr_pipeline.reports.statements.statement import Statement, say
from ehr_pipeline.reports.statements.statement import percent as percent_of

NAMES = {
    THIS_RUN: "Patient vectors of this run",
    NETWORK: "Encoder alone",
    PROFILE: "Concept profile alone, with similarities from the encoder",
    NO_NETWORK: "Concept profile alone, without any encoder",
    COUNTS: "Concept counts and truncated SVD (the baseline)",
}


def rows() -> Statement:
    """Explain the rows of the table."""
    return say("Each row makes the vectors of the same patients in a different way.")


def compared(found: Contributions, patients: str, step: int) -> Statement:
    """Say which patients were compared, and how."""
    return say(
        "Compared: {patients} patients with a vector for both halves of their visits (at most {most}, drawn at random). Other"
        " half found: the share of patients for whom the vector of one half is nearest to the vector of the other half of the"
        " same patient, among up to {alike} similar patients (same disease and sex, similar age and amount of record); by chance"
        " {chance}. This is not the share of patients whose cluster is recognised. Among these patients, age still has a standard"
        " deviation of {years} years, which helps vectors that contain the age.",
        patients=patients,
        most=f"{SAMPLED:,}",
        alike=HALVED,
        chance=f"{percent(found.chance, step)} %",
        years=f"{found.age_sd:.1f}",
    )


def adds(found: Contributions, step: int, *, by_network: bool) -> Statement | None:
    """Say how much the encoder adds to finding the other half of a record, with an interval; `by_network`: whether it has a part in
    the vectors of this run. None if the row to compare with is missing."""
    bare = next((row for row in found.rows if row.name == NO_NETWORK), None)
    if bare is None:
        return None
    own, gain = found.rows[0], bare.gain
    if not by_network:
        return say(
            "The encoder accounts for 0 %: the vectors of this run contain no encoder at all, so there is no difference to test."
        )
    return say(
        "Without any encoder, the other half is found for {bare} of these patients; with the vectors of this run, for {own}: a"
        " difference of {gain} percentage points (95 % interval {low} to {high}). An interval that includes 0 shows no"
        " contribution of the encoder.",
        bare=f"{percent(bare.retrieved.value, step)} %",
        own=f"{percent(own.retrieved.value, step)} %",
        gain=f"{100 * gain.value:+.1f}",
        low=f"{100 * gain.low:+.1f}",
        high=f"{100 * gain.high:+.1f}",
    )


def share(chosen: ChosenShare | None) -> Statement | None:
    """Say which share of the vectors was chosen for the encoder, and how much it adds; None if the share was set by hand."""
    if chosen is None:
        return None
    adds = chosen.adds
    if adds is None:
        return say(
            "The vectors contain no part from the encoder: fewer than {fewest} patients have both halves of their visits, too few"
            " to test whether it adds anything.",
            fewest=FEWEST,
        )
    return say(
        "The share of the encoder in the vectors was chosen from the data: {share}{reason}. With {tried}, the encoder adds {gain}"
        " percentage points (95 % interval {low} to {high}) to how often the two halves of a patient’s visits fall into the same"
        " group, beyond what similar patients have in common.",
        share=percent_of(chosen.share),
        reason="" if chosen.share else ", because no share was reliably better than none",
        tried=percent_of(adds.share),
        gain=f"{100 * adds.gain.value:+.1f}",
        low=f"{100 * adds.gain.low:+.1f}",
        high=f"{100 * adds.gain.high:+.1f}",
    )


def chosen_by_network(chosen: bool) -> Statement | None:
    """Say that the encoder contributes to every row, if it chose some of the concepts."""
    if not chosen:
        return None
    return say(
        "All rows use the same concepts. Some of them were chosen by the encoder, as neighbours of the concepts on the list; in"
        " this choice, it has a part in every row."
    )


def measures(found: Contributions) -> Statement:
    """Say what the other columns measure."""
    return say(
        "Distance of the halves: mean squared distance between the vectors of a patient’s two halves (0: equal; 2: unrelated)."
        " Uniformity: the lower, the more evenly the vectors cover the sphere (Wang and Isola 2020). Collapse: rank correlation"
        " of the distance to the centre with age and with the amount of record; 0 is best. Ranks do not show how small the"
        " differences are: with the vectors of this run, this distance varies by {spread} of its mean.",
        spread=percent_of(found.rows[0].collapse["spread"], 1),
    )


def row(row: Row, step: int) -> dict[str, Any]:
    """Return a row of the table as text."""
    found = row.retrieved
    low, high = percent(max(found.low, 0), step), percent(min(found.high, 1), step)
    return {
        "name": NAMES[row.name],
        "dimensions": row.dimensions,
        "retrieved": f"{percent(found.value, step)} % ({low}–{high})",
        "alignment": f"{row.alignment:.2f}",
        "uniformity": f"{row.uniformity:.2f}",
        "age": f"{row.collapse['age']:+.2f}",
        "amount": f"{row.collapse['concepts']:+.2f}",
    }


def clusters_of_this_run(planted: dict[str, Any], patients: str) -> Statement:
    """Say how far the clusters of the page agree with the planted groups; `patients`: how many have a group, as it may be shown."""
    own, counts = planted["vectors"][THIS_RUN], planted["vectors"][COUNTS]
    return say(
        "This extract is synthetic: {groups} groups were planted, each with companion concepts. The {n} clusters of this page"
        " have a homogeneity of {own} (1: each cluster contains patients of one group only; 0: clusters say nothing about the"
        " group). With {groups} clusters by the same method, the adjusted Rand index is {index}. With concept counts instead of"
        " the patient vectors, these values are {counts} and {counts_index}. The disease alone, which the cohort defines, has an"
        " index of {disease}. Among patients of one disease, the mean index is {within}; with concept counts, {counts_within}."
        " Each figure comes from one division of {patients} patients, without an interval.",
        patients=patients,
        n=planted["n"],
        groups=planted["groups"],
        own=f"{own['homogeneity']:.3f}",
        index=f"{own['adjusted_rand_index']:.3f}",
        counts=f"{counts['homogeneity']:.3f}",
        counts_index=f"{counts['adjusted_rand_index']:.3f}",
        disease=f"{planted['disease']:.3f}",
        within=f"{own['within_diseases']:.3f}",
        counts_within=f"{counts['within_diseases']:.3f}",
    )


def by_starts(compared: Contributions) -> Statement:
    """Say how the rows on the planted groups were made."""
    return say(
        "These clusters are made by k-means, whatever method made the clusters of the page, so these figures differ from those"
        " above. Patients: those compared under “What makes the patient vectors”. Each figure is the mean over {starts} random"
        " starts, with the lowest and the highest in brackets. Rows with overlapping ranges cannot be distinguished.",
        starts=compared.starts,
    )


def starts(estimate: Estimate | None) -> str:
    """Return a figure over several starts of k-means, as mean, lowest and highest value."""
    return "–" if estimate is None else f"{estimate.value:.3f} ({estimate.low:.3f}–{estimate.high:.3f})"


def step_of(patients: int, below: int) -> int:
    """Return the step, in percent, to which shares are rounded: so many percent of the patients are at least the threshold
    (`below`)."""
    return max(math.ceil(100 * below / patients), 1) if below > 1 else 1


def percent(share: float, step: int) -> int:
    """Return a share in percent, rounded to a multiple of `step`."""
    return round(100 * share / step) * step
