"""The placement environments and the model that they run on.

Importing this package registers `lwmecps-v1`, `lwmecps-v2` and `lwmecps-v3` with Gymnasium, for
`gymnasium.make` and, natively vectorised, `gymnasium.make_vec`.
"""

from functools import partial

import gymnasium as gym

from lwmecps_gym.envs.environments import (
    ENV_IDS,
    LWMECPSEnv,
    LWMECPSEnv2,
    LWMECPSEnv3,
    make_vector_env,
)

__all__ = ["ENV_IDS", "LWMECPSEnv", "LWMECPSEnv2", "LWMECPSEnv3", "make_vector_env"]

for _env in (LWMECPSEnv, LWMECPSEnv2, LWMECPSEnv3):
    if _env.env_id not in gym.registry:
        gym.register(
            id=_env.env_id,
            entry_point=f"lwmecps_gym.envs:{_env.__name__}",
            vector_entry_point=partial(make_vector_env, _env.env_id),
        )
