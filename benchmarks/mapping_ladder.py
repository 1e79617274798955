"""What does each step of the mapping ladder bring? The demo's extract, mapped with one step more each time.

The demo's terminology is an open approximation (see data/README.md); on real records with the UMLS and the UK edition of SNOMED CT
the shares are others.

Usage: python benchmarks/mapping_ladder.py [--associations FILE]   (an RF2 association file)
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import results

from ehr_pipeline.cli.run import DEMO_PATIENTS, DEMO_PLANS, DEMO_SEED
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.study import settings
from ehr_pipeline.synthetic.extract import EXTRACT
from ehr_pipeline.synthetic.study import places
from ehr_pipeline.synthetic.terminology_files import DESCRIPTIONS
from ehr_pipeline.synthetic.worlds.write import write
from ehr_pipeline.terminology.shipped import shipped


def main() -> None:
    """Map the extract with more and more steps, and write the section."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--associations", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write(folder, DEMO_PLANS, DEMO_PATIENTS, DEMO_SEED)
        steps: list[tuple[str, dict[str, Any]]] = [
            ("current atoms (SUPPRESS N)", {"suppress": ["N"], "coverage_floor": 0.0}),
            ("obsolete atoms (SUPPRESS O)", {"suppress": ["N", "O"]}),
            ("description ids", {"descriptions": [str(folder / "terminology" / DESCRIPTIONS)]}),
        ]
        if options.associations:
            steps.append(("replacements of retired concepts", {"associations": [str(options.associations.resolve())]}))
        steps.append(("kept as SCT:<id>", {"unmapped": "keep"}))
        own: dict[str, Any] = {}
        rows: list[tuple[str, ...]] = []
        for name, more in steps:
            own |= more
            chain = Pipeline(
                settings.load(shipped("demo/settings.toml"), settings.merged(places(folder), {"events": own}))
            )
            if not rows:
                chain.raw_records(EXTRACT)
                chain.extract_catalog()
            mapped = chain.mapped_events()
            coverage = json.loads(mapped.file("coverage.json").read_text(encoding="utf-8"))
            stays = {what: coverage[f"mapped_{what}"] + coverage[f"kept_{what}"] for what in ("events", "codes")}
            shares = (f"{stays[what] / coverage[what]:.2%}" for what in stays)
            rows.append((name, f"{stays['events']:,}", *shares, f"{mapped.counts['concepts']:,}"))
    header = ("with this step too", "events mapped or kept", "of all events", "of all codes", "concepts")
    results.write("mapping_ladder.py", "The mapping ladder on the demo", results.table(header, rows))


if __name__ == "__main__":
    main()
