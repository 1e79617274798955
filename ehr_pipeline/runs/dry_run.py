"""Report what a run would do: which assets are up to date, which would be made and why, and how long each took last time.

The recipe of each asset is formed as in a run (`Pipeline`) and looked up in the store. Nothing is built, checked or changed.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from ehr_pipeline.assets import of_study
from ehr_pipeline.errors import UserError
from ehr_pipeline.records import catalog
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.store.artifacts import CONTINUES, Artifact, Counts, Decided, Recipe
from ehr_pipeline.tables.asset_names import EXTRACT_CATALOG, RAW_RECORDS

MADE, STALE, MISSING, BLOCKED = "made", "stale", "not made", "blocked"
RETURNS = "an earlier one fits, and becomes current again"
MOST_NAMED = 3


@dataclass(frozen=True)
class State:
    """The state of one asset, or of one extract of raw records."""

    asset: str
    extract: str
    state: str
    """One of MADE, STALE, MISSING and BLOCKED."""
    why: str
    """Why a run would make it; empty if it is up to date."""
    seconds: float | None
    """How long it took when it was last made; None if it never was."""


class _RecipeKnown(Exception):
    """Raised when the recipe of an asset is known, so the asset is not made. `made` is the fingerprint of its artifact in the
    store, '' if none."""

    def __init__(self, recipe: Recipe, made: str):
        self.recipe, self.made = recipe, made


class _Outlook(Pipeline):
    """A pipeline that makes no asset: it raises `_RecipeKnown` instead."""

    def require(self, asset: str, partition: str | None = None) -> Artifact:
        """Return the current artifact without running its checks."""
        return self.store.current(asset, partition)

    def extract_catalog(self) -> Artifact:
        """Form the catalog's recipe. A run would also update quarantines and remove extracts that are gone."""
        counting = catalog.in_use(self.store, self.study.records.mode)
        versions = {extract: self.store.current(RAW_RECORDS, extract).data_version for extract in counting}
        return self._make(EXTRACT_CATALOG, versions, lambda out: {})

    def _publish(self, recipe: Recipe, build: Callable[[Path], Counts], machine: Decided | None) -> NoReturn:
        raise _RecipeKnown(recipe, self.store.find_intact(recipe, machine is not None))


def states(pipeline: Pipeline) -> Iterator[State]:
    """Yield the state of each asset of the study, in order of the chain."""
    outlook = _Outlook(pipeline.study)
    coming: set[str] = set()  # assets that a run would make, or cannot make
    for asset in of_study(pipeline.study):
        if asset == RAW_RECORDS:
            states_of_asset = [_state(outlook, asset, extract) for extract in pipeline.extracts()]
        else:
            before = [name for name in outlook.names_read(asset) if name in coming]
            states_of_asset = [_state(outlook, asset, "", before)]
        coming |= {one.asset for one in states_of_asset if one.state != MADE}
        yield from states_of_asset


def _state(outlook: _Outlook, asset: str, extract: str, before: Sequence[str] = ()) -> State:
    current = _current(outlook, asset, extract or None)
    seconds = float(current.manifest["seconds"]) if current else None
    if before:
        state, why = (STALE, f"follows {_some(before)}") if current else (MISSING, "was never made")
        return State(asset, extract, state, why, seconds)
    try:
        if asset == RAW_RECORDS:
            outlook.raw_records(extract)
        else:
            outlook.asset(asset)
    except _RecipeKnown as foreseen:
        if current is None:
            return State(asset, extract, MISSING, "was never made", seconds)
        if foreseen.made == current.path.name:
            return State(asset, extract, MADE, "", seconds)
        changes = [RETURNS] if foreseen.made else _changes(foreseen.recipe, current)
        return State(asset, extract, STALE, "; ".join(changes), seconds)
    except UserError as error:
        return State(asset, extract, BLOCKED, str(error), seconds)
    return State(asset, extract, MADE, "", seconds)


def _current(outlook: _Outlook, asset: str, extract: str | None) -> Artifact | None:
    try:
        return outlook.store.current(asset, extract)
    except UserError:
        return None


def _changes(recipe: Recipe, current: Artifact) -> list[str]:
    """Describe what changed since the current artifact was made."""
    before, changes = current.manifest, list[str]()
    if recipe.version != before["version"]:
        changes.append("this version of the program builds it differently")
    if settings := list(_differing("", recipe.settings, before["settings"])):
        changes.append(f"settings changed: {_some(settings)}")
    names = recipe.inputs.keys() | before["inputs"].keys()
    if inputs := sorted(name for name in names - {CONTINUES} if recipe.inputs.get(name) != before["inputs"].get(name)):
        changes.append(f"inputs changed: {_some(inputs)}")
    if recipe.population != before.get("population", ""):
        changes.append("patients have left")
    return changes or ["its files are damaged, or the artifact that it continues has changed"]


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return f"{', '.join(names[:MOST_NAMED])}{more}"


def _differing(place: str, now: Any, before: Any) -> Iterator[str]:
    """Yield names of settings whose values differ, with both values where these are short."""
    if isinstance(now, Mapping) and isinstance(before, Mapping):
        for name in sorted(now.keys() | before.keys()):
            yield from _differing(f"{place}.{name}" if place else name, now.get(name), before.get(name))
    elif now != before:
        short = all(isinstance(value, int | float | bool) for value in (now, before))
        yield f"{place} ({before} → {now})" if short else place
