"""Define the launchpad's field `overrides`: every setting that a single run may change, with its type and description."""

import dataclasses
import itertools
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal

import dagster as dg

from ehr_pipeline import typed_settings
from ehr_pipeline.study.settings import Study

FIXED = ("study", "operation", "governance", "patients.split.key")
"""Sections and settings that a run cannot override. Dagster stores and shows overrides in clear text, so keys are among these."""
TEXT = (
    "Settings for this run only, as in the settings file: {clusters: {n: 6}}. They are checked like the file, and are part of the"
    " artifacts' fingerprints. Automatic runs never use any. Not for [study], [operation], [governance] and patients.split.key."
)
_SCALARS = {str: dg.String, int: dg.Int, float: dg.Float, bool: dg.Bool}


def field() -> dg.Field:
    """Return the field. Dagster refuses names and types that do not fit; values are checked as in the settings file."""
    return dg.Field(_table(Study, ""), default_value={}, description=TEXT)


def fixed_in(overrides: Mapping[str, Any], place: str = "") -> list[str]:
    """Return which of `FIXED` some overrides would change."""
    places = {f"{place}{name}": value for name, value in overrides.items()}
    inner = [fixed_in(value, f"{name}.") for name, value in places.items() if isinstance(value, Mapping)]
    return [*(name for name in places if name in FIXED), *itertools.chain(*inner)]


def _table(cls: Any, place: str, whole: bool = False) -> dg.Shape:
    """Return the fields of one table. A table in a list must be given `whole`: its fields without a default are required."""
    hints = typing.get_type_hints(cls)
    return dg.Shape(  # type: ignore[no-untyped-call]
        {
            each.name: dg.Field(
                _type(hints[each.name], f"{place}.{each.name}", whole),
                is_required=whole and typed_settings.default(each) is dataclasses.MISSING,
                description=each.metadata["description"],
            )
            for each in dataclasses.fields(cls)
            if f"{place}.{each.name}".strip(".") not in FIXED and each.name != "preset"  # `with_overrides` refuses it
        }
    )


def _type(hint: Any, place: str, whole: bool) -> Any:
    """Return Dagster's type for a setting's type; `dg.Any` for a union of types, which Dagster cannot express."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        return _table(hint, place, whole=whole)
    if origin is Literal and all(isinstance(value, str) for value in arguments):
        return dg.Enum(place.strip(".").replace(".", "_"), [dg.EnumValue(value) for value in arguments])
    if origin is tuple:
        return dg.Array(_type(arguments[0], place, whole=True))
    if origin is dict:
        return dg.Map(str, _type(arguments[1], place, whole=True))  # type: ignore[no-untyped-call]
    if origin in (types.UnionType, typing.Union) and len(arguments) == 2 and type(None) in arguments:
        (inner,) = (part for part in arguments if part is not type(None))
        return dg.Noneable(_type(inner, place, whole))
    return _SCALARS.get(hint, dg.Any)
