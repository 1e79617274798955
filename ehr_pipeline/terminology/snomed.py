"""SNOMED CT identifiers: check digit, partition, namespace (SNOMED CT Release File Specification, section 5.5)."""

import re

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ehr_pipeline.tables.compiled_loops import compiled

UK_NAMESPACE = "1000000"

# The dihedral group D5 and its permutation: the Verhoeff scheme (Verhoeff 1969), as SNOMED applies it from the right.
_MULTIPLY = np.array(
    [
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        [1, 2, 3, 4, 0, 6, 7, 8, 9, 5],
        [2, 3, 4, 0, 1, 7, 8, 9, 5, 6],
        [3, 4, 0, 1, 2, 8, 9, 5, 6, 7],
        [4, 0, 1, 2, 3, 9, 5, 6, 7, 8],
        [5, 9, 8, 7, 6, 0, 4, 3, 2, 1],
        [6, 5, 9, 8, 7, 1, 0, 4, 3, 2],
        [7, 6, 5, 9, 8, 2, 1, 0, 4, 3],
        [8, 7, 6, 5, 9, 3, 2, 1, 0, 4],
        [9, 8, 7, 6, 5, 4, 3, 2, 1, 0],
    ]
)
_PERMUTE = np.array(
    [
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        [1, 5, 7, 6, 2, 8, 3, 0, 9, 4],
        [5, 8, 0, 3, 7, 9, 6, 1, 4, 2],
        [8, 9, 1, 6, 0, 4, 3, 5, 2, 7],
        [9, 4, 5, 3, 1, 2, 6, 8, 7, 0],
        [4, 2, 8, 6, 5, 7, 3, 9, 0, 1],
        [2, 7, 9, 3, 8, 0, 6, 4, 1, 5],
        [7, 0, 4, 6, 9, 1, 3, 2, 5, 8],
    ]
)
_INVERSE = np.array([0, 4, 3, 2, 1, 5, 6, 7, 8, 9])


def verhoeff_valid(identifiers: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return whether each identifier (n,), of at most 18 digits, ends in the right check digit (n,)."""
    valid: NDArray[np.bool_] = _checksum(identifiers, first_position=0) == 0
    return valid


def with_check_digit(stems: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the stems (n,), of at most 17 digits, with their check digit appended."""
    completed: NDArray[np.int64] = stems * 10 + _INVERSE[_checksum(stems, first_position=1)]
    return completed


def _checksum(numbers: NDArray[np.int64], first_position: int) -> NDArray[np.int64]:
    check = np.zeros(len(numbers), np.int64)
    _check(numbers.astype(np.int64), first_position, _MULTIPLY, _PERMUTE, check)
    return check


@compiled
def _check(
    numbers: NDArray[np.int64],
    first_position: int,
    multiply: NDArray[np.int64],
    permute: NDArray[np.int64],
    check: NDArray[np.int64],
) -> None:
    """Write the checksum of each number (n,) to `check` (n,), which is zero at first."""
    for row in range(len(numbers)):
        rest, position = numbers[row], first_position
        while rest > 0:
            check[row] = multiply[check[row], permute[position % 8, rest % 10]]
            rest, position = rest // 10, position + 1


def classify(codes: pl.Series) -> pl.DataFrame:
    """Classify each string by the kind of code that it is.

    Returns columns `code`, `kind` and `namespace`. Kinds: 'concept' and 'description' (SNOMED identifiers by their
    partition), 'other_component' (relationships and reference sets), 'bad_check_digit', 'read' (five characters, Read
    v2 or CTV3, with or without a term code), 'other'. The namespace is 'international', 'uk_extension',
    'other_extension'; for anything but a concept, the kind itself.
    """
    text = pl.col("code")  # [0-9] below and not \d, which is any digit of Unicode, Arabic ones among them
    frame = pl.DataFrame({"code": codes.cast(pl.String)}).with_columns(
        digits=text.str.contains(r"^[1-9][0-9]{5,17}$"),
        partition=text.str.slice(-3, 2),
        extension=text.str.slice(-10, 7),
    )
    numbers = frame["code"].cast(pl.Int64, strict=False).fill_null(0).to_numpy()
    frame = frame.with_columns(valid=pl.Series(verhoeff_valid(np.where(frame["digits"].to_numpy(), numbers, 0))))
    read = text.str.contains(r"^[A-Za-z0-9][A-Za-z0-9.]{4}([0-9]{2})?$")
    kind = (
        pl.when(~pl.col("digits"))
        .then(pl.when(read).then(pl.lit("read")).otherwise(pl.lit("other")))
        .when(~pl.col("valid"))
        .then(pl.lit("bad_check_digit"))
        .when(pl.col("partition").is_in(["00", "10"]))
        .then(pl.lit("concept"))
        .when(pl.col("partition").is_in(["01", "11"]))
        .then(pl.lit("description"))
        .otherwise(pl.lit("other_component"))
    )
    namespace = (
        pl.when(pl.col("kind") != "concept")
        .then(pl.col("kind"))
        .when(pl.col("partition") == "00")
        .then(pl.lit("international"))
        .when(pl.col("extension") == UK_NAMESPACE)
        .then(pl.lit("uk_extension"))
        .otherwise(pl.lit("other_extension"))
    )
    return frame.with_columns(kind=kind).with_columns(namespace=namespace).select("code", "kind", "namespace")


# Tags that end fully specified names, such as 'Asthma (disorder)' (SNOMED CT Editorial Guide).
_TAGS = (
    "administrative concept|assessment scale|attribute|body structure|cell|cell structure"
    "|context-dependent category|disorder|environment|ethnic group|event|finding|geographic location"
    "|inactive concept|medicinal product|medicinal product form|morphologic abnormality"
    "|navigational concept|observable entity|occupation|organism|person|physical force|physical object"
    "|procedure|product|qualifier value|racial group|record artifact|regime/therapy|religion/philosophy"
    "|situation|social concept|specimen|staging scale|substance|tumor staging"
)
TAGGED = rf"^(.*\S)\s*\((?:{_TAGS})\)\s*$"
"""Pattern of a name that ends in a semantic tag; its group is the name without it."""


def without_tag(name: str) -> str:
    """Return a name without its semantic tag: 'Asthma (disorder)' becomes 'Asthma'."""
    return re.sub(TAGGED, r"\1", name)
