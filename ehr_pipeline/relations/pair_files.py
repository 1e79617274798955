"""Read a user's files of pairs of concepts: pairs to list, known pairs from other sources, and scores from other sources."""

import csv
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ehr_pipeline.concepts.ontology import Ontology
from ehr_pipeline.errors import InputError
from ehr_pipeline.relations.settings import RelationsSettings

FIRST, SECOND, SCORE = "first", "second", "score"


@dataclass(frozen=True)
class UserLists:
    """The user's own lists of concepts, pairs and scores; and an ontology for comparison."""

    listed: frozenset[str]
    pairs: list[tuple[str, str]]
    known: list[tuple[str, str]]
    scores: dict[str, list[tuple[str, str, float]]]
    ontology: Ontology | None = None


def read(
    settings: RelationsSettings,
    ontology: tuple[str, ...],
    listed: frozenset[str],
    concept_of_code: Mapping[str, str],
) -> UserLists:
    """Read the files that the settings name, and those of an ontology. Raises InputError for one that cannot be used."""
    scores = {
        one.name: read_scores(one.file, f"relations.scores[{number}].file", concept_of_code)
        for number, one in enumerate(settings.scores)
    }
    pairs, known = (
        read_pairs(getattr(settings, name), f"relations.{name}", concept_of_code) for name in ("pairs", "known")
    )
    return UserLists(listed, pairs, known, scores, Ontology.read(ontology, concept_of_code) if ontology else None)


def read_pairs(path: str, where: str, concept_of_code: Mapping[str, str]) -> list[tuple[str, str]]:
    """Read pairs of concepts from the file `path`; '' means no file. `where` is the setting that names the file. Raises InputError
    if the file cannot be used."""
    return [(one, other) for one, other, _ in _rows(path, where, (FIRST, SECOND), concept_of_code)] if path else []


def read_scores(path: str, where: str, concept_of_code: Mapping[str, str]) -> list[tuple[str, str, float]]:
    """Read pairs of concepts, each with a score. Raises InputError if the file cannot be used."""
    scores = []
    for line, (one, other, text) in enumerate(_rows(path, where, (FIRST, SECOND, SCORE), concept_of_code), start=2):
        try:
            score = float(text)
        except ValueError:
            score = math.nan
        if not math.isfinite(score):
            raise InputError(
                f"{path} ({where}): line {line} has no number in the column {SCORE}. Add one, or remove the line."
            )
        scores.append((one, other, score))
    return scores


def _rows(
    path: str, where: str, columns: tuple[str, ...], concept_of_code: Mapping[str, str]
) -> Iterator[tuple[str, str, str]]:
    """Yield the two concepts of each row, and its score. A code is replaced by the concept that it is mapped to."""
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as stream:
            table = csv.DictReader(stream)
            missing = [name for name in columns if name not in (table.fieldnames or ())]
            if missing:
                raise InputError(
                    f"{path} ({where}): the column {', '.join(missing)} is missing. The file needs the columns"
                    f" {', '.join(columns)}."
                )
            for row in table:
                one, other = ((row[name] or "").strip() for name in columns[:2])
                yield concept_of_code.get(one, one), concept_of_code.get(other, other), row.get(SCORE) or ""
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"{path} ({where}): not readable as CSV in UTF-8. Save it as CSV (UTF-8), or give another file."
        ) from error
