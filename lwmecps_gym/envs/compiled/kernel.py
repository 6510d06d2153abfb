"""The compiled side of a `ClusterModel`: it steps and observes the model's own arrays."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lwmecps_gym.envs.actions import ActionTable
from lwmecps_gym.envs.cluster import Bools, ClusterParams, Floats, Ints
from lwmecps_gym.envs.compiled import observe, step
from lwmecps_gym.envs.compiled.memory import Actions, Clusters, Outcome, Rules, States, Work
from lwmecps_gym.envs.compiled.performance import FEW
from lwmecps_gym.envs.compiled.sojourn import BLOCK
from lwmecps_gym.envs.encoding import (
    Encoding,
    FlatEncoding,
    Observation,
    StructuredEncoding,
    clock_of,
)
from lwmecps_gym.envs.performance import COST_TERMS
from lwmecps_gym.envs.scenario import Scenario
from lwmecps_gym.envs.step import Step


class Kernel:
    """Steps and observes B clusters in place.

    What it makes of the arrays it remembers: whoever else writes to them says so by `begin`.

    Args:
        scenario: what is modelled.
        params: of the clusters; the arrays are read at every step.
        actions: numbers of the actions.
        own_rtt: each cluster has round-trip times of its own.
        failures: nodes fail.
        arrays: those of `States` that the model owns, by their names.
    """

    def __init__(
        self,
        scenario: Scenario,
        params: ClusterParams,
        actions: ActionTable,
        *,
        own_rtt: bool,
        failures: bool,
        **arrays: NDArray[Any],
    ) -> None:
        self._params = params
        self._own_rtt = own_rtt
        self._moves = actions.moves
        self._table = Actions(actions.kind, actions.service, actions.source, actions.target)
        self._rules = _rules(scenario, failures)
        self._clusters = _clusters(params, own_rtt, *arrays["ready"].shape)
        self._states = _states(params, arrays)
        self._work = _work(params)
        self._ranked = self._fresh = False

    def begin(self, indices: Ints) -> None:
        """Forget what was remembered of clusters that begin a new episode."""
        if self._own_rtt:
            self._clusters.nearest[indices] = self._params.nearest[indices]
            self._clusters.near_sites[indices] = self._params.near_sites[indices]
            self._clusters.rtt_ms[indices] = self._params.rtt_ms[indices].transpose(0, 2, 1)
        step.begin(self._clusters, self._states, indices, self._own_rtt or not self._ranked)
        self._ranked = self._fresh = True

    def illegal(self, actions: Ints) -> Bools:
        """Which actions cannot be applied, [B]."""
        result = np.empty(len(actions), dtype=bool)
        step.find_illegal(self._clusters, self._states, self._table, actions, result)
        return result

    def step(self, actions: Ints) -> Step:
        """Apply one legal action per cluster, [B], and play one control interval."""
        outcome = self._play(actions, False)
        self._fresh = False
        terms, latency_ms, violated, failed, migrations = outcome
        return Step(
            dict(zip(COST_TERMS, terms, strict=True)), migrations, latency_ms, violated, failed
        )

    def measure_first(self) -> None:
        """Measure, in clusters that have just begun, the interval before the first."""
        if not self._fresh:
            return
        self._fresh = False
        self._play(np.empty(0, dtype=np.int64), True)

    def _play(self, actions: Ints, only_fresh: bool) -> Outcome:
        outcome = Outcome(np.empty((len(COST_TERMS), len(actions))), *np.empty((4, len(actions))))
        step.step(
            self._rules, self._clusters, self._states, self._work, self._table,
            actions, only_fresh, outcome,
        )  # fmt: skip
        return outcome

    def node_history(self, draws: Floats, fail: float, repair: float, up: Bools) -> None:
        """Write which nodes are up, [T, N], from uniform draws [T, N]."""
        step.node_history(draws, fail, repair, up)

    def observe(self, encoding: Encoding, time_s: Floats) -> Observation | None:
        """What `encoding` makes of the state, in new arrays; None of an encoding unknown here."""
        self.measure_first()
        clock = clock_of(time_s)
        if isinstance(encoding, FlatEncoding):
            vector = np.empty((len(clock), encoding.size), dtype=np.float32)
            actions = len(encoding.actions) if encoding.masked else 0
            mask = np.empty((len(clock), actions), dtype=np.int8)
            observe.flat(self._clusters, self._states, self._moves, clock, vector, mask)
            return {"observations": vector, "action_mask": mask} if encoding.masked else vector
        if isinstance(encoding, StructuredEncoding):
            arrays = encoding.empty(len(clock))
            observe.structured(
                self._clusters, self._states, self._work, self._moves,
                arrays["nodes"], arrays["services"], arrays["pairs"], arrays["action_mask"],
            )  # fmt: skip
            arrays["clock"][:] = clock
            return arrays
        return None


def _rules(scenario: Scenario, failures: bool) -> Rules:
    weights = scenario.weights
    return Rules(
        prefer_close=scenario.routing == "prefer-close",
        shared_queue=scenario.queue == "shared",
        failures=failures,
        utilisation_cap=scenario.utilisation_cap,
        timeout_ms=float(scenario.timeout_ms),
        latency=weights.latency / scenario.latency_scale_ms,
        violation=float(weights.violation),
        resources=float(weights.resources),
        balance=float(weights.balance),
        migration=float(weights.migration),
    )


def _clusters(
    params: ClusterParams, own_rtt: bool, batch: int, services: int, nodes: int
) -> Clusters:
    kept = slice(None) if own_rtt else slice(1)
    nearest = params.nearest[kept].astype(np.int16)
    near_sites = params.near_sites[kept].astype(np.int16)
    return Clusters(
        capacity=params.capacity,
        request=params.request,
        rate=params.rate,
        slo_ms=params.slo_ms,
        min_replicas=params.min_replicas,
        max_replicas=params.max_replicas,
        startup_steps=params.startup_steps,
        rtt_ms=params.rtt_ms[kept].transpose(0, 2, 1).copy(),
        nearest=nearest,
        rank=nearest.transpose(0, 2, 1).copy(),
        near_sites=near_sites,
        near_rtt_ms=np.zeros(near_sites.shape),
        near_within=np.zeros((batch, services, nodes), dtype=np.int16),
    )


def _states(params: ClusterParams, arrays: dict[str, NDArray[Any]]) -> States:
    batch, services, nodes = arrays["ready"].shape
    sites = params.rtt_ms.shape[1]
    return States(
        **arrays,
        starting=np.zeros((batch, services), dtype=np.int64),
        total=np.zeros((batch, services), dtype=np.int64),
        used=np.zeros(params.capacity.shape),
        free=np.zeros(params.capacity.shape),
        room=np.zeros((batch, services, nodes), dtype=bool),
        moved=np.ones((batch, services), dtype=bool),
        hosts=np.zeros((batch, services, nodes), dtype=np.int16),
        host_count=np.zeros((batch, services), dtype=np.int64),
        first=np.zeros((batch, services, sites), dtype=np.int16),
        first_rtt_ms=np.zeros((batch, services, sites)),
    )


def _work(params: ClusterParams) -> Work:
    sites, nodes = params.rtt_ms.shape[1:]
    services = params.rate.shape[1]
    flows, pairs = FEW + sites * nodes, services * nodes
    return Work(
        flow=np.empty(flows),
        flow_rtt_ms=np.empty(flows),
        flow_pair=np.empty(flows, dtype=np.int64),
        segment=np.zeros(services + 1, dtype=np.int64),
        powers=np.empty(4 * flows + BLOCK),
        theta=np.empty(pairs),
        slow=np.empty(pairs),
        slow_ms=np.empty(pairs),
        load=np.zeros(nodes),
        space=np.zeros(nodes),
        asked=np.zeros(nodes),
        admitted=np.zeros(nodes),
        left=np.empty(sites),
        target=np.empty(sites, dtype=np.int64),
        first_rank=np.empty(sites, dtype=np.int16),
        queue=np.empty(nodes, dtype=np.int64),
        following=np.empty(sites, dtype=np.int64),
        asked_nodes=np.empty(sites, dtype=np.int64),
        open_hosts=np.empty(nodes, dtype=np.int64),
        spent=np.empty(services),
        late=np.empty(services),
        demand=np.empty(services),
        nearest_requests=np.empty(nodes),
        near_requests=np.empty(nodes),
        near_rtt=np.empty(nodes),
        cumulated=np.empty((nodes, 1 + params.near_sites.shape[2])),
    )
