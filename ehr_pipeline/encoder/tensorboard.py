"""Write scalars for TensorBoard without its library: an event file is a list of framed protocol buffers (TFRecord).

Format: github.com/tensorflow/tensorboard, compat/proto/event.proto and summary.proto. Framing: length, its masked CRC-32C, data,
its masked CRC-32C.
"""

import struct
import time
from functools import cache
from pathlib import Path

CASTAGNOLI = 0x82F63B78


@cache
def _table() -> tuple[int, ...]:
    entries = []
    for entry in range(256):
        for _ in range(8):
            entry = (entry >> 1) ^ (CASTAGNOLI if entry & 1 else 0)
        entries.append(entry)
    return tuple(entries)


def crc32c(data: bytes) -> int:
    """Return the CRC-32C of data (RFC 3720, appendix B.4)."""
    value, table = 0xFFFFFFFF, _table()
    for byte in data:
        value = (value >> 8) ^ table[(value ^ byte) & 0xFF]
    return value ^ 0xFFFFFFFF


def _masked(data: bytes) -> bytes:
    value = crc32c(data)
    return struct.pack("<I", (((value >> 15) | (value << 17)) + 0xA282EAD8) & 0xFFFFFFFF)


def _varint(value: int) -> bytes:
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


def _message(field: int, data: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(data)) + data


class EventFile:
    """One event file, in a folder to pass to `tensorboard --logdir`."""

    def __init__(self, folder: Path):
        self.path = folder / f"events.out.tfevents.{time.time_ns() // 10**6}"
        self._write(_message(3, b"brain.Event:2"))  # file_version

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Write the named values of a step, and flush them."""
        parts = [_message(1, _message(1, tag.encode()) + b"\x15" + struct.pack("<f", v)) for tag, v in values.items()]
        self._write(b"\x10" + _varint(step) + _message(5, b"".join(parts)))

    def _write(self, event: bytes) -> None:
        data = b"\x09" + struct.pack("<d", time.time()) + event
        length = struct.pack("<Q", len(data))
        with self.path.open("ab") as stream:
            stream.write(length + _masked(length) + data + _masked(data))
