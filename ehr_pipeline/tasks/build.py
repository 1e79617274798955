"""Build `task_labels`: the labels of all tasks, and the reasons for missing labels, one bucket of patients at a time.

The label is all that the tables reveal of a patient's future: they contain no events.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ehr_pipeline.patients.settings import EVERY_SIDE
from ehr_pipeline.store.artifacts import Artifact, Counts
from ehr_pipeline.store.secret_key import Key
from ehr_pipeline.tables import schemas
from ehr_pipeline.tasks import censoring, data_end, label_file, meds, screen
from ehr_pipeline.tasks.assign_labels import DIED, ENDS, REASONS, LabelAssignment, assign
from ehr_pipeline.tasks.data_end import NEVER, DataEnd
from ehr_pipeline.tasks.index_dates import find_index_dates
from ehr_pipeline.tasks.label_job import LabelJob
from ehr_pipeline.tasks.records import Deaths, FollowUp, Records
from ehr_pipeline.tasks.rule import Rule
from ehr_pipeline.tasks.screen import Screen
from ehr_pipeline.tasks.table import LABELS, ROWS, Definition, rows_of_task, shards, write
from ehr_pipeline.work.buckets import Spread, map_buckets

_LOCATED = ".given"
_LEFT = list(REASONS).index("left_in_window")


@dataclass(frozen=True)
class BucketLabels:
    """Results of one bucket, for each task."""

    counts: tuple[Counter[str], ...]
    left: tuple[NDArray[np.int64], ...]
    """Number of patients by days of follow-up: those who left, and (`others`) those whose follow-up ended in another way."""
    others: tuple[NDArray[np.int64], ...]


@dataclass(frozen=True)
class LabelOptions:
    """What all labels depend on, besides the tasks."""

    deaths: Deaths
    until: int | None
    """Patients without a known end of observation are followed until this day; None: until their last event."""
    draw: tuple[int, int]
    """Two 64-bit words that key the random draw of landmarks."""
    attributes: tuple[str, ...] = ()
    """Patient columns, such as the practice, whose groups may have data that end earlier."""
    shifted_dates: bool = False
    """Whether each patient's dates are shifted, so that the data have no common last day."""
    screen: Screen = field(default_factory=Screen)
    """Tasks to choose from, in addition to the rules."""
    workers: int = 1
    spread: Spread = map_buckets


def write_empty(out: Path) -> Counts:
    """Write the tables of a study without tasks."""
    write(out, ())
    return {"tasks": 0, "most_per_patient": 1}


def build(
    artifacts: tuple[Artifact, Artifact, Artifact], rules: Sequence[Rule], options: LabelOptions, key: Key, out: Path
) -> Counts:
    """Write the tables (`table`) into `out`. `artifacts` are the mapped events, the data set and its split; `key` is the store's.

    Returns counts by task.
    """
    events, dataset, split = artifacts
    rows_in_file, bucket_rules = {}, []
    for rule in rules:
        if rule.index == "file":
            path = out / _LOCATED / f"{rule.slug}.arrow"
            rows_in_file[rule.slug] = label_file.locate(Path(rule.file), dataset, key, path)
            rule = replace(rule, file=str(path))
        bucket_rules.append(rule)
    shards_of_patients = dataset.files("patients")
    ends = DataEnd() if options.shifted_dates else data_end.find(shards_of_patients, options.attributes)
    follow_up = FollowUp(options.until, ends)
    jobs = [
        LabelJob(
            shard.name,
            events.file(f"events/{shard.name}"),
            shard,
            split.file(f"split/{shard.name}"),
            (),
            options.deaths,
            follow_up,
            options.draw,
            out,
        )
        for shard in shards_of_patients
    ]
    chosen = screen.choose(options.screen, jobs, options.spread, options.workers)
    rules, jobs = [*rules, *chosen], [replace(job, rules=(*bucket_rules, *chosen)) for job in jobs]
    finished = options.spread(build_bucket, jobs, options.workers, "labelling patients")
    _remove_copies(out / _LOCATED)
    weights = [_weights(number, finished) for number in range(len(rules))]
    definitions = [_definition(rule, number, weights[number]) for number, rule in enumerate(rules)]
    write(out, definitions)
    _write_meds(out, definitions, key)
    earlier = sum(map(len, follow_up.data_end.groups.values()))
    counts: Counts = {"tasks": len(rules), "groups_ending_earlier": earlier}
    for number, rule in enumerate(rules):
        counts[rule.slug] = _counts([found.counts[number] for found in finished], rule, rows_in_file.get(rule.slug))
    most = max((counts[rule.slug]["most_per_patient"] for rule in rules), default=1)
    return counts | {"most_per_patient": most}


def _counts(parts: Sequence[Counter[str]], rule: Rule, of_file: int | None) -> Counts:
    """Return the counts of a task. They are numbers of index dates; `most_per_patient` bounds those of a patient."""
    summed = sum(parts, Counter[str]())
    dropped = {name: summed[name] for name in REASONS}
    if of_file is not None:
        dropped["not_in_data_set"] = of_file - summed["rows_in"]
    return {
        "rows_in": summed["rows_in"] if of_file is None else of_file,
        "kept": summed["kept"],
        "dropped": dropped,
        "cases": summed["cases"],
        "died": summed["died"],
        "on_one_day": summed["single"],
        "by_side": {side: {name: summed[f"{side}/{name}"] for name in ("labels", "cases")} for side in EVERY_SIDE},
        "concepts": len(rule.outcome),
        "most_per_patient": max(rule.per_patient, *(part["most"] for part in parts)),
    }


