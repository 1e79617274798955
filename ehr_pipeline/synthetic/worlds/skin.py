"""Subgroups of five skin diseases. In each subgroup, some other diagnoses are more likely: the hazard of their onset is 2 to 6
times as high.

The subgroups follow what is known about these diseases, so that a clinician recognises them; ratios, shares and ages are
assumed. A group is most common among patients near its mean age. A patient without any of these diseases belongs to no group.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ehr_pipeline.synthetic.groups import TREATMENTS
from ehr_pipeline.synthetic.worlds.codebook import Codebook
from ehr_pipeline.synthetic.worlds.diagnoses import AGES, Diagnoses, population
from ehr_pipeline.synthetic.worlds.mechanism import BLOCK, YEAR, Block, GroupRow, Mechanism
from ehr_pipeline.synthetic.worlds.population import NOBODY, SKIN_DISEASES

NO_GROUP_WEIGHT = 0.5
"""Weight of patients with the disease but no group; the groups of a disease weigh about one each."""
SECOND_GROUP_SHARE = 0.15


@dataclass(frozen=True)
class Group:
    """One subgroup. `ages` are the mean and standard deviation of the age in years at the end of the record."""

    name: str
    disease: str
    hazard_ratios: dict[str, float]
    ages: tuple[float, float]
    weight: float = 1.0


GROUPS = (
    Group("atopic march", "atopic dermatitis", {"asthma": 4, "food allergy": 6, "allergic rhinitis": 4}, (18, 14), 1.3),
    Group(
        "atopic, anxious adult",
        "atopic dermatitis",
        {"anxiety": 4, "insomnia": 4, "migraine": 3, "depression": 2, "irritable bowel syndrome": 3},
        (38, 16),
        1.1,
    ),
    Group(
        "psoriatic arthritis",
        "psoriasis",
        {"psoriatic arthropathy": 6, "anterior uveitis": 6, "plantar fasciitis": 5, "gout": 3, "osteoarthritis": 2},
        (54, 16),
    ),
    Group(
        "metabolic psoriasis",
        "psoriasis",
        {"obesity": 4, "type 2 diabetes": 5, "steatosis of liver": 6, "hypertension": 3, "hyperlipidaemia": 3},
        (58, 15),
        1.2,
    ),
    Group(
        "psoriasis with low mood",
        "psoriasis",
        {"depression": 4, "alcohol dependence": 6, "gastro-oesophageal reflux": 3, "insomnia": 3, "smoker": 3},
        (46, 15),
        0.9,
    ),
    Group(
        "hidradenitis, smoker",
        "hidradenitis suppurativa",
        {"smoker": 5, "pilonidal disease": 6, "obesity": 4, "acne": 3, "type 2 diabetes": 3},
        (38, 13),
    ),
    Group(
        "hidradenitis, bowel disease",
        "hidradenitis suppurativa",
        {"crohn's disease": 6, "ulcerative colitis": 6, "iron deficiency anaemia": 5, "irritable bowel syndrome": 4},
        (42, 14),
        0.8,
    ),
    Group(
        "prurigo, kidney disease",
        "prurigo nodularis",
        {"itch of skin": 6, "anxiety": 4, "chronic kidney disease 3": 5, "depression": 3, "insomnia": 3},
        (66, 15),
        0.9,
    ),
    Group(
        "pemphigoid, neurological",
        "bullous pemphigoid",
        {"dementia": 5, "stroke": 5, "parkinson's disease": 6, "transient ischaemic attack": 4, "epilepsy": 4},
        (83, 8),
    ),
    Group(
        "pemphigoid, cardiac",
        "bullous pemphigoid",
        {"atrial fibrillation": 5, "heart failure": 5, "type 2 diabetes": 4, "coronary heart disease": 3},
        (80, 9),
        0.8,
    ),
)


def mean_ratios(diagnoses: Diagnoses) -> dict[str, float]:
    """Return the mean hazard ratio of each diagnosis in the whole population. A diagnosis' hazard is divided by it to keep its
    prevalence.

    Where a group's disease is itself a factor of the diagnosis, its patients are weighted by that factor's hazard ratio.
    """
    ratios: dict[str, float] = {}
    ages = np.arange(100, dtype=np.float64) + 0.5
    for disease in SKIN_DISEASES:
        row = diagnoses.rows[diagnoses.index(disease)]
        having = np.mean(
            [population(sex) * np.interp(ages, AGES, row.prevalence_by_age(sex)) for sex in (True, False)], 0
        )
        numbers, shares = group_shares(disease, ages)
        for number, share in zip(numbers, having @ shares / having.sum(), strict=True):
            for name, ratio in GROUPS[number].hazard_ratios.items():
                own = [f.hazard_ratio for f in diagnoses.factors_of(name) if f.factor == disease]
                factor = own[0] if own else 1.0
                among = row.overall * factor / (1 + row.overall * (factor - 1))
                ratios[name] = ratios.get(name, 1.0) + among * float(share) * (ratio - 1)
    return ratios


def group_shares(disease: str, age: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the indices of a disease's groups (groups,), and the share of each group among patients with the disease at each `age`
    (people, groups)."""
    numbers = np.array([number for number, group in enumerate(GROUPS) if group.disease == disease])
    groups = [GROUPS[number] for number in numbers]
    weights = np.stack([g.weight * np.exp(-(((age - g.ages[0]) / g.ages[1]) ** 2) / 2) for g in groups], axis=1)
    total = sum(group.weight for group in groups)
    shares = weights / np.maximum(weights.sum(axis=1, keepdims=True), 1e-9) * total / (total + NO_GROUP_WEIGHT)
    return numbers, shares


