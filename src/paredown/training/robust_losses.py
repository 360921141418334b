"""The outer losses of adversarial training, as functions of logits: what is averaged and minimised.

Each gives one number an example, so that examples can be weighted. P is the softmax; z are the logits of the clean
image, z' those of the adversarial one.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def trades(clean: Tensor, adversarial: Tensor, y: Tensor, *, beta: float, label_smoothing: float = 0.0) -> Tensor:
    """Gives CE(z, y) + β · KL(P(z) ‖ P(z')), shape (B,).

    Zhang et al. 2019 (TRADES), equation 5, with label smoothing of the natural term; the gradient flows through both
    arguments of the divergence.

    Args:
        clean: z, shape (B, C).
        adversarial: z', shape (B, C).
        y: labels, int64 (B,).
        beta: β, called 1/λ in the paper.
        label_smoothing: of the first term.
    """
    natural = functional.cross_entropy(clean, y, reduction="none", label_smoothing=label_smoothing)
    log_p = functional.log_softmax(clean, dim=1)
    log_q = functional.log_softmax(adversarial, dim=1)
    return natural + beta * (log_p.exp() * (log_p - log_q)).sum(dim=1)


def mart(clean: Tensor, adversarial: Tensor, y: Tensor, *, beta: float) -> Tensor:
    """Gives the boosted cross-entropy of z' and β times the divergence weighted by how unsure the clean image is, (B,).

    −log P(z')_y − log(1 − max_{c≠y} P(z')_c) + β (1 − P(z)_y) KL(P(z) ‖ P(z')) (Wang et al. 2020, MART, equation 7).

    Args:
        clean: z, shape (B, C).
        adversarial: z', shape (B, C).
        y: labels, int64 (B,).
        beta: λ in the paper.
    """
    column = y[:, None]
    p, q = clean.softmax(dim=1), adversarial.softmax(dim=1)
    rival = q.scatter(1, column, 0.0).amax(dim=1)
    # The small numbers keep logarithms of 0 away; they are the original's.
    boosted = functional.cross_entropy(adversarial, y, reduction="none") - (1.0001 - rival + 1e-12).log()
    unsure = 1.0000001 - p.gather(1, column)[:, 0]
    apart = (p * (p.clamp_min(1e-12).log() - (q + 1e-12).log())).sum(dim=1)
    return boosted + beta * unsure * apart
