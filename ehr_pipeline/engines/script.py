"""The scripts that are sent to Slurm: a template that a site can edit, filled in from the settings."""

import sys
from pathlib import Path
from typing import Any

from ehr_pipeline.engines import templates
from ehr_pipeline.engines.settings import LauncherSettings
from ehr_pipeline.engines.torchrun import ENVIRONMENT
from ehr_pipeline.errors import UserError

OURS = Path(__file__).with_name("job.sh.j2")


def for_buckets(settings: LauncherSettings, folder: Path, name: str, tasks: int, numbers: list[int]) -> str:
    """The script of an array job: the tasks with these numbers, of so many."""
    return _render(
        settings,
        folder,
        name,
        what=f"Work on buckets: {len(numbers)} of {tasks} tasks, each on a process of its own.",
        log=f"{folder}/log-%a.txt",
        options=settings.slurm.bucket_options,
        nodes=1,
        array=ranges(numbers),
        tasks=tasks,
        environment={},
    )


def for_job(settings: LauncherSettings, folder: Path, name: str, module: str) -> str:
    """The script of a heavy job under torchrun."""
    threads = {"OMP_NUM_THREADS": str(settings.threads)} if settings.threads else {}
    return _render(
        settings,
        folder,
        name,
        what=f"{module} on {settings.processes} processes under torchrun, on {settings.nodes} node(s).",
        log=f"{folder}/log.txt",
        options=settings.slurm.job_options,
        nodes=settings.nodes,
        processes_per_node=settings.processes // settings.nodes,
        restarts=settings.restarts,
        module=module,
        array="",
        environment=ENVIRONMENT | threads,
    )


def ranges(numbers: list[int]) -> str:
    """Numbers as `sbatch --array` takes them: '0-3,7'."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and parts[-1][1] == number - 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in parts)


def _render(settings: LauncherSettings, folder: Path, name: str, **values: Any) -> str:
    if not str(folder).replace("/", "").replace("-", "").replace("_", "").replace(".", "").isalnum():
        raise UserError(
            f"study.store: Slurm takes the path {folder} apart. Use a folder of letters, digits, '-', '_' and '.' only."
        )
    own = settings.slurm
    path = Path(own.template) if own.template else OURS
    own_values = {
        "name": f"ehr-{name}",
        "folder": folder,
        "setup": own.setup,
        "python": own.python or sys.executable,
        "lapse_seconds": f"{own.lapse_seconds:g}",
    }
    return templates.fill(path, "launcher.slurm.template", own_values | values)
