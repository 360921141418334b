"""LAMB: Adam's direction, in steps whose length is a share of the length of what is learnt."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from paredown.errors import MethodError


class Lamb(torch.optim.Optimizer):
    """LAMB with one trust ratio for each tensor, bias correction, and neither weight decay nor clipping.

    u = m̂ / (√v̂ + ε), p ← p − η · ‖p‖/‖u‖ · u (You et al. 2020, algorithm 2); the ratio is 1 where either length is 0.
    So every step moves a tensor by η times its length, however large the loss is.

    Args:
        params: tensors, or groups of them.
        lr: η.
        betas: how slowly the first and the second moment forget.
        eps: ε, added to the root of the second moment.

    Raises:
        MethodError: a rate, a beta or an epsilon out of its range.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 3e-4,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
    ) -> None:
        if lr < 0 or eps < 0 or not all(0 <= beta < 1 for beta in betas):
            raise MethodError(
                f"Lamb(lr={lr}, betas={betas}, eps={eps}): the rate and eps are at least 0, and each beta lies from 0 "
                "up to, not including, 1."
            )
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Makes one step with the gradients that the tensors carry; those without one stay as they are.

        Args:
            closure: computes the loss again, with gradient.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for tensor in group["params"]:
                if tensor.grad is not None:
                    self._move(tensor, tensor.grad, **{key: group[key] for key in ("lr", "betas", "eps")})
        return loss

    def _move(self, tensor: Tensor, gradient: Tensor, lr: float, betas: tuple[float, float], eps: float) -> None:
        state = self.state[tensor]
        if not state:
            # On the CPU, as torch's own optimizers have it, so that counting needs no wait for the device.
            state["step"] = torch.tensor(0.0)
            state["exp_avg"] = torch.zeros_like(tensor, memory_format=torch.preserve_format)
            state["exp_avg_sq"] = torch.zeros_like(tensor, memory_format=torch.preserve_format)
        state["step"] += 1
        step, (first, second) = state["step"].item(), betas
        mean = state["exp_avg"].lerp_(gradient, 1 - first)
        square = state["exp_avg_sq"].mul_(second).addcmul_(gradient, gradient, value=1 - second)
        update = (mean / (1 - first**step)).div_((square / (1 - second**step)).sqrt_().add_(eps))
        length, reach = torch.linalg.vector_norm(tensor), torch.linalg.vector_norm(update)
        ratio = torch.where((length > 0) & (reach > 0), length / reach, 1.0)
        tensor.sub_(update.mul_(lr * ratio))
