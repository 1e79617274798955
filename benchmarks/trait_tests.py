"""Could another test find more subgroups than the page's test of traits? Four tests on the same cohorts of known truth.

Results are kept in WORK/KIND/SIZE/NUMBER/NAME.json beside those of `error_rates.py`, so a run that was stopped goes on.

Usage: python benchmarks/trait_tests.py --work FOLDER [--kinds null base …] [--size 2500] [--cohorts 20]
       python benchmarks/trait_tests.py --work FOLDER --write
"""

import argparse
import json
import os
from dataclasses import dataclass
from pathlib import Path

import cohorts
import numpy as np
import rates
import results
from cohorts import SEED, Cohort
from error_rates import KINDS
from numpy.typing import NDArray
from page_parts import compared
from scipy.optimize import minimize

from ehr_pipeline.clusters import trait_correlations as page
from ehr_pipeline.clusters.microaggregation import centred, shuffled
from ehr_pipeline.embeddings.patient_blocks import Labels
from ehr_pipeline.synthetic.worlds import skin
from ehr_pipeline.synthetic.worlds.plan import World
from ehr_pipeline.tables import asset_names as assets
from ehr_pipeline.vocabulary.table import Vocabulary

NAME = "trait_tests"
TESTS = "page", "weighted", "conditional", "oracle"
TRAITS, PERMUTATIONS, SCALED_BY = 60, 100, 50
"""Traits of the other tests; permutations for p; further permutations for the mean and the scale of each correlation."""
RIDGE, SWEEPS = 5.0, 6
"""Penalty of the logistic regression; exchanges of each patient between two permutations."""
FACTS = (
    "*page*: the product's test (`trait_correlations`). *weighted*: the same differences of correlations, of 60 traits, "
    "weighted by how much more frequent their traits are in the disease than in others alike, summed as squares of positive "
    "eigenvalues. *conditional*: the same weights, presence in the whole record, and the leading eigenvalue of standardised "
    "correlations. Diseases are permuted with the odds of a logistic regression on the traits, not at random. So a permuted "
    "disease has the traits as often as the true one, and only what goes beyond that counts (conditional permutation test: "
    "Berrett, Wang, Barber & Samworth 2020, J. R. Stat. Soc. B 82(1)). *oracle*: the sum of the differences over the pairs "
    "of diagnoses that the generator raised together in a group of the disease. No test can know these pairs: it shows how "
    "much the traits could tell. In worlds called *share-0.5*, half of the patients have none of the diseases, as in the "
    "demo; in the others hardly anybody."
)
Values = NDArray[np.float64]


@dataclass(frozen=True)
class Disease:
    """A disease with its traits."""

    number: int
    traits: NDArray[np.int64]
    """Places of those traits that enough patients have."""
    weights: Values
    """How much more frequent each trait is in the disease, in standard deviations; 0 for one that is not more frequent."""
    others: Values
    """Weight of each patient (n,) as one of the others."""
    planted: Values
    """1 for each pair of traits of two diagnoses that a group of the disease raises, else 0."""


@dataclass(frozen=True)
class Patients:
    """Patients of one disease each, and outsiders."""

    halves: tuple[Values, Values]
    """Whether a patient has a trait (n, T) in each half of the record."""
    disease: Labels
    blocks: Labels
    diseases: list[Disease]

    @classmethod
    def of(cls, records: page.Records, groups: dict[str, list[list[list[int]]]]) -> "Patients":
        """From records, and the tokens of each diagnosis of each group, by disease."""
        records, belongs = page._of_one_disease(records)
        allowed = ~np.any(list(belongs.values()), axis=0)
        names, disease = np.unique(records.diseases.astype(str), return_inverse=True)
        has = page._present(records.halves)
        one, both, other = (np.asarray(some.sum(axis=0)).ravel() for some in (has[0], has[0].multiply(has[1]), has[1]))
        beyond = np.where(allowed, both - one * other / max(len(disease), 1), 0)
        order = np.argsort(-beyond, kind="stable")[:TRAITS]
        chosen = np.sort(order[beyond[order] > 0])
        found = []
        for number in np.flatnonzero(names != "").tolist():
            mine, others = page._weights(disease == number, records.blocks)
            if mine.sum() < page.FEWEST_PATIENTS:
                continue
            here, there = (share[chosen] for share in page._shares(has, disease == number, records.blocks))
            kept = np.flatnonzero(np.minimum(here, there) >= page.FEWEST_CARRIERS)
            more = np.maximum(here - there, 0) / np.sqrt(np.maximum((here + there) / 2, 1e-9))
            planted = np.zeros((len(chosen), len(chosen)))
            for diagnoses in groups.get(str(names[number]).casefold(), []):
                codes = [np.isin(chosen, tokens) for tokens in diagnoses]
                for first in codes:
                    for second in codes:
                        if first is not second:
                            planted[np.ix_(first, second)] = 1
            found.append(Disease(number, kept, more[kept], others, planted[np.ix_(kept, kept)]))
        return cls((has[0][:, chosen].toarray(), has[1][:, chosen].toarray()), disease, records.blocks, found)


