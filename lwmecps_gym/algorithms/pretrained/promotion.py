"""Make a pretrained model anew: train by its recipe, test it, and write its folder if it holds."""

import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lwmecps_gym.algorithms.evaluation import evaluate_policies
from lwmecps_gym.algorithms.policy import policy_from, read_model
from lwmecps_gym.algorithms.pretrained import Recipe
from lwmecps_gym.algorithms.roster import find_policies
from lwmecps_gym.algorithms.runner import train_here
from lwmecps_gym.envs.scenario import Scenario, load_scenario
from lwmecps_gym.platform.artifacts import MANIFEST, WEIGHTS, ArtifactStore
from lwmecps_gym.platform.config import Settings
from lwmecps_gym.platform.database import open_store
from lwmecps_gym.platform.errors import LwmecpsError
from lwmecps_gym.platform.task_progress import Progress

TEST_SEED = 20_000
"""Of the days that decide; trainings draw theirs from smaller seeds."""


def pretrain(
    name: str,
    recipe: Recipe,
    output: Path,
    settings: Settings,
    show: Callable[[Progress], None],
) -> dict[str, float]:
    """Train a model, and write its folder if it beats whom it has to.

    The training is one as any other: the model is in the registry too, by the name.

    Args:
        name: of the model.
        recipe: how it is made.
        output: folder of the manifest and the weights; made, or its two files replaced.
        settings: where the training's results go.
        show: called with the progress of the training twice a second.

    Returns:
        What it was promoted on, see `promote`.

    Raises:
        InvalidInputError: the training or a policy of the recipe is wrong.
        NotFoundError: it names what is not there.
        LwmecpsError: the training failed, or the model does not beat whom it has to; nothing was
            written then.
    """
    for scenario in _tests(recipe):  # refuse before the training
        find_policies(recipe.better_than, scenario, settings)
    task = train_here({"name": name} | recipe.training, settings, show)
    store = open_store(settings)
    version = store.get_version(str(task.model_id), task.version)
    store.close()
    return promote(
        name, recipe, ArtifactStore(settings.data_dir / "artifacts").path(version.digest),
        output, settings,
    )  # fmt: skip


def promote(
    name: str, recipe: Recipe, trained: Path, output: Path, settings: Settings
) -> dict[str, float]:
    """Test a trained model, and write its folder if it beats whom it has to.

    Args:
        name: of the model.
        recipe: how it was made.
        trained: its artifact.
        output: folder of the manifest and the weights; made, or its two files replaced.
        settings: where policies are looked for.

    Returns:
        Costs of a step, named `cost/SCENARIO/POLICY`, and their means, `cost/mean/POLICY`.

    Raises:
        LwmecpsError: the model does not beat whom it has to; nothing was written.
    """
    manifest, tensors = read_model(trained)
    if recipe.temperature is not None:
        manifest["temperature"] = recipe.temperature
    found: dict[str, float] = {}
    total = dict.fromkeys((name, *recipe.better_than), 0.0)
    for scenario in _tests(recipe):
        policy = policy_from(manifest, tensors, scenario)
        policy.name = name
        rivals = find_policies(recipe.better_than, scenario, settings)
        result, _ = evaluate_policies(scenario, [policy, *rivals], recipe.days, TEST_SEED)
        for each, row in zip(total, result.rows, strict=True):
            found[f"cost/{scenario.name}/{each}"] = row.cost
            total[each] += row.cost / len(recipe.tests)
    found |= {f"cost/mean/{each}": cost for each, cost in total.items()}
    for rival in recipe.better_than:
        if total[rival] <= total[name]:
            raise LwmecpsError(
                f"{name} was trained, and not promoted: it costs {total[name]:.3f} on its tests, "
                f"and {rival} {total[rival]:.3f}; the model is {trained}"
            )
    manifest = manifest | {"metrics": manifest["metrics"] | found, "test_seed": TEST_SEED}
    _write(output, tensors, manifest)
    return found


def _tests(recipe: Recipe) -> list[Scenario]:
    """The scenarios of a recipe's tests, as long as they are played."""
    played = []
    for source in recipe.tests:
        scenario = load_scenario(source)
        steps = recipe.steps or scenario.episode_steps
        played.append(scenario.model_copy(update={"episode_steps": steps}))
    return played


def _write(output: Path, tensors: dict[str, Any], manifest: dict[str, Any]) -> None:
    """Put both files into a folder, hashed as artifacts are."""
    with TemporaryDirectory() as folder:
        artifacts = ArtifactStore(Path(folder))
        made = artifacts.path(artifacts.put(tensors, manifest))
        output.mkdir(parents=True, exist_ok=True)
        for file in (WEIGHTS, MANIFEST):
            shutil.copyfile(made / file, output / file)
