"""Settings of a study of a synthetic extract, as nested values that override the demo's."""

from pathlib import Path
from typing import Any

# A model and a study small enough to run in a minute: they show that everything runs, not what the method can find.
SMALL: dict[str, dict[str, Any]] = {
    "records": {"buckets": 4},
    "vocabulary": {"min_appearances": 10},
    "patients": {"split": {"validation_share": 0.1}},
    "encoder": {
        "hidden_size": 32,
        "layers": 1,
        "heads": 2,
        "feed_forward": 64,
        "max_epochs": 2,
        "context": 64,
        "warmup_steps": 10,
        "learning_rate": 0.01,
    },
    "clusters": {"n": 8, "permutations": 40},
    "launcher": {"backend": "inline"},
}


WITHOUT_TASKS: dict[str, dict[str, Any]] = {
    "patients": {"split": {"test_share": 0.0}},
    "tasks": {"screen": 0, "death": "", "task": []},
}
"""Settings without tasks and without a test set. The demo has both; studies that test something else have neither."""


def places(folder: Path) -> dict[str, dict[str, Any]]:
    """Return settings that point a study to what `generate` wrote into `folder`, and put its store there too; without tasks."""
    return WITHOUT_TASKS | {
        "study": {"store": str(folder / "store")},
        "records": {"landing": str(folder / "landing")},
        "events": {"mrconso": str(folder / "terminology/MRCONSO.RRF")},
        "vocabulary": {"mrsty": str(folder / "terminology/MRSTY.RRF")},
        "clusters": {"truth": str(folder / "truth")},
    }
