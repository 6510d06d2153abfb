"""A decision says what the policy wants in plain terms, or what was wrong with the question."""

import json
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from lwmecps_gym.algorithms.decision import Decider, decide
from lwmecps_gym.algorithms.decision_request import Decision, DecisionRequest
from lwmecps_gym.algorithms.policy import LearnedPolicy
from lwmecps_gym.envs.base import PlacementEnv
from lwmecps_gym.envs.environments import LWMECPSEnv, LWMECPSEnv2, LWMECPSEnv3
from lwmecps_gym.envs.performance import cost_terms, evaluate
from lwmecps_gym.envs.scenario import load_scenario
from lwmecps_gym.platform.errors import InvalidInputError

from .clusters import cluster, random_placement
from .models import network_model, policy_of, table_model

FOUR = load_scenario("four-stations")
SERVICES = [service.name for service in FOUR.services]
NODES = [node.name for node in FOUR.nodes]
STATE: dict[str, Any] = {
    "time_s": 72_000,
    "placement": {"ar": {"bs_1": 1}, "video": {"bs_2": 1}, "telemetry": {"bs_3": 1}},
    "demand_rps": {"ar": {"bs_1": 40, "bs_4": 20}, "video": {"bs_2": 10}},
}


@pytest.fixture(scope="module")
def policy() -> LearnedPolicy:
    return policy_of(network_model("lwmecps-v2", "four-stations"))


def ask(policy: LearnedPolicy, **request: Any) -> Decision:
    decision = decide(policy, DecisionRequest.model_validate(request))
    assert isinstance(decision, Decision)
    return decision


def named(table: Any, columns: list[str], rows: list[str]) -> dict[str, dict[str, Any]]:
    return {
        row: dict(zip(columns, values.tolist(), strict=True))
        for row, values in zip(rows, np.asarray(table), strict=True)
    }


def test_the_answer_is_the_policys_action_in_words_and_where_it_leads(
    policy: LearnedPolicy,
) -> None:
    rng = np.random.default_rng(0)
    kinds = set()
    for _ in range(40):
        placement = random_placement(FOUR, rng)
        demand = rng.uniform(0, 50, (3, 4))
        answer = ask(
            policy,
            state={
                "time_s": 3600,
                "placement": named(placement, NODES, SERVICES),
                "demand_rps": named(demand, NODES, SERVICES),
            },
        )
        state = cluster(FOUR, placement, demand=demand, time_s=3600)
        assert answer.action == int(policy.act(state)[0])
        after = placement.copy()
        if answer.service is not None:
            s = SERVICES.index(answer.service)
            if answer.source is not None:
                after[s, NODES.index(answer.source)] -= 1
            if answer.target is not None:
                after[s, NODES.index(answer.target)] += 1
        want = {
            name: {node: count for node, count in row.items() if count}
            for name, row in named(after, NODES, SERVICES).items()
        }
        assert answer.placement == want
        assert answer.decision_ms > 0
        for name in (answer.service, answer.source, answer.target):
            assert name is None or name in answer.description
        kinds.add(answer.kind)
    assert kinds >= {"place", "remove", "move"}


def test_the_effect_is_what_the_model_says_of_before_and_after(policy: LearnedPolicy) -> None:
    answer = ask(policy, state=STATE)
    assert answer.placement is not None and answer.effect is not None
    demand = np.zeros((3, 4))
    demand[0, [0, 3]], demand[1, 1] = [40, 20], 10
    before = np.zeros((3, 4), dtype=np.int64)
    before[[0, 1, 2], [0, 1, 2]] = 1
    after = np.array([[answer.placement[s].get(n, 0) for n in NODES] for s in SERVICES])
    assert (before != after).any()
    for placement, moved, when in ((before, 0.0, "before"), (after, 1.0, "after")):
        state = cluster(FOUR, placement, demand=demand)
        found = evaluate(FOUR, state.params, state.ready, state.demand)
        migrations = np.array([moved if answer.kind in ("place", "move") else 0.0])
        cost = cost_terms(FOUR, state.params, state.ready, found, migrations)
        effect = answer.effect.model_dump()
        assert effect[f"latency_ms_{when}"] == pytest.approx(found.latency_ms[0])
        assert effect[f"violation_share_{when}"] == pytest.approx(found.violated[0])
        assert effect[f"cost_{when}"] == pytest.approx(sum(float(c[0]) for c in cost.values()))


def test_replicas_that_start_hold_their_place(policy: LearnedPolicy) -> None:
    starting = {"ar": {"bs_2": 1}}
    answer = ask(policy, state=STATE | {"starting": starting})
    assert answer.placement is not None
    count = sum(sum(row.values()) for row in answer.placement.values())
    assert count == 4 + {"place": 1, "remove": -1}.get(answer.kind, 0)


