"""Policies at work: state in, action out; no Ray needed.

Heuristics and learned policies have one interface, `Policy.act`. A learned policy is loaded from an
artifact folder (safetensors and a JSON manifest) by `load_policy`.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from lwmecps_gym.algorithms.any_size import FEATURES, AnySizeConfig, AnySizeNetwork
from lwmecps_gym.algorithms.entries import AlgorithmEntry, StoredModel
from lwmecps_gym.algorithms.networks import (
    MASK,
    NetworkConfig,
    ScoreNetwork,
    flat_size,
    to_tensors,
)
from lwmecps_gym.algorithms.registry import entry_of
from lwmecps_gym.algorithms.table import Table
from lwmecps_gym.envs.actions import ActionTable
from lwmecps_gym.envs.cluster import Bools, ClusterParams, ClusterState, Ints
from lwmecps_gym.envs.encoding import Encoding, make_encoding
from lwmecps_gym.envs.scenario import Scenario, load_scenario
from lwmecps_gym.platform.artifacts import MANIFEST, WEIGHTS
from lwmecps_gym.platform.errors import InvalidInputError, NotFoundError

Arrays = Mapping[str, NDArray[Any]]


class Policy(Protocol):
    """Anything that decides.

    Attributes:
        name: what it is called in tables.
        actions: numbers of the actions that `act` returns.
    """

    name: str
    actions: ActionTable

    def reset(self, batch: int) -> None:
        """Forget: B new episodes begin."""
        ...

    def act(self, state: ClusterState) -> Ints:
        """Choose a legal action for each cluster, [B]."""
        ...


class Scorer(Protocol):
    """What a learned policy asks: scores [B, A] of encoded observations."""

    @property
    def sizes(self) -> tuple[int, int] | None:
        """Numbers in an observation without its mask, and actions A; None: any."""
        ...

    def scores(self, observations: Any) -> NDArray[np.float64]:
        """Scores of all actions; the best legal one is taken."""
        ...


class NetworkScorer:
    """A network behind arrays."""

    def __init__(self, config: NetworkConfig | AnySizeConfig, tensors: Arrays) -> None:
        # No memory for sizes that a manifest only claims: the network takes the tensors themselves.
        with torch.device("meta"):
            self.network: ScoreNetwork | AnySizeNetwork = (
                ScoreNetwork(config)
                if isinstance(config, NetworkConfig)
                else AnySizeNetwork(config)
            )
        weights = {name: torch.from_numpy(values).float() for name, values in tensors.items()}
        self.network.load_state_dict(weights, assign=True)
        self.network.eval()

    @classmethod
    def of(cls, document: Mapping[str, Any], tensors: Arrays) -> "NetworkScorer":
        """Make the network of a manifest.

        Raises:
            InvalidInputError: it was trained on other features than the environment shows now.
        """
        if document["kind"] != "any-size":
            return cls(NetworkConfig.model_validate(document), tensors)
        config = AnySizeConfig.model_validate(document)
        if config.features != FEATURES:
            raise InvalidInputError(
                f"the network sees {config.features}, lwmecps-v3 shows {FEATURES}; train it again"
            )
        return cls(config, tensors)

    @property
    def sizes(self) -> tuple[int, int] | None:
        """See `Scorer.sizes`."""
        config = self.network.config
        return (config.inputs, config.outputs) if isinstance(config, NetworkConfig) else None

    def scores(self, observations: Any) -> NDArray[np.float64]:
        """See `Scorer.scores`."""
        with torch.inference_mode():
            return np.asarray(self.network(to_tensors(observations)).numpy(), dtype=np.float64)


class LearnedPolicy:
    """A trained model: an encoding, and what scores the actions.

    Args:
        name: what it is called in tables.
        scenario: what it plays.
        encoding: what it sees.
        scorer: scores actions.
        temperature: 0 takes the best action. A policy that was trained to choose at random by its
            scores (PPO) goes on doing so, at a lower temperature: early in training its most likely
            action is too often to wait.
        seed: of the choice.
    """

    def __init__(
        self,
        name: str,
        scenario: Scenario,
        encoding: Encoding,
        scorer: Scorer,
        *,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> None:
        self.name = name
        self.scenario = scenario
        self.encoding = encoding
        self.actions = encoding.actions
        self._scorer = scorer
        self._temperature = temperature
        self._seed = seed
        self.reset(1)

    def reset(self, batch: int) -> None:
        """See `Policy.reset`; what is drawn at random begins anew."""
        self._rng = np.random.default_rng(self._seed)

    def act(self, state: ClusterState) -> Ints:
        """See `Policy.act`."""
        legal = self.actions.legal_in(state)
        observation = self.encoding.encode(state, legal)
        if isinstance(observation, dict):
            return self.encoding.to_model(self.act_on(observation))
        return self._choose(np.where(legal, self._scorer.scores(observation), -np.inf))

    def act_on(self, observation: Any) -> Ints:
        """Choose actions for observations as the environment gives them, each [B, ...]."""
        legal = (
            observation[MASK] != 0 if isinstance(observation, dict) else self._legal(observation)
        )
        return self._choose(np.where(legal, self._scorer.scores(observation), -np.inf))

    def _legal(self, observation: NDArray[np.float32]) -> Bools:
        """Legal actions [B, A] by observations [B, D] of `lwmecps-v1`, which have no mask."""
        nodes = len(self.scenario.nodes)
        replicas = observation[:, :nodes] + observation[:, nodes : 2 * nodes]
        node_up = observation[:, -2 - nodes : -2] > 0.5
        params = ClusterParams.of(self.scenario, len(observation))
        return self.actions.legal(params, np.rint(replicas).astype(np.int64)[:, None], node_up)

    def _choose(self, scores: NDArray[np.float64]) -> Ints:
        if self._temperature > 0:  # logits plus Gumbel noise: the largest is drawn by softmax
            scores = scores + self._temperature * self._rng.gumbel(size=scores.shape)
        return np.argmax(scores, axis=1)


def load_policy(directory: Path) -> LearnedPolicy:
    """Load a model version from its artifact folder.

    Raises:
        InvalidInputError: the folder does not hold a model that this version understands.
    """
    try:
        manifest, tensors = read_model(directory)
        return policy_from(manifest, tensors, folder=directory)
    except (
        OSError, KeyError, TypeError, ValueError, RuntimeError, SafetensorError, NotFoundError,
    ) as error:  # fmt: skip
        raise InvalidInputError(
            f"{directory}: not a model that can be loaded: {type(error).__name__}: {error}"
        ) from error


def read_model(directory: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Manifest and weights of an artifact folder; a user's own files are not among them."""
    manifest = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))
    own = "class" in manifest and not (directory / WEIGHTS).exists()
    return manifest, {} if own else load_file(directory / WEIGHTS)


