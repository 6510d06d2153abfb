"""Sweep files: those of the package are right, and a wrong one says what, where and why."""

import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from lwmecps_gym.algorithms.catalog import prepare
from lwmecps_gym.algorithms.heuristics import HEURISTICS, GreedyLoad
from lwmecps_gym.algorithms.roster import find_policies
from lwmecps_gym.envs.scenario import load_scenario
from lwmecps_gym.platform.config import Settings
from lwmecps_gym.platform.errors import InvalidInputError, NotFoundError
from lwmecps_gym.platform.models import TrainingRequest
from lwmecps_gym.tune_configs.sweep_config import load_sweep, packaged_sweeps


@pytest.fixture
def write(tmp_path: Path) -> Any:
    """Write a sweep file: a right one, but for what is named."""

    def write(**changes: Any) -> Path:
        content = {
            "name": "mine",
            "model_type": "ppo",
            "total_episodes": 64,
            "num_samples": 4,
            "search_space": {"learning_rate": {"loguniform": [1e-4, 1e-2]}},
        } | changes
        path = tmp_path / "mine.yaml"
        path.write_text(yaml.safe_dump(content))
        return path

    return write


LEARNING = ["dqn", "ppo", "q_learning"]
TUNED = [name for name in HEURISTICS if name in packaged_sweeps()]


def test_each_algorithm_with_something_to_tune_has_a_packaged_sweep() -> None:
    knobs = {name: set(HEURISTICS[name].knobs_type.model_fields) for name in HEURISTICS}
    tunable = {name for name in knobs if knobs[name] - {"time_limit_s"}}  # more is never worse
    assert set(packaged_sweeps()) == {*LEARNING, *tunable}


@pytest.mark.parametrize("name", TUNED)
def test_the_sweep_of_a_heuristic_tries_its_defaults_among_others(name: str) -> None:
    config = load_sweep(name)
    assert config.heuristic and config.model_type == name
    assert config.num_trials == math.prod(len(d.values) for d in config.search_space.values()) > 1
    defaults = HEURISTICS[name].knobs_type().model_dump()
    for knob, domain in config.search_space.items():
        assert defaults[knob] in domain.values


def test_a_heuristic_of_a_sweep_is_named_as_an_evaluation_takes_it(write: Any) -> None:
    path = write(
        model_type="greedy_load",
        parameters={"high": 0.8},
        search_space={"low": {"grid": [0.2, 0.4]}},
    )
    text = load_sweep(path).policy({"low": 0.4})
    assert text == "greedy_load:high=0.8,low=0.4"
    (policy,) = find_policies([text], load_scenario("tiny"), Settings())
    assert isinstance(policy, GreedyLoad)
    assert (policy.name, policy.knobs.high, policy.knobs.low) == (text, 0.8, 0.4)
    assert load_sweep(write()).policy({}) is None


def test_every_draw_is_tried_with_every_combination_of_the_grids(write: Any) -> None:
    space = {"clip": {"grid": [0.1, 0.2, 0.3]}, "epochs": {"grid": [2, 4]}}
    assert load_sweep(write(search_space=space)).num_trials == 4 * 6


@pytest.mark.parametrize("name", LEARNING)
def test_packaged_sweeps_can_train_at_both_ends_of_their_ranges(name: str) -> None:
    config = load_sweep(name)
    assert (config.model_type, config.num_samples) == (name, 4)
    assert config.scheduler is not None
    for end in (0, -1):
        drawn = {name: domain.values[end] for name, domain in config.search_space.items()}
        task = prepare(
            TrainingRequest(
                name=config.name,
                model_type=config.model_type,
                parameters={**config.parameters, **drawn},
                total_episodes=config.total_episodes,
                scenario=config.scenario,
                env=config.env,
            )
        )
        assert task.parameters.items() >= drawn.items()


def test_a_sweep_of_ones_own_takes_the_defaults(write: Any) -> None:
    config = load_sweep(write())
    assert config.scenario == "four-stations"
    assert (config.metric, config.mode, config.seed) == ("step_reward", "max", 0)
    assert config.search_space["learning_rate"].kind == "loguniform"


