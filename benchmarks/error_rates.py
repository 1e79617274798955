"""How often is each kind of statement made where it is false, and where it is true? On many cohorts of known truth.

For each kind of world, disjoint cohorts (`cohorts.py`) go through the stages from the patients' vectors to the findings of the
page, with the settings of the demo. What the page says of each is written to WORK/KIND/SIZE/NUMBER/NAME.json. Vectors are kept
there as well, so that statements can be measured again, under another NAME or with `--again`, when methods have changed. A run
that was stopped goes on. With `--write`, what was measured becomes docs/error_rates.md and a section of RESULTS.md.

Usage: python benchmarks/error_rates.py --work FOLDER [--name now] [--kinds null traits …] [--size 1000] [--cohorts 60]
       python benchmarks/error_rates.py --work FOLDER [--name now] --write
"""

import argparse
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import cohorts
import numpy as np
import pyarrow as pa
import rates
import results
from cohorts import LEARNED_FROM, SEED, Cohort, Kind, here
from numpy.typing import NDArray
from page_parts import audited, near, traits_again, traits_told
from scipy.special import ndtri

from ehr_pipeline.clusters import build as clusters
from ehr_pipeline.clusters import cluster_stability, clustering, marker_concepts
from ehr_pipeline.clusters.build import Patients
from ehr_pipeline.clusters.many_tests import benjamini_hochberg
from ehr_pipeline.clusters.mark_test import Halves, root_shares
from ehr_pipeline.clusters.matching import Matching
from ehr_pipeline.clusters.planted import read_groups
from ehr_pipeline.clusters.spectral import Spectrum
from ehr_pipeline.embeddings.vectors import HALVES
from ehr_pipeline.reports import cards, cluster_reliability, pictures
from ehr_pipeline.reports.findings import Findings
from ehr_pipeline.reports.inputs import Inputs
from ehr_pipeline.reports.sections import evolution
from ehr_pipeline.tables import asset_names as assets
from ehr_pipeline.trajectories import build as trajectories
from ehr_pipeline.trajectories import truth

KINDS = {
    kind.name: kind
    for kind in (
        *(Kind(plan, plan) for plan in ("null", "traits", "practices", "practices-strong")),
        *(Kind(plan, plan) for plan in ("calendar", "access", "referral", "ageing", "change", "base")),
        *(Kind(f"{plan}-shuffled", plan, shuffled=True) for plan in ("null", "traits", "practices-strong")),
        *(Kind(f"base-{ratio}", "base", ratio) for ratio in (2, 3, 4, 6)),
    )
}
MAX_Q = 0.05
STAGES = "clusters", "trajectories", "findings"
PARTS = "traits", "beside"
"""What can be measured again by itself: the test of traits, and what is said of attributes and of neighbours of concepts."""
FACTS = f"""\
This page shows how often the reports make each kind of statement, first in worlds where it is false, then where it is true.
`benchmarks/error_rates.py` measured this on synthetic cohorts whose truth is known ([worlds.md](worlds.md)). Each cell gives the
number of cohorts in which the statement was made, the share of all cohorts, and the 95 % interval of that share (Clopper and
Pearson 1934). Some sections count marks, changes, attributes or tasks instead of cohorts, and say so.

A *mark* is a concept that is more, or less, frequent in a cluster than among patients of the same disease and sex and of similar
age and amount of record. A cluster is *reliable* if other samples of the patients give the same cluster and its evidence is
clear. A group of clusters is reliable if one of its clusters is.

All cohorts of one kind are disjoint blocks of patients from the same world (seed {SEED}), in which every patient has one of five
skin diseases. In each world, a small encoder (width 32, one layer) is trained once, on {LEARNED_FROM:,} other patients. All
later steps, from the choice of concepts to the findings of the cluster report, run separately on each cohort with the demo's
settings. So each cohort has as many clusters as it supports. Steps that affect no statement are skipped: the map, the word
clouds, other clustering methods, and the stability of other numbers of clusters.

In worlds called *shuffled*, vectors are exchanged between patients of the same disease and sex and of similar age and amount of
record. There, the cluster of a patient says no more about the patient than these four do. In the other worlds without subgroups,
patients still have diagnoses that are recorded for years. *base-2* is the base world with every hazard ratio set to 2, and so
on. Worlds without groups share the same people and diagnoses. So cohorts with the same number in different worlds are not
independent, and the intervals for "all of them" are narrower than they should be.

Statements about predictions are measured by `benchmarks/verdicts.py`, on simulated studies of one task (*task-…*) or a few
(*tasks-…*). In *…-related*, the tasks of a study share four fifths of the variance of risks and of noise. The true risk of each
patient is known. The score of a model is this risk with added noise, which is larger for models with fewer labels. So the true
AUROC of each model is known too. All later steps use the code of the prediction report, from the choice of the best models on
the validation set to the sentences. The test set of a task has 600 or 2,400 patients, of whom one in seven has the outcome, and
there are 300 bootstrap draws. Each cell gives the number of studies, or of tasks.

Three kinds of statement are measured by `benchmarks/single_statements.py`, without an encoder: names that say what a cluster has
less often, clusters that come from other practices, and days of the year that stand out. There, clusters are groups of patients
drawn at random (*random-groups*), or come from k-means of counts. In *one-concept-less*, 90 % of the records of a concept are
removed from one of five random groups. In *one-concept-more*, half of the patients of one group have the concept at up to four
more visits. In *sites*, half of the practices replace 30 % of the codes by other codes.

*Now* is the current version of the report. *Before* is an earlier version: in the section on predictions, the one of commit
27f2601; elsewhere, the last version before error rates were measured, with the demo's settings of that time (20 clusters). If a
statement is made in none of 200 cohorts, the interval ends at 2 %; with 39 cohorts, it ends at 9 %."""


