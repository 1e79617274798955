"""The chain in one place, without Dagster: what each asset reads, which settings decide it, and which function makes it.

    pipeline = Pipeline(settings.load(path))
    pipeline.raw_records("2019-04-01"); pipeline.extract_catalog(); pipeline.mapped_events(); …

Every method publishes one artifact, or finds that it is there already (`Artifact.skipped`). An artifact that failed a blocking
check is not read by anything (`GateFailed`).
"""

import csv
import importlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ehr_pipeline import checks, fields, governance, jobs
from ehr_pipeline.artifacts import STAGES, Artifact, Recipe, Store, guarded, hash_of, input_state
from ehr_pipeline.drawing import learning_curves
from ehr_pipeline.engines import engine_for
from ehr_pipeline.errors import GateFailed, InputError, MissingArtifact, UserError
from ehr_pipeline.settings import Study

# Raised when the same settings and inputs give another result.
VERSIONS = dict.fromkeys(STAGES, "1") | {
    "raw_records": "2",
    "extract_catalog": "2",
    "mapped_events": "4",
    "patient_dataset": "2",
    "encoder_checkpoint": "2",
    "patient_embeddings": "2",
    "clusters": "2",
}
# What the embedding job has to know of the encoder.
ENCODER_SHAPE = ("context", "age_unit", "max_positions", "precision")

Launch = Callable[[str, jobs.Job], None]
"""Runs `module.run(job)` somewhere and returns when it is done: the name of the module, and the job."""


def launch_inprocess(module: str, job: jobs.Job) -> None:
    """A plain call: for notebooks, tests and tiny jobs."""
    importlib.import_module(module).run(job)


