"""Measure how much of the records the mapping keeps: in events and in codes, by namespace and by step."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from ehr_pipeline.events.mapping import LADDER
from ehr_pipeline.terminology import snomed

FILE = "coverage.json"
FEWEST_OF_PATTERN = 2
"""If fewer codes of a system than this look like SNOMED ids, it is taken for chance."""


def read(folder: Path) -> dict[str, Any]:
    """Read the report (`report`, and the `source` of the concepts) from the folder of a `mapped_events` artifact."""
    content: dict[str, Any] = json.loads((folder / FILE).read_text(encoding="utf-8"))
    return content


def report(mapping: pl.DataFrame) -> dict[str, Any]:
    """Return the coverage of a mapping table that has a column `events`.

    The result has the numbers of events and codes (all, mapped, and kept as separate concepts) and the mapped shares, in total and
    by namespace; and events and codes by step. A kept code counts as neither lost nor mapped, since no other code shares its
    concept.
    """
    kept = (pl.col("step") == "kept").fill_null(value=False)
    mapped = pl.col("concept").is_not_null() & ~kept
    columns = {
        "events": pl.col("events").sum(),
        "mapped_events": pl.col("events").filter(mapped).sum(),
        "kept_events": pl.col("events").filter(kept).sum(),
        "codes": pl.len(),
        "mapped_codes": mapped.sum(),
        "kept_codes": kept.sum(),
    }
    total = _shares(mapping.select(**columns).row(0, named=True))
    by_namespace = mapping.group_by("namespace").agg(**columns).sort("events", "namespace", descending=[True, False])
    by_step = (
        mapping.group_by(pl.col("step").fill_null("lost"))
        .agg(pl.col("events").sum(), codes=pl.len())
        .sort("events", descending=True)
    )
    steps = {row.pop("step"): row for row in by_step.iter_rows(named=True)}
    return {
        **total,
        "ladder": list(_ladder(steps, total["events"])),
        "systems": systems(mapping),
        "by_namespace": {row.pop("namespace"): _shares(row) for row in by_namespace.iter_rows(named=True)},
        "by_step": steps,
    }


def systems(mapping: pl.DataFrame) -> dict[str, dict[str, int]]:
    """Return the recorded code systems other than SNOMED, each with its counts.

    They are: `events`; those `translated` to SNOMED; `codes`; and those of the codes that look like a SNOMED concept id with a
    correct check digit (`like_snomed`).
    """
    parts = (
        mapping["code"].str.extract_groups(r"^([^:]+):(.*)$").struct.rename_fields(["system", "own"]).struct.unnest()
    )
    table = pl.concat([mapping.select("events", "snomed"), parts], how="horizontal").drop_nulls("system")
    counted = table.group_by("system").agg(
        pl.col("events").sum(),
        translated=pl.col("events").filter(pl.col("snomed") != "").sum(),
        codes=pl.len(),
        own="own",
    )
    by_system = {}
    for row in counted.sort("events", "system", descending=[True, False]).iter_rows(named=True):
        like = snomed.classify(pl.Series(row.pop("own"), dtype=pl.String))["kind"] == "concept"
        by_system[row.pop("system")] = row | {"like_snomed": int(like.sum())}
    return by_system


def are_snomed(row: dict[str, int]) -> bool:
    """Return whether a system's codes are probably SNOMED ids. By chance, two in a thousand other numbers look like SNOMED ids."""
    return row["like_snomed"] >= FEWEST_OF_PATTERN and 2 * row["like_snomed"] >= row["codes"]


def _ladder(steps: dict[str, dict[str, Any]], events: int) -> Iterator[dict[str, Any]]:
    """Yield what each step mapped, in the order of the steps, and the share of events mapped or kept so far."""
    mapped = 0
    for step in LADDER:
        if step in steps:
            mapped += steps[step]["events"]
            yield {"step": step, **steps[step], "events_share_after": mapped / events if events else None}


def _shares(row: dict[str, Any]) -> dict[str, Any]:
    """Add the mapped shares of events and codes; a share is None when its total is zero."""
    for what in ("events", "codes"):
        row[f"{what}_share"] = row[f"mapped_{what}"] / row[what] if row[what] else None
    return row


def lost_events(mapping: pl.DataFrame) -> dict[str, int]:
    """Return the numbers of events without a concept, by the namespace of their code."""
    lost = (
        mapping.filter(pl.col("concept").is_null(), pl.col("events") > 0)
        .group_by("namespace")
        .agg(pl.col("events").sum())
    )
    return {f"unmapped_{namespace}": events for namespace, events in sorted(lost.iter_rows())}


def top_unmapped(mapping: pl.DataFrame, count: int) -> pl.DataFrame:
    """Return the lost codes with the most events (code, namespace, events)."""
    lost = mapping.filter(pl.col("concept").is_null(), pl.col("events") > 0)
    return lost.select("code", "namespace", "events").sort("events", "code", descending=[True, False]).head(count)
