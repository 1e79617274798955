"""Does a withdrawal tell of who left? A page and a release before, and after each of some single withdrawals, side by side.

The worst cases are planted: a third of those who withdraw are the only ones with a concept (on thirty days, and with a code that
no terminology knows on thirty more), a third are of a concept that has exactly as many patients as its name needs, and a third are
drawn at random. Each withdrawal begins from the same study; the encoder stays as it was. Asked is, of each pair,

- names: which concepts and codes are named, on the page or in the release, that fewer than `reports.suppress_below` patients have;
  and which of those were not named before;
- hidden counts: of how many rows of the released tables, and of how many released counts, a number follows that the release after
  does not tell, for somebody who has both releases and knows that one patient left.

Pictures are not read; what they name is what the tables name.

Usage: python benchmarks/withdrawals.py [--patients 500] [--withdrawals 30] [--seed 0] [--keep FOLDER]
"""

import argparse
import csv
import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import results

from ehr_pipeline.disclosure.figures import Naming
from ehr_pipeline.export import release
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.study import settings
from ehr_pipeline.synthetic.generate import EXTRACT, generate
from ehr_pipeline.synthetic.study import SMALL, places
from ehr_pipeline.tables import schemas
from ehr_pipeline.terminology import rrf, snomed
from ehr_pipeline.terminology.shipped import shipped

BELOW, TO = 10, 10
DAYS = 30
FEW = {
    "clusters": {"n": 6, "resamples": 2, "compare": [], "permutations": 20, "truth": ""},
    "trajectories": {"windows": "off"},
    "encoder": {"max_epochs": 5},
}


@dataclass(frozen=True)
class Planted:
    """Who withdraws, by what makes the case."""

    alone: list[str]
    at_the_threshold: list[str]
    at_random: list[str]


@dataclass(frozen=True)
class Told:
    """What a page and a release tell."""

    page: set[str]
    """Pieces of its text."""
    mapping: dict[str, int]
    """Events by code."""
    vocabulary: dict[str, int]
    """Patients by concept."""
    counts: dict[str, int | None]
    """By their place."""


