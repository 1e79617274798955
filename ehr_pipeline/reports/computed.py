"""What computed the results, and from records of which years."""

import platform
from collections import Counter
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ehr_pipeline.disclosure.suppression import Disclosure
from ehr_pipeline.encoder.sequences import Shard
from ehr_pipeline.store.artifacts import Artifact

LIBRARIES = ("torch", "transformers", "numpy", "scipy", "scikit-learn", "umap-learn", "pyarrow", "polars")


def versions() -> list[tuple[str, str]]:
    """Python and the libraries of which figures are made, as they are installed where the page is written."""
    return [("Python", platform.python_version()), *((name, metadata.version(name)) for name in LIBRARIES)]


def machines(artifacts: Mapping[str, Artifact]) -> list[tuple[str, str]]:
    """What the machines decided of each asset's result, such as the precision: (asset, 'device cpu, precision float32')."""
    decided = [(name, artifact.manifest.get("machine", {})) for name, artifact in artifacts.items()]
    return [(name, ", ".join(f"{key} {value}" for key, value in each.items())) for name, each in decided if each]


def years(dataset: Artifact, disclosure: Disclosure) -> str:
    """The calendar years of the visits of the data set, '1998 to 2019': the first and the last with visits of enough patients."""
    patients: Counter[int] = Counter()
    for path in dataset.files("patients"):
        patients.update(_patients_by_year(path))
    told = sorted(year for year, count in patients.items() if not disclosure.small(count))
    return f"{told[0]} to {told[-1]}" if told else "too few patients to tell"


def _patients_by_year(path: Path) -> dict[int, int]:
    """Patients of a shard with a visit in each calendar year."""
    shard = Shard.read(path)
    year: NDArray[np.int64] = shard.visit_day.astype("datetime64[D]").astype("datetime64[Y]").astype(np.int64) + 1970
    visits = np.diff(shard.patient_start)
    patient = np.repeat(np.arange(len(visits)), visits)
    if not len(year):
        return {}
    # the visits of a patient stand in order of date
    new = np.concatenate([[True], (patient[1:] != patient[:-1]) | (year[1:] != year[:-1])])
    found, counts = np.unique(year[new], return_counts=True)
    return dict(zip(found.tolist(), counts.tolist(), strict=True))