def policy_from(
    manifest: Mapping[str, Any],
    tensors: Arrays,
    scenario: Scenario | None = None,
    seed: int = 0,
    folder: Path | None = None,
) -> LearnedPolicy:
    """Build a learned policy from its manifest and weights.

    Args:
        manifest: as `training.make_manifest` writes it.
        tensors: the weights.
        scenario: play on this one instead of the one it was trained on.
        seed: of what is drawn at random.
        folder: where the model's files are; a user's class reads its own.
    """
    env = manifest["env"]
    trained_on = load_scenario(manifest["scenario"])
    place = scenario or trained_on
    if env["id"] == "lwmecps-v1":
        place = place.only(env["service"])
    encoding = make_encoding(env["id"], place, **env["options"])
    scorer: Scorer
    if "class" in manifest:
        _check_sizes(manifest["name"], tuple(manifest["sizes"]), encoding, place)
        stored = StoredModel(manifest, tensors, folder, place, encoding, seed)
        scorer = _own_entry(manifest).scorer(stored)
    elif "table" in manifest:
        scorer = Table.from_manifest(manifest["table"], tensors)
    else:
        scorer = NetworkScorer.of(manifest["network"], tensors)
    _check_sizes(manifest["name"], scorer.sizes, encoding, place)
    temperature = float(manifest.get("temperature", 0.0))
    return LearnedPolicy(
        manifest["name"], place, encoding, scorer, temperature=temperature, seed=seed
    )


def _check_sizes(
    name: str, sizes: tuple[int, int] | None, encoding: Encoding, scenario: Scenario
) -> None:
    wanted = flat_size(encoding.observation_space), int(encoding.action_space.n)
    if sizes is not None and sizes != wanted:
        raise InvalidInputError(
            f"model {name} decides among {sizes[1]} actions by {sizes[0]} features, scenario "
            f"{scenario.name} has {wanted[1]} and {wanted[0]}; train one on that scenario"
        )


def _own_entry(manifest: Mapping[str, Any]) -> AlgorithmEntry:
    try:
        return entry_of(manifest["model_type"])
    except InvalidInputError as error:
        raise InvalidInputError(
            f"model {manifest['name']} is by the algorithm {manifest['model_type']!r} of "
            f"{manifest['class']}, which this process does not have: install its package, or name "
            "its module in LWMECPS_ALGORITHMS"
        ) from error
