"""What makes no sense as a training is refused before anything starts, by field and value."""

from typing import Any

import pytest
from pydantic import ValidationError

from lwmecps_gym.algorithms.catalog import ALGORITHMS, describe, prepare
from lwmecps_gym.algorithms.heuristics import HEURISTICS
from lwmecps_gym.envs.scenario import load_scenario
from lwmecps_gym.platform.errors import InvalidInputError, NotFoundError
from lwmecps_gym.platform.models import TaskState, TrainingRequest


def request(**fields: Any) -> TrainingRequest:
    given = {"name": "a training", "model_type": "ppo", "total_episodes": 10, "scenario": "tiny"}
    return TrainingRequest.model_validate(given | fields)


def test_a_request_becomes_a_task_that_says_everything() -> None:
    task = prepare(request(parameters={"learning_rate": 0.01}, seed=3))
    assert (task.state, task.env, task.seed) == (TaskState.PENDING, "lwmecps-v2", 3)
    assert task.parameters["learning_rate"] == 0.01
    assert task.parameters["discount_factor"] == 0.99  # the default, kept with the task
    assert task.scenario == load_scenario("tiny").document()


@pytest.mark.parametrize("model_type", ALGORITHMS)
def test_nothing_but_a_learning_rate_and_a_discount_factor_need_be_given(model_type: str) -> None:
    parameters = {"learning_rate": 0.1, "discount_factor": 0.9}
    task = prepare(request(model_type=model_type, parameters=parameters))
    assert task.env == ALGORITHMS[model_type].envs[0]
    assert parameters.items() <= task.parameters.items()


@pytest.mark.parametrize("model_type", ["sarsa", "static", ""])
def test_an_algorithm_that_is_none_is_refused_by_name(model_type: str) -> None:
    with pytest.raises((InvalidInputError, ValidationError), match="model_type"):
        prepare(request(model_type=model_type))


@pytest.mark.parametrize("model_type", ALGORITHMS)
@pytest.mark.parametrize("name", ["learning_rate", "discount_factor"])
@pytest.mark.parametrize("value", ["abc", float("nan"), float("inf"), -1, 1.5, None, [0.1]])
def test_a_rate_that_is_none_is_refused_by_field_and_value(
    model_type: str, name: str, value: Any
) -> None:
    with pytest.raises(InvalidInputError) as refused:
        prepare(request(model_type=model_type, parameters={name: value}))
    message = str(refused.value)
    assert message.startswith(f"parameters: {name}: ")
    assert isinstance(value, list) or repr(value) in message


@pytest.mark.parametrize("model_type", ALGORITHMS)
def test_a_learning_rate_of_0_is_refused(model_type: str) -> None:
    with pytest.raises(InvalidInputError, match="parameters: learning_rate: .*value 0"):
        prepare(request(model_type=model_type, parameters={"learning_rate": 0}))


@pytest.mark.parametrize(
    ("model_type", "parameters", "field"),
    [
        ("ppo", {"lerning_rate": 0.1}, "lerning_rate"),
        ("ppo", {"rollout_steps": 0}, "rollout_steps"),
        ("ppo", {"hidden": []}, "hidden"),
        ("ppo", {"hidden": [64, 0]}, "hidden.1"),
        ("ppo", {"num_envs": 0}, "num_envs"),
        ("dqn", {"clip": 0.2}, "clip"),
        ("dqn", {"n_step": 0}, "n_step"),
        ("q_learning", {"demand_bins": 0}, "demand_bins"),
        ("q_learning", {"hidden": [64]}, "hidden"),
    ],
)
def test_a_parameter_that_is_unknown_or_wrong_is_refused_by_name(
    model_type: str, parameters: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidInputError, match=f"^parameters: {field}: "):
        prepare(request(model_type=model_type, parameters=parameters))


@pytest.mark.parametrize(
    ("model_type", "env"),
    [("ppo", "lwmecps-v1"), ("dqn", "lwmecps-v9"), ("q_learning", "lwmecps-v2")],
)
def test_an_environment_that_is_not_for_the_algorithm_is_refused_with_those_that_are(
    model_type: str, env: str
) -> None:
    with pytest.raises(InvalidInputError, match=f"^env: {model_type} .*'{env}'.*lwmecps-v"):
        prepare(request(model_type=model_type, env=env))


def test_a_scenario_that_is_none_is_refused_by_name() -> None:
    with pytest.raises(NotFoundError, match="'moon'.*four-stations"):
        prepare(request(scenario="moon"))


def test_a_scenario_with_a_wrong_field_is_refused_by_field_and_value() -> None:
    wrong = load_scenario("tiny").document() | {"timeout_ms": -4}
    with pytest.raises(InvalidInputError, match=r"scenario: timeout_ms: .*value -4"):
        prepare(request(scenario=wrong))


def test_a_table_too_large_for_the_scenario_is_refused_with_a_way_out() -> None:
    parameters = {"demand_bins": 50}
    with pytest.raises(InvalidInputError, match="states are too many.*parameters.demand_bins"):
        prepare(request(model_type="q_learning", scenario="four-stations", parameters=parameters))


@pytest.mark.parametrize("total_episodes", [0, -1, 1.5, "many", True])
def test_episodes_are_a_whole_number_above_0(total_episodes: Any) -> None:
    with pytest.raises(ValidationError, match="total_episodes"):
        request(total_episodes=total_episodes)


def test_the_catalog_describes_every_algorithm_and_heuristic() -> None:
    entries = {entry["model_type"]: entry for entry in describe()}
    assert entries.keys() == ALGORITHMS.keys() | HEURISTICS.keys()
    assert all(entry["description"] for entry in entries.values())
    for name, heuristic in HEURISTICS.items():
        assert entries[name]["parameters"]["properties"].keys() == set(
            heuristic.knobs_type.model_fields
        )
    for name in ALGORITHMS:
        assert {"learning_rate", "discount_factor"} <= entries[name]["parameters"][
            "properties"
        ].keys()


FAMILY = {"family": {"nodes": [2, 3], "services": 1, "count": 2, "episode_steps": 10}}


@pytest.mark.parametrize("model_type", ["ppo", "dqn"])
def test_a_network_for_any_size_learns_on_a_family_on_v3_alone(model_type: str) -> None:
    given = {"model_type": model_type, "scenario": FAMILY, "parameters": {"network": "any-size"}}
    task = prepare(request(env="lwmecps-v3", **given))
    assert load_scenario(task.scenario).family is not None
    with pytest.raises(InvalidInputError, match="network: any-size .* lwmecps-v3, not on lwmecps-"):
        prepare(request(env="lwmecps-v2", **given))


@pytest.mark.parametrize("env", ["lwmecps-v2", "lwmecps-v3"])
def test_other_networks_learn_on_one_size(env: str) -> None:
    with pytest.raises(InvalidInputError, match="scenario.family: only .*network any-size"):
        prepare(request(env=env, scenario=FAMILY))
