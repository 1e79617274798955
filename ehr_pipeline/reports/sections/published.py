"""The published run and this one, side by side."""

from collections.abc import Mapping
from typing import Any

from ehr_pipeline.disclosure.figures import HIDDEN
from ehr_pipeline.encoder.metrics import read as read_metrics
from ehr_pipeline.patients.settings import LEARNED_FROM
from ehr_pipeline.reports.counted import Counted, on_sides
from ehr_pipeline.reports.findings import Findings
from ehr_pipeline.reports.sections.flow import patients_lost
from ehr_pipeline.tables import asset_names as assets
from ehr_pipeline.tables.drop_reasons import in_words


def content(findings: Findings) -> dict[str, Any]:
    """Return the published and the present value of each quantity."""
    metrics = read_metrics(findings.inputs.artifacts[assets.ENCODER_CHECKPOINT].path)
    return {"published": published(findings.counted, metrics)}


def published(counted: Counted, metrics: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return rows of (quantity, published, this run). Source: Scienta Lab, January 2026."""
    counts, person, show = counted.counts, counted.person, counted.disclosure.show
    dataset, split = counts[assets.PATIENT_DATASET], counts[assets.DATA_SPLIT]
    visits, patients = dataset["visits"], dataset["patients"]
    few, large = patients["dropped"]["few_visits"], visits["dropped"]["large"]
    by_reason = dict(patients_lost(patients["dropped"], patients["rows_in"], patients["kept"], counted))
    removed = by_reason.get(in_words("few_visits", patients=True), "0" if not few else HIDDEN)
    if few and removed == person(few):
        removed += f" ({person.share(few, patients['rows_in'])})"
    # Together with the visits kept, a share would reveal the visits read, and so those of the few patients dropped.
    few_out = counted.disclosure.small(few)
    of_visits = "" if few_out else f" ({counted.event.share(large, visits['rows_in'])})"
    return [
        ("rows of the raw table", "more than 3 billion", counted.event(counts[assets.RAW_RECORDS]["rows_in"])),
        ("codes in the records", "270,000", show(counts[assets.MAPPED_EVENTS]["codes"])),
        ("concepts kept", "36,058", show(counts[assets.VOCABULARY]["kept"])),
        ("visits removed for their size", "0.00005 %", f"{counted.event(large)}{of_visits}"),
        ("patients removed for few visits", "about 6,000 (0.2 %)", removed),
        ("patients in the data set", "2,685,031", person(patients["kept"])),
        (
            "validation patients",
            "about 50,000 (2 %)",
            f"{person(split['validation'])} ({person.share(split['validation'], split['kept'])})",
        ),
        *(
            (f"patients that nothing is learned from ({side})", "–", person(number))
            for side, number in on_sides(counts).items()
            if side not in LEARNED_FROM and number
        ),
        ("parameters of the encoder", "12.6 million", f"{metrics['parameters'] / 1e6:.2f} million"),
        ("epochs", "18", str(len(metrics["epochs"]))),
        ("cohort patients", "53,228", person(counts[assets.COHORT]["kept"])),
        ("clusters", "20", str(counts[assets.CLUSTERS]["clusters"])),
    ]
