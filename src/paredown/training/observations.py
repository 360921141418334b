"""What the logits of a batch say of its examples, and one epoch of it on the device."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
from torch.nn import functional

from paredown.artifacts.dynamics import ADVERSARIAL_QUANTITIES, ALL_QUANTITIES, QUANTITIES

PENDING = 1 << 20
"""Logits that wait, at most, to be observed together: 4 MB."""

FURTHEST = -65504.0
"""The lowest logarithm of a probability that is remembered: the lowest number of float16."""

WAITING = ("rows", "logits", "labels", "adversarial")
"""What waits, by the names under which it is saved."""

SHARED_ROWS = 65_536
"""Rows of what several processes remember that they make one at a time."""


def observe(
    logits: torch.Tensor,
    labels: torch.Tensor,
    quantities: Iterable[str] = QUANTITIES,
    before: torch.Tensor | None = None,
    adversarial: torch.Tensor | None = None,
) -> dict[str, torch.Tensor]:
    """Gives what the logits of a batch say about its examples, in float32 whatever the logits' type.

    With `p = softmax(z)`: confidence `p_y`; correct `argmax z = y`; margin `z_y − max_{c≠y} z_c` (Pleiss et al. 2020,
    AUM, eq. 1); loss `−log p_y`; EL2N `‖p − e_y‖₂` (Paul et al. 2021, section 2); probability margin
    `p_y − max_{c≠y} p_c` (Zheng et al. 2023, CCS); divergence `Σ_c |p_c (log p_c − log p_c before)|` (Zhang et al.
    2024, TDDS). Adversarial confidence and correct are the first two, of the adversarial logits.

    Args:
        logits: shape (B, C); of none but adversarial quantities these are not looked at.
        labels: int64, shape (B,).
        quantities: which of them.
        before: logarithms of the probabilities when the examples were presented before, shape (B, C), NaN where they
            were not; none where nothing is remembered.
        adversarial: logits of what an attack reached, shape (B, C); without them no adversarial quantity is given.

    Returns:
        float32 tensors of shape (B,) on the logits' device, by name.
    """
    wanted = set(quantities)
    logits, column = logits.detach().float(), labels[:, None]
    seen: dict[str, torch.Tensor] = {}
    if wanted & {"confidence", "loss", "el2n", "probability-margin", "divergence"}:
        log_p = functional.log_softmax(logits, dim=1)
        log_p_y = log_p.gather(1, column)[:, 0]
        seen["loss"] = -log_p_y
        seen["confidence"] = log_p_y.exp()
        if "divergence" in wanted:
            since = torch.full_like(log_p, torch.nan) if before is None else log_p - before.float()
            seen["divergence"] = (log_p.exp() * since.abs_()).sum(1)
        if wanted & {"el2n", "probability-margin"}:
            error = log_p.exp_().scatter_(1, column, 0.0)
            seen["probability-margin"] = seen["confidence"] - error.amax(1)
        if "el2n" in wanted:
            # At the label p_y − 1 is minus what the others have, which keeps its digits where p_y is nearly 1.
            error.scatter_(1, column, -error.sum(1, keepdim=True))
            seen["el2n"] = torch.linalg.vector_norm(error, dim=1)
    if "correct" in wanted:
        seen["correct"] = (logits.argmax(1) == labels).float()
    if "margin" in wanted:
        of_label = logits.gather(1, column)[:, 0]
        seen["margin"] = of_label - logits.scatter(1, column, -torch.inf).amax(1)
    if adversarial is not None:
        moved = adversarial.detach().float()
        seen["adversarial-confidence"] = moved.softmax(1).gather(1, column)[:, 0]
        seen["adversarial-correct"] = (moved.argmax(1) == labels).float()
    return {name: seen[name] for name in (*ALL_QUANTITIES, *ADVERSARIAL_QUANTITIES) if name in wanted & seen.keys()}


class Buffers:
    """One epoch of quantities on the device: N floats each, NaN until an example is seen.

    Batches wait until about `PENDING` logits have come together: a dozen small operations for many batches at once cost
    next to nothing, and after each step they would not. For the divergence the probabilities of each example's last
    presentation are remembered from epoch to epoch.
    """

    def __init__(self, examples: int, quantities: tuple[str, ...], device: torch.device) -> None:
        self.quantities = quantities
        self._values = torch.full((len(quantities), examples), torch.nan, device=device)
        self._before: torch.Tensor | None = None  # (N, C), once the first logits say how many classes there are
        self._fresh = torch.zeros(examples, dtype=torch.bool, device=device)
        self._waiting: list[tuple[torch.Tensor, ...]] = []
        self._logits = 0

    def put(
        self,
        rows: torch.Tensor,
        logits: torch.Tensor | None,
        labels: torch.Tensor,
        adversarial: torch.Tensor | None = None,
    ) -> None:
        """Takes a batch: its rows (int64, each at most once an epoch), logits that nobody changes later, and labels.

        Of an epoch either every batch has adversarial logits or none; clean ones may be missing where only adversarial
        quantities are kept.
        """
        if logits is None:
            logits = adversarial  # what stands in its place is not looked at
        assert logits is not None
        self._waiting.append((rows, logits, labels) if adversarial is None else (rows, logits, labels, adversarial))
        self._logits += logits.numel()
        if self._logits >= PENDING:
            self._observe()

    def values(self) -> torch.Tensor:
        """Gives the epoch as it stands, float32 of shape (quantities, N)."""
        self._observe()
        return self._values

    def clear(self) -> None:
        """Forgets the epoch, and remembers what the next one is compared with."""
        self._waiting, self._logits = [], 0
        self._values.fill_(torch.nan)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Gives what is known and what waits: saving it must not change which batches are observed together."""
        # Without adversarial logits the last name is left over.
        waiting = zip(WAITING, map(torch.cat, zip(*self._waiting, strict=True)), strict=False)
        remembered = {} if self._before is None else {"before": self._before}
        return {"values": self._values} | remembered | (dict(waiting) if self._waiting else {})

    def share(self, total: Callable[[torch.Tensor], torch.Tensor]) -> None:
        """Makes what several processes remember one: since the last time each has seen other examples.

        Args:
            total: gives the sum of a tensor over the processes.
        """
        self._observe()
        if "divergence" not in self.quantities:
            return
        # One that has seen nothing does not know how many classes there are.
        classes = 0 if self._before is None else self._before.shape[1]
        known = total(torch.tensor([float(classes), float(classes > 0)], device=self._values.device))
        if not known[1]:
            return
        if self._before is None:
            self._before = self._nothing_before(int(known[0] / known[1]))
        for part in range(0, len(self._before), SHARED_ROWS):
            before, fresh = (whole[part : part + SHARED_ROWS] for whole in (self._before, self._fresh[:, None]))
            seen = total(torch.where(fresh, before, 0).float())
            before.copy_(torch.where(total(fresh.float()) > 0, seen, before.float()))
        self._fresh.fill_(False)

    def restore(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Takes back what `tensors` gave."""
        device = self._values.device
        self._values.copy_(tensors["values"])
        if "before" in tensors:
            self._before = tensors["before"].to(device, copy=True)
        if "logits" in tensors:
            rows, logits, labels = (tensors[name].to(device) for name in WAITING[:3])
            adversarial = tensors.get("adversarial")
            self.put(rows, logits, labels, None if adversarial is None else adversarial.to(device))

    def _nothing_before(self, classes: int) -> torch.Tensor:
        shape = (len(self._fresh), classes)
        return torch.full(shape, torch.nan, dtype=torch.float16, device=self._values.device)

    def _observe(self) -> None:
        if not self._waiting:
            return
        rows, logits, labels, *adversarial = map(torch.cat, zip(*self._waiting, strict=True))
        before = None
        if "divergence" in self.quantities:
            if self._before is None:
                self._before = self._nothing_before(logits.shape[1])
            before = self._before[rows]
            now = functional.log_softmax(logits.detach().float(), dim=1).clamp_min_(FURTHEST)
            self._before[rows] = now.half()
            self._fresh[rows] = True
        seen = observe(logits, labels, self.quantities, before, *adversarial)
        self._values[:, rows] = torch.stack([seen[name] for name in self.quantities])
        self._waiting, self._logits = [], 0
