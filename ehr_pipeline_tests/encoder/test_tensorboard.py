import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from ehr_pipeline.encoder.tensorboard import EventFile, crc32c


@pytest.mark.parametrize(
    ("data", "expected"),  # RFC 3720, appendix B.4
    [(bytes(32), 0x8A9136AA), (b"\xff" * 32, 0x62A8AB43), (bytes(range(32)), 0x46DD794E)],
)
def test_the_check_sum_is_the_one_of_the_standard(data: bytes, expected: int) -> None:
    assert crc32c(data) == expected


def records(path: Path) -> Iterator[bytes]:
    """The framed records of a file, check sums tested as TensorBoard tests them."""
    data, place = path.read_bytes(), 0

    def unmasked(stored: bytes) -> int:
        value = (struct.unpack("<I", stored)[0] - 0xA282EAD8) & 0xFFFFFFFF
        return (value >> 17) | ((value << 15) & 0xFFFFFFFF)

    while place < len(data):
        (length,) = struct.unpack("<Q", data[place : place + 8])
        assert unmasked(data[place + 8 : place + 12]) == crc32c(data[place : place + 8])
        record = data[place + 12 : place + 12 + length]
        assert unmasked(data[place + 12 + length : place + 16 + length]) == crc32c(record)
        yield record
        place += 16 + length


def test_values_come_back(tmp_path: Path) -> None:
    events = EventFile(tmp_path)
    events.scalars(300, {"training/loss": 2.5, "speed/tokens_per_second": 1e6})
    version, first = records(events.path)
    assert version[9:] == b"\x1a\x0dbrain.Event:2"
    assert first[9:12] == b"\x10\xac\x02", "step 300 as a varint"
    for tag, value in (("training/loss", 2.5), ("speed/tokens_per_second", 1e6)):
        assert b"\x0a" + bytes([len(tag)]) + tag.encode() + b"\x15" + struct.pack("<f", value) in first
