"""Chromium without a window, driven over its debugging port; and the Dagster server that it looks at."""

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

from ehr_pipeline_tests.processes import free_port, until

ROOT = Path(__file__).parents[2]
CLICK = """(() => {
  const found = [...document.querySelectorAll("button, a, div[role=button], label")]
    .filter(e => e.innerText && e.innerText.trim().startsWith(%s) && !e.disabled);
  if (!found.length) return false;
  found[found.length - 1].click();
  return true;
})()"""


class Page:
    """One page."""

    def __init__(self, socket: ClientConnection):
        self._socket, self._number = socket, 0

    def command(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self._socket.recv(timeout=60))
            if answer.get("id") == self._number:
                return dict(answer.get("result", {}))

    def value(self, expression: str) -> Any:
        result = self.command("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        return result.get("result", {}).get("value")

    def open(self, address: str) -> None:
        self.command("Page.navigate", url=address)

    def text(self) -> str:
        return str(self.value("document.body ? document.body.innerText : ''"))

    def click(self, text: str, seconds: float = 60) -> None:
        """Click the last thing that begins with a text, once it is there."""
        assert until(lambda: self.value(CLICK % json.dumps(text)) is True, seconds), (
            f"{text!r} is not in: {self.text()[:2000]}"
        )

    def click_until(self, text: str, expression: str, seconds: float = 60) -> None:
        """Click as `click` does, again and again until an expression is true: a dialog that still opens takes no click."""

        def there() -> bool:
            return self.value(expression) is True or (self.value(CLICK % json.dumps(text)), False)[1]

        assert until(there, seconds), f"{expression} is not true in: {self.text()[:2000]}"

    def click_beside(self, text: str, seconds: float = 60) -> None:
        """Click the button that stands after the last one that begins with a text: the arrow of a menu has no text."""
        buttons = "[...document.querySelectorAll('button')]"
        found = f"b[b.findLastIndex(e => e.innerText.trim().startsWith({json.dumps(text)})) + 1]"
        clicked = f"(() => {{const b = {buttons}, e = {found}; if (!e || e === b[0]) return false; e.click(); return true;}})()"
        assert until(lambda: self.value(clicked) is True, seconds), f"{text!r} is not in: {self.text()[:2000]}"

    def shows(self, text: str, seconds: float = 60) -> bool:
        return until(lambda: text in self.text(), seconds)

    def picture(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.command("Page.captureScreenshot", format="png")["data"]))


@contextmanager
def chromium(folder: Path) -> Iterator[Page]:
    port = free_port()
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    process = subprocess.Popen(
        [
            str(shutil.which("chromium")),
            *options,
            f"--remote-debugging-port={port}",
            "--window-size=1600,1100",
            f"--user-data-dir={folder}",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        pages: list[dict[str, Any]] = []

        def there() -> bool:
            try:
                pages[:] = [page for page in ask(f"http://127.0.0.1:{port}/json") if page["type"] == "page"]
            except OSError:
                return False
            return bool(pages)

        assert until(there, 60)
        with connect(pages[0]["webSocketDebuggerUrl"], max_size=None) as opened:
            yield Page(opened)
    finally:
        process.terminate()
        process.wait(30)


def ask(address: str, body: Any = None) -> Any:
    """The JSON that an address of this machine answers with."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address, data, {"Content-Type": "application/json"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
        return json.load(answer)


class Server:
    """`ehr-pipeline ui` for a settings file."""

    def __init__(self, port: int, process: "subprocess.Popen[bytes]"):
        self.address, self.process = f"http://127.0.0.1:{port}", process

    def query(self, text: str, **variables: Any) -> Any:
        return ask(f"{self.address}/graphql", {"query": text, "variables": variables})["data"]

    def runs(self) -> list[dict[str, Any]]:
        """Newest first: runId, status."""
        found = self.query("{runsOrError {... on Runs {results {runId status assetSelection {path}}}}}")
        return list(found["runsOrError"]["results"])

    def is_loaded(self) -> bool:
        try:
            found = self.query(
                "{workspaceOrError {... on Workspace {locationEntries {locationOrLoadError {__typename}}}}}"
            )
        except OSError:
            return False
        entries = found["workspaceOrError"]["locationEntries"]
        return [entry["locationOrLoadError"]["__typename"] for entry in entries if entry["locationOrLoadError"]] == [
            "RepositoryLocation"
        ]

    def end(self) -> None:
        """End the server, and all that it started, as Ctrl-C does; kill them where that takes over a minute."""
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@contextmanager
def serving(settings: Path, home: Path, log: Path, *options: str) -> Iterator[Server]:
    port = free_port()
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "DAGSTER_HOME": str(home),
        "EHR_STATE_DIR": str(home / "state"),
    }
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "ehr_pipeline.cli",
                "ui",
                "--settings",
                str(settings),
                "--port",
                str(port),
                *options,
            ],
            stdout=stream,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=home,
            start_new_session=True,
        )
    server = Server(port, process)
    try:
        assert until(server.is_loaded, 180), log.read_text()[-3000:]
        yield server
    finally:
        server.end()
