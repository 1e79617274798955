"""What must hold of every artifact. The same checks show in the Dagster UI, gate every consumer, and run in CI.

A check is a function that reads a published artifact and yields what it found. Blocking checks are those whose failure would
ruin what follows: nothing is built on an artifact that failed one.
"""

import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ehr_pipeline import fields, schemas
from ehr_pipeline.artifacts import KEPT_WITHOUT_CONSENT, STAGES, Artifact, Store, hash_of, unbalanced
from ehr_pipeline.fields import file_hash
from ehr_pipeline.records import catalog, drift, removals
from ehr_pipeline.settings import Study
from ehr_pipeline.vocabulary.table import Vocabulary

ORDER = tuple(STAGES)


@dataclass(frozen=True)
class Outcome:
    """The result of one check. `figures` are numbers that may be shown to anyone."""

    name: str
    passed: bool
    message: str
    blocking: bool = True
    figures: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Check:
    """A check of one asset."""

    name: str
    description: str
    test: Callable[[Artifact, Store, Study], tuple[bool, str, dict[str, float]]]
    blocking: bool = True
    applies: Callable[[Study], bool] = lambda study: True


Found = tuple[bool, str, dict[str, float]]


def _rows_conserved(artifact: Artifact, store: Store, study: Study) -> Found:
    lost = {key or "rows": unbalanced(counts) for key, counts in _counted(artifact.counts)}
    wrong = {name: number for name, number in lost.items() if number}
    return (
        not wrong,
        f"unaccounted for: {wrong}" if wrong else "in = kept + collapsed + dropped",
        {"unaccounted": float(sum(map(abs, lost.values())))},
    )


