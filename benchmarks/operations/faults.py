"""The server killed with -9 while it reads, trains and reports, alone or with all its processes; and a disk that is full."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import results

from ehr_pipeline.defs.dagster_jobs import READING
from ehr_pipeline.synthetic.generate import EXTRACT
from ehr_pipeline_tests.defs.browser import Server
from ehr_pipeline_tests.processes import until
from operations.extracts_at_once import WATCHED, statuses, wait
from operations.site import ENDED, Site, contents, different, launch, runs

LAUNCHER = {"backend": "processes", "processes": 1, "threads": 1}
LAST = "cluster_reports"
DISK_MEGABYTES, LEFT_BYTES = 400, 300_000


def measured(folder: Path, source: Path, epochs: int) -> str:
    """Both, on the same study; the bytes of a run that nothing disturbs are what each must end with."""
    studied: dict[str, dict[str, Any]] = {
        "encoder": {"max_epochs": epochs, "checkpoint_seconds": 0.5},
        "launcher": LAUNCHER,
    }
    calm = Site.made(folder / "calm", source, **studied)
    calm.land(source / "landing" / EXTRACT, EXTRACT)
    calm.pipeline().make(EXTRACT)
    wanted = contents(calm.store)
    site = Site.made(folder / "killed", source, operation=WATCHED, **studied)
    rows = list(told(killed(site, source, wanted)))
    site = Site.made(folder / "alone", source, operation=WATCHED, **studied)
    rows += told(without_server(site, source, wanted))
    with small_disk(folder / "disk") as disk:
        rows += told(full(Site.made(disk / "site", source, **studied), source, disk, wanted))
    return results.table(("What", "What became of it"), rows)


def told(rows: Iterator[tuple[object, ...]]) -> Iterator[tuple[object, ...]]:
    """The same, each shown as soon as it is there."""
    for row in rows:
        print(*row, sep=": ", flush=True)
        yield row


def killed(site: Site, source: Path, wanted: dict[str, str]) -> Iterator[tuple[object, ...]]:
    """One extract through the whole chain by itself, with three kills on the way. Nobody asks for a run."""
    site.land(source / "landing" / EXTRACT, EXTRACT)
    yield struck(site, "reading", lambda: site.is_making("raw_records"), site.kill)
    yield struck(site, "training", lambda: trains(site), site.kill)
    yield struck(site, "reporting", lambda: site.is_making(LAST), site.kill)
    yield completed(site)
    yield at_the_end(site, wanted)


def without_server(site: Site, source: Path, wanted: dict[str, str]) -> Iterator[tuple[object, ...]]:
    """The server alone is killed while a run trains: the run goes on."""
    site.land(source / "landing" / EXTRACT, EXTRACT)
    yield struck(site, "training, the server alone", lambda: trains(site), lambda: alone(site))
    yield completed(site)
    yield at_the_end(site, wanted)


def completed(site: Site) -> tuple[object, ...]:
    """Start the server once more, and wait until all runs have ended."""
    with site.serving() as server:
        begun = time.monotonic()
        wait(lambda: site.store.has(LAST), server)
        wait(lambda: all(run["status"] in ENDED for run in runs(server)), server)
        return (
            "the next start: the chain is complete",
            f"after {time.monotonic() - begun:.0f} s; {described(statuses(server))}",
        )


def struck(site: Site, when: str, moment: Callable[[], bool], kill: Callable[[], int]) -> tuple[object, ...]:
    """Start the server, wait for a moment, kill."""
    with site.serving() as server:
        begun = time.monotonic()
        while not moment():
            if time.monotonic() - begun > 300:
                raise SystemExit(f"{when}: this moment did not come; {statuses(server)}")
            time.sleep(0.01)
        waited, before = time.monotonic() - begun, statuses(server)
        number = kill()
    what = (
        f"{number} processes killed {waited:.0f} s after the start; {described(before)}; half made: {len(halves(site))}"
    )
    return f"kill -9 while {when}", what


def trains(site: Site) -> bool:
    """Whether a training has a checkpoint to go on from, and runs."""
    return site.is_making("encoder_checkpoint") and bool(list(site.store.root.glob("encoder/*/.training-*/update-*")))


def alone(site: Site) -> int:
    """Kill `ehr-pipeline ui` and no other process."""
    for pid in site.processes():
        with contextlib.suppress(OSError):
            if b"ehr_pipeline.cli\0ui\0" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGKILL)
                return 1
    raise SystemExit("there is no server to kill")


def halves(site: Site) -> list[str]:
    """Artifacts that are not whole yet."""
    return [path for path in site.hidden() if ".making" in path and not path.endswith((".lock", ".part"))]


def at_the_end(site: Site, wanted: dict[str, str]) -> tuple[object, ...]:
    """Raises SystemExit unless everything is there, with the bytes of a run that nothing disturbed, and nothing else."""
    until(lambda: not site.processes(), 60)
    wrong, left, processes = different(contents(site.store), wanted), site.hidden(), site.processes()
    if wrong or left or processes:
        raise SystemExit(f"wrong: {wrong}; left: {left}; still there: {processes}")
    return (
        "at the end",
        f"**all {len(wanted)} artifacts as an undisturbed run makes them, byte for byte**; no half artifact, lock or process left",
    )


def full(site: Site, source: Path, disk: Path, wanted: dict[str, str]) -> Iterator[tuple[object, ...]]:
    """Store and Dagster's state on one disk, which fills up; then there is room again, and the server is started again."""
    site.land(source / "landing" / EXTRACT, EXTRACT)
    ballast = disk / "ballast"
    with site.serving() as server:
        for left in (LEFT_BYTES, 0):
            fill(ballast, left)
            yield f"a disk with {left:,} bytes left: a run is asked for", asked(server, READING)
            if site.store.partitions("raw_records") or halves(site):
                raise SystemExit("something was published on a full disk")
        site_answers = server.is_loaded()
        ballast.unlink()
        yield "the server meanwhile", "answers" if site_answers else "does not answer"
        yield "with room again, the same server: a run is asked for", asked(server, READING)
        after = [name.split("/")[0] for name in wanted if not name.startswith("raw_records")]
        launch(server, "__ASSET_JOB", after)
        wait(lambda: trains(site), server)
        fill(ballast, 0)
        until(lambda: not site.is_making("encoder_checkpoint"), 300)
        ballast.unlink()  # without a byte left the server cannot even answer
        yield "full while training", f"{described(statuses(server))}; half made: {len(halves(site))}"
    with site.serving() as server:
        time.sleep(5)
        yield "with room again, the next start", described(statuses(server))
        again = launch(server, "__ASSET_JOB", after)
        wait(lambda: next(run for run in runs(server) if run["runId"] == again)["status"] in ENDED, server)
    yield at_the_end(site, wanted)


