"""Clusters in plain terms as arrays, and what a decision changes in them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lwmecps_gym.algorithms.decision_request import Effect, PlainState
from lwmecps_gym.envs.actions import ActionTable, Kind
from lwmecps_gym.envs.cluster import ClusterParams, ClusterState, Ints
from lwmecps_gym.envs.performance import Performance, cost_terms, evaluate
from lwmecps_gym.envs.scenario import Scenario
from lwmecps_gym.platform.errors import InvalidInputError

BATCHED = (
    "capacity", "request", "rate", "slo_ms", "rtt_ms", "nearest", "near_sites", "demand_factor",
)  # fmt: skip
"""Arrays of `ClusterParams` with a row for each cluster."""


class PlainStates:
    """Reads plain states of one scenario.

    Args:
        scenario: whose names they use.
    """

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._params = ClusterParams.of(scenario)
        self.services = [service.name for service in scenario.services]
        self.nodes = [node.name for node in scenario.nodes]
        self._service = {name: i for i, name in enumerate(self.services)}
        self._node = {name: i for i, name in enumerate(self.nodes)}
        self._site = {site.name: i for i, site in enumerate(scenario.sites)}

    def read(self, plain: Sequence[PlainState], fields: Sequence[str]) -> ClusterState:
        """Turn plain states into a batch.

        Args:
            plain: the states, B of them.
            fields: what each is called in a message.

        Raises:
            InvalidInputError: a name is not in the scenario, or there are replicas on a node that
                is down.
        """
        batch, services, nodes = len(plain), len(self.services), len(self.nodes)
        ready = np.zeros((batch, services, nodes), dtype=np.int64)
        starting = np.zeros_like(ready)
        demand = np.zeros((batch, services, len(self._site)))
        node_up = np.ones((batch, nodes), dtype=bool)
        for b, (state, field) in enumerate(zip(plain, fields, strict=True)):
            self._fill(ready[b], f"{field}.placement", state.placement, self._node)
            self._fill(starting[b], f"{field}.starting", state.starting, self._node)
            self._fill(demand[b], f"{field}.demand_rps", state.demand_rps, self._site)
            for name in state.nodes_down:
                node_up[b, _index(f"{field}.nodes_down", name, self._node)] = False
        self._check_down(ready + starting, node_up, fields)
        params = self._params_of(batch)
        performance = evaluate(self._scenario, params, ready, demand)
        return ClusterState(
            params=params,
            time_s=np.array([state.time_s for state in plain]),
            ready=ready,
            starting=starting,
            node_up=node_up,
            demand=demand,
            utilisation=performance.utilisation,
            latency_ms=performance.service_latency_ms,
        )

    def placements(self, replicas: Ints) -> list[dict[str, dict[str, int]]]:
        """Name replicas [B, S, N]; nodes without any are left out."""
        made: list[dict[str, dict[str, int]]] = [
            {service: {} for service in self.services} for _ in replicas
        ]
        for b, s, n in zip(*(part.tolist() for part in np.nonzero(replicas)), strict=True):
            made[b][self.services[s]][self.nodes[n]] = int(replicas[b, s, n])
        return made

    def effects(
        self, state: ClusterState, after: Ints, table: ActionTable, actions: Ints
    ) -> list[Effect]:
        """Compare the placement before and after actions [B], under the same demand."""
        kind = table.kind[actions]
        started = ((kind == Kind.PLACE) | (kind == Kind.MOVE)).astype(np.float64)
        before = self._measures(state, state.replicas, np.zeros(len(kind)))
        later = self._measures(state, after, started)
        return [
            Effect(
                latency_ms_before=old[0],
                latency_ms_after=new[0],
                violation_share_before=old[1],
                violation_share_after=new[1],
                cost_before=old[2],
                cost_after=new[2],
            )
            for old, new in zip(before, later, strict=True)
        ]

    def _measures(
        self, state: ClusterState, replicas: Ints, migrations: NDArray[np.float64]
    ) -> list[list[float]]:
        """Latency, violated share and cost of each cluster, [B][3]."""
        found: Performance = evaluate(self._scenario, state.params, replicas, state.demand)
        terms = cost_terms(self._scenario, state.params, replicas, found, migrations)
        cost = sum(terms.values(), np.zeros(len(replicas)))
        measured: list[list[float]] = np.stack([found.latency_ms, found.violated, cost], 1).tolist()
        return measured

    def _fill(
        self,
        target: NDArray[Any],
        field: str,
        rows: Mapping[str, Mapping[str, float]],
        columns: Mapping[str, int],
    ) -> None:
        for service, row in rows.items():
            s = _index(field, service, self._service)
            for name, value in row.items():
                target[s, _index(f"{field}.{service}", name, columns)] = value

    def _check_down(
        self, replicas: Ints, node_up: NDArray[np.bool_], fields: Sequence[str]
    ) -> None:
        if node_up.all():
            return
        held = replicas.any(1) & ~node_up
        for b, n in zip(*(part.tolist() for part in np.nonzero(held)), strict=True):
            raise InvalidInputError(
                f"{fields[b]}.nodes_down: {self.nodes[n]!r} has replicas in placement or starting; "
                "a node that is down has none"
            )

    def _params_of(self, batch: int) -> ClusterParams:
        if batch == 1:
            return self._params
        own = {name: getattr(self._params, name) for name in BATCHED}
        return replace(
            self._params,
            **{name: np.broadcast_to(v, (batch, *v.shape[1:])) for name, v in own.items()},
        )


def _index(field: str, name: str, names: Mapping[str, int]) -> int:
    try:
        return names[name]
    except KeyError:
        raise InvalidInputError(f"{field}: {name!r} is none of {_shown(names)}") from None


def _shown(names: Iterable[str], most: int = 30) -> str:
    known = sorted(names)
    more = f" and {len(known) - most} more" if len(known) > most else ""
    return f"{known[:most]}{more}"
