"""The environments on a cluster: the stand-in over HTTP, or a real one.

`LWMECPS_TEST_KUBECONFIG` names the kubeconfig of a real cluster with two nodes or more; the tests
then make a namespace there and delete it. What a real cluster does not do on demand is skipped.
"""

import math
import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from kubernetes import client

from lwmecps_gym.envs.kubernetes_backend import KubernetesBackend
from lwmecps_gym.envs.scenario import Scenario, load_scenario
from lwmecps_gym.platform.config import Settings
from lwmecps_gym.platform.errors import (
    ClusterError,
    ConflictError,
    IllegalActionError,
    InvalidInputError,
)
from lwmecps_gym.platform.kubernetes_api import KubernetesApi

from ..kubernetes_server import KubernetesServer, RealCluster
from .live import (
    PAUSE,
    Cluster,
    add_pod,
    assert_same,
    document,
    have_new_pods_take_two_seconds,
    legal_action,
    ready_pods,
)

KUBECONFIG = os.environ.get("LWMECPS_TEST_KUBECONFIG")

MakeEnv = Callable[..., Any]


@pytest.fixture
def cluster(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Cluster]:
    """Two nodes or more, and settings that lead to them; the stand-in has bs-1 and bs-2."""
    if KUBECONFIG:
        with RealCluster(Path(KUBECONFIG)) as real:
            if len(real.nodes) < 2:
                pytest.skip("the real cluster has fewer than two nodes that take pods")
            monkeypatch.setenv("LWMECPS_KUBECONFIG", KUBECONFIG)
            monkeypatch.setenv("LWMECPS_KUBERNETES_NAMESPACE", real.namespace)
            yield real
    else:
        server: KubernetesServer = request.getfixturevalue("kubernetes_cluster")
        server.add_node("bs-1", cpu=0.5, memory_mib=512)
        server.add_node("bs-2", cpu=0.4, memory_mib=512)
        kubeconfig = server.write_kubeconfig(tmp_path / "kubeconfig")
        monkeypatch.setenv("LWMECPS_KUBECONFIG", str(kubeconfig))
        monkeypatch.setenv("LWMECPS_KUBERNETES_NAMESPACE", server.namespace)
        yield server


@pytest.fixture
def scenario(cluster: Cluster) -> Scenario:
    return load_scenario(document(cluster))


@pytest.fixture
def make(scenario: Scenario) -> MakeEnv:
    """Make an environment on the cluster; options are those of the backend."""

    def make_env(env_id: str = "lwmecps-v2", **options: Any) -> Any:
        return gym.make(
            env_id,
            scenario=scenario,
            illegal_action="raise",
            backend="kubernetes",
            make_live=partial(KubernetesBackend.connect, **options),
        ).unwrapped

    return make_env


@pytest.mark.parametrize("env_id", ["lwmecps-v2", "lwmecps-v3"])
def test_after_each_step_the_nodes_have_the_pods_that_are_observed(
    cluster: Cluster, make: MakeEnv, env_id: str
) -> None:
    env = make(env_id)
    rng = np.random.default_rng(1)
    observation, _ = env.reset(seed=1)
    truncated = False
    while not truncated:
        observation, reward, _, truncated, info = env.step(legal_action(observation, rng))
        assert env.observation_space.contains(observation)
        assert ready_pods(cluster) == env.state().ready[0].tolist()
        assert not env.state().starting.any()
        assert reward == pytest.approx(-sum(v for k, v in info.items() if k.startswith("cost_")))


