"""The key of a store: random bytes that key every stored hash of a patient.

    <store>/.key     64 hex digits, mode 0600

The key is not in any artifact, mirror, release or content hash, and data files have the same bytes whatever the key.
Somebody who has the store but not the key cannot recover a patient id from a hash. If a store is moved, its key must be
moved with it (`ehr-pipeline key`), because hashes made with different keys can never be compared. So if the artifacts of
a store name a key that is missing, no new key is drawn.
"""

import hashlib
import logging
import os
import secrets
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ehr_pipeline.errors import UserError
from ehr_pipeline.store import durable, special_files
from ehr_pipeline.tables.compiled_loops import compiled

FILE = ".key"
METADATA = b"patient_hash_key"
"""Metadata entry of an Arrow schema: the name of the key that hashed its column `patient_hash`."""
_BYTES = 32
_log = logging.getLogger("ehr_pipeline")


@dataclass(frozen=True)
class Key:
    """A key. Each use has a `purpose`, so hashes for different purposes cannot be compared."""

    secret: bytes = field(repr=False)

    @property
    def name(self) -> str:
        """Eight hex digits that distinguish keys; they reveal nothing about the key."""
        return self._blake("name", 4).hexdigest()

    def hashes(self, plain: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """Return the keyed hashes (n,) of unkeyed hashes (n,) from `tables.hashing.hash_of`."""
        low, high = np.frombuffer(self._blake("patient", 16).digest(), "<u8")
        return siphash(plain, low, high)

    def number(self, purpose: str, text: str) -> int:
        """Return a keyed 64-bit hash of a text."""
        digest = self._blake(purpose, 8)
        digest.update(text.encode())
        return int.from_bytes(digest.digest(), "big")

    def text(self, purpose: str) -> str:
        """Return 32 hex digits that depend only on the key and the purpose."""
        return self._blake(purpose, 16).hexdigest()

    def file_state(self, path: Path) -> str:
        """Return the name of the key and a keyed hash of a file's bytes; 'missing' when there is no such file."""
        if not path.is_file():
            return "missing"
        with path.open("rb") as stream:
            return f"{self.name}:{hashlib.file_digest(stream, lambda: self._blake('file', 16)).hexdigest()}"

    def _blake(self, purpose: str, size: int) -> "hashlib.blake2b":
        return hashlib.blake2b(key=self.secret, person=purpose.encode(), digest_size=size)


def siphash(words: NDArray[np.uint64], low: np.uint64, high: np.uint64) -> NDArray[np.uint64]:
    """Return SipHash-2-4 (Aumasson and Bernstein 2012) of messages (n,) of eight bytes each, with a key of two words.

    A fast keyed hash for short messages: a quarantine may have a billion rows, and BLAKE2b takes a microsecond for each.
    """
    hashes = np.empty(len(words), np.uint64)
    _siphash(words, low, high, hashes)
    return hashes


@compiled
def _siphash(words: NDArray[np.uint64], low: np.uint64, high: np.uint64, hashes: NDArray[np.uint64]) -> None:
    for place in range(len(words)):
        word, length = words[place], np.uint64(8 << 56)
        v0, v1 = low ^ np.uint64(0x736F6D6570736575), high ^ np.uint64(0x646F72616E646F6D)
        v2, v3 = low ^ np.uint64(0x6C7967656E657261), high ^ np.uint64(0x7465646279746573) ^ word
        for turn in range(8):
            v0 += v1
            v1 = ((v1 << np.uint64(13)) | (v1 >> np.uint64(51))) ^ v0
            v0 = (v0 << np.uint64(32)) | (v0 >> np.uint64(32))
            v2 += v3
            v3 = ((v3 << np.uint64(16)) | (v3 >> np.uint64(48))) ^ v2
            v0 += v3
            v3 = ((v3 << np.uint64(21)) | (v3 >> np.uint64(43))) ^ v0
            v2 += v1
            v1 = ((v1 << np.uint64(17)) | (v1 >> np.uint64(47))) ^ v2
            v2 = (v2 << np.uint64(32)) | (v2 >> np.uint64(32))
            if turn == 1:
                v0 ^= word
                v3 ^= length
            elif turn == 3:
                v0 ^= length
                v2 ^= np.uint64(0xFF)
        hashes[place] = v0 ^ v1 ^ v2 ^ v3


def of(store: Path) -> Key:
    """Return the key of a store, generated on first use.

    Raises UserError when it cannot be read or written, or when artifacts of the store name a key that it does not have.
    """
    key = read(store)
    if key is not None:
        return key
    if problem := foreign(store):
        raise UserError(problem)
    return _write(store / FILE, Key(secrets.token_bytes(_BYTES)))


def foreign(store: Path) -> str:
    """Return advice if a store's records were hashed with a key that it lacks; otherwise empty.

    Raises UserError when the store's key cannot be read.
    """
    key = read(store)
    others = [name for name in names_in(store) if key is None or key.name != name]
    if not others:
        return ""
    problem = f"is missing, with which its records were hashed ({others[0]})"
    if key is not None:
        problem = f"is {key.name}, but records in it were hashed with {others[0]}"
    return (
        f"{store}: the key of the store {problem}. Where they were read, run `ehr-pipeline key export FILE`; here,"
        " `ehr-pipeline key import FILE`. A mirror never contains a key. If it is lost for good, `ehr-pipeline key new` generates"
        " another: then patients who withdraw can be removed only by reading the text of the extracts again, and `export meds`"
        " gives other subject ids than before."
    )


def read(store: Path) -> Key | None:
    """Return the key of a store, or None. Raises UserError if it cannot be read."""
    path = store / FILE
    if kind := special_files.special(path):
        raise UserError(f"{path} is {kind}, not the key of a store. Restore it from a copy.")
    try:
        key = _parsed(path)
        if path.stat().st_mode & 0o077:
            _log.warning("%s could be read by others: it is closed to them now (mode 0600)", path)
            path.chmod(0o600)
    except FileNotFoundError:
        return None
    except PermissionError:
        raise UserError(
            f"{path} can be read only by the user who made the store. Run this as that user, or import the key with them."
        ) from None
    return key


def names_in(store: Path) -> list[str]:
    """Return the names of the keys that hashed a store's records, sorted. Just one, unless artifacts came from elsewhere."""
    paths = store.glob("records/raw_records/*/*/quarantine/text.arrow")
    return sorted({name_in(path) for path in paths} - {""})


def name_in(path: Path) -> str:
    """Return the name of the key that made the hashes of an Arrow file; empty for unkeyed hashes, which earlier versions wrote.

    Raises UserError when the file is damaged.
    """
    try:
        with pa.memory_map(str(path)) as source:
            metadata = pa.ipc.open_file(source).schema.metadata or {}
    except pa.ArrowInvalid as error:
        raise UserError(
            f"{path} is damaged ({error}). Remove the folder of the artifact, and rebuild it (ehr-pipeline run)."
        ) from None
    return str(metadata.get(METADATA, b"").decode())


def marked(schema: pa.Schema, key: Key) -> pa.Schema:
    """Return a copy of a schema with the name of the key that hashed its column `patient_hash`."""
    return schema.with_metadata({METADATA: key.name.encode()})


def export(store: Path, file: Path) -> Key:
    """Write the key of a store to a new file (mode 0600). Raises UserError when the file exists or there is no key."""
    if file.exists():
        raise UserError(f"{file} already exists. Choose a new file.")
    if (key := read(store)) is None:
        raise UserError(f"{store} (study.store) has no key yet: it is generated when the first extract is read.")
    return _write(file, key)


def bring(store: Path, file: Path) -> Key:
    """Import the key of another store from a file that `export` wrote. Raises UserError."""
    try:
        key = _parsed(file)
    except OSError as error:
        raise UserError(f"{file}: {error.strerror or error}.") from None
    own = read(store)
    if own == key:
        return own
    if own is not None and own.name in names_in(store):
        raise UserError(
            f"{store} (study.store) already has another key ({own.name}), with which its records were hashed. Importing another one"
            f" ({key.name}) would make them unreadable for withdrawals. Nothing was changed."
        )
    (store / FILE).unlink(missing_ok=True)
    return _write(store / FILE, key)


def draw_new(store: Path) -> Key:
    """Generate a new key for a store that has lost its key. Raises UserError if the store has a key."""
    if (key := read(store)) is not None:
        raise UserError(f"{store} (study.store) has its key ({key.name}). Nothing was changed.")
    return _write(store / FILE, Key(secrets.token_bytes(_BYTES)))


def _parsed(path: Path) -> Key:
    text = path.read_text(encoding="ascii", errors="replace").strip()
    try:
        secret = bytes.fromhex(text)
    except ValueError:
        secret = b""
    if len(secret) != _BYTES:
        raise UserError(f"{path} is not the key of a store, which has {2 * _BYTES} hex digits. Restore it from a copy.")
    return Key(secret)


def _write(path: Path, key: Key) -> Key:
    """Write a key atomically. If another process has already written one, return that key."""
    part = path.with_name(f".{path.name.lstrip('.')}-{uuid.uuid4().hex[:8]}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="ascii") as stream:
                stream.write(f"{key.secret.hex()}\n")
                stream.flush()
                os.fsync(stream.fileno())
            os.link(part, path)
        except FileExistsError:
            return _parsed(path)
        finally:
            part.unlink(missing_ok=True)
        durable.flush(path.parent)
    except OSError as error:
        raise UserError(f"{path}: the key of the store cannot be written: {durable.what_to_do(error)}.") from None
    return key
