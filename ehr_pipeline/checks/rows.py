"""Checks of tables in all stages: columns, numbers of rows, and whether a stage read every row that the previous stage wrote."""

from collections.abc import Callable, Iterator
from typing import Any

from ehr_pipeline.checks.model import UNEXPECTED, Check, Result, Test, check
from ehr_pipeline.disclosure.kinds import Events, Plain
from ehr_pipeline.store.artifacts import Artifact, Store, unbalanced
from ehr_pipeline.study.settings import Study
from ehr_pipeline.tables import schemas

MOST_PROBLEMS = 5
"""Most problems that a message names."""


@check()
def rows_conserved(artifact: Artifact, store: Store, study: Study) -> Result:
    """Every row that was read was kept, merged with others, or dropped with a reason."""
    lost = {key or "rows": unbalanced(counts) for key, counts in _counted(artifact.counts)}
    wrong = {name: number for name, number in lost.items() if number}
    return (
        not wrong,
        f"rows unaccounted for: {wrong}{UNEXPECTED}" if wrong else "rows read (and added) = kept + collapsed + dropped",
        {"unaccounted": Events(sum(map(abs, lost.values())))},
    )


def _counted(counts: dict[str, Any], name: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the counts, and nested counts, that have `rows_in`, each with its name."""
    if "rows_in" in counts:
        yield name, counts
    for key, inner in counts.items():
        if isinstance(inner, dict) and "rows_in" in inner:
            yield from _counted(inner, key)


def schema(folder: str, expected: Callable[[Study], Any], name: str = "schema", of: str = "") -> Check:
    """Return a check that the shards of a folder have the expected columns."""

    def test(artifact: Artifact, store: Store, study: Study) -> Result:
        paths, columns = artifact.files(folder), expected(study)
        problems = [problem for path in paths for problem in schemas.differences(path, columns)]
        more = f"; and {len(problems) - MOST_PROBLEMS:,} more problems" if len(problems) > MOST_PROBLEMS else ""
        message = "; ".join(problems[:MOST_PROBLEMS]) + more or "every shard has the expected columns"
        return not problems, message, {"shards": Plain(len(paths))}

    return Check(name, f"The {of}shards have the expected columns.", test)


def rows_as_counted(folder: str, part: str = "") -> Check:
    """Return a check that the shards of a folder hold as many rows as the manifest counts (under `part`, if given)."""

    def test(artifact: Artifact, store: Store, study: Study) -> Result:
        rows = sum(schemas.read(path).num_rows for path in artifact.files(folder))
        counted = int((artifact.counts[part] if part else artifact.counts)["kept"])
        if rows == counted:  # leave out the number: the artifact's counts show it if it may be shown
            return True, "the shards contain as many rows as the manifest says", {}
        return (
            False,
            f"the shards contain {'more' if rows > counted else 'fewer'} rows than the manifest says{UNEXPECTED}",
            {},
        )

    return Check("rows_as_counted", f"The shards contain as many {folder} as the manifest says.", test)


def rows_taken_up(upstream: str, key: str) -> Test:
    """Return a check that a stage read as many rows as the upstream stage kept."""

    def test(artifact: Artifact, store: Store, study: Study) -> Result:
        out = store.current(upstream).counts["kept"]
        taken = (artifact.counts[key] if key else artifact.counts)["rows_in"]
        if taken == out:
            return True, f"everything that {upstream} wrote was read", {}
        return (
            False,
            f"{'more' if taken > out else 'fewer'} rows or patients were read than {upstream} wrote{UNEXPECTED}",
            {},
        )

    return test