def _counted(counts: dict[str, Any], name: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """The counts and those nested in them that have rows_in."""
    if "rows_in" in counts:
        yield name, counts
    for key, inner in counts.items():
        if isinstance(inner, dict) and "rows_in" in inner:
            yield from _counted(inner, key)


def _schema(folder: str, expected: Callable[[Artifact, Study], Any]) -> Callable[[Artifact, Store, Study], Found]:
    def test(artifact: Artifact, store: Store, study: Study) -> Found:
        problems = [
            problem
            for path in artifact.files(folder)
            for problem in schemas.differences(path, expected(artifact, study))
        ]
        return (
            not problems,
            "; ".join(problems[:5]) or "every shard has the columns it should have",
            {"shards": float(len(artifact.files(folder)))},
        )

    return test


def _rows_as_counted(folder: str, count: Callable[[Artifact], int]) -> Callable[[Artifact, Store, Study], Found]:
    def test(artifact: Artifact, store: Store, study: Study) -> Found:
        rows = sum(schemas.read(path).num_rows for path in artifact.files(folder))
        told = count(artifact)
        return rows == told, f"the shards hold {rows:,} rows, the manifest says {told:,}", {"rows": float(rows)}

    return test


def _rows_taken_up(upstream: str, key: str, upstream_key: str = "") -> Callable[[Artifact, Store, Study], Found]:
    """What a stage took in is what the stage before it put out."""

    def test(artifact: Artifact, store: Store, study: Study) -> Found:
        before = store.current(upstream).counts
        out = (before[upstream_key] if upstream_key else before)["kept"]
        taken = (artifact.counts[key] if key else artifact.counts)["rows_in"]
        return taken == out, f"{upstream} put out {out:,}, {taken:,} were taken in", {"rows_in": float(taken)}

    return test


def _coverage(artifact: Artifact, store: Store, study: Study) -> Found:
    share, floor = artifact.counts["coverage_of_events"], study.events.coverage_floor
    worst = json.loads(artifact.file("coverage.json").read_text(encoding="utf-8"))["by_namespace"]
    lost = ", ".join(f"{name} {row['events'] - row['mapped_events']:,}" for name, row in list(worst.items())[:3])
    message = f"{share:.1%} of events are mapped (events.coverage_floor = {floor:.1%}); most lost: {lost}"
    return (
        share >= floor,
        message,
        {"coverage_of_events": share, "coverage_of_codes": artifact.counts["coverage_of_codes"]},
    )


def _size(artifact: Artifact, store: Store, study: Study) -> Found:
    size, smallest = artifact.counts["kept"], study.vocabulary.min_size
    return size >= smallest, f"{size:,} concepts (vocabulary.min_size = {smallest:,})", {"concepts": float(size)}


def _tokens_in_vocabulary(artifact: Artifact, store: Store, study: Study) -> Found:
    size = store.current("vocabulary").counts["kept"]
    outside = 0
    for path in artifact.files("patients"):
        tokens = (
            schemas.read(path, ["visits"])
            .column("visits")
            .combine_chunks()
            .flatten()
            .field("concepts")
            .flatten()
            .to_numpy()
        )
        outside += int(((tokens < 5) | (tokens >= 5 + size)).sum())
    return not outside, f"{outside:,} token ids lie outside the vocabulary", {"outside": float(outside)}


def _no_patient_on_both_sides(artifact: Artifact, store: Store, study: Study) -> Found:
    dataset = store.current("patient_dataset")
    seen, twice, misplaced = {"train": 0, "validation": 0}, 0, 0
    for path in artifact.files("split"):
        table = schemas.read(path)
        ids, sides = table.column("patient_id").to_pylist(), table.column("side").to_pylist()
        twice += len(ids) - len(set(ids))  # a patient lies in one bucket only, so shards do not share patients
        misplaced += (
            ids != schemas.read(dataset.file(f"patients/{path.name}"), ["patient_id"]).column("patient_id").to_pylist()
        )
        for side in seen:
            seen[side] += sides.count(side)
    passed = not twice and not misplaced and all(seen.values())
    return (
        passed,
        f"{twice} patients stand on both sides; {misplaced} shards do not fit the data set",
        {side: float(number) for side, number in seen.items()},
    )


def _better_than_frequency(artifact: Artifact, store: Store, study: Study) -> Found:
    metrics = json.loads(artifact.file("metrics.json").read_text(encoding="utf-8"))
    loss, baseline = metrics["best"]["validation_loss"], metrics["baseline"]["loss"]
    message = f"validation loss {loss:.3f}, by frequency alone {baseline:.3f}"
    return bool(np.isfinite(loss) and loss < baseline), message, {"validation_loss": loss, "baseline_loss": baseline}


def _checkpoint_fits(artifact: Artifact, store: Store, study: Study) -> Found:
    vocabulary = Vocabulary.read(store.current("vocabulary").path)
    config = json.loads(artifact.file("checkpoint/config.json").read_text(encoding="utf-8"))
    found, own = config["vocabulary_hash"], vocabulary.first(config["vocab_size"])
    message = f"trained with vocabulary {found}; the current one is {vocabulary.hash}"
    added = vocabulary.size - own.size
    if found == own.hash and added:
        message += f", which it grew into by {added:,} concepts that this encoder does not know"
    return found == own.hash, message, {"unknown_concepts": float(added)}


def _vectors_finite(artifact: Artifact, store: Store, study: Study) -> Found:
    vectors = np.load(artifact.file("vectors.npy"), mmap_mode="r")
    bad = int((~np.isfinite(vectors)).any(1).sum())
    return not bad, f"{bad} of {len(vectors):,} concept vectors are not finite", {"not_finite": float(bad)}


SAME = "their pooled concepts do not differ. Widen the cohort, or pool other concepts (embeddings.pooling)"


def _embeddings_sound(artifact: Artifact, store: Store, study: Study) -> Found:
    count, bad, zero, direction = 0, 0, 0, np.zeros(artifact.counts["dimensions"])
    for path in artifact.files("embeddings"):
        vectors = (
            schemas.read(path, ["vector"])
            .column("vector")
            .combine_chunks()
            .flatten()
            .to_numpy()
            .reshape(-1, len(direction))
        )
        finite = np.isfinite(vectors).all(1)
        count, bad = count + len(vectors), bad + int((~finite).sum())
        zero += int((~vectors.any(1)).sum())
        direction += (vectors[finite] / np.maximum(np.linalg.norm(vectors[finite], axis=1, keepdims=True), 1e-12)).sum(
            0
        )
    if bad:
        return False, f"{bad} patient vectors are not finite", {"not_finite": float(bad)}
    if count > 1 and zero == count:  # without the mean over the cohort nothing is left of anybody
        return False, f"all patients have one vector: {SAME}", {"spread": 0.0}
    spread = float(1 - np.linalg.norm(direction / max(count, 1)) ** 2)  # 0 when all vectors point the same way
    return (
        count < 2 or spread > 1e-4,
        f"spread of directions {spread:.4f} (0 means that all patients have one vector: {SAME})",
        {"spread": spread},
    )


def _everybody_accounted_for(artifact: Artifact, store: Store, study: Study) -> Found:
    passed = artifact.counts["rows_in"] == store.current("cohort").counts["kept"]
    dropped = sum(artifact.counts["dropped"].values())
    told = (
        f"{dropped:,}"
        if dropped >= study.reports.suppress_below or not dropped
        else f"fewer than {study.reports.suppress_below}"
    )
    return passed, f"{told} cohort patients have no chosen concept, and so no vector", {}


def _no_empty_cluster(artifact: Artifact, store: Store, study: Study) -> Found:
    clusters, n = artifact.counts["clusters"], study.clusters.n
    return clusters == n, f"{clusters} of {n} clusters have patients", {"clusters": float(clusters)}


def _eigenvectors_converged(artifact: Artifact, store: Store, study: Study) -> Found:
    found = artifact.counts["eigenvectors"]
    lost = found["wanted"] - found["converged"]
    message = f"{found['converged']} of {found['wanted']} eigenvectors converged (largest residual {found['largest_residual']:.1e})"
    if lost:
        message += "; the graph has no clear gap there: look at choice.csv for a better clusters.n"
    return not lost, message, {"not_converged": float(lost), "largest_residual": found["largest_residual"]}


def _clusters_stable(artifact: Artifact, store: Store, study: Study) -> Found:
    found = artifact.counts["stability"]
    told = ", ".join(f"{number} {word}" for word, number in found.items() if number)
    return (
        not found["unstable"],
        f"clusters: {told} (trust.json)",
        {word: float(number) for word, number in found.items()},
    )


def _evidence(artifact: Artifact, store: Store, study: Study) -> Found:
    test = artifact.counts["split_half"]
    figures = {name: test[name] for name in ("recognised", "expected", "excess") if test[name] is not None}
    return test["verdict"] in ("clear", "weak"), f"split-half test: {test['verdict']} evidence of subgroups", figures


def _planted_groups(artifact: Artifact, store: Store, study: Study) -> Found:
    found = json.loads(artifact.file("agreement.json").read_text(encoding="utf-8"))["vectors"]
    index, homogeneity = found["encoder"]["adjusted_rand_index"], found["encoder"]["homogeneity"]
    baseline = found["baseline"]["adjusted_rand_index"]
    message = (
        f"adjusted Rand index {index:.3f} (baseline without a model {baseline:.3f}), homogeneity {homogeneity:.3f}"
    )
    return (
        index >= 0.7 and homogeneity >= 0.75,
        message,
        {"adjusted_rand_index": index, "homogeneity": homogeneity, "baseline_adjusted_rand_index": baseline},
    )


def _clustered_taken_up(artifact: Artifact, store: Store, study: Study) -> Found:
    if artifact.counts["windows"] == "off":
        return True, "trajectories.windows = 'off'", {}
    return _rows_taken_up("clusters", "patients")(artifact, store, study)


def _planted_changes(artifact: Artifact, store: Store, study: Study) -> Found:
    found = artifact.counts.get("agreement")
    if found is None or not found["changed"]:
        return True, "no change that can be seen was planted", {}
    share, chance, same = (found[name] for name in ("changed_found", "changed_found_by_chance", "unchanged_found"))
    message = (
        f"{share:.1%} of planted changes were found with both groups right (by chance {chance:.1%});"
        f" {same:.1%} of the other patients keep their group"
    )
    return share >= 0.5 and same >= 0.7, message, {"changed_found": share, "by_chance": chance, "unchanged_found": same}


def _page_whole(artifact: Artifact, store: Store, study: Study) -> Found:
    text = artifact.file("report.html").read_text(encoding="utf-8")
    outside = text.count('src="http') + text.count('href="http')
    return (
        text.rstrip().endswith("</html>") and not outside,
        f"{len(text) / 1e6:.1f} MB, {outside} links to the network",
        {"megabytes": len(text) / 1e6},
    )


def _drift(kind: str, told: str) -> Callable[[Artifact, Store, Study], Found]:
    """The newest extract of the catalog beside the one before it."""

    def test(artifact: Artifact, store: Store, study: Study) -> Found:
        listed = json.loads(store.current("extract_catalog").file("catalog.json").read_text(encoding="utf-8"))
        if len(listed) < 2:
            return True, "there is no extract before this one", {}
        before, newest = sorted(listed)[-2:]
        old, new = (drift.profile(store.current("raw_records", name).path) for name in (before, newest))
        if min(old.patients, new.patients) < max(drift.SMALLEST, study.reports.suppress_below):
            return True, f"too few patients in the bucket to compare {newest} with {before}", {}
        found = drift.differences(new, old, _mapped_codes(artifact.file("mapping.csv"))).get(kind)
        if found is None:
            return True, f"{newest} or {before} does not tell it", {}
        limit = drift.LIMITS[kind]
        message = f"{newest} beside {before}: {told} {found:.3f} (a drift from {limit:g} on)"
        return found < limit, message, {kind: found}

    return test


@cache
def _mapped_codes(path: Path) -> frozenset[str]:
    """The codes that have a concept, as they are recorded."""
    with path.open(encoding="utf-8", newline="") as stream:
        return frozenset(row["code"] for row in csv.DictReader(stream) if row["concept"])


def population(asset: str, store: Store, study: Study) -> str:
    """Whose data an artifact that is made now may hold: changes when patients withdraw, or a newer snapshot replaces an older one.

    Empty while everybody who ever was in an extract may be in it.
    """
    withdrawals = file_hash(Path(study.records.withdrawals)) if study.records.withdrawals else ""
    snapshot = study.records.mode == "snapshot" and asset != "raw_records"
    extracts = list(catalog.versions(store, "snapshot")) if snapshot else []
    return hash_of([withdrawals, extracts]) if withdrawals or extracts else ""


def _of_present_patients(artifact: Artifact, store: Store, study: Study) -> Found:
    """Fails for an artifact from before the last removal of patients, unless what it was made of is the same still."""
    asset = artifact.manifest["asset"]
    if asset == "raw_records":
        passed = artifact.manifest["settings"].get("withdrawals", "") == fields.identity(study.records)["withdrawals"]
    else:
        inputs = {name: version for name, version in artifact.manifest["inputs"].items() if name in STAGES}
        same = all(store.has(name) and store.current(name).data_version == inputs[name] for name in inputs)
        passed = same or artifact.manifest["population"] == population(asset, store, study)
    if passed:
        return True, "no patient has left since", {}
    made_at = artifact.manifest["made_at"]
    left = sum(removal["patients"] for removal in removals.recorded(store) if removal["at"] >= made_at)
    if asset in KEPT_WITHOUT_CONSENT and not left and _removals_are_recorded(store, study):
        return (
            True,
            "no patient has left since",
            {},
        )  # there is a newer snapshot, or another list, that nobody is missing from
    smallest = study.reports.suppress_below
    told = f"{left:,} patients have" if left >= smallest else f"some patients (fewer than {smallest}) have"
    figures = {"removed_since": float(left)} if left >= smallest else {}
    return False, f"{told} left since {asset} was made ({made_at}). Materialise it again.", figures


def _removals_are_recorded(store: Store, study: Study) -> bool:
    """Whether the current catalog was made with the extracts and the list of withdrawals that there are."""
    catalog = store.current("extract_catalog")
    return bool(catalog.manifest["population"] == population("extract_catalog", store, study))


_PRESENT = Check(
    "patients_present", "Nobody who withdrew, or is absent from the newest snapshot, is in it.", _of_present_patients
)
_CONSERVED = Check(
    "rows_conserved", "Every row that came in was kept, collapsed, or dropped with a reason.", _rows_conserved
)

CHECKS: dict[str, tuple[Check, ...]] = {
    "raw_records": (
        _CONSERVED,
        Check("schema", "Columns of the event shards.", _schema("events", lambda artifact, study: schemas.RAW_EVENTS)),
        Check(
            "patient_schema",
            "Columns of the patient shards.",
            _schema("patients", lambda artifact, study: schemas.patients(study.records.attributes)),
        ),
        Check(
            "rows_as_counted",
            "The shards hold as many events as were counted.",
            _rows_as_counted("events", lambda a: int(a.counts["kept"])),
        ),
    ),
    "extract_catalog": (_CONSERVED,),
    "mapped_events": (
        _CONSERVED,
        Check("schema", "Columns of the shards.", _schema("events", lambda artifact, study: schemas.MAPPED_EVENTS)),
        Check(
            "rows_as_counted",
            "The shards hold as many events as were counted.",
            _rows_as_counted("events", lambda a: int(a.counts["kept"])),
        ),
        Check("rows_taken_up", "Every raw event was taken up.", _rows_taken_up("extract_catalog", "")),
        Check("mapping_coverage", "Share of events with a concept, against events.coverage_floor.", _coverage),
        *(
            Check(
                f"drift_{kind}",
                f"The newest extract beside the one before: {told}.",
                _drift(kind, told),
                blocking=False,
            )
            for kind, told in (
                ("volume", "events per patient, relative difference"),
                ("codes", "difference of the code mix (0 to 1)"),
                ("ages", "years between the mean years of birth"),
                ("coverage", "difference of the share of events with a concept"),
            )
        ),
    ),
    "vocabulary": (
        _CONSERVED,
        Check(
            "rows_taken_up",
            "The concepts of every mapped event were counted.",
            _rows_taken_up("mapped_events", "events"),
        ),
        Check("vocabulary_size", "Enough concepts to train on, against vocabulary.min_size.", _size),
    ),
    "patient_dataset": (
        _CONSERVED,
        Check(
            "schema",
            "Columns of the shards.",
            _schema("patients", lambda artifact, study: schemas.patient_dataset(study.attributes)),
        ),
        Check("rows_taken_up", "Every mapped event was taken up.", _rows_taken_up("mapped_events", "")),
        Check(
            "rows_as_counted",
            "The shards hold as many patients as were counted.",
            _rows_as_counted("patients", lambda a: int(a.counts["patients"]["kept"])),
        ),
        Check("tokens_in_vocabulary", "Every token id belongs to a concept of the vocabulary.", _tokens_in_vocabulary),
    ),
    "data_split": (
        _CONSERVED,
        Check("schema", "Columns of the shards.", _schema("split", lambda artifact, study: schemas.SPLIT)),
        Check(
            "no_patient_on_both_sides",
            "Each patient is on one side, and both sides have patients.",
            _no_patient_on_both_sides,
        ),
    ),
    "encoder_checkpoint": (
        Check(
            "better_than_frequency",
            "The validation loss is finite, and better than guessing by frequency.",
            _better_than_frequency,
        ),
        Check(
            "vocabulary_fits",
            "The checkpoint was trained with the current vocabulary, or with one that grew into it.",
            _checkpoint_fits,
        ),
    ),
    "concept_embeddings": (
        _CONSERVED,
        Check("vectors_finite", "No concept vector holds NaN or infinity.", _vectors_finite),
    ),
    "cohort": (_CONSERVED,),
    "patient_embeddings": (
        _CONSERVED,
        Check("everybody_accounted_for", "Every cohort patient has a vector, or is counted.", _everybody_accounted_for),
        Check("embeddings_sound", "Vectors are finite, and do not all point the same way.", _embeddings_sound),
    ),
    "clusters": (
        _CONSERVED,
        Check("no_empty_cluster", "As many clusters as asked for.", _no_empty_cluster),
        Check(
            "eigenvectors_converged",
            "The eigenvectors that spectral clusters are made of are exact.",
            _eigenvectors_converged,
            blocking=False,
            applies=lambda study: study.clusters.method == "spectral",
        ),
        Check(
            "clusters_stable",
            "Random halves of the patients give the same clusters, against clusters.unstable_below.",
            _clusters_stable,
            blocking=False,
        ),
        Check(
            "evidence_of_subgroups", "The split-half test finds more agreement than chance.", _evidence, blocking=False
        ),
        Check(
            "planted_groups",
            "On synthetic extracts: clusters agree with what was planted.",
            _planted_groups,
            blocking=False,
            applies=lambda study: bool(study.clusters.truth),
        ),
    ),
    "patient_trajectories": (
        _CONSERVED,
        Check("clustered_taken_up", "Every clustered patient was taken up, or is counted.", _clustered_taken_up),
        Check(
            "planted_changes",
            "On synthetic extracts where patients change: the transitions are those that were planted.",
            _planted_changes,
            blocking=False,
            applies=lambda study: bool(study.clusters.truth),
        ),
    ),
    "cluster_reports": (
        _CONSERVED,
        Check("page_whole", "The page is complete, and links to nothing outside.", _page_whole),
    ),
}


CHECKS = {name: (_PRESENT, *checks) for name, checks in CHECKS.items()} | {
    # A checkpoint holds no patient, but it has learnt from those who left: it is flagged, and used until it is trained again.
    "encoder_checkpoint": (replace(_PRESENT, blocking=False), *CHECKS["encoder_checkpoint"]),
}


def passes(name: str, asset: str, artifact: Artifact, store: Store, study: Study) -> bool:
    """Whether an artifact, current or not, passes one check."""
    return next(check.test(artifact, store, study)[0] for check in CHECKS[asset] if check.name == name)


def evaluate(asset: str, artifact: Artifact, store: Store, study: Study) -> list[Outcome]:
    """Run the checks of an asset on its artifact."""
    outcomes = []
    for check in CHECKS[asset]:
        if check.applies(study):
            passed, message, figures = check.test(artifact, store, study)
            outcomes.append(Outcome(check.name, passed, message, check.blocking, figures))
    return outcomes
