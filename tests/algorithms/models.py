"""Models that were not trained: fresh networks and tables, with the manifests of trained ones."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lwmecps_gym.algorithms.networks import NetworkConfig, ScoreNetwork, flat_size
from lwmecps_gym.algorithms.policy import LearnedPolicy, NetworkScorer, policy_from
from lwmecps_gym.algorithms.table import Discretiser
from lwmecps_gym.envs.encoding import make_encoding
from lwmecps_gym.envs.scenario import Scenario, load_scenario

Model = tuple[dict[str, Any], dict[str, NDArray[Any]]]


def network_model(
    env: str = "lwmecps-v2",
    scenario: Scenario | str = "tiny",
    *,
    dueling: bool = False,
    temperature: float = 0.0,
    **options: Any,
) -> Model:
    """Manifest and weights of a fresh network; its scores differ widely between actions."""
    place = load_scenario(scenario) if isinstance(scenario, str) else scenario
    encoding = make_encoding(env, place, **options)
    config = NetworkConfig(
        inputs=flat_size(encoding.observation_space),
        outputs=int(encoding.action_space.n),
        hidden=(16,),
        dueling=dueling,
    )
    torch.manual_seed(7)
    weights = {name: 5 * v.numpy() for name, v in ScoreNetwork(config).state_dict().items()}
    return {
        "name": "fresh",
        "env": {"id": env, "options": options},
        "scenario": place.document(),
        "network": config.model_dump(mode="json"),
        "temperature": temperature,
    }, weights


def table_model(scenario: str = "tiny", bins: int = 3) -> Model:
    """Manifest and action values, at random, of a table on `lwmecps-v1`."""
    place = load_scenario(scenario)
    place = place.only(place.services[0].name)
    discretiser = Discretiser.of(place, bins)
    actions = int(make_encoding("lwmecps-v1", place).action_space.n)
    values = np.random.default_rng(0).normal(size=(discretiser.states, actions))
    return {
        "name": "fresh",
        "env": {"id": "lwmecps-v1", "options": {}, "service": place.services[0].name},
        "scenario": place.document(),
        "table": discretiser.model_dump(mode="json"),
    }, {"q": values.astype(np.float32)}


def policy_of(model: Model, seed: int = 0) -> LearnedPolicy:
    """The policy that a manifest and weights make."""
    return policy_from(*model, seed=seed)


def scores_of(model: Model, observation: Any) -> NDArray[np.float64]:
    """Scores [B, A] of a network model."""
    manifest, tensors = model
    return NetworkScorer(NetworkConfig.model_validate(manifest["network"]), tensors).scores(
        observation
    )
