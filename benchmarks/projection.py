"""What `ehr-pipeline plan` says of the published study: 3 billion rows on eight machines with a GPU each, with all its assumptions.

No GPU was measured, so the time of training is left open; the second table shows it for a rate that is assumed.

Usage: python benchmarks/projection.py
"""

import results

from ehr_pipeline.planning import Machines, plan
from ehr_pipeline.study import settings
from ehr_pipeline.terminology.shipped import shipped

ROWS, MACHINES, ASSUMED = 3e9, "8x32x256x1", 1e6


def main() -> None:
    """Write the section."""
    own = {"workers": 32}
    changes = {
        "study": {"store": "."},
        "records": own | {"buckets": 0},
        "events": own,
        "patients": own,
        "tasks": {"task": []},  # the published study has none
        "encoder": {"preset": "published"},
        "launcher": {"backend": "ray", "processes": 8, "ray": {"job_gpus": 1}},
    }
    study = settings.load(shipped("demo/settings.toml"), changes)
    unknown, assumed = (plan(study, ROWS, Machines.read([MACHINES]), gpu_tokens=tokens) for tokens in (None, ASSUMED))
    training = next(need for need in assumed.needs if need.stage == "encoder_checkpoint")
    table = unknown.text().partition("\nThe settings")[0]  # whether they fit is a question of this machine's disk
    text = (
        f"`ehr-pipeline plan --rows {ROWS:g} --machines {MACHINES}` with the preset `published` and 32 workers. Reckoned from"
        " rates that were measured on two cores, not measured at this size.\n\n"
        f"```\n{table}```\n\n"
        f"No GPU was measured. If one trained {ASSUMED:,.0f} tokens a second, which is an assumption, 18 epochs on eight would take"
        f" {(training.seconds['ray'] or 0) / 3600:.1f} h; the published run took 33 h on eight V100 (quoted)."
    )
    results.write("projection.py", "Projected to three billion rows", text)


if __name__ == "__main__":
    main()
