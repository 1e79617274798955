"""Results that several sections of the page use. Each is computed once, when a section first uses it."""

from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from ehr_pipeline.clusters import baseline, clustering, evidence, matching
from ehr_pipeline.clusters.groups import Groups
from ehr_pipeline.clusters.marker_concepts import Marks
from ehr_pipeline.clusters.occlusion import Occlusion
from ehr_pipeline.clusters.table import Clusters
from ehr_pipeline.cohort.members import Cohort
from ehr_pipeline.disclosure.suppression import Disclosure
from ehr_pipeline.embeddings.vectors import Vectors
from ehr_pipeline.records import numeric
from ehr_pipeline.reports import (
    cards,
    charts,
    cluster_reliability,
    cohort_lists,
    enrichment,
    maps,
    marks_of_others,
    pictures,
    ranking,
    record_spans,
)
from ehr_pipeline.reports.bias_audit import Effect, effect
from ehr_pipeline.reports.cards import ConceptRow
from ehr_pipeline.reports.enrichment import Enrichment
from ehr_pipeline.reports.inputs import Inputs, embedded
from ehr_pipeline.reports.nearest_cluster import Closest, closest
from ehr_pipeline.reports.settings import ReportsSettings
from ehr_pipeline.reports.shown_counts import StageCounts, totals
from ehr_pipeline.reports.statements import occlusion as occlusion_words
from ehr_pipeline.reports.substituted_concepts import Substituted, substituted
from ehr_pipeline.reports.uneven_clusters import uneven
from ehr_pipeline.tables import asset_names as assets
from ehr_pipeline.vocabulary.table import Vocabulary

AUDITED = ("age", "concepts", "sex", "disease")


