"""Users' RLlib classes as algorithms: an `Algorithm`, its configuration, or an `RLModule`.

A module is stored as its state and made again from its class to serve; RLlib is imported for that,
and no Ray cluster is needed.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, create_model
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.dqn.default_dqn_rl_module import QF_PREDS
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis import QNetAPI
from ray.rllib.core.rl_module.rl_module import RLModule, RLModuleSpec

from lwmecps_gym.algorithms.agents import scores_of
from lwmecps_gym.algorithms.entries import AlgorithmEntry, Plan, RLlibEntry, StoredModel
from lwmecps_gym.algorithms.networks import flat_size, to_tensors
from lwmecps_gym.algorithms.parameters import Fraction, Rate
from lwmecps_gym.algorithms.ray_session import hush_ray
from lwmecps_gym.algorithms.rl_modules import MaskedActorCritic
from lwmecps_gym.platform.errors import InvalidInputError

SHARED = ("learning_rate", "discount_factor", "num_envs")
"""Parameters that every RLlib algorithm has here."""


def rllib_entry(
    made: type,
    base: AlgorithmEntry | None,
    parameters: type[BaseModel] | None,
    common: Mapping[str, Any],
) -> RLlibEntry:
    """Entry of an RLlib class.

    Args:
        made: the class.
        base: what trains it, if it is an RLModule.
        parameters: model of its parameters; unset: those of `base`, or `SHARED`.
        common: fields of the entry that do not depend on what the class is.

    Raises:
        InvalidInputError: the class is none that can be trained, or a parameter is missing.
    """
    where = f"algorithm {common['name']!r}"
    if issubclass(made, RLModule):
        if not isinstance(base, RLlibEntry) or base.name not in ("ppo", "dqn"):
            raise InvalidInputError(f"{where}: base must be ppo or dqn")
        model = parameters or base.parameters
        configure: Any = partial(_with_module, made, base)
    elif issubclass(made, Algorithm | AlgorithmConfig):
        model = parameters or _parameters(made)
        configure = partial(_by_algorithm, made)
    else:
        raise InvalidInputError(
            f"{where}: {made.__name__} is neither an Algorithm, an AlgorithmConfig nor an RLModule"
        )
    missing = sorted(set(SHARED) - set(model.model_fields))
    if missing:
        raise InvalidInputError(f"{where}: its parameters need {', '.join(missing)}")
    return RLlibEntry(**common, parameters=model, configure=configure)


def _with_module(made: type[RLModule], base: RLlibEntry, plan: Plan[Any]) -> AlgorithmConfig:
    """Configuration of `base` with another module, which is told all parameters."""
    config = base.config(plan)
    known = config.rl_module_spec.model_config | plan.parameters.model_dump(mode="json")
    return config.rl_module(rl_module_spec=RLModuleSpec(module_class=made, model_config=known))


def _by_algorithm(made: type[Any], plan: Plan[Any]) -> AlgorithmConfig:
    """Configuration of an algorithm of the user's.

    Parameters that the configuration has by that name are set in it; the module is told all.
    """
    config = _default(made)
    parameters = plan.parameters.model_dump(mode="json")
    config.training(lr=parameters["learning_rate"], gamma=parameters["discount_factor"])
    for name in parameters.keys() - set(SHARED):
        if hasattr(config, name):
            config.training(**{name: parameters[name]})
    default = type(config).get_default_rl_module_spec.__module__
    if config._rl_module_spec is None and default.startswith("ray.rllib."):
        told = {"hidden": [128, 128], **parameters}
        config.rl_module(
            rl_module_spec=RLModuleSpec(module_class=MaskedActorCritic, model_config=told)
        )
    return config


def _default(made: type[Any]) -> AlgorithmConfig:
    if issubclass(made, AlgorithmConfig):
        return made()
    config = made.get_default_config()
    config.algo_class = made
    return config


def _parameters(made: type[Any]) -> type[BaseModel]:
    """Model of `SHARED`, with the defaults of the class."""
    config = _default(made)
    return create_model(
        f"{made.__name__}Parameters",
        __config__=ConfigDict(extra="forbid", frozen=True),
        learning_rate=(Rate, config.lr),
        discount_factor=(Fraction, config.gamma),
        num_envs=(int, Field(default=16, ge=1, le=4096, description="clusters side by side")),
    )


def export_module(module: RLModule, made_by: str) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """State of a user's module without what only training needs, and its manifest entries."""
    sizes = flat_size(module.observation_space), int(module.action_space.n)
    return module.get_state(inference_only=True), {"class": made_by, "sizes": sizes}


class ModuleScorer:
    """A user's RLModule as a `policy.Scorer`.

    Its action values score the actions, or the logits of its inference; where it gives neither, the
    action that it chooses.
    """

    def __init__(self, name: str, module: RLModule, inputs: int, outputs: int) -> None:
        self.sizes = inputs, outputs
        self._name, self._module = name, module.eval()

    @classmethod
    def of(cls, entry: RLlibEntry, stored: StoredModel) -> "ModuleScorer":
        """Make the module of a stored model.

        Raises:
            InvalidInputError: the class makes another module than the one stored.
        """
        parameters = entry.parameters.model_validate(stored.manifest["parameters"])
        config = entry.config(Plan(parameters, 1, 1, stored.scenario))
        spaces = stored.encoding.observation_space, stored.encoding.action_space
        hush_ray()
        spec = config.get_rl_module_spec(spaces={DEFAULT_MODULE_ID: spaces}, inference_only=True)
        module = spec.build()
        fresh = module.get_state(inference_only=True)
        wanted = {name: value.shape for name, value in fresh.items()}
        found = {name: value.shape for name, value in stored.tensors.items()}
        if found != wanted:
            other = sorted(name for name, _ in found.items() ^ wanted.items())
            raise InvalidInputError(
                f"model {stored.manifest['name']}: {entry.made_by} has changed since it was "
                f"trained: {', '.join(dict.fromkeys(other))}; train it again"
            )
        module.set_state(dict(stored.tensors))
        return cls(stored.manifest["name"], module, *stored.manifest["sizes"])

    def scores(self, observations: Any) -> NDArray[np.float64]:
        """See `Scorer.scores`."""
        batch = {Columns.OBS: to_tensors(observations)}
        with torch.inference_mode():
            if isinstance(self._module, QNetAPI):
                return _float(self._module.compute_q_values(batch)[QF_PREDS])
            out = self._module.forward_inference(batch)
        if Columns.ACTION_DIST_INPUTS in out:
            return _float(out[Columns.ACTION_DIST_INPUTS])
        actions = np.asarray(out[Columns.ACTIONS])
        return scores_of(actions, observations, self.sizes[1], f"model {self._name}")


def _float(tensor: Any) -> NDArray[np.float64]:
    return np.asarray(tensor.numpy(), dtype=np.float64)
