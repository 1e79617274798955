"""Objects of a mirror: list, read, write, remove. For each file that is being copied, only a few blocks are in memory."""

import hashlib
import os
import re
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.fs as pafs

from ehr_pipeline.errors import UserError
from ehr_pipeline.store.durable import flush
from ehr_pipeline.study.mirror_address import Address, parse

T = TypeVar("T")
R = TypeVar("R")
THREADS = 8  # files copied in parallel: an object store is slow to answer, but answers many requests at once
BLOCK = 4 * 1024 * 1024  # bytes
RIGHTS = "s3:ListBucket on the bucket, and s3:GetObject, s3:PutObject, s3:DeleteObject and s3:AbortMultipartUpload on its objects"
# Patterns of pyarrow's messages about object stores, and what to do. The first pattern that matches counts.
REMEDIES = (
    (
        "NO_SUCH_BUCKET|NoSuchBucket|Bucket '.*' not found",
        "There is no such bucket: create it first, or correct its name in study.mirror",
    ),
    (
        "(?i:certificate)|SSL|curlCode: (35|60)",
        "Its certificate is not trusted here: give the file of the certificate authority by ?tls_ca_file_path=… in study.mirror",
    ),
    (
        "NETWORK_CONNECTION|curlCode|REQUEST_TIMEOUT",
        "It cannot be reached: check the network, proxies, and endpoint_override in study.mirror",
    ),
    (
        "ACCESS_DENIED|(?i:INVALID_?ACCESS_?KEY|EXPIRED_?TOKEN)|SIGNATURE|INVALID_CLIENT_TOKEN|status 40[013]",
        "These credentials are refused: look at those in the environment, ~/.aws or the role of the machine, and at the region;"
        f" they need the rights {RIGHTS}",
    ),
    ("status 301|REDIRECT|MOVED", "The bucket lies in another region: give it by ?region=… in study.mirror"),
)