@dataclass(frozen=True, eq=False)
class Findings:
    """Results about the clusters, from the artifacts; arrays (n,) are of the clustered patients, in their order."""

    inputs: Inputs
    settings: ReportsSettings
    pictures: Path
    """The folder that pictures are drawn into."""

    @cached_property
    def disclosure(self) -> Disclosure:
        """The rules by which counts are shown."""
        return Disclosure(self.settings.suppress_below)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The vocabulary of concepts."""
        return Vocabulary.read(self.inputs.artifacts[assets.VOCABULARY].path)

    @cached_property
    def named(self) -> frozenset[str]:
        """The concepts that may be named."""
        return self.vocabulary.nameable(self.inputs.naming(self.disclosure.below))

    @cached_property
    def disease_concepts(self) -> cohort_lists.DiseaseConcepts | None:
        """The concepts on the lists of the cohort's diseases that are part of patients' vectors."""
        return cohort_lists.disease_concepts(self.inputs, self.vocabulary, self.named)

    @cached_property
    def substituted(self) -> Substituted:
        """The sets of concepts that count as one."""
        return substituted(self.inputs, self.named)

    @cached_property
    def clusters(self) -> Clusters:
        """The clustered patients."""
        return Clusters.read(self.inputs.artifacts[assets.CLUSTERS].path)

    @cached_property
    def cohort(self) -> Cohort:
        """The clustered patients as members of the cohort."""
        return Cohort.read(self.inputs.artifacts[assets.COHORT].path).of(self.clusters.ids)

    @cached_property
    def numbers(self) -> NDArray[np.int64]:
        """The cluster numbers (K,), ascending."""
        return np.unique(self.clusters.numbers)

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """The index in `numbers` of each patient's cluster (n,)."""
        return np.searchsorted(self.numbers, self.clusters.numbers)

    @cached_property
    def sizes(self) -> NDArray[np.int64]:
        """Patients (K,) of each cluster."""
        return np.bincount(self.labels)

    @cached_property
    def counted(self) -> StageCounts:
        """The counts of all stages, and how they are shown."""
        counts = {name: artifact.counts for name, artifact in self.inputs.artifacts.items()}
        raw = totals(self.inputs.records, self.inputs.artifacts[assets.EXTRACT_CATALOG].counts)
        return StageCounts.of(counts | {assets.RAW_RECORDS: raw}, self.sizes.tolist(), self.disclosure)

    @cached_property
    def evidence(self) -> dict[str, Any]:
        """The split-half test, with the number of patients `tested` as it may be shown, and the number of `permutations`."""
        clusters = self.inputs.artifacts[assets.CLUSTERS]
        found, used = evidence.read(clusters.path), clusters.manifest["settings"]["permutations"]
        tested = self.disclosure.about(found["patients"], len(self.labels))
        return found | {"tested": tested, "permutations": int(used)}

    @cached_property
    def occlusion(self) -> Occlusion | None:
        """The concepts that the vectors of each cluster rest on; None if the vectors contain no concept profile."""
        return Occlusion.read(self.inputs.artifacts[assets.CLUSTERS].path)

    # About concepts and each cluster.

    @cached_property
    def _visits(self) -> Any:
        """The number of visits by patient and concept (n, V)."""
        dataset = self.inputs.artifacts[assets.PATIENT_DATASET].files("patients")
        return baseline.visits(dataset, self.cohort, self.vocabulary.size)

    @cached_property
    def enrichment(self) -> Enrichment:
        """Which concepts mark which cluster."""
        return enrichment.test(self._visits, self.labels, len(self.numbers))

    @cached_property
    def enrichment_shown(self) -> Enrichment:
        """`enrichment` without patients of hidden clusters: totals that included them would reveal their counts."""
        shown = self.disclosure.large_enough(self.sizes)[self.labels]
        if shown.all():
            return self.enrichment
        return enrichment.test(self._visits[shown], self.labels[shown], len(self.numbers))

    @cached_property
    def resting_on_one(self) -> dict[int, str]:
        """For each described cluster that rests on one concept, by its number: the name of this concept."""
        shown = {card["number"] for card in self.cards if not card["hidden"]}
        verdict = self.evidence["verdict"]
        found = occlusion_words.single_concepts(self.occlusion, self.vocabulary, self.disclosure, verdict=verdict)
        return {number: name for number, name in found.items() if number in shown}

    @cached_property
    def marks(self) -> Marks:
        """Which concepts mark which cluster, by the mark test."""
        return Marks.read(self.inputs.artifacts[assets.CLUSTERS].path)

    @property
    def tests(self) -> tuple[int, int]:
        """How many pairs of a concept and a cluster are tested: by the mark test, and for the published ranking."""
        occurring = int((self.enrichment.patients.sum(axis=0) > 0).sum())
        return int(self.marks.log_p.size), len(self.numbers) * occurring

    @cached_property
    def groups(self) -> list[list[int]]:
        """For each group, the numbers of its clusters. The clusters of a group contain the same kind of patient, and count once."""
        numbers = set(self.numbers.tolist())
        found = Groups.read(self.inputs.artifacts[assets.CLUSTERS].path).parts
        return [some for group in found if (some := [number for number in group if number in numbers])]

    @cached_property
    def pairs_compared(self) -> int:
        """How many pairs of clusters were compared to find the groups."""
        return len(Groups.read(self.inputs.artifacts[assets.CLUSTERS].path).apart)

    @cached_property
    def _trust(self) -> dict[str, Any]:
        return clustering.read_trust(self.inputs.artifacts[assets.CLUSTERS].path)

    @property
    def halves(self) -> int:
        """How many random halves of the patients were clustered again to measure stability."""
        return int(self._trust["resamples"])

    @property
    def beyond(self) -> str:
        """The attributes in which the patients compared by the mark test are similar."""
        practice = matching.has_practices(self.clusters.table)
        return (
            "disease, age, sex, amount of record and practice" if practice else "disease, age, sex and amount of record"
        )

    @property
    def is_tested(self) -> bool:
        """Whether the cards show the concepts that pass the mark test, and not the published ranking."""
        if self.settings.ranking == "auto":
            return bool(self.inputs.settings[assets.PATIENT_EMBEDDINGS]["preset"] != "published")
        return self.settings.ranking == "tested"

    @cached_property
    def ranking(self) -> ranking.Ranking:
        """The concepts on the cards, in order."""
        rules = self.settings
        if self.is_tested:
            return ranking.tested(self.marks, self.numbers, self.vocabulary.size, rules.top_concepts)
        return ranking.published(self.enrichment_shown, rules.top_concepts, rules.max_p)

    @cached_property
    def concept_tables(self) -> list[list[ConceptRow]]:
        """The concepts on each cluster's card, as text."""
        return cards.concept_tables(self.enrichment_shown, self.ranking, self.vocabulary, self.disclosure)

    @cached_property
    def cards(self) -> list[dict[str, Any]]:
        """What the page shows of each cluster."""
        nearest = closest(
            Vectors.read(self.inputs.artifacts[assets.PATIENT_EMBEDDINGS]).of(self.clusters.ids),
            self.labels,
            self.enrichment_shown,
            marks=self.marks,
            numbers=self.numbers,
            vocabulary=self.vocabulary,
            disclosure=self.disclosure,
        )
        trust = self._trust["clusters"]
        described = [
            self._card(label, trust[str(number)], nearest[label]) for label, number in enumerate(self.numbers.tolist())
        ]
        known = [card for card in described if cluster_reliability.usable(card)]
        return [
            card | {"carried": None if card in known else marks_of_others.carried(card, known)} for card in described
        ]

    def _card(self, label: int, stability: dict[str, Any], nearest: Closest | None) -> dict[str, Any]:
        number, table, size = int(self.numbers[label]), self.concept_tables[label], int(self.sizes[label])
        shown = int(self.sizes[self.disclosure.large_enough(self.sizes)].sum())
        card = cards.describe(self.clusters.table, self.labels == label, shown, table, self.disclosure)
        halves = (
            cluster_reliability.Halves(None, None, 0, None)
            if card["hidden"]
            else cluster_reliability.Halves.of(self.evidence, number)
        )
        cloud = ""
        if table and not card["hidden"] and not self.is_tested:
            path = self.pictures / f"cloud_{number:02d}.png"
            pictures.word_cloud(path, [(row.name, row.importance, row.over) for row in table], self.inputs.seed)
            cloud = embedded(path)
        return card | {
            "number": number,
            "stability": stability,
            "sureness": cluster_reliability.stability(stability),
            "title": cards.title(table, card.get("dominant", "")),
            "marks": cards.marks(table),
            "over": [row for row in table if row.over and not card["hidden"]],
            "under": [row for row in table if not row.over and not card["hidden"]],
            "nearest": nearest,
            "nearest_number": self.numbers[nearest.other] if nearest else 0,
            "cloud": cloud,
            **({} if card["hidden"] else self._spans_of(label)),
            **asdict(cluster_reliability.recognition(halves, size, self.disclosure)),
        }

    def _spans_of(self, label: int) -> dict[str, Any]:
        """Return how old a cluster's patients were, how long they were followed, and the pyramid of their ages."""
        members, rule = self.labels == label, self.disclosure
        table = self.clusters.table
        sexes = np.array(table.column("sex").to_pylist())[members].tolist()
        return {
            "pyramid": charts.pyramid(table.column("age").to_numpy()[members], sexes, rule),
            "onset": cards.quartiles(self.spans.onset[members], rule),
            "followed": cards.quartiles(self.spans.followed[members], rule),
        }

    @property
    def of_everybody(self) -> bool:
        """Whether a disease of the cohort has no list, so that every patient of the data set is a case."""
        return not all(disease["concepts"] for disease in self.inputs.settings[assets.COHORT]["cohort"])

    @property
    def known_at_start(self) -> str:
        """The share of patients whose disease is first recorded on the first day of their record; empty below a tenth, or for a
        cohort of everybody."""
        found = self.spans.at_start
        told = 10 * found.sum() >= len(found) and not self.of_everybody
        return self.disclosure.coarse(int(found.sum()), len(found)) if told else ""

    @cached_property
    def spans(self) -> record_spans.Spans:
        """When the records of the cohort's patients begin and end."""
        return record_spans.spans(self.inputs.artifacts[assets.PATIENT_DATASET].files("patients"), self.cohort)

    @cached_property
    def standing(self) -> cluster_reliability.Standing:
        """How many groups of clusters can be relied on."""
        return cluster_reliability.standing(self.cards, self.sizes.tolist(), self.disclosure, self.groups)

    # About attributes of the patients.

    @cached_property
    def kinds(self) -> dict[str, numeric.Kind]:
        """The kind of each audited attribute in the data: from the settings, otherwise guessed from its values."""
        audited = [name for name in self.settings.audited if name in self.clusters.table.column_names]
        given = self.settings.attribute_types
        return {name: given.get(name) or numeric.guess(name, self._texts(name)) for name in audited}

    @cached_property
    def attributes(self) -> dict[str, NDArray[Any]]:
        """The attributes (n,) with which the clusters are compared, by name."""
        attributes = {name: self._column(name) for name in AUDITED}
        for name, kind in self.kinds.items():
            attributes[name] = numeric.numbers(self._texts(name)) if kind == "number" else self._column(name)
        if self.inputs.shifted_dates:
            return attributes
        return attributes | {"year": pc.year(self.cohort.table.column("first_date")).to_numpy()}

    def _texts(self, name: str) -> list[str]:
        return ["" if value is None else str(value) for value in self.clusters.table.column(name).to_pylist()]

    def _column(self, name: str) -> NDArray[Any]:
        values: NDArray[Any] = np.array(self.clusters.table.column(name).to_pylist())
        return values if np.issubdtype(values.dtype, np.number) else np.where(values == "", maps.UNKNOWN, values)

    @cached_property
    def effects(self) -> list[Effect]:
        """How far the clusters and the map mirror each attribute."""
        points, diseases = self.clusters.points.astype(np.float64), self.attributes["disease"]
        seed, fewest = self.inputs.seed, self.disclosure.below
        return [
            effect(name, values, self.labels, points, diseases=diseases, seed=seed, fewest=fewest)
            for name, values in self.attributes.items()
        ]

    @cached_property
    def of_some_practices(self) -> list[int]:
        """The numbers of the clusters whose patients come from other practices than the rest."""
        places = self.attributes.get(matching.PRACTICE)
        if places is None or np.issubdtype(places.dtype, np.number):
            return []
        found = uneven(places, self.labels, seed=self.inputs.seed)
        return [self.cards[label]["number"] for label in found if not self.cards[label]["hidden"]]

    @cached_property
    def layers(self) -> dict[str, maps.Layer | None]:
        """The map by cluster and by each attribute; None for a map that would show nothing."""
        key = self.inputs.naming(self.disclosure.below).key
        return maps.layers(self.attributes, self.clusters, self.settings, self.disclosure, key)
