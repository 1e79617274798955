"""Task files, such as those in data/tasks: TOML with the settings of one task. Settings in the study's own file take precedence.

Paths in a task file are relative to the file.
"""

import dataclasses
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ehr_pipeline.store import special_files
from ehr_pipeline.tasks.settings import Task
from ehr_pipeline.typed_settings import FILES, role

_PATHS = tuple(field.name for field in dataclasses.fields(Task) if role(field) in FILES)


def filled(values: Mapping[str, Any], base: Path) -> tuple[dict[str, Any], list[str]]:
    """Fill in the values of a study from its task files. Returns the values, and problems with the files.

    Relative paths are taken from `base`. Values that do not have the form of settings are left unchanged.
    """
    tasks = values.get("tasks")
    listed = tasks.get("task") if isinstance(tasks, Mapping) else None
    if not isinstance(tasks, Mapping) or not isinstance(listed, list | tuple):
        return dict(values), []
    problems: list[str] = []
    made = [_filled(task, number, base, problems) for number, task in enumerate(listed)]
    return {**values, "tasks": {**tasks, "task": made}}, problems


def _filled(task: Any, number: int, base: Path, problems: list[str]) -> Any:
    named = task.get("file") if isinstance(task, Mapping) else None
    if not named or not isinstance(named, str):
        return task
    path = (base / named).resolve()
    try:
        return {**_read(path), **task}
    except _UnreadableFile as error:
        problems.append(f"tasks.task[{number}].file: {path} {error}.")
        return {
            "name": path.stem,
            "outcome_kind": "death",
            **task,
        }  # placeholders, so no other problem is reported


class _UnreadableFile(Exception):
    """Why a file cannot be read."""


def _read(path: Path) -> dict[str, Any]:
    """Return the values of a file, with its paths made absolute."""
    if kind := special_files.special(path):
        raise _UnreadableFile(f"is {kind}")
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise _UnreadableFile(f"cannot be read ({type(error).__name__})") from None
    except tomllib.TOMLDecodeError as error:
        raise _UnreadableFile(f"is not valid TOML: {error}") from None
    if others := sorted(_unknown_fields(values)):
        raise _UnreadableFile(f"sets {', '.join(others)}, which no task has")
    for name in _PATHS:
        if isinstance(values.get(name), str) and values[name]:
            values[name] = str((path.parent / values[name]).resolve())
    return values


def _unknown_fields(values: Mapping[str, Any]) -> Iterator[str]:
    known = {field.name for field in dataclasses.fields(Task)} - {"file"}
    return (name for name in values if name not in known)
