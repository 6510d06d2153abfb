"""The three environments, from one service to a randomised, failing cluster."""

from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from lwmecps_gym.envs.base import PlacementEnv, PlacementVectorEnv
from lwmecps_gym.envs.family_env import FamilyVectorEnv
from lwmecps_gym.envs.scenario import Scenario, load_scenario

ENV_IDS = ("lwmecps-v1", "lwmecps-v2", "lwmecps-v3")


class LWMECPSEnv(PlacementEnv):
    """Replicas of one service on the nodes of an edge cluster.

    In full, with units and bounds: docs/environments/lwmecps-v1.md.

    ## Description
    Users at U sites send requests to one service. Each step, one replica may be added to or removed
    from one of N nodes; then a control interval passes and its latency, failed requests and use of
    resources make the cost. Demand follows the scenario's workload.

    ## Action space
    `Discrete(1 + 2*N)`: 0 nothing; `1 + n` add a replica on node n; `1 + N + n` remove one from it.
    What cannot be applied counts as nothing, unless `illegal_action="raise"`.

    ## Observation space
    `Box` of float32, see `encoding.FlatEncoding`: replicas, utilisation, demand by site, latency,
    free resources, nodes that are up, time of the day.

    ## Rewards
    Minus the cost of the step: the sum of `info["cost_latency"]`, `cost_violation`,
    `cost_resources`, `cost_balance` and `cost_migration`, weighted as the scenario says.

    ## Starting state
    The service's `min_replicas`, each on the node with the largest free CPU share; midnight, or a
    random step of the day with `random_start=True`.

    ## Episode end
    Termination: never. Truncation: after `episode_steps` of the scenario.

    ## Arguments
    `scenario`, `render_mode`, `service`, `random_start`, `randomise`, `failures`, `illegal_action`,
    `backend`, `make_live`, `kernel`.

    ## Version history
    - v1: first.
    """

    env_id: ClassVar[str] = "lwmecps-v1"


class LWMECPSEnv2(PlacementEnv):
    """Replicas of many services that compete for the nodes of an edge cluster.

    In full, with units and bounds: docs/environments/lwmecps-v2.md.

    ## Description
    As `lwmecps-v1`, for all S services of the scenario, with moves between nodes.

    ## Action space
    `Discrete(1 + 2*S*N + S*N*(N-1))`: 0 nothing; then place(s, n), s outermost; then remove(s, n);
    then move(s, n -> m), m skipping n. Without moves the last group is absent.

    ## Observation space
    `Dict` of `observations`, a vector as in v1 for all services, and `action_mask`, which is 1
    where an action can be applied.

    ## Rewards, starting state, episode end
    As `lwmecps-v1`.

    ## Arguments
    `scenario`, `render_mode`, `moves`, `random_start`, `randomise`, `failures`, `illegal_action`,
    `backend`, `make_live`, `kernel`.

    ## Version history
    - v2: first.
    """

    env_id: ClassVar[str] = "lwmecps-v2"


class LWMECPSEnv3(PlacementEnv):
    """`lwmecps-v2` with node failures, domain randomisation, and an observation for any size.

    In full, with units and bounds: docs/environments/lwmecps-v3.md.

    ## Description
    Nodes fail and recover as the scenario's `failures` say: the pods of a failed node are lost, and
    come back only by an action. Each episode draws its cluster from the scenario's `randomise`
    ranges.

    ## Action space
    `Discrete(1 + 2*S*N + S*N*(N-1))` as in v2, with S `max_services` and N `max_nodes`; what is
    padding is never legal.

    ## Observation space
    `Dict` of `nodes`, `services`, `pairs`, `clock`, with `catchment=True` `catchment`, and
    `action_mask`, see `encoding.StructuredEncoding`.

    ## Rewards, starting state, episode end
    As `lwmecps-v1`.

    ## Arguments
    `scenario`, `render_mode`, `max_services`, `max_nodes`, `catchment`, `moves`, `random_start`,
    `randomise`, `failures`, `illegal_action`, `backend`, `make_live`, `kernel`.

    ## Version history
    - v3: first.
    """

    env_id: ClassVar[str] = "lwmecps-v3"

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **V3_DEFAULTS | options)


V3_DEFAULTS = {"randomise": True, "failures": True}


def make_vector_env(
    env_id: str,
    num_envs: int = 1,
    scenario: Scenario | str | Path | dict[str, Any] = "four-stations",
    **options: Any,
) -> PlacementVectorEnv | FamilyVectorEnv:
    """Native vector environment of `env_id`; see `PlacementVectorEnv`.

    For `lwmecps-v3` and a scenario with a family it is a `FamilyVectorEnv`.
    """
    played = scenario if isinstance(scenario, Scenario) else load_scenario(scenario)
    if env_id != "lwmecps-v3":
        return PlacementVectorEnv(env_id, num_envs, scenario=played, **options)
    if played.family:
        return FamilyVectorEnv(played, num_envs, **V3_DEFAULTS | options)
    return PlacementVectorEnv(env_id, num_envs, scenario=played, **V3_DEFAULTS | options)


make_vector_v1 = partial(make_vector_env, "lwmecps-v1")
make_vector_v2 = partial(make_vector_env, "lwmecps-v2")
make_vector_v3 = partial(make_vector_env, "lwmecps-v3")