@pytest.mark.parametrize("env_id", ["lwmecps-v2", "lwmecps-v3"])
def test_where_pods_start_at_once_an_episode_is_that_of_the_simulator(
    scenario: Scenario, make: MakeEnv, env_id: str
) -> None:
    live = make(env_id)
    plain = {"randomise": False, "failures": False} if env_id == "lwmecps-v3" else {}
    simulated = gym.make(env_id, scenario=scenario, **plain)
    rng = np.random.default_rng(2)
    observation, _ = live.reset(seed=2, options={"start_s": 36_000})
    expected, _ = simulated.reset(seed=2, options={"start_s": 36_000})
    assert_same(observation, expected)
    for _ in range(scenario.episode_steps):
        action = legal_action(observation, rng)
        observation, reward, *_, info = live.step(action)
        expected, expected_reward, *_, expected_info = simulated.step(action)
        assert_same(observation, expected)
        assert reward == pytest.approx(expected_reward, rel=1e-6)
        assert info == pytest.approx(expected_info, rel=1e-6)


def test_starting_replicas_are_observed_as_in_the_simulator(cluster: Cluster) -> None:
    content = document(cluster)
    content["services"] = [service | {"startup_s": 90} for service in content["services"]]
    connect = partial(KubernetesBackend.connect, ready_timeout_s=0.1)
    live = gym.make("lwmecps-v2", scenario=content, backend="kubernetes", make_live=connect)
    simulated = gym.make("lwmecps-v2", scenario=content)
    for env in (live, simulated):
        env.reset(seed=3)
    have_new_pods_take_two_seconds(cluster)
    place = live.unwrapped.core.backend.actions.place(1, 0)  # type: ignore[attr-defined]
    observation, *_ = live.step(place)
    assert live.unwrapped.state().starting.sum() == 1  # type: ignore[attr-defined]
    assert_same(observation, simulated.step(place)[0])


def test_v1_places_its_one_service(cluster: Cluster, make: MakeEnv) -> None:
    env = make("lwmecps-v1")
    env.reset(seed=0, options={"placement": [[1, 0]]})
    env.step(np.int64(1 + 1))
    assert ready_pods(cluster) == [[1, 1], [0, 0]]


def test_a_pod_that_is_not_ready_in_time_is_starting_though_the_model_starts_at_once(
    cluster: Cluster, make: MakeEnv
) -> None:
    env = make(ready_timeout_s=0.3)
    env.reset(seed=0, options={"placement": [[1, 0], [1, 0]]})
    have_new_pods_take_two_seconds(cluster)
    env.step(env.core.backend.actions.place(0, 1))
    assert env.state().ready.tolist() == [[[1, 0], [1, 0]]]
    assert env.state().starting.tolist() == [[[0, 1], [0, 0]]]

    cluster.set_delays(ready_s=0)
    env.step(np.int64(0))
    assert env.state().ready.tolist() == [[[1, 1], [1, 0]]]


def test_a_replica_that_was_taken_away_holds_no_room_after_the_step(
    cluster: Cluster, make: MakeEnv
) -> None:
    cluster.set_delays(stop_s=0.5)
    env = make()
    table = env.core.backend.actions
    observation, _ = env.reset(seed=0, options={"placement": [[2, 0], [4, 0]]})
    assert not observation["action_mask"][table.place(0, 0)]
    observation, *_ = env.step(table.remove(0, 0))
    assert env.state().free[0, 0, 0] == pytest.approx(0.15)
    assert observation["action_mask"][table.place(0, 0)]


@pytest.mark.parametrize("trouble", ["cordoned", "not ready"])
def test_nothing_can_be_placed_on_a_node_that_is_out_of_service(
    cluster: Cluster, make: MakeEnv, trouble: str
) -> None:
    env = make(ready_timeout_s=0.3)
    table = env.core.backend.actions
    observation, _ = env.reset(seed=0, options={"placement": [[1, 0], [0, 1]]})
    on_second = np.flatnonzero(table.target == 1)
    assert observation["action_mask"][on_second].any()
    if trouble == "cordoned":
        cluster.cordon(cluster.nodes[1])
    else:
        cluster.set_node_ready(cluster.nodes[1], ready=False)
    observation, *_ = env.step(np.int64(0))
    state = env.state()
    assert state.node_up.tolist() == [[True, False]]
    assert not observation["action_mask"][on_second].any()
    still = state.ready if trouble == "cordoned" else state.starting
    assert still[0].tolist() == [[int(trouble == "cordoned"), 0], [0, 1]]
    with pytest.raises(IllegalActionError, match=r"place a replica of video on bs_2.* not legal"):
        env.step(table.place(0, 1))


