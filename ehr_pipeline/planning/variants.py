"""Read the variants to compare: whole settings files, files with a few differing settings, or settings on the command line."""

import dataclasses
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ehr_pipeline.errors import SettingsError, UserError
from ehr_pipeline.study import settings
from ehr_pipeline.study.settings import Study


@dataclass(frozen=True)
class Variant:
    """One variant of the study. All variants are made in one store, so that they share identical artifacts."""

    name: str
    study: Study


def variants(base: Study | None, given: Sequence[str], store: Path) -> list[Variant]:
    """Return the study itself, then its variants. Without a `base`, the first of the `given` texts must name the study's settings
    file.

    Raises UserError for text that is neither a file nor `section.setting=value`, and for fewer than two variants. Raises
    SettingsError for invalid settings.
    """
    if base is None and given:
        base, name, given = settings.load(Path(given[0])), Path(given[0]).stem, given[1:]
    else:
        name = "unchanged"
    if base is None or not given:
        raise UserError(
            "compare needs a study and at least one variant. Give two settings files, or --settings FILE and a variant such as"
            " clusters.n=6."
        )
    found = [Variant(name, _stored(base, store))]
    for text in given:
        name, study = _variant(base, text)
        taken = sum(variant.name.partition(" (")[0] == name for variant in found)
        found.append(Variant(f"{name} ({taken + 1})" if taken else name, _stored(study, store)))
    return found


def _variant(base: Study, text: str) -> tuple[str, Study]:
    path = Path(text)
    if not path.is_file():
        if "=" not in text:
            raise UserError(
                f"{text}: this file does not exist. A variant is a TOML file, or settings such as clusters.n=6."
            )
        return text, settings.with_overrides(base, typed(text))
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(text, [f"not valid TOML: {error}"]) from None
    whole = "store" in values.get("study", {})
    return path.stem, settings.load(path) if whole else settings.with_overrides(base, values)


def typed(text: str) -> dict[str, Any]:
    """Parse settings of the form `section.setting=value`, separated by commas outside brackets. A bare word is a string.

    Raises SettingsError for any other text.
    """
    values: dict[str, Any] = {}
    for part in _parts(text):
        name, sign, value = (each.strip() for each in part.partition("="))
        if not sign or not name or not value:
            raise SettingsError(text, [f"{part.strip()!r} is not of the form section.setting=value"])
        try:
            one = tomllib.loads(f"{name} = {value}")
        except tomllib.TOMLDecodeError:
            try:
                one = tomllib.loads(f"{name} = '{value}'")
            except tomllib.TOMLDecodeError:
                raise SettingsError(text, [f"{part.strip()!r} is not of the form section.setting=value"]) from None
        values = settings.merged(values, one)
    return values


def _parts(text: str) -> list[str]:
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "[{") - (letter in "]}")
        if letter == "," and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def _stored(study: Study, store: Path) -> Study:
    return dataclasses.replace(study, study=dataclasses.replace(study.study, store=str(store)))
