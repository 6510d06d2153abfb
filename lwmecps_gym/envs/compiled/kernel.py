"""The compiled side of a `ClusterModel`: it steps and observes the model's own arrays."""

import numpy as np
from numpy.typing import NDArray

from lwmecps_gym.envs.actions import ActionTable
from lwmecps_gym.envs.catchment import NEAR_NODES
from lwmecps_gym.envs.cluster import Bools, ClusterParams, Floats, Ints
from lwmecps_gym.envs.compiled import catchment, observe, pods
from lwmecps_gym.envs.compiled.memory import (
    Demand,
    Desk,
    Flows,
    Hosts,
    Limits,
    Measured,
    Near,
    Network,
    Outcome,
    Pods,
    Routes,
    Rules,
    Sight,
    Speeds,
    Table,
    Visits,
)
from lwmecps_gym.envs.compiled.performance import evaluate
from lwmecps_gym.envs.compiled.sojourn import WIDE
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
        t: steps played, [B]; this and the arrays that follow are written to.
        fresh: has not played a step, [B].
        ready: replicas, [B, S, N] int16.
        stages: starting replicas, [B, S, N, K] int16.
        node_up: [B, N].
        utilisation: [B, S, N].
        latency_ms: [B, S].
        up: whether nodes are up, over the episode, [L, B, N].
        requests: requests/s, [L, B, U].
        shares: shares of the services in them, [L, B, S].
    """

    def __init__(
        self,
        scenario: Scenario,
        params: ClusterParams,
        actions: ActionTable,
        *,
        own_rtt: bool,
        failures: bool,
        t: Ints,
        fresh: Bools,
        ready: NDArray[np.int16],
        stages: NDArray[np.int16],
        node_up: Bools,
        utilisation: Floats,
        latency_ms: Floats,
        up: Bools,
        requests: Floats,
        shares: Floats,
    ) -> None:
        self._params, self._own_rtt = params, own_rtt
        self._failures, self._up = failures, up
        self._moves = actions.moves
        self._table = Table(actions.kind, actions.service, actions.source, actions.target)
        self._rules = _rules(scenario)
        self._limits = Limits(
            params.capacity,
            params.request,
            params.min_replicas,
            params.max_replicas,
            params.startup_steps,
        )
        self._speeds = Speeds(params.rate, params.slo_ms)
        self._network, self._near = _network(params, own_rtt)
        self._demand = Demand(t, requests, shares)
        self._measured = Measured(fresh, utilisation, latency_ms)
        batch, services, nodes = ready.shape
        sites, resources = requests.shape[2], params.capacity.shape[2]
        self._pods = Pods(
            ready=ready,
            stages=stages,
            node_up=node_up,
            starting=np.zeros((batch, services), dtype=np.int64),
            total=np.zeros((batch, services), dtype=np.int64),
            used=np.zeros((batch, nodes, resources)),
            free=np.zeros((batch, nodes, resources)),
            room=np.zeros((batch, services, nodes), dtype=bool),
            moved=np.ones((batch, services), dtype=bool),
            shifted=np.ones((batch, services), dtype=bool),
        )
        self._routes = Routes(
            hosts=np.zeros((batch, services, nodes), dtype=np.int16),
            host_count=np.zeros((batch, services), dtype=np.int64),
            first=np.zeros((batch, services, sites), dtype=np.int16),
            first_rtt_ms=np.zeros((batch, services, sites)),
        )
        self._flows, self._desk, self._sight = _rooms(params)
        self._hosts: Hosts | None = None
        self._ranked = self._fresh = False

    def begin(self, indices: Ints) -> None:
        """Forget what was remembered of clusters that begin a new episode."""
        if self._own_rtt:
            self._network.nearest[indices] = self._params.nearest[indices]
            self._network.rtt_ms[indices] = self._params.rtt_ms[indices].transpose(0, 2, 1)
            self._near.sites[indices] = self._params.near_sites[indices]
        pods.begin(
            self._limits, self._speeds, self._network, self._near, self._pods,
            indices, self._own_rtt or not self._ranked,
        )  # fmt: skip
        if self._hosts is not None:
            self._forget(self._hosts, indices)
        self._ranked = self._fresh = True

    def illegal(self, actions: Ints) -> Bools:
        """Which actions cannot be applied, [B]."""
        result = np.empty(len(actions), dtype=bool)
        pods.find_illegal(self._limits, self._pods, self._table, actions, result)
        return result

    def step(self, actions: Ints) -> tuple[Step, Bools]:
        """Play one control interval after one action per cluster, [B], where it can be applied.

        Returns:
            What it brought, and which actions could not be applied, [B].
        """
        outcome = _outcome(len(actions))
        illegal = np.empty(len(actions), dtype=bool)
        pods.apply(self._limits, self._pods, self._table, actions, illegal, outcome.migrations)
        self._evaluate(False, outcome)
        pods.advance(
            self._rules, self._limits, self._pods, self._demand.t, self._failures, self._up, outcome
        )
        terms, latency_ms, violated, failed, migrations = outcome
        named = dict(zip(COST_TERMS, terms, strict=True))
        return Step(named, migrations, latency_ms, violated, failed), illegal

    def measure_first(self) -> None:
        """Measure, in clusters that have just begun, the interval before the first."""
        if self._fresh:
            self._evaluate(True, _outcome(0))

    def node_history(self, draws: Floats, fail: float, repair: float, up: Bools) -> None:
        """Write which nodes are up, [L, N], from uniform draws [L, N]."""
        pods.node_history(draws, fail, repair, up)

    def observe(self, encoding: Encoding, time_s: Floats) -> Observation | None:
        """What `encoding` makes of the state, in new arrays; None of an encoding unknown here."""
        self.measure_first()
        clock = clock_of(time_s)
        if isinstance(encoding, FlatEncoding):
            vector = np.empty((len(clock), encoding.size), dtype=np.float32)
            actions = len(encoding.actions) if encoding.masked else 0
            mask = np.empty((len(clock), actions), dtype=np.int8)
            observe.flat(
                self._limits, self._speeds, self._demand, self._pods, self._measured,
                self._moves, clock, vector, mask,
            )  # fmt: skip
            return {"observations": vector, "action_mask": mask} if encoding.masked else vector
        if isinstance(encoding, StructuredEncoding):
            arrays = encoding.empty(len(clock))
            observe.structured(
                self._rules, self._limits, self._speeds, self._network, self._near, self._demand,
                self._pods, self._measured, self._sight, self._moves,
                arrays["nodes"], arrays["services"], arrays["pairs"], arrays["action_mask"],
            )  # fmt: skip
            arrays["clock"][:] = clock
            if encoding.catchment:
                self._look_around(arrays["catchment"])
            return arrays
        return None

    def _look_around(self, pairs: NDArray[np.float32]) -> None:
        if self._hosts is None:  # most encodings do not ask
            self._hosts = _hosts(self._params)
            self._forget(self._hosts, np.arange(len(self._demand.t)))
        nodes = self._pods.ready.shape[2]
        catchment.look_around(
            self._rules, self._limits, self._speeds, self._network, self._demand, self._pods,
            self._hosts, Visits(*np.zeros((len(Visits._fields), nodes))), pairs,
        )  # fmt: skip

    def _forget(self, hosts: Hosts, indices: Ints) -> None:
        catchment.begin(self._rules, self._speeds, self._network, self._pods, hosts, indices)

    def _evaluate(self, only_fresh: bool, outcome: Outcome) -> None:
        evaluate(
            self._rules, self._speeds, self._network, self._demand, self._pods, self._routes,
            self._measured, self._flows, self._desk, only_fresh, outcome,
        )  # fmt: skip
        self._fresh = False


def _outcome(batch: int) -> Outcome:
    return Outcome(np.empty((len(COST_TERMS), batch)), *np.empty((4, batch)))


def _rules(scenario: Scenario) -> Rules:
    weights = scenario.weights
    return Rules(
        prefer_close=scenario.routing == "prefer-close",
        shared_queue=scenario.queue == "shared",
        utilisation_cap=scenario.utilisation_cap,
        timeout_ms=float(scenario.timeout_ms),
        latency=weights.latency / scenario.latency_scale_ms,
        violation=float(weights.violation),
        resources=float(weights.resources),
        balance=float(weights.balance),
        migration=float(weights.migration),
    )


def _network(params: ClusterParams, own_rtt: bool) -> tuple[Network, Near]:
    kept = slice(None) if own_rtt else slice(1)
    nearest = params.nearest[kept].astype(np.int16)
    sites = params.near_sites[kept].astype(np.int16)
    network = Network(
        rtt_ms=params.rtt_ms[kept].transpose(0, 2, 1).copy(),
        nearest=nearest,
        rank=nearest.transpose(0, 2, 1).copy(),
    )
    within = np.zeros((*params.rate.shape, params.capacity.shape[1]), dtype=np.int16)
    return network, Near(sites, np.zeros(sites.shape), within)


def _hosts(params: ClusterParams) -> Hosts:
    batch, services = params.rate.shape
    sites, nodes = params.rtt_ms.shape[1:]
    first, second, first_node, second_node = np.zeros((4, batch, services, sites), np.int16)
    first_price, second_price = np.zeros((2, batch, services, sites))
    return Hosts(
        held=np.zeros((batch, services, nodes), dtype=bool),
        first=first,
        second=second,
        first_node=first_node,
        second_node=second_node,
        first_price=first_price,
        second_price=second_price,
        near_price=np.zeros((batch, services, sites, min(NEAR_NODES, nodes))),
    )


def _rooms(params: ClusterParams) -> tuple[Flows, Desk, Sight]:
    sites, nodes = params.rtt_ms.shape[1:]
    count = sites * nodes + WIDE
    flows = Flows(
        rps=np.empty(count),
        rtt_ms=np.empty(count),
        node=np.zeros(count, dtype=np.int64),
        site=np.empty(count, dtype=np.int64),
        theta=np.zeros(nodes),
        slow=np.zeros(nodes),
        slow_ms=np.zeros(nodes),
    )
    desk = Desk(
        load=np.zeros(nodes),
        space=np.zeros(nodes),
        asked=np.zeros(nodes),
        admitted=np.zeros(nodes),
        asked_nodes=np.empty(sites, dtype=np.int64),
        open_hosts=np.empty(nodes, dtype=np.int64),
        left=np.empty(sites),
        target=np.empty(sites, dtype=np.int64),
        queue=np.empty(nodes, dtype=np.int64),
        following=np.empty(sites, dtype=np.int64),
        first_rank=np.empty(sites, dtype=np.int16),
    )
    sight = Sight(
        nearest=np.empty(nodes),
        near=np.empty(nodes),
        rtt=np.empty(nodes),
        cumulated=np.empty((nodes, 1 + params.near_sites.shape[2])),
    )
    return flows, desk, sight
