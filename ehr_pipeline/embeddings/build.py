"""`patient_embeddings`: choose and weigh the tokens, launch the embedding job, learn the transform, and count who has no vector.

The artifact holds `embeddings/`, `half_a/` and `half_b/` (one row for each patient, `schemas.embeddings`), `transform.safetensors`
and `transform.json` (see `embeddings.transform`), `quality.json` (see `embeddings.quality`), `selected.json` (chosen token ids)
and `selected_concepts.csv` (the same for people).
"""

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ehr_pipeline import jobs, schemas
from ehr_pipeline.artifacts import Artifact, Counts
from ehr_pipeline.embeddings import quality, selection, transform, weights
from ehr_pipeline.embeddings.cohort import rows_of_shard
from ehr_pipeline.embeddings.embed import PARTS, part_of, read_chunks, table_of
from ehr_pipeline.embeddings.halves import half_to_learn_from
from ehr_pipeline.embeddings.pooling import attend, over_chunks
from ehr_pipeline.embeddings.settings import EmbeddingsSettings
from ehr_pipeline.encoder.sequences import Shard
from ehr_pipeline.errors import InputError
from ehr_pipeline.vocabulary.table import FIRST_CONCEPT, Vocabulary

FOLDERS = {"whole": "embeddings", "half_a": "half_a", "half_b": "half_b"}
FITTED_PATIENTS = 50_000
"""The transform is learned from at most so many patients, drawn at random."""


def build(
    artifacts: dict[str, Artifact],
    concept_of_code: dict[str, str],
    settings: EmbeddingsSettings,
    job: jobs.Job,
    launch: Callable[[str, jobs.Job], None],
    work: Path,
    out: Path,
) -> Counts:
    """Embed the cohort into `out`. Raises InputError when no patient has a chosen concept.

    Chunk vectors are kept in `work` until all are there, so that a job which was killed goes on; the caller removes it.
    """
    vocabulary = Vocabulary.read(artifacts["vocabulary"].path)
    vectors = np.load(artifacts["concept_embeddings"].file("vectors.npy"))
    chosen = selection.select(settings.pooling, vocabulary, vectors, concept_of_code)
    _write_selected(out, vocabulary, chosen)
    own = weights.token_weights(settings.vectors, chosen, *frequencies(vocabulary))
    for part in PARTS:
        (work / part).mkdir(parents=True, exist_ok=True)
    np.save(work / "weights.npy", own)
    cohort_file = artifacts["cohort"].file("cohort.arrow")
    places: dict[str, Any] = {
        "checkpoint": str(artifacts["encoder_checkpoint"].file("checkpoint")),
        "vocabulary": str(artifacts["vocabulary"].path),
        "dataset": str(artifacts["patient_dataset"].file("patients")),
        "cohort": str(cohort_file),
        "weights": str(work / "weights.npy"),
        "work": str(work),
    }
    launch("ehr_pipeline.embeddings.embed", job | places)
    cohort = _Cohort(artifacts["patient_dataset"].files("patients"), schemas.read(cohort_file), work, job["seed"])
    patients = cohort.members.num_rows
    if not cohort.anybody():
        raise InputError(
            f"None of the {patients:,} cohort patients has a chosen concept. Choose other concepts under [embeddings.pooling]."
        )
    learned, told = transform.fit(
        settings.vectors, own, vectors, cohort.occurrences(vocabulary.size), list(cohort.samples()), job["seed"]
    )
    learned.write(out)
    embedded = 0
    for name, folder in FOLDERS.items():
        for number, path in enumerate(cohort.dataset):
            made = table_of(cohort.ids(path), learned.apply(cohort.part(name, number)))
            schemas.write(out / folder / path.name, made)
            embedded += made.num_rows if name == "whole" else 0
    measured = quality.measure(out, cohort.dataset, cohort.members, cohort.plain_vectors(), own > 0, vocabulary)
    (out / "quality.json").write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")
    width = learned.apply(cohort.part("whole", 0)).vectors_PD.shape[1]
    return {
        "rows_in": patients,
        "kept": embedded,
        "dropped": {"no_chosen_concept": patients - embedded},
        "dimensions": width,
        "preset": settings.preset,
        "pooling": settings.pooling.select,
        "selected_concepts": int(chosen.sum()),
        **told,
        "quality": measured,
    }


