"""DQN by RLlib on the native vector environment."""

from typing import Any

from ray.rllib.algorithms.dqn import DQNConfig
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from lwmecps_gym.algorithms.parameters import DQNParameters
from lwmecps_gym.algorithms.rl_modules import MaskedQNetwork


def configure(parameters: DQNParameters, total_steps: int) -> DQNConfig:
    """RLlib configuration for a training of `total_steps`; sampling and environment come later."""
    decay = max(1, round(parameters.epsilon_decay * total_steps))
    epsilon = [[0, 1.0], [decay, parameters.epsilon_end]]
    buffer: dict[str, Any] = {
        "type": "PrioritizedEpisodeReplayBuffer"
        if parameters.prioritised
        else "EpisodeReplayBuffer",
        "capacity": parameters.buffer_steps,
    }
    if parameters.prioritised:
        buffer |= {"alpha": 0.6, "beta": 0.4}
    return (
        DQNConfig()
        .training(
            lr=parameters.learning_rate,
            gamma=parameters.discount_factor,
            double_q=parameters.double_q,
            dueling=parameters.dueling,
            n_step=parameters.n_step,
            epsilon=epsilon,
            num_steps_sampled_before_learning_starts=parameters.learning_starts,
            target_network_update_freq=parameters.target_update_steps,
            train_batch_size_per_learner=parameters.batch_size,
            training_intensity=parameters.training_intensity,
            grad_clip=parameters.grad_clip,
            grad_clip_by="global_norm",
            replay_buffer_config=buffer,
        )
        .rl_module(
            rl_module_spec=RLModuleSpec(
                module_class=MaskedQNetwork,
                model_config={
                    "hidden": list(parameters.hidden),
                    "dueling": parameters.dueling,
                    "double_q": parameters.double_q,
                    "epsilon": epsilon,
                },
            )
        )
    )
