"""Figures as they were measured, each with the section of benchmarks/RESULTS.md that it comes from; a test compares the two.

What an asset takes stands in its declaration (`assets.Rate`).

All on cores of a Xeon of 2.8 GHz. Yours differ: `--speed 1.5` says that a core is half as fast again.
"""

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
OVERHEAD = {"ray": 1.45, "slurm": 4.41}
"""Seconds to send a piece of work (backends.py)."""
