"""How strict must a practice's habit be, for synonymous codes to be found as such? And how many patients does it take?

Extracts of `synth --plant subtle`: three conditions, each with eight synonymous codes, of which every practice writes one, and so
84 pairs of synonyms. To loosen the habit, a share of what was recorded in those codes is given another of the eight at random.
Found pairs are counted, and those that are none: all other concepts of the extract take part.

Usage: python benchmarks/substitutes.py [--patients 2000 5000 20000] [--seed 4]
"""

import argparse
import itertools
import tempfile
from pathlib import Path

import numpy as np
import planted_groups
import pyarrow as pa
import results

from ehr_pipeline.chain.pipeline import Pipeline
from ehr_pipeline.concepts import substitutes
from ehr_pipeline.events.table import Mapping
from ehr_pipeline.synthetic.generate import EXTRACT, generate
from ehr_pipeline.synthetic.subtle import FAMILIES
from ehr_pipeline.tables import schemas
from ehr_pipeline.vocabulary.table import Vocabulary

HABITS = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.0)
"""Share of the records of a synonym that keep their practice's code; the others have any of the eight."""


def loosened(path: Path, families: list[np.ndarray], share: float, rng: np.random.Generator, out: Path) -> Path:
    """A shard in which the habit is loosened, in the folder `out`."""
    table = schemas.read(path).combine_chunks()
    visits = table.column("visits").chunk(0)
    concepts = visits.values.field("concepts")
    tokens = concepts.values.to_numpy().copy()
    for family in families:
        moved = np.flatnonzero(np.isin(tokens, family) & (rng.random(len(tokens)) >= share))
        tokens[moved] = rng.choice(family, len(moved))
    lists = pa.ListArray.from_arrays(concepts.offsets, pa.array(tokens), type=concepts.type)
    days = pa.StructArray.from_arrays([visits.values.field("date"), lists], fields=list(visits.values.type))
    made = pa.ListArray.from_arrays(visits.offsets, days, type=visits.type)
    schemas.write(out / path.name, table.set_column(table.schema.get_field_index("visits"), "visits", made))
    return out / path.name


def found(patients: int, seed: int) -> list[tuple[object, ...]]:
    """A row for each habit: pairs that were found, and that are no synonyms."""
    rows: list[tuple[object, ...]] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        generate(folder, patients, seed, plant="subtle")
        pipeline = Pipeline(planted_groups.study_in(folder, seed))
        pipeline.make(EXTRACT, until="patient_dataset")
        vocabulary = Vocabulary.read(pipeline.store.current("vocabulary").path)
        concept_of = Mapping.read(pipeline.store.current("mapped_events").path).concept_of_code()
        families = [
            np.array(
                [
                    vocabulary.token_of[concept_of[code]]
                    for code in family.codes
                    if concept_of[code] in vocabulary.token_of
                ]
            )
            for family in FAMILIES.values()
        ]
        planted = {frozenset(pair) for family in families for pair in itertools.combinations(family.tolist(), 2)}
        shards = pipeline.store.current("patient_dataset").files("patients")
        for share in HABITS:
            out = folder / f"{share}"
            out.mkdir()
            rng = np.random.default_rng(seed)
            paths = [loosened(path, families, share, rng, out) for path in shards]
            told = substitutes.find(paths, "practice", vocabulary.size, seed)
            pairs = {frozenset(pair) for pair in told.pairs.tolist()} if told else set()
            row = (f"{patients:,}", f"{share:.0%}", f"{len(pairs & planted)} of {len(planted)}", len(pairs - planted))
            print(row, flush=True)
            rows.append(row)
    return rows


def main() -> None:
    """Measure all sizes, and write the section."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, nargs="+", default=[2000, 5000, 20_000])
    parser.add_argument("--seed", type=int, default=4, help="of an extract on which nothing was developed")
    options = parser.parse_args()
    rows = [row for patients in options.patients for row in found(patients, options.seed)]
    text = (
        f"24 practices; seed {options.seed}, on which nothing was developed. A habit of 100 % is a code that the practice always"
        " writes; at 0 % every code is as likely everywhere, so that there is no habit to be found.\n\n"
    )
    heads = ("patients", "habit kept", "pairs of synonyms found", "pairs found that are none")
    results.write("substitutes.py", "Synonymous codes and the habits of practices", text + results.table(heads, rows))


if __name__ == "__main__":
    main()
