"""What the network, the concept profile and the counts contribute to the patient vectors, row by row."""

import math
from typing import Any

from ehr_pipeline.clusters.contributions import Contributions, Estimate, Row
from ehr_pipeline.clusters.evidence import ALIKE
from ehr_pipeline.clusters.planted import COUNTS, THIS_RUN
from ehr_pipeline.embeddings.variants import NETWORK, NO_NETWORK, PROFILE, SAMPLED
from ehr_pipeline.reports.findings import Findings
from ehr_pipeline.tables.asset_names import CLUSTERS, PATIENT_EMBEDDINGS

NAMES = {
    THIS_RUN: "Patient vectors of this run",
    NETWORK: "Network alone",
    PROFILE: "Concept profile alone",
    NO_NETWORK: "No network at all: a profile without its concept vectors",
    COUNTS: "Concept counts and truncated SVD (the baseline)",
}


def content(findings: Findings) -> dict[str, Any] | None:
    """Return the table and the sentences about it; None if nothing was compared."""
    found = Contributions.read(findings.inputs.artifacts[CLUSTERS].path)
    if found is None:
        return None
    settings = findings.inputs.artifacts[PATIENT_EMBEDDINGS].manifest["settings"]
    step = step_of(found.patients, findings.disclosure.below)
    chosen_by_network = settings["pooling"]["select"] == "list" and settings["pooling"]["neighbours"] > 0
    return {
        "decides": decides(settings["vectors"]),
        "compared": compared(found, findings.counted.person(found.patients), step),
        "adds": adds(found, step),
        "chosen": CHOSEN_BY_NETWORK if chosen_by_network else "",
        "rows": [row_of(row, step) for row in found.rows],
    }


CHOSEN_BY_NETWORK = (
    "All rows use the same concepts. Some of these were added to the list because the network holds them for neighbours of a listed"
    " concept, so that in this choice the network has a part in every row."
)


def decides(vectors: dict[str, Any]) -> str:
    """Return what decides how far two patients lie apart, the larger part first."""
    if not vectors["profile"]:
        return "The network alone decides how far two patients lie apart."
    share = vectors["encoder_share"]
    parts = [(1 - share, "the concept profile (the share that each concept has in the record)"), (share, "the network")]
    (most, first), (least, second) = sorted(parts, key=lambda part: -part[0])
    told = f"Of the squared distance between two patients, {first} decides {100 * most:.0f} %, {second} {100 * least:.0f} %."
    if vectors["kinship"]:
        told += (
            f" In the profile, each concept passes {100 * vectors['kinship']:.0f} % of its share to the concepts that the network"
            " holds for its nearest; the row without any network leaves this out as well."
        )
    return told


def compared(found: Contributions, patients: str, step: int) -> str:
    """Return who was compared, and how."""
    return (
        f"{patients} patients with a vector for both halves of their visits (at most {SAMPLED:,}, drawn at random). “Other half"
        " found”: for how many of them the vector of one half of their visits lies nearest to that of their own other half, among"
        f" up to {ALIKE} patients alike in disease, sex, age and amount of record; by chance {percent(found.chance, step)} %. Among"
        f" these, age still has a standard deviation of {found.age_sd:.1f} years, which vectors that hold the age make use of."
    )


def adds(found: Contributions, step: int) -> str:
    """Return what the network adds to the retrieval, with its interval."""
    bare = next((row for row in found.rows if row.name == NO_NETWORK), None)
    if bare is None:
        return ""
    own, gain = found.rows[0], bare.gain
    figures = (
        f"With no network at all the other half is found for {percent(bare.retrieved.value, step)} % of them, with the vectors of"
        f" this run for {percent(own.retrieved.value, step)} %: a difference of {100 * gain.value:+.1f} percentage points (95 %"
        f" interval {100 * gain.low:+.1f} to {100 * gain.high:+.1f})"
    )
    if gain.low > 0:
        return f"{figures}. The network adds something to what the vectors hold of a patient."
    if gain.high < 0:
        return f"{figures}. The vectors would hold more of a patient without the network."
    return f"{figures}, which may be chance: no contribution of the network is shown."


def row_of(row: Row, step: int) -> dict[str, Any]:
    """Return a row of the table as text."""
    retrieved = row.retrieved
    low, high = percent(max(retrieved.low, 0), step), percent(min(retrieved.high, 1), step)
    return {
        "name": NAMES[row.name],
        "dimensions": row.dimensions,
        "retrieved": f"{percent(retrieved.value, step)} % ({low}–{high})",
        "alignment": f"{row.alignment:.2f}",
        "uniformity": f"{row.uniformity:.2f}",
        "age": f"{row.collapse['age']:+.2f}",
        "amount": f"{row.collapse['concepts']:+.2f}",
    }


def starts(estimate: Estimate | None) -> str:
    """Return a figure over starts of k-means: the mean, and the lowest and the highest."""
    return "–" if estimate is None else f"{estimate.value:.3f} ({estimate.low:.3f}–{estimate.high:.3f})"


def step_of(patients: int, below: int) -> int:
    """Return the step, in percent, to which shares of patients are rounded: at least the threshold of patients."""
    return max(math.ceil(100 * below / patients), 1) if below > 1 else 1


def percent(share: float, step: int) -> int:
    """Return a share in percent, rounded to a multiple of `step`."""
    return round(100 * share / step) * step
