"""Write a synthetic extract: landing folder, terminology, and the truth. Patients come in blocks, so memory does not grow.

OUT/landing/2019-04-01/events_000.txt, events_001.txt.gz, …, patients.txt
OUT/terminology/MRCONSO.RRF, MRSTY.RRF
OUT/truth/patients.csv, groups.csv, dirt.json
"""

import json
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import polars as pl

from ehr_pipeline.store.durable import write_atomically
from ehr_pipeline.synthetic import people, terminology_files, visits
from ehr_pipeline.synthetic.codes import CodeTable
from ehr_pipeline.synthetic.extract import DELIMITER, PATIENT_COLUMNS, write_events, write_groups
from ehr_pipeline.synthetic.extract import EXTRACT as EXTRACT
from ehr_pipeline.synthetic.groups import COMPANION_RATE, ELSEWHERE_RATE, GROUPS
from ehr_pipeline.work.progress import Progress

VERSION = "2"
BLOCK = 1000  # patients; each block is written to one event file


def generate(out: Path, patients: int, seed: int, cohort_share: float = 0.5) -> None:
    """Write an extract with `patients` patients. The same arguments give the same bytes."""
    table = CodeTable.read()
    background = visits.Background(table)
    landing, truth = out / "landing" / EXTRACT, out / "truth"
    landing.mkdir(parents=True, exist_ok=True)
    truth.mkdir(parents=True, exist_ok=True)
    terminology_files.write(out / "terminology", table)
    columns = ("group", "disease", "code", "cui", "rate", "rate_elsewhere")
    rates = COMPANION_RATE, ELSEWHERE_RATE
    rows = [(own.name, own.disease, code, table.concept_of(code), *rates) for own in GROUPS for code in own.companions]
    write_groups(truth / "groups.csv", columns, rows)
    counted: Counter[str] = Counter()
    progress = Progress("generating patients", patients)
    with ExitStack() as stack:
        patient_file = stack.enter_context((landing / "patients.txt").open("w", encoding="latin-1", newline=""))
        truth_file = stack.enter_context((truth / "patients.csv").open("w", encoding="utf-8", newline=""))
        patient_file.write(DELIMITER.join(PATIENT_COLUMNS) + "\n")
        truth_file.write("patient_id,disease,group,second_group\n")
        (truth / "changes.csv").unlink(missing_ok=True)  # may be left from an earlier extract in this folder
        for number, first in enumerate(range(0, patients, BLOCK)):
            rng = np.random.default_rng([seed, number])
            block = people.draw(rng, first, min(BLOCK, patients - first), cohort_share)
            patient_file.write(block.select(PATIENT_COLUMNS).write_csv(include_header=False, separator=DELIMITER))
            truth_file.write(_named_truth(block).write_csv(include_header=False))
            drawn = visits.draw(rng, block, background)
            drawn = drawn[rng.permutation(drawn.height)]
            person = drawn["person"].to_numpy()
            events = drawn.select("day", "code", patient=block["patient_id"].gather(person))
            counted += write_events(rng, events, block["year_of_birth"].to_numpy()[person], landing, number)
            progress.advance(block.height)
    facts = {
        "version": VERSION,
        "patients": patients,
        "seed": seed,
        "cohort_share": cohort_share,
        "rows": dict(sorted(counted.items())),
    }
    write_atomically(truth / "dirt.json", json.dumps(facts, indent=1) + "\n")


def _named_truth(block: pl.DataFrame) -> pl.DataFrame:
    names = [planted.name for planted in GROUPS] + [""]
    groups = pl.col("group", "second_group").map_elements(lambda number: names[number], return_dtype=pl.String)
    return block.select("patient_id", "disease", groups)
