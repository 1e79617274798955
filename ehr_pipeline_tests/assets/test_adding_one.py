"""Adding an asset takes one folder, one declaration, and its section of the settings: here, in a copy of the package."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import ehr_pipeline
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline_tests.conftest import write_settings

PACKAGE = Path(ehr_pipeline.__file__).parent
NAME = "yearly_visits"
FOLDER = {
    "__init__.py": '''"""Visits by calendar year."""

from ehr_pipeline.disclosure.kinds import Declared, Events

COUNTED: dict[str, Declared] = {"yearly_visits": {"*": Events}}
''',
    "settings.py": '''"""Settings of the visits by year."""

from ehr_pipeline.typed_settings import option, settings


@settings
class YearlyVisitsSettings:
    """Which years are counted."""

    since: int = option("The first year that is counted.", 2010, ge=1900)
''',
    "job.py": '''"""The job: counts the visits of every shard."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from ehr_pipeline.tables import schemas
from ehr_pipeline.work import jobs

COLUMNS = pa.schema([("year", pa.int32()), ("visits", pa.int64())])


@dataclass(frozen=True, kw_only=True)
class YearlyVisitsJob(jobs.Job):
    module = "ehr_pipeline.yearly_visits.job"
    dataset: Path
    since: int
    out: Path


def run(job: YearlyVisitsJob) -> None:
    years: Counter[int] = Counter()
    for path in sorted(job.dataset.iterdir()):
        visits = schemas.read(path, ["visits"]).column("visits").combine_chunks().flatten()
        years.update(date.year for date in visits.field("date").to_pylist())
    counted = [{"year": year, "visits": years[year]} for year in sorted(years) if year >= job.since]
    schemas.write(job.out, pa.Table.from_pylist(counted, COLUMNS))


if __name__ == "__main__":
    jobs.main(run)
''',
    "build.py": '''"""Has the visits counted, by a job."""

from pathlib import Path

from ehr_pipeline.store.artifacts import Artifact, Counts
from ehr_pipeline.tables import schemas
from ehr_pipeline.yearly_visits.job import YearlyVisitsJob
from ehr_pipeline.yearly_visits.settings import YearlyVisitsSettings

FILE = "yearly_visits.arrow"


def build(dataset: Artifact, settings: YearlyVisitsSettings, launch, out: Path) -> Counts:
    launch(YearlyVisitsJob(dataset=dataset.file("patients"), since=settings.since, out=out / FILE))
    visits = int(dataset.counts["visits"]["kept"])
    kept = sum(schemas.read(out / FILE).column("visits").to_pylist())
    return {"rows_in": visits, "kept": kept, "dropped": {"earlier": visits - kept}}
