"""How strict must a practice's habit be, for synonymous codes to be found as such? And how many patients does it take?

Worlds of the plan `subtle-synonyms` (docs/worlds.md): three conditions with eight codes each, of which a practice uses its
preferred one in 100, 75 or 50 % of the records, and so 28 pairs of synonyms for each. All concepts of the extract take part, and
pairs that are found and are no synonyms are counted as well.

Usage: python benchmarks/substitutes.py [--patients 2000 5000 20000] [--seeds 0 1 2]
"""

import argparse
import itertools
import tempfile
from collections import Counter
from pathlib import Path

import results
from planted_groups import SHARE, study_in

from ehr_pipeline.concepts import substitutes
from ehr_pipeline.events.table import Mapping
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.synthetic.extract import EXTRACT
from ehr_pipeline.synthetic.worlds.groups_by_mechanism import FAMILIES
from ehr_pipeline.synthetic.worlds.write import write
from ehr_pipeline.vocabulary.table import Vocabulary

PAIRS = 28
"""Pairs of the eight codes of a condition."""


def found(patients: int, seed: int) -> Counter[str]:
    """Number of pairs found, by condition; under '' those that are no synonyms."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write(folder, ("subtle-synonyms",), patients, seed, SHARE)
        pipeline = Pipeline(study_in(folder, seed))
        pipeline.make(EXTRACT, until="patient_dataset")
        vocabulary = Vocabulary.read(pipeline.store.current("vocabulary").path)
        concept_of = Mapping.read(pipeline.store.current("mapped_events").path).concept_of_code()
        planted: dict[frozenset[int], str] = {}
        for name, family in FAMILIES.items():
            concepts = [concept_of[code] for code in family.codes]
            tokens = [vocabulary.token_of[concept] for concept in concepts if concept in vocabulary.token_of]
            planted |= {frozenset(pair): name for pair in itertools.combinations(tokens, 2)}
        shards = pipeline.store.current("patient_dataset").files("patients")
        same = substitutes.find(shards, "practice", vocabulary.size, seed)
        return Counter(planted.get(frozenset(pair), "") for pair in (same.pairs.tolist() if same else ()))


def main() -> None:
    """Measure all sizes, and write the section."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, nargs="+", default=[2000, 5000, 20_000])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    rows = []
    for patients in options.patients:
        counts = [found(patients, seed) for seed in options.seeds]
        cells = [", ".join(str(count[name]) for count in counts) for name in (*FAMILIES, "")]
        rows.append((f"{patients:,}", *cells))
        print(rows[-1], flush=True)
    heads = [f"{name}: habit kept in {family.habit:.0%}" for name, family in FAMILIES.items()]
    text = (
        f"Pairs found of {PAIRS}, for seeds {', '.join(map(str, options.seeds))}; {SHARE:.0%} of the patients have a skin disease,"
        " and the records of the others have any of the codes.\n\n"
    )
    header = ("patients drawn", *heads, "pairs found that are none")
    results.write("substitutes.py", "Synonymous codes and the habits of practices", text + results.table(header, rows))


if __name__ == "__main__":
    main()
