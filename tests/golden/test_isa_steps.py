"""Whole steps of a distillation, of learnt images and of the online networks, against those of the published code."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from paredown.distillation import InfiniteSemantic
from paredown.distillation.features import Extractor
from paredown.distillation.outer import Outer, Prototypes
from paredown.distillation.pool import Pool
from paredown.models.widening import WideningConvNet
from paredown.training.devices import Place

Arrays = Mapping[str, np.ndarray]
Golden = Callable[[str, str], Arrays]
HERE = Place(torch.device("cpu"))
SHAPE = (3, 32, 32)


def images_of(array: np.ndarray) -> Tensor:
    return torch.from_numpy(array.transpose(0, 3, 1, 2).copy())


def state(arrays: Arrays, prefix: str, body: nn.Module) -> dict[str, Tensor]:
    """Gives the published weights under the names of ours; theirs flatten features as (H, W, C), ours as (C, H, W)."""
    names, found = {nn.Conv2d: "Conv", nn.BatchNorm2d: "BatchNorm", nn.Linear: "Dense"}, {}
    counts = dict.fromkeys(names.values(), 0)
    for position, layer in body.named_children():
        kind = next((word for sort, word in names.items() if isinstance(layer, sort)), None)
        if kind is None:
            continue
        place = f"{prefix}/params/{kind}_{counts[kind]}"
        counts[kind] += 1
        if kind == "BatchNorm":
            stats = place.replace("params", "batch_stats")
            parts = {"weight": f"{place}/scale", "running_mean": f"{stats}/mean", "running_var": f"{stats}/var"}
            found |= {f"{position}.{name}": arrays[path] for name, path in parts.items()}
            found[f"{position}.num_batches_tracked"] = np.array(0)
        elif kind == "Conv":
            found[f"{position}.weight"] = arrays[f"{place}/kernel"].transpose(3, 2, 0, 1)
        else:
            kernel = arrays[f"{place}/kernel"]
            apart = kernel.reshape(4, 4, len(kernel) // 16, -1)
            found[f"{position}.weight"] = apart.transpose(3, 2, 0, 1).reshape(-1, len(kernel))
        found[f"{position}.bias"] = arrays[f"{place}/bias"]
    return {name: torch.from_numpy(np.array(value)) for name, value in found.items()}


def close(found: Tensor, expected: np.ndarray, tolerance: float) -> None:
    """Checks that nothing is farther off than a share of the largest entry."""
    held = found.detach().numpy()
    assert held.shape == expected.shape
    np.testing.assert_allclose(held, expected, rtol=0, atol=tolerance * float(np.abs(expected).max()))


def pool_of(arrays: Arrays, prefix: str) -> Pool:
    model = WideningConvNet(width=8, depth=3)
    pool = Pool(model, SHAPE, 10, networks=1, lifetime=100, lr=3e-4, seed=0, place=HERE)
    pool.bodies[0].load_state_dict(state(arrays, prefix, pool.bodies[0]))
    return pool


def test_steps_of_an_online_network(golden: Golden) -> None:
    arrays = golden("isa", "online_step_adam_bn")
    pool = pool_of(arrays, "init")
    images, labels = images_of(arrays["images"]), torch.from_numpy(arrays["labels"])
    for step in range(1, 6):
        pool.learn(0, step, images, labels)
        if step in (1, 5):
            expected = state(arrays, f"step{step}", pool.bodies[0])
            for name, value in pool.bodies[0].state_dict().items():
                if "num_batches" not in name:
                    close(value, expected[name].numpy(), 1e-5)
    assert pool.ages == [5]


class Batch:
    """The one batch of real images that the published steps were made with."""

    def __init__(self, arrays: Arrays) -> None:
        self.images, self.aims = images_of(arrays["target_images"]), torch.from_numpy(arrays["target_labels"])

    def batch(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        return self.images, self.aims, torch.arange(len(self.images))


@pytest.mark.parametrize("case", ["flip_eps0.5_topk0.8", "noflip_eps1.0_topk0.8", "noflip_eps0_topk1"])
def test_outer_steps(golden: Golden, case: str) -> None:
    arrays = golden("isa", f"outer_step_{case}")
    body = pool_of(arrays, "net").bodies[0]
    prototypes = Prototypes(
        images_of(arrays["x_proto"]),
        torch.from_numpy(arrays["y_proto"]),
        learn_labels=True,
        lr=float(arrays["lr0"]),
        steps=int(arrays["lr_decay_steps"]),
    )
    outer = Outer(
        prototypes,
        Extractor(body, SHAPE, HERE),
        Batch(arrays),  # type: ignore[arg-type]
        InfiniteSemantic(epsilon=float(arrays["epsilon"]), keep_hardest=float(arrays["topk"])),
        mirrored=bool(arrays["use_flip"]),
    )
    for step, trace in enumerate(arrays["trace_total_kernel_label_acc_top5_gnx_gny"], start=1):
        loss, parts, aims = outer.gradients(step, body)
        images, labels = prototypes.images.grad, prototypes.labels.grad
        assert images is not None and labels is not None
        if step == 1:
            close(images.permute(0, 2, 3, 1), arrays["grad_x"], 1e-3)
            close(labels, arrays["grad_y"], 1e-3)
            close(parts.predictions, arrays["step0_pred"], 1e-4)
        places = (parts.predictions > parts.predictions.gather(1, aims.argmax(1, keepdim=True))).sum(1)
        found = [loss, parts.regression, parts.margin, *((places < first).float().mean() for first in (1, 5))]
        np.testing.assert_allclose([float(value) for value in found], trace[:5], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose([float(images.norm()), float(labels.norm())], trace[5:], rtol=1e-3)
        prototypes.move(step)
        if step in (1, 5):
            close(prototypes.images.permute(0, 2, 3, 1), arrays[f"x_proto_after{step}"], 1e-4)
            close(prototypes.labels, arrays[f"y_proto_after{step}"], 1e-4)
