"""A trained policy in the environment of its training: what it earns, and what it sees there.

What it sees is kept with the model, for drift.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from lwmecps_gym.algorithms.feature_profile import FeatureProfile
from lwmecps_gym.algorithms.policy import load_policy
from lwmecps_gym.envs import make_vector_env
from lwmecps_gym.envs.scenario import load_scenario
from lwmecps_gym.platform.artifacts import ArtifactStore

CLUSTERS = 32
STEPS = 60
_EVERY = 5
DAYS = 16
JUDGED = 77_000
"""Seed of the days on which policies are compared during a training."""

logger = logging.getLogger(__name__)


def with_profile(
    manifest: Mapping[str, Any], files: Mapping[str, bytes], artifacts: ArtifactStore
) -> dict[str, Any]:
    """Return a manifest that says what its policy sees where it was trained.

    Args:
        manifest: as `training.make_manifest` writes it.
        files: the model's files.
        artifacts: where it is tried out.
    """
    try:
        with artifacts.workspace() as folder:
            trial = ArtifactStore(folder)
            profile = _play(manifest, trial.path(trial.put_files(files, manifest)))
    except Exception:  # whatever a user's class raises: the training is worth more than its profile
        logger.warning("%s: no profile of what it saw", manifest["name"], exc_info=True)
        return dict(manifest)
    return {**manifest, "seen": profile.model_dump(mode="json")}


def mean_reward(manifest: Mapping[str, Any], files: Mapping[str, bytes]) -> float:
    """Mean reward of a step over whole episodes, the same `DAYS` of them for every model.

    Args:
        manifest: as `training.make_manifest` writes it.
        files: the model's files.
    """
    with TemporaryDirectory(prefix="lwmecps-judged-") as folder:
        trial = ArtifactStore(Path(folder))
        policy = load_policy(trial.path(trial.put_files(files, manifest)))
        clusters, steps = _clusters(manifest, DAYS, random_start=False)
        observation, _ = clusters.reset(seed=JUDGED)
        policy.reset(DAYS)
        total = 0.0
        for _ in range(steps):
            observation, reward, *_ = clusters.step(policy.act_on(observation))
            total += float(reward.mean())
        clusters.close()
    return total / steps


def _clusters(manifest: Mapping[str, Any], count: int, random_start: bool) -> tuple[Any, int]:
    """Clusters as a model was trained on, side by side, and the steps of an episode."""
    env = manifest["env"]
    scenario = load_scenario(manifest["scenario"])
    if "service" in env:
        scenario = scenario.only(env["service"])
    made = make_vector_env(
        env["id"], count, scenario=scenario, random_start=random_start, **env["options"]
    )
    return made, scenario.episode_steps


def _play(manifest: Mapping[str, Any], folder: Path) -> FeatureProfile:
    """Play days from random hours on, and look at every fifth step."""
    policy = load_policy(folder)
    clusters, _ = _clusters(manifest, CLUSTERS, random_start=True)
    seen = []
    observation, _ = clusters.reset(seed=int(manifest.get("seed", 0)))
    policy.reset(CLUSTERS)
    for step in range(STEPS):
        if step % _EVERY == 0:
            seen.append(_copy(observation))
        observation = clusters.step(policy.act_on(observation))[0]
    clusters.close()
    return FeatureProfile.of(policy.encoding, _together(seen))


def _copy(observation: Any) -> Any:
    if isinstance(observation, dict):
        return {name: values.copy() for name, values in observation.items()}
    return observation.copy()


def _together(seen: list[Any]) -> Any:
    if isinstance(seen[0], dict):
        return {name: np.concatenate([each[name] for each in seen]) for name in seen[0]}
    return np.concatenate(seen)
