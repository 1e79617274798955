"""How many buckets an extract is hashed into, where the settings leave it to its size."""

from pathlib import Path

SMALLEST, LARGEST = 32, 4096
BYTES_PER_BUCKET = 96 << 20  # of text: about 3 million events, which take about 150 MB while a bucket is worked on
COMPRESSION = 5  # how many bytes of text a byte of gzip or Parquet stands for, about


def buckets_for(files: list[Path]) -> int:
    """A power of two: so many that a bucket is worked on in the same memory whatever the size of the extract."""
    text = sum(path.stat().st_size * (COMPRESSION if _compressed(path) else 1) for path in files)
    wanted = -(-text // BYTES_PER_BUCKET)
    return min(max(1 << (wanted - 1).bit_length() if wanted else 1, SMALLEST), LARGEST)


def _compressed(path: Path) -> bool:
    if path.suffix == ".parquet":
        return True
    with path.open("rb") as stream:
        return stream.read(2) == b"\x1f\x8b"
