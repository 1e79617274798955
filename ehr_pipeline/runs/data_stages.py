"""The first half of the chain: from the extracts to the data set of patients and its split."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from ehr_pipeline.assets import ASSETS, identity
from ehr_pipeline.errors import InputError
from ehr_pipeline.runs import previous_artifact
from ehr_pipeline.runs.maker import Maker, versions_of, watched_files
from ehr_pipeline.runs.passed_checks import PassedNotes
from ehr_pipeline.runs.previous_artifact import origin_of
from ehr_pipeline.store.artifacts import Artifact, Counts
from ehr_pipeline.store.watched_inputs import Watched
from ehr_pipeline.tables.asset_names import (
    DATA_SPLIT,
    EXTRACT_CATALOG,
    MAPPED_EVENTS,
    PATIENT_DATASET,
    RAW_RECORDS,
    TASK_LABELS,
    VOCABULARY,
)


class DataAssets(Maker):
    """Makes the assets up to the data set and its split, in order of the chain. For the arguments see `Maker`."""

    def raw_records(self, extract: str) -> Artifact:
        """Read one extract into typed, hash-bucketed shards."""
        from ehr_pipeline.records import build, quarantine
        from ehr_pipeline.runs import extracts
        from ehr_pipeline.store import secret_key

        folder = Path(self.study.records.landing) / extract
        inputs, listing = extracts.text_of(extract, self.store, self.study)
        # The folder is watched even if its files were archived: if they are put back during the run, other data would be read.
        watched = listing.watched if listing else Watched.of([], lambda: [folder] if folder.is_dir() else [])
        previous = extracts.before_withdrawals(extract, inputs, self.store, self.study)
        settings = replace(self.study.records, buckets=int(inputs["buckets"]), latest_date=inputs["latest_date"])

        def read(out: Path) -> Counts:
            key = secret_key.of(self.store.root)
            return build.build(listing or folder, settings, out, previous, self.engine.spread, key=key)

        links = listing.links if listing else previous.manifest.get("links") if previous else None
        made = self._make(RAW_RECORDS, inputs, watched.guard(read), partition=extract, links=links)
        quarantine.bring_up_to_date(made, self.store.root)
        self._gates.clear()  # whether rows without a patient count as lost depends on which other extracts there are
        return made

    def extract_catalog(self) -> Artifact:
        """List the extracts that were read, with their data versions; and each patient's side, if any patient is left out of
        training."""
        from ehr_pipeline.patients import train_test_sides
        from ehr_pipeline.records import catalog, quarantine

        # The list of withdrawals decides who may be in the catalog, so it must not change while the records are read.
        withdrawals = Watched.of(ASSETS[RAW_RECORDS].list_files(self.study))
        passed, records = PassedNotes(self.study), dict[str, Artifact]()
        for extract in catalog.in_use(self.store, self.study.records.mode):
            artifact = self.store.intact(RAW_RECORDS, extract)
            records[extract] = artifact if passed.passed(artifact) else self.require(RAW_RECORDS, extract)
            # Also for extracts whose text is no longer read.
            quarantine.bring_up_to_date(records[extract], self.store.root)
        versions = {extract: artifact.data_version for extract, artifact in records.items()}
        settings, spread = self.study.records, self.engine.spread

        def build(out: Path) -> Counts:
            counts = catalog.build(self.store, records, settings, out, spread)
            if not self.study.patients.split.leaves_out:
                return counts
            raw = [artifact for _, artifact in sorted(records.items())]
            return counts | {
                "split": train_test_sides.build(raw, identity.split_settings(self.study), out, settings.workers, spread)
            }

        make = withdrawals.guard(build)
        made = self._make(EXTRACT_CATALOG, versions, make)
        for extract in set(self.store.partitions(RAW_RECORDS)) - set(records):
            self.store.retire(RAW_RECORDS, extract)
        return made

    def mapped_events(self) -> Artifact:
        """Map codes to concepts."""
        from ehr_pipeline.events import build

        settings = self.study.events
        files = watched_files(build.inputs(settings), "under [events] in the settings", lambda: build.inputs(settings))
        read, previous = self.read(MAPPED_EVENTS), previous_artifact.reusable(MAPPED_EVENTS, self.store)
        records = self._events(read[EXTRACT_CATALOG])
        make = files.guard(lambda out: build.build(records, settings, out, previous, self.engine.spread))
        before = [self._method(asset) for asset in (RAW_RECORDS, EXTRACT_CATALOG, MAPPED_EVENTS)]
        origin = origin_of(before, files.sizes)
        return self._make(MAPPED_EVENTS, versions_of(read) | build.states(files), make, origin=origin)

    def vocabulary(self) -> Artifact:
        """Choose the concepts to keep. A concept keeps the token id that it had in an earlier vocabulary of the same origin."""
        from ehr_pipeline.events.resolve_lists import Ladder
        from ehr_pipeline.events.table import Mapping
        from ehr_pipeline.patients.settings import LEARNED_FROM
        from ehr_pipeline.patients.train_test_sides import FOLDER
        from ehr_pipeline.vocabulary import build, training_counts

        settings, read = self.study.vocabulary, self.read(VOCABULARY)
        mapped, catalog = read[MAPPED_EVENTS], read.get(EXTRACT_CATALOG)
        mrsty = watched_files([Path(settings.mrsty)] if settings.mrsty else [], "in vocabulary.mrsty")
        origin = origin_of(mapped.manifest.get("origin"), self._method(VOCABULARY), mrsty.sizes)
        inputs = versions_of(read) | dict(zip(["mrsty"], mrsty.hashes(), strict=False))
        ladder, path = Ladder(self.study.events, mapped), settings.administrative_concepts
        name = "vocabulary.administrative_concepts"
        inputs |= ladder.inputs() if path else {}
        inputs, earlier = previous_artifact.vocabulary(self._case(VOCABULARY, inputs, origin))
        folder = earlier.path if earlier else None

        def make(out: Path) -> Counts:
            listed = ladder.resolve({name: path} if path else {}).get(name, ())
            mapping = Mapping.read(mapped.path, "code", "concept", "name", "events").table
            build_from = partial(build.build, mapped.files("concepts"), mapping, settings, out, folder)
            if catalog is None:
                return build_from(administrative=listed)
            counted = training_counts.count(
                mapped,
                catalog.file(FOLDER),
                LEARNED_FROM,
                out,
                workers=self.study.events.workers,
                spread=self.engine.spread,
            )
            counts = build_from(administrative=listed, learned=counted.tables)
            self._note_learned(out, counted.patients())
            counted.remove()
            return counts

        return self._make(VOCABULARY, inputs, mrsty.guard(make), origin=origin)

    def patient_dataset(self) -> Artifact:
        """Build the patient data set, one row for each patient."""
        from ehr_pipeline.patients import dataset

        settings, read = self.study.patients, self.read(PATIENT_DATASET)
        records, previous = self._events(read[EXTRACT_CATALOG]), previous_artifact.reusable(PATIENT_DATASET, self.store)
        mapped, vocabulary = read[MAPPED_EVENTS], read[VOCABULARY].path
        return self._make(
            PATIENT_DATASET,
            versions_of(read),
            lambda out: dataset.build(
                records, mapped, vocabulary, settings, out, previous=previous, spread=self.engine.spread
            ),
        )

    def data_split(self) -> Artifact:
        """Assign each patient to a side: training, validation, test, or unassigned."""
        from ehr_pipeline.patients import split
        from ehr_pipeline.patients.train_test_sides import FOLDER

        settings, read = identity.split_settings(self.study), self.read(DATA_SPLIT)
        known = read[EXTRACT_CATALOG].file(FOLDER) if EXTRACT_CATALOG in read else None
        return self._make(
            DATA_SPLIT, versions_of(read), lambda out: split.build(read[PATIENT_DATASET], settings, out, known)
        )

    def task_labels(self) -> Artifact:
        """Label the patients of every task. Raises InputError without a test set, and as `study_rules.rules` does."""
        from ehr_pipeline.events import resolve_lists
        from ehr_pipeline.events.resolve_lists import Ladder
        from ehr_pipeline.events.table import Mapping
        from ehr_pipeline.store import secret_key
        from ehr_pipeline.tasks import build, study_rules
        from ehr_pipeline.vocabulary.table import Vocabulary

        settings = self.study.tasks
        if settings.any and not self.study.patients.split.leaves_out:
            raise InputError(study_rules.NO_TEST_SET)
        read = self.read(TASK_LABELS)
        mapped, dataset, split = read[MAPPED_EVENTS], read[PATIENT_DATASET], read[DATA_SPLIT]
        lists = study_rules.lists(settings)
        ladder = Ladder(self.study.events, mapped)
        inputs = versions_of(read) | (ladder.inputs() if lists else {})

        def make(out: Path) -> Counts:
            if not settings.any:
                return build.write_empty(out)
            types = self.study.embeddings.pooling.semantic_types
            concepts = Mapping.read(mapped.path, "concept").table["concept"].drop_nulls().unique().to_list()
            resolved = {name: resolve_lists.concepts(rows) for name, rows in ladder.resolve(lists).items()}
            window = self.study.patients.visit_window_days
            rules = study_rules.rules(settings, resolved, concepts, window)
            how = build.LabelOptions(
                deaths=study_rules.deaths(settings, resolved),
                until=study_rules.follow_up_end(settings, read[EXTRACT_CATALOG]),
                screen=study_rules.screen_of(settings, Vocabulary.read(read[VOCABULARY].path), types, window),
                draw=study_rules.landmark_key(split.manifest["settings"]["key"], self.study.study.seed),
                attributes=self.study.groups,
                shifted_dates=self.study.study.shifted_dates,
                workers=settings.workers,
                spread=self.engine.spread,
            )
            return build.build((mapped, dataset, split), rules, how, secret_key.of(self.store.root), out)

        return self._make(TASK_LABELS, inputs, make)

    # Questions about the extracts and their records.

    def extracts(self) -> list[str]:
        """Return the sorted names of the extracts in the landing folder, or read before. Raises MissingArtifact if none."""
        from ehr_pipeline.runs import extracts

        return extracts.names(self.store, self.study)

    def is_read(self, extract: str, read: Sequence[str] | None = None) -> bool:
        """Return whether an extract's files are still those from which its records were read.

        `read` lists the extracts that were read; pass it when asking about many extracts, to list them only once.
        """
        from ehr_pipeline.runs import extracts

        return extracts.is_read(extract, self.store, self.study, read)

    def _records(self, listed: Artifact) -> list[Artifact]:
        """Return the records that a catalog lists."""
        from ehr_pipeline.records import catalog

        return catalog.records(self.store, listed)

    def _events(self, listed: Artifact) -> list[Artifact]:
        """Return the records that a catalog lists; and the catalog itself, if it holds events that were set aside from the
        records."""
        from ehr_pipeline.records import events_without_patient

        return events_without_patient.with_joined(self._records(listed), listed)
