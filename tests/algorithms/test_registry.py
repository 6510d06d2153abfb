"""An algorithm of one's own is registered, found and described, or refused in words."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
from pydantic import Field

from lwmecps_gym import register_algorithm
from lwmecps_gym.algorithms.catalog import describe, prepare
from lwmecps_gym.algorithms.registry import import_algorithms
from lwmecps_gym.platform.errors import InvalidInputError
from lwmecps_gym.platform.models import TrainingRequest

pytestmark = pytest.mark.usefixtures("own_algorithms")

MODULE = """
from lwmecps_gym import register_algorithm

@register_algorithm("{name}")
class Idle:
    '''Does nothing.'''
    def __init__(self, env): pass
    def train(self, episodes): pass
    def choose_action(self, observation): return 0
    def save_model(self, path): pass
    def load_model(self, path): pass
"""


class Agent:
    """Has all that is asked for.

    And more to say.
    """

    def __init__(
        self,
        env: Any,
        learning_rate: float = 0.1,
        discount_factor: float = 0.9,
        layers: Annotated[int, Field(ge=1, le=9)] = 2,
        widths: Sequence[int] = (8, 8),
        slope=0.5,
        label: str | None = None,
        wandb_run_id: str | None = None,
        **kwargs: Any,
    ) -> None: ...

    def train(self, episodes: int) -> None: ...

    def choose_action(self, observation: Any) -> int:
        return 0

    def save_model(self, path: Path) -> None: ...

    def load_model(self, path: Path) -> None: ...


def request(model_type: str = "agent", **parameters: Any) -> TrainingRequest:
    return TrainingRequest(
        name="x", model_type=model_type, parameters=parameters, total_episodes=1, scenario="tiny"
    )


@pytest.fixture(scope="module", autouse=True)
def agent(own_algorithms: None) -> None:
    register_algorithm("agent")(Agent)


def test_the_arguments_of_init_are_the_parameters_with_their_defaults() -> None:
    task = prepare(request(label="edge", slope=1))
    assert task.env == "lwmecps-v2"
    assert task.parameters == {
        "learning_rate": 0.1, "discount_factor": 0.9, "layers": 2, "widths": [8, 8],
        "slope": 1.0, "label": "edge",
    }  # fmt: skip


@pytest.mark.parametrize(
    "parameters",
    [
        {"learning_rate": 0},
        {"learning_rate": 2},
        {"discount_factor": "most"},
        {"discount_factor": 1.5},
        {"layers": 0},
        {"layers": 2.5},
        {"widths": 8},
        {"slope": "steep"},
        {"slope": float("nan")},
        {"label": 3},
        {"lerning_rate": 0.1},
        {"env": "lwmecps-v1"},
        {"wandb_run_id": "mine"},
        {"kwargs": {}},
    ],
    ids=str,
)
def test_a_parameter_that_is_unknown_or_wrong_is_refused_by_name(
    parameters: dict[str, Any],
) -> None:
    (name,) = parameters
    with pytest.raises(InvalidInputError, match=f"^parameters: {name}"):
        prepare(request(**parameters))


def test_an_argument_without_a_default_must_be_given() -> None:
    class Needs(Agent):
        def __init__(self, env: Any, learning_rate: float) -> None: ...

    register_algorithm("needs")(Needs)
    with pytest.raises(InvalidInputError, match="^parameters: learning_rate: Field required"):
        prepare(request("needs"))
    assert prepare(request("needs", learning_rate=0.2)).parameters == {"learning_rate": 0.2}


def test_the_catalog_describes_it_with_the_schema_of_its_parameters() -> None:
    (entry,) = (each for each in describe() if each["model_type"] == "agent")
    assert entry["description"] == "Has all that is asked for."
    assert entry["envs"] == ["lwmecps-v2", "lwmecps-v3", "lwmecps-v1"]
    assert entry["parameters"]["properties"]["layers"]["maximum"] == 9


def agent_with(init: Callable[..., None]) -> type:
    return type("Odd", (Agent,), {"__init__": init})


def no_env(self: Any) -> None: ...


def unnamed(self: Any, env: Any, *layers: int) -> None: ...


def no_json(self: Any, env: Any, table: np.random.Generator) -> None: ...


def unresolved(self: Any, env: Any, layers: "Layers") -> None: ...  # noqa: F821


REFUSED: dict[str, tuple[dict[str, Any], Any, str]] = {
    "a taken name": ({"name": "ppo"}, Agent, "'ppo': the name is taken by lwmecps_gym"),
    "no name": ({"name": "my agent"}, Agent, "'my agent': want letters"),
    "an unknown environment": ({"envs": ["CartPole-v1"]}, Agent, "envs .'CartPole-v1'. are none"),
    "no environment": ({"envs": []}, Agent, "envs"),
    "no episodes at a time": ({"chunk": 0}, Agent, "chunk 0"),
    "no class": ({}, agent_with, "is not a class"),
    "no methods": ({}, Path, "has no method train, choose_action, save_model, load_model"),
    "no env": ({}, agent_with(no_env), "takes no argument env"),
    "an unnamed argument": ({}, agent_with(unnamed), "layers.* cannot be given by name"),
    "an argument that is not JSON": ({}, agent_with(no_json), "cannot be given as JSON"),
    "an unknown annotation": ({}, agent_with(unresolved), "annotation cannot be resolved.*Layers"),
}


@pytest.mark.parametrize(("options", "made", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_an_algorithm_is_refused_when_it_is_registered(
    options: dict[str, Any], made: Any, reason: str
) -> None:
    with pytest.raises(InvalidInputError, match=reason):
        register_algorithm(**{"name": "odd", **options})(made)


def test_a_class_that_is_made_anew_takes_the_place_of_the_earlier_one() -> None:
    again = type("Agent", (Agent,), {"__module__": Agent.__module__, "__doc__": "Anew."})
    again.__qualname__ = Agent.__qualname__
    register_algorithm("agent")(again)
    assert [e["description"] for e in describe() if e["model_type"] == "agent"] == ["Anew."]
    register_algorithm("agent")(Agent)


def test_modules_and_files_are_imported_by_name_and_again_is_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "agents_by_name.py").write_text(MODULE.format(name="by_name"))
    (tmp_path / "agents_by_file.py").write_text(MODULE.format(name="by_file"))
    monkeypatch.syspath_prepend(str(tmp_path / "lib"))
    for _ in range(2):
        import_algorithms(["agents_by_name", str(tmp_path / "agents_by_file.py")])
    assert [prepare(request(name)).model_type for name in ("by_name", "by_file")]


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("no_such_module", None, "no_such_module cannot be imported: ModuleNotFoundError"),
        ("missing.py", None, "missing.py cannot be imported: FileNotFoundError"),
        ("broken_agents.py", "1 / 0", "broken_agents.py cannot be imported: ZeroDivisionError"),
        ("json.py", "", "there is another module json, .*rename the file"),
        ("late_agents.py", MODULE.format(name="dqn"), "'dqn': the name is taken"),
    ],
)
def test_a_module_that_cannot_be_imported_is_refused_with_the_reason(
    name: str, text: str | None, reason: str, tmp_path: Path
) -> None:
    file = tmp_path / name
    if text is not None:
        file.write_text(text)
    with pytest.raises(InvalidInputError, match=f"^LWMECPS_ALGORITHMS: .*{reason}"):
        import_algorithms([str(file) if name.endswith(".py") else name])
    assert file.stem == "json" or file.stem not in sys.modules


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package with entry points: of a class that registers itself, of one that does not, and of
    one that is not there.
    """
    (tmp_path / "edge_agents.py").write_text(
        MODULE.format(name="from_a_package") + "\nclass Plain(Idle):\n    '''Plain.'''\n"
    )
    about = tmp_path / "edge_agents-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: edge-agents\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(
        "[lwmecps_gym.algorithms]\n"
        "from_a_package = edge_agents:Idle\n"
        "plain = edge_agents:Plain\n"
        "gone = edge_agents:Gone\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))


def test_an_installed_packages_entry_point_is_found_by_its_name(installed: None) -> None:
    assert prepare(request("plain")).model_type == "plain"
    assert prepare(request("from_a_package")).model_type == "from_a_package"


def test_an_entry_point_that_cannot_be_loaded_hides_no_other_algorithm(
    installed: None, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(InvalidInputError, match="'gone': its entry point edge_agents:Gone cannot"):
        prepare(request("gone"))
    named = {entry["model_type"] for entry in describe()}
    assert {"ppo", "plain", "from_a_package"} <= named and "gone" not in named
    assert "edge_agents:Gone" in caplog.text


def test_a_name_that_is_none_is_refused_with_the_ways_to_register_one() -> None:
    with pytest.raises(InvalidInputError, match="'mine' is none.*entry point.*LWMECPS_ALGORITHMS"):
        prepare(request("mine"))
