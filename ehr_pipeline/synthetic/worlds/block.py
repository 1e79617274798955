"""A block of patients while their records are made, and what mechanisms have in common."""

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
"""Patients of a block. Part of what a seed means: another number gives other patients."""
YEAR = 365.25


def day(text: str) -> int:
    """A date as days from 1970-01-01."""
    return int(np.datetime64(text, "D").astype(int))


FIRST_DAY, LAST_DAY = day("2000-01-01"), day("2019-03-31")
"""Records are on computers from the first day on; the extract is cut after the last one."""


def keyed(seed: int, mechanism: str, block: int | None = None) -> np.random.Generator:
    """Random numbers of a mechanism: of one block, or without a block those that all patients share."""
    words = [seed, zlib.crc32(mechanism.encode())]
    return np.random.default_rng(words if block is None else [*words, block])


@dataclass(frozen=True)
class Events:
    """Rows of a record: the patient's row in the block, the day, and the code's row in the code table; each (events,)."""

    person: Codes
    day: Codes
    code: Codes

    @classmethod
    def of(cls, person: NDArray[np.integer], day: NDArray[np.integer], code: NDArray[np.integer]) -> "Events":
        """From arrays of any whole numbers."""
        return cls(person.astype(np.int32), day.astype(np.int32), code.astype(np.int32))

    @classmethod
    def joined(cls, parts: list["Events"]) -> "Events":
        """All events of some parts."""
        if not parts:
            return cls(*(np.empty(0, np.int32) for _ in range(3)))
        return cls(
            np.concatenate([part.person for part in parts]),
            np.concatenate([part.day for part in parts]),
            np.concatenate([part.code for part in parts]),
        )

    def where(self, kept: NDArray[np.bool_]) -> "Events":
        """Some of the events."""
        return Events(self.person[kept], self.day[kept], self.code[kept])


@dataclass
class Block:
    """Patients `first` to `first + BLOCK - 1`, as the mechanisms of a plan make them, one after the other.

    `people` holds columns of length BLOCK. `onset` is the day on which a diagnosis begins, infinity for never, and `known` the day
    on which it is first recorded: (BLOCK, diagnoses). `hazard_ratio` multiplies a diagnosis' hazard throughout life, by its name.
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
        """Random numbers of a mechanism for this block."""
        return keyed(self.seed, mechanism, self.number)

    def days(self, name: str) -> Days:
        """A column of days or whole numbers (BLOCK,)."""
        return self.people[name].astype(np.int64)

    def floats(self, name: str) -> Floats:
        """A column of real numbers (BLOCK,)."""
        return self.people[name].astype(np.float64)

    def record(self, person: NDArray[np.integer], day: NDArray[np.integer], code: NDArray[np.integer]) -> None:
        """Add events; those outside a patient's time of registration are left out when the block is written."""
        self.parts.append(Events.of(person, day, code))

    def registered(self, person: NDArray[np.integer], day: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Whether each of some days lies in a patient's time of registration."""
        inside: NDArray[np.bool_] = (day >= self.days("start")[person]) & (day <= self.days("end")[person])
        return inside


@dataclass(frozen=True)
class GroupRow:
    """A row of groups.csv: what is recorded more, or in another way, in a group. The names of the fields are its columns."""

    group: str
    disease: str
    diagnosis: str
    code: str
    cui: str
    hazard_ratio: float | None

    @classmethod
    def of_code(cls, group: str, code: str, book: Codebook) -> "GroupRow":
        """A finding that the groups of a mechanism have."""
        row = book.row(code)
        return cls(group, "", book.names[row], code, book.concept(row), None)


class Mechanism:
    """One thing that makes records what they are. Each hook is called once a block, in this order over all mechanisms of a plan."""

    name = ""

    @property
    def truth(self) -> Mapping[str, Mapping[str, str]]:
        """Tables of the truth that it writes, with the meaning of each column."""
        return {}

    @property
    def shared_truth(self) -> Mapping[str, tuple[pl.DataFrame, Mapping[str, str]]]:
        """Tables of the truth that are the same for all patients, with the meaning of each column."""
        return {}

    @property
    def groups(self) -> Sequence[GroupRow]:
        """What the groups are made of that it sorts patients into; nothing for no groups."""
        return ()

    @property
    def codes(self) -> NDArray[np.int64]:
        """Rows of the codes that it alone records."""
        return np.empty(0, np.int64)

    def people(self, block: Block) -> None:
        """Add or change columns of the patients."""

    def onsets(self, block: Block) -> None:
        """Say when diagnoses begin."""

    def events(self, block: Block) -> None:
        """Add events."""

    def recording(self, block: Block, events: Events) -> Events:
        """Change what is recorded of what happened."""
        return events
