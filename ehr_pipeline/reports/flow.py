"""What became of every row, from the raw table to the clusters; and this run beside the published one."""

from collections.abc import Iterator, Mapping
from typing import Any

from ehr_pipeline.artifacts import Artifact
from ehr_pipeline.reports.disclosure import Disclosure

# What is counted at each stage: (asset, key of the counts or '' for the top, words).
STAGES = (
    ("raw_records", "", "event rows read"),
    ("raw_records", "patients", "patient rows read"),
    ("mapped_events", "", "events mapped"),
    ("vocabulary", "", "concepts kept"),
    ("vocabulary", "events", "events of kept concepts"),
    ("patient_dataset", "", "events in the patient data set"),
    ("patient_dataset", "visits", "visits in the patient data set"),
    ("patient_dataset", "patients", "patients in the patient data set"),
    ("cohort", "", "patients in the cohort"),
    ("patient_embeddings", "", "patients embedded"),
    ("clusters", "", "patients in clusters"),
)


def rows(counts_of: Mapping[str, dict[str, Any]], disclosure: Disclosure) -> Iterator[dict[str, Any]]:
    """One row for each thing counted: asset, words, in, kept, collapsed, dropped by reason."""
    for asset, key, words in STAGES:
        counts = counts_of[asset][key] if key else counts_of[asset]
        dropped = {
            reason.replace("_", " "): disclosure.show(number)
            for reason, number in counts.get("dropped", {}).items()
            if number
        }
        yield {
            "asset": asset,
            "words": words,
            "rows_in": disclosure.show(counts["rows_in"]),
            "kept": disclosure.show(counts["kept"]),
            "collapsed": disclosure.show(counts["collapsed"]) if counts.get("collapsed") else "",
            "dropped": dropped,
        }


def totals(records: list[Artifact]) -> dict[str, Any]:
    """The counts of raw records over all extracts."""
    total: dict[str, Any] = {
        "rows_in": 0,
        "kept": 0,
        "dropped": {},
        "patients": {"rows_in": 0, "kept": 0, "collapsed": 0, "dropped": {}},
    }
    for record in records:
        for into, counts in ((total, record.counts), (total["patients"], record.counts["patients"])):
            for name in ("rows_in", "kept", "collapsed"):
                into[name] = into.get(name, 0) + counts.get(name, 0)
            for reason, number in counts["dropped"].items():
                into["dropped"][reason] = into["dropped"].get(reason, 0) + number
    return total


def published(
    counts_of: Mapping[str, dict[str, Any]], metrics: Mapping[str, Any], disclosure: Disclosure
) -> list[tuple[str, str, str]]:
    """Rows of (quantity, published, this run). Source: Scienta Lab, January 2026."""
    dataset, split = counts_of["patient_dataset"], counts_of["data_split"]
    visits, patients = dataset["visits"], dataset["patients"]
    few = patients["dropped"]["few_visits"]
    large = visits["dropped"]["large"]
    show = disclosure.show
    return [
        ("rows of the raw table", "more than 3 billion", show(counts_of["raw_records"]["rows_in"])),
        ("codes in the records", "270,000", show(counts_of["mapped_events"]["codes"])),
        ("concepts kept", "36,058", show(counts_of["vocabulary"]["kept"])),
        ("visits removed for their size", "0.00005 %", f"{show(large)} ({disclosure.share(large, visits['rows_in'])})"),
        (
            "patients removed for few visits",
            "about 6,000 (0.2 %)",
            f"{show(few)} ({disclosure.share(few, patients['rows_in'])})",
        ),
        ("patients in the data set", "2,685,031", show(patients["kept"])),
        (
            "validation patients",
            "about 50,000 (2 %)",
            f"{show(split['validation'])} ({disclosure.share(split['validation'], split['kept'])})",
        ),
        ("parameters of the encoder", "12.6 million", f"{metrics['parameters'] / 1e6:.2f} million"),
        ("epochs", "18", str(len(metrics["epochs"]))),
        ("cohort patients", "53,228", show(counts_of["cohort"]["kept"])),
        ("clusters", "20", str(counts_of["clusters"]["clusters"])),
    ]


def ladder(coverage: dict[str, Any], disclosure: Disclosure) -> Iterator[dict[str, str]]:
    """The steps of the mapping, each with what it mapped, as text; where that is little, the share after it is left out too."""
    for row in coverage["ladder"]:
        yield {
            "step": row["step"].replace("_", " "),
            "codes": disclosure.show(row["codes"]),
            "events": disclosure.show(row["events"]),
            "share": "–" if disclosure.small(row["events"]) else f"{100 * row['events_share_after']:.1f} %",
        }
