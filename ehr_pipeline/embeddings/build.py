"""Build `patient_embeddings`: choose and weight tokens, start the embedding job, learn the transform, count patients without a
vector.

The artifact holds `embeddings/`, `half_a/` and `half_b/` (one row for each patient, `schemas.embeddings`), `seen/` (a hash of the
encoder's input for each patient: see `embeddings.on_new_extract`), `transform.safetensors` and `transform.json` (see
`embeddings.transform`), `quality.json` (see `embeddings.quality`), `selected.json` (ids of the pooled tokens),
`selected_concepts.csv` (the pooled concepts, with names), `substitutes.csv` (concepts that count as one, see
`concepts.substitutes`) and `variants/` (for a sample of patients, vectors made by single parts of the method: see
`embeddings.ablations`).
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ehr_pipeline.cohort.members import Cohort
from ehr_pipeline.concepts import substitutes
from ehr_pipeline.concepts.substitutes import Learns, Substitutes
from ehr_pipeline.concepts.table import read_vectors
from ehr_pipeline.disclosure import spreadsheet
from ehr_pipeline.disclosure.figures import count_text
from ehr_pipeline.embeddings import ablations, encoder_share, on_new_extract, quality, selection, transform, weights
from ehr_pipeline.embeddings.embed import PARTS, part_of, read_chunks, table_of
from ehr_pipeline.embeddings.embedding_job import EmbeddingJob
from ehr_pipeline.embeddings.pooling import attend, over_chunks
from ehr_pipeline.embeddings.settings import EmbeddingsSettings
from ehr_pipeline.embeddings.transform import Transform
from ehr_pipeline.embeddings.vectors import HALVES, SELECTED, SELECTED_CONCEPTS, SHARE, WHOLE
from ehr_pipeline.embeddings.visit_halves import half_to_learn_from
from ehr_pipeline.errors import InputError
from ehr_pipeline.patients.settings import LEARNED_FROM
from ehr_pipeline.patients.shard import Shard
from ehr_pipeline.store.artifacts import Artifact, Counts
from ehr_pipeline.tables import json_files, schemas
from ehr_pipeline.tables.align import one_chunk
from ehr_pipeline.tables.asset_names import COHORT, CONCEPT_EMBEDDINGS, DATA_SPLIT, PATIENT_DATASET, VOCABULARY
from ehr_pipeline.tables.hashing import hash_of_column
from ehr_pipeline.vocabulary.table import FIRST_CONCEPT, Vocabulary
from ehr_pipeline.work.jobs import Launch

FOLDERS = {"whole": WHOLE, **{half: half for half in HALVES}}
LEARNED = ("aggregator", "reliable", "substitutes", SHARE)
"""Counts that describe the transform; they are copied when an earlier artifact's transform is used."""
FITTED_PATIENTS = 50_000
"""Largest number of patients from which the transform is learned, drawn at random."""


