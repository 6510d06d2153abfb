"""Models that come with the package, and the recipes that they are made by.

    <name>/recipe.yaml          how to train it, what it is tested on, and whom it has to beat
    <name>/model.safetensors    the weights
    <name>/manifest.json        scenario, parameters, seed, versions, and what it was promoted on

`lwmecps pretrain NAME` makes one anew, `pretrained:NAME` plays it.
"""

import hashlib
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lwmecps_gym.algorithms.policy import LearnedPolicy, policy_from, read_model
from lwmecps_gym.envs.scenario import Scenario
from lwmecps_gym.envs.workload_config import describe_errors
from lwmecps_gym.platform.artifacts import MANIFEST, WEIGHTS
from lwmecps_gym.platform.errors import InvalidInputError, NotFoundError
from lwmecps_gym.platform.model_archive import pack

PREFIX = "pretrained"
"""`pretrained:NAME` is a policy's name."""
RECIPE = "recipe.yaml"


class Recipe(BaseModel):
    """How a model is made, and what it has to show before it is shipped."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    description: str
    training: dict[str, Any] = Field(description="fields of a training request, without a name")
    temperature: Annotated[float, Field(ge=0, le=1)] | None = Field(
        default=None, description="at which it chooses; unset: as every model of its algorithm"
    )
    tests: Annotated[tuple[str | dict[str, Any], ...], Field(min_length=1)] = Field(
        description="scenarios on whose days it is tested, other days than those of the training"
    )
    days: Annotated[int, Field(ge=1)] = Field(default=3, description="played of each test")
    steps: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="of such a day; unset: as its scenario says"
    )
    better_than: tuple[str, ...] = Field(
        default=("static_best",),
        description="policies that must cost more, in the mean over the tests",
    )


def pretrained_names() -> list[str]:
    """Names of all recipes, whether their models are there or not."""
    return sorted(item.parent.name for item in _home().glob(f"*/{RECIPE}"))


def load_recipe(name_or_path: str) -> Recipe:
    """Read a recipe by the name of its model, or from a YAML file.

    Raises:
        NotFoundError: there is neither.
        InvalidInputError: it is wrong; the message names the field.
    """
    path = _home() / name_or_path / RECIPE
    if name_or_path not in pretrained_names():
        path = Path(name_or_path)
    if not path.is_file():
        raise NotFoundError(
            f"no recipe {name_or_path!r}: neither a file nor one of {pretrained_names()}"
        )
    try:
        return Recipe.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, yaml.YAMLError) as error:
        said = describe_errors(error) if isinstance(error, ValidationError) else str(error)
        raise InvalidInputError(f"{path}: not a recipe: {' '.join(said.split())}") from error


def pretrained_folder(name: str) -> Path:
    """The folder of a model.

    Raises:
        NotFoundError: there is none of that name.
    """
    folder = _home() / name
    if name not in pretrained_names() or not (folder / MANIFEST).is_file():
        there = [each for each in pretrained_names() if (_home() / each / MANIFEST).is_file()]
        raise NotFoundError(f"no pretrained model {name!r}; there are {there}")
    return folder


def pretrained_digest(name: str) -> str:
    """The hash that stands for a model, of its manifest; NotFoundError: there is none."""
    return hashlib.sha256((pretrained_folder(name) / MANIFEST).read_bytes()).hexdigest()


def pack_pretrained(name: str) -> bytes:
    """A model as one file, to be uploaded to a platform; NotFoundError: there is none."""
    folder = pretrained_folder(name)
    return pack({file: (folder / file).read_bytes() for file in (MANIFEST, WEIGHTS)})


def load_pretrained(name: str, scenario: Scenario, seed: int = 0) -> LearnedPolicy:
    """Load a model to play a scenario.

    Raises:
        NotFoundError: there is none of that name.
        InvalidInputError: it does not fit the scenario.
    """
    manifest, tensors = read_model(pretrained_folder(name))
    policy = policy_from(manifest, tensors, scenario, seed)
    policy.name = f"{PREFIX}:{name}"
    return policy


def _home() -> Path:
    """Where the models are; the package is installed as files, as the web pages are."""
    return Path(str(resources.files(__package__)))
