"""The extracts of a study: their names, the files of each, and whether its records were read from these files."""

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from ehr_pipeline.assets import ASSETS
from ehr_pipeline.errors import Damaged, InputError, MissingArtifact, UserError
from ehr_pipeline.events import build as mapping
from ehr_pipeline.records import build, catalog, sizing
from ehr_pipeline.records.extract_files import Listing, list_extract
from ehr_pipeline.runs import previous_artifact
from ehr_pipeline.store.artifacts import Artifact, Store, partition_problem
from ehr_pipeline.study.settings import Study
from ehr_pipeline.tables.asset_names import RAW_RECORDS


def names(store: Store, study: Study) -> list[str]:
    """Return the sorted names of the study's extracts: in the landing folder, or read before. In snapshot mode, only the newest.

    Raises MissingArtifact if there is none, and InputError for a folder whose name is not valid for an extract.
    """
    landed = catalog.extracts_in(Path(study.records.landing))
    for name in landed:
        if problem := partition_problem(name):
            raise InputError(
                f"{study.records.landing}: the folder {name!r} cannot be an extract, since {problem}. Rename or move it."
            )
    found = sorted({*landed, *store.partitions(RAW_RECORDS)})
    if not found:
        what = "no extract" if Path(study.records.landing).is_dir() else "there is no such folder"
        raise MissingArtifact(
            f"{study.records.landing} (records.landing): {what}. Put each extract into a separate subfolder, named by its date"
            " (YYYY-MM-DD); or write a synthetic one with `ehr-pipeline synth`."
        )
    return found[-1:] if study.records.mode == "snapshot" else found


def text_of(
    extract: str, store: Store, study: Study, read: Sequence[str] | None = None
) -> tuple[dict[str, str], Listing | None]:
    """Return an extract's inputs (state by name) and its files. If the files were archived after they had been read, return the
    inputs of that reading, and None.

    `read` lists the extracts that were read, if the caller already knows them.
    """
    folder, known = Path(study.records.landing) / extract, previous_artifact.previous(RAW_RECORDS, store, extract)
    if known is not None and not folder.is_dir():
        return known.manifest["inputs"], None
    others = terminology(study)
    listing = list_extract(
        folder, study.records, may_lack=is_one_of_several(extract, store, study, read), others=others
    )
    latest = build.latest_date(extract, study.records).isoformat()
    buckets = study.records.buckets or _other_buckets(extract, store, read) or sizing.buckets_for(listing.files)
    return {"landing": listing.state, "latest_date": latest, "buckets": str(buckets)}, listing


def terminology(study: Study) -> list[Path]:
    """Return the terminology files that the settings name: some may lie in an extract's folder, and are read by later stages."""
    try:
        return [*mapping.inputs(study.events), *([Path(study.vocabulary.mrsty)] if study.vocabulary.mrsty else [])]
    except InputError:  # the mapping reports it
        return []


def is_one_of_several(extract: str, store: Store, study: Study, read: Sequence[str] | None = None) -> bool:
    """Return whether there are further extracts, which may contain the patients of its events, or events of its patients."""
    if study.records.mode == "snapshot":
        return False
    known = store.partitions(RAW_RECORDS) if read is None else read
    if any(name != extract for name in known):  # saves listing the landing folder for each of thousands of extracts
        return True
    return any(name != extract for name in catalog.extracts_in(Path(study.records.landing)))


def is_read(extract: str, store: Store, study: Study, read: Sequence[str] | None = None) -> bool:
    """Return whether the records of an extract were read from its present files. For `read` see `text_of`."""
    try:
        state, listing = text_of(extract, store, study, read)
    except UserError:  # a missing or inaccessible file: reading the extract reports it
        return False
    known = previous_artifact.previous(RAW_RECORDS, store, extract)
    return listing is not None and known is not None and known.manifest["inputs"] == state


def before_withdrawals(extract: str, state: Mapping[str, str], store: Store, study: Study) -> Artifact | None:
    """Return the current records of an extract, if only the list of withdrawals has changed since they were made; else None."""
    records = previous_artifact.reusable(RAW_RECORDS, store, extract)
    if records is None or records.manifest["inputs"] != state:
        return None
    now, then = ASSETS[RAW_RECORDS].deciding_settings(study), records.manifest["settings"]
    return records if now | {"withdrawals": ""} == then | {"withdrawals": ""} else None


def _other_buckets(extract: str, store: Store, read: Sequence[str] | None) -> int:
    """Return the number of buckets of the other extracts; 0 if there are none. All extracts of a study have the same number."""
    known = store.partitions(RAW_RECORDS) if read is None else read
    for other in reversed(known):
        if other != extract:
            with contextlib.suppress(MissingArtifact, Damaged):  # reading that extract again repairs it
                return int(store.current(RAW_RECORDS, other).counts["buckets"])
    return 0
