"""The environments' pages say what the code does: their tables and snippets are held to it."""

import ast
import inspect
import re
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from lwmecps_gym.envs import ENV_IDS, LWMECPSEnv, LWMECPSEnv2, LWMECPSEnv3
from lwmecps_gym.envs.core import Core
from lwmecps_gym.envs.encoding import (
    CATCHMENT_FEATURES,
    NODE_FEATURES,
    PAIR_FEATURES,
    SERVICE_FEATURES,
)
from lwmecps_gym.envs.environments import V3_DEFAULTS
from lwmecps_gym.envs.performance import COST_TERMS
from lwmecps_gym.envs.scenario import load_scenario

PAGES = Path(__file__).parents[2] / "docs" / "environments"
CLASSES = {"lwmecps-v1": LWMECPSEnv, "lwmecps-v2": LWMECPSEnv2, "lwmecps-v3": LWMECPSEnv3}
ORDER = ["Description", "Action space", "Observation space", "Rewards", "Starting state",
         "Episode end", "Arguments", "Info", "Version history"]  # fmt: skip
FEATURES = {"nodes": NODE_FEATURES, "services": SERVICE_FEATURES, "pairs": PAIR_FEATURES,
            "catchment": CATCHMENT_FEATURES}  # fmt: skip

Rows = list[list[str]]


def page(env_id: str) -> str:
    return (PAGES / f"{env_id}.md").read_text(encoding="utf-8")


def section(env_id: str, title: str) -> str:
    return page(env_id).split(f"\n## {title}\n")[1].split("\n## ")[0]


