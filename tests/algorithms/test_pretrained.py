"""The models of the package load, decide legally, beat a plan, and can be made anew."""

import json
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from lwmecps_gym.algorithms.evaluation import evaluate_policies
from lwmecps_gym.algorithms.policy import policy_from, read_model
from lwmecps_gym.algorithms.pretrained import (
    Recipe,
    load_recipe,
    pack_pretrained,
    pretrained_folder,
    pretrained_names,
)
from lwmecps_gym.algorithms.pretrained.promotion import TEST_SEED, pretrain, promote
from lwmecps_gym.algorithms.roster import find_policies
from lwmecps_gym.algorithms.uploads import add_upload
from lwmecps_gym.envs.generate import edge_scenario
from lwmecps_gym.envs.scenario import load_scenario
from lwmecps_gym.envs.simulator import ClusterModel
from lwmecps_gym.platform.artifacts import ArtifactStore
from lwmecps_gym.platform.config import Settings
from lwmecps_gym.platform.database import open_store
from lwmecps_gym.platform.errors import InvalidInputError, LwmecpsError, NotFoundError

from .clusters import changed

MODELS = ["ppo-any-size", "ppo-four-stations"]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data", wandb_mode="disabled")


@pytest.mark.parametrize("name", MODELS)
def test_a_model_says_what_it_was_made_of_and_promoted_on(name: str) -> None:
    manifest = json.loads((pretrained_folder(name) / "manifest.json").read_text(encoding="utf-8"))
    recipe = load_recipe(name)
    assert manifest["total_episodes"] == recipe.training["total_episodes"]
    assert manifest["seed"] == recipe.training["seed"]
    assert manifest["parameters"].items() >= recipe.training.get("parameters", {}).items()
    assert {"lwmecps-gym", "ray", "torch", "numpy"} <= manifest["versions"].keys()
    metrics = manifest["metrics"]
    for policy in (name, *recipe.better_than):
        found = [metrics[f"cost/{load_scenario(test).name}/{policy}"] for test in recipe.tests]
        assert metrics[f"cost/mean/{policy}"] == pytest.approx(np.mean(found))
        assert policy == name or metrics[f"cost/mean/{policy}"] > metrics[f"cost/mean/{name}"]


def test_all_models_together_are_small() -> None:
    assert pretrained_names() == MODELS
    files = [file for name in MODELS for file in pretrained_folder(name).iterdir()]
    assert sum(file.stat().st_size for file in files) < 1_000_000


@pytest.mark.parametrize("nodes", [4, 256])
def test_the_model_for_any_size_decides_legally_on_few_nodes_and_on_many(
    nodes: int, settings: Settings
) -> None:
    scenario = edge_scenario(nodes, 3, seed=77)
    (policy,) = find_policies(["pretrained:ppo-any-size"], scenario, settings)
    model = ClusterModel(scenario, 1, moves=policy.actions.moves)
    model.reset({0: np.random.default_rng(0)}, start_s=36_000)
    before = model.replicas.sum()
    for _ in range(6):
        model.step(policy.act(model.state()))  # raises where an action is illegal
    assert model.replicas.sum() > before


@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_better_than_a_plan_that_never_changes(name: str, settings: Settings) -> None:
    scenario = changed("four-stations", episode_steps=288, control_interval_s=300)
    policies = find_policies([f"pretrained:{name}", "static"], scenario, settings)
    own, static = evaluate_policies(scenario, policies, 1, TEST_SEED)[0].rows
    assert own.policy == f"pretrained:{name}" and own.cost < static.cost


def test_a_model_for_one_cluster_is_refused_on_another(settings: Settings) -> None:
    with pytest.raises(InvalidInputError, match="train one on that scenario"):
        find_policies(["pretrained:ppo-four-stations"], load_scenario("tiny"), settings)


@pytest.mark.parametrize("name", ["moon", "", "../pretrained/ppo-any-size", "."])
def test_a_name_that_no_model_has_is_refused_with_those_that_there_are(
    name: str, settings: Settings
) -> None:
    with pytest.raises(NotFoundError, match="no pretrained model .*ppo-any-size"):
        find_policies([f"pretrained:{name}"], load_scenario("tiny"), settings)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_registered_as_a_version_that_plays_the_same(
    name: str, settings: Settings
) -> None:
    store = open_store(settings)
    artifacts = ArtifactStore(settings.data_dir / "artifacts")
    version = add_upload(store, artifacts, name, BytesIO(pack_pretrained(name)))
    store.close()
    assert (version.model_id, version.version, version.task_id) == (name, 1, None)
    scenario = load_scenario("four-stations").model_copy(update={"episode_steps": 20})
    policies = find_policies([name, f"pretrained:{name}"], scenario, settings)
    registered, packaged = evaluate_policies(scenario, policies, 1, 0)[0].rows
    assert registered.policy == f"{name}:1" and registered.cost == packaged.cost


def recipe(**changes: object) -> Recipe:
    training = {
        "model_type": "ppo", "env": "lwmecps-v3", "total_episodes": 8, "seed": 3,
        "scenario": {"family": {"nodes": [2, 3], "services": 2, "count": 2, "episode_steps": 12}},
        "parameters": {"network": "any-size", "width": 8, "rounds": 1, "num_envs": 4},
    }  # fmt: skip
    test = {"family": {"nodes": 3, "services": 2, "count": 1, "seed": 9, "episode_steps": 12}}
    fields = {"training": training, "tests": [test], "days": 1, "better_than": ()} | changes
    return Recipe.model_validate({"description": "small", **fields})


@pytest.mark.ray
@pytest.mark.filterwarnings("ignore:.*Overriding environment rllib-single-agent-env-v0")
def test_a_model_is_made_by_its_recipe_and_only_written_if_it_beats_whom_it_has_to(
    ray_session: None, settings: Settings, tmp_path: Path
) -> None:
    metrics = pretrain("small", recipe(), tmp_path / "small", settings, lambda progress: None)
    assert list(metrics) == ["cost/family-3x2-9/small", "cost/mean/small"]
    manifest, tensors = read_model(tmp_path / "small")
    assert manifest["metrics"].items() >= metrics.items() and manifest["seed"] == 3
    test = load_scenario(recipe().tests[0])
    played, _ = evaluate_policies(test, [policy_from(manifest, tensors, test)], 1, TEST_SEED)
    assert played.rows[0].cost == metrics["cost/family-3x2-9/small"]
    store = open_store(settings)
    assert store.get_version("small").version == 1
    store.close()

    itself = recipe(better_than=("small:1",))
    with pytest.raises(LwmecpsError, match="trained, and not promoted: it costs .* and small:1"):
        promote("small", itself, tmp_path / "small", tmp_path / "worse", settings)
    assert not (tmp_path / "worse").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("description: x", "training: Field required"),
        ("tests: []", "tests"),
        ("a: [", "expected the node content"),
        ("{description: x, training: {}, tests: [tiny], speed: 9}", "speed"),
    ],
)
def test_a_wrong_recipe_is_refused_by_name(content: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(content)
    with pytest.raises(InvalidInputError, match=f"mine.yaml: not a recipe.*{said}"):
        load_recipe(str(file))
    with pytest.raises(NotFoundError, match="no recipe 'moon'"):
        load_recipe("moon")