def measure(cohort: Cohort, first: str) -> dict[str, Any]:
    """What the page says of a cohort. Stages before `first` are not made again."""
    study, seconds = cohort.learned.pipeline.study, {}
    begun = time.perf_counter()
    cohort.embed()
    seconds["vectors"], begun = time.perf_counter() - begun, time.perf_counter()
    read = cohort.artifacts(assets.PATIENT_DATASET, assets.COHORT, assets.PATIENT_EMBEDDINGS, assets.VOCABULARY)
    if first == STAGES[0]:
        used = {"neighbours": study.clusters.neighbours, "permutations": study.clusters.permutations}
        cohort.make(assets.CLUSTERS, lambda out: clusters.build(read, study.clusters, study.study.seed, out), used)
    seconds["clusters"], begun = time.perf_counter() - begun, time.perf_counter()
    read |= cohort.artifacts(assets.CLUSTERS, assets.ENCODER_CHECKPOINT)
    windows = replace(study.trajectories, windows="off") if cohort.kind.shuffled else study.trajectories
    job = cohort.job(read, "windows")
    if first != STAGES[-1]:
        cohort.make(
            assets.PATIENT_TRAJECTORIES,
            lambda out: trajectories.build(read, windows, job, out, launch=here, planted=None),
        )
    seconds["trajectories"], begun = time.perf_counter() - begun, time.perf_counter()
    told = said(cohort)
    seconds["findings"] = time.perf_counter() - begun
    return told | {"seconds": {name: round(value, 2) for name, value in seconds.items()}}


def part_again(cohort: Cohort, part: str, known: dict[str, Any]) -> dict[str, Any]:
    """What is known of a cohort, with one of PARTS measured again."""
    if part == "traits":
        return traits_again(cohort, known)
    return known | near(cohort) | (audited(findings_of(cohort)) if (cohort.folder / assets.CLUSTERS).is_dir() else {})


