"""What requests cost by where they are served: the prices of `envs.catchment`, compiled."""

import math

from lwmecps_gym.envs.compiled.jit import compiled
from lwmecps_gym.envs.compiled.memory import Rules, Visits
from lwmecps_gym.envs.compiled.sojourn import erlang_wait

_NEAR = 1e-6
"""As in `queueing`."""


@compiled
def request_price(rules: Rules, rate: float, slo_ms: float, rtt_ms: float) -> float:
    """Cost of a request that does not wait."""
    limit = rules.timeout_ms
    served = -math.expm1(-rate * max(limit - rtt_ms, 0.0) / 1000)
    latency_ms = min(rtt_ms, limit) + 1000 * served / rate
    late = math.exp(-rate * max(slo_ms - rtt_ms, 0.0) / 1000) if slo_ms < limit else 0.0
    return rules.latency * latency_ms + rules.violation * late


@compiled
def failure_price(rules: Rules) -> float:
    """Cost of a request that fails."""
    return rules.latency * rules.timeout_ms + rules.violation


@compiled
def share_refused(rules: Rules, rate: float, held: int, load: float) -> float:
    """Share of a load that `held` replicas do not admit."""
    room = rules.utilisation_cap * rate * held
    return 1 - room / load if load > room else 0.0


@compiled
def waiting_price(
    rules: Rules, rate: float, slo_ms: float, rtt_ms: float, held: int, served: float
) -> float:
    """What a request that is admitted costs more for waiting."""
    if held == 0 or served <= 0.0:
        return 0.0
    limit = rules.timeout_ms
    slow, theta = 1.0, rate - served / held
    if held > 1 and rules.shared_queue:
        theta = held * rate - served
        if abs(rate - theta) < _NEAR * rate:
            theta = rate * (1 + _NEAR)
        slow = erlang_wait(held, served / rate, served / rate / held) * rate / (rate - theta)
    limit_s, slo_s = max(limit - rtt_ms, 0.0) / 1000, max(slo_ms - rtt_ms, 0.0) / 1000
    # P(sojourn > t) is slow * exp(-theta t) + (1 - slow) * exp(-rate t); without waiting,
    # exp(-rate t)
    sojourn_s = slow * (math.expm1(-rate * limit_s) / rate - math.expm1(-theta * limit_s) / theta)
    late = slow * (math.exp(-theta * slo_s) - math.exp(-rate * slo_s)) if slo_ms < limit else 0.0
    return 1000 * rules.latency * sojourn_s + rules.violation * late


@compiled
def congestion(
    rules: Rules, visits: Visits, n: int, rate: float, slo_ms: float, held: int, load: float
) -> float:
    """Cost per second, under a load, of what waits and what is refused."""
    if load <= 0.0:
        return 0.0
    refused = share_refused(rules, rate, held, load)
    served, rtt_ms = load * (1 - refused), visits.rtt_ms[n] / max(visits.requests[n], 1e-300)
    waiting = waiting_price(rules, rate, slo_ms, rtt_ms, held, served)
    return served * waiting + load * refused * visits.dearer[n]
