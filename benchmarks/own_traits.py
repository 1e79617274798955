"""Does the page deny subgroups by conditions that only patients of the disease have? On drawn records of known truth.

Half of the patients have the disease, and nine conditions that 2 % of the others have. The conditions are independent of each other
(*independent*), or begin during a follow-up of 4 to 14 years (*follow-up*), which one gradient makes faster or slower (*severity*;
the number is the standard deviation of the logarithm of the hazard), or patients form three groups, each of which gets three of the
conditions at a hazard of 0.35 instead of 0.05 (*groups*). Everybody has eight other conditions, more often at a higher age, and
twenty complaints.

Usage: python benchmarks/own_traits.py [--draws 12]; some minutes
"""

import argparse

import numpy as np
import results
from rates import interval
from scipy.sparse import csr_array

from ehr_pipeline.clusters import trait_correlations as page
from ehr_pipeline.clusters.microaggregation import nearest_blocks

OTHERS, OWN, COMMON, COMPLAINTS, PERMUTATIONS = 1700, 9, 8, 20, 100
KINDS = {
    "independent": (1800, "independent", 0.0),
    "follow-up": (1800, "follow-up", 0.0),
    "severity 0.5": (1800, "follow-up", 0.5),
    "severity 1": (1800, "follow-up", 1.0),
    "severity 2": (1800, "follow-up", 2.0),
    **{f"groups, {size:,}": (size, "groups", 0.0) for size in (1800, 900, 450, 225)},
    "groups, 900, severity 0.5": (900, "groups", 0.5),
    "groups, 900, severity 1": (900, "groups", 1.0),
}
"""Patients with the disease, what makes their conditions, and severity."""


def drawn(seed: int, patients: int, kind: str, severity: float) -> page.Records:
    """Draw the half records of patients with the disease and of others."""
    rng, everybody = np.random.default_rng(seed), patients + OTHERS
    mine = np.arange(everybody) < patients
    age, years = rng.uniform(30, 85, everybody), rng.uniform(4, 14, everybody)
    group, gradient = rng.integers(0, 3, everybody), np.exp(severity * rng.normal(size=everybody))
    own = group[:, None] == np.arange(OWN) // 3
    hazard = np.where(own, 0.35, 0.05) if kind == "groups" else np.full((everybody, OWN), 0.12)
    share = 1 - np.exp(-hazard * (years * gradient)[:, None] / 2)
    if kind == "independent":
        share[:] = 0.4
    share[~mine] = 0.02
    usual = np.repeat((0.05 + 0.3 * (age - 30) / 55)[:, None], COMMON, axis=1)
    has = rng.random((everybody, OWN + COMMON)) < np.column_stack([share, usual])
    visits = np.column_stack([np.where(has, 1.5, 0.0), np.full((everybody, COMPLAINTS), 0.4)])
    one, other = (csr_array(rng.poisson(visits).astype(float)) for _ in range(2))
    amount = np.log1p(((one + other) > 0).sum(axis=1))
    blocks = nearest_blocks([np.zeros(everybody)], [age, amount], 20)
    diseases = np.where(mine, "disease", "").astype(object)
    return page.Records((one, other), diseases, blocks, np.full(everybody, "F", object), age, None)


def main() -> None:
    """Measure, and write the section."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=12, help="draws of each kind")
    options = parser.parse_args()
    rows = []
    for name, (patients, kind, severity) in KINDS.items():
        found = [
            page.correlation_test(drawn(seed, patients, kind, severity), permutations=PERMUTATIONS, seed=seed)
            for seed in range(options.draws)
        ]
        own = [one.own for one in found if one.own is not None]
        cells = (
            sum(one.p is not None and one.p <= page.MAX_P for one in found),
            sum(one.p is not None and one.p > page.MAX_P for one in found),
            sum(one.is_significant is False for one in found),
            sum(one.p <= page.MAX_P for one in own),
            sum(one.p <= page.MAX_P and one.p_exclude <= page.MAX_P for one in own),
        )
        rows.append((name, f"{patients:,}", *(interval(made, options.draws) for made in cells)))
        print(rows[-1], flush=True)
    header = (
        "Conditions of the disease alone", "Patients with the disease", "They go together more than in others",
        "“No evidence of subgroups”, before", "now", "Among the patients of the disease: they depend on each other",
        "some exclude each other",
    )  # fmt: skip
    text = (
        f"Draws of which the page says so, of {options.draws}, with 95 % intervals (Clopper and Pearson); {OTHERS:,} patients do"
        " not have the disease, and 2 % of these have each of its nine conditions. *severity*: standard deviation of the logarithm"
        " of the hazard. Before clusters 12, these conditions were left out of the only comparison, so it could not see the groups."
        " If the last but one column counted as evidence of subgroups, severity and mere follow-up would be called subgroups."
        f"\n\n{results.table(header, rows)}"
    )
    results.write("own_traits.py", "Subgroups by conditions of the disease alone", text)


if __name__ == "__main__":
    main()