def test_an_episode_begins_on_the_nodes_that_are_in_service(
    cluster: Cluster, make: MakeEnv
) -> None:
    cluster.cordon(cluster.nodes[0])
    make().reset(seed=0)
    assert ready_pods(cluster) == [[0, 1], [0, 1]]


def test_what_others_request_is_taken_from_the_capacity(cluster: Cluster, make: MakeEnv) -> None:
    env = make()
    env.reset(seed=0)
    before = env.state().params.capacity[0]
    add_pod(cluster, cluster.nodes[1], cpu="100m")
    env.step(np.int64(0))
    taken = before - env.state().params.capacity[0]
    assert taken.ravel() == pytest.approx([0, 0, 0, 0, 0, 0.1, 0, 0, 0, 1])


def test_what_fits_beside_others_is_legal_and_more_is_not(cluster: Cluster, make: MakeEnv) -> None:
    env = make()
    placed = env.core.backend.actions.place([0, 1], 1)
    observation, _ = env.reset(seed=0, options={"placement": [[1, 0], [1, 0]]})
    if isinstance(cluster, RealCluster):
        pytest.skip("nobody knows what fits a real node")
    assert observation["action_mask"][placed].tolist() == [1, 1]
    add_pod(cluster, "bs-2", cpu="300m")
    observation, *_ = env.step(np.int64(0))
    assert observation["action_mask"][placed].tolist() == [0, 1]


def test_a_replica_that_finds_its_room_taken_is_starting(cluster: Cluster, make: MakeEnv) -> None:
    env = make(ready_timeout_s=0.3)
    env.reset(seed=0, options={"placement": [[1, 0], [1, 0]]})
    if isinstance(cluster, RealCluster):
        pytest.skip("nobody knows what fits a real node")
    add_pod(cluster, "bs-2", cpu="300m")
    observation, reward, *_ = env.step(env.core.backend.actions.place(0, 1))
    assert env.state().starting.tolist() == [[[0, 1], [0, 0]]]
    assert env.observation_space.contains(observation)
    assert env.state().free[0, 1, 0] == 0 and -10 < reward < 0  # full, at a price that is finite


def test_an_illegal_action_changes_nothing(cluster: Cluster, make: MakeEnv) -> None:
    env = make()
    observation, _ = env.reset(seed=0)
    before = ready_pods(cluster)
    illegal = np.flatnonzero(observation["action_mask"] == 0)[0]
    with pytest.raises(IllegalActionError, match=f"action {illegal} .*the action mask"):
        env.step(illegal)
    with pytest.raises(InvalidInputError, match="want one number from 0 to 12, got .13"):
        env.core.backend.step(np.array([13]))
    assert ready_pods(cluster) == before


def test_a_reset_takes_a_placement_that_the_nodes_can_hold(cluster: Cluster, make: MakeEnv) -> None:
    env = make()
    for placement in ([[1, 1], [2, 0]], [[0, 2], [1, 1]]):
        env.reset(seed=0, options={"placement": placement})
        assert env.state().ready[0].tolist() == ready_pods(cluster) == placement
    for options in ({"placement": [[9, 0], [9, 0]]}, {"start_s": "noon"}):
        with pytest.raises(InvalidInputError, match=next(iter(options))):
            env.reset(options=options)
    assert ready_pods(cluster) == placement


def test_a_reset_fails_with_the_reason_when_pods_do_not_come_up(
    cluster: Cluster, make: MakeEnv
) -> None:
    cluster.set_delays(ready_s=math.inf)
    with pytest.raises(ClusterError, match=r"has 0 of 1 replicas ready: its phase is Pending"):
        make(reset_timeout_s=0.3).reset(seed=0)


