"""Rates as they were measured, each with the section of benchmarks/RESULTS.md that it comes from; a test compares the two.

All on cores of a Xeon of 2.8 GHz. Yours differ: `--speed 1.5` says that a core is half as fast again.
"""

from dataclasses import dataclass

from ehr_pipeline.tables.asset_names import MAPPED_EVENTS, PATIENT_DATASET, RAW_RECORDS, VOCABULARY


@dataclass(frozen=True)
class Rate:
    """How long a stage takes."""

    stage: str
    seconds: float
    """Measured, by `workers`."""
    rows: float
    workers: int
    source: str


_SCALE = "data_scale.py, 10 times the rows"
STAGES = {
    RAW_RECORDS: Rate(RAW_RECORDS, 70.1, 3e8, 2, _SCALE),
    MAPPED_EVENTS: Rate(MAPPED_EVENTS, 13.3, 3e8, 2, _SCALE),
    VOCABULARY: Rate(VOCABULARY, 1.7, 3e8, 2, _SCALE),
    PATIENT_DATASET: Rate(PATIENT_DATASET, 9.9, 3e8, 2, _SCALE),
}
BYTES_PER_EVENT = 5.1
"""Of the patient data set (data_scale.py)."""
RUN_GIGABYTES = 0.93
"""Of all processes of a run with two workers, for 300 million rows; more rows are reckoned to take no more (data_scale.py)."""
CPU_TOKENS = 4925.0
"""Real tokens a second in training, preset `published`, float32, two cores (training.py)."""
CPU_TOKENS_CORES = 2
CPU_TOKEN_MFLOP = 26.0
"""Of a real token of that training, forward and backward; other shapes are reckoned by it (training.py)."""
TRAINING_GIGABYTES = 1.73
"""Memory of a process that trains the preset `published` on a CPU (training_memory.py)."""
EMBEDDED_TOKENS = 22466.0
"""Real tokens a second that are embedded, preset `published`, float32, two cores (embedding.py)."""
EMBEDDED_CORES = 2
CLUSTER_SECONDS, CLUSTER_CORES, CLUSTER_PATIENTS = 7.7, 2, 53228
"""Of clustering so many patients on so many cores (clustering.py)."""
# The share of a stage that one process does alone, when two workers do the rest; and the seconds to send a piece of work
# (backends.py). The shares come from an extract of 1.6 million rows, where what does not grow with rows weighs more.
OUTSIDE = {RAW_RECORDS: 0.64, MAPPED_EVENTS: 0.44, PATIENT_DATASET: 0.22}
OVERHEAD = {"ray": 1.45, "slurm": 4.41}
