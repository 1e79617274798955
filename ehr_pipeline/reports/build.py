"""`cluster_reports`: one self-contained HTML page that a clinician can read, and the tables behind it.

The artifact holds `report.html`, `enrichment.csv` (every tested concept of the top lists, with counts: restricted), `audit.json`,
and the pictures under `notes/`; on synthetic extracts `agreement.json` as well.
"""

import base64
import csv
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ehr_pipeline import __version__, drawing, schemas
from ehr_pipeline.artifacts import Artifact, Counts
from ehr_pipeline.clusters import baseline
from ehr_pipeline.clusters.build import read_vectors
from ehr_pipeline.reports import (
    audit,
    cards,
    closest,
    diagram,
    enrichment,
    evolution,
    extracts,
    flow,
    maps,
    page,
    pictures,
    record,
    tables,
)
from ehr_pipeline.reports.disclosure import Disclosure
from ehr_pipeline.reports.settings import ReportsSettings
from ehr_pipeline.vocabulary.table import Vocabulary

AUDITED = ("age", "concepts", "sex", "disease")


@dataclass(frozen=True)
class Inputs:
    """Everything that the page tells of."""

    study: str
    records: list[Artifact]
    artifacts: dict[str, Artifact]
    """Current artifacts by asset."""
    settings: dict[str, Any]
    """All settings, as plain values."""
    seed: int
    terms: dict[str, str]
    """Licence, protocol and expiry of the data, as far as they are known."""


def build(inputs: Inputs, settings: ReportsSettings, out: Path) -> Counts:
    """Write the report. Returns how much was tested and shown."""
    disclosure = Disclosure(settings.suppress_below)
    vocabulary = Vocabulary.read(inputs.artifacts["vocabulary"].path)
    clustered = schemas.read(inputs.artifacts["clusters"].file("clusters.arrow"))
    numbers, labels = np.unique(clustered.column("cluster").to_numpy(), return_inverse=True)
    found = enrichment.test(_counts(inputs, clustered, vocabulary), labels)
    rows = cards.concept_tables(found, vocabulary, settings.top_concepts, settings.max_p, disclosure)
    evidence = _json(inputs.artifacts["clusters"], "evidence.json")
    attributes = _attributes(inputs, clustered, settings)
    points = np.stack([clustered.column(name).to_numpy() for name in "xy"], axis=1)
    effects = [audit.effect(name, values, labels, points, inputs.seed) for name, values in attributes.items()]
    vectors = _vectors(inputs, clustered)
    nearest = closest.closest(vectors, labels, found, vocabulary, settings.max_p, disclosure)
    counted = _counted(inputs, found.cluster_patients.tolist(), disclosure)
    drawn = out / "notes"
    content = {
        "title": settings.title,
        "study": inputs.study,
        "terms": inputs.terms,
        "version": __version__,
        "evidence": evidence,
        "effects": effects,
        "warnings": audit.warnings(effects),
        "mirrored": _mirrored(effects),
        "clusters": _cards(clustered, labels, numbers, rows, nearest, inputs, disclosure, drawn),
        "maps": [
            {"name": name, "picture": _embedded(path)}
            for name, path in maps.draw(attributes, clustered, settings, disclosure, drawn)
        ],
        "key": _key_figures(inputs, counted),
        "evolution": _evolution(inputs, clustered, numbers, disclosure, drawn),
        **_upstream(inputs, counted, drawn),
        "agreement": _agreement(inputs, numbers, found, vocabulary, settings),
        "extracts": extracts.told(inputs.artifacts, clustered, disclosure),
        "overlap": extracts.shown(inputs.artifacts["clusters"], disclosure),
        "comparison": _comparison(inputs.artifacts["clusters"], disclosure),
        "settings": json.dumps(inputs.settings, indent=1, default=str),
        "reports": settings,
        "seed": inputs.seed,
        "pooling": _pooling(inputs, vocabulary),
        "collapse": _collapse(inputs),
        "vectors": inputs.artifacts["patient_embeddings"].manifest["settings"]["vectors"],
    }
    content["checklist"] = record.checklist(
        {
            "extracts": f"{len(inputs.records)} extract{'s' if len(inputs.records) > 1 else ''}",
            "pooling": str(content["pooling"]),
            "attributes": ", ".join(effect.name for effect in effects),
        }
    )
    (out / "report.html").write_text(page.render(content), encoding="utf-8")
    if content["agreement"]:
        (out / "agreement.json").write_text(json.dumps(content["agreement"], indent=1) + "\n", encoding="utf-8")
    tables.write_enrichment(out / "enrichment.csv", numbers, found, vocabulary, settings)
    (out / "audit.json").write_text(
        json.dumps([asdict(effect) | {"words": effect.words} for effect in effects], indent=1) + "\n", encoding="utf-8"
    )
    shown = sum(len(table) for table in rows)
    return {
        "rows_in": len(labels),
        "kept": len(labels),
        "clusters": len(rows),
        "concepts_tested": len(vocabulary.concepts),
        "concepts_shown": shown,
    }


