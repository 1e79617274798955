"""One machine, all its GPUs or its CPU cores: `torchrun` in a subprocess, with its log in the Dagster run as it comes."""

import json
import os
import sys
import tempfile
from pathlib import Path

import dagster as dg

from ehr_pipeline import jobs
from ehr_pipeline.defs.launchers import die_with_parent
from ehr_pipeline.defs.launchers.base import Launcher
from ehr_pipeline.errors import UserError


class TorchrunLauncher(Launcher):
    """Runs a job on `processes` processes of this machine."""

    # Pipes waits this long for children to end after a cancel; torchrun itself gives its ranks 30 s before it kills them.
    termination_timeout_seconds: float = 60.0

    def launch(self, context: dg.AssetExecutionContext, module: str, job: jobs.Job) -> None:
        """Run the job. Raises UserError with the message of the first process that ended with one."""
        with tempfile.TemporaryDirectory(prefix="ehr-job-") as folder:
            described, told = Path(folder) / "job.json", Path(folder) / "error.txt"
            described.write_text(json.dumps(job | {"error_file": str(told)}), encoding="utf-8")
            torchrun = [
                "-m",
                "torch.distributed.run",
                "--standalone",
                f"--nproc-per-node={self.processes}",
                "-m",
                module,
                "--job",
                str(described),
            ]
            command = [sys.executable, str(die_with_parent.__file__), sys.executable, *torchrun]
            client = dg.PipesSubprocessClient(termination_timeout_seconds=self.termination_timeout_seconds)
            try:
                client.run(command=command, context=context.op_execution_context, env=self._environment(job))
            except dg.DagsterExecutionInterruptedError:
                raise
            except Exception as error:
                if told.is_file():
                    raise UserError(told.read_text(encoding="utf-8")) from None
                raise UserError(
                    f"The job {module} on {self.processes} processes failed; its log stands above in this run. ({error})"
                ) from error

    def _environment(self, job: jobs.Job) -> dict[str, str]:
        """torchrun sets one thread for each process unless told otherwise, and so would idle all other cores."""
        threads = job.get("threads") or max(1, _cores() // self.processes)
        return {"OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false"}


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
