"""Queues of one cluster: the equations of `queueing`, for many flows at once."""

import numpy as np

from lwmecps_gym.envs.compiled.jit import compiled, summing
from lwmecps_gym.envs.compiled.memory import Flows

WIDE = 8
"""Flows are settled in blocks of this many: a vector of the widest processors, two of others."""

_LOG2_E = 1.4426950408889634
_LN2_HIGH, _LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
_ROUND = 6755399441055744.0
"""1.5 * 2**52: added to a number, it leaves the nearest integer in the lowest bits."""
_NEAR = 1e-6
"""As in `queueing`."""


@compiled
def erlang_wait(servers: int, load: float, utilisation: float) -> float:
    """Probability of waiting in M/M/c, see `queueing.erlang_c`; `load` is above 0.

    It is the same recurrence, for the reciprocal of Erlang B, which takes one division in all.
    """
    inverse_load = 1 / load
    inverse_blocking = 1.0
    for k in range(1, servers + 1):
        inverse_blocking = 1.0 + k * inverse_load * inverse_blocking
    return 1 / (inverse_blocking * (1 - utilisation) + utilisation)


@compiled
def exponential(x: float) -> float:
    """exp(x) for x not above 0.

    Exact to the last digit but one: exp(x) = 2**k exp(r) with r within half a ln 2 (Cody and Waite:
    Software Manual for the Elementary Functions, 1980, chapter 6), and Taylor's series for exp(r).
    There is no branch and no call in it, so that a loop runs on the processor's vectors; the
    library's exponential takes ten times as long.
    """
    x = max(x, -708.0)  # below, the result is 0 for all that it is used for
    shifted = x * _LOG2_E + _ROUND
    k = shifted - _ROUND
    r = (x - k * _LN2_HIGH) - k * _LN2_LOW
    p = 1 / 6227020800.0
    p = p * r + 1 / 479001600.0
    p = p * r + 1 / 39916800.0
    p = p * r + 1 / 3628800.0
    p = p * r + 1 / 362880.0
    p = p * r + 1 / 40320.0
    p = p * r + 1 / 5040.0
    p = p * r + 1 / 720.0
    p = p * r + 1 / 120.0
    p = p * r + 1 / 24.0
    p = p * r + 1 / 6.0
    p = p * r + 0.5
    p = p * r + 1.0
    p = p * r
    power: float = np.int64((np.float64(shifted).view(np.int64) + 1023) << 52).view(np.float64)
    return power + power * p


@compiled
def prepare_queue(
    node: int,
    shared: bool,
    servers: int,
    mu: float,
    inverse_mu: float,
    load: float,
    flows: Flows,
) -> float:
    """Write P(sojourn > t) of a queue as slow * exp(-theta t) + (1 - slow) * exp(-mu t).

    In M/M/1 slow is 1.

    Returns:
        The utilisation.
    """
    slow, theta = 1.0, mu - load
    utilisation = load * inverse_mu
    if servers > 1 and load > 0.0:
        utilisation /= servers
        if shared:
            theta = servers * mu - load
            if abs(mu - theta) < _NEAR * mu:
                theta = mu * (1 + _NEAR)
            slow = erlang_wait(servers, load * inverse_mu, utilisation) * mu / (mu - theta)
        else:
            theta = mu - load / servers
    flows.theta[node] = theta
    flows.slow[node] = slow
    flows.slow_ms[node] = 1000 * slow / theta
    return utilisation


@summing
def settle(
    end: int, mu: float, slo_ms: float, timeout_ms: float, flows: Flows
) -> tuple[float, float]:
    """Sum up the flows of a service, of which there are `end`.

    `flows` has `WIDE` more places, which are filled with flows of nothing: a block is as quick as
    a single flow, and no flow is left over for a loop without vectors.

    Returns:
        flow * E[min(rtt + sojourn, timeout)], requests/s * ms, and flow * P(rtt + sojourn > SLO),
        requests/s.
    """
    for i in range(end, end + WIDE):
        flows.rps[i] = flows.rtt_ms[i] = 0.0
        flows.node[i] = flows.node[0]
    fast_ms = 1000 / mu
    spent = late = 0.0
    for block in range(0, end, WIDE):
        for i in range(block, block + WIDE):
            n, rtt_ms, rps = flows.node[i], flows.rtt_ms[i], flows.rps[i]
            slow, theta = flows.slow[n], flows.theta[n]
            limit_s = max(timeout_ms - rtt_ms, 0.0) * 1e-3
            slo_s = max(slo_ms - rtt_ms, 0.0) * 1e-3
            latency_ms = (
                min(rtt_ms, timeout_ms)
                + flows.slow_ms[n] * (1 - exponential(-theta * limit_s))
                + (1 - slow) * fast_ms * (1 - exponential(-mu * limit_s))
            )
            tail = slow * exponential(-theta * slo_s) + (1 - slow) * exponential(-mu * slo_s)
            spent += rps * latency_ms
            late += rps * (tail if rtt_ms <= slo_ms else 1.0)
    return spent, late if slo_ms < timeout_ms else 0.0
