"""Apply a trained encoder to new patients: turn a raw extract into one vector per patient, by the model's vocabulary.

    ehr-pipeline embed --model CHECKPOINT --vectors EMBEDDINGS --extract FOLDER --settings FILE --out embeddings.arrow [--cut FILE]

The extract is read, mapped and laid out as the settings say, in a scratch folder of the study's store. The folder is removed at
the end (after a kill, by the next run), so only the vectors remain. Concepts that the model does not know are left out and
counted: the vocabulary is never extended, since token ids would change their meaning. The vectors are made like those of the
patient_embeddings artifact that `--vectors` names, so they are comparable with them. With `--cut`, vectors are made for
histories instead (`histories`).
"""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa

from ehr_pipeline.disclosure.figures import count_text
from ehr_pipeline.embeddings.embed import table_of
from ehr_pipeline.embeddings.embedding_job import Inference
from ehr_pipeline.embeddings.pooling import pool_chunks
from ehr_pipeline.embeddings.transform import Part, Transform
from ehr_pipeline.encoder import checkpoint, hardware_choices
from ehr_pipeline.encoder.devices import process_group
from ehr_pipeline.encoder.model import PackedEncoder
from ehr_pipeline.errors import InputError
from ehr_pipeline.patients import dataset, training_patients
from ehr_pipeline.patients.settings import SplitSettings
from ehr_pipeline.patients.shard import Shard
from ehr_pipeline.records.extract_files import tree_of
from ehr_pipeline.records.patients import latest_day
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.store import build_lock, integrity, publishing, secret_key
from ehr_pipeline.store.artifacts import Artifact, Counts
from ehr_pipeline.study.settings import Study
from ehr_pipeline.tables import schemas
from ehr_pipeline.vocabulary.table import FILE, Vocabulary

PATIENTS = "patients"


def embed(study: Study, model: Path, vectors: Path, extract: Path, out: Path) -> Counts:
    """Write the vectors of an extract's patients to the Arrow file `out` (`schemas.embeddings`), which appears only when complete.
    Return counts.

    Context, age unit and number of positions come from the checkpoint, and so does the precision if the setting is 'auto'. Raises
    InputError if a folder is not of the expected kind, and UserError if `out` is a folder or a special file.
    """
    vocabulary, transform = checked(model, vectors, extract, out)
    with build_lock.scratch(Path(study.study.store)) as folder:
        _, counts = patients(study, model, extract, folder)
        table = _vectors(study, model, vocabulary, transform, folder)
    with publishing.whole(out, replace=True) as part:
        schemas.write(part, table)
    return {
        "rows_in": counts["patients"]["kept"],
        "kept": table.num_rows,
        "dropped": {"no_chosen_concept": counts["patients"]["kept"] - table.num_rows},
        "not_in_vocabulary": counts["dropped"]["not_in_vocabulary"],
        **whom_it_knows(study, model, table.column("patient_id")),
    }


def checked(model: Path, vectors: Path, extract: Path, out: Path) -> tuple[Vocabulary, Transform]:
    """Read the vocabulary of a checkpoint and the transform of its vectors. Raises as `embed` does."""
    publishing.refuse_existing(out, replace=True)
    if not (model / FILE).is_file():
        raise InputError(
            f"{model}: no vocabulary.csv. Set --model to the folder `checkpoint` of an encoder_checkpoint artifact, or to a copy of"
            " it."
        )
    if not extract.is_dir():
        raise InputError(f"{extract}: this folder does not exist. Set --extract to the folder of one extract.")
    for folder in (model, vectors):
        integrity.verify_copy(folder)
    vocabulary, transform = Vocabulary.read(model), Transform.read(vectors)
    if len(transform.weights) != vocabulary.size:
        raise InputError(
            f"{vectors} was made with another vocabulary than {model}. Set --vectors to embeddings made with this model."
        )
    return vocabulary, transform


def whom_it_knows(study: Study, model: Path, ids: pa.ChunkedArray) -> dict[str, str]:
    """Return a text on how many of the patients `ids` the model was trained or validated on; or, if that is unknown, why and which
    file is needed.

    Empty for a study without a test set, which does not record its training patients.
    """
    if not study.patients.split.leaves_out:
        return {}
    artifact, key = model.resolve().parent, secret_key.read(Path(study.study.store))
    if why := training_patients.cannot_be_checked(artifact, key):
        return {"training": f"{model}: {why}."}
    assert key is not None
    seen = training_patients.overlap(artifact, key, pl.Series(ids.to_pylist(), dtype=pl.String))
    below = study.reports.suppress_below
    return {"training": f"the model was trained, or validated, on {count_text(seen, below)} of these patients"}


def patients(study: Study, model: Path, extract: Path, work: Path) -> tuple[Artifact, Counts]:
    """Write the patients of an extract below `work`, as the model reads them (`PATIENTS`). Return the records, and counts."""
    landing, place = work / "landing", extract.absolute()
    extract = place.resolve()
    # `init` links a folder under the date of the extract, which the folder's own name need not have
    name = place.name if latest_day("", place.name) else extract.name
    tree_of(extract, study.records)  # check the rule on links; the link made below is ours, not the study's
    landing.mkdir()
    (landing / name).symlink_to(extract)
    pipeline = Pipeline(
        dataclasses.replace(
            study,
            study=dataclasses.replace(study.study, store=str(work / "store")),
            records=dataclasses.replace(study.records, landing=str(landing), follow_links=True),
            patients=dataclasses.replace(study.patients, split=SplitSettings()),  # nothing is learned here
        )
    )
    records = pipeline.raw_records(name)
    pipeline.extract_catalog()
    return records, dataset.build([records], pipeline.mapped_events(), model, study.patients, work / PATIENTS)


def _vectors(study: Study, model: Path, vocabulary: Vocabulary, transform: Transform, work: Path) -> pa.Table:
    """Return the vectors (`schemas.embeddings`) of the patients below the folder `work`."""
    tables = []
    with model_at_work(study, model, vocabulary) as (encoder, how):
        for path in shards(work):
            ids, shard = schemas.read(path, ["patient_id"]).column("patient_id"), Shard.read(path)
            everybody = np.arange(len(ids))
            chunks = pool_chunks(encoder, shard, everybody, transform.weights, how)
            tables.append(table_of(ids, transform.apply(Part(shard, everybody, chunks))))
    return pa.concat_tables(tables)


def shards(work: Path) -> list[Path]:
    """Return the shards of the patients that `patients` wrote below `work`."""
    return sorted((work / PATIENTS / "patients").glob("*.arrow"))


@contextmanager
def model_at_work(study: Study, model: Path, vocabulary: Vocabulary) -> Iterator[tuple[PackedEncoder, Inference]]:
    """Yield the encoder of a checkpoint on its device, and how it is run."""
    with process_group(study.launcher.threads) as device:
        encoder = checkpoint.load(model, vocabulary, device)
        config = encoder.stock.config
        yield (
            encoder,
            Inference(
                context=config.context,
                age_unit=config.age_unit,
                max_positions=config.max_position_embeddings,
                batch_tokens=study.embeddings.batch_tokens,
                precision=hardware_choices.precision_of(study.encoder.precision, config),
            ),
        )