def read_recovered(report: Artifact) -> dict[str, Any]:
    """On synthetic extracts: agreement with the planted groups, and which companions mark their group's main cluster."""
    found: dict[str, Any] = _json(report, "agreement.json")
    return found


def _json(artifact: Artifact, name: str) -> Any:
    return json.loads(artifact.file(name).read_text(encoding="utf-8"))


def _counts(inputs: Inputs, clustered: pa.Table, vocabulary: Vocabulary) -> Any:
    """Visits with each concept (n, V) of the clustered patients, in their order."""
    cohort = schemas.read(inputs.artifacts["cohort"].file("cohort.arrow"))
    counts = baseline.concept_counts(inputs.artifacts["patient_dataset"].files("patients"), cohort, vocabulary.size)
    ordered = cohort.sort_by([("shard", "ascending"), ("row", "ascending")]).column("patient_id").to_pylist()
    row_of = {patient_id: row for row, patient_id in enumerate(ordered)}
    return counts[np.array([row_of[patient_id] for patient_id in clustered.column("patient_id").to_pylist()])]


def _column(table: pa.Table, name: str) -> NDArray[Any]:
    values: NDArray[Any] = np.array(table.column(name).to_pylist())
    return values if np.issubdtype(values.dtype, np.number) else np.where(values == "", "not known", values)


def _attributes(inputs: Inputs, clustered: pa.Table, settings: ReportsSettings) -> dict[str, NDArray[Any]]:
    """What the clusters are held against: each attribute (n,) of the clustered patients."""
    names = [*AUDITED, *(name for name in settings.colour_by if name in clustered.column_names)]
    attributes = {name: _column(clustered, name) for name in names}
    cohort = schemas.read(inputs.artifacts["cohort"].file("cohort.arrow"))
    place = pc.index_in(clustered.column("patient_id"), value_set=cohort.column("patient_id").combine_chunks())
    first = cohort.column("first_date").take(place)
    return attributes | {"year": pc.year(first).to_numpy()}


def _vectors(inputs: Inputs, clustered: pa.Table) -> NDArray[np.float32]:
    """The vectors (n, d) of the clustered patients, in their order."""
    ids, vectors = read_vectors(inputs.artifacts["patient_embeddings"], "embeddings")
    place = pc.index_in(clustered.column("patient_id").combine_chunks(), value_set=pa.array(ids, pa.string()))
    ordered: NDArray[np.float32] = vectors[place.to_numpy()]
    return ordered


def _counted(inputs: Inputs, sizes: list[int], disclosure: Disclosure) -> flow.Counted:
    counts = {name: artifact.counts for name, artifact in inputs.artifacts.items()}
    return flow.Counted.of(counts | {"raw_records": flow.totals(inputs.records)}, sizes, disclosure)


