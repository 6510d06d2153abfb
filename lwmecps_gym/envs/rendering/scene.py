"""What there is to see of one cluster at one moment."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lwmecps_gym.envs.cluster import Bools, ClusterState, Floats, Ints
from lwmecps_gym.envs.performance import evaluate
from lwmecps_gym.envs.scenario import Scenario
from lwmecps_gym.envs.step import Step

OKABE_ITO = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442")
"""Colours that people with any colour vision tell apart (Okabe and Ito, Color Universal Design)."""


@dataclass(frozen=True)
class Scene:
    """One cluster between two steps: S services, N nodes, U sites.

    Nodes and latencies by site are those of this moment; what the last step cost, and latencies by
    service, were measured in it.

    Attributes:
        scenario: gives the names.
        time_s: since midnight of the first day.
        up: which nodes are up, [N].
        capacity: cores of the nodes, [N].
        request: cores of one replica, [S].
        ready, starting: replicas, [S, N].
        demand: requests/s of the last step, [S, U].
        slo_ms, service_latency_ms: [S].
        site_latency_ms: mean over the requests of a site that the ready replicas would give under
            that demand, [U]; 0 without requests.
        terms: weighted terms of the cost of the last step; empty before the first.
        violated: share of its requests that failed or missed their SLO.
        action: what was done in it, in words; empty before the first.
    """

    scenario: Scenario
    time_s: float
    up: Bools
    capacity: Floats
    request: Floats
    ready: Ints
    starting: Ints
    demand: Floats
    slo_ms: Floats
    service_latency_ms: Floats
    site_latency_ms: Floats
    terms: dict[str, float]
    violated: float
    action: str

    @property
    def cost(self) -> float:
        """Of the last step."""
        return sum(self.terms.values())

    @property
    def mean_latency_ms(self) -> float:
        """Mean of `site_latency_ms` over all requests."""
        requests = self.demand.sum(0)
        return float((self.site_latency_ms * requests).sum() / max(requests.sum(), 1e-300))

    @property
    def clock(self) -> str:
        """Day and time of the day."""
        minutes = round(self.time_s / 60)
        return f"day {1 + minutes // 1440}, {minutes // 60 % 24:02}:{minutes % 60:02}"

    @property
    def hour(self) -> float:
        """Hour of the day."""
        return self.time_s / 3600 % 24

    def cpu_share(self, replicas: Ints) -> Floats:
        """Share of the nodes' CPU that `replicas` [S, N] request, [S, N]."""
        return replicas * self.request[:, None] / self.capacity


@dataclass(frozen=True)
class Played:
    """The last step of B clusters.

    Attributes:
        step: what it brought.
        actions: what the agent chose, in words, [B]; empty of clusters that began an episode in it.
    """

    step: Step
    actions: Sequence[str]


def scene_of(
    scenario: Scenario, state: ClusterState, index: int = 0, played: Played | None = None
) -> Scene:
    """The scene of cluster `index` of a state, after the step that was played last, if one was."""
    action = played.actions[index] if played else ""
    step = played.step if played and action else None
    params = state.params.take(np.array([index]))
    ready, demand = state.ready[index], state.demand[index]
    return Scene(
        scenario=scenario,
        time_s=float(state.time_s[index]),
        up=state.node_up[index],
        capacity=params.capacity[0, :, 0],
        request=params.request[0, :, 0],
        ready=ready,
        starting=state.starting[index],
        demand=demand,
        slo_ms=params.slo_ms[0],
        service_latency_ms=state.latency_ms[index],
        site_latency_ms=_site_latency(scenario, state, index),
        terms={name: float(term[index]) for name, term in step.terms.items()} if step else {},
        violated=float(step.violated[index]) if step else 0.0,
        action=action,
    )


def _site_latency(scenario: Scenario, state: ClusterState, index: int) -> Floats:
    """See `Scene.site_latency_ms`; by service, for arrays over sites and nodes are large."""
    one = np.array([index])
    params, ready, demand = state.params.take(one), state.ready[one], state.demand[one]
    spent = np.zeros(demand.shape[2])
    for s in range(demand.shape[1]):
        kept = slice(s, s + 1)
        alone = replace(params, rate=params.rate[:, kept], slo_ms=params.slo_ms[:, kept])
        latency = evaluate(scenario, alone, ready[:, kept], demand[:, kept]).site_latency_ms[0]
        spent += demand[0, s] * latency
    return spent / np.maximum(demand[0].sum(0), 1e-300)


def colours(count: int) -> list[str]:
    """Colours of `count` services: those of `OKABE_ITO`, then the same lighter, then darker."""
    shades = [(1.0, 0.0), (0.5, 127.5), (0.6, 0.0)]
    found = []
    for index in range(count):
        factor, base = shades[index // len(OKABE_ITO) % len(shades)]
        hue = OKABE_ITO[index % len(OKABE_ITO)]
        parts = (int(hue[at : at + 2], 16) * factor + base for at in (1, 3, 5))
        found.append("#" + "".join(f"{round(part):02X}" for part in parts))
    return found