def findings_of(cohort: Cohort) -> Findings:
    """The findings of the page, from a cohort's artifacts."""
    study = cohort.learned.pipeline.study
    names: tuple[str, ...] = (
        assets.EXTRACT_CATALOG,
        assets.DATA_SPLIT,
        assets.MAPPED_EVENTS,
        assets.VOCABULARY,
        assets.PATIENT_DATASET,
    )
    names += (assets.COHORT, assets.PATIENT_EMBEDDINGS, assets.CLUSTERS, assets.PATIENT_TRAJECTORIES)
    names += (assets.ENCODER_CHECKPOINT, assets.CONCEPT_EMBEDDINGS)
    read = cohort.artifacts(*names)
    used = {name: artifact.manifest["settings"] for name, artifact in read.items()}
    used[assets.PATIENT_EMBEDDINGS] = {"preset": study.embeddings.preset}
    return Findings(Inputs("", [], read, used, study.study.seed, {}), study.reports, cohort.folder / "notes")


def said(cohort: Cohort) -> dict[str, Any]:
    """The statements of the page, from a cohort's artifacts."""
    findings = findings_of(cohort)
    found, evidence = findings.enrichment, findings.evidence
    occurs = found.occurrences.sum(0) > 0
    log_q_patients = benjamini_hochberg(found.log_p_patients[:, occurs])
    stable = clustering.read_trust(cohort.made(assets.CLUSTERS).path)["clusters"]
    usable = [
        cluster_reliability.usable({"evidence": _recognised(findings, label), "stability": stable[str(number)]})
        for label, number in enumerate(findings.numbers.tolist())
    ]
    relied = np.flatnonzero(usable).tolist()
    own = findings.marks
    groups = read_groups(cohort.folder / "truth")
    true = with_true_groups(cohort, findings.clusters.ids, groups) if cohort.kind.plan == "base" else set()
    found_too = {
        (group, int(token))
        for group, part in _clusters_of(findings, groups).items()
        for token in own.tokens[own.more[part].any(axis=0)]
    }
    parts = [np.searchsorted(findings.numbers, group) for group in findings.groups]
    counted = [part for part in parts if set(part.tolist()) & set(relied)]
    planted = [_most_common(findings, part, groups) for part in counted]
    mostly = [name for name, share in planted if name and share > 0.5]
    common = [name for name, _ in planted if name]
    over = [name for part in counted for name in _over_represented(findings, part, groups, len(counted))]
    firsts = [_first_mark(findings, part) for part in counted]
    return {
        "patients": len(findings.labels),
        "clusters": len(findings.numbers),
        "verdict": evidence["verdict"],
        "persistent": evidence.get("persistent"),
        **traits_told(evidence["traits"]),
        "excess": evidence["excess"],
        "marks": int(own.more.sum() + own.less.sum()),
        "marks of the true groups": len(true),
        "of them found": len(true & found_too),
        "marked clusters": int((own.more | own.less).any(axis=1).sum()),
        "marks by occurrences": int((found.log_q < np.log(MAX_Q)).sum()),
        "marks by patients": int((log_q_patients < np.log(MAX_Q)).sum()),
        "relied on": len(relied),
        "groups of clusters relied on": len(counted),
        "planted groups relied on": len(set(mostly)),
        "one planted group twice": len(mostly) - len(set(mostly)),
        "one planted group most common twice": len(common) - len(set(common)),
        "one planted group over-represented twice": len(over) - len(set(over)),
        "one first mark twice": len(firsts) - len(set(map(str, firsts))),
        **audited(findings),
        **near(cohort),
        **({} if cohort.kind.shuffled else ways(cohort, findings)),
    }


def with_true_groups(cohort: Cohort, ids: pa.Array, groups: dict[str, str]) -> set[tuple[str, int]]:
    """What the test of marks finds when both halves of each patient's record get the patient's true group: group and token."""
    study = cohort.learned.pipeline.study
    read = cohort.artifacts(assets.PATIENT_DATASET, assets.COHORT, assets.PATIENT_EMBEDDINGS, assets.VOCABULARY)
    people = Patients.of(read, ids)
    halves = [people.half(name, study.study.seed) for name in HALVES]
    both = np.flatnonzero(halves[0].there & halves[1].there)
    names, labels = np.unique([groups.get(patient, "") for patient in ids.to_pylist()], return_inverse=True)
    roots = [root_shares(half.counts[both]) for half in halves]
    tested = marker_concepts.test(
        Halves((labels[both], labels[both]), (roots[0], roots[1])),
        Matching.of(people.described()).among(both).blockings(),
        people.visits(),
        labels,
        np.arange(len(names)),
    )
    return {
        (str(name), int(token))
        for name, flags in zip(names, tested.more, strict=True)
        if name
        for token in tested.tokens[flags]
    }


