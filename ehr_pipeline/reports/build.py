"""`cluster_reports`: one self-contained HTML page that a clinician can read, and the tables behind it.

The artifact holds `report.html`, `enrichment.csv` (every tested concept of the top lists, with counts: restricted), `audit.json`,
and the pictures under `notes/`; on synthetic extracts `agreement.json` as well.
"""

import csv
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ehr_pipeline import __version__
from ehr_pipeline.clusters import baseline
from ehr_pipeline.clusters.build import read_vectors
from ehr_pipeline.disclosure.suppression import Disclosure
from ehr_pipeline.patients.settings import PUBLIC_KEY, SIDES
from ehr_pipeline.records import numeric
from ehr_pipeline.reports import (
    agreement,
    audit,
    cards,
    chosen,
    closest,
    computed,
    concept_check,
    enrichment,
    evolution,
    extracts,
    flow,
    glossary,
    likeness,
    lists,
    maps,
    page,
    pictures,
    record,
    sureness,
    tables,
    upstream,
)
from ehr_pipeline.reports.counted import Counted, totals
from ehr_pipeline.reports.inputs import Inputs, embedded, read_json
from ehr_pipeline.reports.settings import ReportsSettings
from ehr_pipeline.store.artifacts import Artifact, Counts
from ehr_pipeline.tables import schemas
from ehr_pipeline.tables.asset_names import (
    CLUSTERS,
    COHORT,
    CONCEPT_EMBEDDINGS,
    DATA_SPLIT,
    EXTRACT_CATALOG,
    PATIENT_DATASET,
    PATIENT_EMBEDDINGS,
    PATIENT_TRAJECTORIES,
    RAW_RECORDS,
    VOCABULARY,
)
from ehr_pipeline.vocabulary.table import Vocabulary

AUDITED = ("age", "concepts", "sex", "disease")


def build(inputs: Inputs, settings: ReportsSettings, out: Path) -> Counts:
    """Write the report. Returns how much was tested and shown."""
    disclosure = Disclosure(settings.suppress_below)
    vocabulary = Vocabulary.read(inputs.artifacts[VOCABULARY].path)
    clustered = schemas.read(inputs.artifacts[CLUSTERS].file("clusters.arrow"))
    numbers, labels = np.unique(clustered.column("cluster").to_numpy(), return_inverse=True)
    counts, sizes = _counts(inputs, clustered, vocabulary), np.bincount(labels)
    found = enrichment.test(counts, labels, len(numbers))
    told = disclosure.told(sizes)
    # The page compares described clusters with each other: with all patients, totals would tell how many are in the hidden ones.
    own = found if told.all() else enrichment.test(counts[told[labels]], labels[told[labels]], len(numbers))
    rows = cards.concept_tables(own, vocabulary, settings.top_concepts, settings.max_p, disclosure)
    evidence = read_json(inputs.artifacts[CLUSTERS], "evidence.json")
    attributes = _attributes(inputs, clustered, settings)
    points = maps.places(clustered)
    effects = [
        audit.effect(name, values, labels, points, attributes["disease"], inputs.seed, fewest=settings.suppress_below)
        for name, values in attributes.items()
    ]
    vectors = _vectors(inputs, clustered)
    nearest = closest.closest(vectors, labels, own, vocabulary, settings.max_p, disclosure)
    counted = _counted(inputs, sizes.tolist(), disclosure)
    drawn = out / "notes"
    named = vocabulary.shown_by(inputs.naming(disclosure.below))
    own_diseases = lists.own(inputs, vocabulary, named)
    described = _cards(clustered, labels, numbers, rows, nearest, inputs, disclosure, drawn)
    content = {
        "title": settings.title,
        "study": inputs.study,
        "terms": inputs.terms,
        "version": __version__,
        "evidence": evidence,
        "effects": effects,
        "warnings": audit.warnings(effects),
        "kinds": _kinds(clustered, settings),
        "bands": audit.BANDS,
        "mirrored": _mirrored(effects),
        "clusters": described,
        "alike": likeness.alike_of_one_disease(described),
        "sure": [card["number"] for card in described if sureness.usable(card)],
        "standing": (standing := sureness.standing(described, sizes.tolist(), disclosure)),
        "limits": sureness.limits(inputs.settings[CLUSTERS]["unstable_below"]),
        "steady": sureness.counted(card["stability"]["words"] for card in described),
        "strong": [f"{effect.name} ({effect.words} effect)" for effect in audit.strong(effects)],
        "sides": flow.sides_in_words(counted),
        "patients_lost": flow.summary_of_patients(counted),
        "lists": lists.listed(inputs, disclosure),
        "own_diseases": own_diseases,
        "glossary": glossary.WORDS,
        "checked": _checked(inputs, vocabulary, own_diseases),
        "codes_lost": flow.summary_of_codes(counted),
        "maps": {
            name: path and embedded(path)
            for name, path in maps.draw(attributes, clustered, settings, disclosure, drawn).items()
        },
        "key": upstream.key_figures(
            inputs, counted, standing.usable if evidence["verdict"] in ("clear", "weak") else None
        ),
        "evolution": _evolution(inputs, clustered, numbers, disclosure, drawn, settings.map_points),
        **upstream.describe(inputs, counted, drawn, named, own_diseases.listed if own_diseases else frozenset()),
        "agreement": agreement.describe(inputs, numbers, found, vocabulary, settings),
        "extracts": extracts.told(inputs.artifacts, clustered, disclosure),
        "overlap": extracts.shown(inputs.artifacts[CLUSTERS], disclosure),
        "comparison": (comparison := _comparison(inputs.artifacts[CLUSTERS], disclosure)),
        "steadier": sureness.steadier(comparison, inputs.settings[CLUSTERS]["method"]),
        "how_many": sureness.how_many(inputs.artifacts[CLUSTERS], len(numbers)),
        "tried": _tried(inputs.artifacts[CLUSTERS], len(numbers), drawn),
        "computed": computed.versions(),
        "machines": computed.machines(inputs.artifacts),
        "years": computed.years(inputs.artifacts[PATIENT_DATASET], disclosure),
        "chosen": chosen.chosen(inputs, settings),
        "settings": json.dumps(_public(inputs.settings), indent=1, default=str),
        "reports": settings,
        "seed": inputs.seed,
        "pooling": upstream.pooling(inputs, vocabulary),
        "collapse": upstream.collapse(inputs),
        "vectors": inputs.artifacts[PATIENT_EMBEDDINGS].manifest["settings"]["vectors"],
        "confirmed": upstream.confirmed(inputs),
    }
    content["checklist"] = record.checklist(
        {
            "extracts": f"{len(inputs.records)} extract{'s' if len(inputs.records) > 1 else ''}",
            "attributes": ", ".join(effect.name for effect in effects),
            "sides": content["sides"],
        }
    )
    (out / "report.html").write_text(page.render(content), encoding="utf-8")
    if content["agreement"]:
        (out / "agreement.json").write_text(json.dumps(content["agreement"], indent=1) + "\n", encoding="utf-8")
    tables.write_enrichment(out / "enrichment.csv", numbers, found, vocabulary, settings)
    (out / "audit.json").write_text(
        json.dumps([_told(effect) for effect in effects], indent=1) + "\n", encoding="utf-8"
    )
    shown = sum(len(table) for table in rows)
    return {
        "rows_in": len(labels),
        "kept": len(labels),
        "clusters": len(rows),
        "concepts_tested": len(vocabulary.concepts),
        "concepts_shown": shown,
    }


