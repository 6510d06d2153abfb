"""The learning algorithms by name: those that come with the package, and those of users.

A user's algorithm is registered by `register_algorithm` when its module is imported, and found by
an entry point of the group `lwmecps_gym.algorithms` or by the setting `algorithms`. What a request
says never imports anything. No Ray needed.
"""

import logging
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from lwmecps_gym.algorithms.agent_parameters import parameters_of
from lwmecps_gym.algorithms.entries import AlgorithmEntry, RLlibEntry
from lwmecps_gym.algorithms.parameters import (
    DQNParameters,
    Parameters,
    PPOParameters,
    QLearningParameters,
)
from lwmecps_gym.algorithms.table import Discretiser
from lwmecps_gym.envs.environments import ENV_IDS
from lwmecps_gym.platform.errors import InvalidInputError

GROUP = "lwmecps_gym.algorithms"
"""Entry points of algorithms: `name = "package.module:Class"`."""

C = TypeVar("C", bound=type)

logger = logging.getLogger(__name__)


def _built_in(name: str, parameters: type[Parameters], *envs: str, **more: Any) -> RLlibEntry:
    return RLlibEntry(
        name=name,
        parameters=parameters,
        envs=envs,
        description=(parameters.__doc__ or "").splitlines()[0],
        configure=f"lwmecps_gym.algorithms.{name}:configure",
        **more,
    )


ALGORITHMS: dict[str, AlgorithmEntry] = {
    entry.name: entry
    for entry in (
        _built_in("ppo", PPOParameters, "lwmecps-v2", "lwmecps-v3"),
        _built_in("dqn", DQNParameters, "lwmecps-v2", "lwmecps-v3"),
        _built_in(
            "q_learning",
            QLearningParameters,
            "lwmecps-v1",
            fits=lambda scenario, parameters: Discretiser.of(scenario, parameters.demand_bins),
        ),
    )
}
"""Algorithms by their name in the API: those that are registered in this process by now."""


def register_algorithm(
    name: str,
    *,
    envs: Sequence[str] = ("lwmecps-v2", "lwmecps-v3", "lwmecps-v1"),
    parameters: type[BaseModel] | None = None,
    chunk: int = 10,
    base: str = "ppo",
) -> Callable[[C], C]:
    """Register a class as a learning algorithm, by which it then trains, sweeps and serves.

    The class is one as `agents` describes, an RLlib `Algorithm` or `AlgorithmConfig`, or an
    `RLModule`, which `base` trains.

    Args:
        name: `model_type` in the API: letters, digits, `_` and `-`.
        envs: environments that it takes; the first is the default.
        parameters: model of its parameters; unset: the arguments of `__init__`, or what RLlib's
            class and `base` have.
        chunk: episodes that the class's `train` is asked for at a time. Between two chunks progress
            is stored and checkpoints are written.
        base: what trains an `RLModule`: `ppo` or `dqn`.

    Raises:
        InvalidInputError: the name is taken, or the class cannot be such an algorithm.
    """
    if not re.fullmatch(r"[A-Za-z][\w-]{0,99}", name):
        raise InvalidInputError(f"algorithm {name!r}: want letters, digits, _ and - as its name")
    unknown = sorted(set(envs) - set(ENV_IDS))
    if unknown or not envs:
        raise InvalidInputError(f"algorithm {name!r}: envs {unknown} are none of {list(ENV_IDS)}")
    if chunk < 1:
        raise InvalidInputError(f"algorithm {name!r}: chunk {chunk} is below 1")

    def register(made: C) -> C:
        if not isinstance(made, type):
            raise InvalidInputError(f"algorithm {name!r}: {made!r} is not a class")
        common: dict[str, Any] = {
            "name": name,
            "envs": tuple(envs),
            "description": (made.__doc__ or name).strip().splitlines()[0],
            "made_by": f"{made.__module__}:{made.__qualname__}",
        }
        entry: AlgorithmEntry
        if any(each.__module__.startswith("ray.rllib.") for each in made.__mro__):
            from lwmecps_gym.algorithms.own_modules import rllib_entry

            entry = rllib_entry(made, ALGORITHMS.get(base), parameters, common)
        else:
            from lwmecps_gym.algorithms.agents import METHODS, AgentEntry

            missing = [each for each in METHODS if not callable(getattr(made, each, None))]
            if missing:
                raise InvalidInputError(
                    f"algorithm {name!r}: class {made.__name__} has no method {', '.join(missing)}"
                )
            model = parameters or parameters_of(made)
            entry = AgentEntry(**common, parameters=model, agent=made, chunk=chunk)
        taken = ALGORITHMS.get(name)
        if taken is not None and taken.made_by != entry.made_by:
            raise InvalidInputError(f"algorithm {name!r}: the name is taken by {taken.made_by}")
        ALGORITHMS[name] = entry
        return made

    return register


def entry_of(model_type: str) -> AlgorithmEntry:
    """Look an algorithm up, among the entry points too.

    Raises:
        InvalidInputError: there is none of that name, or its entry point cannot be loaded.
    """
    if model_type not in ALGORITHMS:
        for point in entry_points(group=GROUP, name=model_type):
            _load(point)
    if model_type not in ALGORITHMS:
        raise InvalidInputError(
            f"model_type: {model_type!r} is none of the learning algorithms {sorted(ALGORITHMS)}; "
            "one of your own is found by its entry point, or by LWMECPS_ALGORITHMS"
        )
    return ALGORITHMS[model_type]


def all_entries() -> list[AlgorithmEntry]:
    """All algorithms; one whose entry point cannot be loaded is left out with a warning."""
    for point in entry_points(group=GROUP):
        if point.name not in ALGORITHMS:
            try:
                _load(point)
            except InvalidInputError as error:
                logger.warning("%s", error)
    return list(ALGORITHMS.values())


def import_algorithms(modules: Iterable[str]) -> None:
    """Import modules and `.py` files that register algorithms; again is no harm.

    Raises:
        InvalidInputError: one cannot be imported.
    """
    for module in modules:
        try:
            if module.endswith(".py"):
                _import_file(Path(module))
            else:
                import_module(module)
        except Exception as error:
            raise InvalidInputError(
                f"LWMECPS_ALGORITHMS: {module} cannot be imported: {type(error).__name__}: {error}"
            ) from error


def _load(point: EntryPoint) -> None:
    try:
        made = point.load()
        if point.name not in ALGORITHMS:
            register_algorithm(point.name)(made)
    except Exception as error:
        raise InvalidInputError(
            f"algorithm {point.name!r}: its entry point {point.value} cannot be loaded: "
            f"{type(error).__name__}: {error}"
        ) from error


def _import_file(path: Path) -> None:
    found = find_spec(path.stem)
    if found is not None and found.origin != str(path):
        raise InvalidInputError(
            f"there is another module {path.stem}, {found.origin}; rename the file"
        )
    if path.stem in sys.modules:
        return
    spec = spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[path.stem]
        raise
