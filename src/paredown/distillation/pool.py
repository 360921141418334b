"""The pool of online networks: each is trained on the learnt images for a while, a step at a time, and then replaced.

A regression on the features of networks of many ages keeps the images from fitting any one of them (Zhou et al. 2022,
FRePo, section 3.3). Which network a step uses, and what a fresh one begins with, are functions of the seed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from paredown.models.build import AbstractModel
from paredown.rng import key, stream
from paredown.training.devices import Place
from paredown.training.resume import optimizer_tensors, restore_optimizer

BATCH = 1000
"""Learnt images that one step of an online network sees, at most."""


class Pool:
    """Networks of staggered ages.

    Args:
        model: their architecture.
        shape: of one image.
        classes: number of logits.
        networks: how many there are.
        lifetime: a network that has taken more steps than these is replaced by a fresh one.
        lr: of their Adam.
        seed: of their weights, and of which is used when.
        place: where they are.
    """

    def __init__(
        self,
        model: AbstractModel,
        shape: tuple[int, int, int],
        classes: int,
        *,
        networks: int,
        lifetime: int,
        lr: float,
        seed: int,
        place: Place,
    ) -> None:
        self.model, self.shape, self.classes = model, shape, classes
        self.lifetime, self.lr, self.seed, self.place = lifetime, lr, seed, place
        self.ages = [number * (lifetime // networks) for number in range(networks)]
        self.births = [0] * networks
        self.bodies = [self._fresh(number) for number in range(networks)]
        self.optimizers = [self._optimizer(body) for body in self.bodies]

    def drawn(self, step: int) -> int:
        """Gives the number of the network that a step uses; with replacement, so one may come twice in a row."""
        return int(stream(self.seed, "pool", step).integers(len(self.bodies)))

    def learn(self, number: int, step: int, images: Tensor, labels: Tensor) -> None:
        """Lets a network take a step on the learnt images, or replaces it when it has taken all of its own.

        Half the squared error of its logits, in training mode, on all images or on `BATCH` drawn ones.

        Args:
            number: which network.
            step: of the distillation.
            images: shape (n, C, H, W).
            labels: shape (n, classes).
        """
        if self.ages[number] > self.lifetime:
            self.births[number] += 1
            self.ages[number] = 0
            self.bodies[number] = self._fresh(number)
            self.optimizers[number] = self._optimizer(self.bodies[number])
            return
        images, labels = images.detach(), labels.detach()
        if len(images) >= BATCH:
            rows = stream(self.seed, "online", step).permutation(len(images))[:BATCH]
            where = torch.from_numpy(np.sort(rows)).to(images.device)
            images, labels = images[where], labels[where]
        body, optimizer = self.bodies[number], self.optimizers[number]
        body.train().requires_grad_(True)
        with self.place.autocast():
            logits = body(images)
        ((logits.float() - labels).square().sum() / (2 * len(images))).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        body.eval().requires_grad_(False)
        self.ages[number] += 1

    def cursor(self) -> dict[str, Any]:
        """Gives ages and births: what the tensors do not say."""
        return {"ages": self.ages, "births": self.births}

    def tensors(self) -> dict[str, Tensor]:
        """Gives weights, statistics and the optimizers' moments."""
        held: dict[str, Tensor] = {}
        for number, (body, optimizer) in enumerate(zip(self.bodies, self.optimizers, strict=True)):
            parts = {f"body.{name}": value for name, value in body.state_dict().items()} | optimizer_tensors(optimizer)
            held |= {f"pool.{number}.{name}": value for name, value in parts.items()}
        return held

    def restore(self, cursor: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Takes back what `cursor` and `tensors` gave."""
        self.ages, self.births = list(cursor["ages"]), list(cursor["births"])
        for number, (body, optimizer) in enumerate(zip(self.bodies, self.optimizers, strict=True)):
            prefix = f"pool.{number}."
            mine = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
            body.load_state_dict(
                {name.removeprefix("body."): value for name, value in mine.items() if name.startswith("body.")}
            )
            restore_optimizer(optimizer, mine)

    def _fresh(self, number: int) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(key(self.seed, "online", number, self.births[number]))
            body = self.model.build(self.shape, self.classes)
        body = body.to(self.place.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return body.eval().requires_grad_(False)

    def _optimizer(self, body: nn.Module) -> torch.optim.Adam:
        return torch.optim.Adam(body.parameters(), lr=self.lr, fused=self.place.device.type == "cuda")
