"""The planted groups: ten subgroups of five skin diseases, each with its typical companions, ages and sex ratio; some overlap.

The subgroups follow what is known about these diseases, so that a clinician recognises them. The rates are chosen so that no
single visit reveals a patient's group. The worlds (`synthetic.worlds`) also plant groups that counts hardly distinguish.
"""

from dataclasses import dataclass

# Share of visits in which a given companion is recorded: for patients of its group, and for everybody else.
COMPANION_RATE, ELSEWHERE_RATE = 0.30, 0.05
# Share of a cohort patient's visits in which the disease itself is recorded; each has at least one such visit.
DISEASE_RATE = 0.12
# Share of the cohort that also has the companions of a second group.
SECOND_GROUP_SHARE = 0.15

DISEASES = {
    "atopic_dermatitis": "24079001",
    "psoriasis": "9014002",
    "hidradenitis_suppurativa": "59393003",
    "bullous_pemphigoid": "77090002",
    "prurigo_nodularis": "63501000",
}

# Shares of treatments within each disease. A treatment depends on the disease alone, never on the planted group.
TREATMENTS = {
    "atopic_dermatitis": {"topical": 0.75, "systemic": 0.10, "biologic": 0.05, "none": 0.10},
    "psoriasis": {"topical": 0.55, "systemic": 0.20, "biologic": 0.15, "none": 0.10},
    "hidradenitis_suppurativa": {"topical": 0.30, "systemic": 0.40, "biologic": 0.15, "none": 0.15},
    "bullous_pemphigoid": {"topical": 0.35, "systemic": 0.60, "biologic": 0.00, "none": 0.05},
    "prurigo_nodularis": {"topical": 0.70, "systemic": 0.15, "biologic": 0.05, "none": 0.10},
    "": {"topical": 0.10, "systemic": 0.02, "biologic": 0.00, "none": 0.88},
}


@dataclass(frozen=True)
class PlantedGroup:
    """One subgroup. `companions` are SNOMED codes; `age` is the mean and standard deviation in years at the end of follow-up."""

    name: str
    disease: str
    companions: tuple[str, ...]
    age: tuple[float, float]
    female: float
    weight: float


GROUPS = (
    # asthma, food allergy, allergic rhinitis
    PlantedGroup("atopic march", "atopic_dermatitis", ("195967001", "414285001", "61582004"), (15, 7), 0.48, 1.3),
    # anxiety, insomnia, migraine
    PlantedGroup(
        "atopic, anxious adult", "atopic_dermatitis", ("48694002", "193462001", "37796009"), (36, 10), 0.66, 1.1
    ),
    # psoriasis with arthropathy, anterior uveitis, plantar fasciitis
    PlantedGroup("psoriatic arthritis", "psoriasis", ("33339001", "410692006", "202882003"), (50, 11), 0.50, 1.0),
    # obesity, type 2 diabetes, steatosis of liver
    PlantedGroup("metabolic psoriasis", "psoriasis", ("414916001", "44054006", "197321007"), (58, 10), 0.40, 1.2),
    # depressive disorder, alcohol dependence, gastro-oesophageal reflux
    PlantedGroup("psoriasis with low mood", "psoriasis", ("35489007", "66590003", "235595009"), (45, 10), 0.35, 0.9),
    # smoker, pilonidal cyst, obesity (as in metabolic psoriasis)
    PlantedGroup(
        "hidradenitis, smoker", "hidradenitis_suppurativa", ("77176002", "47639008", "414916001"), (34, 8), 0.72, 1.0
    ),
    # Crohn's disease, ulcerative colitis, iron deficiency anaemia
    PlantedGroup(
        "hidradenitis, bowel disease",
        "hidradenitis_suppurativa",
        ("34000006", "64766004", "87522002"),
        (39, 9),
        0.45,
        0.8,
    ),
    # itching of skin, anxiety (as in the atopic, anxious adult), chronic kidney disease stage 3
    PlantedGroup(
        "prurigo, kidney disease", "prurigo_nodularis", ("418363000", "48694002", "433144002"), (66, 9), 0.56, 0.9
    ),
    # dementia, stroke, Parkinson's disease
    PlantedGroup(
        "pemphigoid, neurological", "bullous_pemphigoid", ("52448006", "230690007", "49049000"), (81, 5), 0.60, 1.0
    ),
    # atrial fibrillation, heart failure, type 2 diabetes (as in metabolic psoriasis)
    PlantedGroup("pemphigoid, cardiac", "bullous_pemphigoid", ("49436004", "84114007", "44054006"), (78, 6), 0.42, 0.8),
)
COMPANIONS = tuple(dict.fromkeys(code for group in GROUPS for code in group.companions))
