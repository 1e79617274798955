"""What a study of a given size needs, from measured rates: time, disk, memory and GPUs, by stage and backend.

    plan(study, rows, Machines.read(["8x32x256x1"]), gpu_tokens=None).text()

An estimate with every assumption told, not a promise. Rates are those of `rates.py`, which says where each was measured.
"""

from ehr_pipeline.planning.machines import Machines
from ehr_pipeline.planning.plan import Plan, plan

__all__ = ["Machines", "Plan", "plan"]
