"""Make `concept_relations`: find which concepts occur together, by counting and by the encoder, and compare the two as graphs.

The artifact holds `relations.parquet` (the best partners of each concept by each measure, and the pairs that the user listed),
`consensus.csv` (the edges on which independent evidence agrees, with that evidence), `orders.csv` (pairs that are no edges, but of
which one concept follows the other), `graphs.json` (the comparison of the graphs) and `network.graphml` (the consensus edges, for
network viewers).
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ehr_pipeline.concepts import substitutes
from ehr_pipeline.encoder import checkpoint
from ehr_pipeline.encoder import vectors_from_names as encoder_names
from ehr_pipeline.patients.shard import Shard
from ehr_pipeline.relations import (
    concept_selection,
    consensus,
    counting,
    evidence,
    graphml,
    model,
    names_and_ontology,
    occurrences,
    sentence_encoder,
    table,
    writing,
)
from ehr_pipeline.relations.concept_selection import Chosen
from ehr_pipeline.relations.evidence import Evidence
from ehr_pipeline.relations.graph_comparison import Graph
from ehr_pipeline.relations.names_and_ontology import Near
from ehr_pipeline.relations.occurrences import Source
from ehr_pipeline.relations.pair_files import UserLists
from ehr_pipeline.relations.settings import RelationsSettings
from ehr_pipeline.store.artifacts import Counts
from ehr_pipeline.tables import schemas
from ehr_pipeline.vocabulary.table import Vocabulary


@dataclass(frozen=True)
class Records:
    """The patient data set, and the settings for reading it."""

    paths: list[Path]
    habits: str
    """The patient column, such as the practice, by which habits of recording differ; '' for none."""
    seed: int

    def sources(self) -> Iterator[Source]:
        """Yield the shards, each with the sexes and practices of its patients as numbers."""
        sexes, practices = dict[str, int](), dict[str, int]()
        for path in self.paths:
            patients = schemas.read(path)
            sex = [sexes.setdefault(one or "", len(sexes)) for one in patients.column("sex").to_pylist()]
            habits = substitutes.habits_of(patients, self.habits) or [None] * len(sex)
            practice = [-1 if one is None else practices.setdefault(one, len(practices)) for one in habits]
            yield Source(Shard.read(path), np.array(sex, np.int64), np.array(practice, np.int64))


def build(
    records: Records, encoder: Path, vocabulary: Vocabulary, settings: RelationsSettings, out: Path, *, given: UserLists
) -> Counts:
    """Write the artifact. `encoder` is the checkpoint's folder, `vocabulary` the part of the vocabulary that the encoder knows."""
    same = substitutes.find(records.paths, records.habits, vocabulary.size, records.seed) if records.habits else None
    synonyms = same.pairs if same else np.zeros((0, 2), np.int64)
    compared = concept_selection.choose(vocabulary, given.listed, settings, synonyms)
    tokens = sum(map(len, compared.groups))
    kept = {
        "rows_in": len(vocabulary.concepts),
        "kept": len(compared),
        "dropped": {"not_compared": len(vocabulary.concepts) - tokens, "merged": tokens - len(compared)},
    }
    if len(compared) < table.FEWEST:
        return kept | _without_pairs(records, out)
    with tempfile.TemporaryDirectory(dir=out, prefix=".work") as work:
        read = occurrences.read(
            records.sources(),
            compared.place_of,
            settings.after_days,
            seed=records.seed,
            work=Path(work),
            total=len(records.paths),
        )
        pairs = counting.count(read, settings.after_days)
        counted = evidence.counted(read, pairs)
        patients, visits = int((read.people.visits > 0).sum()), read.visits
        del read  # unmaps its files
    every = _with_model(counted, encoder, compared)
    written = _write(every, compared, settings, records.seed, out, given=given)
    return {**kept, "patients": patients, "visits": visits, table.PRACTICES: pairs.practices, **written}


