"""How the environments show a cluster to an agent, and number its actions.

An encoding is what a trained network depends on: it belongs to the environment while training and
to the policy afterwards, and is the same code in both.
"""

from dataclasses import dataclass, field
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from lwmecps_gym.envs.actions import ActionTable, fits
from lwmecps_gym.envs.catchment import find_catchment
from lwmecps_gym.envs.cluster import RESOURCES, Bools, ClusterParams, ClusterState, Floats, Ints
from lwmecps_gym.envs.scenario import Scenario
from lwmecps_gym.platform.errors import InvalidInputError

Observation = NDArray[np.float32] | dict[str, NDArray[Any]]
LIMIT = 1000.0
"""Features are clipped to this, so that spaces have finite bounds."""


class Encoding(Protocol):
    """Turns states into observations, and an agent's actions into the model's."""

    observation_space: gym.Space[Any]
    action_space: gym.spaces.Discrete[Any]
    actions: ActionTable

    def encode(self, state: ClusterState, legal: Bools) -> Any:
        """Observations [B, ...] of states, given the model's legal actions [B, A]."""
        ...

    def to_model(self, actions: Ints) -> Ints:
        """The model's numbers of an agent's actions [B]."""
        ...


def _features(state: ClusterState) -> list[Floats]:
    """Blocks of the vector of `FlatEncoding`, each [B, k]."""
    batch = len(state.time_s)
    capacity = state.params.capacity
    return [
        state.ready.reshape(batch, -1),
        state.starting.reshape(batch, -1),
        state.utilisation.reshape(batch, -1),
        (state.demand / state.params.rate[..., None]).reshape(batch, -1),
        np.minimum(state.latency_ms / (4 * state.params.slo_ms), 10.0),
        (state.free[..., :2] / capacity[..., :2]).reshape(batch, -1),
        state.node_up,
        clock_of(state.time_s),
    ]


def clock_of(time_s: Floats) -> Floats:
    """Sine and cosine of the time of day, [B, 2], at `time_s` [B]."""
    angle = 2 * np.pi * time_s / 86_400
    return np.stack([np.sin(angle), np.cos(angle)], axis=-1)


@dataclass
class FlatEncoding:
    """One vector (v1, v2), and for v2 the mask of legal actions beside it.

    The vector holds, in this order: ready replicas [S, N]; starting replicas [S, N]; utilisation of
    the ready replicas [S, N]; demand of the last step in replicas kept busy [S, U]; latency of the
    last step over four times the SLO [S]; free CPU and memory as a share of the node [N, 2]; node
    is up [N]; sine and cosine of the time of day [2].
    """

    scenario: Scenario
    masked: bool
    moves: bool | None
    size: int = field(init=False)
    actions: ActionTable = field(init=False)
    observation_space: gym.Space[Any] = field(init=False)
    action_space: gym.spaces.Discrete[Any] = field(init=False)

    def __post_init__(self) -> None:
        services, nodes = len(self.scenario.services), len(self.scenario.nodes)
        sites = len(self.scenario.sites)
        self.actions = ActionTable.of(services, nodes, self.moves)
        most = np.repeat([s.max_replicas for s in self.scenario.services], nodes)
        pairs, flows = services * nodes, services * sites
        high = np.concatenate(
            [most, most, np.ones(pairs), np.full(flows, LIMIT), np.full(services, 10.0),
             np.ones(3 * nodes), np.ones(2)]
        )  # fmt: skip
        low = np.zeros_like(high)
        low[-2 - 3 * nodes : -2 - nodes] = -LIMIT  # others can overcommit a live node
        low[-2:] = -1
        self.size = len(low)
        vector = gym.spaces.Box(low.astype(np.float32), high.astype(np.float32), dtype=np.float32)
        self.action_space = gym.spaces.Discrete(len(self.actions))
        self.observation_space = vector
        if self.masked:
            self.observation_space = gym.spaces.Dict(
                {
                    "observations": vector,
                    "action_mask": gym.spaces.Box(0, 1, (len(self.actions),), np.int8),
                }
            )

    def encode(self, state: ClusterState, legal: Bools) -> Observation:
        """See `Encoding.encode`."""
        features = np.concatenate(_features(state), axis=1)
        vector = np.clip(features, -LIMIT, LIMIT).astype(np.float32)
        if not self.masked:
            return vector
        return {"observations": vector, "action_mask": legal.astype(np.int8)}

    def to_model(self, actions: Ints) -> Ints:
        """See `Encoding.to_model`."""
        return actions


NODE_FEATURES = ("is_there", "up", "cpu_cores", *(f"free_{name}" for name in RESOURCES))
SERVICE_FEATURES = (
    "is_there", "ready", "starting", "demand", "latency", "cpu", "rate", "slo", "replicas_left",
    "replica_cost", "start_cost",
)  # fmt: skip
PAIR_FEATURES = (
    "ready", "starting", "utilisation", "demand_nearest", "rtt", "within_slo", "has_room",
)  # fmt: skip
CATCHMENT_FEATURES = ("demand", "gain", "gain_of_few", "loss", "loss_of_few")


