"""Groups that counts of concepts hardly distinguish: they differ by the order of companions, by age, or by synonymous codes.

- order: two companions, one in the earlier half of the record and the other in the later half, or the reverse;
- age: the same companions throughout, in patients of different ages;
- synonyms: one condition, which each practice records with its preferred code of eight. Outside the cohort, the same signs are
  recorded with all eight, so that a model can learn that they mean the same; the cohort's records hold no such signs.

A group's name begins with its kind and a colon. Nobody belongs to two groups.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ehr_pipeline.synthetic.groups import COMPANION_RATE, ELSEWHERE_RATE, PlantedGroup

SIGN_RATE = 0.6
"""Outside the cohort: chance of each sign of a family in a visit where one of its synonyms is recorded."""


@dataclass(frozen=True)
class Family:
    """Synonymous codes, and the signs recorded in the same visits outside the cohort."""

    codes: tuple[str, ...]
    signs: tuple[str, ...]


FAMILIES = {
    # depressed mood; moderate, recurrent, reactive, mild, chronic depression; feeling depressed; symptoms of depression
    "low mood": Family(
        (
            "366979004", "310496002", "191616006", "87414006", "310495003", "192080009", "272022009", "394924000",
        ),
        ("84229001", "271951008"),  # fatigue, crying associated with mood
    ),
    # low back pain, backache, complaining of it, lumbago, chronic, mechanical, acute with sciatica, acute
    "back pain": Family(
        (
            "279039007", "161891005", "161894002", "202794004", "278860009", "279040009", "247366003", "278862001",
        ),
        ("23056005", "45352006"),  # sciatica, spasm
    ),
    # otitis media: chronic mucoid, non-suppurative, suppurative, right, left, acute, purulent
    "otitis": Family(
        (
            "65363002", "78868004", "359609001", "194281003", "194289001", "194288009", "3110003", "39288006",
        ),
        ("16001004", "15188001"),  # otalgia, hearing loss
    ),
}  # fmt: skip

_ARTHRITIS, _LOW_MOOD, _OBESITY, _REFLUX = ("33339001",), ("35489007",), ("414916001",), ("235595009",)
_ATOPY = ("195967001", "414285001", "61582004")  # asthma, food allergy, allergic rhinitis


def _ordered(name: str, first: tuple[str, ...], second: tuple[str, ...]) -> PlantedGroup:
    return PlantedGroup(f"order: {name}", "psoriasis", first + second, (52, 10), 0.5, 1.0)


GROUPS = (
    _ordered("arthritis, then low mood", _ARTHRITIS, _LOW_MOOD),
    _ordered("low mood, then arthritis", _LOW_MOOD, _ARTHRITIS),
    _ordered("obesity, then reflux", _OBESITY, _REFLUX),
    _ordered("reflux, then obesity", _REFLUX, _OBESITY),
    PlantedGroup("age: atopy in childhood", "atopic_dermatitis", _ATOPY, (12, 4), 0.5, 1.0),
    PlantedGroup("age: atopy in adults", "atopic_dermatitis", _ATOPY, (40, 6), 0.5, 1.0),
    PlantedGroup("age: atopy in old age", "atopic_dermatitis", _ATOPY, (70, 6), 0.5, 1.0),
    *(
        PlantedGroup(f"synonyms: {name}", "hidradenitis_suppurativa", family.codes, (38, 9), 0.5, 1.0)
        for name, family in FAMILIES.items()
    ),
)
KINDS = ("order", "age", "synonyms")


def draw(
    rng: np.random.Generator, people: pl.DataFrame, person: NDArray[np.int64], day: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.object_]]:
    """Draw companions in the visits of `person` (v,) on `day` (v,). Returns for each event the index of its visit, and its code."""
    group = people["group"].to_numpy()[person]
    late = _late(person, day, people.height)
    practice = people["practice"].rank("dense").to_numpy().astype(np.int64)[person]
    visits, codes = [], []
    for code in dict.fromkeys((*_ARTHRITIS, *_LOW_MOOD, *_OBESITY, *_REFLUX, *_ATOPY)):
        rate = np.full(len(person), ELSEWHERE_RATE)
        for number, planted in enumerate(GROUPS):
            if code in planted.companions:
                own = group == number
                if planted.name.startswith("order"):
                    own &= late == (planted.companions.index(code) == 1)
                rate[own] = COMPANION_RATE
        hit = np.flatnonzero(rng.random(len(person)) < rate)
        visits.append(hit)
        codes.append(np.full(len(hit), code, object))
    for name, family in FAMILIES.items():
        number = [planted.name for planted in GROUPS].index(f"synonyms: {name}")
        hit = np.flatnonzero(rng.random(len(person)) < np.where(group == number, COMPANION_RATE, ELSEWHERE_RATE))
        visits.append(hit)
        codes.append(np.array(family.codes, object)[practice[hit] % len(family.codes)])
        for sign in family.signs:
            beside = hit[(group[hit] < 0) & (rng.random(len(hit)) < SIGN_RATE)]
            visits.append(beside)
            codes.append(np.full(len(beside), sign, object))
    return np.concatenate(visits), np.concatenate(codes)


def _late(person: NDArray[np.int64], day: NDArray[np.int64], people: int) -> NDArray[np.bool_]:
    """Whether each visit (v,) lies in the later half of the time between the patient's first and last visit."""
    first, last = np.full(people, np.iinfo(np.int64).max), np.full(people, np.iinfo(np.int64).min)
    np.minimum.at(first, person, day)
    np.maximum.at(last, person, day)
    later: NDArray[np.bool_] = 2 * day > first[person] + last[person]
    return later