def _mirrored(effects: list[audit.Effect]) -> str:
    """What the clusters mirror strongly, disease apart, in words; empty when nothing."""
    return " and ".join(effect.name for effect in effects if effect.words == "large" and effect.attribute != "disease")


def _cards(
    clustered: pa.Table,
    labels: NDArray[np.int64],
    numbers: NDArray[np.int64],
    rows: list[list[cards.ConceptRow]],
    nearest: list[closest.Closest | None],
    inputs: Inputs,
    disclosure: Disclosure,
    drawn: Path,
) -> list[dict[str, Any]]:
    evidence, trust = (_json(inputs.artifacts["clusters"], f"{name}.json") for name in ("evidence", "trust"))
    shown = []
    for label, (number, table) in enumerate(zip(numbers.tolist(), rows, strict=True)):
        card = cards.describe(clustered, labels == label, disclosure)
        card |= {
            "number": number,
            "stability": trust["clusters"][str(number)],
            "title": cards.title(table),
            "over": [row for row in table if row.over and not card["hidden"]],
            "under": [row for row in table if not row.over and not card["hidden"]],
            "nearest": nearest[label],
            "nearest_number": numbers[other.other] if (other := nearest[label]) else 0,
            "cloud": "",
        }
        recognised = evidence["per_cluster"].get(str(number))
        card["recognised"] = "–" if recognised is None or card["hidden"] else f"{100 * recognised:.0f} %"
        if table and not card["hidden"]:
            path = drawn / f"cloud_{number:02d}.png"
            pictures.word_cloud(path, [(row.name, row.importance, row.over) for row in table], inputs.seed)
            card["cloud"] = _embedded(path)
        shown.append(card)
    return shown


def _evolution(
    inputs: Inputs, clustered: pa.Table, numbers: NDArray[np.int64], disclosure: Disclosure, drawn: Path
) -> dict[str, Any] | None:
    """The trajectories, with their picture."""
    told = evolution.describe(inputs.artifacts["patient_trajectories"], clustered, numbers, disclosure, drawn)
    return told and told | {"picture": _embedded(told["picture"])}


def _key_figures(inputs: Inputs, counted: flow.Counted) -> list[tuple[str, str]]:
    metrics = _json(inputs.artifacts["encoder_checkpoint"], "metrics.json")
    best, base = metrics["best"], metrics["baseline"]
    return [
        ("patients in clusters", counted.person(counted.counts["clusters"]["kept"])),
        ("clusters", str(inputs.artifacts["clusters"].counts["clusters"])),
        ("events mapped", f"{100 * inputs.artifacts['mapped_events'].counts['coverage_of_events']:.1f} %"),
        ("concepts in the vocabulary", f"{inputs.artifacts['vocabulary'].counts['kept']:,}"),
        (
            f"of masked concepts among ten guesses (by frequency alone {100 * base['top10']:.0f} %)",
            f"{100 * best['validation_top10']:.0f} %",
        ),
    ]


def _upstream(inputs: Inputs, counted: flow.Counted, drawn: Path) -> dict[str, Any]:
    """What the page tells of the stages before the clusters."""
    artifacts, disclosure = inputs.artifacts, counted.disclosure
    metrics = _json(artifacts["encoder_checkpoint"], "metrics.json")
    coverage = _json(artifacts["mapped_events"], "coverage.json")
    drawing.learning_curves(drawn / "learning_curve.png", metrics)
    pictures.coverage_bars(drawn / "coverage.png", coverage["by_namespace"])
    concepts_3d = artifacts["concept_embeddings"].file("notes/concepts_3d.png")
    return {
        "flow": list(flow.rows(counted)),
        "diagrams": [
            diagram.draw("Flow of patients", flow.patients(counted)),
            diagram.draw("Flow of events", flow.events(counted)),
        ],
        "rounded": counted.rounded,
        "published": flow.published(counted, metrics),
        "metrics": metrics,
        "coverage": coverage,
        "ladder": list(flow.ladder(coverage, disclosure)),
        "learning_curve": _embedded(drawn / "learning_curve.png"),
        "coverage_picture": _embedded(drawn / "coverage.png"),
        "concepts_picture": _embedded(concepts_3d) if concepts_3d.is_file() else "",
        "neighbours": _neighbours(artifacts["concept_embeddings"]),
        "ontology": artifacts["concept_embeddings"].counts.get("ontology"),
        "cohort": [(name, counted.person(number)) for name, number in artifacts["cohort"].counts["by_disease"].items()],
        "not_embedded": counted.person(sum(artifacts["patient_embeddings"].counts["dropped"].values())),
        "versions": [(name, artifact.data_version) for name, artifact in artifacts.items()],
    }


