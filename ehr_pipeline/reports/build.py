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
from numpy.typing import NDArray

from ehr_pipeline import __version__, schemas
from ehr_pipeline.artifacts import Artifact, Counts
from ehr_pipeline.clusters import baseline
from ehr_pipeline.reports import audit, cards, enrichment, flow, page, pictures
from ehr_pipeline.reports.disclosure import Disclosure
from ehr_pipeline.reports.settings import ReportsSettings
from ehr_pipeline.terminology.semantic_types import TYPE_NAMES
from ehr_pipeline.vocabulary.table import FIRST_CONCEPT, Vocabulary

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
    labels = clustered.column("cluster").to_numpy().astype(np.int64) - 1
    found = enrichment.test(_counts(inputs, clustered, vocabulary), labels)
    rows = [
        cards.concept_rows(found, number, vocabulary, settings.top_concepts, settings.max_p, disclosure)
        for number in range(int(labels.max()) + 1)
    ]
    evidence = _json(inputs.artifacts["clusters"], "evidence.json")
    effects = _audit(clustered, labels, settings, disclosure)
    drawn = out / "notes"
    content = {
        "title": settings.title,
        "study": inputs.study,
        "terms": inputs.terms,
        "version": __version__,
        "evidence": evidence,
        "effects": effects,
        "mirrored": _mirrored(effects),
        "clusters": _cards(clustered, labels, rows, evidence, disclosure, drawn, inputs.seed),
        "maps": _maps(clustered, labels, settings, disclosure, drawn, inputs.seed),
        "key": _key_figures(inputs, clustered, disclosure),
        **_upstream(inputs, disclosure, drawn),
        "agreement": _agreement(inputs, found, vocabulary, settings),
        "settings": json.dumps(inputs.settings, indent=1, default=str),
        "reports": settings,
        "pooling": _pooling(inputs, vocabulary),
    }
    (out / "report.html").write_text(page.render(content), encoding="utf-8")
    if content["agreement"]:
        (out / "agreement.json").write_text(json.dumps(content["agreement"], indent=1) + "\n", encoding="utf-8")
    _write_enrichment(out / "enrichment.csv", found, vocabulary, settings)
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


def _audit(
    clustered: pa.Table, labels: NDArray[np.int64], settings: ReportsSettings, disclosure: Disclosure
) -> list[audit.Effect]:
    names = [*AUDITED, *(name for name in settings.colour_by if name in clustered.column_names)]
    return [audit.effect(name, _column(clustered, name), labels) for name in names]


def _mirrored(effects: list[audit.Effect]) -> str:
    """What the clusters mirror strongly, disease apart, in words; empty when nothing."""
    strong = [effect.attribute for effect in effects if effect.words == "large" and effect.attribute != "disease"]
    return " and ".join("the number of concepts" if name == "concepts" else name for name in strong)


def _cards(
    clustered: pa.Table,
    labels: NDArray[np.int64],
    rows: list[list[cards.ConceptRow]],
    evidence: dict[str, Any],
    disclosure: Disclosure,
    drawn: Path,
    seed: int,
) -> list[dict[str, Any]]:
    shown = []
    for number, table in enumerate(rows):
        card = cards.describe(clustered, labels == number, disclosure)
        card |= {
            "number": number + 1,
            "title": cards.title(table),
            "rows": table if not card["hidden"] else [],
            "cloud": "",
        }
        recognised = evidence["per_cluster"].get(str(number))
        card["recognised"] = "–" if recognised is None or card["hidden"] else f"{100 * recognised:.0f} %"
        if table and not card["hidden"]:
            path = drawn / f"cloud_{number + 1:02d}.png"
            pictures.word_cloud(path, [(row.name, row.importance, row.over) for row in table], seed)
            card["cloud"] = _embedded(path)
        shown.append(card)
    return shown


def _maps(
    clustered: pa.Table,
    labels: NDArray[np.int64],
    settings: ReportsSettings,
    disclosure: Disclosure,
    drawn: Path,
    seed: int,
) -> list[dict[str, str]]:
    """The map by cluster, and by each audited attribute; rare categories are merged."""
    keep = np.arange(len(labels))
    if len(keep) > settings.map_points:
        keep = np.sort(np.random.default_rng([seed, 0x3AB]).choice(keep, settings.map_points, replace=False))
    points = np.stack([clustered.column(name).to_numpy() for name in "xy"], axis=1)[keep]
    maps = []
    names = ["cluster", *AUDITED, *(name for name in settings.colour_by if name in clustered.column_names)]
    for name in names:
        values = labels[keep] + 1 if name == "cluster" else _column(clustered, name)[keep]
        if not np.issubdtype(values.dtype, np.number):
            values = disclosure.merge_rare(values)
        path = drawn / f"map_{name}.png"
        title = {"concepts": "Number of concepts", "age": "Age at the last visit (years)", "cluster": "Clusters"}.get(
            name, name.capitalize()
        )
        pictures.coloured_map(path, points, values, title, number_clusters=name == "cluster", numbered=labels[keep] + 1)
        maps.append({"name": name, "picture": _embedded(path)})
    return maps