@dataclass
class StructuredEncoding:
    """Features of nodes, services and pairs, padded to `max_services` and `max_nodes` (v3).

    They mean the same in clusters of any size: replicas and demand of a service are counted per
    node, and costs are those of the whole cluster times its number of nodes N, for what one replica
    does to a mean over the cluster is in proportion to 1 / N.

    - nodes [N, 8]: is there; is up; cores / 4; free share of each resource.
    - services [S, 11]: is there; ready and starting replicas per node; demand of the last step in
      replicas kept busy per node; latency over four times the SLO; cores per replica; rate / 100;
      SLO / 100 ms; replicas that may be added per node; cost of holding a replica for a step, and
      of starting one, times N.
    - pairs [S, N, 7]: ready; starting; utilisation; demand in replicas kept busy of the sites for
      which the node is the nearest; mean round trip to the node / 100 ms of the demand near it;
      share of the demand near it for which round trip plus mean service time keep the SLO; one more
      replica fits. What is near a node are the 16 sites (`NEAR_SITES`) with the shortest round
      trip to it, all sites where they are fewer: so the features take no more than S (U + N) work.
    - clock [2]: sine and cosine of the time of day.
    - catchment [S, N, 5], if it is asked for: demand in replicas kept busy that the node gets, or
      would get with a replica; what a step would cost less with one more replica there, or a few
      more, and more with one less, or a few; all per replica, less the cost of holding it, and
      times N, as estimated in `catchment`.
    - action_mask [A]: legal actions, for the padded sizes.
    """

    scenario: Scenario
    moves: bool | None
    max_services: int
    max_nodes: int
    catchment: bool = False
    actions: ActionTable = field(init=False)
    observation_space: gym.Space[Any] = field(init=False)
    action_space: gym.spaces.Discrete[Any] = field(init=False)
    padded: bool = field(init=False)
    _padded: Ints = field(init=False)
    _model: Ints = field(init=False)
    _layout: list[tuple[str, tuple[int, ...], Any]] = field(init=False)

    def __post_init__(self) -> None:
        services, nodes = len(self.scenario.services), len(self.scenario.nodes)
        if services > self.max_services or nodes > self.max_nodes:
            raise InvalidInputError(
                f"max_services {self.max_services}, max_nodes {self.max_nodes}: scenario "
                f"{self.scenario.name} has {services} services and {nodes} nodes"
            )
        wide = ActionTable.of(self.max_services, self.max_nodes, self.moves)
        self.actions = ActionTable.of(services, nodes, wide.moves)
        number = {key: index for index, key in enumerate(_keys(wide))}
        self._padded = np.array([number[key] for key in _keys(self.actions)])
        self._model = np.full(len(wide), -1)
        self._model[self._padded] = np.arange(len(self.actions))
        s, n = self.max_services, self.max_nodes
        self.padded = (services, nodes) != (s, n)
        self.action_space = gym.spaces.Discrete(len(wide))
        boxes = {
            "nodes": _box(n, len(NODE_FEATURES)),
            "services": _box(s, len(SERVICE_FEATURES)),
            "pairs": _box(s, n, len(PAIR_FEATURES)),
            "clock": gym.spaces.Box(-1, 1, (2,), np.float32),
            **({"catchment": _box(s, n, len(CATCHMENT_FEATURES))} if self.catchment else {}),
            "action_mask": gym.spaces.Box(0, 1, (len(wide),), np.int8),
        }
        self.observation_space = gym.spaces.Dict({**boxes})
        self._layout = [(name, box.shape, box.dtype) for name, box in boxes.items()]

    def encode(self, state: ClusterState, legal: Bools) -> Observation:
        """See `Encoding.encode`."""
        observation = self.empty(len(state.time_s))
        features = {
            "nodes": self._nodes(state),
            "services": self._services(state),
            "pairs": self._pairs(state),
            "clock": clock_of(state.time_s),
        }
        if self.catchment:
            features["catchment"] = self._catchment(state)
        for name, values in features.items():
            there = tuple(slice(size) for size in values.shape)
            observation[name][there] = np.clip(values, -LIMIT, LIMIT)
        observation["action_mask"][:, self._padded] = legal
        return observation

    def empty(self, batch: int) -> dict[str, NDArray[Any]]:
        """New arrays for observations, [B, ...]; what is padding is 0 and stays so."""
        new = np.zeros if self.padded else np.empty
        return {name: new((batch, *shape), dtype) for name, shape, dtype in self._layout}

    def to_model(self, actions: Ints) -> Ints:
        """See `Encoding.to_model`; padded actions, which the mask forbids, become -1."""
        return self._model[actions] if self.padded else actions

    def _nodes(self, state: ClusterState) -> Floats:
        capacity = state.params.capacity
        there = np.ones_like(state.node_up, dtype=np.float64)
        own = [there, state.node_up, capacity[..., 0] / 4]
        return np.concatenate([np.stack(own, -1), state.free / capacity], axis=-1)

    def _services(self, state: ClusterState) -> Floats:
        params = state.params
        nodes = state.ready.shape[2]
        ready, starting = state.ready.sum(-1), state.starting.sum(-1)
        return np.stack(
            [
                np.ones_like(params.rate),
                ready / nodes,
                starting / nodes,
                state.demand.sum(-1) / params.rate / nodes,
                np.minimum(state.latency_ms / (4 * params.slo_ms), 10.0),
                params.request[..., 0],
                params.rate / 100,
                params.slo_ms / 100,
                (params.max_replicas - ready - starting) / nodes,
                self._replica_cost(params),
                np.full_like(params.rate, self.scenario.weights.migration * nodes),
            ],
            axis=-1,
        )

    def _pairs(self, state: ClusterState) -> Floats:
        params, demand = state.params, state.demand
        batch, services, nodes = state.ready.shape
        b, s, n = np.ogrid[:batch, :services, :nodes]
        nearest_demand = np.zeros(state.ready.shape)
        np.add.at(nearest_demand, (b, s, params.nearest[:, None, :, 0]), demand)
        near = params.near_sites
        near_rtt = params.rtt_ms[b, near, n.reshape(1, -1, 1)][:, None]
        near_demand = demand[b[..., None], s[..., None], near[:, None]]
        total = np.maximum(near_demand.sum(-1), 1e-9)
        spare = (params.slo_ms - 1000 / params.rate)[..., None, None] - near_rtt
        features = [
            state.ready,
            state.starting,
            state.utilisation,
            nearest_demand / params.rate[..., None],
            (near_demand * near_rtt).sum(-1) / total / 100,
            (near_demand * (spare >= 0)).sum(-1) / total,
            fits(params, state.free) & state.node_up[:, None, :],
        ]
        return np.stack(features, axis=-1)

    def _catchment(self, state: ClusterState) -> Floats:
        found, params = find_catchment(self.scenario, state), state.params
        per_request = state.ready.shape[2] / np.maximum(state.demand.sum((1, 2)), 1e-9)
        scale, cost = per_request[:, None, None], self._replica_cost(params)[..., None]
        spared = np.where(state.replicas > 0, cost, 0.0)
        features = [
            found.requests / params.rate[..., None],
            found.gain * scale - cost,
            found.gain_of_few * scale - cost,
            found.loss * scale - spared,
            found.loss_of_few * scale - spared,
        ]
        return np.stack(features, axis=-1)

    def _replica_cost(self, params: ClusterParams) -> Floats:
        """Cost of holding a replica for a step, times N, [B, S]."""
        mean_cpu = params.capacity[..., 0].mean(-1, keepdims=True)
        return np.asarray(self.scenario.weights.resources * params.request[..., 0] / mean_cpu)


