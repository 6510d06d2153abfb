"""The optimiser of RLlib's torch learners, all weights in one call."""

import torch
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from ray.rllib.utils.typing import ModuleID
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from lwmecps_gym.platform.errors import LwmecpsError


def register_adam(learner: TorchLearner, module_id: ModuleID, config: AlgorithmConfig) -> None:
    """Register Adam as `TorchLearner` has it, but fused."""
    parameters = learner.get_parameters(learner.module[module_id])
    learner.register_optimizer(
        module_id=module_id,
        optimizer=torch.optim.Adam(parameters, fused=True),
        params=parameters,
        lr_or_lr_schedule=config.lr,
    )


def descend(
    learner: TorchLearner, output: Tensor, gradients: Tensor | None = None, zero_nans: bool = False
) -> None:
    """Take a step down the gradients of a loss; their norm is clipped to `grad_clip`.

    Args:
        learner: whose module and optimiser it is.
        output: the loss, or what it is computed from.
        gradients: of the loss by `output`, which is not the loss then.
        zero_nans: whether gradients of the weights that are no number count as 0, as in RLlib.

    Raises:
        LwmecpsError: they are not finite.
    """
    optimizer = learner.get_optimizer(DEFAULT_MODULE_ID)
    optimizer.zero_grad(set_to_none=True)
    output.backward(gradients)  # type: ignore[no-untyped-call]
    weights = [w for w in learner.module[DEFAULT_MODULE_ID].parameters() if w.grad is not None]
    found = [weight.grad for weight in weights]
    norm = get_total_norm(found)
    if zero_nans and torch.isnan(norm):
        for gradient in found:
            gradient.nan_to_num_(nan=0.0, posinf=torch.inf, neginf=-torch.inf)
        norm = get_total_norm(found)
    if not torch.isfinite(norm):
        raise LwmecpsError("the gradients of the policy are not finite; try a lower learning_rate")
    clip_grads_with_norm_(weights, learner.config.grad_clip, norm)
    optimizer.step()
