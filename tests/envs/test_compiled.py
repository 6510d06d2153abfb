"""The compiled model does what the reference does, and compiles once."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lwmecps_gym.envs import ENV_IDS, make_vector_env
from lwmecps_gym.envs.compiled.jit import entry
from lwmecps_gym.envs.compiled.sojourn import erlang_wait, exponential
from lwmecps_gym.envs.encoding import Observation, make_encoding
from lwmecps_gym.envs.generate import random_scenario
from lwmecps_gym.envs.queueing import erlang_c
from lwmecps_gym.envs.scenario import Scenario, load_scenario
from lwmecps_gym.envs.simulator import ClusterModel, Step
from lwmecps_gym.platform.errors import ConflictError, IllegalActionError, InvalidInputError

BATCH = 4
RELATIVE = 1e-9
SINGLE = 3e-7
"""Observations are float32: one in their last digit."""


def restless(scenario: Scenario, **changes: Any) -> Scenario:
    """The scenario with failures, long start-ups and everything randomised."""
    document = scenario.document()
    interval = document["control_interval_s"]
    for service, startup in zip(document["services"], (2.5, 0, 1, 1), strict=False):
        service["startup_s"] = startup * interval
    return load_scenario(
        document
        | {
            "episode_steps": 60,
            "failures": {"node_mtbf_s": 20 * interval, "node_mttr_s": 3 * interval},
            "randomise": {
                "node_cpu": [0.9, 1.3],
                "service_rate": [0.5, 1.5],
                "rtt": [0.5, 2],
                "demand": [0.3, 3],
                "start_h": [0, 30],
            },
        }
        | changes
    )


def both(scenario: Scenario, **options: Any) -> tuple[ClusterModel, ClusterModel]:
    return (
        ClusterModel(scenario, BATCH, kernel="reference", **options),
        ClusterModel(scenario, BATCH, kernel="compiled", **options),
    )


def assert_close(found: NDArray[Any], wanted: NDArray[Any], what: str) -> None:
    assert found.dtype == wanted.dtype, what
    relative = SINGLE if found.dtype == np.float32 else RELATIVE
    np.testing.assert_allclose(found, wanted, rtol=relative, atol=1e-11, err_msg=what)


def assert_same_sight(found: Observation, wanted: Observation) -> None:
    if not isinstance(found, dict) or not isinstance(wanted, dict):
        assert_close(np.asarray(found), np.asarray(wanted), "vector")
        return
    assert found.keys() == wanted.keys()
    for name, values in found.items():
        assert_close(values, wanted[name], name)


def assert_same_step(found: Step, wanted: Step) -> None:
    for name, term in wanted.terms.items():
        assert_close(found.terms[name], term, name)
    for name in ("cost", "migrations", "latency_ms", "violated", "failed"):
        assert_close(getattr(found, name), getattr(wanted, name), name)


def assert_same_state(found: ClusterModel, wanted: ClusterModel) -> None:
    left, right = found.state(), wanted.state()
    for name in ("ready", "starting", "node_up", "time_s", "demand"):
        assert np.array_equal(getattr(left, name), getattr(right, name)), name
    for name in ("utilisation", "latency_ms", "free"):
        assert_close(getattr(left, name), getattr(right, name), name)
    assert np.array_equal(found.legal(), wanted.legal())


def play(scenario: Scenario, env_id: str, steps: int = 70, **options: Any) -> None:
    """Play both models on random actions, legal and illegal, beyond the end of an episode."""
    reference, compiled = both(scenario, randomise=True)
    encoding = make_encoding(env_id, scenario, **options)
    rngs = [[np.random.default_rng(index) for index in range(BATCH)] for _ in "ab"]
    for model, own in zip((reference, compiled), rngs, strict=True):
        model.reset(dict(enumerate(own)))
    chooser = np.random.default_rng(0)
    for t in range(steps):
        assert_same_sight(compiled.observe(encoding), reference.observe(encoding))
        assert_same_state(compiled, reference)
        tried = chooser.integers(len(reference.actions), size=BATCH)
        illegal = reference.illegal(tried)
        assert np.array_equal(compiled.illegal(tried), illegal)
        legal = np.argmax(chooser.random((BATCH, len(reference.actions))) * reference.legal(), 1)
        actions = np.where(illegal, legal, tried)
        assert_same_step(compiled.step(actions), reference.step(actions))
        if t % 7 == 3:  # some begin anew while the others are in the middle of theirs
            some = [index for index in range(BATCH) if (index + t) % 3 == 0]
            for model, own in zip((reference, compiled), rngs, strict=True):
                model.reset({index: own[index] for index in some})


@pytest.mark.parametrize("queue", ["shared", "split"])
@pytest.mark.parametrize("routing", ["prefer-close", "random"])
@pytest.mark.parametrize("name", ["tiny", "four-stations"])
def test_it_equals_the_reference(name: str, routing: str, queue: str) -> None:
    scenario = restless(load_scenario(name), routing=routing, queue=queue)
    play(scenario, "lwmecps-v2")
    play(scenario, "lwmecps-v3", catchment=True)


def test_it_equals_the_reference_for_one_service_and_with_padding() -> None:
    scenario = restless(load_scenario("four-stations"))
    play(scenario.only("video"), "lwmecps-v1")
    play(scenario, "lwmecps-v3", max_services=5, max_nodes=7, catchment=True)


@pytest.mark.parametrize("placed", [1, 3])
@pytest.mark.parametrize("users", [0.0, 0.02, 1.0, 100.0])
def test_it_equals_the_reference_where_there_are_more_nodes_than_hosts(
    users: float, placed: int
) -> None:
    document = random_scenario(40, 4).document()
    diurnal = document["workload"]["diurnal"]
    diurnal["peak_users"] = {site: users * n for site, n in diurnal["peak_users"].items()}
    for service in document["services"]:
        service["min_replicas"] = 10 * placed
    document["services"][0]["slo_ms"] = 500  # above the timeout
    document["services"][1]["slo_ms"] = 1  # below any round trip
    scenario = load_scenario(document | {"timeout_ms": 45})  # below some round trips
    play(scenario, "lwmecps-v3", steps=25, catchment=True)
    play(restless(scenario), "lwmecps-v3", steps=25, catchment=True)


@pytest.mark.parametrize("env_id", ENV_IDS)
def test_environments_use_it_unless_told_otherwise(env_id: str) -> None:
    scenario = restless(load_scenario("four-stations"), episode_steps=10)
    choices: list[dict[str, Any]] = [{}, {"kernel": "compiled"}, {"kernel": "reference"}]
    envs = [gym.make_vec(env_id, num_envs=3, scenario=scenario, **choice) for choice in choices]
    default, compiled, reference = envs
    for env in envs:
        observation, _ = env.reset(seed=4)
    default.action_space.seed(0)
    for _ in range(25):
        actions = default.action_space.sample()
        usual, fast, slow = (env.step(actions) for env in envs)
        assert_same_sight(fast[0], slow[0])
        assert_close(fast[1], slow[1], "reward")
        assert np.array_equal(usual[1], fast[1])
        assert fast[4].keys() == slow[4].keys()
        for name, values in fast[4].items():
            assert_close(values, slow[4][name], name)


@pytest.mark.parametrize("env_id", ENV_IDS)
def test_what_was_observed_is_not_overwritten(env_id: str) -> None:
    env = make_vector_env(env_id, 3, scenario="four-stations")
    observation, _ = env.reset(seed=0)
    seen = [observation]
    seen += [env.step(env.action_space.sample())[0] for _ in range(5)]
    arrays = [each if isinstance(each, dict) else {"vector": each} for each in seen]
    for name in arrays[0]:
        for i, first in enumerate(arrays):
            for second in arrays[i + 1 :]:
                assert not np.shares_memory(first[name], second[name])


def test_illegal_actions_are_refused_in_the_same_words_and_change_nothing() -> None:
    reference, compiled = both(load_scenario("tiny"))
    for model in (reference, compiled):
        model.reset({index: np.random.default_rng(index) for index in range(BATCH)})
    for actions in ([0, 4, 0, 0], [0, 0, 7, 0], [-1, 0, 0, 0], [0, 0]):
        said = []
        for model in (reference, compiled):
            with pytest.raises((IllegalActionError, InvalidInputError)) as caught:
                model.step(np.array(actions))
            said.append(str(caught.value))
        assert said[0] == said[1]
        assert_same_state(compiled, reference)


def test_a_placement_that_is_refused_leaves_clusters_that_can_be_played() -> None:
    scenario = restless(load_scenario("four-stations"), failures={})
    placement = np.array([[0, 0, 2, 0], [1, 0, 0, 0], [0, 1, 0, 0]])  # fits some that are drawn
    models = both(scenario, randomise=True)
    refused = set()
    for model in models:
        model.reset({index: np.random.default_rng(index) for index in range(BATCH)})
        for seed in range(20):
            rngs = {index: np.random.default_rng([seed, index]) for index in range(BATCH)}
            try:
                model.reset(rngs, placement=placement)
            except InvalidInputError:
                refused.add(seed)
    assert refused and len(refused) < 20
    assert_same_state(models[1], models[0])
    actions = np.zeros(BATCH, dtype=np.int64)
    assert_same_step(models[1].step(actions), models[0].step(actions))


def test_it_says_that_it_keeps_no_flows() -> None:
    _, compiled = both(load_scenario("tiny"))
    compiled.reset({index: np.random.default_rng(index) for index in range(BATCH)})
    step = compiled.step(np.zeros(BATCH, dtype=np.int64))
    with pytest.raises(ConflictError, match="kernel='reference'"):
        _ = step.performance


def test_there_are_two_kernels() -> None:
    with pytest.raises(InvalidInputError, match="kernel: 'fast' is neither"):
        ClusterModel(load_scenario("tiny"), kernel="fast")  # type: ignore[arg-type]


@settings(max_examples=50)
@given(st.floats(-700, 0))
def test_its_exponential_is_exact_to_the_last_digit_but_one(value: float) -> None:
    assert exponential(value) == pytest.approx(np.exp(value), rel=5e-16, abs=1e-300)


@settings(max_examples=100)
@given(st.integers(1, 300), st.floats(1e-6, 0.999999))
def test_its_erlang_c_is_the_reference_s(servers: int, utilisation: float) -> None:
    load = servers * utilisation
    wanted = float(erlang_c(servers, load))
    assert erlang_wait(servers, load, utilisation) == pytest.approx(wanted, rel=1e-9, abs=1e-300)


def first_steps(folder: Path, **environment: str) -> str:
    code = (
        "import gymnasium, numpy, lwmecps_gym.envs;"
        "env = gymnasium.make_vec('lwmecps-v3', num_envs=2);"
        "env.reset(seed=0); env.step(numpy.zeros(2, dtype=int));"
        "from lwmecps_gym.envs.compiled import pods;"
        "print(sum(pods.apply.stats.cache_hits.values()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=folder,
        env=os.environ | environment,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_where_no_folder_can_be_written_each_process_compiles_for_itself(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(numba.config, "CACHE_LOCATOR_CLASSES", "ZipCacheLocator")

    @entry
    def double(number: int) -> int:
        return 2 * number

    assert double(21) == 42
    assert "every process compiles" in caplog.text


def test_a_later_process_does_not_compile(tmp_path: Path) -> None:
    first_steps(tmp_path)  # it may have to
    assert first_steps(tmp_path) == "1"
