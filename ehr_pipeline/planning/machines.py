"""The machines for which a plan is made."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ehr_pipeline.errors import UserError


@dataclass(frozen=True)
class Machine:
    """One machine."""

    cores: int
    gigabytes: float
    gpus: int


@dataclass(frozen=True)
class Machines:
    """All machines; the first is the one on which `ehr-pipeline` itself runs."""

    each: tuple[Machine, ...]

    @staticmethod
    def read(texts: Sequence[str]) -> "Machines":
        """Parse texts such as '8x32x256x1': 8 machines of 32 cores, 256 GB, 1 GPU; '1x16x64': no GPU. Raises UserError."""
        machines: list[Machine] = []
        for text in texts:
            found = re.fullmatch(r"(\d+)x(\d+)x(\d+(?:\.\d+)?)(?:x(\d+))?", text)
            if not found or not int(found[1]) or not int(found[2]):
                raise UserError(
                    f"--machines {text!r} is not COUNTxCORESxGIGABYTES or COUNTxCORESxGIGABYTESxGPUS, such as 8x32x256x1."
                )
            machines += [Machine(int(found[2]), float(found[3]), int(found[4] or 0))] * int(found[1])
        return Machines(tuple(machines))

    @property
    def first(self) -> Machine:
        """The machine of the process that runs `ehr-pipeline`."""
        return self.each[0]

    @property
    def cores(self) -> int:
        """Cores of all machines together."""
        return sum(machine.cores for machine in self.each)

    @property
    def gpus(self) -> int:
        """GPUs of all machines together."""
        return sum(machine.gpus for machine in self.each)
