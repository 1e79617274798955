"""The whole chain without Dagster: how each asset is made from the assets that its declaration (assets/) lists.

    pipeline = Pipeline(settings.load(path))
    pipeline.make("2019-04-01")                    # everything; or asset by asset:
    pipeline.raw_records("2019-04-01"); pipeline.extract_catalog(); pipeline.mapped_events(); …

The method of an asset publishes one artifact, or returns the existing one (`Artifact.skipped` is then set). It raises
`GateFailed` if an artifact that it reads failed a blocking check. The assets up to the split are in data_stages.py.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path

from ehr_pipeline import typed_settings
from ehr_pipeline.assets import ASSETS, identity, of_study
from ehr_pipeline.clusters import planted
from ehr_pipeline.embeddings.embedding_job import EmbeddingJob
from ehr_pipeline.encoder.training_job import TrainingJob
from ehr_pipeline.errors import InputError
from ehr_pipeline.runs import previous_artifact
from ehr_pipeline.runs.data_stages import DataAssets
from ehr_pipeline.runs.maker import versions_of, watched_ontology
from ehr_pipeline.runs.previous_artifact import origin_of
from ehr_pipeline.store.artifacts import Artifact, Counts, hash_of
from ehr_pipeline.store.watched_inputs import Watched
from ehr_pipeline.tables.asset_names import (
    CLUSTER_REPORTS,
    CLUSTERS,
    COHORT,
    CONCEPT_EMBEDDINGS,
    CONCEPT_RELATIONS,
    DATA_SPLIT,
    ENCODER_CHECKPOINT,
    EXTRACT_CATALOG,
    MAPPED_EVENTS,
    PATIENT_DATASET,
    PATIENT_EMBEDDINGS,
    PATIENT_TRAJECTORIES,
    RAW_RECORDS,
    VOCABULARY,
)
from ehr_pipeline.work.jobs import Launch


class Pipeline(DataAssets):
    """Builds the assets of one study: one method for each asset, in dependency order. For the arguments see `Maker`.

    Methods that start a heavy job take `launch`, a function that runs it; the default is the engine of the settings.
    """

    def encoder_checkpoint(self, launch: Launch | None = None) -> Artifact:
        """Train the encoder or keep an earlier one, as `encoder.on_new_extract` says. Raises InputError for an empty cohort."""
        from ehr_pipeline.checks import lists
        from ehr_pipeline.encoder import build

        settings, read = self.study.encoder, self.read(ENCODER_CHECKPOINT)
        dataset, split, vocabulary = read[PATIENT_DATASET], read[DATA_SPLIT], read[VOCABULARY]
        before = [self._method(asset) for asset in (PATIENT_DATASET, DATA_SPLIT, ENCODER_CHECKPOINT)]
        origin = origin_of(vocabulary.manifest.get("origin"), before)
        inputs, start = previous_artifact.encoder(self._case(ENCODER_CHECKPOINT, versions_of(read), origin))
        # Checkpoints are kept outside the artifact: the next run of the same recipe resumes an interrupted training.
        resume = self._work(".training", ENCODER_CHECKPOINT, inputs)
        leaves_out = self.study.patients.split.leaves_out

        def make(out: Path) -> Counts:
            if self.store.has(MAPPED_EVENTS):
                lists.refuse_empty_cohort(self.store.intact(MAPPED_EVENTS), self.study)
            begin = start.file("checkpoint") if start else self._transferred(vocabulary, resume / "begun")
            job = TrainingJob(
                dataset=dataset.file("patients"),
                split=split.file("split"),
                vocabulary=vocabulary.path,
                settings=settings,
                seed=self.study.study.seed,
                threads=self.study.launcher.threads,
                out=out,
                resume=resume,
                start=begin,
                notes_patients=leaves_out,
            )
            counts = build.build(job, launch or self.engine.launch)
            if leaves_out:
                other = Path(settings.transfer.checkpoint).parent if begin else None
                self._note_learned(out, build.patients(dataset, out), start.path if start else other)
            return counts

        artifact = self._make(ENCODER_CHECKPOINT, inputs, make, origin=origin, machine=build.machine)
        shutil.rmtree(resume, ignore_errors=True)
        return artifact

    def concept_embeddings(self) -> Artifact:
        """Write the concept vectors and their nearest neighbours."""
        from ehr_pipeline.encoder import configuration
        from ehr_pipeline.events.resolve_lists import Ladder
        from ehr_pipeline.events.table import Mapping
        from ehr_pipeline.vocabulary.table import Vocabulary

        settings, read = self.study.concepts, self.read(CONCEPT_EMBEDDINGS)
        checkpoint, listed, mapped = read[ENCODER_CHECKPOINT], read[VOCABULARY], read[MAPPED_EVENTS]
        config = configuration.read(checkpoint.file("checkpoint"))
        # The part of the vocabulary that the encoder knows, with current counts.
        vocabulary = Vocabulary.read(listed.path).first(config["vocab_size"])
        seed = self.study.study.seed
        files, ontology = watched_ontology(self.study)
        inputs = versions_of(read) | ontology
        ladder, path = Ladder(self.study.events, mapped), settings.concepts_of_interest
        name = "concepts.concepts_of_interest"
        inputs |= ladder.inputs() if path else {}

        def make(out: Path) -> Counts:
            from ehr_pipeline.concepts import build

            interest = ladder.resolve({name: path} if path else {}).get(name, ())
            known = Mapping.read(mapped.path, "snomed", "concept").concept_of_code() if settings.ontology else {}
            return build.build(
                checkpoint.file("checkpoint"), vocabulary, settings, seed, out, interest=interest, concept_of_code=known
            )

        return self._make(CONCEPT_EMBEDDINGS, inputs, files.guard(make))

    def concept_relations(self) -> Artifact:
        """Find which concepts occur together, and in which order."""
        from ehr_pipeline.encoder import configuration
        from ehr_pipeline.events.resolve_lists import Ladder, concepts
        from ehr_pipeline.events.table import Mapping
        from ehr_pipeline.relations import sentence_encoder
        from ehr_pipeline.vocabulary.table import Vocabulary

        settings, read = self.study.relations, self.read(CONCEPT_RELATIONS)
        folder = settings.sentence_encoder
        files, beside = watched_ontology(self.study, sentence_encoder.files(Path(folder)) if folder else ())
        checkpoint, mapped = read[ENCODER_CHECKPOINT].file("checkpoint"), read[MAPPED_EVENTS]
        known = Vocabulary.read(read[VOCABULARY].path).first(configuration.read(checkpoint)["vocab_size"])
        ladder, where, seed = Ladder(self.study.events, mapped), "relations.concepts", self.study.study.seed

        def make(out: Path) -> Counts:
            from ehr_pipeline.relations import build, pair_files

            records = build.Records(read[PATIENT_DATASET].files("patients"), self.study.embeddings.vectors.habits, seed)
            listed = concepts(ladder.resolve({where: settings.concepts} if settings.concepts else {}).get(where, ()))
            asked = settings.pairs or settings.known or settings.scores or self.study.concepts.ontology
            codes = Mapping.read(mapped.path, "snomed", "concept").concept_of_code() if asked else {}
            given = pair_files.read(settings, self.study.concepts.ontology, listed, codes)
            return build.build(records, checkpoint, known, settings, out, given=given)

        inputs = versions_of(read) | beside | (ladder.inputs() if settings.concepts else {})
        return self._make(CONCEPT_RELATIONS, inputs, files.guard(make))

    def cohort(self) -> Artifact:
        """Find the patients with one of the diseases. Raises InputError for a study without a cohort."""
        from ehr_pipeline.cohort import build
        from ehr_pipeline.cohort.settings import list_of
        from ehr_pipeline.events.resolve_lists import Ladder

        diseases, read = self.study.embeddings.cohort, self.read(COHORT)
        if not diseases:
            raise InputError(
                "This study has no cohort: it ends with the encoder and its concept vectors. Add [[embeddings.cohort]] tables, or"
                ' one with a name alone (name = "Everybody") for a cohort of all patients.'
            )
        mapped, dataset = read[MAPPED_EVENTS], read[PATIENT_DATASET]
        ladder = Ladder(self.study.events, mapped)
        listed = ladder.inputs() if any(disease.concepts for disease in diseases) else {}

        def make(out: Path) -> Counts:
            names = [list_of(number) for number in range(len(diseases))]
            lists = {name: each.concepts for name, each in zip(names, diseases, strict=True) if each.concepts}
            rows = ladder.resolve(lists)
            return build.build(mapped, dataset, diseases, tuple(rows.get(name, ()) for name in names), out)

        return self._make(COHORT, versions_of(read) | listed, make)

    def patient_embeddings(self, launch: Launch | None = None) -> Artifact:
        """Embed the cohort: one vector for each patient."""
        from ehr_pipeline.encoder import hardware_choices
        from ehr_pipeline.events.resolve_lists import Ladder

        settings, artifacts = self.study.embeddings, self.read(PATIENT_EMBEDDINGS)
        method = self._method(COHORT), self._method(PATIENT_EMBEDDINGS)
        origin = origin_of(artifacts[ENCODER_CHECKPOINT].data_version, method)
        inputs = versions_of(artifacts)
        inputs |= (
            Ladder(self.study.events, artifacts[MAPPED_EVENTS]).inputs() if settings.pooling.select == "list" else {}
        )
        inputs, earlier = previous_artifact.space(self._case(PATIENT_EMBEDDINGS, inputs, origin))
        # Finished shards are kept outside the artifact, like training checkpoints, so the next run does not repeat them.
        work = self._work(".embedding", PATIENT_EMBEDDINGS, inputs)

        def make(out: Path) -> Counts:
            from ehr_pipeline.embeddings import build

            job, run = self.embedding_job(artifacts, work), launch or self.engine.launch
            listed = self.pooled_concepts
            counts = build.build(artifacts, settings, job, out, earlier, listed=listed, launch=run)
            if DATA_SPLIT in artifacts:
                plain = [] if earlier else build.learned_from(artifacts)
                self._note_learned(out, plain, earlier.path if earlier else None)
            return counts

        artifact = self._make(
            PATIENT_EMBEDDINGS, inputs, make, origin=origin, machine=lambda _: hardware_choices.noted(work)
        )
        shutil.rmtree(work, ignore_errors=True)
        return artifact

    def clusters(self) -> Artifact:
        """Divide the cohort into clusters, and test for evidence that they are more than chance."""
        from ehr_pipeline.embeddings.vectors import ARRAYS, FACTS

        settings, seed = self.study.clusters, self.study.study.seed
        artifacts = self.read(CLUSTERS)
        inputs, embeddings = versions_of(artifacts), artifacts[PATIENT_EMBEDDINGS]
        truth = Watched.of(_truth(settings.truth))
        if settings.truth:
            inputs["truth"] = typed_settings.file_hash(*truth.files)
        space = embeddings.digest(ARRAYS), embeddings.digest(FACTS)
        encoder, method = embeddings.manifest["inputs"][ENCODER_CHECKPOINT], self._method(CLUSTERS)
        origin = origin_of(encoder, space, self._method(COHORT), method)
        inputs, clustered, earlier = previous_artifact.clusters(self._case(CLUSTERS, inputs, origin))

        def make(out: Path) -> Counts:
            from ehr_pipeline.clusters import build

            shifted = self.study.study.shifted_dates
            return build.build(
                artifacts, settings, seed, out, earlier=earlier, clustered=clustered, shifted_dates=shifted
            )

        def machine(out: Path) -> Mapping[str, str]:
            from ehr_pipeline.clusters import build

            return build.machine(out)

        return self._make(CLUSTERS, inputs, truth.guard(make), origin=origin, machine=machine)

    def patient_trajectories(self, launch: Launch | None = None) -> Artifact:
        """Divide each patient's record into time windows, and find the vector, cluster and map position of each window."""
        from ehr_pipeline.encoder import hardware_choices
        from ehr_pipeline.trajectories import truth

        settings, artifacts = self.study.trajectories, self.read(PATIENT_TRAJECTORIES)
        inputs, changes, files = versions_of(artifacts), None, Watched.of([])
        if self.study.clusters.truth and (Path(self.study.clusters.truth) / truth.CHANGES).is_file():
            changes = Path(self.study.clusters.truth)
            files = Watched.of([*_truth(self.study.clusters.truth), changes / truth.CHANGES])
            inputs["truth"] = hash_of([typed_settings.file_hash(path) for path in files.files])
        work, run = self._work(".embedding", PATIENT_TRAJECTORIES, inputs), launch or self.engine.launch

        def make(out: Path) -> Counts:
            from ehr_pipeline.trajectories import build

            job = self.embedding_job(artifacts, work)
            shifted = self.study.study.shifted_dates
            return build.build(artifacts, settings, job, out, launch=run, planted=changes, shifted_dates=shifted)

        artifact = self._make(
            PATIENT_TRAJECTORIES, inputs, files.guard(make), machine=lambda _: hardware_choices.noted(work)
        )
        shutil.rmtree(work, ignore_errors=True)
        return artifact

    def cluster_reports(self) -> Artifact:
        """Write the report page."""
        from ehr_pipeline.cohort.members import CASES, LISTS
        from ehr_pipeline.reports.inputs import Inputs

        artifacts = self.read(CLUSTER_REPORTS)
        seed = self.study.study.seed
        settings_used = {
            name: artifact.manifest["settings"] for name, artifact in artifacts.items() if artifact.manifest["settings"]
        }
        terms = self.study.governance.terms
        records = self._records(artifacts[EXTRACT_CATALOG])
        inputs = Inputs(self.study.study.name, records, artifacts, settings_used, seed, terms)
        notes = {name: typed_settings.file_hash(artifacts[COHORT].file(name)) for name in (LISTS, CASES)}

        def make(out: Path) -> Counts:
            from ehr_pipeline.reports import build

            return build.build(inputs, self.study.reports, out)

        return self._make(CLUSTER_REPORTS, versions_of(artifacts) | notes, make)

    def make(self, *extracts: str, until: str = "") -> dict[str, Artifact]:
        """Read the extracts, then make every downstream asset in order, up to `until` if given. For notebooks and scripts.

        Work runs on `launcher.backend`. Returns the artifacts by asset; for raw_records, that of the last extract.
        """
        made = {}
        for extract in extracts:
            made[RAW_RECORDS] = self.raw_records(extract)
        names, wanted = list(ASSETS), of_study(self.study)
        for asset in names[1 : names.index(until) + 1 if until else None]:
            if asset in wanted:
                made[asset] = self.asset(asset)
        return made

    def asset(self, name: str, launch: Launch | None = None) -> Artifact:
        """Make one asset by name. For raw records, which have one partition per extract, call `raw_records` instead."""
        declared, launch = ASSETS[name], launch or self.engine.launch
        build = declared.build
        if build is None:
            method = getattr(self, name)
            made: Artifact = method(launch) if declared.heavy else method()
            return made
        read = self.read(name)
        return self._make(name, versions_of(read), lambda out: build(self.study, read, launch, out))

    # Helpers of several assets.

    def _transferred(self, vocabulary: Artifact, out: Path) -> Path | None:
        """If the settings name an encoder of another study, write it to `out` with this study's vocabulary; else return None."""
        from ehr_pipeline.encoder import transfer
        from ehr_pipeline.vocabulary.table import Vocabulary

        settings = self.study.encoder
        if not settings.transfer.checkpoint:
            return None
        transfer.begin(Path(settings.transfer.checkpoint), Vocabulary.read(vocabulary.path), settings, out)
        return out

    def embedding_job(self, artifacts: Mapping[str, Artifact], work: Path) -> EmbeddingJob:
        """Return the embedding job, which works in the folder `work`."""
        batch_tokens = self.study.embeddings.batch_tokens
        return identity.encoder_job(EmbeddingJob, self.study, artifacts, work, batch_tokens)

    def trained_on_current_data(self) -> bool:
        """Return whether the encoder was trained on the current data set."""
        inputs = self.store.current(ENCODER_CHECKPOINT).manifest["inputs"]
        return bool(inputs[PATIENT_DATASET] == self.store.current(PATIENT_DATASET).data_version)

    def pooled_concepts(self) -> frozenset[str]:
        """Return the concepts of the list in `embeddings.pooling.concepts`; empty unless `pooling.select` is 'list'."""
        from ehr_pipeline.events.resolve_lists import Ladder, concepts

        pooling, where = self.study.embeddings.pooling, "embeddings.pooling.concepts"
        ladder = Ladder(self.study.events, self.store.intact(MAPPED_EVENTS))
        return concepts(ladder.resolve({where: pooling.concepts})[where] if pooling.select == "list" else ())


def _truth(folder: str) -> list[Path]:
    """Return the file of planted groups in a truth folder; empty if no folder is named. Raises InputError if it is missing."""
    if folder and (problem := planted.problem(Path(folder))):
        raise InputError(problem)
    return [Path(folder) / planted.PATIENTS] if folder else []
