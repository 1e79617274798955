"""Make the reference of all settings, as Markdown, from the fields of the settings classes: `ehr-pipeline settings`."""

import dataclasses
import json
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from ehr_pipeline import typed_settings
from ehr_pipeline.study.settings import Study

HEAD = """# Settings

Made by `ehr-pipeline settings`; do not edit by hand. One TOML file describes a whole study; `EHR_PIPELINE_SETTINGS` or
`--settings` names it. `ehr-pipeline check --settings FILE` reports all problems in it at once. A complete example is
`data/demo/settings.toml`. Relative paths are relative to the file.

The column "Decides" says what changing a value affects:

| Decides | Changing the value |
|---|---|
| result | makes the asset stale; if the asset's data then differ when it is made again, also the assets that read it |
| list | counts if the content of the (small) file it names differs; the path does not matter |
| input | counts if what is read from the large file or folder it names differs; the path does not matter |
| check | changes which results are accepted, not the results |
| speed | changes time and memory only |
| operation | changes when and how the study is run, and what new data trigger; not existing results |
"""
DECIDES = {
    "result": "result",
    "tuning": "speed",
    "list": "list",
    "input": "input",
    "check": "check",
    "operation": "operation",
}


def markdown() -> str:
    """Return the whole page: one section for each table of a settings file, in the order of the chain."""
    sections = [HEAD.strip()]
    for field in dataclasses.fields(Study):
        sections += _sections(field.name, f"[{field.name}]", typing.get_type_hints(Study)[field.name])
    return "\n\n".join(sections) + "\n"


def _sections(place: str, heading: str, cls: Any) -> Iterator[str]:
    """Yield the section of one table, then those of the tables inside it."""
    hints = typing.get_type_hints(cls)
    rows, inner = [], []
    for field in dataclasses.fields(cls):
        table = _table(f"{place}.{field.name}", hints[field.name])
        if table:
            inner.append((f"{place}.{field.name}", *table))
        else:
            rows.append(_row(field, hints[field.name]))
    doc = " ".join((cls.__doc__ or "").split())
    head = ["| Key | Type | Default | Decides | What it sets |", "|---|---|---|---|---|"]
    yield "\n".join([f"## `{heading}`", "", doc, ""] + (head + rows if rows else []) + _presets(cls)).rstrip()
    for name, own_heading, own_cls in inner:
        yield from _sections(name, own_heading, own_cls)


def _table(place: str, hint: Any) -> tuple[str, Any] | None:
    """Return the heading and settings class of a field that holds tables; None where it holds plain values."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    heading, cls = f"[{place}]", hint
    if origin is tuple:
        heading, cls = f"[[{place}]]", arguments[0]
    elif origin is dict:
        heading, cls = f"[{place}.NAME]", arguments[1]
    return (heading, cls) if dataclasses.is_dataclass(cls) else None


def _row(field: "dataclasses.Field[Any]", hint: Any) -> str:
    cells = (
        f"`{field.name}`",
        _type(field, hint),
        _default(field),
        DECIDES[typed_settings.role(field)],
        field.metadata["description"],
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _type(field: "dataclasses.Field[Any]", hint: Any) -> str:
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    limits = ", ".join(f"{sign} {field.metadata[name]:g}" for name, sign in signs.items() if name in field.metadata)
    return _name(hint) + (f" {limits}" if limits else "")


def _name(hint: Any) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return " or ".join(f"`{json.dumps(value)}`" for value in arguments)
    if origin is tuple:
        return f"list of {_name(arguments[0])}"
    if origin is dict:
        return f"table of {_name(arguments[1])}"
    if origin in (types.UnionType, typing.Union):
        return " or ".join(_name(part) for part in arguments if part is not type(None))
    return {str: "text", int: "whole number", float: "number", bool: "true or false"}[hint]


def _default(field: "dataclasses.Field[Any]") -> str:
    value = typed_settings.default(field)
    if value is dataclasses.MISSING:
        return "**must be given**"
    return f"`{json.dumps(value, ensure_ascii=False)}`" if value not in ("", (), {}, None) else ""


def _presets(cls: Any) -> list[str]:
    """Lines that list what each preset changes."""
    presets: dict[str, dict[str, Any]] = getattr(cls, "PRESETS", {})
    return (
        ["", *(f"- preset `{name}`: {_changes(values) or 'the defaults above'}" for name, values in presets.items())]
        if presets
        else []
    )


def _changes(values: Mapping[str, Any], section: str = "") -> str:
    """Return the values of a preset, written as in the settings file."""
    return ", ".join(
        _changes(value, f"{key}.") if isinstance(value, Mapping) else f"`{section}{key} = {json.dumps(value)}`"
        for key, value in values.items()
    )
