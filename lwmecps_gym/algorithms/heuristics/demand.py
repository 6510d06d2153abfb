"""What is known of the demand beforehand: its mean over a day."""

import numpy as np

from lwmecps_gym.envs.cluster import Floats, Ints
from lwmecps_gym.envs.scenario import Scenario
from lwmecps_gym.envs.workload import Workload


def mean_demand(scenario: Scenario) -> Floats:
    """Demand in requests/s averaged over a cycle of the workload, [S, U]."""
    workload = Workload.of(scenario)
    times = np.arange(0.0, workload.cycle_s, scenario.control_interval_s)
    return workload.mean_demand(times).mean(0)


def mean_demand_at(scenario: Scenario, time_s: float) -> Floats:
    """Mean demand in requests/s at a time of the day, [S, U]."""
    return Workload.of(scenario).mean_demand(np.array([time_s]))[0]


def planned_replicas(scenario: Scenario, utilisation: float) -> Ints:
    """Replicas that the day's mean demand uses to `utilisation`, within each one's limits, [S]."""
    services = scenario.services
    rate = np.array([service.rate_rps for service in services])
    wanted = np.ceil(mean_demand(scenario).sum(1) / (rate * utilisation)).astype(np.int64)
    least = np.array([service.min_replicas for service in services])
    most = np.array([service.max_replicas for service in services])
    return np.clip(wanted, least, most)


def largest_first(scenario: Scenario, counts: Ints) -> list[tuple[int, int]]:
    """Services, those with the largest CPU request first, and their `counts` [S]."""
    order = sorted(range(len(counts)), key=lambda s: -scenario.services[s].cpu)
    return [(s, int(counts[s])) for s in order]