def ways(cohort: Cohort, findings: Findings) -> dict[str, int]:
    """The moves told, and how many of the planted ways from group to group are among them, where there are any."""
    moves = evolution.describe(findings)["moves"]
    if not (cohort.folder / "truth" / truth.CHANGES).is_file():
        return {"changes": len(moves)}
    planted = truth.PlantedChanges.read(cohort.folder / "truth")
    meaning = truth.meanings(planted, findings.clusters.table)
    told = [(meaning.get(move.left, ""), meaning.get(move.entered, "")) for move in moves]
    right = {(change.left, change.joined) for change in planted.changes.values()}
    return {
        "changes": len(moves),
        "planted ways": len(right),
        "planted ways told": len(right & set(told)),
        "ways between other groups": len({way for way in told if way[0] != way[1]} - right),
        "changes that were not planted": sum(way not in right for way in told),
    }


def _recognised(findings: Findings, label: int) -> str:
    halves = cluster_reliability.Halves.of(findings.evidence, int(findings.numbers[label]))
    return cluster_reliability.recognition(halves, int(findings.sizes[label]), findings.disclosure).evidence


def _first_mark(findings: Findings, part: NDArray[np.int64]) -> tuple[str, str]:
    """The disease of most patients of some clusters, and the first mark that they have."""
    mine = findings.clusters.table.filter(np.isin(findings.labels, part)).column("disease").to_pylist()
    named = [name for label in part.tolist() for name in cards.marks(findings.concept_tables[label])[:1]]
    return str(max(sorted(set(mine)), key=mine.count)), named[0] if named else f"nothing: {part}"


def _clusters_of(findings: Findings, groups: dict[str, str]) -> dict[str, NDArray[np.int64]]:
    """Places of the clusters of each planted group: those in which it is the most common one, and the one that most of it is in."""
    of = np.array([groups.get(patient, "") for patient in findings.clusters.ids.to_pylist()])
    names = sorted(set(of) - {""})
    shared = np.array([np.bincount(findings.labels[of == name], minlength=len(findings.numbers)) for name in names])
    return {
        name: np.union1d(np.flatnonzero(shared.argmax(axis=0) == place), [shared[place].argmax()])
        for place, name in enumerate(names)
    }


def _most_common(findings: Findings, part: NDArray[np.int64], groups: dict[str, str]) -> tuple[str, float]:
    """The most common planted group in some clusters (empty: none of them), and its share of their patients."""
    mine = findings.clusters.ids.filter(np.isin(findings.labels, part)).to_pylist()
    names, counts = np.unique([groups.get(patient, "") for patient in mine], return_counts=True)
    return str(names[counts.argmax()]), float(counts.max() / counts.sum())


def _over_represented(findings: Findings, part: NDArray[np.int64], groups: dict[str, str], parts: int) -> Iterator[str]:
    """The planted groups that are more frequent in some clusters than among all patients of the same diseases, beyond chance.

    One-sided Mantel-Haenszel test over diseases (1959, JNCI 22), at 5 % over all groups and `parts`.
    """
    names = np.array([groups.get(patient, "") for patient in findings.clusters.ids.to_pylist()])
    diseases, inside = findings.attributes["disease"], np.isin(findings.labels, part)
    planted = sorted(set(names) - {""})
    for name in planted:
        excess = variance = 0.0
        for disease in np.unique(diseases):
            own = diseases == disease
            n, here, of_group = int(own.sum()), int((own & inside).sum()), int((own & (names == name)).sum())
            excess += int((own & inside & (names == name)).sum()) - here * of_group / n
            variance += here * (n - here) * of_group * (n - of_group) / (n**2 * max(n - 1, 1))
        if variance > 0 and excess / variance**0.5 > -ndtri(MAX_Q / (parts * len(planted))):
            yield name