def _without_pairs(records: Records, out: Path) -> dict[str, int]:
    """Write an artifact without pairs, whose files exist but are empty."""
    writing.write_empty(out)
    graphml.write(out / table.NETWORK, table.EDGES.empty_table())
    counts = {
        "patients": 0,
        "visits": 0,
        table.PRACTICES: 0,
        "rows": 0,
        "edges": 0,
        "with_direction": 0,
        "only_in_order": 0,
    }
    for source in records.sources():
        counts["patients"] += int((np.diff(source.shard.patient_start) > 0).sum())
        counts["visits"] += len(source.shard.visit_day)
    return counts


def _with_model(counted: Evidence, encoder: Path, compared: Chosen) -> Evidence:
    loaded = checkpoint.load(encoder, compared.vocabulary, torch.device("cpu"))
    tokens = model.Tokens.of(compared.groups)
    pair = model.pairs(loaded, tokens)
    both = counted[evidence.SIMILAR].patients
    added = evidence.of_model(both, pair, model.lift(pair), model.cosine(loaded, tokens))
    return replace(counted, measures=(*counted.measures, *added))


def graphs_of(every: Evidence, settings: RelationsSettings, seed: int) -> list[Graph]:
    """Return the graph of each measure, and one of random weights, all with the same number of edges."""
    n = len(every.measures[0].value)
    most = _most(settings, n)
    graphs = [Graph(measure.name, measure.weights, most, seed) for measure in every.measures]
    random = np.random.default_rng([seed, 0x9A4D]).random((n, n))
    return [*graphs, Graph("random", np.maximum(random, random.T), most, seed)]


def _most(settings: RelationsSettings, concepts: int) -> int:
    """Return the largest number of edges of a graph that is compared. All pairs that qualify are listed, however many."""
    return settings.edges_per_concept * concepts


def _write(
    every: Evidence, compared: Chosen, settings: RelationsSettings, seed: int, out: Path, *, given: UserLists
) -> dict[str, int]:
    agreed, most = consensus.agree(every, settings, seed), _most(settings, len(compared))
    graphs = graphs_of(every, settings, seed)
    near = names_and_ontology.near(given.ontology, compared.concepts, every.patients) if given.ontology else None
    brought = [Graph(name, weights, most, seed) for name, weights in _brought(compared, settings, given, near)]
    rows = writing.write(out / table.RELATIONS, every, compared, settings, compared.places(given.pairs))
    edges = consensus.edges_with_evidence(agreed, every, compared, [*graphs, *brought])
    writing.write_consensus(out, edges)
    orders = consensus.orders_with_evidence(agreed, every, compared)
    writing.write_orders(out, orders)
    graphml.write(out / table.NETWORK, edges)
    known = compared.places(given.known)
    heaviest = [replace(agreed.graph, most=most), *graphs, *brought]
    writing.write_graphs(out, consensus.compared(heaviest, compared.types, known, near))
    ordered = {"with_direction": int((agreed.first != 0).sum()), "only_in_order": orders.num_rows}
    return {"rows": rows, "edges": edges.num_rows, **ordered}


def _brought(
    compared: Chosen, settings: RelationsSettings, given: UserLists, near: Near | None
) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Yield the name and values of each measure of pairs that needs no records: the similarity of names, the similarity in the
    ontology, and the user's scores."""
    if settings.names:
        yield names_and_ontology.NAMES, names_and_ontology.name_cosines(compared.concepts, encoder_names.vectors)
    if settings.sentence_encoder:
        read = sentence_encoder.load(Path(settings.sentence_encoder))
        yield names_and_ontology.SENTENCES, names_and_ontology.name_cosines(compared.concepts, read.vectors)
    if near is not None:
        yield names_and_ontology.ONTOLOGY, near.similarity
    for name, rows in given.scores.items():
        yield name, _weights(compared, rows)


def _weights(compared: Chosen, rows: list[tuple[str, str, float]]) -> NDArray[np.float64]:
    """Turn the user's scores into symmetric weights (n, n). Of two scores of a pair, the larger counts; NaN if there is none."""
    weights = np.full((len(compared), len(compared)), np.nan)
    for one, other, score in rows:
        for i, j in compared.places([(one, other)]).tolist():
            weights[i, j] = weights[j, i] = np.fmax(weights[i, j], score)
    return weights
