"""Objectives of the encoder on the world `outcomes`: which encoder, asked without labels, ranks patients best by their future?

For each seed the world is drawn, and encoders that differ in their objective alone are trained on 60 % of its patients. The others
are judged on 1 January of several years: patients who are registered, have a visit before, and have not had the outcome (incident
cases only). Each encoder is asked by [MASK] at the middle of the year for the outcome's codes. The true risk of each patient and
year is known, so that the best AUROC there is stands beside (Bayes); so does that of age alone. Patients are the units of the
intervals: they are drawn again with all their years.

Figures of each training stay in the folder of --keep, and are not measured again.

Usage: python benchmarks/objectives.py [--patients 5000] [--seeds 0 1] [--epochs 3] [--keep FOLDER]; about ten minutes a training
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import results
import torch
from numpy.typing import NDArray

from ehr_pipeline.assets.identity import encoder_shape
from ehr_pipeline.embeddings.embedding_job import Inference
from ehr_pipeline.encoder import checkpoint
from ehr_pipeline.encoder.model import PackedEncoder
from ehr_pipeline.patients.histories import ALWAYS, cut
from ehr_pipeline.patients.shard import DAYS_IN_YEAR, Shard
from ehr_pipeline.predictions.metrics import auroc
from ehr_pipeline.predictions.query_at_mask import answers
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.study import settings
from ehr_pipeline.synthetic.extract import EXTRACT
from ehr_pipeline.synthetic.study import places
from ehr_pipeline.synthetic.worlds.drivers import OUTCOMES
from ehr_pipeline.synthetic.worlds.mechanism import day
from ehr_pipeline.synthetic.worlds.write import is_there, write
from ehr_pipeline.tables import schemas
from ehr_pipeline.tables.asset_names import DATA_SPLIT, ENCODER_CHECKPOINT, PATIENT_DATASET, VOCABULARY
from ehr_pipeline.terminology.shipped import shipped
from ehr_pipeline.vocabulary.table import Vocabulary

OBJECTIVES, YEARS, WINDOW, DRAWS = ("masked", "next_visit"), tuple(range(2004, 2019, 2)), 365, 1_000
CPU = torch.device("cpu")
BAYES, AGE, NULL = "Bayes", "age alone", "stye"
Rows = dict[str, NDArray[Any]]
"""Of one outcome: person (n,), label (n,), and a score (n,) for each way to rank."""


def study_in(folder: Path, seed: int, objective: str, epochs: int) -> settings.Study:
    """The demo's study with another objective, and 40 % of the patients kept for judging."""
    chosen = {
        "study": {"seed": seed},
        "encoder": {"max_epochs": epochs, "objective": objective},
        "patients": {"split": {"validation_share": 0.05, "test_share": 0.4}},
        "launcher": {"backend": "inline"},
    }
    return settings.load(shipped("demo/settings.toml"), settings.merged(places(folder), chosen))


def tokens_of_outcomes(folder: Path, vocabulary: Vocabulary) -> list[NDArray[np.int64]]:
    """The token ids of each outcome's codes that are in the vocabulary."""
    lines = (folder / "terminology/MRCONSO.RRF").read_text(encoding="utf-8").splitlines()
    concept_of = {parts[13]: parts[0] for parts in (line.split("|") for line in lines)}
    return [
        np.array(
            [vocabulary.token_of[c] for code in one.codes if (c := concept_of.get(code)) in vocabulary.token_of], int
        )
        for one in OUTCOMES
    ]


