"""Differentiable augmentation against arrays of the original code, with the parameters that it drew."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest
import torch
from tests.golden.flax_nets import images, tensor
from torch import Tensor

from paredown.data.differentiable import colored, cropped, cut_out, flipped, rotated, translated

Golden = Callable[[str, str], Mapping[str, np.ndarray]]
MADE: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "flip": lambda x, p: flipped(x, p.reshape(len(x), -1)[:, 0] < 0),
    "rotate": lambda x, p: rotated(x, p.reshape(len(x), -1)[:, 0]),
    "translate": lambda x, p: translated(x, p.reshape(len(x), 2)),
    "crop": lambda x, p: cropped(x, p.reshape(len(x), 3)[:, 0], p.reshape(len(x), 3)[:, 1:]),
    "cutout": lambda x, p: cut_out(x, p.reshape(len(x), 2), 8),
    "color": lambda x, p: colored(x, *p.reshape(len(x), 3).unbind(1)),
}


@pytest.mark.parametrize("operation", sorted(MADE))
def test_operations_are_the_originals(operation: str, golden: Golden) -> None:
    arrays = golden("isa", "augment")
    stored = next(arrays[name] for name in ("images", "image", "x") if name in arrays)
    x, params = images(stored), tensor(arrays[f"{operation}/params"]).float()
    theirs = images(arrays[f"{operation}/out"])
    ours = MADE[operation](x, params)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4 * float(theirs.abs().max()))