def _key_figures(inputs: Inputs, clustered: pa.Table, disclosure: Disclosure) -> list[tuple[str, str]]:
    metrics = _json(inputs.artifacts["encoder_checkpoint"], "metrics.json")
    best, base = metrics["best"], metrics["baseline"]
    return [
        ("patients in clusters", disclosure.show(clustered.num_rows)),
        ("clusters", str(inputs.artifacts["clusters"].counts["clusters"])),
        ("events mapped", f"{100 * inputs.artifacts['mapped_events'].counts['coverage_of_events']:.1f} %"),
        ("concepts in the vocabulary", f"{inputs.artifacts['vocabulary'].counts['kept']:,}"),
        (
            f"of masked concepts among ten guesses (by frequency alone {100 * base['top10']:.0f} %)",
            f"{100 * best['validation_top10']:.0f} %",
        ),
    ]


def _upstream(inputs: Inputs, disclosure: Disclosure, drawn: Path) -> dict[str, Any]:
    """What the page tells of the stages before the clusters."""
    artifacts = inputs.artifacts
    counts_of = {name: artifact.counts for name, artifact in artifacts.items()} | {
        "raw_records": flow.totals(inputs.records)
    }
    metrics = _json(artifacts["encoder_checkpoint"], "metrics.json")
    coverage = _json(artifacts["mapped_events"], "coverage.json")
    pictures.learning_curve(drawn / "learning_curve.png", metrics["epochs"], metrics["baseline"])
    pictures.coverage_bars(drawn / "coverage.png", coverage["by_namespace"])
    concepts_3d = artifacts["concept_embeddings"].file("notes/concepts_3d.png")
    return {
        "flow": list(flow.rows(counts_of, disclosure)),
        "published": flow.published(counts_of, metrics, disclosure),
        "metrics": metrics,
        "coverage": coverage,
        "ladder": list(flow.ladder(coverage, disclosure)),
        "learning_curve": _embedded(drawn / "learning_curve.png"),
        "coverage_picture": _embedded(drawn / "coverage.png"),
        "concepts_picture": _embedded(concepts_3d) if concepts_3d.is_file() else "",
        "neighbours": _neighbours(artifacts["concept_embeddings"]),
        "cohort": [
            (name, disclosure.show(number)) for name, number in artifacts["cohort"].counts["by_disease"].items()
        ],
        "not_embedded": disclosure.show(sum(artifacts["patient_embeddings"].counts["dropped"].values())),
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


def _agreement(
    inputs: Inputs, found: enrichment.Enrichment, vocabulary: Vocabulary, settings: ReportsSettings
) -> dict[str, Any] | None:
    """On synthetic extracts: agreement with the planted groups, and which companions mark their group's main cluster."""
    path = inputs.artifacts["clusters"].file("agreement.json")
    if not path.is_file():
        return None
    agreement: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    recovered = []
    for group, cluster in agreement["main_cluster"].items():
        top = set(found.top(cluster, settings.top_concepts, settings.max_p))
        companions = [(vocabulary.token_of.get(concept, -1)) for concept in agreement["companions"][group]]
        recovered.append(
            (
                group,
                cluster + 1,
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
    return {
        "all": "all tokens",
        "types": f"tokens of chosen semantic types ({chosen})",
        "list": f"tokens of a concept list and its nearest neighbours ({chosen})",
    }[counts["pooling"]]


def _write_enrichment(
    path: Path, found: enrichment.Enrichment, vocabulary: Vocabulary, settings: ReportsSettings
) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(
            (
                "cluster",
                "rank",
                "concept",
                "name",
                "semantic_types",
                "over_represented",
                "occurrences",
                "patients",
                "cluster_patients",
                "ratio",
                "ln_p",
                "ln_p_patients",
            )
        )
        for cluster in range(len(found.cluster_patients)):
            for rank, token in enumerate(found.top(cluster, settings.top_concepts, settings.max_p), start=1):
                concept = vocabulary.concepts[token - FIRST_CONCEPT]
                types = "; ".join(TYPE_NAMES.get(tui, tui) for tui in concept.semantic_types)
                figures = (
                    found.occurrences[cluster, token],
                    found.patients[cluster, token],
                    found.cluster_patients[cluster],
                )
                tests = (
                    f"{found.ratio[cluster, token]:.4g}",
                    f"{found.log_p[cluster, token]:.6g}",
                    f"{found.log_p_patients[cluster, token]:.6g}",
                )
                writer.writerow(
                    (
                        cluster + 1,
                        rank,
                        concept.concept,
                        concept.name,
                        types,
                        bool(found.over[cluster, token]),
                        *figures,
                        *tests,
                    )
                )


def _embedded(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode("ascii")