def build_bucket(job: LabelJob) -> BucketLabels:
    """Write the labels of one bucket."""
    records, sides = job.records(), job.sides()
    tables, counts, left, others = [], [], [], []
    for number, rule in enumerate(job.rules):
        assignment = assign(records, rule, find_index_dates(records, rule, job.draw))
        kept = assignment.reason < 0
        tables.append(_table(records, rule, assignment, number, sides))
        counts.append(_counted(assignment, sides))
        days = rule.closes - rule.opens + 1
        ended = (assignment.reason == _LEFT, kept) if rule.censor and assignment.index_dates.labels is None else ()
        by_day = [np.bincount(assignment.followed_days[which], minlength=days) for which in ended]
        left.append(by_day[0] if by_day else np.zeros(0, np.int64))
        others.append(by_day[1] if by_day else np.zeros(0, np.int64))
    schemas.write(job.out / ROWS / job.name, pa.concat_tables(tables))
    return BucketLabels(tuple(counts), tuple(left), tuple(others))


def _counted(assignment: LabelAssignment, sides: NDArray[np.object_]) -> Counter[str]:
    kept = assignment.reason < 0
    counts = Counter(assignment.dropped())
    counts["rows_in"] = len(kept) + sum(assignment.index_dates.missing.values())
    counts["kept"] = int(kept.sum())
    counts["most"] = int(np.bincount(assignment.index_dates.patient).max(initial=1))
    counts["cases"] = int((kept & assignment.label).sum())
    counts["died"] = int((kept & (assignment.end == DIED)).sum())
    counts["single"] = int((kept & assignment.single).sum())
    label_sides = sides[assignment.index_dates.patient]
    for side in EVERY_SIDE:
        here = kept & (label_sides == side)
        counts[f"{side}/labels"], counts[f"{side}/cases"] = int(here.sum()), int((here & assignment.label).sum())
    return counts


def _table(
    records: Records, rule: Rule, assignment: LabelAssignment, number: int, sides: NDArray[np.object_]
) -> pa.Table:
    """Return the rows of a task: `schemas.TASK_LABELS`."""
    kept = np.flatnonzero(assignment.reason < 0)
    patient, index = assignment.index_dates.patient[kept], assignment.index_dates.index[kept]
    owner, place = np.unique(patient, return_inverse=True)

    def date(day: NDArray[np.int64]) -> pa.Array:
        return pa.array(day.astype(np.int32)).cast(pa.date32())

    first = assignment.first[kept]
    since = pa.array(np.maximum(first, -NEVER).astype(np.int32), mask=first <= -NEVER).cast(pa.date32())
    side = np.searchsorted(sorted(EVERY_SIDE), sides[patient].astype(str)).astype(np.int8)
    columns = [
        pa.array(np.full(len(kept), number, np.int16)),
        pa.DictionaryArray.from_arrays(place.astype(np.int32), records.ids.take(pa.array(owner)).cast(pa.string())),
        pa.array(patient.astype(np.int32)),
        pa.DictionaryArray.from_arrays(pa.array(side), pa.array(sorted(EVERY_SIDE))),
        date(index),
        since,
        date(assignment.last[kept]),
        date(index + rule.last),
        date(index + rule.opens),
        date(index + rule.closes),
        pa.array(assignment.label[kept]),
        pa.DictionaryArray.from_arrays(pa.array(assignment.end[kept].astype(np.int8)), pa.array(ENDS)),
        pa.array(assignment.followed_days[kept].astype(np.int32)),
        pa.array(assignment.had_before[kept]),
    ]
    return pa.table(columns, schema=schemas.TASK_LABELS)


def _weights(number: int, finished: Sequence[BucketLabels]) -> tuple[float, ...]:
    """Return the weights of labels by days of follow-up; empty if all weights are equal."""
    left = np.sum([found.left[number] for found in finished], axis=0)
    others = np.sum([found.others[number] for found in finished], axis=0)
    return tuple(censoring.weights(left, others).tolist()) if np.size(left) else ()


def _definition(rule: Rule, number: int, weights: tuple[float, ...]) -> Definition:
    separate = ("name", "outcome", "entry", "exclude", "index", "incident", "conditions", "file")
    settings = {name: value for name, value in asdict(rule).items() if name not in separate}
    settings |= {"exclude": sorted(rule.exclude), "conditions": len(rule.conditions)}
    return Definition(
        number=number,
        name=rule.name,
        slug=rule.slug,
        outcome=tuple(sorted(rule.outcome)),
        entry=tuple(sorted(rule.entry or ())),
        index=rule.index,
        index_may_know_outcome=rule.index == "file",
        incident=rule.incident,
        rule=settings,
        weights=weights,
    )


def _write_meds(out: Path, definitions: Sequence[Definition], key: Key) -> None:
    """Write `labels/`: a file in the MEDS label schema for each task, shard by shard."""
    (out / LABELS).mkdir()
    writers = [pq.ParquetWriter(out / LABELS / f"{each.slug}.parquet", meds.LABELS) for each in definitions]
    for _, table in shards(out):
        subjects: dict[str, int] = {}
        for definition, writer in zip(definitions, writers, strict=True):
            rows = rows_of_task(table, definition)
            for patient in set(rows.column("patient_id").unique().to_pylist()) - subjects.keys():
                subjects[patient] = meds.subject_id(patient, key)
            subject = [subjects[patient] for patient in rows.column("patient_id").to_pylist()]
            last = rows.column("prediction_date").cast(pa.int32()).to_numpy()
            columns = [pa.array(subject, pa.int64()), meds.prediction_time(last), rows.column("label").combine_chunks()]
            writer.write_table(pa.table(columns, schema=meds.LABELS))
    for writer in writers:
        writer.close()


def _remove_copies(folder: Path) -> None:
    """Remove the copies of the user's index dates (`label_file.locate`), since they contain patient data."""
    if folder.is_dir():
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
