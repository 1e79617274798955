"""What a scheduler says of work, told when it changes, and again while the work waits."""

import logging
import time

_log = logging.getLogger("ehr_pipeline")
TOLD_EVERY = 60.0  # seconds between two lines that say the same


class Telling:
    """Logs what becomes of one job. `about` begins each line."""

    def __init__(self, about: str):
        self._about, self._last, self._when = about, "", 0.0

    def tell(self, text: str, waiting: bool) -> None:
        """Say it, unless it was said before; what waits is said again every minute."""
        now = time.monotonic()
        if text and (text != self._last or (waiting and now - self._when > TOLD_EVERY)):
            _log.info("%s: %s", self._about, text)
            self._last, self._when = text, now
