"""What attacks climb: functions of logits, one number an example, larger where the network is more wrong."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from paredown.attacks.base import TINY


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """Gives -log p_y, shape (B,)."""
    return functional.cross_entropy(logits, y, reduction="none")


def margin(logits: Tensor, y: Tensor) -> Tensor:
    """Gives the largest other logit less the label's, shape (B,): above 0 the example is misclassified."""
    return others(logits, y) - logits.gather(1, y[:, None])[:, 0]


def carlini_wagner(logits: Tensor, y: Tensor) -> Tensor:
    """Gives min(margin, 0): the margin loss of Carlini and Wagner 2017, which stops where the example is wrong."""
    return margin(logits, y).clamp_max(0.0)


def dlr(logits: Tensor, y: Tensor) -> Tensor:
    """Gives the difference of logits ratio, -(z_y - max_{c≠y} z_c) / (z_(1) - z_(3)), shape (B,).

    Croce and Hein 2020 (AutoAttack), equation 6: it does not change when the logits are scaled or shifted, so a network
    cannot hide behind small gradients. With two classes the second takes the place of the third.
    """
    ranked = logits.sort(dim=1, descending=True).values
    spread = ranked[:, 0] - ranked[:, min(2, logits.shape[1] - 1)]
    return margin(logits, y) / (spread + TINY)


def targeted_dlr(logits: Tensor, y: Tensor, target: Tensor) -> Tensor:
    """Gives -(z_y - z_t) / (z_(1) - (z_(3) + z_(4)) / 2), shape (B,); Croce and Hein 2020, equation 7."""
    ranked = logits.sort(dim=1, descending=True).values
    last = logits.shape[1] - 1
    spread = ranked[:, 0] - 0.5 * (ranked[:, min(2, last)] + ranked[:, min(3, last)])
    of_target, of_label = logits.gather(1, target[:, None])[:, 0], logits.gather(1, y[:, None])[:, 0]
    return (of_target - of_label) / (spread + TINY)


def divergence(logits: Tensor, clean: Tensor) -> Tensor:
    """Gives KL(p ‖ softmax(z)) from clean probabilities p, shape (B,): what TRADES climbs.

    Zhang et al. 2019, equation 5.
    """
    return functional.kl_div(functional.log_softmax(logits, dim=1), clean, reduction="none").sum(dim=1)


def others(logits: Tensor, y: Tensor) -> Tensor:
    """Gives the largest logit besides the label's, shape (B,)."""
    return logits.scatter(1, y[:, None], -float("inf")).amax(dim=1)
