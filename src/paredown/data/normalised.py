"""Images between pixels and what a network's body takes: normalised and, where the data are, whitened; both ways."""

from __future__ import annotations

import torch
from torch import Tensor

from paredown.data.augment import AbstractAugmentation
from paredown.data.dataset import AbstractImages


class Normalised:
    """What a network's first layer does to some data's images, and its inverse, on a device.

    Args:
        data: says how they are normalised and whitened.
        device: where the images are.
    """

    def __init__(self, data: AbstractImages, device: torch.device) -> None:
        def there(values: object) -> Tensor:
            return torch.as_tensor(values, dtype=torch.float32).to(device)

        self.mean, self.std = (there(part).view(-1, 1, 1) for part in (data.mean, data.std))
        self.whitening = data.whitening
        if self.whitening is not None:
            self.center = there(self.whitening.center).permute(2, 0, 1)
            self.matrix, self.inverse = there(self.whitening.matrix), there(self.whitening.inverse)

    def of(self, pixels: Tensor) -> Tensor:
        """Gives what the body takes, (B, C, H, W), of pixels in units of [0, 1]."""
        x = (pixels - self.mean) / self.std
        return x if self.whitening is None else mapped(x - self.center, self.matrix, self.whitening.blocks)

    def pixels(self, x: Tensor) -> Tensor:
        """Gives the pixels of what the body takes; some may lie outside [0, 1]."""
        if self.whitening is not None:
            x = mapped(x, self.inverse, self.whitening.blocks) + self.center
        return x * self.std + self.mean

    def augmented(self, pixels: Tensor, augmentation: AbstractAugmentation, generator: torch.Generator) -> Tensor:
        """Gives pixels that the first layer turns into augmented images, for an augmentation that works on those."""
        return self.pixels(augmentation.apply(self.of(pixels), generator))


def mapped(x: Tensor, matrix: Tensor, blocks: int) -> Tensor:
    """Multiplies the rows of images, or of their b·b sub-images, by a matrix.

    Args:
        x: (B, C, H, W); channels_last in memory, rows of whole images are a view.
        matrix: (D, D).
        blocks: sub-images in each direction.
    """
    count, channels, height, width = x.shape
    apart = x.permute(0, 2, 3, 1).reshape(count, height // blocks, blocks, width // blocks, blocks, channels)
    rows = apart.permute(0, 2, 4, 1, 3, 5).reshape(count * blocks**2, -1) @ matrix
    apart = rows.view(count, blocks, blocks, height // blocks, width // blocks, channels).permute(0, 3, 1, 4, 2, 5)
    return apart.reshape(count, height, width, channels).permute(0, 3, 1, 2)
