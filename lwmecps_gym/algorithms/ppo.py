"""PPO by RLlib on the native vector environment."""

from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from lwmecps_gym.algorithms.array_ppo import ArrayPPO, ArrayPPOLearner
from lwmecps_gym.algorithms.entries import Plan
from lwmecps_gym.algorithms.parameters import PPOParameters
from lwmecps_gym.algorithms.rl_modules import AnySizeActorCritic, MaskedActorCritic
from lwmecps_gym.algorithms.schedules import falling


def configure(plan: Plan[PPOParameters]) -> PPOConfig:
    """RLlib configuration of a training; environment and seed come later."""
    parameters = plan.parameters
    batch = plan.num_envs * parameters.rollout_steps
    value_coeff = parameters.value_coeff
    horizon = 1 / max(1 - parameters.discount_factor, 1e-3)  # steps, about
    if parameters.any_size:  # it shares its embeddings with the critic: both count alike
        value_coeff /= horizon**2
    return (
        PPOConfig(algo_class=ArrayPPO)
        .training(
            lr=falling(parameters.learning_rate, parameters.learning_rate_end, plan.total_steps),
            gamma=parameters.discount_factor,
            lambda_=parameters.gae_lambda,
            clip_param=parameters.clip,
            entropy_coeff=falling(
                parameters.entropy_coeff, parameters.entropy_coeff_end, plan.total_steps
            ),
            vf_loss_coeff=value_coeff,
            vf_clip_param=float("inf"),
            use_kl_loss=False,
            grad_clip=parameters.grad_clip,
            grad_clip_by="global_norm",
            train_batch_size_per_learner=batch,
            minibatch_size=min(parameters.minibatch_size, batch),
            num_epochs=parameters.epochs,
        )
        .learners(learner_class=ArrayPPOLearner)
        .rl_module(
            rl_module_spec=RLModuleSpec(
                module_class=AnySizeActorCritic if parameters.any_size else MaskedActorCritic,
                model_config={
                    "hidden": list(parameters.hidden),
                    "width": parameters.width,
                    "rounds": parameters.rounds,
                    "value_scale": horizon,
                },
            )
        )
    )
