"""What people see of a cluster is what is there: live, as text and as a picture."""

import os
import pty
import re
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from rich.console import Console

from lwmecps_gym.envs import ENV_IDS, make_vector_env
from lwmecps_gym.envs.generate import random_scenario
from lwmecps_gym.envs.performance import evaluate
from lwmecps_gym.envs.rendering import Scene, make_view, scene_of
from lwmecps_gym.envs.rendering.scene import colours
from lwmecps_gym.envs.rendering.terminal import LiveView
from lwmecps_gym.envs.scenario import Scenario, load_scenario
from lwmecps_gym.envs.simulator import ClusterModel
from lwmecps_gym.platform.errors import InvalidInputError

from ..kubernetes_server import KubernetesServer
from .live import document

NODES = np.s_[100:330, :640]
"""Pixels of a picture in which the nodes are."""
SHAPE = (640, 960, 3)


def make(mode: str | None, scenario: Any = "four-stations", env_id: str = "lwmecps-v2") -> Any:
    return gym.make(env_id, scenario=scenario, render_mode=mode)


def scene(scenario: Scenario, steps: int = 20) -> Scene:
    """A cluster by day, after some steps of random actions."""
    model = ClusterModel(scenario, 1)
    model.reset({0: np.random.default_rng(0)}, start_s=12 * 3600)
    rng = np.random.default_rng(1)
    for _ in range(steps):
        model.step(np.array([rng.choice(np.flatnonzero(model.legal()[0]))]))
    return scene_of(scenario, model.state())


@cache
def random_scene(nodes: int, services: int) -> Scene:
    return scene(random_scenario(nodes, services), steps=0)


