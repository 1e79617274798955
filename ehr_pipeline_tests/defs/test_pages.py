"""The pages beside Dagster's: the entrance, what an asset is, and no file but those that may be shown."""

import re
from pathlib import Path
from urllib.parse import urljoin

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.testclient import TestClient

from ehr_pipeline.assets import ASSETS
from ehr_pipeline.defs import pages, routes
from ehr_pipeline.defs.links import link, link_about
from ehr_pipeline.reports import PAGE
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.study import ENVIRONMENT_VARIABLE, settings
from ehr_pipeline.tables.asset_names import DATA_SPLIT
from ehr_pipeline.terminology.shipped import shipped
from ehr_pipeline_tests.conftest import write_settings


@pytest.fixture
def client(tiny: Pipeline, extract: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TestClient:
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(write_settings(tmp_path / "s.toml", extract, Path(tiny.store.root))))
    return TestClient(Starlette(routes=routes.routes(), middleware=[Middleware(routes.Leading)]))


@pytest.mark.parametrize("prefix", ["", "/look"])
def test_the_entrance_opens_every_group_once_and_leads_to_the_graph(prefix: str) -> None:
    text = TestClient(Starlette(routes=routes.routes(prefix))).get(f"{prefix}/").text
    assert set(re.findall(r"global@global:(\w+)", text)) == {asset.group for asset in ASSETS.values()}
    assert f'location.replace("{prefix}/asset-groups")' in text


@pytest.mark.parametrize("asset", ASSETS)
def test_every_asset_has_a_page_that_says_what_it_is(client: TestClient, tiny: Pipeline, asset: str) -> None:
    text = client.get(link_about(asset)).text
    assert f"<h1>{asset}</h1>" in text
    assert all(check.name in text for check in ASSETS[asset].all_checks if check.applies(tiny.study))
    for name in ASSETS[asset].reads:
        assert f'<a href="{name}">' in text
        assert f"<h1>{name}</h1>" in client.get(urljoin(f"/study/{asset}", name)).text


def test_the_page_of_an_asset_names_its_settings_with_their_values(client: TestClient) -> None:
    text = client.get(link_about("clusters")).text
    assert "<td><code>n</code></td><td>8</td>" in text
    assert client.get(link_about("nothing")).status_code == 404


def test_no_page_holds_the_key_of_the_split() -> None:
    study = settings.load(shipped("demo/settings.toml"), {"patients": {"split": {"key": "nobody knows"}}})
    assert not [name for name, asset in ASSETS.items() if "nobody knows" in pages.described(asset, study)]
    assert "(not shown)" in pages.described(ASSETS[DATA_SPLIT], study)


def test_a_page_names_the_settings_that_its_asset_reads_and_no_others() -> None:
    study = settings.load(shipped("demo/settings.toml"))
    for name, read, not_read in (("raw_records", "buckets", "mode"), ("patient_embeddings", "batch_tokens", "cohort")):
        page = pages.described(ASSETS[name], study)
        assert f"<code>{read}</code>" in page
        assert f"<code>{not_read}</code>" not in page


def test_the_report_opens_in_a_sandbox(client: TestClient, tiny: Pipeline) -> None:
    report = tiny.store.current("cluster_reports")
    answer = client.get(link(report, PAGE))
    assert answer.content == report.file(PAGE).read_bytes()
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("sandbox ")
    assert "allow-same-origin" not in policy
    assert client.get(link(report, "notes/map_cluster.png")).headers["content-type"] == "image/png"


@pytest.mark.parametrize(
    ("asset", "path"),
    [
        ("cluster_reports", "manifest.json"),
        ("cluster_reports", "../../../summary.json"),
        ("cluster_reports", "%2e%2e/%2e%2e/clusters/report.html"),
        ("clusters", "clusters.arrow"),
        ("encoder_checkpoint", "checkpoint/config.json"),
        ("cohort", "cohort.arrow"),
    ],
)
def test_nothing_else_is_served(client: TestClient, tiny: Pipeline, asset: str, path: str) -> None:
    assert client.get(link(tiny.store.current(asset), path)).status_code == 404
    assert client.get(f"/study/{asset}/../{path}").status_code == 404
    assert client.get(f"/study/{asset}/.work/{path}").status_code == 404
    assert client.get(f"/study/nothing/1/{path}").status_code == 404
