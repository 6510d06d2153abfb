"""One decision of a policy, in plain terms: what `predict` takes and answers."""

import time
from typing import Annotated, Any

import gymnasium as gym
import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from lwmecps_gym.algorithms.policy import LearnedPolicy
from lwmecps_gym.envs.actions import Kind, apply_to
from lwmecps_gym.envs.cluster import ClusterParams, ClusterState, Ints
from lwmecps_gym.envs.performance import cost_terms, evaluate
from lwmecps_gym.platform.errors import InvalidInputError

Count = Annotated[int, Field(ge=0, le=100_000)]
Rps = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class PlainState(BaseModel):
    """A cluster in plain terms, by the names of the model's scenario; what is left out is 0."""

    model_config = ConfigDict(extra="forbid")

    time_s: float = Field(
        default=0, ge=0, allow_inf_nan=False, description="s since midnight of the first day"
    )
    placement: dict[str, dict[str, Count]] = Field(
        default_factory=dict, description="ready replicas by service and node"
    )
    starting: dict[str, dict[str, Count]] = Field(
        default_factory=dict, description="replicas that do not serve yet, by service and node"
    )
    demand_rps: dict[str, dict[str, Rps]] = Field(
        default_factory=dict, description="requests/s by service and site"
    )
    nodes_down: list[str] = Field(default_factory=list)


class DecisionRequest(BaseModel):
    """Either a state in plain terms, or an observation as the environment encodes it."""

    model_config = ConfigDict(extra="forbid")

    state: PlainState | None = None
    observation: dict[str, Any] | list[float] | None = None

    @model_validator(mode="after")
    def _one(self) -> "DecisionRequest":
        if (self.state is None) == (self.observation is None):
            raise ValueError("give either state or observation")
        return self


class Effect(BaseModel):
    """What the model expects of the decision, once new replicas serve, under the same demand."""

    latency_ms_before: float
    latency_ms_after: float
    violation_share_before: float
    violation_share_after: float
    cost_before: float
    cost_after: float


class Decision(BaseModel):
    """What the policy wants."""

    action: int = Field(description="number of the action in the model's environment")
    kind: str = Field(description="nothing, place, remove or move")
    description: str = Field(description="the action in words")
    service: str | None = None
    source: str | None = None
    target: str | None = None
    placement: dict[str, dict[str, int]] | None = Field(
        default=None, description="recommended replicas by service and node, for a plain state"
    )
    effect: Effect | None = Field(default=None, description="for a plain state")
    decision_ms: float


def decide(policy: LearnedPolicy, request: DecisionRequest) -> Decision:
    """Ask a policy.

    Raises:
        InvalidInputError: the request does not fit the model; the message names the field.
    """
    if request.state is not None:
        return _decide_state(policy, request.state)
    observation = _observation(policy, request.observation)
    begin = time.perf_counter()
    wide = policy.act_on(observation)
    spent = 1000 * (time.perf_counter() - begin)
    chosen = int(policy.encoding.to_model(wide)[0])
    if chosen < 0:
        raise InvalidInputError(
            f"observation.action_mask: allows action {int(wide[0])}, which is padding: the "
            "scenario has no such service or node"
        )
    return Decision(**_words(policy, chosen), action=int(wide[0]), decision_ms=spent)


def _decide_state(policy: LearnedPolicy, plain: PlainState) -> Decision:
    state = to_state(policy, plain)
    begin = time.perf_counter()
    actions = policy.act(state)
    spent = 1000 * (time.perf_counter() - begin)
    after = apply_to(state.replicas, policy.actions, actions)
    services = [service.name for service in policy.scenario.services]
    nodes = [node.name for node in policy.scenario.nodes]
    return Decision(
        **_words(policy, int(actions[0])),
        action=int(actions[0]),
        placement={
            service: {node: int(after[0, s, n]) for n, node in enumerate(nodes) if after[0, s, n]}
            for s, service in enumerate(services)
        },
        effect=_effect(policy, state, after, actions),
        decision_ms=spent,
    )