def build(
    artifacts: dict[str, Artifact],
    settings: EmbeddingsSettings,
    job: EmbeddingJob,
    out: Path,
    earlier: Artifact | None = None,
    *,
    listed: Callable[[], frozenset[str]],
    launch: Launch,
) -> Counts:
    """Embed the cohort and write the artifact to `out`. Raises InputError if no patient has a pooled concept.

    `listed` returns the concepts of the list of concepts to pool; it is called only if there is no `earlier` artifact. With an
    `earlier` artifact of the same encoder, its transform is used again, so vectors are comparable with those of that artifact, and
    only new or changed patients are embedded. Concepts that the encoder does not know are left out and counted. Chunk vectors stay
    in the job's `work` folder until all are complete, so a killed job can resume; the caller removes the folder.
    """
    vectors = np.asarray(read_vectors(artifacts[CONCEPT_EMBEDDINGS].path))
    vocabulary = Vocabulary.read(artifacts[VOCABULARY].path).first(len(vectors))
    members = Cohort.read(artifacts[COHORT].path)
    dataset = artifacts[PATIENT_DATASET].files("patients")
    learns, learned, same = learners(artifacts), None, None
    if earlier:
        learned = Transform.read(earlier.path)
        on_new_extract.take_over(earlier, out)
        token_weights = learned.weights
    else:
        chosen = selection.select(settings.pooling, vocabulary, vectors, listed())
        same = substitutes.find(dataset, settings.vectors.habits, vocabulary.size, job.seed, learns)
        token_weights = _choose(chosen, same or Substitutes.none(), vocabulary, settings, out)
    for part in PARTS:
        (job.work / part).mkdir(parents=True, exist_ok=True)
    everybody = _Cohort(dataset, members, job.work, job.seed, len(token_weights), learns)
    merged, tokens = _kept_vectors(everybody, earlier, out)
    cohort = replace(everybody, members=everybody.only(merged))
    if earlier:
        ablations.take_over(
            earlier, out, pa.concat_arrays([part.ids.filter(pa.array(part.kept)) for part in merged.values()])
        )
    if len(cohort.members) or not earlier:
        job.lay_out(cohort.members, token_weights)
        launch(job)
    if learned is None:
        fit = partial(
            transform.fit,
            weights=token_weights,
            vectors=vectors,
            substitutes=same or Substitutes.none(),
            occurrences=cohort.occurrences(len(token_weights)),
            seed=cohort.seed,
        )
        samples = _samples(cohort)
        learned, figures = fit(settings.vectors, samples=samples)
        learned, of_share = _with_share(learned, samples, cohort)
        figures |= of_share
        figures |= {"substitutes": len(same.pairs)} if same else {}
        learned.write(out)
        ablations.write(out, dataset, samples, learned, lambda other, few: fit(other, samples=few)[0])
        del samples
    embedded = _write_vectors(out, cohort, learned, merged, earlier)
    if not embedded:
        raise _nobody(len(members))
    plain = None if earlier else cohort.plain_vectors()
    measured = quality.measure(out, dataset, members, plain=plain, chosen=token_weights > 0, vocabulary=vocabulary)
    if earlier:  # keep the transform's figures: they describe the patients that it was learned from
        figures = {name: earlier.counts[name] for name in LEARNED if name in earlier.counts}
        measured["collapse_published"] = earlier.counts["quality"]["collapse_published"]
    json_files.write(out / "quality.json", measured)
    return {
        "rows_in": len(members),
        "kept": embedded,
        "dropped": {"no_chosen_concept": len(members) - embedded},
        "tokens": tokens,
        "dimensions": read_width(out),
        "preset": settings.preset,
        "pooling": settings.pooling.select,
        "selected_concepts": int((token_weights > 0).sum()),
        **figures,
        "quality": measured,
    }


def _choose(
    chosen: NDArray[np.bool_], same: Substitutes, vocabulary: Vocabulary, settings: EmbeddingsSettings, out: Path
) -> NDArray[np.float32]:
    """Write the pooled concepts: the chosen ones and their substitutes. Return the weight (V,) of each token id."""
    chosen = same.extend(chosen)
    _write_selected(out, vocabulary, chosen)
    same.write(out, vocabulary)
    return weights.token_weights(settings.vectors, chosen, *frequencies(vocabulary))


def _with_share(learned: Transform, samples: list[transform.Sample], cohort: "_Cohort") -> tuple[Transform, Counts]:
    """Return the transform with the encoder's share and, if that was chosen from the data, the measures behind the choice."""
    if learned.settings.encoder_share != "auto":
        return learned, {}
    if not learned.settings.profile:
        return replace(learned, settings=replace(learned.settings, encoder_share=1.0)), {}
    chosen = encoder_share.choose(learned, samples, cohort.kinds, cohort.seed)
    return replace(learned, settings=replace(learned.settings, encoder_share=chosen.share)), {SHARE: chosen.as_dict()}


def _samples(cohort: "_Cohort") -> list[transform.Sample]:
    """Return patients to learn the transform from, with their chunk vectors. Raises InputError if there are none."""
    if not cohort.anybody():
        raise _nobody(len(cohort.members))
    if not cohort.learning:
        raise InputError(
            "No patient of the cohort is in the training or the validation set, so no transform can be learned. See"
            " patients.split, and the lists under [[embeddings.cohort]]."
        )
    return list(cohort.samples())