def test_an_empty_state_is_a_cluster_without_pods_and_users(policy: LearnedPolicy) -> None:
    answer = ask(policy, state={})
    assert answer.effect is not None
    assert answer.effect.latency_ms_before == 0
    assert answer.kind in ("nothing", "place")


ENVS: dict[str, tuple[PlacementEnv, LearnedPolicy]] = {
    "v1": (LWMECPSEnv("tiny"), policy_of(table_model())),
    "v2": (LWMECPSEnv2("four-stations"), policy_of(network_model("lwmecps-v2", FOUR))),
    "v3": (
        LWMECPSEnv3("four-stations", randomise=False),
        policy_of(network_model("lwmecps-v3", FOUR)),
    ),
}


@pytest.mark.parametrize("env", ENVS)
def test_a_state_and_its_observation_get_the_same_answer(env: str) -> None:
    environment, policy = ENVS[env]
    scenario = environment.scenario
    services = [service.name for service in scenario.services]
    nodes, sites = ([item.name for item in part] for part in (scenario.nodes, scenario.sites))
    rng = np.random.default_rng(1)
    for seed in range(25):
        options = {"start_s": 3600.0 * (seed % 24), "placement": random_placement(scenario, rng)}
        observation, _ = environment.reset(seed=seed, options=options)
        plain: Any = (
            {name: values.tolist() for name, values in observation.items()}
            if isinstance(observation, dict)
            else observation.tolist()
        )
        seen = ask(policy, observation=json.loads(json.dumps(plain)))
        told = ask(
            policy,
            state={
                "time_s": options["start_s"],
                "placement": named(options["placement"], nodes, services),
                "demand_rps": named(environment.state().demand[0], sites, services),
            },
        )
        assert (seen.action, seen.description) == (told.action, told.description)
        assert seen.placement is None and seen.effect is None


@pytest.mark.parametrize(
    ("state", "field"),
    [
        ({"placement": {"games": {"bs_1": 1}}}, "state.placement: 'games'"),
        ({"placement": {"ar": {"bs_9": 1}}}, "state.placement.ar: 'bs_9'"),
        ({"starting": {"ar": {"bs_9": 1}}}, "state.starting.ar: 'bs_9'"),
        ({"demand_rps": {"games": {"bs_1": 1}}}, "state.demand_rps: 'games'"),
        ({"demand_rps": {"ar": {"moon": 1}}}, "state.demand_rps.ar: 'moon'"),
        ({"nodes_down": ["bs_9"]}, "state.nodes_down: 'bs_9'"),
        ({"placement": {"ar": {"bs_1": 1}}, "nodes_down": ["bs_1"]}, "state.nodes_down: 'bs_1'"),
        ({"starting": {"ar": {"bs_2": 1}}, "nodes_down": ["bs_2"]}, "state.nodes_down: 'bs_2'"),
    ],
)
def test_a_state_that_does_not_fit_the_scenario_is_refused_by_field(
    policy: LearnedPolicy, state: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidInputError) as refused:
        ask(policy, state=state)
    assert str(refused.value).startswith(field)


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        ({}, "give one of state, observation, states or observations"),
        (
            {"state": {}, "observation": []},
            "give one of state, observation, states or observations",
        ),
        ({"state": {"placement": {"ar": {"bs_1": -1}}}}, "state.placement.ar.bs_1"),
        ({"state": {"placement": {"ar": {"bs_1": 1.5}}}}, "state.placement.ar.bs_1"),
        ({"state": {"placement": {"ar": {"bs_1": 10**9}}}}, "state.placement.ar.bs_1"),
        ({"state": {"demand_rps": {"ar": {"bs_1": -1}}}}, "state.demand_rps.ar.bs_1"),
        ({"state": {"demand_rps": {"ar": {"bs_1": float("nan")}}}}, "state.demand_rps.ar.bs_1"),
        ({"state": {"demand_rps": {"ar": {"bs_1": float("inf")}}}}, "state.demand_rps.ar.bs_1"),
        ({"state": {"time_s": float("nan")}}, "state.time_s"),
        ({"state": {"time_s": -1}}, "state.time_s"),
        ({"state": {"colour": 1}}, "state.colour"),
        ({"colour": 1}, "colour"),
    ],
)
def test_a_request_that_is_none_is_refused_by_field(request_: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError) as refused:
        DecisionRequest.model_validate(request_)
    message = str(refused.value)
    assert field in message


def observed(**changes: Any) -> dict[str, Any]:
    env = LWMECPSEnv2("four-stations")
    observation, _ = env.reset(seed=0)
    plain = {name: values.tolist() for name, values in observation.items()}
    for path, value in changes.items():
        plain[path] = value(plain[path])
    return plain


def with_first(value: Any) -> Any:
    return lambda values: [value, *values[1:]]


