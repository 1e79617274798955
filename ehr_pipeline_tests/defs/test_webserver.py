"""The web server answers under its own names only: a page whose name resolves to this machine gets nothing."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest
from dagster_dg_cli.cli.dev import dev_command
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocket

from ehr_pipeline.cli import main
from ehr_pipeline.defs import dev, webserver
from ehr_pipeline.defs.links import link_about
from ehr_pipeline.errors import UserError

GOOD = ("localhost", "LOCALHOST:3000", "127.0.0.1:3000", "[::1]:3000", "pipeline.example.org", "a.lab.example.org:443")
FOREIGN = (
    "evil.example",
    "localhost.evil.example",
    "127.0.0.1.nip.io",
    "www.pipeline.example.org",
    "pipeline.example.org.evil.example",
    "evil.example:3000",
    "0.0.0.0",  # noqa: S104
    "lab.example.org",
    "localhost@evil.example",
    "",
)


def started(monkeypatch: pytest.MonkeyPatch, *arguments: str, prefix: str = "") -> tuple[TestClient, dict[str, Any]]:
    """What our server would serve, with an application of the test in place of Dagster's."""
    served: dict[str, Any] = {}
    import dagster_webserver.cli as theirs

    async def page(request: object) -> PlainTextResponse:
        return PlainTextResponse("rows")

    async def talk(socket: WebSocket) -> None:
        await socket.accept()
        await socket.close()

    def create(*about: object, **options: object) -> Starlette:
        return Starlette(
            routes=[Route(f"{prefix}/rows", page, methods=["GET", "POST"]), WebSocketRoute("/graphql", talk)]
        )

    def serve() -> None:
        served["arguments"] = sys.argv[1:]
        served["app"] = theirs.create_app_from_workspace_process_context(None, prefix)  # type: ignore[attr-defined]

    monkeypatch.setattr(sys, "argv", ["x"])
    monkeypatch.setattr(theirs, "create_app_from_workspace_process_context", create)
    monkeypatch.setattr(theirs, "main", serve)
    webserver.main(arguments)
    return TestClient(served["app"]), served


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> TestClient:
    monkeypatch.setenv(webserver.VARIABLE, "*.lab.example.org")
    return started(monkeypatch, "--allow-host", "Pipeline.example.org", "-p", "1")[0]


@pytest.mark.parametrize("host", GOOD)
def test_own_names_are_answered(client: TestClient, host: str) -> None:
    assert client.get("/rows", headers={"Host": host}).text == "rows"
    with client.websocket_connect("/graphql", headers={"Host": host}):
        pass


@pytest.mark.parametrize("host", FOREIGN)
def test_foreign_names_get_nothing(client: TestClient, host: str) -> None:
    for answer in (client.get("/rows", headers={"Host": host}), client.post("/rows", headers={"Host": host})):
        assert answer.status_code == 400
        assert "rows" not in answer.text
    with (
        pytest.raises(WebSocketDenialResponse) as refused,
        client.websocket_connect("/graphql", headers={"Host": host}),
    ):
        pass
    assert refused.value.status_code == 400


@pytest.mark.parametrize("prefix", ["", "/look"])
@pytest.mark.parametrize("shown_at", ["/asset-groups", "/assets/clusters?view=checks", "/runs/1/logs"])
def test_a_link_leads_to_our_page_from_every_page_below_every_path(
    monkeypatch: pytest.MonkeyPatch, prefix: str, shown_at: str
) -> None:
    """A run stores the link, whatever the path of the server that shows it."""
    client, _ = started(monkeypatch, prefix=prefix)
    client.base_url = "http://localhost"
    answer = client.get(urljoin(f"{prefix}{shown_at}", link_about("clusters")))
    assert answer.url.path == f"{prefix}/study/clusters"
    assert "<h1>clusters</h1>" in answer.text
    assert client.get(f"{prefix}/rows").text == "rows"
    assert client.get(f"{prefix}/rows?study=../rows").history == [], "only to our pages"
    assert client.get(f"{prefix}/rows?study=clusters", headers={"Host": "evil.example"}).status_code == 400


def test_the_rest_of_the_command_line_is_dagsters(monkeypatch: pytest.MonkeyPatch) -> None:
    _, served = started(monkeypatch, "-w", "w.yaml", "--allow-host", "a", "-p", "3001", "--read-only")
    assert served["arguments"] == ["--host", "127.0.0.1", "-w", "w.yaml", "-p", "3001", "--read-only"]


def test_a_server_that_listens_elsewhere_answers_under_that_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webserver.socket, "gethostname", lambda: "Node7")  # type: ignore[attr-defined]
    monkeypatch.setattr(webserver.socket, "getfqdn", lambda: "node7.example.org")  # type: ignore[attr-defined]
    assert webserver.allowed("127.0.0.1") == ["localhost", "127.0.0.1", "[::1]"]
    assert webserver.allowed("192.0.2.7")[3:] == ["192.0.2.7"]
    assert webserver.allowed("fe80::1", ["10.0.0.1"])[3:] == ["[fe80::1]", "10.0.0.1"]
    for host in ("0.0.0.0", "::"):  # noqa: S104
        assert webserver.allowed(host)[3:] == ["node7", "node7.example.org"]


@pytest.mark.parametrize("name", ["*", "", "a*b", "https://a", "a:3000", "a/b", "*.", "a,b"])
def test_what_names_no_host_is_refused_before_anything_starts(name: str) -> None:
    with pytest.raises(UserError, match="is not a host name"):
        webserver.allowed("127.0.0.1", [name])


def test_the_ui_hands_the_names_on(monkeypatch: pytest.MonkeyPatch) -> None:
    from ehr_pipeline.defs import serve

    seen: dict[str, Any] = {}

    class Server:
        def __init__(self, command: list[str], **options: Any):
            seen.update(command=command, **options)

        def wait(self, seconds: float | None = None) -> int:
            return 0

    monkeypatch.setattr(serve.subprocess, "Popen", Server)  # type: ignore[attr-defined]
    serve._serve(Path(), 1, "127.0.0.1", ["a.example", "b.example"])
    assert seen["env"][webserver.VARIABLE] == "a.example,b.example"
    assert dev.__name__ in seen["command"]


@pytest.mark.parametrize("first", ["dagster_webserver", "dagster._daemon"])
def test_no_other_web_server_is_started(monkeypatch: pytest.MonkeyPatch, first: str) -> None:
    import dagster._cli.dev as theirs

    commands: list[list[str]] = []

    def command(**options: object) -> None:
        start: Callable[..., Any] = theirs.open_ipc_subprocess  # type: ignore[attr-defined]
        start(["python", "-m", first, "--port", "1"], pass_fds=[1])

    monkeypatch.setattr(theirs, "open_ipc_subprocess", lambda parts, **options: commands.append(parts))
    monkeypatch.setattr(type(dev_command), "main", lambda self, **options: command())
    if first == "dagster_webserver":
        dev.start_servers()
        assert commands == [["python", "-m", "ehr_pipeline.defs.webserver", "--port", "1"]]
    else:
        with pytest.raises(RuntimeError, match="bypasses the check of the Host header"):
            dev.start_servers()
        assert not commands


def test_the_command_line_has_the_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["ui", "--help"])
    assert "--allow-host NAME" in capsys.readouterr().out
