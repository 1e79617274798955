"""Extend a concept list by neighbours that a reviewer accepted: offer candidates, read decisions, write the extended list.

The published study pooled 250 listed concepts and their 10 nearest neighbours, 1,294 in all, without a review (Scienta Lab, 2026).
Here each neighbour is offered to a reviewer. Only accepted neighbours enter the list, with reviewer and date.
"""

import datetime
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ehr_pipeline.concepts.neighbours import nearest
from ehr_pipeline.disclosure import spreadsheet
from ehr_pipeline.disclosure.figures import Guard, Naming
from ehr_pipeline.errors import InputError
from ehr_pipeline.store import publishing
from ehr_pipeline.tables.schemas import INTEGER, TEXT, schema_of
from ehr_pipeline.terminology import code_lists
from ehr_pipeline.terminology.code_lists import ListedConcept
from ehr_pipeline.terminology.reading import label, other_delimiter, read_rows
from ehr_pipeline.vocabulary.table import FIRST_CONCEPT, Vocabulary

ACCEPT, REFUSE = "accept", "refuse"
RARE = "a listed concept that few patients have"
"""Replaces the name of a rare listed concept: showing the name would reveal that some patient has the concept."""
DECIDED = ("concept", "name", "neighbour_of", "decision", "reviewer", "date")
REVIEW = schema_of(
    (TEXT, "concept name neighbour_of"),
    (pa.float32(), "cosine"),
    (INTEGER, "patients"),
    (TEXT, "decision reviewer date comment"),
)
"""Columns of a review: the candidate, and four columns to fill in. Counts are rounded to multiples of `reports.suppress_below`."""


@dataclass(frozen=True)
class Candidate:
    """A concept that is not on the list, and the listed concept that is nearest to it."""

    concept: str
    name: str
    neighbour_of: str
    cosine: float
    patients: int
    """Rounded."""


@dataclass(frozen=True)
class Decision:
    """A reviewer's decision about one concept. Undecided concepts have no `Decision`."""

    concept: str
    name: str
    neighbour_of: str
    accepted: bool
    reviewer: str
    date: datetime.date
    place: str
    """The file and line of the decision, for messages."""


def candidates(
    listed: frozenset[str], vocabulary: Vocabulary, vectors: NDArray[np.float32], neighbours: int, naming: Naming
) -> tuple[list[Candidate], int]:
    """Return the nearest neighbours of listed concepts as candidates, and how many more may not be named.

    `vectors` (V, D) are ordered by token id. The neighbours of a listed concept are those that `embeddings.pooling` takes without a
    review: the `neighbours` concepts nearest by cosine in the whole vocabulary. Each neighbour is offered once, under the listed
    concept that is nearest to it. A neighbour that too few patients have may not be named, and is only counted. A listed concept
    that too few patients have is called RARE. Candidates are sorted by their listed concept, the most frequent first, then by
    cosine. Raises InputError when no concept of the list is in the vocabulary.
    """
    known = [one for one in vocabulary.concepts if one.concept in listed]
    if not known:
        raise InputError(
            "None of the listed concepts is in the vocabulary, so there are no neighbours. Check that this is the right list, or"
            " lower vocabulary.min_appearances."
        )
    known.sort(key=lambda one: (-one.patients, one.token_id))
    everything = np.arange(FIRST_CONCEPT, vocabulary.size)
    found, cosines = nearest(np.array([one.token_id for one in known], np.int64), everything, vectors, neighbours)
    best: dict[int, tuple[float, int]] = {}
    for place, (row, row_cosines) in enumerate(zip(found.tolist(), cosines.tolist(), strict=True)):
        for token, cosine in zip(row, row_cosines, strict=True):
            best[token] = max(best.get(token, (-np.inf, 0)), (cosine, -place))
    guard, offered, hidden = Guard(naming.below), list[Candidate](), 0
    for token, (cosine, place) in sorted(best.items(), key=lambda item: (-item[1][1], -item[1][0], item[0])):
        one = vocabulary.concepts[token - FIRST_CONCEPT]
        patients = guard.count(one.patients) if naming.shows(one.concept, one.patients) else None
        if one.concept in listed:
            continue
        if patients is None:
            hidden += 1
        else:
            near = known[-place]
            of = near.name if naming.shows(near.concept, near.patients) else RARE
            offered.append(Candidate(one.concept, one.name, of, cosine, patients))
    return offered, hidden


