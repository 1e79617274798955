"""Ten thousand extracts: the sensor's look at them, the catalog of them, and Dagster with as many partitions."""

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import dagster as dg  # noqa: TID251
import results

from ehr_pipeline.defs import automation
from ehr_pipeline.defs.build_definitions import build
from ehr_pipeline.defs.dagster_jobs import EXTRACTS
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.store.artifacts import Artifact
from ehr_pipeline.study import settings
from ehr_pipeline.synthetic.generate import EXTRACT, generate
from ehr_pipeline_tests.defs.browser import Server
from operations.site import Site

PATIENTS = 5  # in each extract
Result = TypeVar("Result")
GRAPH = """{assetNodes {assetKey {path} groupName dependencyKeys {path} isPartitioned staleStatus staleCauses {reason}
  partitionStats {numMaterialized numPartitions numFailed numMaterializing}}}"""
PAGE = """{assetNodeOrError(assetKey: {path: ["raw_records"]}) {... on AssetNode {
  partitionKeysByDimension {name partitionKeys} partitionStats {numMaterialized numPartitions}
  assetPartitionStatuses {... on DefaultPartitionStatuses {materializedPartitions unmaterializedPartitions}}
  assetMaterializations(limit: 100) {partition timestamp metadataEntries {label}}}}}"""


def measured(folder: Path, source: Path, extracts: int) -> str:
    """Tiny extracts, all alike; each is registered, read, catalogued, and told to Dagster."""
    generate(folder / "tiny", PATIENTS, 7)
    automatic: dict[str, dict[str, Any]] = {"records": {"buckets": 0}, "operation": {"complete": "marker"}}
    site = Site.made(folder / "site", source, **automatic)
    names = [f"{number:05}" for number in range(extracts)]
    first = site.landing / names[0]
    site.land(folder / "tiny/landing" / EXTRACT, first.name)
    for name in names[1:]:
        linked(first, site.landing / name)
    rows: list[tuple[object, ...]] = []

    with site.environment(), dg.DagsterInstance.get() as instance:

        def look(what: str, cursor: str | None) -> dg.SensorResult:
            found, seconds = timed(lambda: automation.sensor_result(instance, site.pipeline(), cursor, time.time()))
            rows.append((f"a look of the sensor at {extracts:,} extracts: {what}", f"{seconds:.2f} s"))
            return found

        asked = look("all new", None)
        (change,) = asked.dynamic_partitions_requests or ()
        added = timed(lambda: instance.add_dynamic_partitions(str(EXTRACTS.name), list(change.partition_keys)))[1]
        rows.append((f"registering {extracts:,} partitions", f"{added:.2f} s"))
        read = Pipeline(settings.load(site.settings, {"records": {"buckets": 1}})).raw_records(names[0])
        copies(site, read, names)
        cursor = look("all were read before anybody watched", None).cursor
        look("nothing new", cursor)
        rows.append(
            (
                f"the catalog of {extracts:,} extracts of one bucket each, with their checks: made",
                f"{timed(site.pipeline().extract_catalog)[1]:.1f} s",
            )
        )
        rows.append(("the same, unchanged", f"{timed(site.pipeline().extract_catalog)[1]:.1f} s"))
        told(site, instance, names)
        defined = timed(lambda: build(settings.load(site.settings)).resolve_asset_graph())[1]
        rows.append(("loading the definitions and the graph", f"{defined:.2f} s"))
        rows.append((f"the conditions of what follows, with {extracts:,} partitions", conditions(site, instance)))
    begun = time.monotonic()
    with site.serving() as server:
        rows.append((f"start of the server with {extracts:,} extracts", f"{time.monotonic() - begun:.1f} s"))
        rows.append(("what the graph's page asks for: first; again", asked_twice(server, GRAPH)))
        rows.append(("what the page of `raw_records` asks for: first; again", asked_twice(server, PAGE)))
        known = server.query(PAGE)["assetNodeOrError"]["partitionStats"]
        if known != {"numMaterialized": extracts, "numPartitions": extracts}:
            raise SystemExit(f"the page shows {known} of {extracts}")
    return results.table(("What", "Figure"), rows)


def timed(do: Callable[[], Result]) -> tuple[Result, float]:
    """What a function returns, and the seconds that it took."""
    begun = time.perf_counter()
    return do(), time.perf_counter() - begun


def linked(folder: Path, copy: Path) -> None:
    """The same files under another folder, without a copy of their data."""
    shutil.copytree(folder, copy, copy_function=os.link)


def copies(site: Site, read: Artifact, names: list[str]) -> None:
    """The records of every extract: they hold the same rows, so those of one are taken for all."""
    for name in names[1:]:
        folder = site.store.folder("raw_records", name)
        linked(read.path, folder / read.path.name)
        manifest = folder / read.path.name / "manifest.json"
        manifest.unlink()
        manifest.write_text(json.dumps(read.manifest | {"partition": name}))
        (folder / "current").write_text(read.path.name)


def told(site: Site, instance: dg.DagsterInstance, names: list[str]) -> None:
    """Tell Dagster that every extract was read, and passed its checks, by the events that a run would have written."""
    tags = {"dagster/data_version": site.store.current("raw_records", names[0]).data_version}
    for name in names:
        instance.report_runless_asset_event(dg.AssetMaterialization("raw_records", partition=name, tags=tags))


def conditions(site: Site, instance: dg.DagsterInstance) -> str:
    """Seconds of two evaluations: the first, and one in which nothing changed."""
    definitions = build(settings.load(site.settings))
    cursor: Any = None
    spent: list[str] = []
    for _ in range(2):
        found, seconds = timed(lambda: dg.evaluate_automation_conditions(definitions, instance, cursor=cursor))  # noqa: B023
        cursor = found.cursor
        spent.append(f"{seconds:.1f} s")
    return "; then ".join(spent)


def asked_twice(server: Server, query: str) -> str:
    """Seconds of two requests."""
    spent = []
    for _ in range(2):
        answer, seconds = timed(lambda: server.query(query))
        if not answer:
            raise SystemExit(f"no answer to {query}")
        spent.append(f"{seconds:.2f} s")
    return "; ".join(spent)
