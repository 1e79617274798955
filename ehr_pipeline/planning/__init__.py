"""Estimate what a study of a given size needs, from measured rates: time, disk, memory and GPUs, by stage and backend.

    plan(study, rows, Machines.read(["8x32x256x1"]), gpu_tokens=None).text()

The estimate lists all its assumptions. The rates, each with its source, are in `rates.py`.
"""

from ehr_pipeline.planning.machines import Machines
from ehr_pipeline.planning.plan import Plan, plan

__all__ = ["Machines", "Plan", "plan"]
