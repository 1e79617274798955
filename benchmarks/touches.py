"""How quickly the program answers: `--help`, `check`, a run in which nothing changed, the server's start, a study of 200 patients.

The study is the embedded demo with 200 patients, in the settings of the demo. Everything is measured anew in each round, and the
medians are shown. Processor seconds are those of all processes, up to the moment that is timed: they say more than seconds where
other work runs on the machine. The server's start is compared with that of Dagster's own `dagster dev` on a file of definitions
with one empty asset; both are started until they answer with the graph. Linux only.

Usage: python benchmarks/touches.py [--rounds 5] [--only touches server study]
"""

import argparse
import json
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import results
from time_and_memory import children_of

from ehr_pipeline.cli.run import DEMO_PLANS, DEMO_SEED
from ehr_pipeline.terminology.shipped import shipped
from ehr_pipeline_tests.defs.browser import Server
from ehr_pipeline_tests.processes import free_port

BIN = Path(sys.executable).parent
TOP = Path(__file__).parents[1]
PATIENTS = 200
EMPTY = "import dagster as dg\n\n\n@dg.asset\ndef nothing(): ...\n\n\ndefs = dg.Definitions([nothing])\n"
GOALS = {
    "`--help`": "0.5",
    "`check`": "2",
    "a run in which nothing changed": "3",
    "`ui`, until it answers with the graph": "8",
    f"{PATIENTS} patients, from no file to the report": "30",
}
Measured = tuple[float, float]
"""Seconds, and processor seconds of all processes."""


class Study:
    """The demo with few patients, in a folder of its own."""

    def __init__(self, folder: Path):
        self.folder = folder
        for name in ("demo", "lists", "tasks"):
            shutil.copytree(shipped(name), folder / "data" / name)
        self.settings = folder / "data/demo/settings.toml"
        self.own = {"EHR_STATE_DIR": str(folder / "state"), "DAGSTER_HOME": str(TOP)}
        self.stages: list[tuple[str, str]] = []
        """The seconds of each stage, once they are made."""

    def command(self, *arguments: str) -> list[str]:
        """One call of the program."""
        return [str(BIN / "ehr-pipeline"), *arguments, "--settings", str(self.settings)]

    def end_to_end(self) -> Measured:
        """Write the extract, and make everything."""
        plans = [part for plan in DEMO_PLANS for part in ("--plan", plan)]
        out = str(self.folder / "data/studies/demo")
        written = [
            str(BIN / "ehr-pipeline"),
            "synth",
            out,
            "--patients",
            str(PATIENTS),
            "--seed",
            str(DEMO_SEED),
            *plans,
        ]
        first, second = timed(written, self.own), timed(self.command("run"), self.own)
        summary = json.loads(next(self.folder.glob("**/summary.json")).read_text(encoding="utf-8"))
        self.stages = [(stage["asset"], f"{stage['seconds']:.1f}") for stage in summary["stages"]]
        return first[0] + second[0], first[1] + second[1]


def timed(command: list[str], own: dict[str, str]) -> Measured:
    """Run a command to its end. Raises SystemExit with what it printed when it fails."""
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    ended = subprocess.run(command, env=os.environ | own, capture_output=True, text=True, check=False)
    seconds, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    if ended.returncode:
        raise SystemExit(f"{' '.join(command)}:\n{ended.stdout}{ended.stderr}")
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def started(command: list[str], port: int, own: dict[str, str], folder: Path) -> Measured:
    """Start a server, wait until it answers with the graph, and end it."""
    begun = time.perf_counter()
    process = subprocess.Popen(
        command,
        env=os.environ | own,
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    server = Server(port, process)
    try:
        while not server.is_loaded():
            if process.poll() is not None or time.perf_counter() - begun > 180:
                raise SystemExit(f"{' '.join(command)} did not start")
            time.sleep(0.05)
        return time.perf_counter() - begun, processor_seconds(process.pid)
    finally:
        server.end()


def processor_seconds(root: int) -> float:
    """What a process and its descendants have used so far, those that have ended included."""
    fields = Path(f"/proc/{root}/stat").read_text().rpartition(")")[2].split()
    own = sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    return own + sum(processor_seconds(child) for child in children_of(root))


def ours(study: Study) -> Measured:
    """The start of our server."""
    port = free_port()
    return started(study.command("ui", "--port", str(port)), port, study.own, study.folder)


def dagsters(folder: Path) -> Measured:
    """The start of Dagster's own server, with one empty asset."""
    home = folder / "dagster"
    home.mkdir(exist_ok=True)
    (home / "definitions.py").write_text(EMPTY)
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\nnux: {enabled: false}\n")
    port = free_port()
    command = [str(BIN / "dagster"), "dev", "-f", "definitions.py", "-p", str(port)]
    return started(command, port, {"DAGSTER_HOME": str(home)}, home)


def row(name: str, rounds: list[Measured]) -> tuple[str, ...]:
    """A row of the table: the medians, and the least and the most."""
    seconds, spent = zip(*rounds, strict=True)
    spread = f"{min(seconds):.1f} to {max(seconds):.1f}"
    middle = statistics.median
    return name, f"**{middle(seconds):.2f}**", spread, f"{middle(spent):.2f}", GOALS.get(name, "")


def main() -> None:
    """Measure, and write a part of the section for what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--only", nargs="+", choices=("touches", "server", "study"), default=["touches", "server", "study"]
    )
    options = parser.parse_args()
    busy = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as scratch:
        studies = [
            Study(Path(scratch) / f"{number}") for number in range(options.rounds if "study" in options.only else 1)
        ]
        whole, study = [each.end_to_end() for each in studies], studies[-1]
        rows = [row(f"{PATIENTS} patients, from no file to the report", whole)] if "study" in options.only else []
        asked: list[tuple[str, Callable[[], Measured]]] = []
        if "touches" in options.only:
            asked += [
                ("`--help`", lambda: timed([str(BIN / "ehr-pipeline"), "--help"], study.own)),
                ("`check`", lambda: timed(study.command("check"), study.own)),
                ("a run in which nothing changed", lambda: timed(study.command("run"), study.own)),
            ]
        if "server" in options.only:
            asked += [
                ("`ui`, until it answers with the graph", lambda: ours(study)),
                ("`dagster dev` with one empty asset, likewise", lambda: dagsters(Path(scratch))),
            ]
        measured: dict[str, list[Measured]] = {name: [] for name, _ in asked}
        for number in range(options.rounds + 1):  # in turn; the first round, which fills caches, does not count
            for name, measure in asked:
                found = measure()
                if number:
                    measured[name].append(found)
        rows += [row(name, found) for name, found in measured.items()]
        stages = results.table(("stage", "seconds"), study.stages)
    head = ("what", "seconds, median", "least to most", "processor seconds, median", "goal, seconds")
    text = (
        f"{options.rounds} rounds. Processes that ran or waited to run on the machine before: {busy:.1f} (average of a minute).\n\n"
        f"{results.table(head, rows)}\n\nOf the {PATIENTS} patients, stage by stage (last round):\n\n{stages}"
    )
    machine = re.sub(r", Python.*", "", results.machine())
    results.write_part("touches.py", "Quick to the touch", f"On {machine}: {', '.join(options.only)}", text)


if __name__ == "__main__":
    main()