def tables(text: str) -> list[Rows]:
    """The tables of a text, without their heads; cells are stripped."""
    found = re.findall(r"(?:^\|.*\n?)+", text, re.MULTILINE)
    return [
        [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
        for table in found
    ]


def spaces(env_id: str, scenario: str, **options: Any) -> tuple[Any, dict[str, int], list[int]]:
    """An environment, what the letters of its page stand for, and its services' max_replicas."""
    env: Any = gym.make(env_id, scenario=scenario, **options).unwrapped
    known = env.scenario
    letters = {
        "S": options.get("max_services", len(known.services)),
        "N": options.get("max_nodes", len(known.nodes)),
        "U": len(known.sites),
        "A": int(env.action_space.n),
    }
    return env, letters, [service.max_replicas for service in known.services]


def shape(stated: str, letters: dict[str, int]) -> tuple[int, ...]:
    parts = (part.strip() for part in stated.split(","))
    return tuple(letters[part] if part in letters else int(part) for part in parts)


def bound(stated: str, of: tuple[int, ...], most: list[int]) -> NDArray[np.float32]:
    """A bound for each number of a part of shape `of`, in the order of the vector."""
    value = np.array(most) if stated == "max_replicas" else np.full(1, float(stated))
    first = value.reshape(-1, *[1] * (len(of) - 1)) if len(value) == of[0] else value
    return np.broadcast_to(first, of).ravel().astype(np.float32)


def assert_vector_is_as_stated(
    space: Any, rows: Rows, letters: dict[str, int], most: list[int]
) -> None:
    shapes = [shape(row[1], letters) for row in rows]
    for end, stated in ((space.low, 3), (space.high, 4)):
        pairs = zip(rows, shapes, strict=True)
        parts = [bound(row[stated], of, most) for row, of in pairs]
        assert np.array_equal(np.concatenate(parts), end)


def played(env: Any, steps: int = 60) -> dict[str, Any]:
    """Observations of an episode of random legal actions, [steps, ...]."""
    observation, _ = env.reset(seed=0)
    found = [observation]
    env.action_space.seed(0)
    for _ in range(steps):
        action = env.action_space.sample(observation["action_mask"])
        observation = env.step(action)[0]
        found.append(observation)
    return {name: np.stack([each[name] for each in found]) for name in observation}


@pytest.mark.parametrize("env_id", ENV_IDS)
def test_a_page_keeps_the_order_of_gymnasium(env_id: str) -> None:
    assert re.findall(r"^## (.*)$", page(env_id), re.MULTILINE) == ORDER
    assert f"`{CLASSES[env_id].__name__}`" in page(env_id)
    titles = re.findall(r"^ *## (.*)$", CLASSES[env_id].__doc__ or "", re.MULTILINE)
    joined = ", ".join(titles).lower().split(", ")
    assert joined == [title.lower() for title in ORDER if title != "Info"]


@pytest.mark.parametrize("env_id", ENV_IDS)
def test_there_are_as_many_actions_as_the_page_and_the_docstring_say(env_id: str) -> None:
    stated = re.findall(r"`Discrete\((.*?)\)`", section(env_id, "Action space"))
    told = re.findall(r"`Discrete\((.*?)\)`", CLASSES[env_id].__doc__ or "")
    assert told == stated[:1]
    wide = {"max_services": 5, "max_nodes": 6} if env_id == "lwmecps-v3" else {}
    for formula, moves in zip(stated, (True, False), strict=False):
        assert set(formula) <= set("0123456789+-*()SN ")
        chosen = wide if env_id == "lwmecps-v1" else wide | {"moves": moves}
        env, letters, _ = spaces(env_id, "four-stations", **chosen)
        if env_id == "lwmecps-v1":
            letters["S"] = 1
        assert eval(formula, {}, letters) == env.action_space.n


@pytest.mark.parametrize(("scenario", "service"), [("four-stations", "video"), ("tiny", "video")])
def test_the_vector_of_v1_is_as_the_page_says(scenario: str, service: str) -> None:
    env, letters, most = spaces("lwmecps-v1", scenario, service=service)
    (rows,) = tables(section("lwmecps-v1", "Observation space"))
    assert_vector_is_as_stated(env.observation_space, rows, letters, most)


@pytest.mark.parametrize("scenario", ["four-stations", "tiny"])
def test_the_entries_of_v2_are_as_the_page_says(scenario: str) -> None:
    env, letters, most = spaces("lwmecps-v2", scenario)
    entries, rows = tables(section("lwmecps-v2", "Observation space"))
    space = env.observation_space
    letters["D"] = space["observations"].shape[0]
    assert {name: (shape(of, letters), kind) for name, of, kind, *_ in entries} == {
        name: (box.shape, str(box.dtype)) for name, box in space.items()
    }
    assert entries[1][3:] == [
        str(space["action_mask"].low.min()),
        str(space["action_mask"].high.max()),
    ]
    assert_vector_is_as_stated(space["observations"], rows, letters, most)


@pytest.mark.parametrize(
    "options",
    [{}, {"max_services": 5, "max_nodes": 6}, {"catchment": True}],
    ids=["own", "padded", "catchment"],
)
def test_the_entries_and_features_of_v3_are_as_the_page_says(options: dict[str, Any]) -> None:
    env, letters, _ = spaces("lwmecps-v3", "four-stations", **options)
    entries, *features = tables(section("lwmecps-v3", "Observation space"))
    stated = {
        name: gym.spaces.Box(float(low), float(high), shape(of, letters), np.dtype(kind).type)
        for name, of, kind, low, high in entries
        if name != "catchment" or "catchment" in options
    }
    assert gym.spaces.Dict(stated) == env.observation_space
    names = [tuple(row[0] for row in rows) for rows in features]
    assert names == list(FEATURES.values())


def test_features_of_v3_take_the_values_that_the_page_says() -> None:
    restless = load_scenario("four-stations").document() | {
        "failures": {"node_mtbf_s": 900, "node_mttr_s": 300},
        "randomise": {"node_cpu": [0.8, 2], "rtt": [0.1, 10], "demand": [0.01, 100]},
    }
    seen = played(gym.make("lwmecps-v3", scenario=restless, catchment=True).unwrapped)
    _, *features = tables(section("lwmecps-v3", "Observation space"))
    for name, rows in zip(FEATURES, features, strict=True):
        values = seen[name].reshape(-1, len(rows))
        ends = np.array([[float(end) for end in row[2].split("..")] for row in rows])
        assert (values >= ends[:, 0] - 1e-6).all() and (values <= ends[:, 1] + 1e-6).all()
        assert len(np.unique(values)) > 2


@pytest.mark.parametrize("env_id", ENV_IDS)
def test_info_and_the_terms_of_the_cost_are_those_of_the_page(env_id: str) -> None:
    env: Any = gym.make(env_id, scenario="tiny")
    assert env.reset(seed=0)[1] == {}
    info = env.step(np.int64(0))[4]
    (keys,) = tables(section(env_id, "Info"))
    assert {row[0] for row in keys} == set(info)
    (terms,) = tables(section(env_id, "Rewards"))
    assert [row[0] for row in terms] == [f"cost_{term}" for term in COST_TERMS]


def test_arguments_and_defaults_are_those_of_the_pages() -> None:
    parameters = inspect.signature(Core.__init__).parameters
    defaults = {
        name: parameter.default
        for name, parameter in parameters.items()
        if name not in ("self", "env_id", "batch")
    } | {"scenario": "four-stations", "render_mode": None}
    told = set()
    for env_id in ENV_IDS:
        own = defaults | (V3_DEFAULTS if env_id == "lwmecps-v3" else {})
        (rows,) = tables(section(env_id, "Arguments"))
        stated = {name: ast.literal_eval(default) for name, default, _ in rows}
        assert stated == {name: own[name] for name in stated}
        documented = (CLASSES[env_id].__doc__ or "").split("## Arguments")[1].split("##")[0]
        assert re.findall(r"`(\w+)`", documented) == list(stated)
        told |= set(stated)
    assert told == set(defaults)


def test_the_picture_is_small_and_of_the_size_that_is_told() -> None:
    picture = PAGES / "four-stations.png"
    assert picture.stat().st_size < 100_000
    with Image.open(picture) as image:
        width, height = image.size
    assert f"[{height}, {width}, 3]" in (PAGES / "README.md").read_text(encoding="utf-8")


SNIPPETS = re.findall(
    r"^```python\n(.*?)^```", (PAGES / "README.md").read_text(encoding="utf-8"), re.M | re.S
)


@pytest.mark.parametrize("snippet", SNIPPETS[:2], ids=["one", "many"])
def test_a_snippet_runs_as_written(snippet: str) -> None:
    exec(compile(snippet, "README.md", "exec"), {})


@pytest.mark.ray
@pytest.mark.usefixtures("ray_session")
def test_the_snippet_for_rllib_runs_as_written() -> None:
    (snippet,) = SNIPPETS[2:]
    exec(compile(snippet, "README.md", "exec"), {})