def planted_groups(cohort: Cohort) -> dict[str, list[list[list[int]]]]:
    """For each disease, its groups; for each group, one list of tokens for each diagnosis that it raises."""
    world, known = World.of(SEED, 1.0), Vocabulary.read(cohort.learned.artifact(assets.VOCABULARY).path).token_of
    concepts = {row.name: [world.book.table.concept_of(code) for code in row.codes] for row in world.diagnoses.rows}
    tokens = {name: [known[concept] for concept in own if concept in known] for name, own in concepts.items()}
    groups: dict[str, list[list[list[int]]]] = {}
    for group in skin.GROUPS:
        groups.setdefault(group.disease.casefold(), []).append([tokens[name] for name in group.hazard_ratios])
    return groups


def weighted_and_oracle(people: Patients, rng: np.random.Generator) -> dict[str, float]:
    """p of both tests that permute diseases at random in blocks of patients alike."""
    sides = [centred(centred(half, people.blocks), people.disease) for half in people.halves]
    everybody = [page._moments(sides[0][:, one.traits], sides[1][:, one.traits], one.others) for one in people.diseases]

    def measured(given: Labels) -> Values:
        found = []
        for one, (products, squares) in zip(people.diseases, everybody, strict=True):
            rows = np.flatnonzero((given == one.number) & (one.others > 0))
            left, right = (side[np.ix_(rows, one.traits)] for side in sides)
            here, mine = page._moments(left, right, np.ones(len(rows))), page._moments(left, right, one.others[rows])
            more = page._correlations(*here) - page._correlations(products - mine[0], squares - mine[1])
            np.fill_diagonal(more, 0)
            root = np.sqrt(one.weights)
            positive = np.maximum(np.linalg.eigvalsh(more * np.outer(root, root)), 0)
            found.append([(positive**2).sum(), (more * one.planted).sum()])
        return np.array(found)

    chance = [measured(people.disease[shuffled(people.blocks, rng)]) for _ in range(PERMUTATIONS)]
    weighted, oracle = _p(measured(people.disease), np.array(chance))
    return {"weighted": weighted, "oracle": oracle}


def conditional(people: Patients, rng: np.random.Generator) -> float:
    """p of the test that permutes diseases so that their traits stay as frequent."""
    record = centred(np.maximum(*people.halves), people.blocks)
    score = record @ _odds(record, people.blocks, people.disease).T

    def measured(given: Labels) -> list[Values]:
        found = []
        for one in people.diseases:
            own = record[np.ix_(np.flatnonzero(given == one.number), one.traits)]
            own = own - own.mean(axis=0)
            found.append(page._correlations(own.T @ own, (own**2).sum(axis=0)))
        return found

    given = _exchanged(score, people.blocks, people.disease, rng, 6 * SWEEPS)
    drawn = []
    for _ in range(SCALED_BY + PERMUTATIONS):
        given = _exchanged(score, people.blocks, given, rng, SWEEPS)
        drawn.append(measured(given))
    scales = [
        (np.mean(matrices, axis=0), np.std(matrices, axis=0) + 1e-3)
        for matrices in zip(*drawn[:SCALED_BY], strict=True)
    ]

    def leading(matrices: list[Values]) -> list[list[float]]:
        found = []
        for one, matrix, (middle, spread) in zip(people.diseases, matrices, scales, strict=True):
            root = np.sqrt(one.weights)
            more = (matrix - middle) / spread * np.outer(root, root)
            np.fill_diagonal(more, 0)
            found.append([float(np.linalg.eigvalsh(more)[-1])])
        return found

    return _p(np.array(leading(measured(people.disease))), np.array([leading(some) for some in drawn[SCALED_BY:]]))[0]