@contextmanager
def without_pictures() -> Iterator[None]:
    """Leave out what is drawn and decides no statement: the map of patients (principal axes instead), word clouds, courses."""

    def blank(path: Path, *_: Any, **__: Any) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")

    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(clusters, "project", _flat))
        stack.enter_context(
            mock.patch.object(cluster_stability, "adjusted_rand_score", return_value=0.0)
        )  # for choice.csv alone
        stack.enter_context(mock.patch.object(clustering, "_without_last", _two))
        for name in ("word_cloud", "map_of_courses"):
            stack.enter_context(mock.patch.object(pictures, name, blank))
        yield


def _two(whole: Spectrum) -> Spectrum:
    """Two numbers of clusters at most, whose stability is examined for a table."""
    return Spectrum(whole.coordinates[:, :2], whole.leading)


def _flat(vectors: Any, dimensions: int, *_: Any) -> Any:
    return np.ascontiguousarray(vectors[:, :dimensions])


def write(work: Path, name: str, note: str, only: Sequence[str] = ()) -> None:
    """Write the counts of a state of the methods, the page of error rates and the section of RESULTS.md."""
    told = rates.keep(name, rates.counted(work, name) | {"note": note}, only)
    rates.PAGE.write_text(rates.page(told, FACTS), encoding="utf-8")
    results.write("error_rates.py", "Error rates", rates.section(told, "error_rates.py"))


def commit() -> str:
    """The commit of the code that measures."""
    command = [shutil.which("git") or "git", "-C", str(Path(__file__).parent), "rev-parse", "--short=7", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _is_due(path: Path, again: str | None, now: str) -> bool:
    """Whether a cohort is to be measured: it never was, or by the code of another commit, and it is to be measured again."""
    if not path.is_file():
        return again is None or again in PARTS
    told = json.loads(path.read_text(encoding="utf-8"))
    return again is not None and told.get(f"commit of {again}" if again in PARTS else "commit") != now


def main() -> None:
    """Measure the cohorts asked for, then write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for worlds and cohorts")
    parser.add_argument("--name", default="now", help="name of this state of the methods")
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--size", type=int, default=1000, help="patients in a cohort")
    parser.add_argument("--cohorts", type=int, default=60, help="cohorts of each kind")
    parser.add_argument(
        "--again",
        choices=(*STAGES, *PARTS),
        help="measure again what another commit measured under this name, from this stage on, or one part alone",
    )
    parser.add_argument(
        "--seed", type=int, default=SEED, help="seed of the worlds; another one needs a folder of its own"
    )
    parser.add_argument("--only", nargs="+", default=[], help="with --write: only these statements")
    parser.add_argument("--write", action="store_true", help="only write the tables from what was measured")
    parser.add_argument("--note", default="", help="with --write: what has to be known of this state of the methods")
    options = parser.parse_args()
    cohorts.SEED = options.seed
    if options.write:
        write(options.work, options.name, options.note, options.only)
        return
    now = commit()
    waiting = [
        (KINDS[kind], number, path)
        for number in range(options.cohorts)
        for kind in options.kinds
        for path in [options.work / kind / str(options.size) / str(number) / f"{options.name}.json"]
        if _is_due(path, options.again, now)
    ]
    begun = time.perf_counter()
    with without_pictures():
        for done, (kind, number, path) in enumerate(waiting):
            cohort = Cohort(options.work, kind, options.size, number)
            if options.again in PARTS:
                known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"commit": now}
                told = part_again(cohort, options.again, known) | {f"commit of {options.again}": now}
            else:
                told = measure(cohort, options.again or STAGES[0]) | {"commit": now}
            path.write_text(json.dumps(told) + "\n", encoding="utf-8")
            left = (time.perf_counter() - begun) / (done + 1) * (len(waiting) - done - 1)
            print(f"{cohort.name}: {told}; {left / 60:.0f} min left", flush=True)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