def frequencies(vocabulary: Vocabulary) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Occurrences of each token id (V,) in the whole extract, and how many patients have it."""
    counts = np.zeros((2, vocabulary.size), np.int64)
    for concept in vocabulary.concepts:
        counts[:, concept.token_id] = concept.appearances, concept.patients
    return counts[0], counts[1]


class _Cohort:
    """The cohort's patients shard by shard, with the chunk vectors that the job left."""

    def __init__(self, dataset: list[Path], members: pa.Table, work: Path, seed: int):
        self.dataset, self.members, self.work, self.seed = dataset, members, work, seed

    def rows(self, path: Path) -> NDArray[np.int64]:
        return rows_of_shard(self.members, path.name)

    def ids(self, path: Path) -> pa.ChunkedArray:
        return schemas.read(path, ["patient_id"]).column("patient_id").take(pa.array(self.rows(path)))

    def part(self, name: str, number: int) -> transform.Part:
        """All cohort patients of a shard, whole or halved."""
        path = self.dataset[number]
        shard = part_of(Shard.read(path), name, number, self.seed)
        return transform.Part(shard, self.rows(path), read_chunks(self.work / name / path.name))

    def anybody(self) -> bool:
        """Whether any patient has a chosen concept."""
        return any(schemas.read(path, ["patient"]).num_rows for path in sorted((self.work / "whole").iterdir()))

    def occurrences(self, size: int) -> NDArray[np.int64]:
        """Tokens (V,) of the cohort."""
        counts = np.zeros(size, np.int64)
        for path in self.dataset:
            shard, own = Shard.read(path), np.zeros(schemas.read(path, ["patient_id"]).num_rows, bool)
            own[self.rows(path)] = True
            counts += np.bincount(shard.tokens[np.repeat(own, np.diff(shard.patient_tokens))], minlength=size)
        return counts

    def samples(self) -> Iterator[transform.Sample]:
        """At most FITTED_PATIENTS, from every shard its share."""
        rng = np.random.default_rng([self.seed, 0x5A3])
        share = min(FITTED_PATIENTS / max(self.members.num_rows, 1), 1.0)
        for number in range(len(self.dataset)):
            parts = [self.part(name, number) for name in PARTS]
            count = len(parts[0].patients)
            own = np.sort(rng.permutation(count)[: int(np.ceil(share * count))])
            whole, one, other = (transform.some_of(part, own) for part in parts)
            # Each shard's division is drawn for the sampled patients' visits alone.
            half = half_to_learn_from(len(whole.shard.visit_day), number, self.seed)
            views = (whole.shard.keep_visits(half), whole.shard.keep_visits(~half))
            yield transform.Sample(whole, (one, other), views)

    def plain_vectors(self) -> Iterator[NDArray[np.float32]]:
        """The published vectors of each shard's patients that have one, to compare with."""
        for number in range(len(self.dataset)):
            part = self.part("whole", number)
            pooled = over_chunks(part.chunks, len(part.patients), attend)
            yield pooled.vectors_PD[pooled.tokens > 0]


def _write_selected(out: Path, vocabulary: Vocabulary, chosen: NDArray[np.bool_]) -> None:
    tokens = np.flatnonzero(chosen).tolist()
    (out / "selected.json").write_text(json.dumps(tokens) + "\n", encoding="utf-8")
    with (out / "selected_concepts.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("token_id", "concept", "name"))
        writer.writerows(
            (token, vocabulary.concepts[token - FIRST_CONCEPT].concept, vocabulary.name(token)) for token in tokens
        )
