"""Integer scores, computed in blocks, that rank pairs of patients as their cosines do, up to a known margin."""

import threading
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

HIGHEST = 127
FLOAT_SCALE, FLOAT_MARGIN = 2**22, 8  # a float32 product differs by at most 2e-6 between blocks
DEVIATIONS = 6
LONGEST = 1400  # greatest length of a rounded vector, so scores fit into 24 bits


@dataclass(frozen=True)
class Scores:
    """Vectors prepared for multiplication. A score lies between -2^23 and 2^23."""

    rows: torch.Tensor
    """One side of the products (N, D'), int8 or float32; N is n rounded up to whole groups."""
    columns: torch.Tensor
    """The other side (N, D')."""
    margin: int
    """By how much a score can differ from an increasing function of the cosine."""
    room: dict[tuple[int, int, int], torch.Tensor] = field(default_factory=dict)
    """Buffers for products, by thread and shape; a thread's next product of the same shape overwrites the last one."""

    def between(self, top: int, left: int, size: int) -> torch.Tensor:
        """Return the scores of two blocks of patients, at most (size, size)."""
        return self._product(self.rows[top : top + size], self.columns[left : left + size])

    def with_some(self, top: int, size: int, others: torch.Tensor) -> torch.Tensor:
        """Return the scores of a block of patients with the patients `others` (m,), at most (size, m)."""
        return self._product(self.rows[top : top + size], self.columns[others])

    def _product(self, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        key = threading.get_ident(), len(rows), len(columns)
        if key not in self.room:
            self.room[key] = torch.empty(key[1:], dtype=torch.int32)
        if rows.dtype == torch.int8:
            return torch._int_mm(rows, columns.T, out=self.room[key])
        return self.room[key].copy_((rows @ columns.T).mul_(FLOAT_SCALE))


def multiplies_bytes() -> bool:
    """Return whether the processor multiplies 8-bit integers several times faster than float32 (VNNI, AMX)."""
    return bool(torch.cpu._is_vnni_supported())


def plain(unit: NDArray[np.float32], group: int) -> Scores:
    """Return scores from float32 products of unit vectors (n, D), padded with zeros to a multiple of `group` rows."""
    filled = _filled(torch.from_numpy(unit), group)
    return Scores(filled, filled, FLOAT_MARGIN)


def rounded(unit: NDArray[np.float32], group: int) -> Scores:
    """Return scores from products of vectors rounded to 8 bits: x y - |x|^2/2 - |y|^2/2 for centred vectors x and y.

    This is minus half their squared distance, which ranks pairs as the cosine does. Centring removes what all vectors share, and a
    random rotation spreads the rest over all axes, so the 8 bits are used well and the error is a sum of many small ones. The
    margin is 6 standard deviations of the error (1 pair in 500 million lies outside). Extra columns hold the squares, split into
    bytes.
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
    bytes_ = turned.mul_(scale).round_().to(torch.int8)
    rows = torch.cat([bytes_, low, fine, ones, ones[:, :1] * 0 + 1], dim=1)
    columns = torch.cat([bytes_, ones, ones[:, :1] * 0 + 1, low, fine], dim=1)
    margin = int(np.ceil(DEVIATIONS * scale * longest * np.sqrt(2 / 12))) + 1
    return Scores(_filled(rows, group), _filled(columns, group), margin)


def _digits(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Split integers (n,) into bytes: each integer is 127 times the sum of its p bytes (n, p), plus another byte (n, 1).

    Returns the p bytes, p columns filled with 127 to multiply them by, and the byte to add.
    """
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