class Pipeline:
    """One study's chain.

    `versions` are the code versions that the assets must have when they are made: where a list that the settings name was edited
    since, nothing is made. `overrides` says in which values the study is not that of the settings file.
    """

    def __init__(
        self, study: Study, versions: Mapping[str, str] | None = None, overrides: Mapping[str, Any] | None = None
    ):
        self.study = study
        self.overrides = dict(overrides or {})
        self._versions_meant = versions or {}
        self.store = Store(study.study.store)
        self.engine = engine_for(study.launcher, self.store.root)
        self._gates: dict[tuple[str, str], list[checks.Outcome]] = {}

    # The assets, in the order of the flow.

    def raw_records(self, extract: str) -> Artifact:
        """Read one extract into typed, hash-bucketed shards."""
        from ehr_pipeline.records import build

        folder = Path(self.study.records.landing) / extract
        inputs, files = self._text_of(extract)
        previous = self._before_withdrawals(extract, inputs)
        settings = replace(self.study.records, buckets=int(inputs["buckets"]))
        make = guarded(files, lambda out: build.build(folder, settings, out, previous, self.engine.spread))
        return self._make("raw_records", inputs, make, extract)

    def extract_catalog(self) -> Artifact:
        """List the extracts that were read, each with its data version."""
        from ehr_pipeline.records import catalog

        found = catalog.versions(self.store, self.study.records.mode)
        for extract in found:
            self.require("raw_records", extract)
        made = self._make("extract_catalog", found, lambda out: catalog.build(self.store, found, out))
        for extract in set(self.store.partitions("raw_records")) - set(found):
            self.store.retire("raw_records", extract)
        return made

    def mapped_events(self) -> Artifact:
        """Map codes to concepts."""
        from ehr_pipeline.events import build

        settings = self.study.events
        files = build.inputs(settings)
        for path in files:
            if not path.is_file():
                raise InputError(f"{path}: there is no such file. It is named under [events] in the settings.")
        records, previous = self._records(), self._previous("mapped_events")
        make = guarded(files, lambda out: build.build(records, settings, out, previous, self.engine.spread))
        states = {f"file {number}": input_state([path], path.parent) for number, path in enumerate(files)}
        return self._make("mapped_events", self._versions("extract_catalog") | states, make)

    def vocabulary(self) -> Artifact:
        """Choose the concepts that stay."""
        from ehr_pipeline.events import build as events
        from ehr_pipeline.vocabulary import build

        settings, mapped = self.study.vocabulary, self.require("mapped_events")
        mrsty = Path(settings.mrsty)
        if not mrsty.is_file():
            raise InputError(f"{mrsty}: there is no such file. It is named in vocabulary.mrsty.")
        make = guarded(
            [mrsty], lambda out: build.build(mapped.files("concepts"), events.read_mapping(mapped), settings, out)
        )
        inputs = self._versions("mapped_events") | {"mrsty": input_state([mrsty], mrsty.parent)}
        return self._make("vocabulary", inputs, make)

    def patient_dataset(self) -> Artifact:
        """One row for each patient."""
        from ehr_pipeline.patients import dataset

        settings, mapped, vocabulary = self.study.patients, self.require("mapped_events"), self.require("vocabulary")
        records, previous = self._records(), self._previous("patient_dataset")
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
        """Train the encoder."""
        dataset, split, vocabulary = (
            self.require("patient_dataset"),
            self.require("data_split"),
            self.require("vocabulary"),
        )

        inputs = self._versions("patient_dataset", "data_split", "vocabulary")
        # Checkpoints lie outside the artifact: what one run left, the next one of the same recipe goes on from.
        resume = (
            self.store.folder("encoder_checkpoint")
            / f".training-{self._recipe('encoder_checkpoint', inputs).fingerprint}"
        )

        def build(out: Path) -> dict[str, Any]:
            launch(
                "ehr_pipeline.encoder.train",
                {
                    "dataset": str(dataset.file("patients")),
                    "split": str(split.file("split")),
                    "vocabulary": str(vocabulary.path),
                    "settings": asdict(self.study.encoder),
                    "seed": self.study.study.seed,
                    "threads": self.study.launcher.threads,
                    "out": str(out),
                    "resume": str(resume),
                },
            )
            metrics = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
            learning_curves(out / "notes" / "curves.png", metrics)
            tokens = metrics["training_tokens"] + metrics["validation_tokens"]
            figures = {name: metrics["best"][f"validation_{name}"] for name in ("loss", "top1", "top10")}
            return {
                "rows_in": tokens,
                "kept": tokens,
                "parameters": metrics["parameters"],
                "epochs": len(metrics["epochs"]),
                **{f"validation_{name}": value for name, value in figures.items()},
                **{f"baseline_{name}": metrics["baseline"][name] for name in figures},
                "clipped_ages": metrics["clipped_ages"],
                "padding_share": metrics["padding_share"],
            }

        artifact = self._make("encoder_checkpoint", inputs, build)
        shutil.rmtree(resume, ignore_errors=True)
        return artifact

    def concept_embeddings(self) -> Artifact:
        """Concept vectors and their neighbours."""
        from ehr_pipeline.concepts import build
        from ehr_pipeline.vocabulary.table import Vocabulary

        settings, checkpoint = self.study.concepts, self.require("encoder_checkpoint")
        vocabulary, seed = Vocabulary.read(self.require("vocabulary").path), self.study.study.seed
        inputs = self._versions("encoder_checkpoint", "vocabulary", "mapped_events")
        return self._make(
            "concept_embeddings",
            inputs,
            lambda out: build.build(
                checkpoint.file("checkpoint"), vocabulary, self.concept_of_code(), settings, seed, out
            ),
        )

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

        settings, encoder = self.study.embeddings, self.study.encoder
        artifacts = {
            name: self.require(name)
            for name in ("patient_dataset", "cohort", "encoder_checkpoint", "concept_embeddings", "vocabulary")
        }
        shape = {name: getattr(encoder, name) for name in ENCODER_SHAPE}
        job = {
            "settings": shape | {"batch_tokens": settings.batch_tokens},
            "seed": self.study.study.seed,
            "threads": self.study.launcher.threads,
        }
        inputs = self._versions(*artifacts, "mapped_events")
        # Outside the artifact, like a training's checkpoints: shards that one run left are not embedded again by the next.
        work = (
            self.store.folder("patient_embeddings")
            / f".embedding-{self._recipe('patient_embeddings', inputs).fingerprint}"
        )
        artifact = self._make(
            "patient_embeddings",
            inputs,
            lambda out: build.build(artifacts, self.concept_of_code(), settings, job, launch, work, out),
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
        earlier = None
        if settings.keep_numbers and self.store.has("clusters"):
            inputs, earlier = self._numbered_by(inputs)
        return self._make(
            "clusters", inputs, lambda out: build.build(dataset, cohort, embeddings, size, settings, seed, out, earlier)
        )

    def cluster_reports(self) -> Artifact:
        """Write the page."""
        from ehr_pipeline.reports import build

        upstream = [name for name in checks.ORDER if name not in ("raw_records", "cluster_reports")]
        artifacts = {name: self.require(name) for name in upstream}
        seed = self.study.study.seed
        settings_used = {
            name: artifact.manifest["settings"] for name, artifact in artifacts.items() if artifact.manifest["settings"]
        }
        terms = self.study.governance.terms
        inputs = build.Inputs(self.study.study.name, self._records(), artifacts, settings_used, seed, terms)
        return self._make(
            "cluster_reports", self._versions(*upstream), lambda out: build.build(inputs, self.study.reports, out)
        )

    # What the assets share.

    def own_settings(self, asset: str) -> dict[str, Any]:
        """The settings that decide an asset's result, apart from its inputs: their change makes it stale, and no other."""
        own: dict[str, Any]
        study, seed = self.study, {"seed": self.study.study.seed}
        encoder = fields.identity(study.encoder)
        match asset:
            case "raw_records":
                own = {name: value for name, value in fields.identity(study.records).items() if name != "mode"}
            case "extract_catalog":
                own = {"mode": study.records.mode}
            case "mapped_events":
                own = fields.identity(study.events)
            case "vocabulary":
                own = fields.identity(study.vocabulary)
            case "patient_dataset":
                own = {name: value for name, value in fields.identity(study.patients).items() if name != "split"}
            case "data_split":
                own = fields.identity(study.patients.split)
            case "encoder_checkpoint":
                own = encoder | seed
            case "concept_embeddings":
                own = fields.identity(study.concepts) | seed
            case "cohort":
                own = {"cohort": fields.identity(study.embeddings.cohort)}
            case "patient_embeddings":
                own = {
                    "pooling": fields.identity(study.embeddings.pooling),
                    "preset": study.embeddings.preset,
                    "vectors": fields.identity(study.embeddings.vectors),
                    **{name: encoder[name] for name in ENCODER_SHAPE},
                    **seed,
                }
            case "clusters":
                own = fields.identity(study.clusters) | seed
            case "cluster_reports":
                own = (
                    fields.identity(study.reports) | {"study": study.study.name, "terms": study.governance.terms} | seed
                )
            case _:
                raise AssertionError(asset)
        return own

    def code_version(self, asset: str) -> str:
        """What Dagster compares to say that an asset is stale: the version of the stage and its own settings."""
        return f"{VERSIONS[asset]}-{hash_of(self.own_settings(asset))}"

    def require(self, asset: str, partition: str | None = None) -> Artifact:
        """An artifact that passed its blocking checks. Raises MissingArtifact, GateFailed, and UserError after expiry."""
        governance.refuse_if_expired(self.study.governance)
        artifact = self.store.current(asset, partition)
        failed = [outcome for outcome in self.check(asset, partition) if outcome.blocking and not outcome.passed]
        if failed:
            told = "; ".join(f"{outcome.name}: {outcome.message}" for outcome in failed)
            raise GateFailed(f"{asset} failed its checks, so nothing is built on it. {told}")
        return artifact

    def check(self, asset: str, partition: str | None = None) -> list[checks.Outcome]:
        """The outcomes of an asset's checks."""
        artifact = self.store.current(asset, partition)
        catalog = self._versions("extract_catalog") if self.store.has("extract_catalog") else {}
        key = (f"{asset}/{partition}", hash_of([artifact.manifest["fingerprint"], catalog]))
        if key not in self._gates:
            self._gates[key] = checks.evaluate(asset, artifact, self.store, self.study)
        return self._gates[key]

    def concept_of_code(self) -> dict[str, str]:
        """The concept that each SNOMED code of the extract was mapped to."""
        with self.store.current("mapped_events").file("mapping.csv").open(encoding="utf-8", newline="") as stream:
            return {row["snomed"]: row["concept"] for row in csv.DictReader(stream) if row["concept"]}

    def extracts(self) -> list[str]:
        """Names of the extracts that count, sorted: in the landing folder, or read before. Raises MissingArtifact without any."""
        from ehr_pipeline.records import catalog

        landed = catalog.extracts_in(Path(self.study.records.landing))
        found = sorted({*landed, *self.store.partitions("raw_records")})
        if not found:
            raise MissingArtifact(
                f"{self.study.records.landing}: no extract. Put each extract into a folder of its own there, named by its date"
                " (YYYY-MM-DD); or write a synthetic one with `ehr-pipeline synth`."
            )
        return found[-1:] if self.study.records.mode == "snapshot" else found

    def is_read(self, extract: str) -> bool:
        """Whether the text that an extract has now is what its records were read from."""
        try:
            state, files = self._text_of(extract)
        except UserError:  # no file that the settings name, or one that cannot be looked at: reading it says so
            return False
        known = self._previous("raw_records", extract)
        return bool(files) and known is not None and known.manifest["inputs"] == state

    def _records(self) -> list[Artifact]:
        from ehr_pipeline.records import catalog

        return catalog.records(self.store, self.require("extract_catalog"))

    def _versions(self, *assets: str) -> dict[str, str]:
        return {asset: self.store.current(asset).data_version for asset in assets}

    def _make(
        self,
        asset: str,
        inputs: Mapping[str, str],
        build: Callable[[Path], dict[str, Any]],
        partition: str | None = None,
    ) -> Artifact:
        governance.refuse_if_expired(self.study.governance)
        if self._versions_meant.get(asset, self.code_version(asset)) != self.code_version(asset):
            raise UserError(
                f"A list that the settings of {asset} name was edited after this run began, so {asset} was not made with it."
                " Start the run again."
            )
        return self.store.make(self._recipe(asset, inputs, partition), build)

    def _recipe(self, asset: str, inputs: Mapping[str, str], partition: str | None = None) -> Recipe:
        own, population = self.own_settings(asset), checks.population(asset, self.store, self.study)
        governed = governance.label(asset, self.study.governance)
        return Recipe(asset, VERSIONS[asset], own, dict(inputs), partition, population, governed)

    def _previous(self, asset: str, partition: str | None = None) -> Artifact | None:
        """The artifact that is current, if it was made by the same version of the stage: unchanged buckets are taken from it."""
        if not self.store.has(asset, partition):
            return None
        found = self.store.current(asset, partition)
        return found if found.manifest["version"] == VERSIONS[asset] else None

    def _numbered_by(self, inputs: dict[str, str]) -> tuple[dict[str, str], Artifact | None]:
        """The inputs of the clusters with the artifact that gives them numbers: the one that is current now.

        Clusters of the same recipe that lie in the store are found again, whatever they were numbered by: so a run that changes
        nothing makes nothing, and a setting that is set back gives what it gave before.
        """
        current, own = self.store.current("clusters"), self.own_settings("clusters")
        for made in (current, *reversed(self.store.published("clusters"))):
            before, now = made.manifest["inputs"], (VERSIONS["clusters"], own, inputs)
            if (made.manifest["version"], made.manifest["settings"], _without(before, "numbers")) == now:
                return dict(before), None
        if current.manifest["version"] != VERSIONS["clusters"]:  # it may not tell its numbers in this version's way
            return inputs, None
        return inputs | {"numbers": current.data_version}, current

    def _text_of(self, extract: str) -> tuple[dict[str, str], list[Path]]:
        """What an extract is read from: its state and its files. Text that was archived after it was read has its last state."""
        from ehr_pipeline.records import build, sizing

        folder, known = Path(self.study.records.landing) / extract, self._previous("raw_records", extract)
        if known is not None and not folder.is_dir():
            return known.manifest["inputs"], []
        files = build.input_files(folder, self.study.records)
        latest = build.latest_date(extract, self.study.records).isoformat()
        buckets = self.study.records.buckets or self._buckets_of_others(extract) or sizing.buckets_for(files)
        return {"landing": input_state(files, folder), "latest_date": latest, "buckets": str(buckets)}, files

    def _buckets_of_others(self, extract: str) -> int:
        """Into how many buckets other extracts were read; 0 without any. All extracts of a study have the same number."""
        others = [other for other in self.store.partitions("raw_records") if other != extract]
        return int(self.store.current("raw_records", others[-1]).counts["buckets"]) if others else 0

    def _before_withdrawals(self, extract: str, inputs: Mapping[str, str]) -> Artifact | None:
        """The current records of an extract, if nothing but the list of withdrawals has changed since."""
        found = self._previous("raw_records", extract)
        if found is None or found.manifest["inputs"] != inputs:
            return None
        own, then = self.own_settings("raw_records"), found.manifest["settings"]
        return found if own | {"withdrawals": ""} == then | {"withdrawals": ""} else None


def _without(values: Mapping[str, str], name: str) -> dict[str, str]:
    return {key: value for key, value in values.items() if key != name}
