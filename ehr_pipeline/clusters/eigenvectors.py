"""The leading eigenvectors of a sparse symmetric matrix: subspace iteration with Chebyshev filters (Zhou, Saad et al. 2006,
Journal of Computational Physics 219(1)), with residuals that show how exact the result is.

A filter is a polynomial of the matrix that is small on the unwanted part of the spectrum and grows fast above it. It needs only
products with the matrix, each with a block of all vectors; ARPACK takes one vector at a time, and LOBPCG orthogonalises after each
product.
"""

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array

Matrix = NDArray[np.float64]
DENSE_BELOW = 600
"""Smaller matrices are solved densely."""
SPARE = 10
"""Number of additional vectors. The farther the last of their eigenvalues lies below the wanted ones, the faster convergence."""
DEGREE = 24
PRODUCTS = 2400
"""Largest number of products with the whole block."""
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Eigenpairs:
    """Leading eigenpairs, and how exact they are."""

    values: NDArray[np.float64]
    """Eigenvalues (k,), in descending order."""
    vectors: Matrix
    """Eigenvectors (n, k), of length 1."""
    residuals: NDArray[np.float64]
    """Lengths of A v - value v (k,)."""
    products: int
    """Number of products of the matrix with a vector that were computed; 0 for a matrix that was solved densely."""

    @property
    def converged(self) -> NDArray[np.bool_]:
        """Return flags (k,) of the eigenpairs whose residual is within the tolerance."""
        return self.residuals <= TOLERANCE


def leading(matrix: csr_array, k: int, seed: int, wanted: int | None = None) -> Eigenpairs:
    """Return the k largest eigenpairs of a symmetric matrix (n, n) with eigenvalues in [-1, 1]; k is less than n.

    The iteration ends when the first `wanted` eigenpairs (default: all) have residuals of at most 0.001, or after 2,400 products.
    """
    n = matrix.shape[0]
    if n < max(DENSE_BELOW, 4 * (k + SPARE)):
        return _whole(matrix, k)
    wanted = k if wanted is None else wanted
    size = k + SPARE
    start = np.random.default_rng([seed, 0xE16]).normal(size=(n, size)).astype(np.float32)
    start[:, 0] = 1
    product = _Product(matrix)
    block = _orthonormal(product.filtered(torch.from_numpy(start), DEGREE // 2, 0.5))
    used = DEGREE // 2
    while True:
        image = product(block)
        used += 1
        values, turn = torch.linalg.eigh(block.T.double() @ image.double())
        values, turn = values.flip(0), turn.flip(1).float()
        block, image = block @ turn, image @ turn
        residuals = torch.linalg.norm(image - block * values.float(), dim=0).double().numpy()
        if (residuals[:wanted] <= TOLERANCE).all() or used + DEGREE > PRODUCTS:
            break
        block = _orthonormal(product.filtered(block, DEGREE, float(values[-1])))
        used += DEGREE
    vectors = block[:, :k].double().numpy()
    return Eigenpairs(values[:k].numpy(), vectors, residuals[:k], used * size)


def _whole(matrix: csr_array, k: int) -> Eigenpairs:
    dense = matrix.toarray().astype(np.float64)
    values, vectors = np.linalg.eigh(dense)
    values, vectors = values[::-1][:k], vectors[:, ::-1][:, :k]
    return Eigenpairs(values, vectors, np.linalg.norm(dense @ vectors - vectors * values, axis=0), 0)


class _Product:
    """Products of a sparse matrix with blocks of vectors, in float32."""

    def __init__(self, matrix: csr_array):
        starts, columns = (torch.from_numpy(part.astype(np.int32)) for part in (matrix.indptr, matrix.indices))
        values = torch.from_numpy(matrix.data.astype(np.float32))
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", "Sparse"
            )  # torch calls the format beta, and checks no invariants: scipy ensures them
            self.matrix = torch.sparse_csr_tensor(starts, columns, values, matrix.shape)

    def __call__(self, block: torch.Tensor) -> torch.Tensor:
        return self.matrix @ block

    def filtered(self, block: torch.Tensor, degree: int, upper: float) -> torch.Tensor:
        """Multiply the block (n, k) by a Chebyshev polynomial of the matrix, which is small on [-1, upper] and grows fast above it.

        The polynomial is scaled to be 1 at the eigenvalue 1, because its values could overflow otherwise.
        """
        centre, radius = (upper - 1) / 2, (upper + 1) / 2
        sigma = first = radius / (1 - centre)
        old = block
        new = self._step(old, None, sigma / radius, centre, 0.0)
        for _ in range(degree - 1):
            following = 1 / (2 / first - sigma)
            old, new = new, self._step(new, old, 2 * following / radius, centre, sigma * following)
            sigma = following
        return new

    def _step(
        self, block: torch.Tensor, before: torch.Tensor | None, scale: float, centre: float, back: float
    ) -> torch.Tensor:
        image = (self.matrix @ block).sub_(block, alpha=centre).mul_(scale)
        return image if before is None else image.sub_(before, alpha=back)


def _orthonormal(block: torch.Tensor) -> torch.Tensor:
    """Return an orthonormal basis of a block's columns (n, k), by Cholesky decomposition, twice (CholeskyQR2)."""
    for _ in range(2):
        products = block.double().T @ block.double()
        factor, failed = torch.linalg.cholesky_ex(products)
        if failed:  # columns are nearly parallel
            basis: torch.Tensor = torch.linalg.qr(block)[0]
            return basis
        block = torch.linalg.solve_triangular(factor.T.float(), block, upper=True, left=False)
    return block