@pytest.mark.parametrize(
    ("observation", "field"),
    [
        ([0.0] * 5, "observation: want an object with ['action_mask', 'observations']"),
        ({"observations": []}, "observation: want an object"),
        (observed(observations=lambda v: v[1:]), "observation.observations: shape"),
        (observed(observations=with_first(float("nan"))), "observation.observations:"),
        (observed(observations=with_first(float("inf"))), "observation.observations:"),
        (observed(observations=with_first(1e9)), "observation.observations:"),
        (observed(observations=with_first("many")), "observation.observations: not an array"),
        (observed(observations=with_first([1, 2])), "observation.observations: not an array"),
        (observed(observations=lambda v: {"a": v}), "observation.observations: not an array"),
        (observed(action_mask=with_first(2)), "observation.action_mask:"),
        (observed(action_mask=with_first(300)), "observation.action_mask: not an array"),
        (observed(action_mask=with_first(None)), "observation.action_mask: not an array"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_observation_outside_the_space_is_refused_by_field(
    policy: LearnedPolicy, observation: Any, field: str
) -> None:
    with pytest.raises(InvalidInputError) as refused:
        ask(policy, observation=observation)
    assert str(refused.value).startswith(field)


def test_an_observation_of_v1_is_a_list_of_its_length() -> None:
    table = policy_of(table_model())
    for wrong in ([0.0] * 3, [float("nan")] * 17, {"observations": [0.0] * 17}):
        with pytest.raises(InvalidInputError, match="^observation: "):
            ask(table, observation=wrong)


def test_a_mask_that_allows_padding_is_refused() -> None:
    padded = policy_of(network_model("lwmecps-v3", "tiny", max_nodes=3))
    env = LWMECPSEnv3("tiny", max_nodes=3, randomise=False)
    observation, _ = env.reset(seed=0)
    observation = {name: values.tolist() for name, values in observation.items()}
    allowed = np.flatnonzero(observation["action_mask"])
    assert ask(padded, observation=observation).action in allowed
    place_on_third_node = 3
    assert place_on_third_node not in allowed
    observation["action_mask"] = [
        int(a == place_on_third_node) for a in range(len(observation["action_mask"]))
    ]
    with pytest.raises(InvalidInputError, match="^observation.action_mask: allows action 3"):
        ask(padded, observation=observation)


@pytest.mark.parametrize("env", ["lwmecps-v2", "lwmecps-v3"])
def test_a_batch_is_decided_as_its_parts_are(env: str) -> None:
    policy = policy_of(network_model(env, "four-stations"))
    rng = np.random.default_rng(3)
    states = [
        {
            "time_s": 600.0 * i,
            "placement": named(random_placement(FOUR, rng), NODES, SERVICES),
            "demand_rps": named(rng.uniform(0, 50, (3, 4)), NODES, SERVICES),
        }
        for i in range(9)
    ]
    batch = Decider(policy).decide(DecisionRequest.model_validate({"states": states}))
    single = [ask(policy, state=state) for state in states]
    assert [d.action for d in batch.decisions] == [d.action for d in single]
    for one, other in zip(batch.decisions, single, strict=True):
        assert one.placement == other.placement
        assert one.effect is not None
        assert other.effect is not None
        for name, value in other.effect.model_dump().items():
            assert getattr(one.effect, name) == pytest.approx(value)
    seen = {name: values.tolist() for name, values in batch.observation.items()}
    encoded = [{name: values[i] for name, values in seen.items()} for i in range(9)]
    again = Decider(policy).decide(DecisionRequest.model_validate({"observations": encoded}))
    assert [d.description for d in again.decisions] == [d.description for d in single]


def test_what_does_not_fit_in_a_batch_is_named_by_its_place(policy: LearnedPolicy) -> None:
    states = [STATE, {"placement": {"ar": {"nowhere": 1}}}]
    with pytest.raises(InvalidInputError, match=r"states\[1\]\.placement\.ar: 'nowhere'"):
        decide(policy, DecisionRequest.model_validate({"states": states}))
    space = policy.encoding.observation_space
    good = {"observations": [0.0] * space["observations"].shape[0], "action_mask": []}  # type: ignore[index]
    good["action_mask"] = [1] * space["action_mask"].shape[0]  # type: ignore[index]
    for bad, message in (
        ({**good, "observations": [0.0]}, r"observations\[1\]\.observations: shape \(1,\)"),
        ({**good, "observations": [2000.0] * len(good["observations"])}, r"\[1\].*bounds"),
        ({**good, "action_mask": [0] * len(good["action_mask"])}, r"\[1\].*allows no action"),
        ({**good, "observations": "x"}, r"\[1\]\.observations: not an array"),
        ([1.0], r"observations\[1\]: want an object"),
    ):
        with pytest.raises(InvalidInputError, match=message):
            decide(policy, DecisionRequest.model_validate({"observations": [good, bad]}))
