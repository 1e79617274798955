"""Malformed extracts: each ends in a result whose counts add up, or in a clear error; never in another exception, never in a hang.

A small valid extract is damaged at random (bits, lines, quotes, encodings, gzip streams, columns, and the settings) and goes
through records, events, vocabulary and patients. Every case has a number; the same number gives the same case again.

Well-formed random files with quotes and line breaks are read by DuckDB as well (extra `benchmarks`): the rows must be the same.

Usage: python benchmarks/fuzz.py [--cases 2500] [--first 0] [--quoted 500]
"""

import argparse
import random
import signal
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

import results
import second_opinion

from ehr_pipeline.errors import GateFailed
from ehr_pipeline_tests.records.malformed import Case, run

HANG_SECONDS = 60


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", type=int, default=2500)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--quoted", type=int, default=500, help="well-formed files to compare with DuckDB's reader")
    options = parser.parse_args()
    quoted = _quoted(options.quoted)
    outcomes: Counter[str] = Counter()
    failures, began = [], time.monotonic()
    signal.signal(signal.SIGALRM, _hangs)
    for number in range(options.first, options.first + options.cases):
        signal.alarm(HANG_SECONDS)
        with tempfile.TemporaryDirectory(dir=_memory()) as folder:
            try:
                outcomes[run(Case(random.Random(number)), Path(folder))] += 1
            except Exception as error:
                outcomes["failure"] += 1
                failures.append(number)
                print(f"case {number} failed: python benchmarks/fuzz.py --first {number} --cases 1", flush=True)
                if not isinstance(error, GateFailed):
                    traceback.print_exc()
                else:
                    print(error)
    signal.alarm(0)
    seconds = time.monotonic() - began
    if failures:
        raise SystemExit(f"{len(failures)} of {options.cases} cases failed: {failures[:20]}; {dict(outcomes)}")
    print(dict(outcomes), quoted)
    if options.cases >= 2000:
        told = results.table(("outcome", "cases"), outcomes.most_common())
        results.write(
            "fuzz.py",
            "Malformed extracts",
            f"{options.cases:,} damaged extracts and settings (numbers {options.first:,} to"
            f" {options.first + options.cases - 1:,}) went through records, events, vocabulary and patients:"
            f" **{outcomes['failure']} ended in an exception that is not meant for the user, or in counts that do not add up**."
            f" {1000 * seconds / options.cases:.0f} ms a case.\n\n{told}\n\n{quoted}",
        )


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
