"""The extracts of a study: which there are, what text each is read from, and whether its records were read from that."""

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from ehr_pipeline.assets import ASSETS
from ehr_pipeline.chain import incremental
from ehr_pipeline.errors import Damaged, InputError, MissingArtifact, UserError
from ehr_pipeline.records import build, catalog, sizing
from ehr_pipeline.records.listing import Listing, list_extract
from ehr_pipeline.store.artifacts import Artifact, Store, partition_problem
from ehr_pipeline.study.settings import Study
from ehr_pipeline.tables.asset_names import RAW_RECORDS


def names(store: Store, study: Study) -> list[str]:
    """Names of the extracts that count, sorted: in the landing folder, or read before.

    Raises MissingArtifact without any, and InputError for a folder whose name cannot be an extract's.
    """
    landed = catalog.extracts_in(Path(study.records.landing))
    for name in landed:
        if problem := partition_problem(name):
            raise InputError(
                f"{study.records.landing}: the folder {name!r} cannot be an extract, since {problem}. Rename it, or take it out."
            )
    found = sorted({*landed, *store.partitions(RAW_RECORDS)})
    if not found:
        what = "no extract" if Path(study.records.landing).is_dir() else "there is no such folder"
        raise MissingArtifact(
            f"{study.records.landing} (records.landing): {what}. Put each extract into a folder of its own there, named by its date"
            " (YYYY-MM-DD); or write a synthetic one with `ehr-pipeline synth`."
        )
    return found[-1:] if study.records.mode == "snapshot" else found


def text_of(
    extract: str, store: Store, study: Study, read: Sequence[str] | None = None
) -> tuple[dict[str, str], Listing | None]:
    """What an extract is read from: its state and its files. Text that was archived after it was read has its last state, and none.

    `read` are the extracts that were read, where the caller knows them already.
    """
    folder, known = Path(study.records.landing) / extract, incremental.previous(RAW_RECORDS, store, extract)
    if known is not None and not folder.is_dir():
        return known.manifest["inputs"], None
    listing = list_extract(folder, study.records, may_lack=adds_to_others(extract, store, study, read))
    latest = build.latest_date(extract, study.records).isoformat()
    buckets = study.records.buckets or _buckets_of_others(extract, store, read) or sizing.buckets_for(listing.files)
    return {"landing": listing.state, "latest_date": latest, "buckets": str(buckets)}, listing


def adds_to_others(extract: str, store: Store, study: Study, read: Sequence[str] | None = None) -> bool:
    """Whether an extract is read beside others, which may have the patients of its events, or the events of its patients."""
    if study.records.mode == "snapshot":
        return False
    known = store.partitions(RAW_RECORDS) if read is None else read
    if any(name != extract for name in known):  # else the landing folder would be listed once for each of thousands
        return True
    return any(name != extract for name in catalog.extracts_in(Path(study.records.landing)))


def is_read(extract: str, store: Store, study: Study, read: Sequence[str] | None = None) -> bool:
    """Whether the text that an extract has now is what its records were read from. For `read` see `text_of`."""
    try:
        state, listing = text_of(extract, store, study, read)
    except UserError:  # no file that the settings name, or one that cannot be looked at: reading it says so
        return False
    known = incremental.previous(RAW_RECORDS, store, extract)
    return listing is not None and known is not None and known.manifest["inputs"] == state


def before_withdrawals(extract: str, state: Mapping[str, str], store: Store, study: Study) -> Artifact | None:
    """The current records of an extract, if nothing but the list of withdrawals has changed since."""
    found = incremental.reusable(RAW_RECORDS, store, extract)
    if found is None or found.manifest["inputs"] != state:
        return None
    own, then = ASSETS[RAW_RECORDS].own_settings(study), found.manifest["settings"]
    return found if own | {"withdrawals": ""} == then | {"withdrawals": ""} else None


def _buckets_of_others(extract: str, store: Store, read: Sequence[str] | None) -> int:
    """Into how many buckets other extracts were read; 0 without any. All extracts of a study have the same number."""
    known = store.partitions(RAW_RECORDS) if read is None else read
    for other in reversed(known):
        if other != extract:
            with contextlib.suppress(MissingArtifact, Damaged):  # its own reading mends it
                return int(store.current(RAW_RECORDS, other).counts["buckets"])
    return 0