def write_offer(path: Path, offered: Iterable[Candidate]) -> None:
    """Write a review to fill in, whole or not at all. Raises UserError if the file exists."""
    rows = (
        (one.concept, one.name, one.neighbour_of, f"{one.cosine:.3f}", one.patients, "", "", "", "") for one in offered
    )
    with publishing.whole(path) as part:
        spreadsheet.write(part, REVIEW, rows)


def read_reviews(paths: Sequence[Path]) -> list[Decision]:
    """Read the decisions in reviews, leaving out rows without a decision. A concept may be in several reviews.

    Raises InputError, with file and line, if a decision is neither 'accept' nor 'refuse', has no reviewer, has no date of
    the form 2026-03-31, or contradicts another decision about the same concept.
    """
    decided: dict[str, Decision] = {}
    for one in (row for path in paths for row in _decisions(path)):
        before = decided.setdefault(one.concept, one)
        if before.accepted != one.accepted:
            raise InputError(
                f"{one.concept} is accepted in one place and refused in another: {before.place}, and {one.place}. Decide which is"
                " right, and correct the other."
            )
    return list(decided.values())


def _decisions(path: Path) -> Iterator[Decision]:
    named_file, rows, problems = label(path, "--review"), read_rows(path, "--review", "review"), list[str]()
    header = [name.strip().lower() for name in rows[0][1]] if rows else []
    if missing := [name for name in DECIDED if name not in header]:
        raise InputError(
            f"{named_file}, line 1: a review needs the columns {', '.join(REVIEW.names)}. Missing:"
            f" {', '.join(missing)}.{other_delimiter(header)}"
        )
    places = {name: header.index(name) for name in DECIDED}
    for line, row in rows[1:]:
        if len(row) != len(header):
            problems += [f"line {line}: {len(row)} fields, but the header has {len(header)}"] if any(row) else []
            continue
        cell = {name: spreadsheet.plain(row[place].strip()) for name, place in places.items()}
        if not cell["decision"]:
            continue
        date = _date(cell["date"])
        if problem := _problem(cell, date):
            problems.append(f"line {line}: {problem}")
        elif date:
            accepted = cell["decision"].lower() == ACCEPT
            yield Decision(
                cell["concept"],
                cell["name"],
                cell["neighbour_of"],
                accepted,
                cell["reviewer"],
                date,
                f"{named_file}, line {line}",
            )
    if problems:
        more = len(problems) - code_lists.MAX_LINES
        tail = f"; and {more} more lines" if more > 0 else ""
        raise InputError(f"{named_file}, {'; '.join(problems[: code_lists.MAX_LINES])}{tail}.")


def _date(text: str) -> datetime.date | None:
    try:
        return datetime.date.fromisoformat(text)
    except ValueError:
        return None


def _problem(cell: dict[str, str], date: datetime.date | None) -> str:
    """Return the problem with a decision; empty if there is none."""
    if not cell["concept"]:
        return "it contains no concept"
    if cell["decision"].lower() not in (ACCEPT, REFUSE):
        return f"the decision must be '{ACCEPT}', '{REFUSE}', or empty"
    if not cell["reviewer"]:
        return "it has a decision, but no reviewer"
    return "" if date else "it has a decision, but no date such as 2026-03-31"


def write_list(path: Path, listed: Iterable[ListedConcept], accepted: Iterable[Decision]) -> None:
    """Write a concept list: the `listed` rows unchanged, then the accepted concepts, with reason, reviewer and date as source.

    The list is written whole or not at all. Raises UserError if the file exists.
    """
    rows = [(row.code, row.cui, row.name, row.source) for row in listed]
    rows += [
        ("", one.concept, one.name, f"neighbour of {one.neighbour_of}; accepted by {one.reviewer} on {one.date}")
        for one in accepted
    ]
    with publishing.whole(path) as part:
        spreadsheet.write(part, pa.schema([(name, pa.string()) for name in code_lists.COLUMNS]), rows)