''',
}
SECTION = {
    "from ehr_pipeline.vocabulary.settings": """from ehr_pipeline.yearly_visits.settings import YearlyVisitsSettings
from ehr_pipeline.vocabulary.settings""",
    "    reports: ReportsSettings": """    yearly_visits: YearlyVisitsSettings = option("Visits by year.", YearlyVisitsSettings())
    reports: ReportsSettings""",
}
DECLARATION = {
    "\nRESULTS = (\n": """
def _yearly_visits(study, read, launch, out):
    from ehr_pipeline.yearly_visits import build

    return build.build(read[PATIENT_DATASET], study.yearly_visits, launch, out)


RESULTS = (
    Asset(
        name="yearly_visits",
        description="How many visits there are in each year.",
        reads=(PATIENT_DATASET,),
        build=_yearly_visits,
        heavy=True,
        section="yearly_visits",
        checks=(
            rows.rows_conserved,
            Check("some_visits", "There are visits.", lambda artifact, store, study: (artifact.counts["kept"] > 0, "", {})),
        ),
        columns=lambda study: pa.schema([("year", pa.int32()), ("visits", pa.int64())]),
        meanings={"year": "The calendar year."},
        lineage=lambda study: {"year": VISITS, "visits": VISITS},
        group="data",
        kinds=("arrow",),
        rate=Rate(12.5, 3e8, 2, "of a test"),
    ),
""",
    "from ehr_pipeline.assets.asset import Asset, Sources\n": """import pyarrow as pa

from ehr_pipeline.assets.asset import Asset, Rate, Sources
from ehr_pipeline.checks.model import Check
""",
}
LOOK = """
import contextlib, io, json, sys
from pathlib import Path

from ehr_pipeline import cli
from ehr_pipeline.assets import ASSETS
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.defs.build_definitions import build
from ehr_pipeline.study import settings

path, name = sys.argv[1:]


def printed(*command):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        code = cli.main(list(command))
    return [code, out.getvalue()]


def versions(**changed):
    study = settings.load(Path(path), changed)
    return {name: asset.code_version(study) for name, asset in ASSETS.items()}


study = settings.load(Path(path))
graph = build(study).resolve_asset_graph()
node = next(node for node in graph.asset_nodes if node.key.to_user_string() == name)
now, other = versions(), versions(yearly_visits={"since": 2011})
found = {
    "package": str(Path(cli.__file__).parents[1]),
    "parents": [parent.to_user_string() for parent in node.parent_keys],
    "description": node.description,
    "pools": sorted(node.pools),
    "columns": {column.name: column.description for column in node.metadata["dagster/column_schema"].columns},
    "checks": sorted(key.name for key in graph.asset_check_keys if key.asset_key == node.key),
    "stale": [name for name in now if now[name] != other[name]],
    "settings": printed("settings"),
    "plan": printed("plan", "--settings", path, "--rows", "1e6", "--machines", "1x2x16"),
    "run": printed("run", "--settings", path, "--select", name),
    "push": printed("push", "--settings", path),
    "verify": printed("verify", "--settings", path),
}
made = Pipeline(study).asset(name)
found |= {"skipped": made.skipped, "manifest": made.manifest}
print(json.dumps(found))
"""


def with_changes(path: Path, changes: dict[str, str]) -> None:
    text = path.read_text(encoding="utf-8")
    for before, after in changes.items():
        assert text.count(before) == 1, before
        text = text.replace(before, after)
    path.write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a copy of the package that has one more asset, and what ships with it."""
    folder = tmp_path_factory.mktemp("copy")
    package = folder / "ehr_pipeline"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    if not (package / "data").exists():
        (folder / "data").symlink_to(PACKAGE.parent / "data")
    (package / NAME).mkdir()
    for name, text in FOLDER.items():
        (package / NAME / name).write_text(text, encoding="utf-8")
    with_changes(package / "study/settings.py", SECTION)
    with_changes(package / "assets/results.py", DECLARATION)
    return folder


@pytest.mark.slow
def test_a_folder_a_declaration_and_a_section_are_an_asset(
    copy: Path, tiny: Pipeline, extract: Path, tmp_path: Path
) -> None:
    """It runs a job through an engine, as a run of the command line has it made."""
    store, mirror = shutil.copytree(tiny.store.root, tmp_path / "store"), tmp_path / "mirror"
    mirror.mkdir()
    path = write_settings(
        tmp_path / "settings.toml", extract, store, launcher={"backend": "processes"}, yearly_visits={"since": 2012}
    )
    with_changes(path, {f'store = "{store}"': f'store = "{store}"\nmirror = "file://{mirror}"'})
    (tmp_path / "home").mkdir()
    shutil.copyfile(PACKAGE.parent / "dagster.yaml", tmp_path / "home/dagster.yaml")
    own = {"DAGSTER_HOME": str(tmp_path / "home"), "EHR_STATE_DIR": str(tmp_path / "home/state")}
    done = subprocess.run(
        [sys.executable, "-c", LOOK, str(path), NAME],
        cwd=copy,  # whence this process, and that of the job, import the package
        env=os.environ | own,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert found["package"] == str(copy / "ehr_pipeline")
    # Dagster, its checks and its columns.
    assert found["parents"] == ["patient_dataset"]
    assert "(?study=yearly_visits)" in found["description"]
    assert found["description"].endswith("Settings: `[yearly_visits]`. Code: `ehr_pipeline.yearly_visits`.")
    assert found["pools"] == ["training"]
    assert found["checks"] == ["patients_present", "rows_conserved", "some_visits"]
    assert found["columns"]["year"] == "The calendar year."
    assert found["stale"] == [NAME]
    # The command line.
    for command in ("settings", "plan", "run", "push", "verify"):
        assert found[command][0] == 0, (command, found[command], done.stderr)
    assert "`[yearly_visits]`" in found["settings"][1]
    assert "The first year that is counted." in found["settings"][1]
    assert any(line.startswith(f"{NAME} ") for line in found["plan"][1].splitlines())
    assert f"{NAME}: 12.5 s for 300,000,000 rows" in found["plan"][1]
    assert NAME in found["run"][1]
    assert (mirror / NAME / NAME).is_dir()
    # It is made, and found again.
    assert found["skipped"]
    assert found["manifest"]["settings"] == {"since": 2012}
    assert found["manifest"]["inputs"] == {"patient_dataset": tiny.store.current("patient_dataset").data_version}
    assert 0 < found["manifest"]["counts"]["kept"] < found["manifest"]["counts"]["rows_in"]
