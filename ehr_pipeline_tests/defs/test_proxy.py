"""The deployment guide's nginx, for real: who has no password, or comes from another site's page, gets nothing."""

import base64
import json
import os
import re
import shlex
import shutil
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from ehr_pipeline_tests.conftest import ROOT, write_settings
from ehr_pipeline_tests.defs.browser import serving
from ehr_pipeline_tests.processes import free_port, until

NGINX = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(NGINX is None, reason="there is no nginx (Debian: apt-get install nginx-light)"),
    pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl (Debian: apt-get install openssl)"),
]
GUIDE = (ROOT / "docs/deployment.md").read_text(encoding="utf-8")
NAME, PASSWORD = "anna", "not a good one"
LOGIN = {"Authorization": "Basic " + base64.b64encode(f"{NAME}:{PASSWORD}".encode()).decode()}
VERSION = {"query": "{version}"}
LAUNCH = {
    "query": 'mutation {launchPipelineExecution(executionParams: {mode: "default", selector: {jobName: "__ASSET_JOB",'
    ' repositoryName: "__repository__", repositoryLocationName: "ehr_pipeline", assetSelection: [{path: ["extract_catalog"]}]}})'
    " {__typename}}"
}


@dataclass
class Site:
    """The proxy, with a UI and a server for readers behind it."""

    port: int
    trusted: ssl.SSLContext
    direct: tuple[str, str]
    """Where the UI and the readers' server answer without the proxy."""

    def ask(self, path: str, body: Any = None, **headers: str) -> tuple[int, str]:
        """Status and text of an answer."""
        data = None if body is None else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        address = f"https://localhost:{self.port}{path}"
        named |= {"Content-Type": "application/json"} if data else {}
        request = urllib.request.Request(address, data, named)
        try:
            with urllib.request.urlopen(request, timeout=60, context=self.trusted) as answer:  # noqa: S310
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def subscribe(self, path: str, **headers: str) -> str:
        """What a GraphQL subscription is answered with."""
        address = f"wss://localhost:{self.port}{path}"
        with connect(address, ssl=self.trusted, subprotocols=["graphql-ws"], additional_headers=headers) as socket:  # type: ignore[list-item]
            socket.send(json.dumps({"type": "connection_init", "payload": {}}))
            return str(json.loads(socket.recv(timeout=60))["type"])


@pytest.fixture(scope="module")
def site(extract: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    home = folder / "home"
    home.mkdir()
    for name in ("dagster.yaml", "workspace.yaml"):
        shutil.copyfile(ROOT / name, home / name)
    settings = write_settings(folder / "settings.toml", extract, folder / "store")
    with serving(settings, home, folder / "ui.log", *service_options()) as ui:
        look, port = free_port(), free_port()
        environment = os.environ | {
            "DAGSTER_HOME": str(home),
            "EHR_STATE_DIR": str(home / "state"),
            "PYTHONPATH": str(ROOT),
        }
        environment["EHR_PIPELINE_SETTINGS"] = str(settings)
        certificate, key = certified(folder)
        own = {"3000": ui.address.rpartition(":")[2], "3001": str(look), "/srv/ehr/home": str(home)}
        with (
            started(readers_command(own), environment, folder / "look.log"),
            started(nginx_command(folder, port, certificate, key, own), environment, folder / "nginx.log"),
        ):
            direct = (ui.address, f"http://127.0.0.1:{look}/look")
            found = Site(port, ssl.create_default_context(cafile=str(certificate)), direct)
            ready = until(lambda: there(found), 120)
            assert ready, (folder / "nginx.log").read_text() + (folder / "look.log").read_text()[-2000:]
            yield found


def there(site: Site) -> bool:
    try:
        return site.ask("/look/server_info", **LOGIN)[0] == 200
    except OSError:
        return False


class started:
    """A process for a while."""

    def __init__(self, command: list[str], environment: dict[str, str], log: Path):
        self._command, self._environment, self._log = command, environment, log

    def __enter__(self) -> None:
        with self._log.open("wb") as stream:
            self._process = subprocess.Popen(
                self._command, env=self._environment, stdout=stream, stderr=subprocess.STDOUT, cwd=self._log.parent
            )

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(60)


def service_options() -> list[str]:
    """What the guide's service says of the names of the site."""
    (line,) = re.findall(r"^ExecStart=.* ui .*$", GUIDE, re.MULTILINE)
    return re.findall(r"--allow-host|(?<=--allow-host )\S+", line)


def readers_command(own: dict[str, str]) -> list[str]:
    """The guide's line, with this test's places."""
    (line,) = re.findall(r"^    /srv/ehr/venv/bin/python (-m ehr_pipeline.defs.webserver .*)$", GUIDE, re.MULTILINE)
    for theirs, ours in own.items():
        line = line.replace(theirs, ours)
    return [sys.executable, *shlex.split(line)]


def certified(folder: Path) -> tuple[Path, Path]:
    certificate, key = folder / "site.pem", folder / "site.key"
    request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    request += ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(request, check=True, capture_output=True)
    return certificate, key


def nginx_command(folder: Path, port: int, certificate: Path, key: Path, own: dict[str, str]) -> list[str]:
    """The guide's file with this test's places, in a configuration that touches nothing outside a folder."""
    (site,) = re.findall(r"```nginx\n(.*?)```", GUIDE, re.DOTALL)
    hashing = [str(shutil.which("openssl")), "passwd", "-6", PASSWORD]
    printed = subprocess.run(hashing, check=True, capture_output=True, text=True).stdout
    (folder / "users").write_text(f"{NAME}:{printed.strip()}\n")
    (folder / "users").chmod(0o644)
    places = {
        "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
        "/etc/ssl/pipeline.example.org.pem": str(certificate),
        "/etc/ssl/private/pipeline.example.org.key": str(key),
        "/etc/nginx/ehr_pipeline.users": str(folder / "users"),
        "https://pipeline.example.org": f"https://localhost:{port}",
        "pipeline.example.org": "localhost",
        "127.0.0.1:3000": f"127.0.0.1:{own['3000']}",
        "127.0.0.1:3001": f"127.0.0.1:{own['3001']}",
    }
    for theirs, ours in places.items():
        assert theirs in site, theirs
        site = site.replace(theirs, ours)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in kinds if kind in ("client_body", "proxy"))
    (folder / "nginx.conf").write_text(
        f"daemon off;\nmaster_process off;\npid {folder}/nginx.pid;\nerror_log stderr warn;\n"
        f"events {{}}\nhttp {{\naccess_log off;\n{temporary}{site}}}\n"
    )
    return [str(NGINX), "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", "stderr"]


