"""Plans: named sets of mechanisms. Several plans can be combined; `make` then orders their mechanisms, each once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from ehr_pipeline.errors import UserError
from ehr_pipeline.synthetic.codes import CodeTable
from ehr_pipeline.synthetic.worlds.care import Care
from ehr_pipeline.synthetic.worlds.change import Ageing, Change
from ehr_pipeline.synthetic.worlds.codebook import Codebook
from ehr_pipeline.synthetic.worlds.consultations import Consultations
from ehr_pipeline.synthetic.worlds.diagnoses import Diagnoses
from ehr_pipeline.synthetic.worlds.groups_by_mechanism import KINDS, SubtleGroups
from ehr_pipeline.synthetic.worlds.laboratory import Laboratory
from ehr_pipeline.synthetic.worlds.mechanism import Mechanism
from ehr_pipeline.synthetic.worlds.nuisance import Access, Calendar, Practices, Referral, Traits
from ehr_pipeline.synthetic.worlds.onsets import Onsets
from ehr_pipeline.synthetic.worlds.outcomes import Outcomes
from ehr_pipeline.synthetic.worlds.population import Population
from ehr_pipeline.synthetic.worlds.relations import Relations, Sites
from ehr_pipeline.synthetic.worlds.skin import SkinGroups, mean_ratios


@dataclass(frozen=True)
class World:
    """What all mechanisms of an extract share: seed, share of patients chosen for a skin disease, diagnoses and codes."""

    seed: int
    cohort_share: float
    diagnoses: Diagnoses
    book: Codebook

    @classmethod
    def of(cls, seed: int, cohort_share: float) -> "World":
        """Return a world with the shipped tables."""
        return cls(seed, cohort_share, Diagnoses.read(), Codebook(CodeTable.read()))


@dataclass(frozen=True)
class Plan:
    """What a plan adds to patients, their diagnoses and their care.

    `groups` names what sorts the patients with a skin disease into groups ('' for nothing); `kinds` are the mechanisms of subtle
    groups.
    """

    about: str
    groups: str = ""
    adds: tuple[Callable[[World], Mechanism], ...] = ()
    kinds: tuple[str, ...] = ()


def _practices(world: World, spread: float) -> Mechanism:
    return Practices(world.diagnoses, world.book, world.seed, spread)


def _relations(world: World) -> Mechanism:
    return Relations(world.book, _of_others(world, {_relations, _sites}))


def _sites(world: World) -> Mechanism:
    return Sites(world.book, _of_others(world, {_sites}))


def _of_others(world: World, but: set[Callable[[World], Mechanism]]) -> NDArray[np.int64]:
    """Return the rows of codes that mechanisms other than `but` record in any plan: codes drawn from the rest fit every plan."""
    diagnoses, book = world.diagnoses, world.book
    usual = [Care(diagnoses, book), Laboratory(diagnoses, book), SubtleGroups(book, world.seed, tuple(KINDS))]
    builds = dict.fromkeys(build for plan in PLANS.values() for build in plan.adds)
    added = [build(world) for build in builds if build not in but]
    return np.concatenate([mechanism.codes for mechanism in (*usual, *added)])


PLANS: dict[str, Plan] = {
    "base": Plan(
        "diagnoses with onsets as in English primary care; ten subgroups of five skin diseases", groups="skin"
    ),
    "null": Plan("the base world without subgroups"),
    "outcomes": Plan(
        "eight outcomes whose risk on each day is known",
        adds=(lambda world: Outcomes(Population(world.diagnoses, world.cohort_share, world.seed), world.book),),
    ),
    "traits": Plan(
        "27 findings that patients have again and again, independent of each other",
        adds=(lambda world: Traits(world.book),),
    ),
    "practices": Plan(
        "practices differ in completeness (log-sd 0.5), templates and synonyms", adds=(partial(_practices, spread=0.5),)
    ),
    "practices-strong": Plan("the same with completeness of log-sd 1.0", adds=(partial(_practices, spread=1.0),)),
    "calendar": Plan("codes stop in 2004 and 2018, their successors begin", adds=(lambda world: Calendar(world.book),)),
    "access": Plan("the amount of record differs much more, by access to care", adds=(lambda _: Access(),)),
    "referral": Plan(
        "two centres to which mostly the practices near them refer",
        adds=(lambda world: Referral(world.book, world.seed),),
    ),
    "relations": Plan("pairs related within visits, with a lag, or through age alone", adds=(_relations,)),
    "sites": Plan("half of the practices write 30 % of the codes as synonyms of their own", adds=(_sites,)),
    "change": Plan(
        "four groups, and patients who change from one to another",
        groups="change",
        adds=(lambda world: Change(world.book),),
    ),
    "ageing": Plan(
        "two groups of one disease that differ by age; nobody changes",
        groups="ageing",
        adds=(lambda world: Ageing(world.book),),
    ),
    "subtle": Plan("groups by nine mechanisms, in one world", groups="subtle", kinds=tuple(KINDS)),
    **{f"subtle-{name}": Plan(f"groups by {name} alone", groups="subtle", kinds=(name,)) for name in KINDS},
}


def make(world: World, plans: Sequence[str]) -> list[Mechanism]:
    """Return the mechanisms of all `plans` together.

    Raises UserError for no plan or an unknown one, and if two plans record the same code or divide the same patients into groups.
    """
    unknown = sorted(set(plans) - set(PLANS))
    if unknown or not plans:
        raise UserError(f"no plan {', '.join(unknown) or 'was named'}; plans are {', '.join(PLANS)}")
    chosen = [plan for name, plan in PLANS.items() if name in plans]
    diagnoses, book = world.diagnoses, world.book
    added = [build(world) for build in dict.fromkeys(build for plan in chosen for build in plan.adds)]
    sorting = {plan.groups for plan in chosen if plan.groups}
    if len(sorting) > 1:
        raise UserError(f"the groups {' and '.join(sorted(sorting))} are of the same patients: leave one plan out")
    if kinds := [kind for plan in chosen for kind in plan.kinds]:
        added.append(SubtleGroups(book, world.seed, kinds))
    groups = "skin" in sorting
    care, laboratory = Care(diagnoses, book), Laboratory(diagnoses, book)
    _refuse_shared([care, laboratory, *added], book)
    elsewhere = np.concatenate([care.codes, laboratory.codes, *(mechanism.codes for mechanism in added)])
    return [
        Population(diagnoses, world.cohort_share, world.seed),
        Onsets("onsets of skin diseases", diagnoses, skin=True),
        SkinGroups(diagnoses, book, planted=groups),
        Onsets("onsets", diagnoses, skin=False, mean_ratio=mean_ratios(diagnoses) if groups else None),
        care,
        laboratory,
        Consultations(diagnoses, book, elsewhere),
        *added,
    ]


def _refuse_shared(mechanisms: Sequence[Mechanism], book: Codebook) -> None:
    """Raise UserError if two mechanisms record the same code: the truth of each holds only if no other records its codes."""
    for one, other in combinations(mechanisms, 2):
        if shared := np.intersect1d(one.codes, other.codes).tolist():
            names = ", ".join(f"{book.codes[row]} {book.names[row]}" for row in shared)
            raise UserError(f"{one.name} and {other.name} do not go together: both record {names}. Leave one plan out.")
