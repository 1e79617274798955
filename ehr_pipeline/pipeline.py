"""The chain in one place, without Dagster: what each asset reads, which settings decide it, and which function makes it.

    pipeline = Pipeline(settings.load(path))
    pipeline.make("2019-04-01")                    # everything; or asset by asset:
    pipeline.raw_records("2019-04-01"); pipeline.extract_catalog(); pipeline.mapped_events(); …

Every method publishes one artifact, or finds that it is there already (`Artifact.skipped`). An artifact that failed a blocking
check is not read by anything (`GateFailed`).
"""

import csv
import importlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from ehr_pipeline import checks, continuing, fields, jobs, recipes
from ehr_pipeline.artifacts import Artifact, guarded, hash_of, input_state
from ehr_pipeline.continuing import origin
from ehr_pipeline.errors import InputError
from ehr_pipeline.making import Maker
from ehr_pipeline.passed import Passed
from ehr_pipeline.recipes import ENCODER_SHAPE

Launch = Callable[[str, jobs.Job], None]
"""Runs `module.run(job)` somewhere and returns when it is done: the name of the module, and the job."""


def launch_inprocess(module: str, job: jobs.Job) -> None:
    """A plain call: for notebooks, tests and tiny jobs."""
    importlib.import_module(module).run(job)