@pytest.mark.parametrize(
    "path", ["/", "/graphql", "/look", "/server_info", "/logs/x", "/../", "//", "/look/../graphql"]
)
def test_nothing_is_answered_without_the_password(site: Site, path: str) -> None:
    wrong = "Basic " + base64.b64encode(f"{NAME}:guessed".encode()).decode()
    for headers in ({}, {"Authorization": wrong}, {"Authorization": "Bearer x"}):
        status, text = site.ask(path, **headers)
        assert status == (400 if path == "/../" else 401)
        assert "dagster" not in text.lower()
    assert site.ask("/graphql", VERSION)[0] == 401


def test_no_subscription_without_the_password(site: Site) -> None:
    with pytest.raises(InvalidStatus) as refused:
        site.subscribe("/graphql")
    assert refused.value.response.status_code == 401


def test_page_commands_and_subscriptions_work_with_it(site: Site) -> None:
    status, page = site.ask("/asset-groups", **LOGIN)
    assert status == 200
    assert 'id="initialization-data"' in page, "Dagster's own page"
    status, answer = site.ask("/graphql", VERSION, **LOGIN)
    assert status == 200
    assert "version" in json.loads(answer)["data"]
    assert site.subscribe("/graphql", **LOGIN) == "connection_ack"
    assert site.subscribe("/graphql", **LOGIN, Origin=f"https://localhost:{site.port}") == "connection_ack"


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
    ],
    ids=lambda headers: "=".join(*headers.items()),
)
def test_pages_of_other_sites_start_nothing_in_the_name_of_who_is_logged_in(
    site: Site, headers: dict[str, str]
) -> None:
    assert site.ask("/graphql?query={version}", **LOGIN, **headers)[0] == 403
    assert site.ask("/graphql", VERSION, **LOGIN, **headers)[0] == 403
    if "Origin" in headers:
        with pytest.raises(InvalidStatus) as refused:
            site.subscribe("/graphql", **LOGIN, **headers)
        assert refused.value.response.status_code == 403


def test_readers_see_and_start_nothing(site: Site) -> None:
    status, page = site.ask("/look/asset-groups", **LOGIN)
    assert status == 200
    assert '"/look' in page, "Dagster knows its path"
    assert "version" in json.loads(site.ask("/look/graphql", VERSION, **LOGIN)[1])["data"]
    assert site.subscribe("/look/graphql", **LOGIN) == "connection_ack"
    for path in ("/look/assets/clusters?study=clusters", "/look/study/clusters"):
        assert "<h1>clusters</h1>" in site.ask(path, **LOGIN)[1], "what its links open"
    assert "/look/asset-groups" in site.ask("/look/", **LOGIN)[1]
    answer = json.loads(site.ask("/look/graphql", LAUNCH, **LOGIN)[1])
    assert answer["data"]["launchPipelineExecution"]["__typename"] == "UnauthorizedError"
    through = json.loads(site.ask("/graphql", LAUNCH, **LOGIN)[1])
    assert through["data"]["launchPipelineExecution"]["__typename"] != "UnauthorizedError", "the other one may"


def test_only_the_names_of_the_site_and_of_the_machine_are_answered(site: Site) -> None:
    for path in ("/", "/graphql?query={version}", "/look/server_info", "/look/graphql?query={version}"):
        assert site.ask(path, **LOGIN, Host="pipeline.example.org")[0] == 200
        assert site.ask(path, **LOGIN, Host="evil.example")[0] == 400
    for address in site.direct:
        for host, expected in (("pipeline.example.org", 200), ("localhost:3000", 200), ("evil.example:3000", 400)):
            request = urllib.request.Request(f"{address}/server_info", headers={"Host": host})  # noqa: S310
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
                    status = answer.status
            except urllib.error.HTTPError as error:
                status = error.code
            assert status == expected, (address, host)
