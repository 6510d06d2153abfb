"""Policies by name: heuristics, model versions of the registry, and models of the package."""

from collections.abc import Sequence

from lwmecps_gym.algorithms.heuristics import (
    HEURISTICS,
    Optimum,
    check_tuning,
    make_heuristic,
)
from lwmecps_gym.algorithms.optimum.columns import enumerable
from lwmecps_gym.algorithms.policy import Policy, policy_from
from lwmecps_gym.algorithms.pretrained import PREFIX, load_pretrained
from lwmecps_gym.algorithms.registry import import_algorithms
from lwmecps_gym.envs.cluster import ClusterParams
from lwmecps_gym.envs.scenario import Scenario
from lwmecps_gym.platform.artifacts import ArtifactStore
from lwmecps_gym.platform.config import Settings
from lwmecps_gym.platform.database import open_store
from lwmecps_gym.platform.errors import InvalidInputError, NotFoundError


def default_policies(scenario: Scenario) -> list[str]:
    """Names of the heuristics that are compared unasked.

    All of them, but for `optimum` where it would take seconds for each decision.
    """
    quick = enumerable(ClusterParams.of(scenario))
    return [name for name in HEURISTICS if quick or name != Optimum.name]


def find_policies(
    names: Sequence[str], scenario: Scenario, settings: Settings, seed: int = 0
) -> list[Policy]:
    """Build policies to play a scenario.

    Args:
        names: of heuristics, as `NAME` or `NAME:KNOB=VALUE,...`, or of models, as `MODEL_ID` (its
            latest version) or `MODEL_ID:VERSION`, by number, alias or `latest`; or
            `pretrained:NAME`, which is in the package.
        scenario: what they play.
        settings: where the models are.
        seed: of the policies that choose at random.

    Raises:
        NotFoundError: there is neither a heuristic nor a model of that name.
        InvalidInputError: a version is no number, a model does not fit the scenario, or the
            scenario has wrong knobs for a heuristic.
    """
    check_tuning(scenario)
    import_algorithms(settings.algorithms)
    return [_find(name, scenario, settings, seed) for name in names]


def _find(name: str, scenario: Scenario, settings: Settings, seed: int) -> Policy:
    first, _, rest = name.partition(":")
    if first in HEURISTICS:
        heuristic = make_heuristic(first, scenario, seed, **_knobs(name, rest))
        heuristic.name = name
        return heuristic
    if first == PREFIX:
        return load_pretrained(rest, scenario, seed)
    model_id = first
    store = open_store(settings)
    try:
        version = store.get_version(model_id, rest or None)
    except NotFoundError as error:
        raise NotFoundError(
            f"policy {name!r}: no heuristic of that name ({', '.join(HEURISTICS)}), and {error}"
        ) from error
    finally:
        store.close()
    artifacts = ArtifactStore(settings.data_dir / "artifacts")
    tensors, manifest = artifacts.load(version.digest)
    folder = artifacts.path(version.digest)
    policy = policy_from(manifest, tensors, scenario, seed, folder)
    if policy.scenario is not scenario and len(scenario.services) > 1:
        raise InvalidInputError(
            f"policy {name!r} places one service; scenario {scenario.name} has "
            f"{len(scenario.services)}"
        )
    policy.name = f"{model_id}:{version.version}"
    return policy


def _knobs(policy: str, text: str) -> dict[str, str]:
    """Knobs as they are written behind a heuristic's name: `high=0.8,low=0.4`."""
    knobs = {}
    for item in text.split(",") if text else ():
        name, separator, value = item.partition("=")
        if not separator or name in knobs:
            raise InvalidInputError(
                f"policy {policy!r}: {item!r} is not one KNOB=VALUE; write NAME:KNOB=VALUE,..."
            )
        knobs[name] = value
    return knobs