def test_a_reset_fails_when_no_node_has_room(cluster: Cluster, make: MakeEnv) -> None:
    cluster.cordon(cluster.nodes[0])
    cluster.set_node_ready(cluster.nodes[1], ready=False)
    with pytest.raises(ClusterError, match=r"scenario live: .* no room .* services.video"):
        make().reset(seed=0)


def test_a_node_that_the_cluster_lacks_is_named(cluster: Cluster) -> None:
    content = document(cluster)
    content["nodes"].append(content["nodes"][0] | {"name": "bs_9"})
    for site in content["sites"]:
        site["rtt_ms"]["bs_9"] = 9
    with pytest.raises(ClusterError, match=f"scenario live: .*'bs_9'.*{cluster.nodes[0]}"):
        gym.make("lwmecps-v2", scenario=content, backend="kubernetes")


def test_a_user_without_rights_cannot_connect(cluster: Cluster, scenario: Scenario) -> None:
    viewer = KubernetesApi(cluster.api_client("viewer"), cluster.namespace)
    with pytest.raises(ClusterError, match="cannot list nodes: .* 403 Forbidden"):
        KubernetesBackend(scenario, viewer)


@pytest.mark.parametrize("request_", ["GET /api/v1/nodes", "GET /deployments?", "PATCH /scale"])
def test_a_refusal_in_a_step_is_told_whatever_it_refuses(
    cluster: Cluster, make: MakeEnv, request_: str
) -> None:
    env = make()
    env.reset(seed=0, options={"placement": [[1, 0], [0, 1]]})
    method, _, url = request_.partition(" ")
    cluster.fail_next(403, method=method, url=url, reason="Forbidden")
    with pytest.raises(ClusterError, match=r"403 Forbidden.*Role"):
        env.step(env.core.backend.actions.place(1, 1))


def test_a_cut_connection_is_told(cluster: Cluster, make: MakeEnv) -> None:
    env = make()
    env.reset(seed=0)
    cluster.cut_next(times=99)
    with pytest.raises(ClusterError, match="does not answer"):
        env.step(np.int64(0))


def test_a_deployment_of_someone_else_is_left_alone(cluster: Cluster, make: MakeEnv) -> None:
    env = make()
    env.reset(seed=0)
    apps: Any = client.AppsV1Api(cluster.api_client())
    ours = apps.list_namespaced_deployment(cluster.namespace).items[0].metadata.name
    KubernetesApi.from_settings(Settings()).delete_owned()
    labels = {"app": "mine"}
    pod = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": PAUSE}]}}
    spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": pod}
    foreign = {"metadata": {"name": ours}, "spec": spec}
    apps.create_namespaced_deployment(cluster.namespace, foreign)
    with pytest.raises(ConflictError, match="not the platform's own"):
        env.reset(seed=0)


def test_in_real_time_a_step_takes_the_control_interval(cluster: Cluster) -> None:
    scenario = load_scenario(document(cluster) | {"control_interval_s": 1.5})
    took = {}
    for real_time in (True, False):
        backend = KubernetesBackend.connect(
            scenario, True, real_time=real_time, reset_timeout_s=120
        )
        backend.reset({0: np.random.default_rng(0)})
        started_at = time.monotonic()
        backend.step(np.array([0]))
        took[real_time] = time.monotonic() - started_at
    assert took[False] < 1.5 <= took[True] < 3


def test_closing_leaves_the_services_running(cluster: Cluster, make: MakeEnv) -> None:
    env = make()
    env.reset(seed=0)
    for _ in range(2):
        env.close()
    assert np.sum(ready_pods(cluster)) == 2
    KubernetesApi.from_settings(Settings()).delete_owned()
    assert np.sum(ready_pods(cluster)) == 0


@pytest.mark.parametrize("env_id", ["lwmecps-v2", "lwmecps-v3"])
def test_the_checker_of_gymnasium_finds_nothing(scenario: Scenario, env_id: str) -> None:
    env = gym.make(env_id, scenario=scenario, backend="kubernetes")
    check_env(env.unwrapped, skip_render_check=True)