def asked(pipeline: Pipeline, folder: Path, model: PackedEncoder) -> dict[str, Rows]:
    """Ask a trained encoder about the test side; the rows of each outcome."""
    store = pipeline.store
    vocabulary = Vocabulary.read(store.current(VOCABULARY).path)
    how = Inference(**encoder_shape(pipeline.study) | {"precision": "float32"}, batch_tokens=4096)
    lists = tokens_of_outcomes(folder, vocabulary)
    risk = pl.read_parquet(folder / "truth/risk.parquet").filter(pl.col("index").dt.year().is_in(YEARS))
    found: dict[str, list[pl.DataFrame]] = {one.name: [] for one in OUTCOMES}
    for path in store.current(PATIENT_DATASET).files("patients"):
        shard = Shard.read(path)
        sides = schemas.read(store.current(DATA_SPLIT).file(f"split/{path.name}"))
        mine = [n for n, side in enumerate(sides.column("side").to_pylist()) if side == "test"]
        ids = sides.column("patient_id").to_pylist()
        for year in YEARS:
            index = day(f"{year}-01-01")
            rows = np.array(mine)
            histories = cut(shard, rows, np.full(len(rows), ALWAYS), np.full(len(rows), index - 1))
            _, odds = answers(model, histories, np.full(len(rows), index + WINDOW // 2), how, lists=lists)
            seen = pl.DataFrame(
                {
                    "patient_id": [ids[row] for row in rows.tolist()],
                    AGE: (index - shard.birth_day[rows]) / DAYS_IN_YEAR,
                    "visits": np.diff(histories.patient_start),
                    **{one.name: odds[:, n] for n, one in enumerate(OUTCOMES)},
                }
            ).filter(pl.col("visits") > 0)
            here = risk.filter(pl.col("index").dt.year() == year)
            for one in OUTCOMES:
                joined = here.filter(pl.col("outcome") == one.name).join(seen, on="patient_id")
                found[one.name].append(
                    joined.select("patient_id", "happened", "risk", AGE, pl.col(one.name).alias("encoder"))
                )
    return {name: _rows(pl.concat(parts).sort("patient_id", "risk", AGE)) for name, parts in found.items()}


def _rows(table: pl.DataFrame) -> Rows:
    return {
        "person": table["patient_id"].rank("dense").to_numpy().astype(np.int64) - 1,
        "label": table["happened"].to_numpy(),
        BAYES: table["risk"].to_numpy(),
        AGE: table[AGE].to_numpy(),
        "encoder": table["encoder"].to_numpy(),
    }


def figures(rows: dict[str, dict[str, Rows]]) -> dict[str, Any]:
    """AUROC of every way to rank, by outcome; `rows` by objective and outcome. Differences in the same draws of patients."""
    first, other = (rows[name] for name in OBJECTIVES)
    told: dict[str, Any] = {}
    drawn: list[NDArray[np.float64]] = []
    for outcome, own in first.items():
        label = own["label"]
        assert np.array_equal(label, other[outcome]["label"]), "both are asked about the same patients"
        ways = {BAYES: own[BAYES], AGE: own[AGE], **{name: rows[name][outcome]["encoder"] for name in OBJECTIVES}}
        told[outcome] = {name: auroc(label, score, np.ones(len(label))) for name, score in ways.items()}
        told[outcome]["cases"] = int(label.sum())
        if outcome != NULL:
            drawn.append(differences(own["person"], label, ways[OBJECTIVES[1]], ways[OBJECTIVES[0]]))
    mean = np.nanmean(drawn, axis=0)  # a draw without a case has no AUROC
    told["difference"] = [float(np.mean([told[o][OBJECTIVES[1]] - told[o][OBJECTIVES[0]] for o in first if o != NULL]))]
    told["difference"] += [float(value) for value in np.percentile(mean, [2.5, 97.5])]
    return told


def differences(
    person: NDArray[np.int64], label: NDArray[np.bool_], one: NDArray[Any], other: NDArray[Any]
) -> NDArray[np.float64]:
    """AUROC of `one` minus that of `other`, in DRAWS samples of patients drawn with replacement."""
    rng, found = np.random.default_rng(0), np.empty(DRAWS)
    for number in range(DRAWS):
        weight = np.bincount(rng.integers(0, person.max() + 1, person.max() + 1), minlength=person.max() + 1)[
            person
        ].astype(float)
        found[number] = auroc(label, one, weight) - auroc(label, other, weight)
    return found


def measured(folder: Path, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """The figures of one seed."""
    if not is_there(folder, ["outcomes"], options.patients, seed):
        write(folder, ["outcomes"], options.patients, seed)
    rows, told = {}, {}
    for objective in OBJECTIVES:
        start = time.perf_counter()
        pipeline = Pipeline(study_in(folder, seed, objective, options.epochs))
        pipeline.make(EXTRACT, until=ENCODER_CHECKPOINT)
        told[f"{objective} seconds"] = round(time.perf_counter() - start)
        store = pipeline.store
        vocabulary, made = Vocabulary.read(store.current(VOCABULARY).path), store.current(ENCODER_CHECKPOINT)
        rows[objective] = asked(pipeline, folder, checkpoint.load(made.file("checkpoint"), vocabulary, CPU))
        print(seed, objective, told, flush=True)
    return told | figures(rows)


def section(found: dict[int, dict[str, Any]], options: argparse.Namespace) -> str:
    """The text for RESULTS.md."""
    names = [outcome.name for outcome in OUTCOMES]
    rows = [
        (str(seed), name, f"{told[name]['cases']:,}", *(f"{told[name][way]:.3f}" for way in (BAYES, AGE, *OBJECTIVES)))
        for seed, told in found.items()
        for name in names
    ]
    means = [
        (
            str(seed),
            *(f"{np.mean([told[n][way] for n in names if n != NULL]):.3f}" for way in (BAYES, AGE, *OBJECTIVES)),
            "{:+.3f} ({:+.3f} to {:+.3f})".format(*told["difference"]),
        )
        for seed, told in found.items()
    ]
    return "\n\n".join(
        (
            f"{options.patients:,} patients drawn for each seed, 40 % of them judged; the demo's encoder, {options.epochs} epochs"
            f" for each objective; 1 January of {', '.join(map(str, YEARS))}; incident cases only, no labels used. Mean AUROC"
            " over the outcomes that have a driver, and next_visit minus masked with the 95 % interval over patients:",
            results.table(("seed", BAYES, AGE, *OBJECTIVES, "difference"), means),
            "AUROC of each outcome:",
            results.table(("seed", "outcome", "cases", BAYES, AGE, *OBJECTIVES), rows),
        )
    )


def main() -> None:
    """Measure what is asked for and not there, and write the section of all that is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=5_000)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1])
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--keep", type=Path, help="folder of the figures (default: a temporary one)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        kept = (options.keep or Path(scratch)) / f"{options.patients}-{options.epochs}"
        for seed in options.seeds:
            path = kept / f"{seed}.json"
            if not path.is_file():
                with tempfile.TemporaryDirectory() as folder:
                    told = measured(Path(folder), seed, options)
                kept.mkdir(parents=True, exist_ok=True)
                path.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
        found = {int(path.stem): json.loads(path.read_text(encoding="utf-8")) for path in sorted(kept.glob("*.json"))}
    results.write("objectives.py", "Objectives of the encoder", section(found, options))


if __name__ == "__main__":
    main()