class Mirror:
    """All objects of a mirror, below its address. Paths are relative to the address."""

    def __init__(self, address: Address):
        self.name, self.root, self.is_folder = address.name, address.root, address.scheme == "file"
        with self.telling():
            self.system: Any = pafs.LocalFileSystem() if self.is_folder else _s3(address)
        self._stop = threading.Event()

    @classmethod
    def at(cls, uri: str) -> "Mirror":
        """Return the mirror at an address (study.mirror). Raises UserError when its bucket or parent folder does not exist."""
        if not uri:
            raise UserError(
                "study.mirror is not set. Set it to the place of the copies: s3://BUCKET/PREFIX or file:///FOLDER."
            )
        mirror = cls(parse(uri))
        above = mirror.root.rpartition("/")[0] if mirror.is_folder else mirror.root.partition("/")[0]
        with mirror.telling():
            found = mirror.system.get_file_info(above or "/")
        if found.type != pafs.FileType.Directory:
            what = f"no folder {above}: create it" if mirror.is_folder else f"no bucket {above}: create it"
            raise UserError(
                f"{mirror.name} (study.mirror): there is {what}, mount it, or correct the setting. Nothing was copied."
            )
        return mirror

    def files(self, folder: str) -> dict[str, int]:
        """Return the sizes, in bytes, of all objects below a folder, by path from the mirror's root."""
        place = f"{self.root}/{folder}".rstrip("/")
        with self.telling():
            chosen = pafs.FileSelector(place, recursive=True, allow_not_found=True)
            found = self.system.get_file_info(chosen)
        return {info.path.removeprefix(f"{self.root}/"): info.size for info in found if info.is_file}

    def is_empty(self) -> bool:
        """Return whether the mirror is empty, except for `.part` files of a push that was killed as it started."""
        with self.telling():
            found = self.system.get_file_info(pafs.FileSelector(self.root, allow_not_found=True))
        return all(info.path.endswith(".part") for info in found)

    def read(self, path: str) -> bytes | None:
        """Read a small object; None when it does not exist."""
        try:
            with self.system.open_input_stream(f"{self.root}/{path}") as stream:
                return bytes(stream.read())
        except FileNotFoundError:
            return None
        except (OSError, pa.ArrowException) as error:
            raise self._error(error) from None

    def write(self, path: str, content: bytes) -> None:
        """Write a small object, whole or not at all."""
        self._write(path, [content])

    def put(self, source: Path, path: str, sha256: str) -> None:
        """Copy a file into the mirror. Raises UserError, and leaves no object, if its SHA-256 is not `sha256`."""
        digest = hashlib.sha256()

        def blocks() -> Iterator[bytes]:
            try:
                with source.open("rb") as stream:
                    while block := stream.read(BLOCK):
                        self._go_on()
                        digest.update(block)
                        yield block
            except OSError as error:
                raise UserError(
                    f"{source}: {error.strerror}. It was removed or closed while it was copied: push again."
                ) from None
            if digest.hexdigest() != sha256:
                raise UserError(
                    f"{source} is not what its manifest says: it was changed or damaged. Remove the folder of its artifact,"
                    " rebuild it, then push. Nothing of it was published in the mirror."
                )

        self._write(path, blocks())

    def _write(self, path: str, blocks: Iterable[bytes]) -> None:
        """Write an object such that readers see all of it or nothing."""
        place = f"{self.root}/{path}"
        written = f"{place}.{uuid.uuid4().hex[:8]}.part" if self.is_folder else place
        if self.is_folder:
            Path(place).parent.mkdir(parents=True, exist_ok=True)
        try:
            with self.telling(), self.system.open_output_stream(written) as stream:
                for block in blocks:
                    stream.write(block)
            if self.is_folder:
                _settle(Path(written), Path(place))
        except BaseException:  # closing the stream published the partial content: remove it
            with suppress(OSError, pa.ArrowException):
                self.system.delete_file(written)
            raise

    def get(self, path: str, target: Path, size: int) -> tuple[int, str]:
        """Fetch an object, stopping within a block after `size` bytes. Returns the number of bytes fetched and their SHA-256."""
        digest, got = hashlib.sha256(), 0
        with self.telling():
            source = self.system.open_input_stream(f"{self.root}/{path}")
        with source, target.open("wb") as stream:
            while got <= size:
                self._go_on()
                with self.telling():
                    block = source.read(BLOCK)
                if not block:
                    break
                digest.update(block)
                stream.write(block)
                got += len(block)
            stream.flush()
            os.fsync(stream.fileno())
        return got, digest.hexdigest()

    def remove(self, paths: Iterable[str]) -> None:
        """Remove objects, ignoring those that are already gone."""
        for path in paths:
            try:
                self.system.delete_file(f"{self.root}/{path}")
            except FileNotFoundError:
                continue
            except (OSError, pa.ArrowException) as error:
                raise self._error(error) from None

    def remove_folder(self, folder: str, index: str) -> None:
        """Remove an artifact, its index first: files without an index do not count as an artifact."""
        self.remove([f"{folder}/{index}"])
        with self.telling(), suppress(FileNotFoundError):
            self.system.delete_dir(f"{self.root}/{folder}")

    def in_parallel(self, work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """Run `work` on many objects in parallel; yield the results in order. When one fails, the others stop soon."""
        pool = ThreadPoolExecutor(THREADS)
        try:
            yield from pool.map(work, items)
        except BaseException:
            self._stop.set()
            raise
        finally:
            pool.shutdown(cancel_futures=True)

    def _go_on(self) -> None:
        if self._stop.is_set():
            raise UserError("interrupted")

    @contextmanager
    def telling(self) -> Iterator[None]:
        """Turn errors into a UserError that gives the mirror's address and says what to do."""
        try:
            yield
        except (OSError, pa.ArrowException) as error:
            raise self._error(error) from None

    def _error(self, error: BaseException) -> UserError:
        text = " ".join(str(error).split())
        remedy = next((cure for words, cure in REMEDIES if re.search(words, text)), None)
        if isinstance(error, FileNotFoundError):
            remedy = "Somebody removed it in the meantime: run the command again"
        return UserError(
            f"{self.name} (study.mirror): {remedy or 'It could not be read or written'}. ({text[:300].rstrip('.')}.)"
            " Completely copied files are kept; run the command again to resume."
        )


def _s3(address: Address) -> Any:
    """Connect to S3, with credentials from the places where AWS's own tools look for them.

    The parts of a file are written one by one, since otherwise the whole file may be queued in memory. A small file is
    sent in one request (delayed open).
    """
    options = dict(address.options)
    if "region" not in options and "endpoint_override" not in options:
        named = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        options["region"] = named or pafs.resolve_s3_region(address.root.partition("/")[0])
    return pafs.S3FileSystem(**options, background_writes=False, allow_delayed_open=True, connect_timeout=10)


def _settle(written: Path, place: Path) -> None:
    """Flush a file to the disk, so it survives a crash of the machine, then give it its final name."""
    flush(written)
    written.replace(place)
