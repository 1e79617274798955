"""Define typed settings: each field has a type, a default, a description, and a role that says whether it affects results."""

import dataclasses
import hashlib
import json
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, dataclass_transform

import pydantic
from pydantic.dataclasses import dataclass

# result: the value is part of the fingerprint.      tuning: affects speed only, never the result.
# list:   a small file, whose content is part of the fingerprint.
# input:  a large file or folder, identified when it is read.
# check:  a limit of a check: it decides whether anything is built on a result, not the result itself.
# operation: when and how the study is run.
Role = Literal["result", "tuning", "list", "input", "check", "operation"]
FILES: tuple[Role, ...] = ("list", "input")
"""The roles of settings that name files and folders."""


_T = TypeVar("_T")


@dataclass_transform(kw_only_default=True, frozen_default=True)
def settings(cls: type[_T]) -> type[_T]:
    """Make a class a table of the settings file: a frozen pydantic dataclass whose fields are made by `option`.

    Its constructor raises pydantic.ValidationError for a value that does not fit and for an unknown name.
    """
    return dataclass(frozen=True, kw_only=True, config=pydantic.ConfigDict(extra="forbid"))(cls)  # type: ignore[return-value]


def option(
    description: str,
    default: Any = dataclasses.MISSING,
    *,
    role: Role = "result",
    later: bool = False,
    **bounds: float,
) -> Any:
    """Return a field of a settings dataclass.

    `description` says what it sets, its unit, and who chose the value where that matters. `bounds` are ge, gt, le, lt, as in
    pydantic. `later` marks a setting added in a later version, whose default changes nothing: see `identity`.
    """
    metadata = {"description": description, "role": role, "later": later, **bounds}
    if isinstance(default, (list, dict)) or dataclasses.is_dataclass(default):
        return dataclasses.field(default_factory=lambda: default, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def role(field: "dataclasses.Field[Any]") -> Role:
    """Return the role of a field (see `Role`)."""
    found: Role = field.metadata.get("role", "result")
    return found


def identity(settings: Any) -> Any:
    """Return the settings that determine a result, as plain JSON-ready values.

    Settings of speed, limits of checks and paths of inputs are left out; a list file counts by its hash. A setting that was added
    in a later version is left out while it has its default, so that an upgrade does not retrain unchanged models.
    """
    if dataclasses.is_dataclass(settings):
        return {
            field.name: file_hash(Path(value)) if role(field) == "list" and value else identity(value)
            for field in dataclasses.fields(settings)
            if role(field) not in ("tuning", "input", "check", "operation")
            for value in [getattr(settings, field.name)]
            if not (field.metadata.get("later") and value == default(field))
        }
    if isinstance(settings, Mapping):
        return {key: identity(value) for key, value in settings.items()}
    if isinstance(settings, (tuple, list)):
        return [identity(value) for value in settings]
    return settings


def default(field: "dataclasses.Field[Any]") -> Any:
    """Return the default of a field; `dataclasses.MISSING` if a value must be given."""
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def paths(settings: Any, place: str = "", roles: tuple[Role, ...] = FILES) -> Iterator[tuple[str, Path]]:
    """Yield the files and folders named in settings, each with the full name of its setting, such as
    `events.dictionaries.dmd.file`."""
    if dataclasses.is_dataclass(settings):
        for field in dataclasses.fields(settings):
            value, name = getattr(settings, field.name), f"{place}.{field.name}" if place else field.name
            if role(field) not in roles:
                yield from paths(value, name, roles)
            else:
                yield from ((name, Path(one)) for one in (value if isinstance(value, tuple) else (value,)) if one)
    elif isinstance(settings, Mapping):
        for key, value in settings.items():
            yield from paths(value, f"{place}.{key}", roles)
    elif isinstance(settings, (tuple, list)):
        for index, value in enumerate(settings):
            yield from paths(value, f"{place}[{index}]", roles)


def lists(settings: Any, without: Collection[str] = ()) -> list[Path]:
    """Return the list files whose content counts in `identity`, except those in the top-level settings named in `without`."""
    named = paths(settings, roles=("list",))
    return [path for place, path in named if re.split(r"[.\[]", place)[0] not in without]


def placed(settings: Any, base: Path, is_path: bool = False) -> Any:
    """Return the same settings with absolute paths; relative paths are taken relative to the folder `base`."""
    if dataclasses.is_dataclass(settings) and not isinstance(settings, type):
        named = [(field.name, role(field) in FILES) for field in dataclasses.fields(settings)]
        values = {name: placed(getattr(settings, name), base, is_file) for name, is_file in named}
        return dataclasses.replace(settings, **values)
    if isinstance(settings, Mapping):
        return {key: placed(value, base, is_path) for key, value in settings.items()}
    if isinstance(settings, tuple):
        return tuple(placed(value, base, is_path) for value in settings)
    return str((base / settings).resolve()) if is_path and settings else settings


def hash_of(value: Any) -> str:
    """Return 16 hex digits of the BLAKE2b hash of a JSON-ready value."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file as hex; 'missing' if there is no such file (a check reports it)."""
    if not path.is_file():
        return "missing"
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
