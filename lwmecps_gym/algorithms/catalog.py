"""Which algorithms there are, what they take, and whether a training request makes sense."""

from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from lwmecps_gym.algorithms.heuristics import HEURISTICS
from lwmecps_gym.algorithms.parameters import (
    DQNParameters,
    Parameters,
    PPOParameters,
    QLearningParameters,
)
from lwmecps_gym.algorithms.table import Discretiser
from lwmecps_gym.envs.encoding import make_encoding
from lwmecps_gym.envs.scenario import Scenario, load_scenario
from lwmecps_gym.envs.workload_config import describe_errors
from lwmecps_gym.platform.errors import InvalidInputError
from lwmecps_gym.platform.models import TrainingRequest, TrainingTask, new_id


@dataclass(frozen=True)
class AlgorithmEntry:
    """A learning algorithm: its name in the API, its parameters, and where it can learn."""

    name: str
    parameters: type[Parameters]
    envs: tuple[str, ...]
    """Environments that it takes; the first is the default."""


ALGORITHMS = {
    entry.name: entry
    for entry in (
        AlgorithmEntry("ppo", PPOParameters, ("lwmecps-v2", "lwmecps-v3")),
        AlgorithmEntry("dqn", DQNParameters, ("lwmecps-v2", "lwmecps-v3")),
        AlgorithmEntry("q_learning", QLearningParameters, ("lwmecps-v1",)),
    )
}


def describe() -> list[dict[str, Any]]:
    """Algorithms with the JSON schemas of their parameters, and the heuristics by name."""
    learning = [
        {
            "model_type": entry.name,
            "learns": True,
            "description": (entry.parameters.__doc__ or "").splitlines()[0],
            "envs": list(entry.envs),
            "parameters": entry.parameters.model_json_schema(),
        }
        for entry in ALGORITHMS.values()
    ]
    rules = [
        {
            "model_type": name,
            "learns": False,
            "description": (policy.__doc__ or "").splitlines()[0],
        }
        for name, policy in HEURISTICS.items()
    ]
    return learning + rules


def entry_of(model_type: str) -> AlgorithmEntry:
    """Look an algorithm up.

    Raises:
        InvalidInputError: there is none of that name.
    """
    if model_type not in ALGORITHMS:
        raise InvalidInputError(
            f"model_type: {model_type!r} is none of the learning algorithms {sorted(ALGORITHMS)}"
        )
    return ALGORITHMS[model_type]


def validate_parameters(model_type: str, parameters: dict[str, Any]) -> Parameters:
    """Complete and check an algorithm's parameters.

    Raises:
        InvalidInputError: one is unknown or wrong; the message names it.
    """
    try:
        return entry_of(model_type).parameters.model_validate(parameters)
    except ValidationError as error:
        raise InvalidInputError(f"parameters: {describe_errors(error)}") from error


def prepare(request: TrainingRequest) -> TrainingTask:
    """Turn a request into a complete task, without side effects.

    Raises:
        InvalidInputError: a field is wrong; the message names it.
        NotFoundError: the scenario has no such name.
    """
    entry = entry_of(request.model_type)
    parameters = validate_parameters(request.model_type, request.parameters)
    env = request.env or entry.envs[0]
    if env not in entry.envs:
        raise InvalidInputError(
            f"env: {request.model_type} does not learn on {env!r}; choose of {list(entry.envs)}"
        )
    scenario = load_scenario(request.scenario)
    _check_fits(env, scenario, parameters)
    return TrainingTask(
        id=new_id(),
        name=request.name,
        model_type=request.model_type,
        parameters=parameters.model_dump(mode="json"),
        total_episodes=request.total_episodes,
        scenario=scenario.document(),
        env=env,
        seed=request.seed,
    )


def _check_fits(env: str, scenario: Scenario, parameters: Parameters) -> None:
    if env == "lwmecps-v1":
        scenario = scenario.only(scenario.services[0].name)
    make_encoding(env, scenario)
    if isinstance(parameters, QLearningParameters):
        Discretiser.of(scenario, parameters.demand_bins)
