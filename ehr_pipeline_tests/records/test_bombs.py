"""Small files that unpack to much: read in memory that neither the file nor what it unpacks to sets, and counted line by line."""

import json
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from ehr_pipeline.records.quarantine import MAX_LISTED
from ehr_pipeline.tables import schemas

pytestmark = pytest.mark.slow

HEADER, GOOD = b"id\tdate\tcode\n", b"1\t05/03/2001\t9014002\n"
ROOM = 400  # megabytes of memory beyond what a small extract takes: its libraries, and the loops that are compiled at first use
READ = """
import json, re, sys
from pathlib import Path
from ehr_pipeline.records import build
from ehr_pipeline_tests.conftest import records_settings

def memory(what):
    return int(re.search(what + r":\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) >> 10

small, folder, out = (Path(name) for name in sys.argv[1:])
settings = records_settings(folder.parent)
build.build(small, settings, out.with_name("small"))
before = memory("VmRSS")
Path("/proc/self/clear_refs").write_text("5")  # the most memory is counted from here
counts = build.build(folder, settings, out)
found = {name: counts[name] for name in ("kept", "dropped", "rows_in")}
more = memory("VmHWM") - before
print(json.dumps(found | {"more": more, "not_listed": counts.get("rejected_not_listed", 0)}))
"""


def bomb(piece: bytes, pieces: int) -> Iterator[bytes]:
    """A gzip stream of a header, a good row, a piece many times over, and a good row again."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    yield packer.compress(HEADER + GOOD)
    for _ in range(pieces):
        yield packer.compress(piece)
    yield packer.compress(b"\n" + GOOD) + packer.flush()


@pytest.mark.parametrize(
    ("piece", "pieces", "reason", "lines"),
    [
        (b"\0" * (1 << 20), 300, "line_too_long", 1),
        (b"\n" * (1 << 20), 60, "empty_line", 60 << 20),
        ((b"x" * 65535 + b"\n") * 16, 300, "wrong_number_of_fields", 300 * 16),
    ],
    ids=["nul", "newlines", "long lines"],
)
def test_a_gzip_bomb_is_read_in_bounded_memory(
    landing: object, tmp_path: Path, piece: bytes, pieces: int, reason: str, lines: int
) -> None:
    small: Path = landing(HEADER + GOOD)  # type: ignore[operator]
    folder: Path = landing("", extract="2021-01-01")  # type: ignore[operator]
    (folder / "events.txt").unlink()
    path = folder / "events.txt.gz"
    with path.open("wb") as stream:
        stream.writelines(bomb(piece, pieces))
    assert path.stat().st_size < 1 << 20
    out = tmp_path / "out"
    out.mkdir()
    out.with_name("small").mkdir()
    code = [sys.executable, "-c", READ, str(small), str(folder), str(out)]
    done = subprocess.run(code, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert found["kept"] == 2, "the good rows before and after it"
    assert found["dropped"][reason] >= lines
    assert found["rows_in"] == 2 + sum(found["dropped"].values())
    assert found["more"] < ROOM
    told = sum(schemas.read(file).num_rows for file in (out / "quarantine").iterdir())
    assert told == sum(min(number, MAX_LISTED) for number in found["dropped"].values())
    assert found.get("not_listed", 0) == sum(found["dropped"].values()) - told
    assert sum(file.stat().st_size for file in out.rglob("*") if file.is_file()) < 100 << 20, "bytes on disk"
