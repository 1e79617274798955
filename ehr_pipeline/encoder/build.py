"""`encoder_checkpoint`: launch the training, and count what it made."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from ehr_pipeline.drawing.plots import learning_curves
from ehr_pipeline.store.artifacts import Counts
from ehr_pipeline.work import jobs


def build(job: jobs.Job, launch: Callable[[str, jobs.Job], None], out: Path) -> Counts:
    """Train into `out`, and draw the curves; `job` is that of `encoder.train`, without its place."""
    launch("ehr_pipeline.encoder.train", job | {"out": str(out)})
    metrics = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    learning_curves(out / "notes" / "curves.png", metrics)
    tokens = metrics["training_tokens"] + metrics["validation_tokens"]
    figures = {name: metrics["best"][f"validation_{name}"] for name in ("loss", "top1", "top10")}
    return {
        "rows_in": tokens,
        "kept": tokens,
        "parameters": metrics["parameters"],
        "epochs": len(metrics["epochs"]),
        **({"tokens_added": metrics["tokens_added"]} if job["start"] else {}),
        **{f"validation_{name}": value for name, value in figures.items()},
        **{f"baseline_{name}": metrics["baseline"][name] for name in figures},
        "clipped_ages": metrics["clipped_ages"],
        "padding_share": metrics["padding_share"],
    }


def machine(out: Path) -> Mapping[str, str]:
    """What the machine that trained into `out` decided (`encoder.machine`)."""
    decided: Mapping[str, str] = json.loads((out / "metrics.json").read_text(encoding="utf-8"))["machine"]
    return decided