def to_state(policy: LearnedPolicy, plain: PlainState) -> ClusterState:
    """Turn a plain state into a batch of one.

    Raises:
        InvalidInputError: a name is not in the scenario, or there are replicas on a node that is
            down.
    """
    scenario = policy.scenario
    services = {service.name: i for i, service in enumerate(scenario.services)}
    nodes = {node.name: i for i, node in enumerate(scenario.nodes)}
    sites = {site.name: i for i, site in enumerate(scenario.sites)}
    params = ClusterParams.of(scenario)

    def fill(
        field: str, table: dict[str, dict[str, Any]], columns: dict[str, int]
    ) -> "np.ndarray[Any, Any]":
        array = np.zeros((1, len(services), len(columns)))
        for service, row in table.items():
            _known(f"state.{field}", service, services)
            for column, value in row.items():
                _known(f"state.{field}.{service}", column, columns)
                array[0, services[service], columns[column]] = value
        return array

    ready = fill("placement", plain.placement, nodes).astype(np.int64)
    starting = fill("starting", plain.starting, nodes).astype(np.int64)
    demand = fill("demand_rps", plain.demand_rps, sites)
    node_up = np.ones((1, len(nodes)), dtype=bool)
    for name in plain.nodes_down:
        _known("state.nodes_down", name, nodes)
        node_up[0, nodes[name]] = False
        if (ready + starting)[0, :, nodes[name]].any():
            raise InvalidInputError(
                f"state.nodes_down: {name!r} has replicas in placement or starting; a node that is "
                "down has none"
            )
    performance = evaluate(scenario, params, ready, demand)
    return ClusterState(
        params=params,
        time_s=np.array([plain.time_s]),
        ready=ready,
        starting=starting,
        node_up=node_up,
        demand=demand,
        utilisation=performance.utilisation,
        latency_ms=performance.service_latency_ms,
    )


def _known(field: str, name: str, names: dict[str, int]) -> None:
    if name not in names:
        raise InvalidInputError(f"{field}: {name!r} is none of {sorted(names)}")


def _observation(policy: LearnedPolicy, given: dict[str, Any] | list[float] | None) -> Any:
    """Check an encoded observation against the space, and make it a batch of one."""
    space = policy.encoding.observation_space
    if isinstance(space, gym.spaces.Dict):
        if not isinstance(given, dict) or set(given) != set(space.spaces):
            raise InvalidInputError(f"observation: want an object with {sorted(space.spaces)}")
        return {
            name: _array(f"observation.{name}", given[name], part)[None]
            for name, part in space.spaces.items()
        }
    return _array("observation", given, space)[None]


def _array(field: str, given: Any, space: gym.Space[Any]) -> "np.ndarray[Any, Any]":
    try:
        array = np.asarray(given, dtype=space.dtype)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidInputError(f"{field}: not an array of numbers: {error}") from error
    if not space.contains(array):
        raise InvalidInputError(
            f"{field}: shape {array.shape} or a value does not fit {space.shape} {space.dtype} "
            "with the bounds of the environment"
        )
    return array


def _words(policy: LearnedPolicy, action: int) -> dict[str, Any]:
    table = policy.actions
    services = [service.name for service in policy.scenario.services]
    nodes = [node.name for node in policy.scenario.nodes]

    def name(names: list[str], index: int) -> str | None:
        return names[index] if index >= 0 else None

    return {
        "kind": Kind(int(table.kind[action])).name.lower(),
        "description": table.describe(action, services, nodes),
        "service": name(services, int(table.service[action])),
        "source": name(nodes, int(table.source[action])),
        "target": name(nodes, int(table.target[action])),
    }


def _effect(policy: LearnedPolicy, state: ClusterState, after: Ints, actions: Ints) -> Effect:
    scenario, params = policy.scenario, state.params
    kind = policy.actions.kind[actions]
    migrations = ((kind == Kind.PLACE) | (kind == Kind.MOVE)).astype(np.float64)
    old = evaluate(scenario, params, state.replicas, state.demand)
    new = evaluate(scenario, params, after, state.demand)
    old_cost = cost_terms(scenario, params, state.replicas, old, np.zeros(1))
    new_cost = cost_terms(scenario, params, after, new, migrations)
    return Effect(
        latency_ms_before=float(old.latency_ms[0]),
        latency_ms_after=float(new.latency_ms[0]),
        violation_share_before=float(old.violated[0]),
        violation_share_after=float(new.violated[0]),
        cost_before=float(sum(term[0] for term in old_cost.values())),
        cost_after=float(sum(term[0] for term in new_cost.values())),
    )
