"""Log lines about long work: its progress, and the reason for waiting."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_log = logging.getLogger("ehr_pipeline")
REPEATED = 60.0  # seconds between two identical lines


class Progress:
    """Logs the progress of a long piece of work.

    `total` and the amounts given to `advance` are in the same unit, such as bytes, buckets or tokens.
    """

    def __init__(self, what: str, total: float, interval: float = 8.0):
        self.what, self.total, self.interval = what, max(total, 1e-9), interval
        self.done, self.start = 0.0, time.monotonic()
        self._next = self.start + interval

    def advance(self, amount: float, note: str = "") -> None:
        """Count `amount` as done, and log a line if the interval has passed."""
        self.done += amount
        now = time.monotonic()
        if now >= self._next and self.done:
            self._next = now + self.interval
            left = (now - self.start) * (self.total - self.done) / self.done
            _log.info(
                "%s: %.0f %%, about %s left%s",
                self.what,
                100 * min(self.done / self.total, 1),
                duration(max(left, 0)),
                f" ({note})" if note else "",
            )


class StatusLog:
    """Logs a status when it changes, and repeats it every minute while something is waited for. Each line begins with `about`."""

    def __init__(self, about: str):
        self._about, self._last, self._when = about, "", 0.0

    def status(self, text: str, waiting: bool) -> None:
        """Log the text unless it is the text logged last. If `waiting`, log it again every minute."""
        now = time.monotonic()
        if text and (text != self._last or (waiting and now - self._when > REPEATED)):
            _log.info("%s: %s", self._about, text)
            self._last, self._when = text, now


@contextmanager
def repeated(every: float, does: Callable[[], object]) -> Iterator[None]:
    """Call `does` every few seconds, from a separate thread, until the end of the block."""
    ended = threading.Event()

    def repeat() -> None:
        while not ended.wait(every):
            does()

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def duration(seconds: float) -> str:
    """Format seconds for people: '45 s', '3 min', '2 h 10 min'."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