class Pipeline(Maker):
    """One study's chain, asset by asset in the order of the flow; `Maker` tells of the arguments."""

    def raw_records(self, extract: str) -> Artifact:
        """Read one extract into typed, hash-bucketed shards."""
        from ehr_pipeline import extracts
        from ehr_pipeline.records import build

        folder = Path(self.study.records.landing) / extract
        inputs, files = extracts.text_of(extract, self.store, self.study)
        previous = extracts.before_withdrawals(extract, inputs, self.store, self.study)
        settings = replace(self.study.records, buckets=int(inputs["buckets"]))
        make = guarded(files, lambda out: build.build(folder, settings, out, previous, self.engine.spread))
        return self._make("raw_records", inputs, make, extract)

    def extract_catalog(self) -> Artifact:
        """List the extracts that were read, each with its data version."""
        from ehr_pipeline.records import catalog

        passed, found = Passed(self.study), dict[str, str]()
        for extract in catalog.counting(self.store, self.study.records.mode):
            artifact = self.store.current("raw_records", extract)
            if not passed.holds(artifact):
                self.require("raw_records", extract)
            found[extract] = artifact.data_version
        made = self._make("extract_catalog", found, lambda out: catalog.build(self.store, found, out))
        for extract in set(self.store.partitions("raw_records")) - set(found):
            self.store.retire("raw_records", extract)
        return made

    def mapped_events(self) -> Artifact:
        """Map codes to concepts."""
        from ehr_pipeline.events import build

        settings = self.study.events
        files = build.inputs(settings)
        states = {
            f"file {number}": state for number, state in enumerate(_states(files, "under [events] in the settings"))
        }
        records, previous = self._records(), recipes.previous("mapped_events", self.store)
        make = guarded(files, lambda out: build.build(records, settings, out, previous, self.engine.spread))
        before = [self._method(asset) for asset in ("raw_records", "extract_catalog", "mapped_events")]
        own = origin(before, continuing.sizes(files))
        return self._make("mapped_events", self._versions("extract_catalog") | states, make, own=own)

    def vocabulary(self) -> Artifact:
        """Choose the concepts that stay. Token ids of an earlier vocabulary of the same origin stay as they are."""
        from ehr_pipeline.events import build as events
        from ehr_pipeline.vocabulary import build

        settings, mapped = self.study.vocabulary, self.require("mapped_events")
        mrsty = Path(settings.mrsty)
        (state,) = _states([mrsty], "in vocabulary.mrsty")
        own = origin(mapped.manifest.get("origin"), self._method("vocabulary"), continuing.sizes([mrsty]))
        inputs = self._versions("mapped_events") | {"mrsty": state}
        inputs, earlier = continuing.vocabulary(self._case("vocabulary", inputs, own))
        folder = earlier.path if earlier else None
        make = guarded(
            [mrsty],
            lambda out: build.build(mapped.files("concepts"), events.read_mapping(mapped), settings, out, folder),
        )
        return self._make("vocabulary", inputs, make, own=own)

    def patient_dataset(self) -> Artifact:
        """One row for each patient."""
        from ehr_pipeline.patients import dataset

        settings, mapped, vocabulary = self.study.patients, self.require("mapped_events"), self.require("vocabulary")
        records, previous = self._records(), recipes.previous("patient_dataset", self.store)
        inputs = self._versions("extract_catalog", "mapped_events", "vocabulary")
        return self._make(
            "patient_dataset",
            inputs,
            lambda out: dataset.build(records, mapped, vocabulary.path, settings, out, previous, self.engine.spread),
        )

    def data_split(self) -> Artifact:
        """Training and validation patients."""
        from ehr_pipeline.patients import split

        settings, dataset = self.study.patients.split, self.require("patient_dataset")
        return self._make(
            "data_split", self._versions("patient_dataset"), lambda out: split.build(dataset, settings, out)
        )

    def encoder_checkpoint(self, launch: Launch = launch_inprocess) -> Artifact:
        """Train the encoder, or keep it, as `encoder.on_new_extract` says."""
        from ehr_pipeline.encoder import build

        dataset, split, vocabulary = (self.require(name) for name in ("patient_dataset", "data_split", "vocabulary"))
        before = [self._method(asset) for asset in ("patient_dataset", "data_split", "encoder_checkpoint")]
        own = origin(vocabulary.manifest.get("origin"), before)
        inputs = self._versions("patient_dataset", "data_split", "vocabulary")
        inputs, start = continuing.encoder(self._case("encoder_checkpoint", inputs, own))
        # Checkpoints lie outside the artifact: what one run left, the next one of the same recipe goes on from.
        resume = self._work(".training", "encoder_checkpoint", inputs)
        job = {
            "dataset": str(dataset.file("patients")),
            "split": str(split.file("split")),
            "vocabulary": str(vocabulary.path),
            "settings": asdict(self.study.encoder),
            "seed": self.study.study.seed,
            "threads": self.study.launcher.threads,
            "resume": str(resume),
            "start": str(start.file("checkpoint")) if start else "",
        }
        artifact = self._make("encoder_checkpoint", inputs, lambda out: build.build(job, launch, out), own=own)
        shutil.rmtree(resume, ignore_errors=True)
        return artifact

    def concept_embeddings(self) -> Artifact:
        """Concept vectors and their neighbours."""
        from ehr_pipeline.concepts import build
        from ehr_pipeline.vocabulary.table import Vocabulary

        settings, checkpoint = self.study.concepts, self.require("encoder_checkpoint")
        config = json.loads(checkpoint.file("checkpoint/config.json").read_text(encoding="utf-8"))
        # What the encoder knows of the vocabulary, with the counts of today.
        vocabulary = Vocabulary.read(self.require("vocabulary").path).first(config["vocab_size"])
        seed = self.study.study.seed
        inputs = self._versions("encoder_checkpoint", "vocabulary", "mapped_events")
        files = [Path(path) for path in settings.ontology]
        states = _states(files, "in concepts.ontology")
        inputs |= {f"ontology {number}": state for number, state in enumerate(states)}
        make = guarded(
            files,
            lambda out: build.build(
                checkpoint.file("checkpoint"), vocabulary, self.concept_of_code(), settings, seed, out
            ),
        )
        return self._make("concept_embeddings", inputs, make)

    def cohort(self) -> Artifact:
        """Patients with one of the diseases."""
        from ehr_pipeline.embeddings import cohort

        diseases, mapped, dataset = (
            self.study.embeddings.cohort,
            self.require("mapped_events"),
            self.require("patient_dataset"),
        )
        inputs = self._versions("mapped_events", "patient_dataset")
        return self._make("cohort", inputs, lambda out: cohort.build(mapped, dataset, diseases, out))

    def patient_embeddings(self, launch: Launch = launch_inprocess) -> Artifact:
        """One vector for each patient of the cohort."""
        from ehr_pipeline.embeddings import build

        settings = self.study.embeddings
        artifacts = {
            name: self.require(name)
            for name in ("patient_dataset", "cohort", "encoder_checkpoint", "concept_embeddings", "vocabulary")
        }
        method = self._method("cohort"), self._method("patient_embeddings")
        own = origin(artifacts["encoder_checkpoint"].data_version, method)
        inputs = self._versions(*artifacts, "mapped_events")
        inputs, earlier = continuing.space(self._case("patient_embeddings", inputs, own))
        # Outside the artifact, like a training's checkpoints: shards that one run left are not embedded again by the next.
        work = self._work(".embedding", "patient_embeddings", inputs)
        artifact = self._make(
            "patient_embeddings",
            inputs,
            lambda out: build.build(
                artifacts, self.concept_of_code(), settings, self._embedding_job(), launch, work, out, earlier
            ),
            own=own,
        )
        shutil.rmtree(work, ignore_errors=True)
        return artifact

    def clusters(self) -> Artifact:
        """Divide the cohort, and test whether the division means anything."""
        from ehr_pipeline.clusters import build
        from ehr_pipeline.vocabulary.table import Vocabulary

        settings, seed = self.study.clusters, self.study.study.seed
        dataset, cohort, embeddings = (
            self.require(name) for name in ("patient_dataset", "cohort", "patient_embeddings")
        )
        size = Vocabulary.read(self.require("vocabulary").path).size
        inputs = self._versions("patient_dataset", "cohort", "patient_embeddings", "vocabulary")
        if settings.truth:
            truth = Path(settings.truth)
            if not (truth / "patients.csv").is_file():
                raise InputError(
                    f"{truth}: no patients.csv. clusters.truth names the truth folder of a synthetic extract;"
                    " leave it empty for real data."
                )
            inputs["truth"] = fields.file_hash(truth / "patients.csv")
        space = embeddings.digest("transform.safetensors"), embeddings.digest("transform.json")
        encoder, method = embeddings.manifest["inputs"]["encoder_checkpoint"], self._method("clusters")
        own = origin(encoder, space, self._method("cohort"), method)
        inputs, clustered, earlier = continuing.clusters(self._case("clusters", inputs, own))
        return self._make(
            "clusters",
            inputs,
            lambda out: build.build(dataset, cohort, embeddings, size, settings, seed, out, earlier, clustered),
            own=own,
        )

    def patient_trajectories(self, launch: Launch = launch_inprocess) -> Artifact:
        """Vectors, clusters and places of the patients' records in windows of time."""
        from ehr_pipeline.trajectories import build, truth

        settings = self.study.trajectories
        artifacts = {
            name: self.require(name)
            for name in (
                "patient_dataset",
                "cohort",
                "encoder_checkpoint",
                "patient_embeddings",
                "clusters",
                "vocabulary",
            )
        }
        inputs, planted = self._versions(*artifacts), None
        if self.study.clusters.truth and (Path(self.study.clusters.truth) / truth.CHANGES).is_file():
            planted = Path(self.study.clusters.truth)
            inputs["truth"] = hash_of([fields.file_hash(planted / name) for name in ("patients.csv", truth.CHANGES)])
        work = self._work(".embedding", "patient_trajectories", inputs)
        artifact = self._make(
            "patient_trajectories",
            inputs,
            lambda out: build.build(artifacts, settings, self._embedding_job(), launch, planted, work, out),
        )
        shutil.rmtree(work, ignore_errors=True)
        return artifact

    def cluster_reports(self) -> Artifact:
        """Write the page."""
        from ehr_pipeline.reports import build
        from ehr_pipeline.reports.inputs import Inputs

        upstream = [name for name in checks.ORDER if name not in ("raw_records", "cluster_reports")]
        artifacts = {name: self.require(name) for name in upstream}
        seed = self.study.study.seed
        settings_used = {
            name: artifact.manifest["settings"] for name, artifact in artifacts.items() if artifact.manifest["settings"]
        }
        terms = self.study.governance.terms
        lists = {disease.name: Path(disease.concepts) for disease in self.study.embeddings.cohort}
        inputs = Inputs(self.study.study.name, self._records(), artifacts, settings_used, seed, terms, lists)
        return self._make(
            "cluster_reports", self._versions(*upstream), lambda out: build.build(inputs, self.study.reports, out)
        )

    def make(self, *extracts: str, until: str = "cluster_reports") -> dict[str, Artifact]:
        """Read the extracts, and make every asset after them up to one, in order. For notebooks and scripts: jobs run here."""
        made = {}
        for extract in extracts:
            made["raw_records"] = self.raw_records(extract)
        for asset in checks.ORDER[1 : checks.ORDER.index(until) + 1]:
            made[asset] = getattr(self, asset)()
        return made

    # What they ask each other.

    def _embedding_job(self) -> jobs.Job:
        """What every job that embeds has to know of the encoder and of the machine."""
        study = self.study
        shape = {name: getattr(study.encoder, name) for name in ENCODER_SHAPE}
        return {
            "settings": shape | {"batch_tokens": study.embeddings.batch_tokens},
            "seed": study.study.seed,
            "threads": study.launcher.threads,
        }

    def trained_on_current_data(self) -> bool:
        """Whether the encoder was trained on the data set that there is now."""
        inputs = self.store.current("encoder_checkpoint").manifest["inputs"]
        return bool(inputs["patient_dataset"] == self.store.current("patient_dataset").data_version)

    def concept_of_code(self) -> dict[str, str]:
        """The concept that each SNOMED code of the extract was mapped to."""
        with self.store.current("mapped_events").file("mapping.csv").open(encoding="utf-8", newline="") as stream:
            return {row["snomed"]: row["concept"] for row in csv.DictReader(stream) if row["concept"]}

    def extracts(self) -> list[str]:
        """Names of the extracts that count, sorted: in the landing folder, or read before. Raises MissingArtifact without any."""
        from ehr_pipeline import extracts

        return extracts.names(self.store, self.study)

    def is_read(self, extract: str, read: Sequence[str] | None = None) -> bool:
        """Whether the text that an extract has now is what its records were read from.

        `read` are the extracts that were read: who asks for thousands of extracts lists them once.
        """
        from ehr_pipeline import extracts

        return extracts.is_read(extract, self.store, self.study, read)

    def _records(self) -> list[Artifact]:
        from ehr_pipeline.records import catalog

        return catalog.records(self.store, self.require("extract_catalog"))


def _states(files: list[Path], where: str) -> list[str]:
    """The states of files that the settings name. Raises InputError when one is not there."""
    for path in files:
        if not path.is_file():
            raise InputError(f"{path}: there is no such file. It is named {where}.")
    return [input_state([path], path.parent) for path in files]
