"""Queues of one cluster: the equations of `queueing`, for many flows at once."""

import numpy as np

from lwmecps_gym.envs.compiled.jit import compiled
from lwmecps_gym.envs.compiled.memory import Floats, Flows

BLOCK = 32
"""Exponentials come in blocks of this many: four vectors of eight."""

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
def exponentials(values: Floats, count: int) -> None:
    """Replace the first `count` values, none above 0, by their exponentials.

    Exact to the last digit but one: exp(x) = 2**k exp(r) with r within half a ln 2 (Cody and Waite:
    Software Manual for the Elementary Functions, 1980, chapter 6), and Taylor's series for exp(r).
    There is no branch and no call in the loop, so that it runs on the processor's vectors; the
    library's exponential takes ten times as long.
    """
    for i in range(count):
        x = max(values[i], -708.0)  # below, the result is 0 for all that it is used for
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
        power = np.int64((np.float64(shifted).view(np.int64) + 1023) << 52).view(np.float64)
        values[i] = power + power * p


@compiled
def prepare_queue(
    pair: int,
    shared: bool,
    servers: int,
    mu: float,
    inverse_mu: float,
    load: float,
    flows: Flows,
) -> float:
    """Write P(sojourn > t) of a queue as slow * exp(-theta t) + (1 - slow) * exp(-mu t).

    In M/M/1 slow is 1: it is common, and `settle` does less for it.

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
    flows.theta[pair] = theta
    flows.slow[pair] = slow
    flows.slow_ms[pair] = 1000 * slow / theta
    return utilisation


@compiled
def settle(
    first: int,
    last: int,
    rates: Floats,
    slo_ms: Floats,
    timeout_ms: float,
    flows: Flows,
) -> None:
    """Add the waiting flows of services `first` to `last` to `spent` and `late`, per service.

    spent: sum of flow * E[min(rtt + sojourn, timeout)], requests/s * ms.
    late: sum of flow * P(rtt + sojourn > SLO), requests/s.
    """
    powers = flows.powers
    count = 0
    for s in range(first, last):
        mu, slo = rates[s], slo_ms[s]
        for i in range(flows.segment[s], flows.segment[s + 1]):
            pair, rtt = flows.pair[i], flows.rtt_ms[i]
            theta = flows.theta[pair]
            limit_s = max(timeout_ms - rtt, 0.0) * 1e-3
            slo_s = max(slo - rtt, 0.0) * 1e-3
            powers[count] = -theta * limit_s
            powers[count + 1] = -theta * slo_s
            count += 2
            if flows.slow[pair] != 1.0:
                powers[count] = -mu * limit_s
                powers[count + 1] = -mu * slo_s
                count += 2
    filled = -(-count // BLOCK) * BLOCK
    powers[count:filled] = 0.0
    exponentials(powers, filled)
    count = 0
    for s in range(first, last):
        slo, fast_ms = slo_ms[s], 1000 / rates[s]
        spent = late = 0.0
        for i in range(flows.segment[s], flows.segment[s + 1]):
            pair, rtt, rps = flows.pair[i], flows.rtt_ms[i], flows.rps[i]
            latency_ms = min(rtt, timeout_ms) + flows.slow_ms[pair] * (1 - powers[count])
            slow = flows.slow[pair]
            tail = slow * powers[count + 1]
            count += 2
            if slow != 1.0:
                latency_ms += (1 - slow) * fast_ms * (1 - powers[count])
                tail += (1 - slow) * powers[count + 1]
                count += 2
            spent += rps * latency_ms
            late += rps * (tail if rtt <= slo else 1.0)
        flows.spent[s] += spent
        if slo < timeout_ms:
            flows.late[s] += late
