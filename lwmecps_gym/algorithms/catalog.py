"""Which algorithms there are, what they take, and whether a training request makes sense."""

from typing import Any

from pydantic import BaseModel, ValidationError

from lwmecps_gym.algorithms.heuristics import HEURISTICS
from lwmecps_gym.algorithms.parameters import env_options
from lwmecps_gym.algorithms.registry import ALGORITHMS, all_entries, entry_of
from lwmecps_gym.envs.encoding import make_encoding
from lwmecps_gym.envs.scenario import load_scenario
from lwmecps_gym.envs.workload_config import describe_errors
from lwmecps_gym.platform.errors import InvalidInputError
from lwmecps_gym.platform.models import TrainingRequest, TrainingTask, new_id

__all__ = ["ALGORITHMS", "describe", "entry_of", "prepare", "validate_parameters"]


def describe() -> list[dict[str, Any]]:
    """Algorithms and heuristics with the JSON schemas of their parameters."""
    learning = [
        {
            "model_type": entry.name,
            "learns": True,
            "description": entry.description,
            "envs": list(entry.envs),
            "parameters": entry.parameters.model_json_schema(),
        }
        for entry in all_entries()
    ]
    rules = [
        {
            "model_type": name,
            "learns": False,
            "description": (policy.__doc__ or "").splitlines()[0],
            "parameters": policy.knobs_type.model_json_schema(),
        }
        for name, policy in HEURISTICS.items()
    ]
    return learning + rules


def validate_parameters(model_type: str, parameters: dict[str, Any]) -> BaseModel:
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
    played = scenario.only(scenario.services[0].name) if env == "lwmecps-v1" else scenario
    make_encoding(env, played, **env_options(env, scenario, parameters))
    entry.fits(played, parameters)
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