def _box(*shape: int) -> gym.spaces.Box:
    return gym.spaces.Box(-LIMIT, LIMIT, shape, np.float32)


def _keys(table: ActionTable) -> list[tuple[int, ...]]:
    columns = (table.kind, table.service, table.source, table.target)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def make_encoding(
    env_id: str,
    scenario: Scenario,
    *,
    moves: bool | None = None,
    max_services: int | None = None,
    max_nodes: int | None = None,
    catchment: bool = False,
) -> Encoding:
    """Encoding of an environment for a scenario.

    Args:
        env_id: lwmecps-v1, lwmecps-v2 or lwmecps-v3.
        scenario: v1 needs one with a single service (`Scenario.only`).
        moves: whether actions include moves (never in v1); unset: unless they are too many.
        max_services: v3: what to pad to; unset: the scenario's own number.
        max_nodes: v3: what to pad to; unset: the scenario's own number.
        catchment: v3: whether to show catchments.

    Raises:
        InvalidInputError: there is no such environment, or the scenario does not fit it.
    """
    services, nodes = len(scenario.services), len(scenario.nodes)
    if env_id == "lwmecps-v1":
        if services != 1:
            raise InvalidInputError(
                f"lwmecps-v1 places one service; scenario {scenario.name} has {services}"
            )
        return FlatEncoding(scenario, masked=False, moves=False)
    if env_id == "lwmecps-v2":
        return FlatEncoding(scenario, masked=True, moves=moves)
    if env_id == "lwmecps-v3":
        s, n = max_services or services, max_nodes or nodes
        return StructuredEncoding(scenario, moves, s, n, catchment)
    raise InvalidInputError(
        f"env: {env_id!r} is none of ['lwmecps-v1', 'lwmecps-v2', 'lwmecps-v3']"
    )
