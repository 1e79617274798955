"""A year of daily extracts: each day a look of the sensor, and the run that it asks for; at the end what follows."""

import json
import time
from pathlib import Path

import dagster as dg  # noqa: TID251
import results

from ehr_pipeline.defs import automation
from ehr_pipeline.defs.build_definitions import build
from ehr_pipeline.defs.dagster_jobs import EXTRACTS, READING
from ehr_pipeline.defs.run import run
from ehr_pipeline.study import settings
from ehr_pipeline.synthetic.generate import EXTRACT
from ehr_pipeline.tables.asset_names import STAGES
from operations.site import Site, contents, different, parts

MONTH = 30  # days


def measured(folder: Path, source: Path, days: int) -> str:
    """The events of the synthetic study, so many a day; at the end the bytes of a direct run over all days."""
    site = Site.made(folder, source, operation={"complete": "marker"})
    texts = parts(source / "landing" / EXTRACT, days)
    each = texts[0].count("\n") - 1
    study, pipeline = settings.load(site.settings), site.pipeline()
    names = [f"day-{day:03}" for day in range(days)]
    after = [asset for asset in STAGES if asset != "raw_records"]
    spent: list[float] = []
    with site.environment(), dg.DagsterInstance.get() as instance:
        definitions = build(study)
        job = definitions.resolve_job_def(READING)
        conditions = dg.evaluate_automation_conditions(definitions, instance)
        cursor: str | None = None
        for name, events in zip(names, texts, strict=True):
            site.land_part(source / "landing" / EXTRACT, name, events)
            begun = time.perf_counter()
            found = automation.sensor_result(instance, pipeline, cursor, time.time())
            cursor = found.cursor
            for change in found.dynamic_partitions_requests or ():
                instance.add_dynamic_partitions(str(EXTRACTS.name), list(change.partition_keys))
            asked = [str(request.partition_key) for request in found.run_requests or ()]
            if asked != [name]:
                raise SystemExit(f"on the day of {name} the sensor asked for {asked}")
            job.execute_in_process(instance=instance, partition_key=name)
            spent.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        conditions = dg.evaluate_automation_conditions(definitions, instance, cursor=conditions.cursor)
        requested = {asset for asset in STAGES if conditions.get_num_requested(dg.AssetKey(asset))}
        evaluated = time.perf_counter() - begun
        begun = time.perf_counter()
        problems = run(study, ",".join(after)).problems
        followed = time.perf_counter() - begun
    listed = json.loads(site.store.current("extract_catalog").file("catalog.json").read_text())
    direct = site.pipeline(folder / "direct")
    direct.make(*names)
    wrong = different(contents(site.store), contents(direct.store))
    if wrong or problems or sorted(listed) != names or site.hidden():
        raise SystemExit(f"wrong: {wrong}; problems: {problems}; {len(listed)} in the catalog; left: {site.hidden()}")
    rows = [
        (f"{days} days of {each} rows each: a look of the sensor, and its run with the checks", f"{sum(spent):.0f} s"),
        ("a day: the first month; the last", f"{mean(spent[:MONTH]):.2f} s; {mean(spent[-MONTH:]):.2f} s"),
        (f"the conditions at the end, which ask for {len(requested)} assets", f"{evaluated:.1f} s"),
        ("what follows, once at the end", f"{followed:.0f} s"),
        (f"of {len(contents(site.store))} artifacts, not as a direct run makes them, byte for byte", len(wrong)),
    ]
    return results.table(("What", "Figure"), rows)


def mean(values: list[float]) -> float:
    return sum(values) / len(values)
