"""Choose the number of buckets by the size of an extract, if the settings do not give it."""

from pathlib import Path

MIN_BUCKETS, MAX_BUCKETS = 32, 4096
BYTES_PER_BUCKET = 96 << 20  # of text: about 3 million events, which take about 150 MB while a bucket is processed
COMPRESSION = 5  # approximate bytes of text per byte of gzip or Parquet


def buckets_for(files: list[Path]) -> int:
    """Return a power of two, such that a bucket needs about the same memory for any size of extract."""
    text = sum(path.stat().st_size * (COMPRESSION if _compressed(path) else 1) for path in files)
    wanted = -(-text // BYTES_PER_BUCKET)
    return min(max(1 << (wanted - 1).bit_length() if wanted else 1, MIN_BUCKETS), MAX_BUCKETS)


def _compressed(path: Path) -> bool:
    if path.suffix == ".parquet":
        return True
    with path.open("rb") as stream:
        return stream.read(2) == b"\x1f\x8b"
