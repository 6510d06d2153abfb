"""Demand over time: what a scenario's workload becomes when it is played."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lwmecps_gym.envs.workload_config import DAY_S, Diurnal, Poisson, ServiceShare, Trace

if TYPE_CHECKING:
    from lwmecps_gym.envs.scenario import Scenario

Floats = NDArray[np.float64]

EMPIRICAL_DAY = np.array(
    [0.88, 0.72, 0.56, 0.47, 0.32, 0.27, 0.21, 0.28, 0.35, 0.48, 0.59, 0.63,
     0.73, 0.71, 0.74, 0.75, 0.78, 0.81, 0.85, 0.93, 0.96, 1.00, 0.98, 0.95]
)  # fmt: skip
"""Relative load of a mobile network by hour of the day, 0 to 23."""
_STRETCHED_DAY = (EMPIRICAL_DAY - EMPIRICAL_DAY.min()) / np.ptp(EMPIRICAL_DAY)


@dataclass(frozen=True)
class Workload:
    """Demand of S services at U sites, as `share[s](t) * requests[u](t)`.

    `share` is a function of the time of day alone; `requests` carries the randomness.
    """

    config: Diurnal | Trace | Poisson
    sites: tuple[str, ...]
    services: tuple[str, ...]
    interval_s: float

    @classmethod
    def of(cls, scenario: "Scenario") -> "Workload":
        """Prepare the workload of a scenario."""
        return cls(
            config=scenario.workload.kind,
            sites=tuple(site.name for site in scenario.sites),
            services=tuple(service.name for service in scenario.services),
            interval_s=scenario.control_interval_s,
        )

    @property
    def cycle_s(self) -> float:
        """Time after which the means repeat, s."""
        if isinstance(self.config, Trace):
            values = next(iter(self.config.requests_rps.values()))
            return len(values) * self.config.interval_s
        return DAY_S

    def mean_requests(self, times_s: Floats) -> Floats:
        """Mean requests/s of each site, [T, U], at `times_s` [T]."""
        config = self.config
        if isinstance(config, Diurnal):
            return np.stack(
                [
                    config.peak_users[site]
                    * config.requests_per_user_rps
                    * _day(times_s / 3600 - config.phase_h.get(site, 0.0), config.low)
                    for site in self.sites
                ],
                axis=1,
            )
        if isinstance(config, Trace):
            table = np.array([config.requests_rps[site] for site in self.sites]).T
            slack = 1e-6  # k intervals divided by one may come out just below k
            index = np.floor(times_s / config.interval_s + slack).astype(np.int64) % len(table)
            return np.asarray(table[index])
        constant = np.array([config.mean_users[site] for site in self.sites])
        return np.tile(constant * config.requests_per_user_rps, (len(times_s), 1))

    def sample_around(self, mean: Floats, rng: np.random.Generator) -> Floats:
        """Draw requests/s around `mean`, of the same shape."""
        if isinstance(self.config, Poisson):
            per_user = self.config.requests_per_user_rps
            return np.asarray(rng.poisson(mean / per_user) * per_user, dtype=np.float64)
        noise = self.config.noise
        return np.maximum(0.0, mean * (1 + noise * rng.standard_normal(mean.shape)))

    def shares(self, times_s: Floats) -> Floats:
        """Share of each service in a site's requests, [..., S], at `times_s` [...]."""
        hours = np.asarray(times_s)[..., None] / 3600
        every = list(self.config.share)
        weights = np.concatenate([_weight(self.config.share[name], hours) for name in every], -1)
        weights = weights / weights.sum(-1, keepdims=True)
        chosen = [every.index(name) for name in self.services]
        return np.asarray(weights[..., chosen])

    def mean_demand(self, times_s: Floats) -> Floats:
        """Mean demand in requests/s, [T, S, U], at `times_s` [T]."""
        return self.shares(times_s)[:, :, None] * self.mean_requests(times_s)[:, None, :]


class Means:
    """Means of a workload at whole intervals, worked out once for all episodes."""

    def __init__(self, workload: Workload) -> None:
        self._workload = workload
        self._requests, self._shares = self._at(0.0, 0)

    def of_episode(self, start_s: float, steps: int) -> tuple[Floats, Floats]:
        """Mean requests/s [T, U] and shares [T, S] of an episode, not to be written to.

        T is 1 + `steps`; the first row is that of the interval before `start_s`.
        """
        first = start_s / self._workload.interval_s
        if not first.is_integer() or start_s > 2 * DAY_S:  # few episodes begin there
            return self._at(start_s, steps)
        rows = slice(int(first), int(first) + steps + 1)
        if len(self._requests) < rows.stop:
            self._requests, self._shares = self._at(0.0, 2 * rows.start + steps)
        return self._requests[rows], self._shares[rows]

    def _at(self, start_s: float, steps: int) -> tuple[Floats, Floats]:
        interval_s = self._workload.interval_s
        times_s = start_s + interval_s * np.arange(-1, steps, dtype=np.float64)
        return self._workload.mean_requests(times_s), self._workload.shares(times_s)


def _day(hours: Floats, low: float) -> Floats:
    level = np.interp(hours % 24, np.arange(25), np.append(_STRETCHED_DAY, _STRETCHED_DAY[0]))
    return np.asarray(low + (1 - low) * level)


def _weight(share: ServiceShare, hours: Floats) -> Floats:
    swing = share.swing * np.cos(2 * np.pi * (hours - share.peak_h) / 24)
    return np.asarray(share.mean * (1 + swing))
