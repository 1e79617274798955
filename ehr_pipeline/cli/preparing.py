"""Commands that help to prepare a study: synth, settings, plan, job-scripts."""

import argparse
from pathlib import Path

from ehr_pipeline.cli.common import FAILED, study_of
from ehr_pipeline.cli.parsing import Commands, add_command
from ehr_pipeline.cli.run import DEMO_PATIENTS, DEMO_PLANS, DEMO_SEED
from ehr_pipeline.errors import UserError


def add(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add these commands."""
    add_command(
        commands,
        "job-scripts",
        _job_scripts,
        "print the job scripts that would be sent to Slurm or Kubernetes",
        "job-scripts --settings my_study.toml",
    )
    planned = add_command(
        commands,
        "plan",
        _plan,
        "estimate the time, disk, memory and GPUs that a study needs, and check whether the settings fit",
        "plan --settings my_study.toml --machines 1x16x64",
        "plan --settings my_study.toml --rows 3e9 --machines 8x32x256x1",
    )
    planned.add_argument(
        "--rows", type=float, help="number of rows of events, such as 3e9 (default: estimated from the extracts' files)"
    )
    planned.add_argument(
        "--machines",
        nargs="+",
        required=True,
        help="COUNTxCORESxGIGABYTES[xGPUS], such as 8x32x256x1; the first group includes the machine on which"
        " ehr-pipeline runs",
    )
    planned.add_argument(
        "--gpu-tokens", type=float, help="tokens per second of one GPU (measured by benchmarks/gpu_training.py)"
    )
    planned.add_argument(
        "--speed", type=float, default=1.0, help="speed of a core relative to a 2.8 GHz Xeon (default: 1)"
    )
    planned.add_argument("--kept", type=float, default=1.0, help="share of the rows that become tokens (default: 1)")
    add_command(
        commands,
        "settings",
        _settings,
        "print a reference of all settings, as Markdown",
        "settings > settings.md",
        study=False,
    )
    _add_synth(commands)


def _add_synth(commands: "Commands[argparse.ArgumentParser]") -> None:
    synth = add_command(
        commands,
        "synth",
        _synth,
        "write a synthetic extract with known truth",
        "synth OUT --patients 100000 --seed 1",
        study=False,
    )
    synth.add_argument("out", type=Path, help="folder to write to")
    synth.add_argument("--patients", type=_positive, default=DEMO_PATIENTS)
    synth.add_argument("--seed", type=int, default=DEMO_SEED)
    synth.add_argument(
        "--cohort-share",
        type=_share,
        default=0.5,
        help="share of patients who get one of the five diseases (default: 0.5)",
    )
    synth.add_argument(
        "--plan",
        action="append",
        help="which synthetic world to make: a plan of docs/worlds.md (default: base). Repeat to combine plans."
        " 'first' uses the original generator and cannot be combined",
    )


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


def _job_scripts(options: argparse.Namespace) -> int:
    from ehr_pipeline.engines import engine_for
    from ehr_pipeline.engines.scheduler import Scheduler
    from ehr_pipeline.engines.slurm import Slurm

    study = study_of(options)
    store = Path(study.study.store)
    engine = engine_for(study.launcher, store)
    # Engines without a queue (this machine, Ray) have no job script; for them, show Slurm's.
    scheduler = engine if isinstance(engine, Scheduler) else Slurm(study.launcher, store)
    for what, script in scheduler.preview().items():
        print(f"==> {what}\n{script}")
    return 0


def _plan(options: argparse.Namespace) -> int:
    from ehr_pipeline.planning import Machines, plan, rows_in_files

    machines = Machines.read(options.machines)
    for problem, is_so in (
        ("--rows must be at least 1", options.rows is not None and options.rows < 1),
        ("--speed must be greater than 0", options.speed <= 0),
        ("--kept must be greater than 0 and at most 1", not 0 < options.kept <= 1),
    ):
        if is_so:
            raise UserError(f"{problem}.")
    given = {name: getattr(options, name) for name in ("gpu_tokens", "speed", "kept")}
    study = study_of(options)
    found = None if options.rows else rows_in_files.estimated(study)
    if found:
        made = plan(study, found.rows, machines, **given, patients=found.patients, counted=found.how)
    else:
        made = plan(study, options.rows, machines, **given)
    print(made.text())
    return FAILED if made.problems else 0


def _settings(options: argparse.Namespace) -> int:
    from ehr_pipeline.study import reference

    print(reference.markdown(), end="")
    return 0


def _synth(options: argparse.Namespace) -> int:
    plans = options.plan or list(DEMO_PLANS)
    if "first" in plans:
        if set(plans) != {"first"}:
            raise UserError("--plan first cannot be combined with another plan")
        from ehr_pipeline.synthetic import generate

        generate.generate(options.out, options.patients, options.seed, options.cohort_share)
    else:
        from ehr_pipeline.synthetic.worlds.write import write

        write(options.out, plans, options.patients, options.seed, options.cohort_share)
    print(f"wrote {options.patients:,} patients to {options.out}")
    return 0
