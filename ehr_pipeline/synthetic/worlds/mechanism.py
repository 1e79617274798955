"""A block of patients whose records are being generated, and the base class of mechanisms."""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ehr_pipeline.synthetic.worlds.codebook import Codebook
from ehr_pipeline.synthetic.worlds.diagnoses import Diagnoses

Days = NDArray[np.int64]
Floats = NDArray[np.float64]
Codes = NDArray[np.int32]

BLOCK = 1000
"""Patients in a block. With another number, the same seed gives other patients."""
YEAR = 365.25


def day(text: str) -> int:
    """Return a date as days from 1970-01-01."""
    return int(np.datetime64(text, "D").astype(int))


FIRST_DAY, LAST_DAY = day("2000-01-01"), day("2019-03-31")
"""Computer records begin on the first day; the extract is cut after the last one."""


def keyed(seed: int, mechanism: str, block: int | None = None) -> np.random.Generator:
    """Return a random generator of a mechanism for one block, or, without a block, for what all patients share."""
    words = [seed, zlib.crc32(mechanism.encode())]
    return np.random.default_rng(words if block is None else [*words, block])


@dataclass(frozen=True)
class Events:
    """Recorded events: the patient's row in the block, the day, and the code's row in the code table; each (events,)."""

    person: Codes
    day: Codes
    code: Codes

    @classmethod
    def of(cls, person: NDArray[np.integer], day: NDArray[np.integer], code: NDArray[np.integer]) -> "Events":
        """Make events from integer arrays of any type."""
        return cls(person.astype(np.int32), day.astype(np.int32), code.astype(np.int32))

    @classmethod
    def joined(cls, parts: list["Events"]) -> "Events":
        """Return the events of all `parts`, concatenated."""
        if not parts:
            return cls(*(np.empty(0, np.int32) for _ in range(3)))
        return cls(
            np.concatenate([part.person for part in parts]),
            np.concatenate([part.day for part in parts]),
            np.concatenate([part.code for part in parts]),
        )

    def where(self, kept: NDArray[np.bool_]) -> "Events":
        """Return the events for which `kept` (events,) is true."""
        return Events(self.person[kept], self.day[kept], self.code[kept])


@dataclass
class Block:
    """A block of patients, to which the mechanisms of a plan add one after the other.

    `people` holds columns of length BLOCK. `onset` is the day on which a diagnosis begins and `known` the day on which it is first
    recorded, infinity for never: (BLOCK, diagnoses). `hazard_ratio` holds, by name of a diagnosis, a factor (BLOCK,) that
    multiplies its hazard throughout life.
    """

    seed: int
    number: int
    diagnoses: Diagnoses
    people: dict[str, NDArray[np.generic]] = field(default_factory=dict)
    hazard_ratio: dict[str, Floats] = field(default_factory=dict)
    onset: Floats = field(init=False)
    known: Floats = field(init=False)
    parts: list[Events] = field(default_factory=list)
    truth: dict[str, pl.DataFrame] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.onset = np.full((BLOCK, len(self.diagnoses.names)), np.inf)
        self.known = np.full((BLOCK, len(self.diagnoses.names)), np.inf)

    @property
    def numbers(self) -> Days:
        """The patients' numbers in the whole extract (BLOCK,)."""
        return self.number * BLOCK + np.arange(BLOCK)

    def rng(self, mechanism: str) -> np.random.Generator:
        """Return a random generator of a mechanism for this block."""
        return keyed(self.seed, mechanism, self.number)

    def days(self, name: str) -> Days:
        """Return the column `name` of `people` as days or whole numbers (BLOCK,)."""
        return self.people[name].astype(np.int64)

    def floats(self, name: str) -> Floats:
        """Return the column `name` of `people` as real numbers (BLOCK,)."""
        return self.people[name].astype(np.float64)

    def record(self, person: NDArray[np.integer], day: NDArray[np.integer], code: NDArray[np.integer]) -> None:
        """Add events. Those outside the patient's registration are left out when the block is written."""
        self.parts.append(Events.of(person, day, code))

    def registered(self, person: NDArray[np.integer], day: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Return whether each `day` lies within the registration of the `person` at the same index; both (events,)."""
        inside: NDArray[np.bool_] = (day >= self.days("start")[person]) & (day <= self.days("end")[person])
        return inside


@dataclass(frozen=True)
class GroupRow:
    """A row of groups.csv: a diagnosis or finding recorded more often, or in another pattern, in a group. Fields are columns."""

    group: str
    disease: str
    diagnosis: str
    code: str
    cui: str
    hazard_ratio: float | None

    @classmethod
    def of_code(cls, group: str, code: str, book: Codebook) -> "GroupRow":
        """Return the row for a finding of a group, with its code."""
        row = book.row(code)
        return cls(group, "", book.names[row], code, book.concept(row), None)


class Mechanism:
    """One cause of recorded events, such as laboratory tests. For each block, each hook is called for all mechanisms of a plan
    before the next hook.

    The order of the hooks is `people`, `onsets`, `events`, `recording`.
    """

    name = ""
    codes: NDArray[np.int64] = np.empty(0, np.int64)
    """Rows of the codes that this mechanism alone records."""
    groups: Sequence[GroupRow] = ()
    """The diagnoses or findings of each group into which the mechanism sorts patients; empty for no groups."""
    truth: Mapping[str, Mapping[str, str]] = {}
    """Tables of the truth that the mechanism writes for each block: by name, the meaning of each column."""

    @property
    def shared_truth(self) -> Mapping[str, tuple[pl.DataFrame, Mapping[str, str]]]:
        """Tables of the truth that are the same for all patients: by name, the table and the meaning of each column."""
        return {}

    def people(self, block: Block) -> None:
        """Add or change columns of the patients."""

    def onsets(self, block: Block) -> None:
        """Set the days on which diagnoses begin."""

    def events(self, block: Block) -> None:
        """Add events."""

    def recording(self, block: Block, events: Events) -> Events:
        """Return the events as they are recorded, which may differ from those that happened."""
        return events
