"""Commands that make or inspect a study's artifacts: demo, run, check, verify, ci-check, ui."""

import argparse
import logging
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from ehr_pipeline.cli.common import FAILED, names_no_study, print_problem, study_of
from ehr_pipeline.cli.parsing import Commands, add_command
from ehr_pipeline.cli.summary import link_of_report, predictions_of, print_table, report_of, write_summary
from ehr_pipeline.disclosure.figures import FEWEST, Guard
from ehr_pipeline.errors import SettingsError, UserError, printable
from ehr_pipeline.study import ENVIRONMENT_VARIABLE
from ehr_pipeline.terminology.shipped import shipped

if TYPE_CHECKING:
    from ehr_pipeline.study.settings import Study

_log = logging.getLogger("ehr_pipeline")
DEMO_PATIENTS, DEMO_SEED, DEMO_PLANS = 5000, 0, ("base",)
SHOWN = 3
"""How many settings files a message names at most."""


def add(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add these commands."""
    add_command(
        commands,
        "demo",
        _demo,
        "write a synthetic extract and run the whole pipeline on it",
        "demo",
        about="It needs no data, no account and no GPU, and takes about three minutes on two cores. A second run rebuilds nothing.",
        study=False,
    )
    run = add_command(
        commands,
        "run",
        _run,
        "build assets, and run their checks",
        "run --settings my_study.toml",
        'run --settings my_study.toml --select "clusters+"',
        about="Unchanged assets are not rebuilt. After Ctrl-C, the same command resumes the run; training resumes from its last"
        " checkpoint.",
    )
    run.add_argument(
        "--select",
        help="assets to build, in the syntax of Dagster's UI: 'clusters', '+clusters' (with everything upstream), 'vocabulary+'"
        " (with everything downstream), '1+clusters' (one layer upstream), 'cohort,clusters'; '*' is the same as '+'"
        " (default: all)",
    )
    add_command(
        commands,
        "check",
        _check,
        "validate the settings, and the input files in them",
        "check --settings my_study.toml",
        about="It reports all problems at once, each with its setting and what to do, before any long work starts.",
    )
    add_command(
        commands,
        "verify",
        _verify,
        "read every file of the store again, and compare it with the published version",
        "verify --settings my_study.toml",
        about="It finds files that a disk has damaged.",
    )
    add_command(
        commands,
        "ci-check",
        _ci_check,
        "run the whole pipeline on a small synthetic slice, and fail on any failed check",
        "ci-check",
        about="For your CI: it shows whether everything still works on this machine after an upgrade.",
        study=False,
    )
    _add_ui(commands)


def _add_ui(commands: "Commands[argparse.ArgumentParser]") -> None:
    ui = add_command(
        commands,
        "ui",
        _ui,
        "start the Dagster UI",
        "ui --settings my_study.toml",
        "ui --settings my_study.toml --port 3001",
        about="Open the printed address in a browser; Ctrl-C ends the UI.",
    )
    ui.add_argument("--port", type=int, default=3000, help="port to listen on (default: 3000)")
    ui.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
    ui.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="additional host name for which browsers may reach the UI, such as that of a proxy; may be repeated",
    )


def _demo(options: argparse.Namespace) -> int:
    options.settings, options.select = _demo_settings(), None
    _ensure_demo_extract(options.settings)
    return _run(options)


def _demo_settings() -> Path:
    """Return the settings file of the built-in demo. Outside a checkout, copy the demo to a writable folder first."""
    path = shipped("demo/settings.toml")
    if (path.parents[2] / "pyproject.toml").is_file():
        return path
    copy = Path.cwd() / "ehr_pipeline_demo"
    for folder in ("demo", "lists", "tasks"):
        shutil.copytree(shipped(folder), copy / folder, dirs_exist_ok=True)
    return copy / "demo" / "settings.toml"


def _ensure_demo_extract(path: Path) -> None:
    from ehr_pipeline.study import settings
    from ehr_pipeline.synthetic.worlds.write import is_there, write

    out = Path(settings.load(path).records.landing).parent
    if not is_there(out, DEMO_PLANS, DEMO_PATIENTS, DEMO_SEED):
        print(f"writing a synthetic extract of {DEMO_PATIENTS:,} patients to {out}")
        write(out, DEMO_PLANS, DEMO_PATIENTS, DEMO_SEED)


def _run(options: argparse.Namespace) -> int:
    from ehr_pipeline.planning import preflight
    from ehr_pipeline.runs import unchanged_run

    study = _study_with_extracts(options)

    _log.info("checking the settings and the inputs")
    findings = preflight.inspect(study)
    for warning in findings.warnings:
        print_problem("warning", warning)
    if findings.problems:
        raise SettingsError(os.environ[ENVIRONMENT_VARIABLE], findings.problems)
    outcome = None if options.select or options.verbose else unchanged_run.outcome(study)
    if outcome:
        print("nothing has changed since the last run")
    else:
        from ehr_pipeline.defs import run

        outcome = run.run(study, options.select, options.verbose)
    if outcome.interrupted:
        raise KeyboardInterrupt
    print_table(outcome.rows, study.guard)
    report = report_of(study)
    write_summary(study, outcome, None if outcome.problems else report)
    for warning in outcome.warnings:
        print_problem("warning", warning)
    for problem in outcome.problems:
        print_problem("error", problem)
    if not outcome.problems and (link := link_of_report(study)):
        print(f"\nreport: {link}")
    if not outcome.problems and (page := predictions_of(study)):
        print(f"predictions: {page}")
    return FAILED if outcome.problems else 0


def _study_with_extracts(options: argparse.Namespace) -> "Study":
    """Return the study to check or run. Raises UserError if none was named and the built-in demo does not exist yet."""
    unnamed = names_no_study(options)
    study = study_of(options)
    if unnamed and not Path(study.records.landing).is_dir():
        near = [str(path) for pattern in ("study.toml", "*/study.toml") for path in sorted(Path().glob(pattern))]
        named = " or ".join(near[:SHOWN]) or "my_study/study.toml"
        raise UserError(
            f"the demo has not been run yet: run `ehr-pipeline demo`. For another study, add --settings {named}"
            + ("." if near else "; `ehr-pipeline init my_study --from FILE ...` writes that file.")
        )
    return study


def _check(options: argparse.Namespace) -> int:
    study = _study_with_extracts(options)
    from ehr_pipeline.planning import preflight

    print(printable(f"checked {os.environ[ENVIRONMENT_VARIABLE]} and its input files"))
    findings = preflight.inspect(study)
    for fact in findings.facts:
        print(printable(fact))
    for warning in findings.warnings:
        print_problem("warning", warning)
    if findings.problems:
        raise SettingsError(os.environ[ENVIRONMENT_VARIABLE], findings.problems)
    if findings.warnings:
        print(
            f"settings and inputs can be used; {len(findings.warnings)} warning{'s' if len(findings.warnings) > 1 else ''}"
        )
    else:
        print("settings and inputs are in order")
    return 0


def _verify(options: argparse.Namespace) -> int:
    from ehr_pipeline.assets import ASSETS
    from ehr_pipeline.store import verification

    counts = verification.Counts()
    for problem in verification.verify(Path(study_of(options).study.store), ASSETS, counts):
        print_problem("error", problem)
    print(
        f"compared {counts.files:,} files ({counts.bytes / 1000000.0:,.1f} MB) of {counts.artifacts:,} artifacts:"
        f" {f'damaged: {counts.damaged:,}' if counts.damaged else 'all match the published version'}"
    )
    return FAILED if counts.damaged else 0


def _ci_check(options: argparse.Namespace) -> int:
    from ehr_pipeline.defs import ci

    outcome = ci.ci_check()
    print_table(outcome.rows, Guard(FEWEST, 1))  # the patients are synthetic
    for warning in outcome.warnings:
        print_problem("ignored, because there are so few patients", warning)
    for problem in outcome.problems:
        print_problem("error", problem)
    verdict = (
        f"{len(outcome.problems)} problems"
        if outcome.problems
        else "every asset was built, and every check that counts passed"
    )
    print(f"\nci-check: {verdict}")
    return FAILED if outcome.problems else 0


def _ui(options: argparse.Namespace) -> int:
    if names_no_study(options):
        options.settings = _demo_settings()
        print_problem("note", f"no --settings FILE was given, so this is the embedded demo ({options.settings})")
        _ensure_demo_extract(options.settings)
    study = study_of(options)
    from ehr_pipeline.defs import startup_message
    from ehr_pipeline.defs.serve import serve
    from ehr_pipeline.store import build_lock

    with startup_message.announced(startup_message.free_address(options.host, options.port)):
        build_lock.sweep(Path(study.study.store))
        return serve(options.port, options.host, options.allow_host)
