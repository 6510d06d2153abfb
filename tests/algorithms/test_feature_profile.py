"""Drift: what a policy is asked, held against what its training saw."""

from pathlib import Path

import numpy as np
import pytest

from lwmecps_gym.algorithms.feature_profile import FeatureProfile
from lwmecps_gym.algorithms.networks import MASK
from lwmecps_gym.algorithms.policy import LearnedPolicy
from lwmecps_gym.algorithms.rehearsal import with_profile
from lwmecps_gym.envs import make_vector_env
from lwmecps_gym.platform.artifacts import WEIGHTS, ArtifactStore, encode_tensors

from .models import Model, network_model, policy_of, table_model

MODELS = {
    "lwmecps-v1": lambda: table_model(),
    "lwmecps-v2": lambda: network_model("lwmecps-v2"),
    "lwmecps-v3": lambda: network_model("lwmecps-v3", catchment=True, max_nodes=6, max_services=3),
}


def profiled(model: Model, folder: Path) -> FeatureProfile:
    manifest, weights = model
    files = {WEIGHTS: encode_tensors(weights)}
    document = with_profile(manifest, files, ArtifactStore(folder / "artifacts"))
    return FeatureProfile.model_validate(document["seen"])


def played(policy: LearnedPolicy, manifest: dict[str, object], seed: int) -> object:
    env = manifest["env"]
    assert isinstance(env, dict)
    clusters = make_vector_env(
        env["id"], 64, scenario=policy.scenario, random_start=True, **env["options"]
    )
    observation, _ = clusters.reset(seed=seed)
    for _ in range(12):
        observation = clusters.step(policy.act_on(observation))[0]
    clusters.close()
    return observation


@pytest.mark.parametrize("env", MODELS)
def test_another_day_of_the_same_cluster_is_no_drift_and_a_flood_is(
    env: str, tmp_path: Path
) -> None:
    model = MODELS[env]()
    policy, profile = policy_of(model), profiled(model, tmp_path)
    same = played(policy, model[0], seed=99)
    index = profile.stability_indexes(profile.count(policy.encoding, same))
    demand = next(name for name in index if name.endswith("demand"))
    assert index[demand] < 0.25

    vector = same["observations"] if isinstance(same, dict) and "observations" in same else same
    if isinstance(vector, dict):
        vector["services"][..., 3] *= 20
    else:
        n = len(policy.scenario.nodes) * len(policy.scenario.services)
        vector[:, 3 * n : 3 * n + len(policy.scenario.sites)] *= 20
    flood = profile.stability_indexes(profile.count(policy.encoding, same))
    assert flood[demand] > 0.5
    assert flood | {demand: 0} == index | {demand: 0}, "nothing else has changed"


def test_features_with_few_values_are_told_apart_exactly() -> None:
    policy = policy_of(network_model("lwmecps-v2"))
    space = policy.encoding.observation_space
    size = space["observations"].shape[0]  # type: ignore[index]
    up = np.ones((200, size), dtype=np.float32)
    seen = {"observations": up, MASK: np.ones((200, 1))}
    profile = FeatureProfile.of(policy.encoding, seen)
    assert profile.features["up"].edges == [1.0]
    assert profile.features["up"].counts[1] == 200 * len(policy.scenario.nodes)
    down = {**seen, "observations": np.zeros_like(up)}
    index = profile.stability_indexes(profile.count(policy.encoding, down))
    assert index["up"] > 5
    assert profile.stability_indexes(profile.count(policy.encoding, seen))["up"] == 0


def test_a_training_whose_policy_cannot_be_tried_keeps_its_model(tmp_path: Path) -> None:
    manifest, weights = network_model("lwmecps-v2")
    manifest = {**manifest, "network": {"kind": "mlp", "inputs": 3, "outputs": 1, "hidden": []}}
    files = {WEIGHTS: encode_tensors(weights)}
    artifacts = ArtifactStore(tmp_path / "artifacts")
    assert with_profile(manifest, files, artifacts) == manifest
    assert list((tmp_path / "artifacts").iterdir()) == []
