"""EASE as a Factorization Machine in closed form: no training, and a check on those that train.

EASE predicts films from films: s = x B with B = I - P diag(1/P_ii), P = (X'X + r I)^-1, whose
diagonal is 0 (Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019). For a film
that the user has not rated, x_i = 0, and then s_i = x (I/r - P) e_i / P_ii. With X'X = Q L Q' the
matrix I/r - P is Q diag(L / (r (L + r))) Q', so the score is an inner product <sum_j x_j h_j, v_i>
of factors h = Q sqrt(L / (r (L + r))) for the history and v_i = h_i / P_ii for the film. The
greatest L alone give the best approximation of a lower rank.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fmrec.fm.model import Matrix, Model


def closed_form(
    graded: Matrix,
    rated: npt.NDArray[np.int64],
    item: npt.NDArray[np.int64],
    *,
    feature_dim: int,
    rank: int,
    regularisation: float,
) -> Model:
    """Return the FM of ``rank`` factors over ``feature_dim`` columns, for films not yet rated.

    ``graded`` (n, m) has the grades of users' ratings; ``rated`` and ``item`` (m,) are the columns
    of each film in a history and as the film that is scored. On a row of the film's own column
    and a history of values x, the FM equation gives EASE's score plus a number that depends on
    the history alone. ``rank`` m is EASE itself. Takes O(m^3) time and O(m^2) memory;
    ``regularisation`` is above 0.
    """
    sparse_gram = graded.T @ graded
    gram = sparse_gram.toarray().astype(np.float64)
    spectrum, Q = np.linalg.eigh(gram)
    spectrum = np.maximum(spectrum, 0)
    diagonal = (Q * Q) @ (1 / (spectrum + regularisation))
    top = np.argsort(-spectrum, kind="stable")[:rank]
    greatest = spectrum[top]
    history = Q[:, top] * np.sqrt(greatest / (regularisation * (greatest + regularisation)))
    V = np.zeros((feature_dim, len(top)), np.float32)
    V[rated] = history
    V[item] = history / diagonal[:, None]
    return Model(0.0, np.zeros(feature_dim, np.float32), V, "regressor")
