"""The three environments, from one service to a randomised, failing cluster."""

from functools import partial
from typing import Any, ClassVar

from lwmecps_gym.envs.base import PlacementEnv, PlacementVectorEnv

ENV_IDS = ("lwmecps-v1", "lwmecps-v2", "lwmecps-v3")


class LWMECPSEnv(PlacementEnv):
    """Replicas of one service on the nodes of an edge cluster.

    ## Description
    Users at several sites send requests to one service. Each step, one replica may be added to or
    removed from one node; then a control interval passes and its latency, failed requests and use
    of resources make the cost. Demand follows the scenario's workload.

    ## Action space
    `Discrete(1 + 2N)`: 0 nothing; `1 + n` add a replica on node n; `1 + N + n` remove one from it.
    An action that cannot be applied counts as nothing, and `info["illegal_action"]` is True.

    ## Observation space
    `Box(float32)` of 3N + U + 1 + 3N + 2 numbers:

    | part | numbers | unit | bounds |
    |---|---|---|---|
    | ready replicas | N | replicas | 0 .. max_replicas |
    | starting replicas | N | replicas | 0 .. max_replicas |
    | utilisation of the ready replicas | N | share | 0 .. 1 |
    | demand of the last step by site | U | replicas kept busy | 0 .. 1000 |
    | latency of the last step | 1 | four SLOs | 0 .. 10 |
    | free CPU, free memory | N, 2 | share of the node | -1000 .. 1 |
    | node is up | N | 0 or 1 | 0 .. 1 |
    | time of day | 2 | sine, cosine | -1 .. 1 |

    ## Rewards
    Minus the cost of the step: the sum of `info["cost_latency"]`, `cost_violation`,
    `cost_resources`, `cost_balance` and `cost_migration`, weighted as the scenario says.

    ## Starting state
    The service's `min_replicas`, each on the node with the largest free CPU share; midnight, or a
    random step of the day with `random_start=True`.

    ## Episode end
    Termination: never. Truncation: after `episode_steps` of the scenario.

    ## Arguments
    `scenario` (name, path, object or `Scenario`), `service` (its name; the first unless given),
    `random_start`, `illegal_action` ("nothing" or "raise"), `backend`, `kernel` ("compiled", or
    "reference": the same model in NumPy, slower).

    ## Version history
    - v1: first.
    """

    env_id: ClassVar[str] = "lwmecps-v1"


class LWMECPSEnv2(PlacementEnv):
    """Replicas of many services that compete for the nodes of an edge cluster.

    ## Description
    As `lwmecps-v1`, for all services of the scenario, with moves between nodes.

    ## Action space
    `Discrete(1 + 2SN + SN(N-1))`: 0 nothing; then place(s, n), s outermost; then remove(s, n); then
    move(s, n -> m), m skipping n. With `moves=False` the last group is absent (also by default when
    it has more than 5,000 actions). The observation's `action_mask` [A] is 1 where an action can be
    applied; one that cannot counts as nothing unless `illegal_action="raise"`.

    ## Observation space
    `Dict(observations=Box(float32), action_mask=Box(0, 1, int8))`; the vector is, in this order:

    | part | numbers | unit | bounds |
    |---|---|---|---|
    | ready replicas | S, N | replicas | 0 .. max_replicas |
    | starting replicas | S, N | replicas | 0 .. max_replicas |
    | utilisation of the ready replicas | S, N | share | 0 .. 1 |
    | demand of the last step | S, U | replicas kept busy | 0 .. 1000 |
    | latency of the last step | S | four SLOs | 0 .. 10 |
    | free CPU, free memory | N, 2 | share of the node | -1000 .. 1 |
    | node is up | N | 0 or 1 | 0 .. 1 |
    | time of day | 2 | sine, cosine | -1 .. 1 |

    ## Rewards, starting state, episode end
    As `lwmecps-v1`.

    ## Arguments
    `scenario`, `moves`, `random_start`, `illegal_action`, `backend` ("simulator" or "kubernetes"),
    `kernel` as in `lwmecps-v1`.

    ## Version history
    - v2: first.
    """

    env_id: ClassVar[str] = "lwmecps-v2"


class LWMECPSEnv3(PlacementEnv):
    """`lwmecps-v2` with node failures, domain randomisation, and an observation for any size.

    ## Description
    Nodes fail and recover as the scenario's `failures` say: the pods of a failed node are lost, and
    come back only by an action. Each episode draws its cluster from the scenario's `randomise`
    ranges.

    ## Action space
    As `lwmecps-v2`, for `max_services` and `max_nodes`; what is padding is never legal.

    ## Observation space
    `Dict` of float32 boxes; features as named in `encoding.StructuredEncoding`:

    | part | shape |
    |---|---|
    | nodes | max_nodes, 8 |
    | services | max_services, 11 |
    | pairs | max_services, max_nodes, 7 |
    | clock | 2 |
    | catchment (with `catchment=True`) | max_services, max_nodes, 2 |
    | action_mask (int8) | A |

    ## Rewards, starting state, episode end
    As `lwmecps-v1`.

    ## Arguments
    As `lwmecps-v2`, and `max_services`, `max_nodes`, `catchment` (False), `randomise` and
    `failures` (both True).

    ## Version history
    - v3: first.
    """

    env_id: ClassVar[str] = "lwmecps-v3"

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **V3_DEFAULTS | options)


V3_DEFAULTS = {"randomise": True, "failures": True}


def make_vector_env(env_id: str, num_envs: int = 1, **options: Any) -> PlacementVectorEnv:
    """Native vector environment of `env_id`; see `PlacementVectorEnv`."""
    defaults = V3_DEFAULTS if env_id == "lwmecps-v3" else {}
    return PlacementVectorEnv(env_id, num_envs, **defaults | options)


make_vector_v1 = partial(make_vector_env, "lwmecps-v1")
make_vector_v2 = partial(make_vector_env, "lwmecps-v2")
make_vector_v3 = partial(make_vector_env, "lwmecps-v3")