def _odds(record: Values, blocks: Labels, disease: Labels) -> Values:
    """Coefficients (diseases, T) of a multinomial logistic regression; blocks differ in how many patients have each disease."""
    count, own = disease.max() + 1, np.arange(len(disease))
    there = np.zeros((blocks.max() + 1, count))
    np.add.at(there, (blocks, disease), 1)
    offset, given = np.log(np.maximum(there[blocks], 1e-9)), np.eye(count)[disease]

    def loss(flat: Values) -> tuple[float, Values]:
        odds = flat.reshape(count, -1)
        logits = record @ odds.T + offset
        logits -= logits.max(axis=1, keepdims=True)
        shares = np.exp(logits)
        shares /= shares.sum(axis=1, keepdims=True)
        gradient = RIDGE * odds - (given - shares).T @ record
        return float(RIDGE / 2 * (flat**2).sum() - np.log(shares[own, disease]).sum()), gradient.ravel()

    start = np.zeros(count * record.shape[1])
    return np.asarray(minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 60}).x).reshape(count, -1)


def _exchanged(score: Values, blocks: Labels, disease: Labels, rng: np.random.Generator, sweeps: int) -> Labels:
    """Exchange diseases between patients of a block, in random pairs, with the odds of their scores (n, diseases)."""
    given, place = disease.copy(), np.arange(len(disease))
    for _ in range(sweeps):
        order = np.lexsort((rng.random(len(given)), blocks))
        sorted_ = blocks[order]
        begins = np.concatenate([[True], sorted_[1:] != sorted_[:-1]])
        rank = place - np.maximum.accumulate(np.where(begins, place, 0))
        first = np.flatnonzero((rank[:-1] % 2 == 0) & ~begins[1:])
        one, other = order[first], order[first + 1]
        gain = score[one, given[other]] + score[other, given[one]] - score[one, given[one]] - score[other, given[other]]
        swapped = rng.random(len(one)) < 1 / (1 + np.exp(-gain))
        one, other = one[swapped], other[swapped]
        given[one], given[other] = given[other].copy(), given[one].copy()
    return given


def _p(observed: Values, chance: Values) -> list[float]:
    """p of each of m statistics from its values (diseases, m) and those by chance (permutations, diseases, m), summed over
    diseases in standard deviations."""
    middle, spread = chance.mean(axis=0), np.maximum(chance.std(axis=0), 1e-12)
    total, by_chance = ((observed - middle) / spread).sum(axis=0), ((chance - middle) / spread).sum(axis=1)
    return [float(p) for p in (1 + (by_chance >= total).sum(axis=0)) / (1 + len(chance))]


def measure(cohort: Cohort) -> dict[str, float]:
    """p of each test."""
    study, records = cohort.learned.pipeline.study, compared(cohort)
    seed, permutations = study.study.seed, study.clusters.permutations
    own = page.correlation_test(records, permutations=permutations, seed=seed).p
    people = Patients.of(records, planted_groups(cohort))
    rng = np.random.default_rng([seed, cohort.number])
    return {"page": own or 1.0, **weighted_and_oracle(people, rng), "conditional": conditional(people, rng)}


def write(work: Path) -> None:
    """Write what was measured into RESULTS.md."""
    rows = []
    for place, of in [(work, ""), *((path, f", {path.name}") for path in sorted(work.glob("share-*")))]:
        for kind in KINDS:
            for folder in sorted((place / kind).glob("*"), key=lambda path: int(path.name)):
                told = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob(f"*/{NAME}.json")]
                cells = [rates.interval(sum(one[test] <= page.MAX_P for one in told), len(told)) for test in TESTS]
                if told:
                    rows.append((f"{kind}{of}", f"{int(folder.name):,}", *cells))
    text = (
        f"Cohorts in which a test of traits has p up to {page.MAX_P}, with 95 % intervals (Clopper and Pearson). All tests saw the"
        f" same cohorts. {FACTS}\n\n" + results.table(("World", "Patients in a cohort", *TESTS), rows)
    )
    results.write("trait_tests.py", "Tests of traits", text)


def main() -> None:
    """Measure the cohorts asked for, or write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for worlds and cohorts")
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=["null", "referral", "base"])
    parser.add_argument("--size", type=int, default=2500, help="patients in a cohort")
    parser.add_argument("--cohorts", type=int, default=20, help="cohorts of each kind")
    parser.add_argument(
        "--share",
        type=float,
        default=1.0,
        help="share of the patients with a disease; the others are compared with them",
    )
    parser.add_argument("--write", action="store_true", help="only write the table from what was measured")
    options = parser.parse_args()
    cohorts.SHARE = options.share
    if options.write:
        write(options.work)
        return
    work = options.work if options.share == 1 else options.work / f"share-{options.share}"
    for number in range(options.cohorts):
        for kind in options.kinds:
            cohort = Cohort(work, KINDS[kind], options.size, number)
            path = cohort.folder / f"{NAME}.json"
            if not path.is_file():
                told = measure(cohort)
                path.write_text(json.dumps(told) + "\n", encoding="utf-8")
                print(f"{cohort.name}: {told}", flush=True)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
