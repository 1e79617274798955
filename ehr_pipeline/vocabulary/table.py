"""Read and write the vocabulary. GPU workers import this module, so it does not use polars."""

import csv
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pyarrow as pa

from ehr_pipeline.disclosure import spreadsheet
from ehr_pipeline.disclosure.figures import Naming
from ehr_pipeline.errors import UserError
from ehr_pipeline.store.artifacts import hash_of
from ehr_pipeline.tables import schemas

FILE, DROPPED, HASH = "vocabulary.csv", "dropped.csv", "hash.txt"
# Padding and masking have different ids. [CLS] and [SEP] are never inserted, but tokenizers expect them to exist.
SPECIAL_TOKENS = ("[PAD]", "[MASK]", "[UNK]", "[CLS]", "[SEP]")
PAD, MASK, UNKNOWN = 0, 1, 2
FIRST_CONCEPT = len(SPECIAL_TOKENS)


@dataclass(frozen=True)
class Concept:
    """One row of `vocabulary.csv`."""

    token_id: int
    concept: str
    """CUI, or SCT:<id> for a code that is kept as a separate concept."""
    name: str
    semantic_types: tuple[str, ...]
    appearances: int
    """Numbers of occurrences and (`patients`) of patients; 0 for a checkpoint, whose vocabulary has no counts."""
    patients: int


@dataclass(frozen=True)
class Vocabulary:
    """The kept concepts in order of token id, and their hash, which checkpoints also store."""

    concepts: tuple[Concept, ...]
    hash: str

    @classmethod
    def read(cls, folder: Path) -> "Vocabulary":
        """Read the folder of a `vocabulary` artifact, or of a checkpoint.

        Raises UserError when its concepts do not match its hash: token ids would then stand for other concepts.
        """
        try:
            with (folder / FILE).open(encoding="utf-8", newline="") as stream:
                concepts = tuple(map(_concept, csv.DictReader(stream)))
            made = cls(concepts, read_hash(folder))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, csv.Error) as error:
            raise _damaged(folder, "it cannot be read") from error
        in_order = all(concept.token_id == FIRST_CONCEPT + number for number, concept in enumerate(concepts))
        if not in_order or made.hash != hash_of([concept.concept for concept in concepts]):
            raise _damaged(folder, "vocabulary.csv does not hold the concepts of which hash.txt is the hash")
        return made

    def write(self, folder: Path) -> None:
        """Write a folder for `read`, without the counts, since it is shipped with models to third parties."""
        rows = ((one.token_id, one.concept, one.name, " ".join(one.semantic_types)) for one in self.concepts)
        spreadsheet.write(folder / FILE, pa.schema(list(schemas.VOCABULARY)[:4]), rows)
        (folder / HASH).write_text(self.hash + "\n", encoding="ascii")

    def first(self, size: int) -> "Vocabulary":
        """Return the concepts with token ids below `size`: those known to a checkpoint that was trained with `size` token ids.

        Ids are only ever appended, so this is the checkpoint's vocabulary, provided that this one extends it.
        """
        if size >= self.size:
            return self
        concepts = self.concepts[: max(size - FIRST_CONCEPT, 0)]
        return Vocabulary(concepts, hash_of([concept.concept for concept in concepts]))

    def of_patients(self, fewest: int) -> frozenset[str]:
        """Return the concepts that at least `fewest` patients have."""
        return frozenset(concept.concept for concept in self.concepts if concept.patients >= fewest)

    def nameable(self, naming: Naming) -> frozenset[str]:
        """Return the concepts of enough patients to be shown by name; never those without a patient."""
        return frozenset(one.concept for one in self.concepts if naming.shows(one.concept, one.patients))

    @property
    def size(self) -> int:
        """Number of token ids, the special ones included."""
        return FIRST_CONCEPT + len(self.concepts)

    @cached_property
    def token_of(self) -> dict[str, int]:
        """Token id by concept."""
        return {concept.concept: concept.token_id for concept in self.concepts}

    def name(self, token_id: int) -> str:
        """Return the name of a token."""
        return SPECIAL_TOKENS[token_id] if token_id < FIRST_CONCEPT else self.concepts[token_id - FIRST_CONCEPT].name


def read_hash(folder: Path) -> str:
    """Read the hash of a vocabulary's concepts in order of token id, without reading the concepts."""
    return (folder / HASH).read_text(encoding="ascii").strip()


def _concept(row: dict[str, str]) -> Concept:
    return Concept(
        int(row["token_id"]),
        spreadsheet.plain(row["concept"]),
        spreadsheet.plain(row["name"]),
        tuple(row["semantic_types"].split()),
        int(row.get("appearances", 0)),
        int(row.get("patients", 0)),
    )


def _damaged(folder: Path, problem: str) -> UserError:
    return UserError(
        f"The vocabulary in {folder} is damaged: {problem}. Copy the whole folder again from where it was made, or rebuild"
        " vocabulary (ehr-pipeline run)."
    )
