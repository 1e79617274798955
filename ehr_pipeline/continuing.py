"""What an artifact goes on from: an earlier one of its kind, whose data came to be in the same way, of other extracts.

`Recipe.origin` tells that: a hash of the versions and settings of everything before it, without what names the extracts. A changed
setting, or another terminology, gives another origin, and then nothing is gone on from. What is gone on from stands among the
inputs as `continues`, so that the fingerprint names all that decides the result.

An artifact of the same recipe but for that is found again, wherever it lies in the store: otherwise no run would ever be the same
twice, and a setting that is set back would not give what it gave before.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ehr_pipeline.artifacts import Artifact, Store, hash_of

CONTINUES = "continues"
NOT_OF_THE_METHOD = ("withdrawals", "latest_date")
"""Settings of `raw_records` that say whose data there are, and until when, not how they are read."""


def origin(*parts: Any) -> str:
    """The hash of what decides how data come to be."""
    return hash_of(parts)


def method_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of `raw_records` that say how records are read."""
    return {name: value for name, value in settings.items() if name not in NOT_OF_THE_METHOD}


def sizes(files: Iterable[Path]) -> list[int]:
    """How many bytes large inputs have: another release has others; a file that was only copied again has not."""
    return [path.stat().st_size for path in files]


def same_recipe(store: Store, asset: str, key: tuple[str, Any, Mapping[str, str]], *apart: str) -> Artifact | None:
    """An artifact of the same version, settings and inputs (`key`), whatever it has under the inputs named `apart`."""
    version, settings, inputs = key
    for found in store.candidates(asset):
        manifest = found.manifest
        own = {name: value for name, value in manifest["inputs"].items() if name not in apart}
        if (manifest["version"], manifest["settings"], own) == (version, settings, dict(inputs)):
            return found
    return None


def same_origin(
    store: Store, asset: str, version: str, own: str, sound: Callable[[Artifact], bool] = lambda found: True
) -> Artifact | None:
    """The artifact to go on from: of the same version and origin, and `sound`; the current one before the others."""
    for found in store.candidates(asset):
        if found.manifest["version"] == version and found.manifest.get("origin") == own and sound(found):
            return found
    return None
