"""Features of images under a network that stands still: what a regression sees."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from paredown.models.taps import features, last_linear
from paredown.training.devices import Place

AT_ONCE = 32 * 32 * 32
"""Pixels that a CPU takes at once: 32 images of 32×32, whose maps stay in its caches."""
AT_ONCE_ON_GPU = 32 * AT_ONCE
HELD = 2048 * 32 * 32
"""Pixels of images, at most, whose maps are all kept for the gradient; of more they are made again part by part, so
that memory grows with the features alone."""


class Extractor:
    """Gives features under a network's weights of the moment, in evaluation mode; only images get a gradient.

    The weights are copied, those of convolutions and linear layers in the precision that they compute in, so that
    nothing is converted part by part.

    Args:
        body: of the architecture; its weights do not matter.
        shape: channels, height and width of one image.
        place: where it runs and in which precision.
        compiled: run it through `torch.compile`; on a GPU as CUDA graphs.

    Raises:
        MethodError: the network has no penultimate features.
    """

    def __init__(self, body: nn.Module, shape: tuple[int, int, int], place: Place, *, compiled: bool = False) -> None:
        self.place = place
        self.body = copy.deepcopy(body).eval().requires_grad_(False)
        found, _ = features(self.body, torch.zeros(2, *shape, device=place.device))
        self.width = found.shape[1]
        # Without its last layer the network gives what that layer sees, and no hook stands in the way of compiling.
        _take_out(self.body, last_linear(self.body))
        if place.bfloat16:
            for layer in self.body.modules():
                if isinstance(layer, nn.Conv2d | nn.Linear):
                    layer.to(torch.bfloat16)
        self._graphs = compiled and place.device.type == "cuda"
        self._run = self._features
        if compiled:
            self._run = torch.compile(self._features, mode="reduce-overhead" if self._graphs else "default")

    @torch.no_grad()
    def load(self, body: nn.Module) -> None:
        """Takes over the weights and statistics of a network of the same architecture."""
        other = body.state_dict()
        for name, mine in self.body.state_dict().items():
            mine.copy_(other[name])

    @torch.no_grad()
    def of(self, images: Tensor) -> Tensor:
        """Gives the features of images, float32 (B, d), without gradient."""
        return torch.cat([self._part(part) for part in self._parts(images)])

    def with_gradient(self, images: Tensor, *, mirrored: bool) -> Tensor:
        """Gives the features of images, and of their mirror images after them, float32 (N, d).

        Args:
            images: shape (n, C, H, W).
            mirrored: add the images mirrored left to right.
        """
        whole = torch.cat([images, images.flip(3)]) if mirrored else images
        whole = whole.contiguous(memory_format=torch.channels_last)
        if len(whole) * whole[0, 0].numel() <= HELD:
            return torch.cat([self._part(part) for part in self._parts(whole)])
        return torch.cat([checkpoint(self._part, part, use_reentrant=False) for part in self._parts(whole)])

    def _parts(self, images: Tensor) -> tuple[Tensor, ...]:
        most = AT_ONCE_ON_GPU if self.place.device.type == "cuda" else AT_ONCE
        return images.split(max(1, most // images[0, 0].numel()))

    def _part(self, images: Tensor) -> Tensor:
        # What a CUDA graph gives lies where its next replay will write.
        return self._run(images).clone() if self._graphs else self._run(images)

    def _features(self, images: Tensor) -> Tensor:
        with self.place.autocast():
            return self.body(images).float()


def _take_out(body: nn.Module, layer: nn.Module) -> None:
    for parent in body.modules():
        for name, child in parent.named_children():
            if child is layer:
                setattr(parent, name, nn.Identity())