def test_a_scenario_file_is_found_beside_the_sweep(write: Any, tmp_path: Path) -> None:
    document = load_scenario("tiny").document() | {"name": "beside"}
    (tmp_path / "beside.yaml").write_text(yaml.safe_dump(document))
    config = load_sweep(write(scenario="beside.yaml"))
    assert load_scenario(config.scenario).name == "beside"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_samples": 0}, r"num_samples: .*greater than or equal to 1 \(value 0\)"),
        ({"total_episodes": "many"}, r"total_episodes: .*integer \(value 'many'\)"),
        ({"colour": "red"}, r"colour: Extra inputs are not permitted \(value 'red'\)"),
        ({"model_type": "sarsa"}, "model_type: 'sarsa' is none of"),
        ({"env": "lwmecps-v1"}, "env: ppo does not learn on 'lwmecps-v1'"),
        ({"metric": "latency_ms"}, "mode: the best latency_ms is its min, not 'max'"),
        (
            {"scheduler": {"asha": {"grace_period": 65}}},
            r"scheduler\.asha\.grace_period: 65 is above .* 64",
        ),
        ({"scheduler": {"hyperband": {}}}, r".*scheduler\.hyperband: Extra inputs"),
        ({"parameters": {"clip": 2}}, r"parameters: clip: .* \(value 2\)"),
        ({"search_space": {}}, "search_space: .*at least 1"),
        ({"model_type": "hpa"}, "search_space.learning_rate: hpa has no such parameter; it has .*"),
        ({"model_type": "hpa", "parameters": {"speed": 1}}, "hpa: speed: Extra inputs"),
        (
            {"model_type": "hpa", "search_space": {"target_percent": {"grid": [50, 0]}}},
            r"search_space.target_percent.grid: hpa: target_percent: .*value 0",
        ),
        ({"model_type": "hpa", "env": "lwmecps-v2"}, "env: hpa does not learn; leave it out"),
        ({"model_type": "hpa", "scheduler": {"asha": {"grace_period": 1}}}, "scheduler: hpa does"),
    ],
)
def test_an_error_names_file_field_and_value(
    write: Any, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidInputError, match=rf"mine\.yaml: {message}"):
        load_sweep(write(**changes))


@pytest.mark.parametrize(
    ("name", "domain", "message"),
    [
        ("momentum", {"choice": [0.9]}, "ppo has no such parameter; it has .*'clip'"),
        ("num_envs", {"choice": [8]}, "the same parameter is fixed under parameters"),
        ("clip", {"uniform": [0.1, 1.5]}, r"uniform: parameters: clip: .*\(value 1.5\)"),
        ("learning_rate", {"choice": [1e-3, "abc"]}, r"choice: .*\(value 'abc'\)"),
        ("epochs", {"randint": [0, 5]}, r"randint: parameters: epochs: .*\(value 0\)"),
        ("epochs", {"uniform": [1, 5]}, "uniform does not fit it; use choice or grid or randint"),
        ("hidden", {"randint": [1, 5]}, "randint does not fit it; use choice or grid"),
        ("clip", {"uniform": [0.3, 0.1]}, "uniform: 0.3 must be below 0.1"),
        ("clip", {"loguniform": [0, 0.1]}, "loguniform: 0.0 must be above 0"),
        ("clip", {"uniform": [0.1, 0.2], "choice": [0.1]}, "give exactly one of .*'choice'"),
        ("clip", {}, "give exactly one of"),
        ("clip", {"choice": []}, "choice: .*at least 1"),
        ("clip", {"grid": [0.1, 1.5]}, r"grid: parameters: clip: .*\(value 1.5\)"),
        ("clip", {"gauss": [0, 1]}, "gauss: Extra inputs"),
    ],
)
def test_a_search_space_that_could_draw_an_illegal_value_is_refused(
    write: Any, name: str, domain: dict[str, Any], message: str
) -> None:
    path = write(parameters={"num_envs": 16}, search_space={name: domain})
    with pytest.raises(InvalidInputError, match=rf"mine\.yaml: search_space\.{name}.*{message}"):
        load_sweep(path)


def test_a_name_that_is_no_sweep_is_not_found() -> None:
    with pytest.raises(NotFoundError, match="'alphazero'.*dqn.*ppo"):
        load_sweep("alphazero")


@pytest.mark.parametrize(
    ("text", "message"),
    [("search_space: [", "not valid YAML"), ("- ppo", "a sweep is a mapping, this is list")],
)
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(InvalidInputError, match=rf"broken\.yaml: {message}"):
        load_sweep(path)
