"""What a run would do, without doing it: which assets are there, which would be made, why, and how long it took before.

An asset's recipe is formed as in a run (`Pipeline`), and looked up in the store. Nothing is built, checked or changed.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ehr_pipeline.assets import ASSETS, of_study
from ehr_pipeline.chain.pipeline import Pipeline
from ehr_pipeline.errors import UserError
from ehr_pipeline.records import catalog
from ehr_pipeline.store.artifacts import CONTINUES, Artifact, Decided, Recipe
from ehr_pipeline.tables.asset_names import EXTRACT_CATALOG, RAW_RECORDS

MADE, STALE, MISSING, BLOCKED = "made", "stale", "not made", "blocked"
MOST_NAMED = 3


@dataclass(frozen=True)
class State:
    """The state of one asset, or of one extract of raw records."""

    asset: str
    extract: str
    state: str
    """One of MADE, STALE, MISSING and BLOCKED."""
    why: str
    """Why it would be made; empty for one that is made."""
    seconds: float | None
    """How long it took when it was last made; None if it never was."""


class _Foreseen(Exception):
    """Ends the making of an asset at the point where its recipe is known."""

    def __init__(self, recipe: Recipe, made: bool):
        self.recipe, self.made = recipe, made


class _Outlook(Pipeline):
    """A pipeline whose assets are never made: `_make` raises `_Foreseen`."""

    def require(self, asset: str, partition: str | None = None) -> Artifact:
        """The current artifact, its checks not run."""
        return self.store.current(asset, partition)

    def extract_catalog(self) -> Artifact:
        """Form the catalog's recipe; a run would also bring quarantines up to date, and remove extracts that are gone."""
        counting = catalog.counting(self.store, self.study.records.mode)
        versions = {extract: self.store.current(RAW_RECORDS, extract).data_version for extract in counting}
        return self._make(EXTRACT_CATALOG, versions, lambda out: {})

    def _make(
        self,
        asset: str,
        inputs: Mapping[str, str],
        build: Callable[[Path], dict[str, Any]],
        *,
        partition: str | None = None,
        own: str = "",
        machine: Decided | None = None,
        links: Mapping[str, str] | None = None,
    ) -> Artifact:
        recipe = self._recipe(asset, inputs, partition, own)
        raise _Foreseen(recipe, self.store.holds(recipe, machine is not None))


def states(pipeline: Pipeline) -> Iterator[State]:
    """Yield the state of each asset of the study, in order of the chain."""
    outlook = _Outlook(pipeline.study)
    coming: dict[str, str] = {}  # assets that would be made, or cannot be
    for asset in of_study(pipeline.study):
        if asset == RAW_RECORDS:
            found = [_state(outlook, asset, extract) for extract in pipeline.extracts()]
        else:
            before = [name for name in _reads(outlook, asset) if name in coming]
            found = [_state(outlook, asset, "", before)]
        coming |= {one.asset: one.state for one in found if one.state != MADE}
        yield from found


def _reads(outlook: _Outlook, asset: str) -> tuple[str, ...]:
    declared = ASSETS[asset]
    return (*declared.reads, *(declared.reads_for_sides if outlook.study.patients.split.leaves_out else ()))


def _state(outlook: _Outlook, asset: str, extract: str, before: list[str] | None = None) -> State:
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
    except _Foreseen as foreseen:
        if foreseen.made:
            return State(asset, extract, MADE, "", seconds)
        if current is None:
            return State(asset, extract, MISSING, "was never made", seconds)
        return State(asset, extract, STALE, "; ".join(_changes(foreseen.recipe, current)), seconds)
    except UserError as error:
        return State(asset, extract, BLOCKED, str(error), seconds)
    return State(asset, extract, MADE, "", seconds)


def _current(outlook: _Outlook, asset: str, extract: str | None) -> Artifact | None:
    try:
        return outlook.store.current(asset, extract)
    except UserError:
        return None


def _changes(recipe: Recipe, current: Artifact) -> Iterator[str]:
    """What is other than when the current artifact was made, in words."""
    before = current.manifest
    if recipe.version != before["version"]:
        yield "this version of the program makes it in another way"
    settings = list(_differing("", recipe.settings, before["settings"]))
    if settings:
        yield f"settings changed: {_some(settings)}"
    names = recipe.inputs.keys() | before["inputs"].keys()
    inputs = sorted(name for name in names - {CONTINUES} if recipe.inputs.get(name) != before["inputs"].get(name))
    if inputs:
        yield f"inputs changed: {_some(inputs)}"
    if recipe.population != before.get("population", ""):
        yield "patients have left"
    if (
        not settings
        and not inputs
        and recipe.version == before["version"]
        and recipe.population == before.get("population", "")
    ):
        yield "its files are damaged, or what it continues has changed"


def _some(names: list[str]) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return f"{', '.join(names[:MOST_NAMED])}{more}"


def _differing(place: str, now: Any, before: Any) -> Iterator[str]:
    """Names of settings whose values differ, with both values where these are short."""
    if isinstance(now, Mapping) and isinstance(before, Mapping):
        for name in sorted(now.keys() | before.keys()):
            yield from _differing(f"{place}.{name}" if place else name, now.get(name), before.get(name))
    elif now != before:
        short = all(isinstance(value, int | float | bool) for value in (now, before))
        yield f"{place} ({before} → {now})" if short else place
