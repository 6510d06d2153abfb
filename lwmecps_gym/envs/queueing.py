"""Exact waiting and sojourn times of the M/M/c queue, over whole arrays.

All functions broadcast their arguments. Rates are per second, times in seconds. `c` servers of
rate `mu` are offered `lam`; every formula needs `lam < c * mu`. With theta = c mu - lam and the
probability of waiting C (Erlang C), the waiting time is 0 with probability 1 - C and exponential
with rate theta otherwise, and the sojourn time is the waiting time plus an independent exponential
service (Gross, Shortle, Thompson, Harris: Fundamentals of Queueing Theory, 4th ed., section 2.3).
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

_NEAR = 1e-6
"""theta and mu closer than this (relative) are moved apart; the relative error is as small."""


def erlang_c(servers: ArrayLike, load: ArrayLike) -> Floats:
    """Probability that an arrival waits in M/M/c (Erlang's second formula).

    Args:
        servers: number of servers c, whole numbers; 0 gives probability 1.
        load: offered load a = lam / mu in erlang, a < c.

    The recurrence of Erlang B, B(k) = a B(k-1) / (k + a B(k-1)), is stable for any c.
    """
    c, a = np.broadcast_arrays(np.asarray(servers), np.asarray(load, dtype=np.float64))
    blocking = np.ones(c.shape)
    current = np.ones(c.shape)
    for k in range(1, int(c.max(initial=0)) + 1):
        current = a * current / (k + a * current)
        blocking = np.where(c == k, current, blocking)
    rho = a / np.maximum(c, 1)
    return np.asarray(np.where(c > 0, blocking / (1 - rho * (1 - blocking)), 1.0))


def _rates(mu: ArrayLike, theta: ArrayLike) -> tuple[Floats, Floats]:
    mu = np.asarray(mu, dtype=np.float64)
    theta = np.asarray(theta, dtype=np.float64)
    near = np.abs(mu - theta) < _NEAR * mu
    return mu, np.where(near, mu * (1 + _NEAR), theta)


def sojourn_tail(wait: ArrayLike, mu: ArrayLike, theta: ArrayLike, time: ArrayLike) -> Floats:
    """P(sojourn > time); 1 for negative times.

    Args:
        wait: probability of waiting C.
        mu: service rate of one server, 1/s.
        theta: spare rate c mu - lam, 1/s, above 0.
        time: s.
    """
    mu, theta = _rates(mu, theta)
    t = np.maximum(np.asarray(time, dtype=np.float64), 0.0)
    served, waited = np.exp(-mu * t), np.exp(-theta * t)
    both = (mu * waited - theta * served) / (mu - theta)
    wait = np.asarray(wait, dtype=np.float64)
    tail = (1 - wait) * served + wait * both
    return np.asarray(np.where(np.asarray(time) < 0, 1.0, tail))


def truncated_sojourn(wait: ArrayLike, mu: ArrayLike, theta: ArrayLike, limit: ArrayLike) -> Floats:
    """E[min(sojourn, limit)] in s, the integral of the tail from 0 to `limit` (0 for negative)."""
    mu, theta = _rates(mu, theta)
    a = np.maximum(np.asarray(limit, dtype=np.float64), 0.0)
    served, waited = -np.expm1(-mu * a) / mu, -np.expm1(-theta * a) / theta
    both = (mu * waited - theta * served) / (mu - theta)
    wait = np.asarray(wait, dtype=np.float64)
    return np.asarray((1 - wait) * served + wait * both)
