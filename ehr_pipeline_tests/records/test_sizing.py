import gzip
import os
from pathlib import Path

import pytest

from ehr_pipeline.records.sizing import BYTES_PER_BUCKET, buckets_for


def sparse(path: Path, size: int) -> Path:
    """A file that says it is large."""
    path.touch()
    os.truncate(path, size)
    return path


@pytest.mark.parametrize(
    ("buckets_of_text", "expected"), [(0, 32), (32, 32), (32.5, 64), (64, 64), (1000, 1024), (50_000, 4096)]
)
def test_buckets_follow_from_the_size(tmp_path: Path, buckets_of_text: float, expected: int) -> None:
    assert buckets_for([sparse(tmp_path / "events.txt", int(buckets_of_text * BYTES_PER_BUCKET))]) == expected


def test_compressed_files_hold_more_text_than_bytes(tmp_path: Path) -> None:
    path = tmp_path / "events.txt.gz"
    path.write_bytes(gzip.compress(b"text"))
    assert buckets_for([sparse(path, 20 * BYTES_PER_BUCKET)]) == 128
