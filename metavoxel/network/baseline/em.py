"""Expectation maximisation of a Gaussian mixture from rows with gaps, shrunk towards a common covariance.

With the posterior of :mod:`metavoxel.network.baseline.components` (Ghahramani and Jordan 1994 for rows with gaps), the
responsibilities r_nk = p(k | y_n), N_k = sum_n r_nk, and E[f_n], V_nk of eq. (2) there, the M-step is

    w_k = (N_k + 1) / (n + K),    m_k = sum_n r_nk E[f_n] / (N_k + ``PRIOR_ROWS``),                              (1)
    T_k = sum_n r_nk (V_nk + (E[f_n] - m_k)(E[f_n] - m_k)').                                                     (2)

T_k / N_k is split into variances v_k and correlations R_k, and the common sum_k T_k / n into v and R. Both are shrunk
(correlations as by Fraley and Raftery 2007, "Bayesian regularization for normal mixture estimation", whose prior has
d + 2 degrees of freedom), with a = N_k / (N_k + ``VARIANCE_ROWS``) and b = N_k / (N_k + d + 2):

    log u_k = a log v_k + (1 - a) log v,    C_k = b R_k + (1 - b) R,                                             (3)
    S_k = B * (sqrt(u_k) sqrt(u_k)' * C_k) + ``LEAST_VARIANCE`` I,                                               (4)

where * is the elementwise product and B the kept share of every covariance.
"""

import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from metavoxel.network.baseline.components import Components, posterior

LEAST_VARIANCE = 1e-3
"""Smallest variance of a feature in a component: 0 would be that of a value shared by many rows."""
MOST_STEPS, CLOSE = 100, 1e-4
"""Maximum number of steps, and the rise of the mean log-likelihood below which they stop."""
STARTS = 4
"""Number of k-means starts, the best of which initialises EM."""
PRIOR_ROWS = 0.1
"""Weight, in rows, of the grand mean 0 in each component's mean."""
VARIANCE_ROWS = 2
"""Weight, in rows, of the common variances: small, so that components may differ in scale."""


def fit_components(
    rows: Float64[Tensor, "n d"],
    seen: Bool[Tensor, "n d"],
    count: int,
    between: Float64[Tensor, "d d"],
) -> Components:
    """Fit a mixture by EM, eq. (1) to (4), starting from k-means clusters.

    Args:
        rows: features, approximately standardised; 0 where unknown.
        seen: mask of the known features.
        count: number of components, K.
        between: B of eq. (4), the kept share of every covariance.
    """
    from sklearn.cluster import KMeans  # half a second, which loading a model need not wait for

    clusters = KMeans(count, n_init=STARTS, random_state=0).fit_predict(rows.numpy())
    shares = torch.nn.functional.one_hot(torch.from_numpy(clusters).long(), count).double()
    size = rows.shape[1]
    found = Components(
        torch.full((count,), 1 / count, dtype=torch.float64),
        torch.zeros(count, size, dtype=torch.float64),
        torch.eye(size, dtype=torch.float64).expand(count, -1, -1),
    )
    last = -torch.inf
    for step in range(MOST_STEPS):
        now = posterior(found, rows, seen)
        likelihood = float(torch.logsumexp(now.log_joint, 1).mean())
        if step > 1 and likelihood - last < CLOSE:
            break
        last = likelihood
        found = _maximised(
            shares if step == 0 else now.responsibilities, now.means, now.covariances, now.pattern, between
        )
    return found


def _maximised(
    shares: Float64[Tensor, "n k"],
    means: Float64[Tensor, "n k d"],
    covariances: Float64[Tensor, "k u d d"],
    pattern: Tensor,
    between: Float64[Tensor, "d d"],
) -> Components:
    """Return the components of the M-step, eq. (1) to (4); ``shares`` are the responsibilities."""
    rows, count, size = means.shape
    weight = shares.sum(0)
    center = torch.einsum("nk,nkd->kd", shares, means) / (weight + PRIOR_ROWS)[:, None]
    of_pattern = torch.zeros(covariances.shape[1], count, dtype=torch.float64).index_add_(0, pattern, shares)
    scatter = torch.einsum("uk,kuij->kij", of_pattern, covariances)
    for number in range(count):
        distance = means[:, number] - center[number]
        scatter[number] += (shares[:, number, None] * distance).T @ distance
    own, common = scatter / weight.clamp_min(1e-6)[:, None, None], scatter.sum(0, keepdim=True) / rows
    (own_variance, own), (variance, correlation) = _standardised(own), _standardised(common)
    share = (weight / (weight + VARIANCE_ROWS))[:, None]
    spread = torch.exp((share * own_variance.log() + (1 - share) * variance.log()) / 2)
    share = (weight / (weight + size + 2))[:, None, None]
    covariance = (share * own + (1 - share) * correlation) * spread[:, :, None] * spread[:, None]
    covariance = covariance * between + LEAST_VARIANCE * torch.eye(size, dtype=torch.float64)
    return Components((weight + 1) / (rows + count), center, covariance)


def _standardised(covariance: Float64[Tensor, "k d d"]) -> tuple[Float64[Tensor, "k d"], Float64[Tensor, "k d d"]]:
    """Split covariances into variances and correlations."""
    variance = covariance.diagonal(dim1=1, dim2=2).clamp_min(LEAST_VARIANCE)
    spread = variance.sqrt()
    return variance, covariance / (spread[:, :, None] * spread[:, None])
