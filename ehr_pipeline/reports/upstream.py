"""What the page tells of the stages before the clusters."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from ehr_pipeline.disclosure import spreadsheet
from ehr_pipeline.disclosure.figures import Naming
from ehr_pipeline.drawing import data_stages, plots
from ehr_pipeline.reports import diagram, flow
from ehr_pipeline.reports.chosen import changed
from ehr_pipeline.reports.counted import Counted
from ehr_pipeline.reports.inputs import Inputs, embedded, read_json
from ehr_pipeline.reports.substituted import SHOWN, substituted
from ehr_pipeline.store.artifacts import Artifact
from ehr_pipeline.tables.asset_names import (
    CLUSTERS,
    COHORT,
    CONCEPT_EMBEDDINGS,
    ENCODER_CHECKPOINT,
    MAPPED_EVENTS,
    PATIENT_EMBEDDINGS,
    VOCABULARY,
)
from ehr_pipeline.vocabulary.table import Vocabulary

EQUAL = 1e-3
"""Distances that vary by a smaller share of their mean are equal."""
COURSE = 3
"""Epochs, from which on a curve shows how the training went."""


def key_figures(inputs: Inputs, counted: Counted, usable: int | None) -> list[tuple[str, str]]:
    """The numbers at the head of the page; `usable` clusters can be relied on (None where it says nothing of single ones)."""
    metrics = read_json(inputs.artifacts[ENCODER_CHECKPOINT], "metrics.json")
    best, base = metrics["best"], metrics["baseline"]
    return [
        ("patients in clusters", counted.person(counted.counts[CLUSTERS]["kept"])),
        (
            "clusters" if usable is None else f"clusters, of which {usable} can be relied on alone",
            str(inputs.artifacts[CLUSTERS].counts["clusters"]),
        ),
        (
            "of events have a UMLS concept",
            f"{100 * inputs.artifacts[MAPPED_EVENTS].counts['coverage_of_events']:.1f} %",
        ),
        ("concepts in the vocabulary", f"{inputs.artifacts[VOCABULARY].counts['kept']:,}"),
        (
            f"of hidden concepts are among the network's ten guesses ({100 * base['top10']:.0f} % by frequency alone)",
            f"{100 * best['validation_top10']:.0f} %",
        ),
    ]


def describe(
    inputs: Inputs, counted: Counted, drawn: Path, named: Collection[str], first: Collection[str] = frozenset()
) -> dict[str, Any]:
    """Flow, coverage, training, concept check, versions; pictures are drawn into the folder `drawn`.

    Only concepts `named` are; those of them that come `first` head the table of neighbours.
    """
    artifacts, disclosure = inputs.artifacts, counted.disclosure
    metrics = read_json(artifacts[ENCODER_CHECKPOINT], "metrics.json")
    coverage = read_json(artifacts[MAPPED_EVENTS], "coverage.json")
    curve = len(metrics["epochs"]) >= COURSE
    if curve:
        plots.learning_curves(drawn / "learning_curve.png", metrics)
    data_stages.coverage(drawn / "coverage.png", coverage["by_namespace"], disclosure.below)
    concepts, concepts_3d = artifacts[CONCEPT_EMBEDDINGS], drawn / "concepts_3d.png"
    naming = inputs.naming(disclosure.below)
    return {
        "flow": list(flow.rows(counted)),
        "diagrams": [
            diagram.draw("Flow of patients", flow.patients(counted)),
            diagram.draw("Flow of events", flow.events(counted)),
        ],
        "events_lost": flow.summary(counted),
        "reconciled": flow.reconciled(counted),
        "rounded": counted.rounded,
        "published": flow.published(counted, metrics),
        "metrics": metrics,
        "coverage": coverage,
        "ladder": list(flow.ladder(coverage, counted)),
        "learning_curve": embedded(drawn / "learning_curve.png") if curve else "",
        "coverage_picture": embedded(drawn / "coverage.png"),
        "concepts_picture": embedded(concepts_3d) if data_stages.draw_concepts(concepts, naming, concepts_3d) else "",
        "neighbours": _neighbours(concepts, first, named),
        "substituted": substituted(inputs, named),
        "substituted_shown": SHOWN,
        "ontology": _ontology(concepts, naming),
        "cohort": flow.by_disease(counted),
        "not_embedded": counted.person.difference(
            artifacts[COHORT].counts["kept"], artifacts[PATIENT_EMBEDDINGS].counts["kept"]
        ),
        "versions": [(name, artifact.data_version) for name, artifact in artifacts.items()],
    }


def pooling(inputs: Inputs, vocabulary: Vocabulary) -> str:
    """What the patient vectors were made of, in words."""
    counts = inputs.artifacts[PATIENT_EMBEDDINGS].counts
    chosen = f"{counts['selected_concepts']:,} of {len(vocabulary.concepts):,} concepts"
    over = {
        "all": "all recorded concepts",
        "types": f"the recorded concepts of chosen semantic types ({chosen})",
        "list": f"those recorded concepts that stand on a list or are nearest to one that does ({chosen})",
    }[counts["pooling"]]
    if counts.get("substitutes"):
        over += ", those that count as one with any of them included"
    vectors = inputs.artifacts[PATIENT_EMBEDDINGS].manifest["settings"]["vectors"]
    told = f"the mean of what the network makes of {over}"
    if vectors["profile"]:
        ages = ", and the age at which they were recorded" if vectors["ages"] else ""
        told += f", joined with the share that each of them has in the record{ages}."
        told += f" What the network makes of them decides {100 * vectors['encoder_share']:.0f} % of how far two patients lie apart."
        if confirmed(inputs):
            told += " Of the rest, only that counts which one random half of a patient's visits confirms of the other."
        told += " This set of choices is"
    else:
        told += ": the set of choices"
    otherwise = ", some of them changed" if changed(inputs) else ""
    return f"{told} called '{counts['preset']}' in the settings{otherwise}"


def confirmed(inputs: Inputs) -> bool:
    """Whether the concept profile holds only what halves of the visits confirm: too few patients leave it as it is."""
    return bool(inputs.artifacts[PATIENT_EMBEDDINGS].counts.get("reliable", {}).get("directions"))


def collapse(inputs: Inputs) -> str:
    """How far a patient's place tells only of age and of the length of the record, beside the published vectors."""
    quality = inputs.artifacts[PATIENT_EMBEDDINGS].counts["quality"]
    now, published = quality["collapse"], quality["collapse_published"]
    if now["spread"] < EQUAL:
        return (
            "No: they are centred so that all patients lie at the same distance from the middle. (That of the published vectors"
            f" varies by {published['spread']:.1%}, with rank correlations of"
            f" {published['age']:+.2f} with age and {published['concepts']:+.2f} with the number of concepts.)"
        )
    told = "; ".join(
        f"{words} {now[name]:+.2f} (published vectors: {published[name]:+.2f})"
        for name, words in (
            ("age", "age"),
            ("concepts", "number of concepts"),
            ("inverse_frequency", "rarity of concepts"),
        )
    )
    return (
        f"Rank correlation of the distance to the centre of all patients with {told}; 0 is best. That distance varies by"
        f" {now['spread']:.1%} of its mean (published vectors: {published['spread']:.1%})."
    )


def _ontology(concepts: Artifact, naming: Naming) -> dict[str, Any] | None:
    """How far neighbours belong to the same group, without the groups none of whose concepts enough patients have."""
    if "ontology" not in concepts.counts:
        return None
    found: dict[str, Any] = read_json(concepts, "ontology.json")
    return found | {
        "by_group": [row for row in found.get("by_group", ()) if naming.shows(row["group"], row["patients"])]
    }


def _neighbours(concepts: Artifact, first: Collection[str], named: Collection[str]) -> list[dict[str, Any]]:
    """For each concept of interest, the names of its nearest neighbours in both scopes; the concepts `first` stand first.

    Only concepts `named` are, of which enough patients have each: thirty days can be one patient's.
    """
    found: dict[str, dict[str, Any]] = {}
    with concepts.file("neighbours.csv").open(encoding="utf-8", newline="") as stream:
        for row in spreadsheet.rows(stream):
            if row["concept"] not in named or row["neighbour"] not in named:
                continue
            entry = found.setdefault(
                row["concept"], {"name": row["name"], "concepts of interest": [], "whole vocabulary": []}
            )
            entry[row["scope"]].append(row["neighbour_name"])
    return [found[concept] for concept in sorted(found, key=lambda concept: concept not in first)]
