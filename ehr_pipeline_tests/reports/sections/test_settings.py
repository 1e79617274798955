"""What the page tells of versions and years."""

import platform
from dataclasses import replace
from importlib import metadata

import numpy as np

from ehr_pipeline.disclosure.suppression import Disclosure
from ehr_pipeline.reports.inputs import Inputs
from ehr_pipeline.reports.sections import settings as section
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.tables import schemas


def test_versions_are_those_that_are_installed() -> None:
    told = dict(section.versions())
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
        assert section.years(dataset, Disclosure(below)) == f"{min(enough)} to {max(enough)}"
    assert section.years(dataset, Disclosure(10**6)) == ""


def test_a_release_that_the_mapping_does_not_know_is_told_as_such(tiny: Pipeline) -> None:
    artifact = tiny.store.current("mapped_events")
    settings = {"mapped_events": artifact.manifest["settings"]}
    inputs = Inputs("tiny", [], {"mapped_events": artifact}, settings, 0, {})
    assert "release unknown" in section._source(inputs)
    other = {"mapped_events": settings["mapped_events"] | {"source": "without a version"}}
    assert "unknown release" not in section._source(Inputs("tiny", [], {"mapped_events": artifact}, other, 0, {}))


def test_what_was_changed_of_a_preset_is_told(tiny: Pipeline) -> None:
    embeddings = tiny.store.current("patient_embeddings")
    own = embeddings.manifest["settings"]
    assert section.changed(Inputs("tiny", [], {"patient_embeddings": embeddings}, {}, 0, {})) == []
    manifest = embeddings.manifest | {"settings": own | {"vectors": own["vectors"] | {"profile": 0, "ages": False}}}
    changed = replace(embeddings, manifest=manifest)
    inputs = Inputs("tiny", [], {"patient_embeddings": changed}, {}, 0, {})
    assert section.changed(inputs) == ["profile = 0", "ages = false"]
