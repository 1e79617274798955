"""Scores that order pairs of patients as their cosines do, but for a known margin: integers, in blocks."""

import threading
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

HIGHEST = 127
FLOAT_SCALE, FLOAT_MARGIN = 2**22, 8  # a float32 product differs by 2e-6 at most between blocks
DEVIATIONS = 6


@dataclass(frozen=True)
class Scores:
    """Vectors that are ready to be multiplied."""

    vectors: torch.Tensor
    """Rows (N, D), of int8 or float32; N is n filled up to whole groups."""
    margin: int
    """Scores lie this close to a multiple of the cosine."""
    room: dict[tuple[int, int, int], torch.Tensor] = field(default_factory=dict)
    """Memory of products, by thread and shape: a block is written over by the thread's next of its shape."""

    @staticmethod
    def of(unit: NDArray[np.float32], group: int) -> "Scores":
        """Scores of unit vectors (n, D), filled up with zeros to a multiple of `group` rows."""
        return _rounded(unit, group) if multiplies_bytes() else _plain(unit, group)

    def between(self, top: int, left: int, size: int) -> torch.Tensor:
        """Scores (size, size), at most, of two blocks of rows."""
        return self._product(self.vectors[top : top + size], self.vectors[left : left + size])

    def with_some(self, top: int, size: int, others: torch.Tensor) -> torch.Tensor:
        """Scores (size, m), at most, of a block of rows with chosen rows (m,)."""
        return self._product(self.vectors[top : top + size], self.vectors[others])

    def _product(self, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        key = threading.get_ident(), len(rows), len(columns)
        if key not in self.room:
            self.room[key] = torch.empty(key[1:], dtype=torch.int32)
        if rows.dtype == torch.int8:
            return torch._int_mm(rows, columns.T, out=self.room[key])
        return self.room[key].copy_((rows @ columns.T).mul_(FLOAT_SCALE))


def multiplies_bytes() -> bool:
    """Whether the processor multiplies 8-bit integers several times faster than float32 (VNNI, AMX)."""
    return bool(torch.cpu._is_vnni_supported())


def _plain(unit: NDArray[np.float32], group: int) -> Scores:
    return Scores(_filled(torch.from_numpy(unit), group), FLOAT_MARGIN)


def _rounded(unit: NDArray[np.float32], group: int) -> Scores:
    """Vectors rounded to 8 bits after a random rotation, which leaves cosines as they are and spreads each vector over all axes.

    The error of a score is then a sum of many small independent ones: its standard deviation is that of rounding, times the
    vectors' length, for both sides; six of these are the margin (a pair in 500 million lies outside).
    """
    width = unit.shape[1]
    generator = torch.Generator().manual_seed(0)
    turn = torch.linalg.qr(torch.randn(width, width, generator=generator, dtype=torch.float64))[0].float()
    whole = torch.empty((-(-len(unit) // group) * group, width), dtype=torch.int8)
    turned = torch.from_numpy(unit) @ turn
    scale = HIGHEST / max(float(turned.abs().max()), 1e-6)
    whole = _filled(turned.mul_(scale).round_().to(torch.int8), group)
    deviation = scale * np.sqrt(2 / 12)
    return Scores(whole, int(np.ceil(DEVIATIONS * deviation)))


def _filled(vectors: torch.Tensor, group: int) -> torch.Tensor:
    missing = -len(vectors) % group
    return torch.cat([vectors, vectors.new_zeros(missing, vectors.shape[1])]) if missing else vectors.contiguous()
