"""Random damage to the bytes of a file, for the fuzz run."""

import gzip
import random
from collections.abc import Callable


def _place(rng: random.Random, data: bytes) -> int:
    return rng.randint(0, len(data))


def _insert(rng: random.Random, data: bytes, what: bytes) -> bytes:
    place = _place(rng, data)
    return data[:place] + what + data[place:]


def _flip(rng: random.Random, data: bytes) -> bytes:
    damaged = bytearray(data)
    for _ in range(rng.choice((1, 1, 3, 20)) if damaged else 0):
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def _delete(rng: random.Random, data: bytes) -> bytes:
    begin = _place(rng, data)
    return data[:begin] + data[begin + rng.choice((1, 2, 10, 100)) :]


def _repeat(rng: random.Random, data: bytes) -> bytes:
    begin = _place(rng, data)
    part = data[begin : begin + rng.randint(1, 200)]
    return _insert(rng, data, part * rng.randint(1, 3))


def _shuffle_bytes(rng: random.Random, data: bytes) -> bytes:
    begin = _place(rng, data)
    part = bytearray(data[begin : begin + 30])
    rng.shuffle(part)
    return data[:begin] + bytes(part) + data[begin + 30 :]


def _lines(change: Callable[[random.Random, list[bytes]], list[bytes]]) -> Callable[[random.Random, bytes], bytes]:
    return lambda rng, data: b"\n".join(change(rng, data.split(b"\n")))


def _swap_columns(rng: random.Random, lines: list[bytes]) -> list[bytes]:
    first = rng.randrange(len(lines))
    return [b"\t".join(reversed(line.split(b"\t"))) if n >= first else line for n, line in enumerate(lines)]


def _header_again(rng: random.Random, lines: list[bytes]) -> list[bytes]:
    lines.insert(rng.randint(0, len(lines)), lines[0])
    return lines


def _odd_field(rng: random.Random, lines: list[bytes]) -> list[bytes]:
    row = rng.randrange(len(lines))
    fields = lines[row].split(b"\t")
    fields[rng.randrange(len(fields))] = rng.choice(
        (
            *(
                b"",
                b" ",
                b"0",
                b"-1",
                b"007",
                b"1e5",
                b"9" * 18,
                b"9" * 19,
                b"9" * 40,
                b"1.5",
                b"nan",
                b"inf",
                b"null",
                b"NULL",
            ),
            *(
                b"9999-12-31",
                b"31/02/2001",
                b"00/00/0000",
                b"01/01/1799",
                b"01/01/20000",
                b"2001",
                b"1/1/1",
                b"\xff\xfe",
                b"\xc3",
            ),
            *(
                b"\xef\xbb\xbf1",
                "１２３".encode(),
                "é".encode(),
                b"\x1c",
                b"\x85",
                b"\xc2\xa0",
                b"\x0b",
                b"x" * 5000,
                b"'",
                b'"',
                b'"a"',
            ),
            *(
                b'"a""b"',
                b"id",
                b"date",
                b"\x1a",
                b"10000000001",
                b"\\N",
                b"=1+1",
                b"+5",
                "\u2028".encode(),
                b"1,2",
                b"C0000001",
            ),
        )
    )
    lines[row] = b"\t".join(fields)
    return lines


def _gzip_damage(rng: random.Random, data: bytes) -> bytes:
    packed = gzip.compress(data, mtime=0)
    kind = rng.randrange(6)
    if kind == 0:
        return packed[: _place(rng, packed)]
    if kind == 1:
        return _flip(rng, packed)
    if kind == 2:
        return packed + rng.choice((b"garbage", b"\0" * 50, b"\x1f\x8b", b"\n"))
    if kind == 3:
        half = _place(rng, data)
        return gzip.compress(data[:half], mtime=0) + gzip.compress(data[half:], mtime=0)
    return gzip.compress(packed, mtime=0) if kind == 4 else packed


ALIKE = {b"\t": b",", b"\n": b"\r\n"}
DAMAGES: tuple[Callable[[random.Random, bytes], bytes], ...] = (
    *(_flip, _flip, _delete, _repeat, _shuffle_bytes, _gzip_damage, _gzip_damage),
    lambda rng, data: data[: _place(rng, data)],
    lambda rng, data: _insert(rng, data, rng.choice((b'"', b"'", b'""', b'"\n', b'\t"'))),
    lambda rng, data: _insert(
        rng, data, rng.choice((b"\0", b"\0" * 100, b"\r", b"\r\r\n", b"\n", b"\n\n", b"\x1a", b"\xff"))
    ),
    lambda rng, data: _insert(
        rng, data, rng.choice((b"x", b"\t", b"1\t", b"a b", b"\xc3\xa9")) * rng.choice((1000, 140_000))
    ),
    lambda rng, data: data.replace(b"\n", rng.choice((b"\r\n", b"\r", b"\r\r\n", b"\n\n", b"\n\r"))),
    lambda rng, data: data.replace(b"\t", rng.choice((b",", b";", b"|", b" ", b"\t\t", b'"\t"'))),
    lambda rng, data: data.replace(b"\n", b"\r\n", rng.randint(0, 5)),
    lambda rng, data: (
        rng.choice((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"PK\x03\x04", b"\xff\xfe\0\0", b"\n", b"")) + data
    ),
    lambda rng, data: data.decode("latin-1").encode(
        rng.choice(("utf-16", "utf-16-le", "utf-8-sig", "utf-8", "utf-32", "cp037"))
    ),
    lambda rng, data: b"",
    lambda rng, data: rng.randbytes(rng.choice((1, 10, 3000))),
    lambda rng, data: data.rstrip(b"\n"),
    lambda rng, data: data.replace(b"\n", b"\xef\xbb\xbf\n" if rng.random() < 0.5 else b"\n\xef\xbb\xbf"),
    lambda rng, data: data + data,
    *(_lines(_swap_columns), _lines(_header_again), _lines(_odd_field), _lines(_odd_field), _lines(_odd_field)),
    _lines(lambda rng, lines: rng.sample(lines, len(lines))),
    _lines(lambda rng, lines: lines[1:]),
    _lines(lambda rng, lines: lines[:1]),
    _lines(lambda rng, lines: [line for line in lines if rng.random() < 0.9]),
)
