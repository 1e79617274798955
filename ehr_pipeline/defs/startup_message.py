"""Print a message while the servers of the UI start, then their address. Imports little, so that the message appears at once."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from ehr_pipeline.errors import UserError

EVERYWHERE = ("0.0.0.0", "::", "*")  # noqa: S104 (compared, not listened on)
SILENCE = 8.0
"""Seconds between two lines that say that the servers are still starting."""


def free_address(host: str, port: int) -> tuple[str, int]:
    """Return the address at which a server on `host` is reached from here. Raises UserError if something already answers there."""
    address = ("localhost" if host in EVERYWHERE else host), port
    if _answers(address):
        raise UserError(
            f"port {port} of {address[0]} is already in use. If it is the UI of this study, open {_link(address)}; if not, choose"
            f" another port, such as --port {port + 1}."
        )
    return address


@contextmanager
def announced(address: tuple[str, int]) -> Iterator[None]:
    """Until the end of the block, say that the servers are starting, and print their address once they answer."""
    ended = threading.Event()
    print("starting the Dagster UI: its servers load the study, which takes ten to thirty seconds", flush=True)
    threading.Thread(target=_print_address, args=(address, ended), daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def _print_address(address: tuple[str, int], ended: threading.Event) -> None:
    since = last = time.monotonic()
    while not ended.wait(0.5):
        now = time.monotonic()
        if _answers(address):
            print(f"\nopen {_link(address)} in a browser; Ctrl-C ends the servers\n", flush=True)
            return
        if now - last >= SILENCE:
            print(f"the Dagster UI is still starting ({now - since:.0f} s); its address follows", flush=True)
            last = now


def _link(address: tuple[str, int]) -> str:
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    return f"http://{host}:{address[1]}"


def _answers(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address, 1.0).close()
    except OSError:
        return False
    return True