def patients_truth(meaning: str) -> dict[str, str]:
    """Return columns of patients.csv with their meanings; `meaning` describes the column `group`."""
    return {
        "patient_id": "patient",
        "disease": "skin disease by which the patient belongs to the cohort; empty outside it",
        "group": meaning,
        "second_group": "another one of the same patient; empty for none",
    }


class SkinGroups(Mechanism):
    """Groups of the patients with a skin disease, and the treatment of the disease."""

    name = "skin groups"

    def __init__(self, diagnoses: Diagnoses, book: Codebook, planted: bool) -> None:
        self.diagnoses, self.planted = diagnoses, planted
        first = {row.name: row.codes[0] for row in diagnoses.rows}
        self.groups = [
            GroupRow(group.name, group.disease, name, first[name], book.table.concept_of(first[name]), ratio)
            for group in (GROUPS if planted else ())
            for name, ratio in group.hazard_ratios.items()
        ]
        meaning = "planted subgroup; empty for none" if planted else "a label drawn at random, without any effect"
        self.truth = {"patients": patients_truth(meaning)}

    def onsets(self, block: Block) -> None:
        """Choose groups, and raise the hazards of their diagnoses."""
        rng = block.rng(self.name)
        disease = self._disease(block)
        group, second = np.full(BLOCK, NOBODY), np.full(BLOCK, NOBODY)
        age = (block.days("end") - block.days("birth")) / YEAR
        unit, other = rng.random(BLOCK), rng.integers(1, len(GROUPS), BLOCK)
        two = rng.random(BLOCK) < SECOND_GROUP_SHARE
        for number, name in enumerate(SKIN_DISEASES):
            here = np.flatnonzero(disease == number)
            group[here] = _choose(name, age[here], unit[here])
        if not self.planted:  # meaningless labels
            group = np.where(disease != NOBODY, (unit * len(GROUPS)).astype(np.int64), NOBODY)
        second = np.where((group != NOBODY) & two, (group + other) % len(GROUPS), NOBODY)
        for number, planted in enumerate(GROUPS if self.planted else ()):
            members = (group == number) | (second == number)
            for name, ratio in planted.hazard_ratios.items():
                block.hazard_ratio[name] = block.hazard_ratio.get(name, np.ones(BLOCK)) * np.where(members, ratio, 1.0)
        block.people |= {"disease": disease, "group": group, "second_group": second}
        block.people["treatment"] = _treatments(rng, disease)
        names = np.array([planted.name for planted in GROUPS] + [""])
        block.truth["patients"] = pl.DataFrame(
            {
                "person": np.arange(BLOCK),
                "disease": np.array([*SKIN_DISEASES.values(), ""])[disease],
                "group": names[group],
                "second_group": names[second],
            }
        )

    def _disease(self, block: Block) -> NDArray[np.int64]:
        """Return the skin disease of each patient (BLOCK,): the one chosen for, else the one recorded first; or NOBODY."""
        columns = [self.diagnoses.index(name) for name in SKIN_DISEASES]
        known = block.known[:, columns]
        first = np.where(np.isfinite(known).any(axis=1), known.argmin(axis=1), NOBODY)
        chosen = block.days("disease")
        return np.where(chosen != NOBODY, chosen, first)


def _choose(disease: str, age: NDArray[np.float64], unit: NDArray[np.float64]) -> NDArray[np.int64]:
    numbers, shares = group_shares(disease, age)
    place = (unit[:, None] >= np.cumsum(shares, axis=1)).sum(axis=1)
    return np.where(place < len(numbers), numbers[np.minimum(place, len(numbers) - 1)], NOBODY)


def _treatments(rng: np.random.Generator, disease: NDArray[np.int64]) -> NDArray[np.str_]:
    """Draw treatments, which depend on the disease alone, never on the group (people,)."""
    unit, drawn = rng.random(len(disease)), np.full(len(disease), "", dtype="U8")
    for number, name in enumerate((*SKIN_DISEASES.values(), "")):
        here = disease == (number if name else NOBODY)
        shares = np.cumsum(list(TREATMENTS[name].values()))
        kinds = np.array(list(TREATMENTS[name]))
        drawn[here] = kinds[np.minimum(np.searchsorted(shares, unit[here] * shares[-1]), len(kinds) - 1)]
    return drawn
