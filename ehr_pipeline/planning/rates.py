"""Measured figures, each with the section of benchmarks/RESULTS.md that it comes from; a test compares the two.

The time of each asset is in its declaration (`assets.asset.Rate`).

All were measured on cores of a 2.8 GHz Xeon. For cores that are 1.5 times as fast, give `--speed 1.5`.
"""

from enum import StrEnum

BACKENDS = ("inline", "processes", "ray", "slurm")
Seconds = dict[str, float | None]
"""By backend; None if no rate was measured."""


class Basis(StrEnum):
    """The basis of a figure."""

    MEASURED = "Measured on two cores of a 2.8 GHz Xeon (the scripts are listed in benchmarks/RESULTS.md)"
    RECKONED = "Calculated, not measured"
    GIVEN = "Given by the options of this command, by the settings, or taken from the published study"


BYTES_PER_EVENT = 5.1
"""Bytes per event in the patient data set (data_scale.py)."""
RUN_GIGABYTES = 0.93
"""GB of memory of a whole run with two workers, for 300 million rows; assumed the same for more (data_scale.py)."""
CPU_TOKENS = 4925.0
"""Real tokens (no padding) trained per second, preset `published`, float32, two cores (training.py)."""
CPU_TOKENS_CORES = 2
CPU_TOKEN_MFLOP = 26.0
"""MFLOP per real token of that training, forward and backward; times for other shapes are scaled by it (training.py)."""
TRAINING_GIGABYTES = 1.73
"""GB of memory of a process that trains the preset `published` on a CPU (training_memory.py)."""
EMBEDDED_TOKENS = 25200.0
"""Real tokens (no padding) embedded per second, preset `published`, float32, two cores (embedding.py)."""
EMBEDDED_CORES = 2
CLUSTER_SECONDS, CLUSTER_CORES, CLUSTER_PATIENTS = 7.7, 2, 53228
"""Seconds to cluster this number of patients on this number of cores (clustering.py)."""
TASKS_SECONDS, TASKS, TASKS_PATIENTS = 11.0, 7, 5000
"""Seconds to compare all models but fine-tuned ones, for this number of tasks and patients (demo.py)."""
OVERHEAD = {"ray": 1.45, "slurm": 4.41}
"""Seconds to send a piece of work, by backend (backends.py)."""
