"""Estimate time, disk, memory and GPUs by stage and backend; check whether the settings fit the machines."""

import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ehr_pipeline.assets import ASSETS
from ehr_pipeline.assets.asset import Rate
from ehr_pipeline.encoder.settings import EncoderSettings
from ehr_pipeline.planning import rates, time_of_tasks
from ehr_pipeline.planning.machines import Machines
from ehr_pipeline.planning.rates import BACKENDS, Basis, Seconds
from ehr_pipeline.records import sizing
from ehr_pipeline.study.settings import Study
from ehr_pipeline.tables.asset_names import (
    CLUSTERS,
    ENCODER_CHECKPOINT,
    MAPPED_EVENTS,
    PATIENT_DATASET,
    PATIENT_EMBEDDINGS,
    RAW_RECORDS,
    TASK_RESULTS,
)
from ehr_pipeline.work.progress import duration

ROWS_PER_PATIENT = 1115
BYTES_PER_ROW_OF_TEXT, BYTES_PER_ROW_IN_STORE = 33, 25
ROWS_PER_BUCKET, GIGABYTES_PER_BUCKET = 3e6, 0.15
VOCABULARY, COHORT_SHARE = 36058, 0.02
QUADRATIC_UP_TO = 1_000_000


@dataclass(frozen=True)
class Need:
    """The time, disk space and memory that one stage needs."""

    stage: str
    seconds: Mapping[str, float | None]
    """By backend; None if no rate was measured."""
    disk: float = 0.0
    """GB in the store."""
    memory: float = 0.0
    """GB for each process or worker."""
    gpus: int = 0
    measured: str = ""
    """The size at which the time was measured and, if that differs much, the size of this study as a multiple of it."""


Assumptions = list[tuple[Basis, str]]


@dataclass(frozen=True)
class Plan:
    """The needs of all stages, the assumptions behind them, and the settings that do not fit."""

    needs: list[Need]
    assumptions: Assumptions
    problems: list[str] = field(default_factory=list)

    def text(self) -> str:
        """Return the plan as text for a terminal."""
        lines = [
            f"{'stage':<20}"
            + "".join(f"{name:>13}" for name in BACKENDS)
            + f"{'disk GB':>10}{'GB each':>9}{'GPUs':>6}  time measured at"
        ]
        for need in self.needs:
            times = "".join(f"{_time(need.seconds[name]):>13}" for name in BACKENDS)
            lines.append(
                f"{need.stage:<20}{times}{need.disk:>10,.0f}{need.memory:>9.1f}{need.gpus:>6}  {need.measured}"
            )
        totals = "".join(f"{_time(self.total(name)):>13}" for name in BACKENDS)
        lines.append(f"{'together':<20}{totals}{sum(need.disk for need in self.needs):>10,.0f}")
        for basis in Basis:
            lines += ["", f"{basis}:", *(f"- {text}" for kind, text in self.assumptions if kind == basis)]
        lines += ["", "The settings fit." if not self.problems else "The settings do not fit:"]
        return "\n".join([*lines, *(f"- {each}" for each in self.problems)])

    def total(self, backend: str) -> float | None:
        """Return the seconds for the whole chain; None if the time of any stage is unknown."""
        known = [need.seconds.get(backend) for need in self.needs]
        return None if None in known else sum(each for each in known if each is not None)