def learners(artifacts: Mapping[str, Artifact]) -> Learns:
    """Return a function that flags the patients to learn from: with a split, those in the sets LEARNED_FROM, otherwise all."""
    if DATA_SPLIT not in artifacts:
        return substitutes.everybody
    folder = artifacts[DATA_SPLIT].file("split")

    def learns(path: Path) -> NDArray[np.bool_]:
        sides = schemas.read(folder / path.name, ["side"]).column("side")
        flags: NDArray[np.bool_] = pc.is_in(sides, value_set=pa.array(LEARNED_FROM)).to_numpy()
        return flags

    return learns


def learned_from(artifacts: Mapping[str, Artifact]) -> Iterator[NDArray[np.uint64]]:
    """Yield hashes of the patients from whom the transform may be learned, by shard."""
    learns = learners(artifacts)
    for path in artifacts[PATIENT_DATASET].files("patients"):
        ids = schemas.read(path, ["patient_id"]).column("patient_id").filter(pa.array(learns(path)))
        yield hash_of_column(ids)


def read_width(out: Path) -> int:
    """Return the length of each vector of the artifact in a folder."""
    width: int = schemas.read(next(iter(sorted((out / WHOLE).iterdir())))).schema.field("vector").type.list_size
    return width


def _nobody(count: int) -> InputError:
    return InputError(
        f"None of the {count_text(count)} cohort patients has a chosen concept. Choose other concepts under [embeddings.pooling]."
    )


def _kept_vectors(
    cohort: "_Cohort", earlier: Artifact | None, out: Path
) -> tuple[dict[str, on_new_extract.MergedVectors], Counts]:
    """Write a hash of the encoder's input for each patient. Return which patients of each shard keep their earlier vector, and how
    many tokens the encoder knows."""
    merged, total, known = {}, 0, 0
    for path in cohort.dataset:
        rows, ids, shard = cohort.rows(path), cohort.ids(path).combine_chunks(), cohort.shard(path)
        now = on_new_extract.input_hashes(shard, rows, ids)
        schemas.write(out / on_new_extract.INPUT_HASHES / path.name, now)
        kept = on_new_extract.unchanged(now, earlier, path.name) if earlier else np.zeros(len(rows), bool)
        merged[path.name] = on_new_extract.MergedVectors(ids, kept)
        known += int(np.diff(shard.patient_tokens)[rows].sum())
        total += int(np.diff(Shard.read(path).patient_tokens)[rows].sum())
    return merged, {"rows_in": total, "kept": known, "dropped": {"unknown_to_the_encoder": total - known}}


def _write_vectors(
    out: Path,
    cohort: "_Cohort",
    learned: Transform,
    merged: dict[str, on_new_extract.MergedVectors],
    earlier: Artifact | None,
) -> int:
    """Write the vectors of all patients: of whole records and of both halves. Return the number of patients with a vector."""
    embedded = 0
    for name, folder in FOLDERS.items():
        for number, path in enumerate(cohort.dataset):
            before = earlier.file(f"{folder}/{path.name}") if earlier else None
            if len(cohort.members) or before is None:
                table = table_of(cohort.ids(path), learned.apply(cohort.part(name, number)))
            else:
                table = schemas.read(before).slice(0, 0)
            if before is not None:
                table = merged[path.name].table(before, table)
            schemas.write(out / folder / path.name, table)
            embedded += table.num_rows if name == "whole" else 0
    return embedded


