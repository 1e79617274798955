"""The command line, `ehr-pipeline`. Dagster is imported only by the commands that need it."""

import argparse
import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

from ehr_pipeline import __version__, settings
from ehr_pipeline.errors import SettingsError, UserError, printable
from ehr_pipeline.governance import private_files

DEMO_PATIENTS, DEMO_SEED = 5000, 0
FAILED, USER_ERROR = 1, 2


def main(arguments: list[str] | None = None) -> int:
    """Run a command. Returns 0, 1 for a failed stage or blocking check, 2 for something that the user can mend."""
    options = _parser().parse_args(arguments)
    private_files()
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S", level=logging.WARNING)
    logging.getLogger("ehr_pipeline").setLevel(logging.INFO)
    try:
        return int(options.command(options))
    except UserError as error:
        _tell("error", str(error))
        return USER_ERROR
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        _tell("error", f"{place}{error.strerror or error}")
        return USER_ERROR
    except KeyboardInterrupt:
        print("interrupted; what was published before stays as it was", file=sys.stderr)
        return 130


def _tell(kind: str, text: str) -> None:
    """Say what is wrong. Names of files and folders stand in it, which others may have chosen."""
    print(f"{kind}: {printable(text)}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ehr-pipeline", description="From raw primary-care records to patient clusters and a report."
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    demo = commands.add_parser("demo", help="write a synthetic extract and run the whole chain on it")
    demo.set_defaults(command=_demo)
    run = commands.add_parser("run", help="materialise assets, checks included")
    run.add_argument(
        "--select",
        help="which assets, in Dagster's selection syntax: 'clusters', '*clusters' (with all that comes before),"
        " 'vocabulary*' (and all that comes after), '+' for one step, 'cohort,clusters' (default: all)",
    )
    run.set_defaults(command=_run)
    check = commands.add_parser("check", help="validate the settings and the inputs that they name")
    check.set_defaults(command=_check)
    export = commands.add_parser("export", help="write events and split, or the results, in another format")
    export.add_argument(
        "format",
        choices=["meds", "results"],
        help="'meds': events and split in the Medical Event Data Standard 0.4;"
        " 'results': clusters, map, vectors and marking concepts as Parquet and CSV",
    )
    export.add_argument("--out", type=Path, required=True, help="new folder to write to")
    export.add_argument(
        "--crosswalk",
        action="store_true",
        help="meds: also write OUT_crosswalk.csv, which says which subject is which patient: keep it as safe as the records",
    )
    export.set_defaults(command=_export)
    explore = commands.add_parser("explore", help="look at the map of patients in a browser (needs embedding-atlas)")
    explore.add_argument("--port", type=int, default=5055)
    explore.set_defaults(command=_explore)
    embed = commands.add_parser("embed", help="apply a trained encoder to the patients of an extract")
    embed.add_argument("--model", type=Path, required=True, help="folder of the checkpoint")
    embed.add_argument(
        "--vectors", type=Path, required=True, help="folder of a patient_embeddings artifact: how vectors are made"
    )
    embed.add_argument("--extract", type=Path, required=True, help="folder of the extract")
    embed.add_argument("--out", type=Path, required=True, help="Arrow file to write: one row for each patient")
    embed.set_defaults(command=_embed)
    assign = commands.add_parser("assign", help="give new embedded patients one of the clusters that were found")
    assign.add_argument("--vectors", type=Path, required=True, help="what `ehr-pipeline embed` wrote")
    assign.add_argument("--out", type=Path, required=True, help="Arrow file to write: patient_id, cluster, support")
    assign.set_defaults(command=_assign)
    ci_check = commands.add_parser(
        "ci-check", help="make everything on a small synthetic slice, and fail on any failed check: for CI"
    )
    ci_check.set_defaults(command=_ci_check)
    release = commands.add_parser("release", help="write what may leave the place where the data lie, with a manifest")
    release.add_argument("--out", type=Path, required=True, help="new folder to write to")
    release.set_defaults(command=_release)
    pushed = commands.add_parser(
        "push", help="copy the current artifacts to study.mirror, and remove there what is not current"
    )
    pushed.set_defaults(command=_push)
    pulled = commands.add_parser("pull", help="fetch from study.mirror what the store lacks or has an older version of")
    pulled.set_defaults(command=_pull)
    scripts = commands.add_parser("job-scripts", help="print what would be sent to Slurm, or to Kubernetes")
    scripts.set_defaults(command=_job_scripts)
    planned = commands.add_parser("plan", help="what a study of a given size needs, and whether the settings fit")
    planned.add_argument("--rows", type=float, required=True, help="rows of events, such as 3e9")
    planned.add_argument(
        "--machines",
        nargs="+",
        required=True,
        help="COUNTxCORESxGIGABYTES[xGPUS], such as 8x32x256x1; the first is where ehr-pipeline runs",
    )
    planned.add_argument("--gpu-tokens", type=float, help="tokens a second of one GPU (benchmarks/gpu_training.py)")
    planned.add_argument("--speed", type=float, default=1.0, help="speed of a core, beside 2.8 GHz Xeons (default: 1)")
    planned.add_argument("--kept", type=float, default=1.0, help="share of the rows that become tokens (default: 1)")
    planned.set_defaults(command=_plan)
    for command in (run, check, export, explore, embed, assign, release, pushed, pulled, scripts, planned):
        command.add_argument(
            "--settings",
            type=Path,
            help=f"TOML file of the study (default: ${settings.ENVIRONMENT_VARIABLE}, or the embedded demo)",
        )
    commands.add_parser("settings", help="print the reference of all settings, as Markdown").set_defaults(
        command=_settings
    )
    synth = commands.add_parser("synth", help="write a synthetic extract with known truth")
    synth.add_argument("out", type=Path, help="folder to write to")
    synth.add_argument("--patients", type=_positive, default=DEMO_PATIENTS)
    synth.add_argument("--seed", type=int, default=DEMO_SEED)
    synth.add_argument(
        "--cohort-share",
        type=_share,
        default=0.5,
        help="share of patients with one of the five diseases (default: 0.5)",
    )
    kind = synth.add_mutually_exclusive_group()
    kind.add_argument("--null", action="store_true", help="plant no groups: labels without any effect on the record")
    kind.add_argument(
        "--plant",
        choices=["counts", "subtle", "change"],
        default="counts",
        help="'counts': groups that differ by how often concepts are recorded (default); 'subtle': by their order, by age,"
        " or by synonymous codes; 'change': as 'counts', and some patients change from one group to another",
    )
    synth.set_defaults(command=_synth)
    ui = commands.add_parser("ui", help="start the Dagster UI")
    ui.add_argument("--settings", type=Path)
    ui.add_argument("--port", type=int, default=3000)
    ui.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
    ui.set_defaults(command=_ui)
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _share(text: str) -> float:
    number = float(text)
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError("must lie between 0 and 1")
    return number


def _study(options: argparse.Namespace) -> settings.Study:
    """The study that a command is about; Dagster's processes find it through the environment."""
    path = options.settings or settings.settings_path()
    os.environ[settings.ENVIRONMENT_VARIABLE] = str(path.resolve())
    return settings.load(path)


def _demo(options: argparse.Namespace) -> int:
    options.settings, options.select = _demo_settings(), None
    _ensure_demo_extract(settings.load(options.settings))
    return _run(options)


def _demo_settings() -> Path:
    """The embedded demo's settings. Outside a checkout they are copied to a folder that can be written to."""
    from ehr_pipeline.shipped import shipped

    path = shipped("demo/settings.toml")
    if (path.parents[2] / "pyproject.toml").is_file():
        return path
    import shutil

    copy = Path.cwd() / "ehr_pipeline_demo"
    for folder in ("demo", "lists"):
        shutil.copytree(shipped(folder), copy / folder, dirs_exist_ok=True)
    return copy / "demo" / "settings.toml"


def _ensure_demo_extract(study: settings.Study) -> None:
    from ehr_pipeline.synthetic import generate

    out = Path(study.records.landing).parent
    if not generate.is_there(out, DEMO_PATIENTS, DEMO_SEED):
        print(f"writing a synthetic extract of {DEMO_PATIENTS:,} patients to {out}")
        generate.generate(out, DEMO_PATIENTS, DEMO_SEED)


def _run(options: argparse.Namespace) -> int:
    study = _study(options)
    from ehr_pipeline import preflight
    from ehr_pipeline.defs import run

    problems = preflight.inspect(study).problems
    if problems:
        raise SettingsError(os.environ[settings.ENVIRONMENT_VARIABLE], problems)
    outcome = run.run(study, options.select)
    _print_table(outcome.rows)
    report = _report(study)
    _write_summary(study, outcome, report)
    for warning in outcome.warnings:
        _tell("warning", warning)
    for problem in outcome.problems:
        _tell("error", problem)
    if report and not outcome.problems:
        print(f"\nreport: {report}")
    return FAILED if outcome.problems else 0


def _report(study: settings.Study) -> str | None:
    from ehr_pipeline.artifacts import Store

    store = Store(study.study.store)
    return str(store.current("cluster_reports").file("report.html")) if store.has("cluster_reports") else None


def _print_table(rows: list[Any]) -> None:
    print(f"\n{'asset':<22}{'extract':<12}{'state':<13}{'rows':>12}{'seconds':>10}  version")
    for row in rows:
        count = "" if row.rows is None else f"{row.rows:,}"
        seconds = "" if row.seconds is None else f"{row.seconds:.1f}"
        print(f"{row.asset:<22}{row.partition:<11} {row.state:<13}{count:>12}{seconds:>10}  {row.version}")


def _write_summary(study: settings.Study, outcome: Any, report: str | None) -> None:
    """`summary.json` beside the artifacts: the same table for machines, counts guarded."""
    from ehr_pipeline.disk import write_atomically
    from ehr_pipeline.guard import Guard

    guard = Guard(study.reports.suppress_below, study.governance.round_to)
    stages = [vars(row) | {"rows": guard.artifact(row.asset, {"kept": row.rows})["kept"]} for row in outcome.rows]
    summary = {
        "study": study.study.name,
        "ok": not outcome.problems,
        "problems": outcome.problems,
        "warnings": outcome.warnings,
        "report": report,
        "stages": stages,
    }
    write_atomically(Path(study.study.store) / "summary.json", json.dumps(summary, indent=1) + "\n")


def _check(options: argparse.Namespace) -> int:
    study = _study(options)
    from ehr_pipeline import preflight

    found = preflight.inspect(study)
    for fact in found.facts:
        print(printable(fact))
    if found.problems:
        raise SettingsError(os.environ[settings.ENVIRONMENT_VARIABLE], found.problems)
    print("settings and inputs are in order")
    return 0


def _export(options: argparse.Namespace) -> int:
    from ehr_pipeline.export import meds, results
    from ehr_pipeline.pipeline import Pipeline

    study = _study(options)
    pipeline = Pipeline(study)
    if options.format == "results":
        counts = results.export(results.Found.of(pipeline.require), options.out, study.study.seed)
        print(f"wrote {counts['kept']:,} patients to {options.out}")
        return 0
    events, dataset, split = (pipeline.require(asset) for asset in ("mapped_events", "patient_dataset", "data_split"))
    counts = meds.export(events, dataset, split, study.study.name, options.out, options.crosswalk)
    print(f"wrote {counts['kept']:,} events of {counts['subjects']:,} subjects to {options.out}")
    return 0


def _explore(options: argparse.Namespace) -> int:
    study = _study(options)
    from ehr_pipeline.export import explorer, results
    from ehr_pipeline.pipeline import Pipeline

    return explorer.explore(results.Found.of(Pipeline(study).require), study.study.seed, options.port)


def _embed(options: argparse.Namespace) -> int:
    study = _study(options)
    from ehr_pipeline import apply

    counts = apply.embed(study, options.model, options.vectors, options.extract, options.out)
    unknown, bare = counts["not_in_vocabulary"], counts["dropped"]["no_chosen_concept"]
    print(f"wrote {counts['kept']:,} patients to {options.out}")
    print(
        f"left out: {bare:,} patients without a pooled concept; {unknown:,} events whose concept the model does not know"
    )
    return 0


def _assign(options: argparse.Namespace) -> int:
    study = _study(options)
    from ehr_pipeline.clusters import assign
    from ehr_pipeline.pipeline import Pipeline

    counts = assign.run(Pipeline(study).require("clusters"), options.vectors, study.clusters.neighbours, options.out)
    print(f"wrote {counts['kept']:,} patients to {options.out}")
    print(f"left out: {counts['dropped']['not_finite']:,} patients whose vector is not finite")
    return 0


def _ci_check(options: argparse.Namespace) -> int:
    from ehr_pipeline.defs import ci

    outcome = ci.ci_check()
    _print_table(outcome.rows)
    for warning in outcome.warnings:
        _tell("not counted on so few patients", warning)
    for problem in outcome.problems:
        _tell("error", problem)
    verdict = (
        f"{len(outcome.problems)} problems" if outcome.problems else "every asset made, every check that counts passed"
    )
    print(f"\nci-check: {verdict}")
    return FAILED if outcome.problems else 0


def _job_scripts(options: argparse.Namespace) -> int:
    study = _study(options)
    if study.launcher.backend == "kubernetes":
        from ehr_pipeline.engines.kubernetes import preview
    else:
        from ehr_pipeline.engines.slurm import preview

    for what, script in preview(study.launcher, Path(study.study.store)).items():
        print(f"==> {what}\n{script}")
    return 0


def _plan(options: argparse.Namespace) -> int:
    from ehr_pipeline.planning import Machines, plan

    machines = Machines.read(options.machines)
    if options.rows < 1 or options.speed <= 0 or not 0 < options.kept <= 1:
        raise UserError("--rows and --speed are above 0, --kept lies between 0 and 1")
    made = plan(_study(options), options.rows, machines, options.gpu_tokens, options.speed, options.kept)
    print(made.text())
    return FAILED if made.problems else 0


def _release(options: argparse.Namespace) -> int:
    from ehr_pipeline import release
    from ehr_pipeline.pipeline import Pipeline

    for path in release.release(Pipeline(_study(options)), options.out):
        print(path)
    return 0


def _push(options: argparse.Namespace) -> int:
    study = _study(options)
    from ehr_pipeline.mirror import push

    counts = push.push(study)
    print(
        f"copied {counts['copied']:,} artifacts ({counts['bytes'] / 1e6:,.1f} MB), {counts['kept']:,} were there already,"
        f" removed {counts['removed']:,}"
    )
    for reason, number in counts["left_out"].items():
        _tell("warning", f"{number:,} artifacts were not copied: {reason}. Run the chain again, then push.")
    return 0


def _pull(options: argparse.Namespace) -> int:
    study = _study(options)
    from ehr_pipeline.mirror import pull

    counts = pull.pull(study)
    print(
        f"fetched {counts['copied']:,} artifacts ({counts['bytes'] / 1e6:,.1f} MB), {counts['kept']:,} were here already,"
        f" {counts['newer']:,} are newer here"
    )
    for reason, number in counts["left_out"].items():
        _tell("warning", f"{number:,} artifacts were left in the mirror: {reason}.")
    if counts["unfinished"]:
        _tell("error", f"{counts['unfinished']:,} artifacts were not pushed to their end. Push again, then pull.")
    return FAILED if counts["unfinished"] else 0


def _settings(options: argparse.Namespace) -> int:
    from ehr_pipeline import reference

    print(reference.markdown(), end="")
    return 0


def _synth(options: argparse.Namespace) -> int:
    from ehr_pipeline.synthetic import generate

    generate.generate(options.out, options.patients, options.seed, options.cohort_share, options.null, options.plant)
    print(f"wrote {options.patients:,} patients to {options.out}")
    return 0


def _ui(options: argparse.Namespace) -> int:
    if options.settings is None and settings.ENVIRONMENT_VARIABLE not in os.environ:
        options.settings = _demo_settings()
        _ensure_demo_extract(settings.load(options.settings))
    study = _study(options)
    from ehr_pipeline.defs import home, run
    from ehr_pipeline.pipeline import Pipeline

    home.ensure_home()
    import dagster as dg

    with dg.DagsterInstance.get() as instance:
        home.register_watched(instance, Pipeline(study))
    return run.serve(options.port, options.host)


if __name__ == "__main__":
    raise SystemExit(main())