def asked(server: Server, job: str) -> str:
    """What becomes of a run that is asked for."""
    try:
        run = launch(server, job, partition=EXTRACT)
    except OSError as refused:  # the server cannot write the run down
        return f"refused: {refused}"
    except SystemExit as refused:
        return "refused: " + (
            "no space" if "full" in str(refused) or "No space" in str(refused) else str(refused)[:300]
        )
    until(lambda: next(found for found in runs(server) if found["runId"] == run)["status"] in ENDED, 300)
    return str(next(found for found in runs(server) if found["runId"] == run)["status"]).lower()


def described(found: dict[str, int]) -> str:
    """Runs by status, in words."""
    return "runs: " + (", ".join(f"{count} {status.lower()}" for status, count in sorted(found.items())) or "none")


def fill(ballast: Path, left: int) -> None:
    """Write until so many bytes are left."""
    with ballast.open("ab", buffering=0) as stream, contextlib.suppress(OSError):
        while True:
            stat = os.statvfs(ballast.parent)
            room = stat.f_bavail * stat.f_frsize - left
            if room <= 0:
                return
            stream.write(b"\0" * min(room, 1 << 20))


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A disk of its own, in memory. Needs the right to mount."""
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={DISK_MEGABYTES}m", "tmpfs", str(folder)]
    subprocess.run(["/bin/mount", *options], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["/bin/umount", "--lazy", str(folder)], check=True)
