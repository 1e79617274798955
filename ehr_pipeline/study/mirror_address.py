"""Parse and check the address of a mirror, `study.mirror`. Uses only the standard library, since it checks settings."""

import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

S3_OPTIONS = ("region", "endpoint_override", "scheme", "tls_ca_file_path")
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


@dataclass(frozen=True)
class Address:
    """A parsed address. `root` is `bucket/prefix` in S3, or an absolute path. `name` is the address as messages show it."""

    scheme: str
    root: str
    name: str
    options: Mapping[str, str] = field(default_factory=dict)


def parse(uri: str) -> Address:
    """Parse a URI. Raises ValueError with the problem, but never repeats the URI, which may contain a password."""
    try:
        parts = urllib.parse.urlsplit(uri)
        given = urllib.parse.parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        raise ValueError("it is not a URI such as s3://BUCKET/PREFIX or file:///FOLDER") from None
    if "@" in parts.netloc:
        raise ValueError(
            "it contains credentials. Remove them from the settings, and give them by the environment"
            " (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY), ~/.aws, or the role of the machine"
        )
    options, path = dict(given), urllib.parse.unquote(parts.path).strip("/")
    if parts.fragment or any(part in (".", "..") for part in path.split("/")):
        raise ValueError("it holds '#', '.' or '..'")
    if "//" in path:
        raise ValueError("its path holds '//'")
    name = f"{parts.scheme}://{parts.netloc}{urllib.parse.unquote(parts.path)}".rstrip("/")
    if parts.scheme == "file":
        if parts.netloc or options or not path:
            raise ValueError("a folder is written as file:///FOLDER, with an absolute path and nothing else")
        return Address("file", f"/{path}", name)
    if parts.scheme != "s3" or not parts.netloc:
        raise ValueError("it is not a URI such as s3://BUCKET/PREFIX or file:///FOLDER")
    _check_s3(options, len(given))
    return Address("s3", f"{parts.netloc}/{path}".rstrip("/"), name, options)


def paths(uri: str) -> list[Path]:
    """Return the local files and folders that a URI names; empty if it is not valid (`problem` says why)."""
    try:
        address = parse(uri)
    except ValueError:
        return []
    named = address.root if address.scheme == "file" else address.options.get("tls_ca_file_path")
    return [Path(named)] if named else []


def _check_s3(options: Mapping[str, str], given: int) -> None:
    if unknown := [name for name in options if name not in S3_OPTIONS]:
        raise ValueError(
            f"{unknown[0]!r} is not one of its options, which are {', '.join(S3_OPTIONS)}. Credentials come from the environment"
        )
    if given != len(options) or not all(options.values()):
        raise ValueError("one of its options is empty, or is given twice")
    endpoint = options.get("endpoint_override", "")
    if "://" in endpoint:
        raise ValueError("endpoint_override is HOST:PORT, without a scheme")
    scheme = options.get("scheme", "https")
    if scheme not in ("http", "https"):
        raise ValueError("scheme is https or http")
    if scheme == "http" and endpoint.rpartition(":")[0] not in LOOPBACK:
        raise ValueError("scheme=http sends patient data in the open, so it is for a server on this machine alone")


def problem(uri: str, store: str, landing: str) -> str:
    """Return why a URI cannot be used for a mirror, as a sentence; empty if it can."""
    try:
        address = parse(uri)
    except ValueError as error:
        return str(error)
    place = PurePosixPath(address.root)
    for name, folder in (("study.store", PurePosixPath(store)), ("records.landing", PurePosixPath(landing))):
        if address.scheme == "file" and (place == folder or place in folder.parents or folder in place.parents):
            return f"it is inside {name}, or contains it. Choose a folder outside it, on another disk"
    return ""