def _public(settings: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The settings without the key of the split: with it and the ids, sides can be computed. The public one is shown as it is."""
    split = settings[DATA_SPLIT]
    # Of what learns from a part of the patients, the settings have a hash with the key in it.
    settings = {name: {key: value for key, value in own.items() if key != SIDES} for name, own in settings.items()}
    return settings | {DATA_SPLIT: split | {"key": PUBLIC_KEY if split["key"] == PUBLIC_KEY else "(not shown)"}}


def _told(effect: audit.Effect) -> dict[str, Any]:
    """An effect as the page tells it: all its digits would tell the counts that it was reckoned from."""
    told = {name: round(value, 3) if isinstance(value, float) else value for name, value in asdict(effect).items()}
    return told | {"words": effect.words}


def _counts(inputs: Inputs, clustered: pa.Table, vocabulary: Vocabulary) -> Any:
    """Visits with each concept (n, V) of the clustered patients, in their order."""
    cohort = schemas.read(inputs.artifacts[COHORT].file("cohort.arrow"))
    counts = baseline.concept_counts(inputs.artifacts[PATIENT_DATASET].files("patients"), cohort, vocabulary.size)
    ordered = cohort.sort_by([("shard", "ascending"), ("row", "ascending")]).column("patient_id").to_pylist()
    row_of = {patient_id: row for row, patient_id in enumerate(ordered)}
    return counts[np.array([row_of[patient_id] for patient_id in clustered.column("patient_id").to_pylist()])]


def _kinds(clustered: pa.Table, settings: ReportsSettings) -> dict[str, numeric.Kind]:
    """What the audited attributes that the data have are: as the settings say, else as their values look."""
    there = [name for name in settings.audited if name in clustered.column_names]
    given = settings.attribute_types
    return {name: given.get(name) or numeric.guess(name, _texts(clustered, name)) for name in there}


def _texts(table: pa.Table, name: str) -> list[str]:
    return ["" if value is None else str(value) for value in table.column(name).to_pylist()]


def _column(table: pa.Table, name: str, as_numbers: bool = False) -> NDArray[Any]:
    if as_numbers:
        return numeric.numbers(_texts(table, name))
    values: NDArray[Any] = np.array(table.column(name).to_pylist())
    return values if np.issubdtype(values.dtype, np.number) else np.where(values == "", maps.NOT_KNOWN, values)


def _attributes(inputs: Inputs, clustered: pa.Table, settings: ReportsSettings) -> dict[str, NDArray[Any]]:
    """What the clusters are held against: each attribute (n,) of the clustered patients."""
    attributes = {name: _column(clustered, name) for name in AUDITED}
    kinds = _kinds(clustered, settings)
    attributes |= {name: _column(clustered, name, kind == "number") for name, kind in kinds.items()}
    cohort = schemas.read(inputs.artifacts[COHORT].file("cohort.arrow"))
    place = pc.index_in(clustered.column("patient_id"), value_set=cohort.column("patient_id").combine_chunks())
    first = cohort.column("first_date").take(place)
    return attributes | {"year": pc.year(first).to_numpy()}


def _vectors(inputs: Inputs, clustered: pa.Table) -> NDArray[np.float32]:
    """The vectors (n, d) of the clustered patients, in their order."""
    ids, vectors = read_vectors(inputs.artifacts[PATIENT_EMBEDDINGS], "embeddings")
    place = pc.index_in(clustered.column("patient_id").combine_chunks(), value_set=pa.array(ids, pa.string()))
    ordered: NDArray[np.float32] = vectors[place.to_numpy()]
    return ordered


def _counted(inputs: Inputs, sizes: list[int], disclosure: Disclosure) -> Counted:
    counts = {name: artifact.counts for name, artifact in inputs.artifacts.items()}
    return Counted.of(
        counts | {RAW_RECORDS: totals(inputs.records, inputs.artifacts[EXTRACT_CATALOG].counts)},
        sizes,
        disclosure,
    )


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
    sizes = np.bincount(labels)
    told = int(sizes[disclosure.told(sizes)].sum())
    evidence, trust = (read_json(inputs.artifacts[CLUSTERS], f"{name}.json") for name in ("evidence", "trust"))
    shown = []
    for label, (number, table) in enumerate(zip(numbers.tolist(), rows, strict=True)):
        card = cards.describe(clustered, labels == label, told, table, disclosure)
        card |= {
            "number": number,
            "stability": trust["clusters"][str(number)],
            "sureness": sureness.stability(trust["clusters"][str(number)]),
            "title": cards.title(table, card.get("dominant", "")),
            "marks": cards.marks(table),
            "over": [row for row in table if row.over and not card["hidden"]],
            "under": [row for row in table if not row.over and not card["hidden"]],
            "nearest": nearest[label],
            "nearest_number": numbers[other.other] if (other := nearest[label]) else 0,
            "cloud": "",
        }
        own, chance = (
            None if card["hidden"] else evidence[name].get(str(number))
            for name in ("per_cluster", "expected_per_cluster")
        )
        card |= asdict(sureness.recognition(own, chance, int(sizes[label]), disclosure))
        if table and not card["hidden"]:
            path = drawn / f"cloud_{number:02d}.png"
            pictures.word_cloud(path, [(row.name, row.importance, row.over) for row in table], inputs.seed)
            card["cloud"] = embedded(path)
        shown.append(card)
    known = [card for card in shown if sureness.usable(card)]
    return [card | {"carried": None if card in known else likeness.carried(card, known)} for card in shown]


def _evolution(
    inputs: Inputs,
    clustered: pa.Table,
    numbers: NDArray[np.int64],
    disclosure: Disclosure,
    drawn: Path,
    most_marks: int,
) -> dict[str, Any] | None:
    """The trajectories, with their picture."""
    trajectories = inputs.artifacts[PATIENT_TRAJECTORIES]
    told = evolution.describe(trajectories, clustered, numbers, disclosure, drawn, most_marks)
    return told and told | {"picture": told["picture"] and embedded(told["picture"])}


def _checked(inputs: Inputs, vocabulary: Vocabulary, own: lists.Own | None) -> str:
    """What the concept check comes to."""
    concepts = inputs.artifacts[CONCEPT_EMBEDDINGS]
    mine = concept_check.found(concepts, vocabulary, own.listed) if own else None
    return concept_check.sentence(concept_check.found(concepts, vocabulary), mine)


def _tried(clusters: Artifact, asked: int, drawn: Path) -> dict[str, Any] | None:
    """The numbers of clusters that were tried: the picture, and the rows behind it. None where fewer than three were."""
    agreement = sureness.agreements(clusters)
    if len(agreement) < 3:
        return None
    pictures.agreement_by_number(drawn / "agreement_by_number.png", agreement, asked)
    return {"picture": embedded(drawn / "agreement_by_number.png"), "rows": sorted(agreement.items()), "asked": asked}


def _comparison(clusters: Artifact, disclosure: Disclosure) -> list[dict[str, str]]:
    """The methods beside each other. Counts are rounded: with sizes of the cards they would tell that of a small cluster."""
    with clusters.file("comparison.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    counted = ("smallest", "largest", "unassigned")
    return [row | {name: disclosure.about(int(row[name])) for name in counted} for row in rows]
