"""Pairs and orders that are told although only the habits of practices relate them, with practices known and not known.

The worlds of `relations_null.py`, in which practices record alike (`null`), or record each code more or less often and choose among
synonyms (`practices`, `practices-strong`), or in which half of them write 30 % of the codes as codes of their own (`sites`). A pair
is false if neither frailty nor a factor relates its diagnoses. What would be told without practices was told before
concept_relations 6, and is told where the practice of patients is not known. World `relations` has planted pairs; it shows what
is lost.

Usage: python benchmarks/relations_practices.py [--seeds 41 51 52 53 54 55] [--blocks 5] [--large 61 62] [--planted 1 2 …];
some 15 minutes; a run that was stopped goes on with the worlds in --keep
"""

import argparse
import json
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import relations
import results
from numpy.typing import NDArray
from relations_null import SETTINGS, Counted, drawn, of, without_practices
from scipy import stats

from ehr_pipeline.relations import consensus, counting, evidence
from ehr_pipeline.relations.evidence import AFTER, SIMILAR, VISIT, Evidence
from ehr_pipeline.synthetic.worlds.mechanism import BLOCK

TITLE = "Pairs told where only the habits of practices relate them"
WORLDS = ("null",), ("null", "practices"), ("null", "practices-strong"), ("null", "sites")
LARGE = 20
"""Thousands of patients of a large world."""
Part = tuple[int, int]


def qualified(found: Evidence, related: NDArray[np.bool_]) -> tuple[Part, Part, Part]:
    """Those told, and the false ones: pairs that qualify as edges, ordered pairs by their relative risk, and arrows."""
    upper = np.triu_indices(len(related), 1)
    pairs = consensus.qualified(found, SETTINGS)[upper]
    risk, agreed = found[AFTER], consensus.agree(found, SETTINGS, 0, (VISIT, SIMILAR))
    assert risk.q is not None
    later = (risk.q <= SETTINGS.max_q) & (risk.value > 1) & (risk.patients >= SETTINGS.fewest_patients)
    one, other = agreed.graph.edges[agreed.first != 0].T
    return (
        (int(pairs.sum()), int((pairs & ~related[upper]).sum())),
        (int(later.sum()), int((later & ~related).sum())),
        (len(one), int((~related)[one, other].sum())),
    )


def counted(world: Counted) -> tuple[Part, Part, Part]:
    """Count a world."""
    return qualified(evidence.counted(world.read, counting.count(world.read, SETTINGS.after_days)), world.related)


def shares(found: Iterable[Part]) -> str:
    """The mean share of false ones, with its interval; worlds are the units, since the pairs of one world share concepts."""
    of_each = np.array([false / max(every, 1) for every, false in found])
    if len(of_each) < 2:
        return f"{of_each.mean():.1%}"
    wide = stats.t.ppf(0.975, len(of_each) - 1) * of_each.std(ddof=1) / np.sqrt(len(of_each))
    return f"{of_each.mean():.1%} ({max(of_each.mean() - wide, 0):.1%} to {min(of_each.mean() + wide, 1):.1%})"


def measured(plans: tuple[str, ...], blocks: int, seed: int, keep: Path) -> list[tuple[Part, Part, Part]]:
    """What is told of a world, with practices not known and known; from the file `keep`, if it is there, else it is added."""
    name = f"{' and '.join(plans)}, {blocks}, {seed}"
    known = json.loads(keep.read_text()) if keep.exists() else {}
    if name not in known:
        with tempfile.TemporaryDirectory() as work:
            world = drawn(seed, blocks, Path(work), plans)
            known[name] = [counted(without_practices(world)), counted(world)]
        keep.write_text(json.dumps(known, indent=1))
        print(name, known[name], flush=True)
    return list(known[name])


def row(plans: tuple[str, ...], blocks: int, seeds: list[int], keep: Path) -> tuple[str, ...]:
    """Figures of some worlds of one kind: all those told in the worlds, and the mean share of false ones."""
    before, now = zip(*(measured(plans, blocks, seed, keep) for seed in seeds), strict=True)
    cells = []
    for kind in range(3):
        for state in (before, now):
            parts = [one[kind] for one in state]
            every = of((sum(all_ for all_, _ in parts), sum(false for _, false in parts)))
            cells.append(f"{every}; {shares(parts)}" if kind == 0 else every)
    true = [str(sum(one[0][0] - one[0][1] for one in state)) for state in (before, now)]
    return " and ".join(plans), f"{blocks * BLOCK:,}", str(len(seeds)), *cells, *true


def planted(seeds: list[int], blocks: int) -> str:
    """What is told of planted pairs."""
    rows = []
    for name, practices in (("not known", False), ("known", True)):
        within, lag, arrows, parts = 0, 0, 0, list[Part]()
        for seed in seeds:
            found, truth = relations.measured(seed, blocks, practices)
            pairs = consensus.qualified(found, SETTINGS)
            agreed = consensus.agree(found, SETTINGS, seed, (VISIT, SIMILAR))
            direction = {
                tuple(edge): side for edge, side in zip(agreed.graph.edges.tolist(), agreed.first, strict=True)
            }
            within += int(pairs[*truth.within.T].sum())
            lag += int(pairs[*truth.lag.T].sum())
            arrows += sum(
                direction.get((i, j), 0) == 1 or direction.get((j, i), 0) == -1 for i, j in truth.lag.tolist()
            )
            parts.append(qualified(found, truth.flags(truth.within, truth.lag))[0])
        every = 20 * len(seeds)
        rows.append((name, f"{within} of {every}", f"{lag} of {every}", f"{arrows} of {every}", shares(parts)))
    header = (
        "Practices", "Planted within visits that are told", "Planted with a lag", "Planted orders that are told, right",
        "False of those told: mean (95 % interval over worlds)",
    )  # fmt: skip
    return f"World `relations`, {blocks * BLOCK:,} patients, {len(seeds)} seeds.\n\n{results.table(header, rows)}"


def main() -> None:
    """Measure, and write the section."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="*", default=[41, 51, 52, 53, 54, 55])
    parser.add_argument("--blocks", type=int, default=5, help="thousands of patients of each world")
    parser.add_argument("--large", type=int, nargs="*", default=[61, 62], help=f"seeds of worlds of {LARGE} thousand")
    parser.add_argument(
        "--planted", type=int, nargs="*", default=list(range(1, 16)), help="seeds of the world `relations`"
    )
    parser.add_argument(
        "--keep", type=Path, default=Path("relations_practices.json"), help="file of worlds measured so far"
    )
    options = parser.parse_args()
    if options.planted:
        results.write_part("relations_practices.py", TITLE, "What is planted", planted(options.planted, 3))
    sizes = [(blocks, seeds) for blocks, seeds in ((options.blocks, options.seeds), (LARGE, options.large)) if seeds]
    rows = [row(plans, *size, options.keep) for plans in WORLDS for size in sizes]
    if rows:
        states = [
            f"False of {kind}, practices {known}"
            for kind in ("pairs", "ordered pairs by relative risk", "arrows")
            for known in ("not known", "known")
        ]
        header = "World", "Patients", "Worlds", *states, "Related pairs told, practices not known", "known"
        text = (
            "Pairs told at a false discovery rate of 5 %, which at least 10 patients have: all of them, and the mean share that is"
            f" false (95 % interval over worlds).\n\n{results.table(header, rows)}"
        )
        results.write_part("relations_practices.py", TITLE, "False pairs", text)


if __name__ == "__main__":
    main()
