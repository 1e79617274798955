"""Malformed extracts: each ends in a result whose counts add up, or in a clear error; never in another exception, never in a hang.

Three parts, each run unless its number of cases is 0:

- Damaged: a small valid extract is damaged at random (bits, lines, quotes, encodings, gzip streams, columns, and the settings) and
  goes through records, events, vocabulary and patients.
- Exported: a small study goes through the ways in which programs and people export tables (`ehr_pipeline_tests.records.ways`).
  Where more than 1 % of it is not read as it was, or anything is read that nobody exported, something has to be said.
- Quoted: well-formed random files with quotes and line breaks are read by DuckDB as well (extra `benchmarks`): the rows must be the
  same.

Every case has a number; the same number gives the same case again.

Usage: python benchmarks/fuzz.py [--damaged 2500] [--exported 2500] [--quoted 500] [--first 0] [--workers 1]
"""

import argparse
import logging
import random
import signal
import tempfile
import time
import traceback
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path

import results
import second_opinion

from ehr_pipeline.errors import GateFailed
from ehr_pipeline_tests.records import exports, malformed, ways

HANG_SECONDS = 60
ENOUGH = 500
"""Cases of a part from which on its figures are written down."""
TITLE = "Malformed extracts"
BAD = "failure"


def main() -> None:
    """Run the parts that are asked for. Ends with status 1 where a case failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--damaged", type=int, default=2500)
    parser.add_argument("--exported", type=int, default=2500)
    parser.add_argument("--quoted", type=int, default=500, help="well-formed files to compare with DuckDB's reader")
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--workers", type=int, default=1, help="cases that run side by side")
    options = parser.parse_args()
    parts = (
        ("Damaged", options.damaged, "damaged extracts and settings went through the chain to the patients"),
        ("Exported", options.exported, f"exports, each by one or two of {len(ways.WAYS)} ways, were read"),
    )
    for name, cases, told in parts:
        if cases:
            _part(name, range(options.first, options.first + cases), options.workers, told)
    if options.quoted:
        text = _quoted(options.quoted)
        print(text)
        if options.quoted >= ENOUGH:
            results.write_part("fuzz.py", TITLE, "Quoted", text)


def _part(name: str, numbers: range, workers: int, told: str) -> None:
    """Run the cases of a part, and write its figures down."""
    outcomes: Counter[str] = Counter()
    failures, began = [], time.monotonic()
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for number, outcome in zip(numbers, pool.map(_case, repeat(name), numbers), strict=True):
            if outcome.startswith(BAD):
                failures.append(number)
                again = f"benchmarks/fuzz.py --{name.lower()} 1 --first {number}"
                print(f"case {number}: {outcome}. Again, with 0 for the other parts: {again}", flush=True)
            outcomes[outcome] += 1
    milliseconds = 1000 * (time.monotonic() - began) / len(numbers)
    if failures:
        raise SystemExit(f"{len(failures)} of {len(numbers)} cases failed: {failures[:20]}; {dict(outcomes)}")
    print(name, dict(outcomes))
    if len(numbers) >= ENOUGH:
        bad = {
            "Damaged": "ended in an exception that is not meant for the user, or in counts that do not add up",
            "Exported": "lost more than 1 %, or gave anything that nobody exported, without a word, or ended in another exception",
        }[name]
        table = results.table(("outcome", "cases"), outcomes.most_common())
        span = f"{told} (numbers {numbers[0]:,} to {numbers[-1]:,})"
        text = f"{len(numbers):,} {span}: **0 {bad}**. {milliseconds:.0f} ms a case.\n\n{table}"
        results.write_part("fuzz.py", TITLE, name, text)


def _case(name: str, number: int) -> str:
    """How one case of a part ended."""
    logging.disable(logging.WARNING)
    signal.signal(signal.SIGALRM, _hangs)
    signal.alarm(HANG_SECONDS)
    try:
        with tempfile.TemporaryDirectory(dir=_memory()) as folder:
            return {"Damaged": _damaged, "Exported": _exported}[name](random.Random(number), Path(folder))
    except GateFailed as error:
        return f"{BAD}: {error}"
    except Exception:
        return f"{BAD}: {traceback.format_exc()}"
    finally:
        signal.alarm(0)


def _damaged(rng: random.Random, folder: Path) -> str:
    return malformed.run(malformed.Case(rng), folder)


def _exported(rng: random.Random, folder: Path) -> str:
    """How an export ended, in words; one that ended badly names its ways."""
    ending = exports.run(ways.chosen(rng), rng, folder)
    if ending.is_silent:
        return f"{BAD}: without a word, {', '.join(ending.ways)} ({ending.lost:.1%} lost, {ending.wrong} wrong)"
    changed = ending.wrong > 0 or ending.lost > exports.ENOUGH_TO_SAY
    if not changed:
        return "read as it was, and something was said" if ending.said else "read as it was"
    return "not read, with the reason" if ending.lost == 1 else "read in part, and it was said"


def _quoted(files: int) -> str:
    """Compare the rows of well-formed files with those by DuckDB. Returns what was compared, in words."""
    rows = 0
    for number in range(files):
        with tempfile.TemporaryDirectory(dir=_memory()) as folder:
            rows += second_opinion.compare(random.Random(number), Path(folder))
    return (
        f"{files:,} well-formed random files (line breaks in quotes; UTF-8, Latin-1 and UTF-16;"
        f" plain and gzip; {rows:,} rows) gave **the same rows as DuckDB's own CSV reader**."
    )


def _hangs(*_: object) -> None:
    raise TimeoutError(f"no end after {HANG_SECONDS} s")


def _memory() -> str | None:
    """A folder in memory where there is one: every artifact is flushed to its disk."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108


if __name__ == "__main__":
    main()