class Text(HTMLParser):
    """The pieces of text of a page: what stands between tags, whole and divided as lists are."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: set[str] = set()

    def handle_data(self, data: str) -> None:
        """Take up a text."""
        for divided in (r"\n", r" · ", r", ", r": |, "):
            self.pieces.update(piece.strip() for piece in re.split(divided, data))


def plant(folder: Path, patients: int, withdrawals: int, seed: int) -> Planted:
    """Write an extract, and plant who withdraws into it: as further events of patients of the cohort."""
    generate(folder, patients, seed)
    landing = folder / "landing" / EXTRACT
    rows = [
        line.split("\t")
        for path in sorted(landing.glob("events_*"))
        for line in path.read_text("latin-1").splitlines()[1:]
    ]
    head = next(iter(sorted(landing.glob("events_*")))).read_text("latin-1").splitlines()[0].split("\t")
    used = {row[head.index("snomed_code")] for row in rows if len(row) == len(head)}
    atoms = rrf.snomed_atoms(folder / "terminology/MRCONSO.RRF", "SNOMEDCT_US", ("N", "O"))
    types = dict(rrf.semantic_types(folder / "terminology/MRSTY.RRF").select("cui", "tui").iter_rows())
    recorded = set(atoms.filter(pl.col("code").is_in(list(used)))["cui"])
    free: dict[str, str] = {}
    for code, cui in atoms.select("code", "cui").iter_rows():
        if cui not in recorded and types.get(cui) == "T047":
            free.setdefault(cui, code)
    concept_of = {code: cui for cui, code in free.items()}
    third = withdrawals // 3
    codes = list(free.values())[: third + third]
    if len(codes) < 2 * third:
        raise SystemExit(f"The terminology has {len(codes)} diseases that nobody has; {2 * third} are needed.")
    rng = np.random.default_rng(seed)
    truth = pl.read_csv(folder / "truth/patients.csv", infer_schema=False)
    ids = truth[truth.columns[0]].to_list()
    drawn = [ids[place] for place in rng.permutation(len(ids))]
    alone, edge, others = (
        drawn[:third],
        drawn[third : 2 * third],
        drawn[2 * third : 2 * third + withdrawals - 2 * third],
    )
    rest = drawn[withdrawals:]
    stems = (999_000 + np.arange(third, dtype=np.int64)) * 10**9 + 1_000_000 * 100 + 10  # of the UK's extension
    unknown = [str(code) for code in snomed.with_check_digit(stems)]
    lines: list[tuple[str, int, str]] = []
    for number, patient in enumerate(alone):
        lines += [(patient, day, code) for day in range(DAYS) for code in (codes[number], unknown[number])]
    for number, patient in enumerate(edge):
        code = codes[third + number]
        needed = Naming(BELOW, study(folder, folder / "store").patients.split.key).needed(concept_of[code])
        fellows = [rest[(number * BELOW + step) % len(rest)] for step in range(needed - 1)]
        lines += [(who, day, code) for who in (patient, *fellows) for day in range(3)]
    text = "".join(
        "\t".join(value for name in head for value in [_value(name, who, day, code)]) + "\n" for who, day, code in lines
    )
    (landing / "events_999.txt").write_text("\t".join(head) + "\n" + text, "latin-1")
    return Planted(alone, edge, others)


def _value(column: str, patient: str, day: int, code: str) -> str:
    return {"patient_id": patient, "event_date": f"{day % 28 + 1:02}/{day // 28 + 1:02}/2017", "snomed_code": code}.get(
        column, ""
    )


def study(folder: Path, store: Path, **more: Any) -> settings.Study:
    """The small study, with codes kept that have no concept."""
    own = {"study": {"store": str(store)}, "events": {"unmapped": "keep"}, "reports": {"suppress_below": BELOW}}
    return settings.load(shipped("demo/settings.toml"), settings.merged(SMALL, places(folder), FEW, own, more))


def told(pipeline: Pipeline, out: Path) -> Told:
    """Release, and read what was released."""
    release.release(pipeline, out)
    text = Text()
    text.feed((out / "report.html").read_text(encoding="utf-8"))
    mapping = {row["snomed"]: int(row["events"]) for row in _rows(out / "mapping.csv")}
    vocabulary = {row["concept"]: int(row["patients"]) for row in _rows(out / "vocabulary.csv")}
    counts = dict(_numbers(json.loads((out / "counts.json").read_text(encoding="utf-8")), ""))
    return Told(text.pieces, mapping, vocabulary, counts)


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def _numbers(found: Any, place: str) -> Iterator[tuple[str, int | None]]:
    if isinstance(found, dict):
        for name, part in found.items():
            yield from _numbers(part, f"{place}/{name}")
    elif found is None or (isinstance(found, int) and not isinstance(found, bool)):
        yield place, found


def few(pipeline: Pipeline) -> dict[str, set[str]]:
    """What fewer than the threshold have: concepts and codes, each with the texts that name it."""
    concepts = _rows(pipeline.store.current("vocabulary").file("vocabulary.csv"))
    codes = _rows(pipeline.store.current("mapped_events").file("mapping.csv"))
    many = {row["name"] for row in concepts if int(row["patients"]) >= BELOW}
    found = {row["concept"]: {row["concept"], row["name"]} - many for row in concepts if int(row["patients"]) < BELOW}
    return found | {row["snomed"]: {row["snomed"]} for row in codes if int(row["patients"]) < BELOW}


def named(of: dict[str, set[str]], what: Told) -> set[str]:
    """Which of some concepts and codes are named."""
    return {one for one, texts in of.items() if one in what.mapping or one in what.vocabulary or texts & what.page}


def following(before: Told, after: Told) -> tuple[int, int, int]:
    """What was told before and is not any more, to somebody who knows that one patient left, and the rule, but not the key.

    A row that is gone has lost one patient, and now has one fewer than its name needs, which may be any of `BELOW` numbers. Returns
    how many rows are gone; for how many of them one number only fits both releases, or one below the threshold; and how many counts
    are gone, each of which then is one below the threshold.
    """
    gone, known = 0, 0
    for table in ("vocabulary", "mapping"):
        for name in getattr(before, table).keys() - getattr(after, table).keys():
            gone += 1
            left = {needed - 1 for needed in range(BELOW + 1, 2 * BELOW + 1)}
            if table == "vocabulary":  # whose patients are told, rounded
                left = {number for number in left if TO * round((number + 1) / TO) == before.vocabulary[name]}
            known += len(left) < 2 or min(left) < BELOW
    counts = sum(
        1 for place, number in before.counts.items() if number and place in after.counts and after.counts[place] is None
    )
    return gone, known, counts


def main() -> None:
    """Withdraw each of the patients by itself, and write the section."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=500)
    parser.add_argument("--withdrawals", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder to keep the study in")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch)
        planted = plant(folder / "extract", options.patients, options.withdrawals, options.seed)
        base = Pipeline(study(folder / "extract", folder / "store"))
        base.make(EXTRACT)
        before = told(base, folder / "before")
        known = named(few(base), before)
        rows = []
        for case, patients in vars(planted).items():
            total = np.zeros(6, int)
            for patient in patients:
                total += one(folder, patient, before)
            rows.append((case.replace("_", " "), len(patients), *total.tolist()))
    header = (
        "who withdraws",
        "withdrawals",
        "concepts and codes of few, all pairs",
        "of them named",
        "newly named",
        "rows that are gone",
        "of them known",
        "counts known",
    )
    sizes = (
        f"{options.patients:,} patients, threshold {BELOW}. Before: {len(known):,} concepts or codes of few are named."
    )
    results.write(
        "withdrawals.py",
        "A page and a release before and after single withdrawals",
        f"{sizes}\n\n{results.table(header, rows)}",
    )


def one(folder: Path, patient: str, before: Told) -> list[int]:
    """Withdraw one patient from a copy of the study: see the columns of the table."""
    store, listed, out = folder / "after", folder / "withdrawn.txt", folder / "released"
    for path in (store, out):
        shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(folder / "store", store, symlinks=True)
    listed.write_text(f"{patient}\n")
    pipeline = Pipeline(study(folder / "extract", store, records={"withdrawals": str(listed)}))
    pipeline.make(EXTRACT)
    ids = [
        name
        for path in pipeline.store.current("patient_dataset").files("patients")
        for name in schemas.read(path, ["patient_id"])["patient_id"].to_pylist()
    ]
    assert patient not in ids
    after, rare = told(pipeline, out), few(pipeline)
    found = named(rare, after)
    return [len(rare), len(found), len(found - named(rare, before)), *following(before, after)]


if __name__ == "__main__":
    main()
