"""Training against arrays of the original data-diet code (JAX, flax): steps, rates, the structure of epochs."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest
import torch
from torch import nn

from paredown.data.loader import batches, epoch_order
from paredown.models.resnet import Basic, ResNet
from paredown.training.learner import learn
from paredown.training.optimizers import Sgd, set_rate
from paredown.training.schedules import Constant, Step, Triangular
from paredown.training.training import Training

Golden = Callable[[str, str], Mapping[str, np.ndarray]]


def places() -> list[tuple[str, str]]:
    """Our name of each tensor of the small network, and the original's."""
    pairs = [("stem.weight", "conv_init/kernel"), ("linear.weight", "Dense_0/kernel"), ("linear.bias", "Dense_0/bias")]
    norms = [("stem_norm", "bn_init")]
    for block in range(2):
        ours, theirs = f"blocks.{block}", f"ResNetBlock_{block}"
        pairs += [(f"{ours}.conv{i + 1}.weight", f"{theirs}/Conv_{i}/kernel") for i in range(2)]
        norms += [(f"{ours}.norm{i + 1}", f"{theirs}/BatchNorm_{i}") for i in range(2)]
    pairs.append(("blocks.1.shortcut.0.weight", "ResNetBlock_1/conv_proj/kernel"))
    norms.append(("blocks.1.shortcut.1", "ResNetBlock_1/norm_proj"))
    words = {"weight": "scale", "bias": "bias", "running_mean": "mean", "running_var": "var"}
    return pairs + [(f"{a}.{x}", f"{b}/{y}") for a, b in norms for x, y in words.items()]


def stored(arrays: Mapping[str, np.ndarray], when: int, place: str) -> torch.Tensor:
    """A tensor of the original, in torch's layout."""
    kind = "s" if place.endswith(("/mean", "/var")) else "p"
    array = arrays[f"{kind}{when}:{place}"]
    return torch.from_numpy(np.ascontiguousarray(array.transpose({4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}[array.ndim])))


class BiasedVariance:
    """Lets running variances take in the biased variance of a batch, as flax does; torch takes the unbiased one."""

    def __init__(self, network: nn.Module) -> None:
        self.norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
        self.before: dict[nn.Module, tuple[torch.Tensor, int]] = {}
        for norm in self.norms:
            norm.register_forward_pre_hook(self.remember)

    def remember(self, norm: nn.Module, inputs: tuple[torch.Tensor]) -> None:
        values = inputs[0].numel() // inputs[0].shape[1]
        self.before[norm] = norm.running_var.clone(), values

    def correct(self) -> None:
        for norm, (before, values) in self.before.items():
            taken = norm.running_var - 0.9 * before
            norm.running_var.copy_(0.9 * before + taken * (values - 1) / values)


def test_four_steps_end_on_the_same_weights_and_statistics(golden: Golden) -> None:
    arrays = golden("diet", "train_steps")
    network = ResNet(Basic, (1, 1), 4, "same", 3, 5).train()
    variance = BiasedVariance(network)
    start = {ours: stored(arrays, 0, theirs) for ours, theirs in places()}
    missing, unexpected = network.load_state_dict(start, strict=False)
    assert not unexpected and all(name.endswith("num_batches_tracked") for name in missing)

    optimizer = Sgd(lr=0.1, momentum=0.9, nesterov=True, weight_decay=float(arrays["weight_decay"])).build(network)
    for step in range(4):
        set_rate(optimizer, float(arrays["lr"][step]))
        x = torch.from_numpy(arrays["X_nhwc"][step].transpose(0, 3, 1, 2).copy())
        y = torch.from_numpy(arrays["labels"][step])
        seen, loss = learn(network, optimizer, x, y, count=len(y))
        variance.correct()
        np.testing.assert_allclose(seen.clean, arrays[f"logits_step{step + 1}"], rtol=1e-5, atol=2e-6)
        np.testing.assert_allclose(loss / len(y), arrays["loss"][step], rtol=1e-6)

    end = network.state_dict()
    for ours, theirs in places():
        np.testing.assert_allclose(end[ours], stored(arrays, 4, theirs), rtol=0, atol=1e-6, err_msg=ours)


def test_the_stepped_rate_is_exact(golden: Golden) -> None:
    arrays = golden("diet", "lr_schedule")
    for schedule in (Step(drops=(23400, 46800, 62400)), Step(drops=(0.3, 0.6, 0.8))):
        ours = [np.float32(0.1 * schedule.share(int(step), 78000)) for step in arrays["step"]]
        assert np.array_equal(ours, arrays["lr_stepped"].astype(np.float32))
    assert np.array_equal(arrays["lr_stepped"].astype(np.float32), arrays["lr_stepped"])  # float32 in the original


def test_the_triangular_rate_is_exact(golden: Golden) -> None:
    arrays = golden("diet", "lr_schedule")
    ours = [0.2 * Triangular(peak=4680).share(int(step), 31200) for step in arrays["step_vitaly"]]
    assert np.array_equal(ours, arrays["lr_vitaly"])
    assert Triangular(peak=0.15).share(4680, 31200) == 1.0


def test_without_drops_the_rate_is_constant() -> None:
    assert [Step(drops=()).share(step, 10) for step in (1, 10)] == [Constant().share(step, 10) for step in (1, 10)]


def test_epochs_are_cut_as_in_the_original(golden: Golden) -> None:
    arrays = golden("diet", "train_batches_structure")
    ids, theirs = arrays["I"], arrays["batches_this_jax"]
    plan = Training(steps=len(theirs), batch_size=5).plan(kept=len(ids), whole=50000)
    ours: list[np.ndarray] = []
    epoch = 0
    while len(ours) < plan.steps:
        ours += batches(epoch_order(ids, seed=0, epoch=epoch), 5, drop_last=True)
        epoch += 1
    assert plan.per_epoch == 3
    ours = ours[: plan.steps]
    for run in (theirs, np.stack(ours)):
        for first in range(0, len(run), 3):
            seen = run[first : first + 3].ravel()
            assert len(np.unique(seen)) == len(seen) and np.isin(seen, ids).all()
        assert not np.array_equal(np.sort(run[:3].ravel()), np.sort(run[3:6].ravel()))


@pytest.mark.parametrize(("kept", "steps"), [(50000, 78000), (25000, 78000), (100, 78000)])
def test_a_subset_keeps_the_steps_of_the_whole_data(kept: int, steps: int) -> None:
    assert Training(epochs=200).plan(kept=kept, whole=50000).steps == steps
