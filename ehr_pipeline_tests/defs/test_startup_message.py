"""Until the UI answers, its command says what it waits for; then it prints the address."""

import socket
import time

import pytest

from ehr_pipeline.defs import startup_message
from ehr_pipeline.errors import UserError


def listening() -> socket.socket:
    """A socket that answers, at a port that was free."""
    server = socket.socket()
    server.bind(("127.0.0.1", 0))
    server.listen()
    return server


def test_the_address_follows_when_the_servers_answer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(startup_message, "SILENCE", 0.0)
    with listening() as server:
        port = server.getsockname()[1]
    printed, opened = "", None
    with startup_message.announced(startup_message.free_address("0.0.0.0", port)):  # noqa: S104 (nothing listens there)
        assert capsys.readouterr().out.startswith("starting the Dagster UI")
        while "open http://" not in printed:
            time.sleep(0.01)
            printed += capsys.readouterr().out
            if "still starting" in printed and opened is None:
                assert "http" not in printed
                opened = socket.create_server(("127.0.0.1", port))
    assert opened is not None
    opened.close()
    assert f"open http://localhost:{port} in a browser; Ctrl-C" in printed


def test_a_port_in_use_is_told_before_anything_starts() -> None:
    with listening() as server:
        port = server.getsockname()[1]
        with pytest.raises(
            UserError,
            match=rf"port {port} of 127.0.0.1 is already in use.* open http://127.0.0.1:{port};.* --port {port + 1}",
        ):
            startup_message.free_address("127.0.0.1", port)