def plan(
    study: Study,
    rows: float,
    machines: Machines,
    *,
    gpu_tokens: float | None = None,
    speed: float = 1.0,
    kept: float = 1.0,
    patients: float | None = None,
    counted: str = "",
) -> Plan:
    """Estimate what a study with `rows` rows of text needs. `counted` is a sentence on where that number comes from.

    `patients`: their number; without it, each patient is assumed to have as many rows as in the published study.
    `gpu_tokens`: tokens per second on which one of your GPUs trains, preset `published` (`benchmarks/gpu_training.py`).
    `speed`: the speed of one of your cores, relative to the cores on which the rates were measured.
    `kept`: the share of the rows that become tokens.
    """
    launcher, patients, tokens = study.launcher, patients or rows / ROWS_PER_PATIENT, rows * kept
    share = _cohort_share(study)
    workers = {
        "inline": 1,
        "processes": min(study.records.workers, machines.first.cores),
        "ray": max(int(machines.cores // launcher.ray.bucket_cpus), 1),
        "slurm": min(launcher.slurm.array_tasks, machines.cores),
    }
    buckets = study.records.buckets or _buckets(rows)
    workers = {name: min(count, buckets) for name, count in workers.items()}
    per_bucket = _gigabytes(rows, buckets)
    needs = []
    disk = {RAW_RECORDS: rows * BYTES_PER_ROW_IN_STORE / 2, MAPPED_EVENTS: rows * BYTES_PER_ROW_IN_STORE / 2}
    disk[PATIENT_DATASET] = tokens * rates.BYTES_PER_EVENT
    for asset, rate in measured():
        seconds = {name: _seconds(rate, name, rows, count, speed) for name, count in workers.items()}
        size = _beyond(f"{rate.rows / 1e6:,.0f} M rows", rows / rate.rows)
        needs.append(Need(asset, seconds, disk.get(asset, 0) / 1e9, per_bucket if rate.alone < 1 else 0.5, 0, size))
    used = min(launcher.processes, machines.gpus)
    training, scoring = _network(study, tokens, machines, gpu_tokens, speed)
    embedding = scoring(2 * share * tokens)  # each record whole, and in two halves
    how = f"{rates.CPU_TOKENS_CORES} cores" if not machines.gpus else "your GPU" if gpu_tokens else "no GPU"
    needs.append(Need(ENCODER_CHECKPOINT, training, 1, rates.TRAINING_GIGABYTES, used, how))
    members = share * patients
    vectors = 3 * members * study.encoder.hidden_size * 4 / 1e9
    needs.append(Need(PATIENT_EMBEDDINGS, embedding, vectors, rates.TRAINING_GIGABYTES, used, how))
    needs.append(_clusters(members, machines, speed))
    asked = time_of_tasks.of(study, patients, tokens / patients)
    if asked.tasks:
        asking, size = asked.by_backend(scoring, speed), f"{rates.TASKS} tasks, {rates.TASKS_PATIENTS:,} patients"
        needs.append(Need(TASK_RESULTS, asking, 0, rates.TRAINING_GIGABYTES, used if asked.tokens else 0, size))
    given = _run_facts(study, rows, patients, speed=speed, kept=kept, buckets=buckets)
    reckoned = _reckoned(study, machines, gpu_tokens, workers)
    by = [(Basis.RECKONED, counted)] if counted else []
    made = Plan(needs, [*given, *_measured(), *by, *reckoned, *asked.assumptions(study)])
    made.problems.extend(_problems(study, machines, made, workers, per_bucket))
    return made


def _clusters(members: float, machines: Machines, speed: float) -> Need:
    """Return the time, disk space and memory needed to cluster `members` patients."""
    growth = (members / rates.CLUSTER_PATIENTS) ** (2 if members <= QUADRATIC_UP_TO else 1.2)
    size = _beyond(f"{rates.CLUSTER_PATIENTS:,} patients", members / rates.CLUSTER_PATIENTS)
    seconds = rates.CLUSTER_SECONDS * rates.CLUSTER_CORES * growth / speed / machines.first.cores
    return Need(CLUSTERS, dict.fromkeys(BACKENDS, seconds), 0, members * 1024 * 4 / 1e9 + 1, 0, size)


def _network(
    study: Study, tokens: float, machines: Machines, gpu_tokens: float | None, speed: float
) -> tuple[Seconds, Callable[[float], Seconds]]:
    """Return the seconds of training, and a function that returns the seconds for reading a number of tokens; both by backend.

    The seconds are None where no rate was measured.
    """
    shape, processes = mflop(study.encoder) / rates.CPU_TOKEN_MFLOP, study.launcher.processes
    learned = mflop(study.encoder, passes=1 + len(study.encoder.auxiliary_weights)) / rates.CPU_TOKEN_MFLOP
    used = min(processes, machines.gpus)
    one = min(processes, machines.first.gpus)
    passes = study.encoder.epochs * tokens
    training: Seconds = {}
    rate_of_scoring: Seconds = {}
    for name in BACKENDS:
        gpus = used if name in ("ray", "slurm") else one if name == "processes" else min(one, 1)
        cores = (
            machines.first.cores
            if name in ("inline", "processes")
            else min(machines.cores, processes * machines.first.cores)
        )
        if gpus:
            rate_of_all = gpu_tokens * gpus / shape if gpu_tokens else None
            training[name] = passes * learned / shape / rate_of_all if rate_of_all else None
            rate_of_scoring[name] = 3 * rate_of_all if rate_of_all else None
        else:
            training[name] = passes * learned / (rates.CPU_TOKENS / rates.CPU_TOKENS_CORES * cores * speed)
            rate_of_scoring[name] = rates.EMBEDDED_TOKENS / rates.EMBEDDED_CORES * cores * speed / shape

    def scoring(number: float) -> Seconds:
        return {name: number / rate if rate else None for name, rate in rate_of_scoring.items()}

    return training, scoring


def mflop(encoder: EncoderSettings, vocabulary: int = VOCABULARY, passes: int = 1) -> float:
    """Return the millions of operations to train on one token: six per weight of the layers and, for masked tokens, of the head.

    Each auxiliary loss adds one to the `passes` through the layers.
    """
    h, layers = encoder.hidden_size, encoder.layers
    return (
        6 * (passes * layers * (4 * h * h + 2 * h * encoder.feed_forward) + encoder.mask_share * vocabulary * h) / 1e6
    )


def _buckets(rows: float) -> int:
    wanted = max(int(-(-rows * BYTES_PER_ROW_OF_TEXT // sizing.BYTES_PER_BUCKET)), 1)
    return min(max(1 << (wanted - 1).bit_length(), sizing.MIN_BUCKETS), sizing.MAX_BUCKETS)


def _gigabytes(rows: float, buckets: int) -> float:
    """Return the memory, in GB, that the work on one bucket takes."""
    return GIGABYTES_PER_BUCKET * max(rows / buckets / ROWS_PER_BUCKET, 0.1)


def measured() -> Iterator[tuple[str, Rate]]:
    """Return the assets with a measured time per row, in the order of the chain."""
    return ((asset.name, asset.rate) for asset in ASSETS.values() if asset.rate)


def _seconds(rate: Rate, backend: str, rows: float, workers: int, speed: float) -> float:
    """Estimate the seconds to make an asset: the work in one process, the work spread over workers, and the overhead.

    The overhead is the time to send work to workers. It includes starting a process for each piece of work, but not the waiting
    time in a cluster's queue."""
    sending = rates.OVERHEAD.get(backend, 0.0) if rate.alone < 1 else 0.0
    return rate.seconds * rows / rate.rows / speed * (rate.alone + (1 - rate.alone) * rate.workers / workers) + sending


def _beyond(size: str, times: float) -> str:
    """Return, as text, the size at which a time was measured; with the factor `times`, if this study's size is very different."""
    return size if 0.5 <= times <= 2 else f"{size} (this is {times:,.2g} times that)"


def _cohort_share(study: Study) -> float:
    """Return the share of the patients that are in the cohort: all of them, if any disease has no list."""
    return 1.0 if any(not disease.concepts for disease in study.embeddings.cohort) else COHORT_SHARE


def _run_facts(
    study: Study, rows: float, patients: float, *, speed: float, kept: float, buckets: int
) -> Iterator[tuple[Basis, str]]:
    text = rows * BYTES_PER_ROW_OF_TEXT / 1e9
    for each in (
        f"{rows:,.0f} rows of {BYTES_PER_ROW_OF_TEXT} bytes: {text:,.0f} GB of text in the landing folder",
        f"{patients:,.0f} patients, {rows / patients:,.0f} rows each (the published study has {ROWS_PER_PATIENT:,});"
        f" {kept:.0%} of the rows become tokens (--kept)",
        f"a core is {speed:g} times as fast as those measured (--speed)",
        f"training: all {study.encoder.epochs} epochs, with a vocabulary of {VOCABULARY:,}",
        f"embedding: {_cohort_share(study):.0%} of the patients, each as a whole record and as two halves",
        (
            f"{buckets:,} buckets of {rows / buckets:,.0f} rows, {_gigabytes(rows, buckets):.2f} GB of memory each; the disk is"
            " assumed to be fast enough"
        ),
    ):
        yield Basis.GIVEN, each


def _measured() -> Iterator[tuple[Basis, str]]:
    """Yield the measured figures. A test compares them with benchmarks/RESULTS.md."""
    for asset, rate in measured():
        yield (
            Basis.MEASURED,
            f"{asset}: {rate.seconds:g} s for {rate.rows:,.0f} rows on {rate.workers} cores ({rate.source}); {rate.alone:.0%} of"
            " that (backends.py) runs in one process with every backend",
        )
    sending = ", ".join(f"{seconds:g} s with {name}" for name, seconds in rates.OVERHEAD.items())
    for each in (
        f"training: {rates.CPU_TOKENS:,.0f} tokens/s of {rates.CPU_TOKEN_MFLOP:g} MFLOP on {rates.CPU_TOKENS_CORES} cores"
        " in float32 (training.py)",
        f"embedding: {rates.EMBEDDED_TOKENS / rates.EMBEDDED_CORES:,.0f} tokens/s per core (embedding.py)",
        f"clustering: {rates.CLUSTER_SECONDS:g} s on {rates.CLUSTER_CORES} cores for {rates.CLUSTER_PATIENTS:,} patients"
        " (clustering.py)",
        f"memory: {rates.RUN_GIGABYTES:g} GB for the run itself (data_scale.py), in addition to the memory of each worker",
        f"time to submit work and start its processes: {sending} (backends.py)",
        f"disk: {BYTES_PER_ROW_IN_STORE} bytes per row for records and events, {rates.BYTES_PER_EVENT} per token (data_scale.py)",
    ):
        yield Basis.MEASURED, each


def _reckoned(
    study: Study, machines: Machines, gpu_tokens: float | None, workers: dict[str, int]
) -> Iterator[tuple[Basis, str]]:
    found = [
        "times grow in proportion to rows, and fall in proportion to the workers on buckets: "
        + ", ".join(f"{count} with {name}" for name, count in workers.items())
        + "; waiting time in the queue of a cluster is not included",
        (
            f"training needs {mflop(study.encoder):.0f} MFLOP per token; rates grow in proportion to cores, and inversely"
            " to MFLOP per token"
        ),
        f"clustering grows with the square of the patients, up to {QUADRATIC_UP_TO:,} patients",
        "the catalog, the split, the concept check and the report take under a minute each",
    ]
    if machines.gpus:
        found.append(
            f"{gpu_tokens:,.0f} tokens/s of one GPU with the preset 'published' (--gpu-tokens), multiplied by the number of GPUs;"
            " embedding takes a third of the work of training"
            if gpu_tokens
            else (
                "no GPU was measured: run benchmarks/gpu_training.py on a GPU like those you will use, and give its tokens per"
                " second as --gpu-tokens"
            )
        )
    if study.launcher.backend == "kubernetes":
        found.append(
            "nothing was measured on Kubernetes: with as many pods as tasks, work on buckets takes about as long as in the column"
            " for slurm; training uses the GPUs of one machine, as with processes"
        )
    yield from ((Basis.RECKONED, each) for each in found)


def _problems(
    study: Study, machines: Machines, made: Plan, workers: dict[str, int], per_bucket: float
) -> Iterator[str]:
    backend, first = study.launcher.backend, machines.first
    together = per_bucket * workers["processes"] + rates.RUN_GIGABYTES
    if backend in ("inline", "processes") and together > first.gigabytes:
        yield (
            f"records.workers = {study.records.workers} takes {together:.0f} GB in work on buckets, but the machine has"
            f" {first.gigabytes:g}: use fewer workers, or more records.buckets"
        )
    if backend == "processes" and study.records.workers < first.cores // 2:
        yield f"records.workers = {study.records.workers} leaves most of {first.cores} cores idle"
    if backend in ("inline", "processes") and len(machines.each) > 1:
        yield f"launcher.backend = {backend!r} uses one of {len(machines.each)} machines; 'ray', 'slurm' and 'kubernetes' use all"
    reach = machines.gpus if backend in ("ray", "slurm") else first.gpus
    if reach and study.launcher.processes != reach:
        yield f"launcher.processes = {study.launcher.processes}, but {reach} GPUs can be used: set one process per GPU"
    if backend == "ray" and machines.gpus and not study.launcher.ray.job_gpus:
        yield "launcher.ray.job_gpus = 0, so training asks Ray for no GPU"
    if backend == "ray" and 0 < study.launcher.ray.bucket_gigabytes < per_bucket:
        yield f"launcher.ray.bucket_gigabytes = {study.launcher.ray.bucket_gigabytes:g}, but a bucket takes {per_bucket:.2f} GB"
    cluster = study.launcher.kubernetes
    if backend == "kubernetes" and machines.gpus and not cluster.job_gpus:
        yield "launcher.kubernetes.job_gpus = 0, so training asks the cluster for no GPU"
    if backend == "kubernetes" and 0 < cluster.bucket_gigabytes < per_bucket:
        yield f"launcher.kubernetes.bucket_gigabytes = {cluster.bucket_gigabytes:g}, but a bucket takes {per_bucket:.2f} GB"
    store = Path(study.study.store)
    existing = next(path for path in (store, *store.parents) if path.exists())
    free, needed = shutil.disk_usage(existing).free / 1e9, sum(need.disk for need in made.needs)
    if free < needed:
        yield f"study.store: needs {needed:,.0f} GB, but {free:,.0f} GB are free on this machine"
    total, limit = made.total(backend), study.operation.max_runtime_hours * 3600
    if total and total > limit:
        hours = f"operation.max_runtime_hours = {limit / 3600:g}"
        yield f"a run takes {duration(total)}, but automatic runs end after {hours}"


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "not known"
    days = seconds / 86400
    return f"{days:,.0f} days" if days >= 4 else duration(seconds)
