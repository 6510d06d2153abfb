"""The placement environments and the model that they run on.

Importing this package registers `lwmecps-v1`, `lwmecps-v2` and `lwmecps-v3` with Gymnasium, for
`gymnasium.make` and, natively vectorised, `gymnasium.make_vec`.
"""

import gymnasium as gym

from lwmecps_gym.envs.environments import (
    ENV_IDS,
    LWMECPSEnv,
    LWMECPSEnv2,
    LWMECPSEnv3,
    make_vector_env,
)

__all__ = ["ENV_IDS", "LWMECPSEnv", "LWMECPSEnv2", "LWMECPSEnv3", "make_vector_env"]

for _env, _vector in (
    (LWMECPSEnv, "make_vector_v1"),
    (LWMECPSEnv2, "make_vector_v2"),
    (LWMECPSEnv3, "make_vector_v3"),
):
    if _env.env_id not in gym.registry:
        gym.register(  # by strings: a spec becomes JSON
            id=_env.env_id,
            entry_point=f"lwmecps_gym.envs.environments:{_env.__name__}",
            vector_entry_point=f"lwmecps_gym.envs.environments:{_vector}",
        )
