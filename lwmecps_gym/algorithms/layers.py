"""Parts of the networks for many rows, faster than torch's own: fewer passes over the memory."""

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from lwmecps_gym.algorithms import kernels

MANY = 64
"""Rows from which on it pays; fewer take torch's own way."""


class Tanh(nn.Module):
    """tanh [B, ...]."""

    def forward(self, x: Tensor) -> Tensor:
        """See `torch.tanh`."""
        if len(x) < MANY:
            return torch.tanh(x)
        y: Tensor = _tanh(x)
        return y


class Mlp(nn.Sequential):
    """Linear layers with a `Tanh` between them."""

    def forward(self, x: Tensor) -> Tensor:
        """[..., inputs] to [..., outputs]."""
        rows = x.reshape(-1, x.shape[-1])
        if len(rows) < MANY:
            return cast(Tensor, super().forward(x))  # type: ignore[no-untyped-call]
        y: Tensor = _mlp(rows, *self.parameters())
        return y.view(*x.shape[:-1], y.shape[1])


def where_set(mask: Tensor, values: Tensor, other: float) -> Tensor:
    """Values [B, A] where a mask [B, A] is not 0, and `other` elsewhere."""
    if len(values) < MANY:
        return torch.where(mask != 0, values, other)
    chosen: Tensor = _where(mask, values, other)
    return chosen


def dueling(mask: Tensor, advantages: Tensor, values: Tensor, other: float) -> Tensor:
    """Action values of a dueling network (Wang et al. 2016, equation 9) where a mask is not 0.

    Args:
        mask: [B, A], at least one of each row is set.
        advantages: [B, A]; they are centred over the actions that the mask names.
        values: of the states, [B, 1].
        other: stands where the mask is 0.
    """
    if len(advantages) < MANY:
        legal = mask != 0
        centre = (advantages * legal).sum(1, keepdim=True) / legal.sum(1, keepdim=True)
        return torch.where(legal, advantages - centre + values, other)
    joined: Tensor = _dueling(mask, advantages, values, other)
    return joined


def surrogate(
    scores: Tensor,
    actions: Tensor,
    logp: Tensor,
    advantages: Tensor,
    clip: float,
    entropy_coeff: float,
) -> tuple[Tensor, float, float]:
    """PPO's clipped surrogate less the entropy bonus (Schulman et al. 2017, equation 9).

    Args:
        scores: of all actions, [B, A]; very low for illegal ones.
        actions: that were chosen, [B].
        logp: logarithms of their probabilities then, [B].
        advantages: [B].
        clip: how far a ratio of probabilities counts.
        entropy_coeff: weight of the entropy.

    Returns:
        surrogate - entropy_coeff * entropy, the surrogate, and the entropy; means over B.
    """
    loss: Tensor
    loss, *parts = _surrogate(scores, actions, logp, advantages, clip, entropy_coeff)
    return loss, parts[0], parts[1]


def draw(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Draw actions [B] by scores [B, A]; also the logarithms of their probabilities, [B]."""
    batch, count = scores.shape
    actions, logp = torch.empty(batch, dtype=torch.int64), torch.empty(batch)
    kernels.draw(
        scores.numpy(),
        torch.rand(batch).numpy(),
        np.empty(count, dtype=np.float32),
        actions.numpy(),
        logp.numpy(),
    )
    return actions, logp


class _Tanh(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = x.detach().clone()
        kernels.bias_tanh(_rows(y), np.zeros(y.shape[-1], dtype=np.float32))
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        found = gradient.clone()
        kernels.tanh_backward(_rows(found), _rows(y))
        return found


class _Mlp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, *parameters: Tensor) -> Tensor:
        *hidden, last = zip(parameters[::2], parameters[1::2], strict=True)
        seen = [x]
        for weight, bias in hidden:
            y = seen[-1] @ weight.T
            kernels.bias_tanh(y.numpy(), bias.detach().numpy())
            seen.append(y)
        ctx.save_for_backward(*seen, *parameters[::2])
        return torch.addmm(last[1], seen[-1], last[0].T)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        count = len(ctx.saved_tensors) // 2
        seen, weights = ctx.saved_tensors[:count], ctx.saved_tensors[count:]
        found: list[Tensor] = []
        above = gradient
        for layer in reversed(range(count)):
            found = [above.T @ seen[layer], above.sum(0), *found]
            if layer or ctx.needs_input_grad[0]:
                above = above @ weights[layer]
            if layer:
                kernels.tanh_backward(above.numpy(), seen[layer].numpy())
        return above if ctx.needs_input_grad[0] else None, *found


class _Where(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, mask: Tensor, values: Tensor, other: float) -> Tensor:
        chosen = torch.empty_like(values)
        mask = mask.to(torch.int8)
        kernels.choose_where(mask.numpy(), values.detach().numpy(), other, chosen.numpy())
        ctx.save_for_backward(mask)
        return chosen

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor, None]:
        found = torch.empty_like(gradient)
        kernels.choose_where(ctx.saved_tensors[0].numpy(), gradient.numpy(), 0.0, found.numpy())
        return None, found, None


class _Dueling(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, mask: Tensor, advantages: Tensor, values: Tensor, other: float) -> Tensor:
        joined = torch.empty_like(advantages)
        mask = mask.to(torch.int8)
        kernels.dueling(
            mask.numpy(),
            advantages.detach().numpy(),
            values.detach().numpy(),
            other,
            joined.numpy(),
        )
        ctx.save_for_backward(mask)
        return joined

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor, Tensor, None]:
        (mask,) = ctx.saved_tensors
        by_advantages, by_values = torch.empty_like(gradient), gradient.new_empty(len(gradient), 1)
        kernels.dueling_backward(
            mask.numpy(), gradient.numpy(), by_advantages.numpy(), by_values.numpy()
        )
        return None, by_advantages, by_values, None


class _Surrogate(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        scores: Tensor,
        actions: Tensor,
        logp: Tensor,
        advantages: Tensor,
        clip: float,
        entropy_coeff: float,
    ) -> tuple[Tensor, float, float]:
        gradient = torch.empty_like(scores)
        loss, entropy = kernels.surrogate(
            scores.detach().numpy(),
            actions.numpy(),
            logp.numpy(),
            advantages.numpy(),
            clip,
            entropy_coeff,
            gradient.numpy(),
        )
        ctx.save_for_backward(gradient)
        return torch.tensor(loss - entropy_coeff * entropy), loss, entropy

    @staticmethod
    def backward(ctx: Any, by_loss: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        return by_loss * ctx.saved_tensors[0], None, None, None, None, None


def _rows(values: Tensor) -> kernels.Floats:
    return values.detach().numpy().reshape(-1, values.shape[-1])


_tanh: Callable[..., Any] = _Tanh.apply
_mlp: Callable[..., Any] = _Mlp.apply
_where: Callable[..., Any] = _Where.apply
_dueling: Callable[..., Any] = _Dueling.apply
_surrogate: Callable[..., Any] = _Surrogate.apply
