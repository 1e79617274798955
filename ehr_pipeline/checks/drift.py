"""Checks that compare the newest extract with the previous one."""

from functools import lru_cache
from pathlib import Path

from ehr_pipeline.checks.model import Check, Result
from ehr_pipeline.disclosure.kinds import Score
from ehr_pipeline.events.table import Mapping
from ehr_pipeline.records import catalog, drift
from ehr_pipeline.store.artifacts import Artifact, Store
from ehr_pipeline.study.settings import Study
from ehr_pipeline.tables.asset_names import EXTRACT_CATALOG, RAW_RECORDS


def compared_with_previous(kind: str, measure: str) -> Check:
    """Return a check that compares the newest extract in the catalog with the previous one. `measure` says what it compares."""

    def test(artifact: Artifact, store: Store, study: Study) -> Result:
        listed = catalog.read(store.intact(EXTRACT_CATALOG).path)
        if len(listed) < 2:
            return True, "there is no extract before this one", {}
        before, newest = sorted(listed)[-2:]
        old, new = (drift.profile(store.intact(RAW_RECORDS, name).path) for name in (before, newest))
        if min(old.patients, new.patients) < max(drift.MIN_PATIENTS, study.reports.suppress_below):
            return True, f"too few patients in the bucket to compare {newest} with {before}", {}
        difference = drift.differences(new, old, _mapped_codes(artifact.path)).get(kind)
        if difference is None:
            return True, f"not known for {newest} or for {before}", {}
        limit = drift.LIMITS[kind]
        message = f"{newest} compared with {before}: {measure} {difference:.3f} (drift if at least {limit:g})"
        return difference < limit, message, {kind: Score(difference)}

    return Check(
        f"drift_{kind}", f"The newest extract compared with the previous one: {measure}.", test, blocking=False
    )


@lru_cache(maxsize=1)
def _mapped_codes(mapped: Path) -> frozenset[str]:
    """Return the codes, as recorded in the extracts, that have a concept."""
    return frozenset(Mapping.read(mapped, "code", "concept").mapped["code"])
