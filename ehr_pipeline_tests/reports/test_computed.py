"""What the page tells of versions and years."""

import platform
from importlib import metadata

import numpy as np

from ehr_pipeline import schemas
from ehr_pipeline.pipeline import Pipeline
from ehr_pipeline.reports import chosen, computed
from ehr_pipeline.reports.disclosure import Disclosure
from ehr_pipeline.reports.inputs import Inputs


def test_versions_are_those_that_are_installed() -> None:
    told = dict(computed.versions())
    assert told["Python"] == platform.python_version()
    assert told["umap-learn"] == metadata.version("umap-learn")


def test_years_with_few_patients_are_not_told(tiny: Pipeline) -> None:
    dataset = tiny.store.current("patient_dataset")
    patients: dict[int, set[str]] = {}
    for path in dataset.files("patients"):
        for row in schemas.read(path, ["patient_id", "visits"]).to_pylist():
            for visit in row["visits"]:
                patients.setdefault(visit["date"].year, set()).add(row["patient_id"])
    sizes = sorted({len(found) for found in patients.values()})
    assert len(sizes) > 2, "otherwise this tests nothing"
    for below in (1, 10, int(np.median(sizes))):
        enough = [year for year, found in patients.items() if len(found) >= below]
        assert computed.years(dataset, Disclosure(below)) == f"{min(enough)} to {max(enough)}"
    assert computed.years(dataset, Disclosure(10**6)) == "too few patients to tell"


def test_a_release_that_the_mapping_does_not_know_is_told_as_such(tiny: Pipeline) -> None:
    artifact = tiny.store.current("mapped_events")
    settings = {"mapped_events": artifact.manifest["settings"]}
    inputs = Inputs("tiny", [], {"mapped_events": artifact}, settings, 0, {})
    assert "not told by the mapping table" in chosen._source(inputs)
    other = {"mapped_events": settings["mapped_events"] | {"source": "without a version"}}
    assert "not told" not in chosen._source(Inputs("tiny", [], {"mapped_events": artifact}, other, 0, {}))
