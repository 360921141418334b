"""Regression, semantic augmentation, labels, LAMB and whole outer steps, against the arrays of the published code."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from paredown.distillation import InfiniteSemantic, Lamb, outer_loss
from paredown.distillation.labels import centred, initial_labels, label_margin, uncapped_margin
from paredown.distillation.regression import dual, predictions, product, regression_errors, regularised
from paredown.distillation.semantic import hardest, partners, semantic_losses
from paredown.training.optimizers import set_rate
from paredown.training.schedules import Cosine

Arrays = Mapping[str, np.ndarray]
Golden = Callable[[str, str], Arrays]

EPSILONS = (0.0, 0.5, 1.0, 1.5)
SHARES = (1.0, 0.8, 0.5, 0.0, -0.3)


def close(found: Tensor | np.ndarray, expected: np.ndarray, tolerance: float) -> None:
    """Checks that nothing is farther off than a share of the largest entry."""
    found = found.detach().numpy() if isinstance(found, Tensor) else found
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * float(np.abs(expected).max(initial=1e-30)))


def leaf(arrays: Arrays, name: str) -> Tensor:
    return torch.from_numpy(arrays[name].copy()).requires_grad_(True)


def constant(arrays: Arrays, name: str) -> Tensor:
    return torch.from_numpy(arrays[name])


@pytest.mark.parametrize(
    ("case", "tolerance"),
    [("krr_a", 1e-5), ("krr_c", 1e-5), ("krr_a_f64", 1e-9), ("krr_b_f64", 1e-9), ("krr_c_f64", 1e-9)],
)
def test_regression(golden: Golden, case: str, tolerance: float) -> None:
    arrays = golden("isa", case)
    support, labels, targets = leaf(arrays, "feat_support"), leaf(arrays, "y_support"), constant(arrays, "feat_target")
    ridge = float(arrays["reg"])
    coefficients = dual(support, labels, ridge=ridge)
    predicted = predictions(targets, support, coefficients)
    errors = regression_errors(predicted, constant(arrays, "y_target"))
    errors.mean().backward()
    close(regularised(product(support, support.mT), ridge), arrays["gram_reg"], tolerance)
    close(product(targets, support.mT), arrays["k_ts"], tolerance)
    close(coefficients, arrays["dual_coef"], tolerance)
    close(predicted, arrays["pred"], tolerance)
    close(errors.mean(), arrays["frepo_loss_mean"], tolerance)
    if "frepo_loss_per_sample" in arrays:
        close(errors, arrays["frepo_loss_per_sample"], tolerance)
    close(support.grad, arrays["grad_feat_support"], tolerance)
    close(labels.grad, arrays["grad_y_support"], tolerance)


def test_a_rank_deficient_regression_is_solved_in_float64(golden: Golden) -> None:
    # 20 images with 12 features: in float32 the original's own predictions are 0.3 off, so the equation is the measure.
    arrays = golden("isa", "krr_b")
    support, labels = (constant(arrays, name).double() for name in ("feat_support", "y_support"))
    ridge = float(arrays["reg"])
    coefficients = dual(support, labels, ridge=ridge)
    np.testing.assert_allclose(regularised(support @ support.mT, ridge) @ coefficients, labels, atol=1e-8)
    expected = np.linalg.solve(regularised(support @ support.mT, ridge).numpy(), labels.numpy())
    targets = constant(arrays, "feat_target").double()
    close(predictions(targets, support, coefficients), (targets @ support.mT).numpy() @ expected, 1e-7)


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("epsilon", EPSILONS)
@pytest.mark.parametrize(("sort", "tolerance"), [("", 1e-5), ("_f64", 1e-9)])
def test_semantic_augmentation(golden: Golden, sort: str, tolerance: float, epsilon: float, share: float) -> None:
    arrays = golden("isa", f"isa_closed_form{sort}")
    # Indices stand in the float32 file alone.
    indices = golden("isa", "isa_closed_form")
    case = f"eps{epsilon}_topk{share}"
    support, labels, targets = leaf(arrays, "feat_support"), leaf(arrays, "y_support"), constant(arrays, "feat_target")
    predicted = predictions(targets, support, dual(support, labels))
    residuals = predicted - constant(arrays, "y_target")
    kept = hardest(regression_errors(predicted, constant(arrays, "y_target")), share)
    near = partners(targets[kept])
    losses = semantic_losses(residuals[kept], near, epsilon=epsilon) / residuals.shape[1]
    losses.mean().backward()
    np.testing.assert_array_equal(kept, indices[f"{case}/selected"])
    np.testing.assert_array_equal(near, indices[f"{case}/neighbour_in_selected"])
    close(losses, arrays[f"{case}/loss_per_sample"], tolerance)
    close(losses.mean(), arrays[f"{case}/loss"], tolerance)
    close(support.grad, arrays[f"{case}/grad_feat_support"], tolerance)
    close(labels.grad, arrays[f"{case}/grad_y_support"], tolerance)


@pytest.mark.parametrize("share", [share for share in SHARES if share > 0])
@pytest.mark.parametrize("epsilon", EPSILONS)
@pytest.mark.parametrize(("sort", "tolerance"), [("", 1e-5), ("_f64", 1e-9)])
def test_the_outer_loss_of_features(golden: Golden, sort: str, tolerance: float, epsilon: float, share: float) -> None:
    arrays = golden("isa", f"isa_closed_form{sort}")
    case = f"eps{epsilon}_topk{share}"
    support, labels = leaf(arrays, "feat_support"), leaf(arrays, "y_support")
    total, parts = outer_loss(
        support,
        labels,
        constant(arrays, "feat_target"),
        constant(arrays, "y_target"),
        augmentation=InfiniteSemantic(epsilon=epsilon, keep_hardest=share),
        margin=False,
        dtype=support.dtype,
    )
    total.backward()
    close(parts.regression, arrays[f"{case}/loss"], tolerance)
    close(support.grad, arrays[f"{case}/grad_feat_support"], tolerance)
    close(labels.grad, arrays[f"{case}/grad_y_support"], tolerance)


def test_the_hardest(golden: Golden) -> None:
    arrays = golden("isa", "topk_selection")
    cases = [name for name in arrays if "/topk" in name]
    assert len(cases) > 10
    for name in cases:
        vector, _, share = name.partition("/topk")
        found = hardest(constant(arrays, vector), float(share))
        # Where all are kept their order is that of the batch, in the published loss as here.
        expected = np.sort(arrays[name]) if float(share) >= 1 else arrays[name]
        np.testing.assert_array_equal(found, expected, err_msg=name)
    for vector in {name.partition("/")[0] for name in cases}:
        np.testing.assert_array_equal(hardest(constant(arrays, vector), 0.0), arrays[f"{vector}/order"])


@pytest.mark.parametrize("classes", [10, 100, 200, 1000])
def test_labels(golden: Golden, classes: int) -> None:
    arrays = golden("isa", "labels")
    labels = constant(arrays, f"C{classes}/classes")
    close(centred(labels, classes), arrays[f"C{classes}/target"], 1e-6)
    close(centred(labels, classes), arrays[f"C{classes}/proto_unscaled"], 1e-6)
    close(initial_labels(labels, classes), arrays[f"C{classes}/proto_scaled"], 1e-6)


def test_the_margin_of_labels(golden: Golden) -> None:
    arrays = golden("isa", "label_margin")
    labels = leaf(arrays, "y")
    losses = label_margin(labels)
    losses.mean().backward()
    close(losses, arrays["per_row"], 1e-6)
    close(losses.mean(), arrays["mean"], 1e-6)
    close(-uncapped_margin(labels), arrays["raw_margin_neg"], 1e-6)
    # Ties and the cap are among the rows, where a gradient is a convention; ours is theirs.
    close(labels.grad, arrays["grad"], 1e-6)


def test_half_the_squared_error(golden: Golden) -> None:
    arrays = golden("isa", "losses")
    close(regression_errors(constant(arrays, "logits"), constant(arrays, "labels")), arrays["mse"], 1e-6)


def test_lamb(golden: Golden) -> None:
    arrays = golden("isa", "lamb_trace")
    names = ("x", "y", "z")
    tensors = {name: leaf(arrays, f"init/{name}") for name in names}
    optimizer = Lamb(tensors.values(), lr=3e-4)
    for step in range(1, 8):
        set_rate(optimizer, 3e-4 * Cosine(floor=0.1).share(step, 100))
        for name in names:
            tensors[name].grad = torch.from_numpy(arrays[f"grad{step}/{name}"].copy())
        optimizer.step()
        for name in names:
            # z begins at 0, so that all of it is steps, and theirs correct the bias of the moments by 1 - 0.999 in
            # float32, which is wrong by 1 part in 10⁵.
            close(tensors[name], arrays[f"param{step}/{name}"], 1e-5 if name == "z" else 1e-6)


def test_schedules(golden: Golden) -> None:
    arrays = golden("isa", "schedules")
    # Their steps are counted from 0, ours from 1; the learning rate is clamped at the end of either.
    ours = [3e-4 * Cosine(floor=0.1).share(int(step) + 1, 500_000) for step in arrays["proto_steps"]]
    close(np.array(ours), arrays["proto_lr"], 1e-6)
    students = Cosine(warmup=500, floor=0.01)
    # In the warm-up ours is a step ahead, because a first step with a rate of zero would be wasted.
    ours = [3e-4 * students.share(step if step < 500 else step + 1, 2000) for step in arrays["eval_steps"].tolist()]
    close(np.array(ours), arrays["eval_lr_N2000"], 1e-6)


def features(images: Tensor, arrays: Arrays) -> Tensor:
    """The features of the widening ConvNet with three blocks in inference mode; images (n, H, W, 3)."""
    x = images.permute(0, 3, 1, 2)
    for block in range(3):
        if block:
            norm = f"BatchNorm_{block - 1}"
            mean, var = (constant(arrays, f"net/batch_stats/{norm}/{name}") for name in ("mean", "var"))
            scale, bias = (constant(arrays, f"net/params/{norm}/{name}") for name in ("scale", "bias"))
            x = functional.batch_norm(x, mean, var, scale, bias, eps=1e-5)
        kernel = constant(arrays, f"net/params/Conv_{block}/kernel").permute(3, 2, 0, 1)
        x = functional.conv2d(x, kernel, constant(arrays, f"net/params/Conv_{block}/bias"), padding=1)
        x = functional.avg_pool2d(x.relu(), 2)
    return x.permute(0, 2, 3, 1).flatten(1)


@pytest.mark.parametrize(
    "case", ["flip_eps0.5_topk0.8", "noflip_eps1.0_topk0.8", "noflip_eps0_topk1"], ids=lambda case: case
)
def test_outer_steps(golden: Golden, case: str) -> None:
    arrays = golden("isa", f"outer_step_{case}")
    images, labels = leaf(arrays, "x_proto"), leaf(arrays, "y_proto")
    targets, aims = constant(arrays, "target_feat"), constant(arrays, "target_labels")
    close(features(constant(arrays, "target_images"), arrays), arrays["target_feat"], 1e-5)
    augmentation = InfiniteSemantic(epsilon=float(arrays["epsilon"]), keep_hardest=float(arrays["topk"]))
    schedule, total_steps = Cosine(floor=float(arrays["lr_alpha"])), int(arrays["lr_decay_steps"])
    optimizer = Lamb([images, labels])
    for step, trace in enumerate(arrays["trace_total_kernel_label_acc_top5_gnx_gny"], start=1):
        support = torch.cat([images, images.flip(2)]) if arrays["use_flip"] else images
        repeated = torch.cat([labels, labels]) if arrays["use_flip"] else labels
        loss, parts = outer_loss(features(support, arrays), repeated, targets, aims, augmentation=augmentation)
        images.grad, labels.grad = torch.autograd.grad(loss, (images, labels))
        if step == 1:
            close(loss, arrays["step0_loss"], 1e-4)
            close(parts.regression, arrays["step0_kernel_loss"], 1e-5)
            close(parts.margin, arrays["step0_label_loss"], 1e-5)
            close(parts.predictions, arrays["step0_pred"], 1e-4)
            close(images.grad, arrays["grad_x"], 1e-3)
            close(labels.grad, arrays["grad_y"], 1e-3)
        right = (parts.predictions.argmax(1) == aims.argmax(1)).float().mean()
        found = [float(part.detach()) for part in (loss, parts.regression, parts.margin, right)]
        np.testing.assert_allclose(found, trace[:4], rtol=1e-4, atol=1e-5)
        lengths = [float(part.norm()) for part in (images.grad, labels.grad)]
        np.testing.assert_allclose(lengths, trace[5:], rtol=1e-3)
        set_rate(optimizer, float(arrays["lr0"]) * schedule.share(step, total_steps))
        optimizer.step()
        if step in (1, 5):
            close(images, arrays[f"x_proto_after{step}"], 1e-4)
            close(labels, arrays[f"y_proto_after{step}"], 1e-4)
