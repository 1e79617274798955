"""The input for labelling one bucket."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ehr_pipeline.tables import schemas
from ehr_pipeline.tasks.records import Deaths, FollowUp, Records, read
from ehr_pipeline.tasks.rule import Rule


@dataclass(frozen=True)
class LabelJob:
    """The files of one bucket, and what its labels depend on."""

    name: str
    events: Path
    dataset: Path
    split: Path
    rules: tuple[Rule, ...]
    deaths: Deaths
    follow_up: FollowUp
    draw: tuple[int, int]
    out: Path

    def records(self) -> Records:
        """Return the records of the bucket's patients, with the events that the rules use."""
        listed = frozenset[str]().union(*(rule.concepts for rule in self.rules))
        return read(self.events, self.dataset, listed, self.deaths, self.follow_up)

    def sides(self) -> NDArray[np.object_]:
        """Return the side of the split (n,) of each patient."""
        sides: NDArray[np.object_] = schemas.read(self.split).column("side").to_numpy(zero_copy_only=False)
        return sides