def plain(text: Any) -> str:
    """Text without its colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


@pytest.mark.parametrize("env_id", ENV_IDS)
def test_the_checker_of_gymnasium_finds_nothing_in_any_mode(env_id: str) -> None:
    check_env(make(None, "tiny", env_id).unwrapped)


@pytest.mark.parametrize("mode", ["human", "rgb_array", "ansi"])
def test_an_episode_is_the_same_whether_it_is_shown_or_not(mode: str) -> None:
    shown, blind = make(mode, "tiny", "lwmecps-v3"), make(None, "tiny", "lwmecps-v3")
    for env in (shown, blind):
        env.reset(seed=3)
    for action in (1, 4, 0, 2):
        shown.render()
        left, right = (env.step(np.int64(action)) for env in (shown, blind))
        assert left[1] == right[1]
        assert all(np.array_equal(left[0][name], right[0][name]) for name in left[0])
    shown.close()


def test_a_picture_changes_with_the_placement_and_only_with_what_it_shows() -> None:
    frames = []
    for placement in ([1, 1, 0, 0], [0, 1, 1, 0], [1, 1, 0, 0]):
        env = make("rgb_array")
        env.reset(seed=0, options={"placement": [[0, 0, 1, 0], placement, [0, 0, 0, 1]]})
        frames.append(env.render())
        assert frames[-1].shape == SHAPE and frames[-1].dtype == np.uint8
    assert np.array_equal(frames[0], frames[2])
    assert not np.array_equal(frames[0][NODES], frames[1][NODES])


def test_a_picture_shows_starting_pods_apart_from_ready_ones() -> None:
    before = scene(load_scenario("four-stations"))
    turned = replace(before, ready=before.starting, starting=before.ready)
    view = make_view("rgb_array", before.scenario)
    assert not np.array_equal(view.show(before)[NODES], view.show(turned)[NODES])


@pytest.mark.parametrize("nodes", [4, 100])
def test_a_failed_node_is_seen_where_it_stands(nodes: int) -> None:
    whole = random_scene(nodes, 3)
    view = make_view("rgb_array", whole.scenario)
    lost = replace(whole, up=np.arange(nodes) != nodes - 1)
    changed = (view.show(whole) != view.show(lost)).any((0, 2))
    assert changed.any() and not changed[:480].any()
    text = make_view("ansi", whole.scenario)
    assert "down" in text.show(lost) or "×" in text.show(lost)
    assert "down" not in text.show(whole) and "×" not in text.show(whole)


def test_a_node_that_fails_in_an_episode_is_shown_as_down() -> None:
    failing = load_scenario("tiny").document() | {
        "failures": {"node_mtbf_s": 600, "node_mttr_s": 60_000}
    }
    env = make("ansi", failing, "lwmecps-v3")
    env.reset(seed=0)
    while env.unwrapped.state().node_up.all():
        assert "down" not in env.render()
        env.step(np.int64(0))
    assert "down" in env.render()


def test_human_mode_shows_every_step_by_itself(capsys: pytest.CaptureFixture[str]) -> None:
    env = make("human")
    env.reset(seed=0)
    assert "four-stations begins" in capsys.readouterr().out
    for action in (0, 0, 1):
        info = env.step(np.int64(action))[4]
        line = capsys.readouterr().out
        assert f"latency {info['latency_ms']:.1f} ms" in line or action
        assert "leave everything as it is" in line or action
    assert "place a replica of ar on bs_1" in line
    assert env.render() is None
    env.close()
    last = capsys.readouterr().out
    assert all(name in last for name in ("bs_1", "bs_4", "ar", "video", "telemetry", "00:03"))
    env.close()
    assert capsys.readouterr().out == ""


def test_after_it_was_closed_an_environment_can_be_shown_again(
    capsys: pytest.CaptureFixture[str],
) -> None:
    env = make("human", "tiny").unwrapped
    for _ in range(2):
        env.reset(seed=0)
        env.close()
        assert "bs_2" in capsys.readouterr().out


def test_in_a_terminal_each_step_takes_the_place_of_the_one_before() -> None:
    code = (
        "import gymnasium, lwmecps_gym.envs;"
        "env = gymnasium.make('lwmecps-v3', scenario='tiny', render_mode='human');"
        "env.reset(seed=0); env.step(1); env.step(2)"
    )
    ours, theirs = pty.openpty()
    size = {"TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"}
    process = subprocess.Popen([sys.executable, "-c", code], stdout=theirs, env=os.environ | size)
    os.close(theirs)
    written = b""
    with os.fdopen(ours, "rb", buffering=0) as terminal, suppress(OSError):  # raised at the end
        while block := terminal.read(65_536):
            written += block
    assert process.wait(60) == 0
    output = written.decode()
    first, *later = output.split("day 1, 00:05")
    up = "\x1b[1A"
    assert "no step yet" in first and up in first and later[0].count(up) >= 10
    assert "place a replica of video on bs_2" in later[0]
    assert output.rstrip().endswith("\x1b[?25h")  # closed by the end of the program


def test_a_view_that_is_forgotten_gives_the_terminal_back() -> None:
    output = StringIO()
    view = LiveView(1000, Console(file=output, force_terminal=True, width=80, height=24))
    view.show(scene(load_scenario("tiny")))
    hidden, shown = "\x1b[?25l", "\x1b[?25h"
    assert hidden in output.getvalue() and shown not in output.getvalue()
    del view
    assert output.getvalue().endswith(shown)


@pytest.mark.parametrize(("width", "height"), [(80, 24), (40, 24), (160, 50)])
@pytest.mark.parametrize(("nodes", "services"), [(4, 3), (16, 4), (100, 20), (500, 2)])
def test_a_scene_fits_the_terminal(nodes: int, services: int, width: int, height: int) -> None:
    output = StringIO()
    console = Console(
        file=output, force_terminal=True, width=width, height=height, color_system=None
    )
    view = LiveView(1000, console)
    drawn = random_scene(nodes, services)
    view.show(drawn)
    lines = output.getvalue().removeprefix("\x1b[?25l").splitlines()
    view.close()
    assert len(lines) < height and max(map(len, lines)) <= width
    assert "node-0 " in output.getvalue() or f"node: {nodes} " in output.getvalue()
    assert f"service-{services - 1} " in output.getvalue() or width < 80


def test_a_terminal_without_unicode_gets_ascii() -> None:
    class Ascii(StringIO):
        encoding = "ascii"

    for nodes in (4, 500):
        output = Ascii()
        view = LiveView(1000, Console(file=output, force_terminal=True, width=80, height=24))
        view.show(random_scene(nodes, 2))
        view.close()
        assert output.getvalue().isascii() and "|" in output.getvalue()


def test_latency_by_site_is_that_of_the_model() -> None:
    scenario = load_scenario("four-stations")
    model = ClusterModel(scenario, 2, kernel="compiled")
    model.reset({i: np.random.default_rng(i) for i in range(2)}, start_s=64_800)
    for _ in range(5):
        model.step(np.array([0, 0]))
    state = model.state()
    expected = evaluate(scenario, state.params, state.ready, state.demand)
    for index in range(2):
        found = scene_of(scenario, state, index)
        assert found.site_latency_ms == pytest.approx(expected.site_latency_ms[index])
        assert found.mean_latency_ms == pytest.approx(expected.latency_ms[index])


def test_a_vector_environment_shows_each_cluster_as_a_single_one_would() -> None:
    many = make_vector_env("lwmecps-v3", 2, scenario="tiny", render_mode="rgb_array")
    one = make("rgb_array", "tiny", "lwmecps-v3")
    many.reset(seed=5)
    one.reset(seed=5)
    for action in (3, 1):
        many.step(np.array([action, 0]))
        one.step(np.int64(action))
    frames = many.render()
    assert frames is not None and len(frames) == 2
    assert np.array_equal(frames[0], one.render())
    assert not np.array_equal(frames[0], frames[1])


def test_a_cluster_that_began_an_episode_shows_no_step() -> None:
    short = load_scenario("tiny").document() | {"episode_steps": 1}
    many = make_vector_env("lwmecps-v2", 1, scenario=short, render_mode="ansi")
    many.reset(seed=0)
    for said in ("last: leave everything", "no step yet", "last: leave everything"):
        many.step(np.array([0]))
        (text,) = many.render() or ()
        assert said in text


def test_frames_are_collected_for_a_video() -> None:
    env = make("rgb_array_list", "tiny")
    assert env.metadata["render_fps"] > 0
    env.reset(seed=0)
    for _ in range(3):
        env.step(env.action_space.sample())
    assert {frame.shape for frame in env.render()} == {SHAPE}


def test_without_a_mode_nothing_is_shown_and_one_is_told() -> None:
    for env in (make(None, "tiny"), make_vector_env("lwmecps-v2", 1, scenario="tiny")):
        env.reset(seed=0)
        with pytest.warns(UserWarning, match="render_mode"):
            assert getattr(env, "unwrapped", env).render() is None


def test_other_modes_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="render_mode: 'human'.*rgb_array"):
        gym.make_vec("lwmecps-v3", num_envs=2, scenario="tiny", render_mode="human")


def test_a_live_cluster_is_shown_too(
    kubernetes_cluster: KubernetesServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kubernetes_cluster.add_node("bs-1", cpu=0.5, memory_mib=512)
    kubernetes_cluster.add_node("bs-2", cpu=0.4, memory_mib=512)
    kubeconfig = kubernetes_cluster.write_kubeconfig(tmp_path / "kubeconfig")
    monkeypatch.setenv("LWMECPS_KUBECONFIG", str(kubeconfig))
    monkeypatch.setenv("LWMECPS_KUBERNETES_NAMESPACE", kubernetes_cluster.namespace)
    env = gym.make(
        "lwmecps-v2",
        scenario=document(kubernetes_cluster),
        backend="kubernetes",
        render_mode="ansi",
    )
    env.reset(seed=0)
    assert "video 1" in plain(env.render())
    kubernetes_cluster.cordon("bs-2")
    env.step(np.int64(0))
    assert "down" in plain(env.render())


def test_services_have_colours_of_their_own() -> None:
    assert len(set(colours(21))) == 21
    assert colours(3) == colours(21)[:3]