def frequencies(vocabulary: Vocabulary) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return how often each token id (V,) occurs in the whole extract, and how many patients (V,) have it."""
    counts = np.zeros((2, vocabulary.size), np.int64)
    for concept in vocabulary.concepts:
        counts[:, concept.token_id] = concept.appearances, concept.patients
    return counts[0], counts[1]


@dataclass(frozen=True)
class _Cohort:
    """Patients of the cohort, shard by shard, with the chunk vectors that the job has written."""

    dataset: list[Path]
    members: Cohort
    work: Path
    seed: int
    size: int
    """Number of token ids that the encoder knows."""
    learns: Learns
    """Flags the patients from which the transform is learned."""

    @property
    def learning(self) -> int:
        """Return the number of the cohort's patients from whom the transform is learned."""
        return sum(int(self.learns(path)[self.rows(path)].sum()) for path in self.dataset)

    def rows(self, path: Path) -> NDArray[np.int64]:
        return self.members.rows(path.name)

    def ids(self, path: Path) -> pa.ChunkedArray:
        return schemas.read(path, ["patient_id"]).column("patient_id").take(pa.array(self.rows(path)))

    def shard(self, path: Path) -> Shard:
        """Read a shard without the token ids that the encoder does not know."""
        return Shard.read(path).below(self.size)

    def only(self, merged: dict[str, on_new_extract.MergedVectors]) -> Cohort:
        """Return the patients who need a new vector, because they do not keep an earlier one."""
        new = [part.ids.filter(pa.array(~part.kept)) for part in merged.values()]
        return self.members.among(pa.concat_arrays(new))

    def part(self, name: str, number: int) -> transform.Part:
        """Return the patients of the shard with the index `number`: their whole records or one half of each, by `name`."""
        path = self.dataset[number]
        shard = part_of(path, self.shard(path), self.rows(path), name, self.seed)
        return transform.Part(shard, self.rows(path), read_chunks(self.work / name / path.name))

    def anybody(self) -> bool:
        """Return whether any patient has a pooled concept."""
        return any(schemas.read(path, ["patient"]).num_rows for path in sorted((self.work / "whole").iterdir()))

    def occurrences(self, size: int) -> NDArray[np.int64]:
        """Return how often each token id (V,) occurs in the records of the patients from whom the transform is learned."""
        counts = np.zeros(size, np.int64)
        for path in self.dataset:
            shard, flags = self.shard(path), np.zeros(schemas.read(path, ["patient_id"]).num_rows, bool)
            flags[self.rows(path)] = True
            flags &= self.learns(path)
            counts += np.bincount(shard.tokens[np.repeat(flags, np.diff(shard.patient_tokens))], minlength=size)
        return counts

    def kinds(self, number: int, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Return disease and sex, as one text (P,), of the patients in some rows of a shard."""
        table = schemas.read(self.dataset[number], ["patient_id", "sex"]).take(pa.array(rows))
        diseases = self.members.of(one_chunk(table.column("patient_id"))).table.column("disease").to_pylist()
        sexes = table.column("sex").to_pylist()
        return np.array([f"{disease}|{sex}" for disease, sex in zip(diseases, sexes, strict=True)])

    def samples(self) -> Iterator[transform.Sample]:
        """Yield the training samples, one for each shard: the same share of its patients, about FITTED_PATIENTS in total."""
        rng = np.random.default_rng([self.seed, 0x5A3])
        share = min(FITTED_PATIENTS / max(self.learning, 1), 1.0)
        for number, path in enumerate(self.dataset):
            parts = [self.part(name, number) for name in PARTS]
            learning = np.flatnonzero(self.learns(path)[parts[0].patients])
            count = len(learning)
            drawn = np.sort(learning[rng.permutation(count)[: int(np.ceil(share * count))]])
            whole, one, other = (transform.some_of(part, drawn) for part in parts)
            # The random division into halves is drawn only for the visits of the sampled patients.
            half = half_to_learn_from(len(whole.shard.visit_day), number, self.seed)
            views = (whole.shard.keep_visits(half), whole.shard.keep_visits(~half))
            yield transform.Sample(whole, (one, other), views)

    def plain_vectors(self) -> Iterator[NDArray[np.float32]]:
        """Yield vectors by the published method, for comparison: shard by shard, of the patients who have a vector."""
        for number in range(len(self.dataset)):
            part = self.part("whole", number)
            pooled = over_chunks(part.chunks, len(part.patients), attend)
            yield pooled.vectors_PD[pooled.tokens > 0]


def _write_selected(out: Path, vocabulary: Vocabulary, chosen: NDArray[np.bool_]) -> None:
    tokens = np.flatnonzero(chosen).tolist()
    (out / SELECTED).write_text(json.dumps(tokens) + "\n", encoding="utf-8")
    known = ((token, vocabulary.concepts[token - FIRST_CONCEPT]) for token in tokens)
    rows = ((token, one.concept, one.name) for token, one in known)
    spreadsheet.write(out / SELECTED_CONCEPTS, schemas.POOLED, rows)
