"""Which row carries which cluster, as a sparse matrix."""

import numpy as np


def incidence(clusters: np.ndarray, k: int):
    """Build the incidence matrix of rows and clusters.

    Args:
        clusters: (n, slots), the clusters of each row, padded with -1.
        k: number of clusters.

    Returns:
        (n, k) scipy CSR matrix of counts.
    """
    from scipy.sparse import csr_matrix

    rows, slots = np.nonzero(clusters >= 0)
    ones = np.ones(len(rows), np.int32)
    return csr_matrix((ones, (rows, clusters[rows, slots])), (len(clusters), k))


def column_sums(matrix) -> np.ndarray:
    """Sum the columns of a sparse matrix.

    Args:
        matrix: (n, k).

    Returns:
        (k,) sums.
    """
    return np.asarray(matrix.sum(axis=0)).ravel()


def column_rows(matrix, column: int) -> np.ndarray:
    """List the rows in which a column is not zero.

    Args:
        matrix: (n, k), in CSC format.
        column: number of the column.

    Returns:
        Numbers of rows, ascending.
    """
    return matrix.indices[matrix.indptr[column] : matrix.indptr[column + 1]]