def _neighbours(concepts: Artifact) -> list[dict[str, Any]]:
    """For each concept of interest, the names of its nearest neighbours in both scopes."""
    found: dict[str, dict[str, Any]] = {}
    with concepts.file("neighbours.csv").open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            entry = found.setdefault(
                row["concept"], {"name": row["name"], "concepts of interest": [], "whole vocabulary": []}
            )
            entry[row["scope"]].append(row["neighbour_name"])
    return list(found.values())


def _comparison(clusters: Artifact, disclosure: Disclosure) -> list[dict[str, str]]:
    """The methods beside each other; small counts suppressed."""
    with clusters.file("comparison.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    counted = ("smallest", "largest", "unassigned")
    return [row | {name: disclosure.show(int(row[name])) for name in counted} for row in rows]


def _agreement(
    inputs: Inputs,
    numbers: NDArray[np.int64],
    found: enrichment.Enrichment,
    vocabulary: Vocabulary,
    settings: ReportsSettings,
) -> dict[str, Any] | None:
    """On synthetic extracts: agreement with the planted groups, and which companions mark their group's main cluster."""
    path = inputs.artifacts["clusters"].file("agreement.json")
    if not path.is_file():
        return None
    agreement: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    recovered = []
    for group, cluster in agreement["main_cluster"].items():
        label = int(np.searchsorted(numbers, cluster))
        top = set(found.top(label, settings.top_concepts, settings.max_p))
        companions = [(vocabulary.token_of.get(concept, -1)) for concept in agreement["companions"][group]]
        recovered.append(
            (
                group,
                cluster,
                [
                    (vocabulary.name(token) if token >= 0 else "not in the vocabulary", token in top)
                    for token in companions
                ],
            )
        )
    agreement["recovered"] = recovered
    return agreement


def _pooling(inputs: Inputs, vocabulary: Vocabulary) -> str:
    counts = inputs.artifacts["patient_embeddings"].counts
    chosen = f"{counts['selected_concepts']:,} of {len(vocabulary.concepts):,} concepts"
    over = {
        "all": "all tokens",
        "types": f"tokens of chosen semantic types ({chosen})",
        "list": f"tokens of a concept list and its nearest neighbours ({chosen})",
    }[counts["pooling"]]
    vectors = inputs.artifacts["patient_embeddings"].manifest["settings"]["vectors"]
    told = f"the network's mean over {over}"
    if vectors["profile"]:
        told += (
            " beside the shares of these concepts in the record, as far as one half of the visits confirms the other"
        )
    return f"{told} (preset '{counts['preset']}')"


def _collapse(inputs: Inputs) -> str:
    """How far a patient's place tells only of age and of the length of the record, beside the published vectors."""
    quality = inputs.artifacts["patient_embeddings"].counts["quality"]
    now, published = quality["collapse"], quality["collapse_published"]
    told = "; ".join(
        f"{words} {now[name]:+.2f} (published vectors: {published[name]:+.2f})"
        for name, words in (
            ("age", "age"),
            ("concepts", "number of concepts"),
            ("inverse_frequency", "rarity of concepts"),
        )
    )
    return f"Rank correlation of the distance to the centre of all patients with {told}; 0 is best."


def _embedded(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode("ascii")
