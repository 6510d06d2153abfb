"""Rollouts from all runners of an RLlib algorithm."""

from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.utils.metrics import ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME

from lwmecps_gym.algorithms.rollout import Rollout


def sample_rollouts(algorithm: Algorithm, steps: int) -> tuple[list[Rollout], int]:
    """One rollout from every `ArrayEnvRunner`, and the steps that they have played in their life.

    What the runners measured goes into the algorithm's metrics. There is no rollout if all runners
    failed: RLlib restarts them before the next step of the training.

    Args:
        algorithm: whose runners play.
        steps: how many all of them play together, at least.
    """
    runners = algorithm.env_runner_group
    remote = runners.num_healthy_remote_workers()
    each = -(-steps // max(1, remote))
    sampled = runners.foreach_env_runner(
        lambda runner: (runner.sample_rollout(each), runner.get_metrics()),
        local_env_runner=remote == 0,
        timeout_seconds=algorithm.config.sample_timeout_s,
    )
    if sampled:
        algorithm.metrics.aggregate([metrics for _, metrics in sampled], key=ENV_RUNNER_RESULTS)
    lifetime = algorithm.metrics.peek(
        (ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME), default=0
    )
    return [rollout for rollout, _ in sampled], int(lifetime)
