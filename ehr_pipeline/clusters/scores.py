"""Scores that order pairs of patients as their cosines do, but for a known margin: integers, in blocks."""

import threading
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

HIGHEST = 127
FLOAT_SCALE, FLOAT_MARGIN = 2**22, 8  # a float32 product differs by 2e-6 at most between blocks
DEVIATIONS = 6
LONGEST = 1400  # of a rounded vector: so that no score leaves its 24 bits


@dataclass(frozen=True)
class Scores:
    """Vectors that are ready to be multiplied. A score lies between -2^23 and 2^23."""

    rows: torch.Tensor
    """One side of the products (N, D'), of int8 or float32; N is n filled up to whole groups."""
    columns: torch.Tensor
    """The other side (N, D')."""
    margin: int
    """A score lies this close to a rising function of the cosine."""
    room: dict[tuple[int, int, int], torch.Tensor] = field(default_factory=dict)
    """Memory of products, by thread and shape: a block is written over by the thread's next of its shape."""

    def between(self, top: int, left: int, size: int) -> torch.Tensor:
        """Scores (size, size), at most, of two blocks of patients."""
        return self._product(self.rows[top : top + size], self.columns[left : left + size])

    def with_some(self, top: int, size: int, others: torch.Tensor) -> torch.Tensor:
        """Scores (size, m), at most, of a block of patients with chosen ones (m,)."""
        return self._product(self.rows[top : top + size], self.columns[others])

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


def plain(unit: NDArray[np.float32], group: int) -> Scores:
    """Scores by float32 products of unit vectors (n, D), filled up with zeros to a multiple of `group` rows."""
    filled = _filled(torch.from_numpy(unit), group)
    return Scores(filled, filled, FLOAT_MARGIN)


def rounded(unit: NDArray[np.float32], group: int) -> Scores:
    """Scores by products of vectors that are rounded to 8 bits: x y - |x|^2/2 - |y|^2/2 of centred vectors x and y.

    That is minus half their squared distance, which orders as the cosine does. Centring takes away what all have in common, a
    random rotation spreads the rest over all axes; so rounding uses its 8 bits well, and its error is a sum of many small ones.
    The margin is six times its standard deviation (a pair in 500 million lies outside). The squares are digits in further columns.
    """
    vectors = torch.from_numpy(unit)
    width = vectors.shape[1]
    generator = torch.Generator().manual_seed(0)
    turn = torch.linalg.qr(torch.randn(width, width, generator=generator, dtype=torch.float64))[0].float()
    turned = (vectors - vectors.mean(0)) @ turn
    squares = turned.square().sum(1)
    longest = float(squares.max().sqrt())
    scale = min(HIGHEST / max(float(turned.abs().max()), 1e-6), LONGEST / max(longest, 1e-6))
    low, ones, fine = _digits((squares - squares.mean()).mul_(-(scale**2) / 2).round_())
    own = turned.mul_(scale).round_().to(torch.int8)
    rows = torch.cat([own, low, fine, ones, ones[:, :1] * 0 + 1], dim=1)
    columns = torch.cat([own, ones, ones[:, :1] * 0 + 1, low, fine], dim=1)
    margin = int(np.ceil(DEVIATIONS * scale * longest * np.sqrt(2 / 12))) + 1
    return Scores(_filled(rows, group), _filled(columns, group), margin)


def _digits(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Integers (n,) as 127 times a sum of p bytes (n, p), plus a byte (n, 1); and p columns of 127 to multiply them with."""
    whole = torch.div(values, HIGHEST, rounding_mode="trunc")
    fine = (values - whole * HIGHEST).to(torch.int8)[:, None]
    parts = max(int(whole.abs().max()) // HIGHEST + 1, 1)
    left, digits = whole, []
    for _ in range(parts):
        digits.append(left.clamp(-HIGHEST, HIGHEST))
        left = left - digits[-1]
    bytes_ = torch.stack(digits, dim=1).to(torch.int8)
    return bytes_, torch.full_like(bytes_, HIGHEST), fine


def _filled(vectors: torch.Tensor, group: int) -> torch.Tensor:
    missing = -len(vectors) % group
    return torch.cat([vectors, vectors.new_zeros(missing, vectors.shape[1])]) if missing else vectors.contiguous()
