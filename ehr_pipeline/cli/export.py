"""Commands that use or share results: export, explore, embed, assign, release, push, pull."""

import argparse
from pathlib import Path

from ehr_pipeline.cli.common import FAILED, print_problem, study_of
from ehr_pipeline.cli.parsing import Commands, add_command
from ehr_pipeline.disclosure.figures import count_text
from ehr_pipeline.errors import printable
from ehr_pipeline.tables.asset_names import (
    CLUSTERS,
    DATA_SPLIT,
    ENCODER_CHECKPOINT,
    MAPPED_EVENTS,
    PATIENT_DATASET,
    VOCABULARY,
)


def add(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add these commands."""
    export = add_command(
        commands,
        "export",
        _export,
        "export events and split, the results, or the model, for other tools",
        "export results --settings my_study.toml --out results",
    )
    export.add_argument(
        "format",
        choices=["meds", "results", "model"],
        help="'meds': events and split in the Medical Event Data Standard 0.4; 'results': clusters, map, vectors and"
        " distinguishing concepts as Parquet and CSV; 'model': the trained encoder, refused if fewer than"
        " reports.suppress_below patients have one of its concepts",
    )
    export.add_argument("--out", type=Path, required=True, help="new folder to write to")
    export.add_argument(
        "--crosswalk",
        action="store_true",
        help="meds: also write OUT_crosswalk.csv, which links each subject to a patient; keep it as safe as the"
        " records",
    )
    explore = add_command(
        commands,
        "explore",
        _explore,
        "explore the map of patients in a browser (needs embedding-atlas)",
        "explore --settings my_study.toml",
    )
    explore.add_argument("--port", type=int, default=5055)
    release = add_command(
        commands,
        "release",
        _release,
        "write the files that may be released from the place where the data are kept, with a manifest",
        "release --settings my_study.toml --out release",
    )
    release.add_argument("--out", type=Path, required=True, help="new folder to write to")
    _add_applying(commands)
    _add_mirror(commands)


def _add_applying(commands: "Commands[argparse.ArgumentParser]") -> None:
    embed = add_command(
        commands,
        "embed",
        _embed,
        "apply a trained encoder to the patients of an extract",
        "embed --model DIR --vectors DIR --extract FOLDER --settings my_study.toml --out vectors.arrow",
    )
    embed.add_argument("--model", type=Path, required=True, help="folder of the checkpoint")
    embed.add_argument(
        "--vectors",
        type=Path,
        required=True,
        help="folder of a patient_embeddings artifact; vectors are made by the same method",
    )
    embed.add_argument("--extract", type=Path, required=True, help="folder of the extract")
    embed.add_argument("--out", type=Path, required=True, help="Arrow file to write, with one row per patient")
    embed.add_argument(
        "--cut",
        type=Path,
        help="CSV or Parquet file of patients and dates, with the study's column names or in the MEDS label schema:"
        " for each row, embed the record up to the end of that date",
    )
    assign = add_command(
        commands,
        "assign",
        _assign,
        "assign new patients with vectors to the existing clusters",
        "assign --vectors vectors.arrow --settings my_study.toml --out clusters.arrow",
    )
    assign.add_argument("--vectors", type=Path, required=True, help="the file that `ehr-pipeline embed` wrote")
    assign.add_argument(
        "--out", type=Path, required=True, help="Arrow file to write, with patient_id, cluster, support"
    )


def _add_mirror(commands: "Commands[argparse.ArgumentParser]") -> None:
    add_command(
        commands,
        "push",
        _push,
        "copy the current artifacts to study.mirror, and remove all others there",
        "push --settings my_study.toml",
    )
    add_command(
        commands,
        "pull",
        _pull,
        "fetch from study.mirror the artifacts that the store lacks or has in an older version",
        "pull --settings my_study.toml",
    )


def _export(options: argparse.Namespace) -> int:
    from ehr_pipeline.assets import ASSETS
    from ehr_pipeline.export import meds, model, results
    from ehr_pipeline.runs.pipeline import Pipeline
    from ehr_pipeline.store import secret_key

    study = study_of(options)
    pipeline = Pipeline(study)
    if options.format == "results":
        counts = results.export(results.Inputs.of(pipeline.require), options.out, study.study.seed)
        print(f"wrote {counts['kept']:,} patients to {options.out}")
        return 0
    if options.format == "model":
        checkpoint, vocabulary = pipeline.require(ENCODER_CHECKPOINT), pipeline.require(VOCABULARY)
        says = {
            model.ADDS: model.contribution_of(pipeline.store, checkpoint),
            model.PREDICTS: model.predictions_of(pipeline.store, checkpoint),
        }
        concepts = model.export(checkpoint, vocabulary, study.reports.suppress_below, options.out, says)
        print(f"wrote a model of {concepts:,} concepts to {options.out}")
        if not ASSETS[ENCODER_CHECKPOINT].passes("patients_present", checkpoint, pipeline.store, study):
            print_problem(
                "warning",
                "The model was trained on patients who have left since. Train it again before you share it.",
            )
        return 0
    made = pipeline.require(MAPPED_EVENTS), pipeline.require(PATIENT_DATASET), pipeline.require(DATA_SPLIT)
    key = secret_key.of(pipeline.store.root)
    counts = meds.export(made, study.study.name, key, options.out, options.crosswalk)
    print(f"wrote {counts['kept']:,} events of {counts['subjects']:,} subjects to {options.out}")
    return 0


def _explore(options: argparse.Namespace) -> int:
    study = study_of(options)
    from ehr_pipeline.export import explorer, results
    from ehr_pipeline.runs.pipeline import Pipeline

    return explorer.explore(
        results.Inputs.of(Pipeline(study).require), Path(study.study.store), study.study.seed, options.port
    )


def _embed(options: argparse.Namespace) -> int:
    if options.cut:
        return _embed_histories(options)
    study = study_of(options)
    from ehr_pipeline.export import apply

    counts = apply.embed(study, options.model, options.vectors, options.extract, options.out)
    unknown, bare = counts["not_in_vocabulary"], counts["dropped"]["no_chosen_concept"]
    print(f"wrote {counts['kept']:,} patients to {options.out}")
    print(
        f"left out: {count_text(bare)} patients without a pooled concept; {unknown:,} events with concepts that the model does"
        " not know"
    )
    if "training" in counts:
        print(counts["training"])
    return 0


def _embed_histories(options: argparse.Namespace) -> int:
    study = study_of(options)
    from ehr_pipeline.export import histories

    counts = histories.embed(study, (options.model, options.vectors, options.extract), options.cut, options.out)
    below, without = study.reports.suppress_below, counts["without"]
    print(f"wrote {counts['rows_in']:,} rows, one for each row of {options.cut}, to {options.out}")
    print(
        f"rows without a vector: {count_text(without['not_in_extract'], below)} (patient not in the extract),"
        f" {count_text(without['no_history'], below)} (no history by that date),"
        f" {count_text(without['no_chosen_concept'], below)} (no pooled concept in the history)"
    )
    if "training" in counts:
        print(counts["training"])
    return 0


def _assign(options: argparse.Namespace) -> int:
    study = study_of(options)
    from ehr_pipeline.clusters import assign
    from ehr_pipeline.runs.pipeline import Pipeline

    counts = assign.run(Pipeline(study).require(CLUSTERS), options.vectors, study.clusters.neighbours, options.out)
    print(f"wrote {counts['kept']:,} patients to {options.out}")
    print(f"left out: {count_text(counts['dropped']['not_finite'])} patients with a vector that is not finite")
    diseases = printable(", ".join(disease.name for disease in study.embeddings.cohort))
    print(
        f"The clusters were made from patients with {diseases}. Every patient with a vector is assigned to one, even without any"
        " of these diseases: keep only the patients who are cases by your lists."
    )
    return 0


def _release(options: argparse.Namespace) -> int:
    from ehr_pipeline.export import release
    from ehr_pipeline.runs.pipeline import Pipeline

    for path in release.release(Pipeline(study_of(options)), options.out):
        print(path)
    return 0


def _push(options: argparse.Namespace) -> int:
    study = study_of(options)
    from ehr_pipeline.mirror import push

    counts = push.push(study)
    print(
        f"copied {counts['copied']:,} artifacts ({counts['bytes'] / 1000000.0:,.1f} MB); {counts['kept']:,} were already there;"
        f" removed {counts['removed']:,}"
    )
    for reason, number in counts["left_out"].items():
        print_problem("warning", f"{number:,} artifacts were not copied: {reason}. Run the chain again, then push.")
    return 0


def _pull(options: argparse.Namespace) -> int:
    study = study_of(options)
    from ehr_pipeline.mirror import pull
    from ehr_pipeline.store import secret_key

    counts = pull.pull(study)
    print(
        f"fetched {counts['copied']:,} artifacts ({counts['bytes'] / 1000000.0:,.1f} MB); {counts['kept']:,} were already here;"
        f" {counts['newer']:,} are newer here"
    )
    for reason, number in counts["left_out"].items():
        print_problem("warning", f"{number:,} artifacts were left in the mirror: {reason}.")
    if problem := secret_key.foreign(Path(study.study.store)):
        print_problem("warning", problem)
    if counts["unfinished"]:
        print_problem("error", f"{counts['unfinished']:,} artifacts were only partly pushed. Push again, then pull.")
    return FAILED if counts["unfinished"] else 0
