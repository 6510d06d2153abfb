"""Clusters stepped together do what each does alone, bit for bit."""

from typing import Any

import numpy as np
import pytest

from lwmecps_gym.envs.scenario import Scenario, load_scenario
from lwmecps_gym.envs.simulator import ClusterModel, Step

STATE = ("time_s", "ready", "starting", "node_up", "demand", "utilisation", "latency_ms", "free")
PERFORMANCE = (
    "share", "failed", "latency_ms", "violated", "service_latency_ms", "site_latency_ms",
)  # fmt: skip


def restless(name: str, routing: str = "prefer-close", queue: str = "shared") -> Scenario:
    """The scenario with failures, long start-ups and everything randomised."""
    document = load_scenario(name).document()
    for service in document["services"]:
        service["startup_s"] = 2.5 * document["control_interval_s"]
    return load_scenario(
        document
        | {
            "routing": routing,
            "queue": queue,
            "episode_steps": 60,
            "failures": {
                "node_mtbf_s": 20 * document["control_interval_s"],
                "node_mttr_s": 3 * document["control_interval_s"],
            },
            "randomise": {
                "node_cpu": [0.9, 1.3],
                "service_rate": [0.5, 1.5],
                "rtt": [0.5, 2],
                "demand": [0.3, 3],
                "start_h": [0, 24],
            },
        }
    )


def assert_equal_states(together: ClusterModel, alone: list[ClusterModel]) -> None:
    state, legal = together.state(), together.legal()
    for index, model in enumerate(alone):
        single = model.state()
        for name in STATE:
            assert np.array_equal(getattr(state, name)[index], getattr(single, name)[0]), name
        assert np.array_equal(legal[index], model.legal()[0])


def assert_equal_steps(together: Step, alone: list[Step]) -> None:
    for index, single in enumerate(alone):
        for name, term in together.terms.items():
            assert term[index] == single.terms[name][0], name
        assert together.cost[index] == single.cost[0]
        assert together.migrations[index] == single.migrations[0]
        for name in PERFORMANCE:
            both = getattr(together.performance, name)[index], getattr(single.performance, name)[0]
            assert np.array_equal(*both), name


def choose(model: ClusterModel, rng: np.random.Generator) -> Any:
    legal = model.legal()
    return np.argmax(rng.random(legal.shape) * legal, axis=1)


@pytest.mark.parametrize("queue", ["shared", "split"])
@pytest.mark.parametrize("routing", ["prefer-close", "random"])
@pytest.mark.parametrize("name", ["tiny", "four-stations"])
def test_together_is_as_alone(name: str, routing: str, queue: str) -> None:
    scenario, batch = restless(name, routing, queue), 5
    together = ClusterModel(scenario, batch, randomise=True)
    alone = [ClusterModel(scenario, randomise=True) for _ in range(batch)]
    rngs = [np.random.default_rng(index) for index in range(batch)]
    single_rngs = [np.random.default_rng(index) for index in range(batch)]
    together.reset(dict(enumerate(rngs)))
    for model, rng in zip(alone, single_rngs, strict=True):
        model.reset({0: rng})
    assert_equal_states(together, alone)
    chooser = np.random.default_rng(99)
    for t in range(60):
        actions = choose(together, chooser)
        step = together.step(actions)
        assert_equal_steps(step, [model.step(actions[i : i + 1]) for i, model in enumerate(alone)])
        if t % 7 == 3:  # some begin anew while the others are in the middle of theirs
            some = [index for index in range(batch) if (index + t) % 3 == 0]
            together.reset({index: rngs[index] for index in some})
            for index in some:
                alone[index].reset({0: single_rngs[index]})
        assert_equal_states(together, alone)


def trajectory(scenario: Scenario, seed: int) -> list[float]:
    model = ClusterModel(scenario, randomise=True)
    model.reset({0: np.random.default_rng(seed)})
    chooser = np.random.default_rng(0)
    return [float(model.step(choose(model, chooser)).cost[0]) for _ in range(40)]


@pytest.mark.parametrize("name", ["tiny", "four-stations"])
def test_a_seed_fixes_the_trajectory(name: str) -> None:
    scenario = restless(name)
    assert trajectory(scenario, 1) == trajectory(scenario, 1)
    assert trajectory(scenario, 1) != trajectory(scenario, 2)


def test_what_a_state_shows_does_not_change_with_later_steps() -> None:
    model = ClusterModel(restless("four-stations"), 3, randomise=True)
    model.reset({index: np.random.default_rng(index) for index in range(3)})
    chooser = np.random.default_rng(0)
    model.step(choose(model, chooser))
    state = model.state()
    names = [name for name in STATE if name != "free"]  # free is computed from the parameters
    before = {name: getattr(state, name).copy() for name in names}
    for _ in range(20):
        model.step(choose(model, chooser))
    model.reset({1: np.random.default_rng(7)})
    model.state()
    for name in names:
        assert np.array_equal(getattr(state, name), before[name]), name
