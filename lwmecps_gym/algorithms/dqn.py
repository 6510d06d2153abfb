"""DQN by RLlib on the native vector environment."""

from ray.rllib.algorithms.dqn import DQNConfig
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from lwmecps_gym.algorithms.array_dqn import ArrayDQN, ArrayDQNLearner
from lwmecps_gym.algorithms.entries import Plan
from lwmecps_gym.algorithms.parameters import DQNParameters
from lwmecps_gym.algorithms.rl_modules import AnySizeQNetwork, MaskedQNetwork
from lwmecps_gym.algorithms.schedules import falling

PRIORITY_EXPONENT = 0.6
IMPORTANCE_EXPONENT = 0.4
TARGET_SHARE = 0.05
"""Largest share of a training over which the target averages the weights."""


def configure(plan: Plan[DQNParameters]) -> DQNConfig:
    """RLlib configuration of a training; sampling and environment come later."""
    parameters = plan.parameters
    decay = max(1, round(parameters.epsilon_decay * plan.total_steps))
    epsilon = [[0, 1.0], [decay, parameters.epsilon_end]]
    round_steps = plan.num_envs * parameters.rollout_steps
    # A short training would not come far from its first weights.
    averaged = min(parameters.target_update_steps, TARGET_SHARE * plan.total_steps)
    return (
        DQNConfig(algo_class=ArrayDQN)
        .training(
            lr=falling(parameters.learning_rate, parameters.learning_rate_end, plan.total_steps),
            gamma=parameters.discount_factor,
            double_q=parameters.double_q,
            dueling=parameters.dueling,
            n_step=parameters.n_step,
            epsilon=epsilon,
            num_steps_sampled_before_learning_starts=parameters.learning_starts,
            target_network_update_freq=1,
            tau=min(1.0, round_steps / averaged),
            train_batch_size_per_learner=parameters.batch_size,
            training_intensity=parameters.training_intensity,
            grad_clip=parameters.grad_clip,
            grad_clip_by="global_norm",
            replay_buffer_config={
                "type": "PrioritizedEpisodeReplayBuffer",
                "capacity": parameters.buffer_steps,
                "alpha": PRIORITY_EXPONENT if parameters.prioritised else 0.0,
                "beta": IMPORTANCE_EXPONENT if parameters.prioritised else 0.0,
                "centred": parameters.centred,
            },
        )
        .learners(learner_class=ArrayDQNLearner)
        .reporting(min_sample_timesteps_per_iteration=min(8192, max(1000, plan.total_steps // 500)))
        .rl_module(
            rl_module_spec=RLModuleSpec(
                module_class=AnySizeQNetwork if parameters.any_size else MaskedQNetwork,
                model_config={
                    "hidden": list(parameters.hidden),
                    "width": parameters.width,
                    "rounds": parameters.rounds,
                    "dueling": parameters.dueling,
                    "double_q": parameters.double_q,
                    "epsilon": epsilon,
                },
            )
        )
    )
