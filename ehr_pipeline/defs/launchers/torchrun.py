"""One machine, all its GPUs or its CPU cores: `torchrun` in a subprocess, with its log in the Dagster run as it comes."""

import json
import os
import sys
from pathlib import Path

import dagster as dg

from ehr_pipeline.defs.launchers.base import Launcher
from ehr_pipeline.engines import die_with_parent
from ehr_pipeline.errors import UserError
from ehr_pipeline.store import build_lock
from ehr_pipeline.work import jobs


class TorchrunLauncher(Launcher):
    """Runs a job on `processes` processes of this machine."""

    # Pipes waits this long for children to end after a cancel; torchrun itself gives its ranks 30 s before it kills them.
    termination_timeout_seconds: float = 60.0

    def launch(self, context: dg.AssetExecutionContext, module: str, job: jobs.Job) -> None:
        """Run the job. Raises UserError with the message of the first process that ended with one."""
        with build_lock.scratch(Path(self.store)) as folder:
            described, told, logs = (folder / name for name in ("job.json", "error.txt", "logs"))
            described.write_text(json.dumps(job | {"error_file": str(told)}), encoding="utf-8")
            torchrun = [
                "-m",
                "torch.distributed.run",
                "--standalone",
                f"--nproc-per-node={self.processes}",
                f"--max-restarts={self.restarts}",
                f"--log-dir={logs}",
                "--tee=3",
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
                    f"The job {module} on {self.processes} processes failed, and was started again {self.restarts} times."
                    f" ({error})\n{log_tails(logs)}"
                ) from error

    def _environment(self, job: jobs.Job) -> dict[str, str]:
        """What torchrun and its processes need beside what they inherit.

        torchrun sets one thread for each process unless told otherwise, and so would idle all other cores. And after a restart its
        processes would read the addresses of those that died from a store that outlives them, and fail to connect
        (github.com/pytorch/pytorch/issues/135712): they get a store of their own.
        """
        threads = job.get("threads") or max(1, _cores() // self.processes)
        return {
            "OMP_NUM_THREADS": str(threads),
            "TOKENIZERS_PARALLELISM": "false",
            "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
        }


def log_tails(logs: Path, lines: int = 15) -> str:
    """The last lines of the log of the process that failed; of all, where none says so itself (a process that was killed).

    torchrun lays logs out as RUN/attempt_N/RANK/stderr.log. Of several that failed, the first is meant: the others failed for want
    of it.
    """
    written = [path for path in logs.glob("*/attempt_*/*/stderr.log") if path.stat().st_size]
    last = max((int(path.parts[-3].split("_")[1]) for path in written), default=0)
    texts = {
        int(path.parts[-2]): path.read_text(encoding="utf-8", errors="replace").splitlines()
        for path in written
        if path.parts[-3] == f"attempt_{last}"
    }
    failed = {}
    for rank, text in texts.items():
        marks = [line for line in text if line.startswith(jobs.FAILED_AT)]
        if marks:
            failed[rank] = float(marks[0].removeprefix(jobs.FAILED_AT))
    shown = [min(failed, key=lambda rank: failed[rank])] if failed else sorted(texts)
    return "\n".join(
        f"The last lines of process {rank}:\n" + "\n".join(f"    {line}" for line in texts[rank][-lines:])
        for rank in shown
    )


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
