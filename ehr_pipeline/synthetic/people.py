"""Made-up patients: birth, sex, region, ethnicity, practice, treatment, and subgroup."""

import numpy as np
import polars as pl

from ehr_pipeline.synthetic.groups import GROUPS, SECOND_GROUP_SHARE, TREATMENTS

# Shares of the population of England, Census 2021 (Open Government Licence v3.0), rounded.
REGIONS = {
    "North East": 0.05, "North West": 0.13, "Yorkshire and The Humber": 0.10, "East Midlands": 0.09, "West Midlands": 0.10,
    "East of England": 0.11, "London": 0.16, "South East": 0.16, "South West": 0.10,
}  # fmt: skip
ETHNICITIES = {"White": 0.81, "Asian": 0.09, "Black": 0.04, "Mixed": 0.03, "Other": 0.02, "Not stated": 0.01}
# Names with Latin-1 characters, as in files from practices.
PRACTICES = tuple(
    f"{place} Surgery {number}"
    for number in (1, 2, 3)
    for place in ("Ashby", "Béthune House", "Caer Môn", "Dunholme", "Évora Road", "Fairlea", "Grünwald", "Hollins")
)
END_YEAR = 2019
NO_GROUP = -1


def draw(rng: np.random.Generator, first: int, count: int, cohort_share: float) -> pl.DataFrame:
    """Draw the patients with numbers `first` to `first + count - 1`.

    Columns: patient_id, year_of_birth, sex, region, ethnicity, practice, treatment; disease ('' outside the cohort), group
    and second_group (indices into GROUPS, -1 for none).
    """
    weights = np.array([group.weight for group in GROUPS])
    in_cohort = rng.random(count) < cohort_share
    group = np.where(in_cohort, rng.choice(len(GROUPS), count, p=weights / weights.sum()), NO_GROUP)
    shift = rng.integers(1, len(GROUPS), count)
    second = np.where(in_cohort & (rng.random(count) < SECOND_GROUP_SHARE), (group + shift) % len(GROUPS), NO_GROUP)
    means = np.array([g.age[0] for g in GROUPS] + [45.0])
    spreads = np.array([g.age[1] for g in GROUPS] + [22.0])
    female = np.array([g.female for g in GROUPS] + [0.52])
    age = np.clip(rng.normal(means[group], spreads[group]), 1, 98).astype(int)
    diseases = np.array([g.disease for g in GROUPS] + [""])[group]
    return pl.DataFrame(
        {
            "patient_id": patient_ids(np.arange(first, first + count)),
            "year_of_birth": END_YEAR - age,
            "sex": np.where(rng.random(count) < female[group], "F", "M"),
            "region": _choice(rng, REGIONS, count),
            "ethnicity": _choice(rng, ETHNICITIES, count),
            "practice": rng.choice(PRACTICES, count),
            "treatment": _treatments(rng, diseases),
            "disease": diseases,
            "group": group,
            "second_group": second,
        }
    )


def patient_ids(numbers: np.ndarray[tuple[int], np.dtype[np.int64]]) -> list[str]:
    """Return made-up nine-digit ids, all different and in no visible order: multiplication modulo a prime mixes the numbers."""
    return [str(100_000_000 + (int(number) + 1) * 5_754_853 % 899_999_963) for number in numbers]


def _choice(rng: np.random.Generator, shares: dict[str, float], count: int) -> list[str]:
    return list(rng.choice(list(shares), count, p=np.array(list(shares.values())) / sum(shares.values())))


def _treatments(rng: np.random.Generator, diseases: np.ndarray[tuple[int], np.dtype[np.str_]]) -> list[str]:
    drawn = np.empty(len(diseases), dtype="U8")
    for disease, shares in TREATMENTS.items():
        here = diseases == disease
        drawn[here] = _choice(rng, shares, int(here.sum()))
    return list(drawn)
