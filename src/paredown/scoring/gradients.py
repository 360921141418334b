"""GraNd: how large a step each example alone would make training take.

`gradient_norms` gives ‖∂ loss / ∂ parameter‖² of every example and parameter in one forward and one backward pass that
forms no weight gradient, by the closed forms of `closed_forms`. Which parameters have one is not read off the classes
of layers: every call of torch that takes a parameter is watched during the forward pass, and a parameter has a closed
form when it takes part in one such call only, as weight or bias of a function that has one. A tied weight, a layer that
is called twice, a reparametrised weight and a weight used by hand all fail that test, and go the slow, general way of
`torch.func`.
"""

from __future__ import annotations

import inspect
import math
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from paredown.artifacts.scores import Direction
from paredown.errors import MethodError
from paredown.models.taps import features, last_linear
from paredown.scoring.base import AbstractModelScorer
from paredown.scoring.closed_forms import FORMS
from paredown.scoring.errors import DATA_DIET, check_shapes, el2n
from paredown.scoring.statistics import Statistics

# Activations of all layers are held for as many examples as pass at once; more at once is faster only on a GPU.
AT_ONCE = {"cpu": 32, "cuda": 256}
# Gradients of single examples that the general way may hold at once, in bytes.
GENERAL_BYTES = 256 * 2**20


@dataclass(frozen=True)
class GradientNorms:
    """Squared gradient norms of each example.

    Args:
        squared: parameter's name → float64 (B,).
        general: names of the parameters without a closed form, which went the general way.
    """

    squared: dict[str, Tensor]
    general: tuple[str, ...]

    def total(self) -> Tensor:
        """Gives the squared norm over all parameters together, float64 (B,)."""
        return torch.stack(list(self.squared.values())).sum(0)


def gradient_norms(network: nn.Module, x: Tensor, y: Tensor) -> GradientNorms:
    """Gives ‖∂ CE(f(x_i), y_i) / ∂ w‖² for each example i and each trainable parameter w.

    Products are of the network's precision (autocast is off), sums over parameters float64.

    Args:
        network: in inference mode; no layer may mix examples. Left as it was.
        x: inputs, (B, …).
        y: labels, int64 (B,).

    Raises:
        MethodError: nothing is trainable, or a layer mixes the examples of a batch.
    """
    trainable = {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}
    if not trainable:
        raise MethodError(
            f"Grand: {type(network).__name__} has no trainable parameter, so there is no gradient to measure. "
            "Turn requires_grad on."
        )
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        stack.enter_context(torch.autocast(x.device.type, enabled=False))
        stack.enter_context(_frozen(trainable))
        # A copy where the pass has to begin anew. Examples apart from each other in memory make the cheapest groups.
        x = (x.clone() if x.is_inference() else x.detach()).contiguous()
        y = y.clone() if y.is_inference() else y
        watch = _Watch(trainable, len(x))
        with watch:
            logits = network(x)
        # Layers whose rows are examples have one row for one example; as many rows as examples may be a coincidence.
        alone = _Watch(trainable, 1)
        with alone:
            network(x[:1])
        # The pass starts from the error over its size, so that squares of the signals of examples that the network is
        # sure of do not vanish in float32; the size comes back at the end.
        error, size = _error(logits.detach(), y)
        if watch.roots:
            torch.autograd.grad(logits, watch.roots, error, allow_unused=True)
        settled = [name for name in trainable if watch.settled(name) and alone.settled(name)]
        squared = {name: watch.squared[name] for name in settled}
        general = {name: parameter for name, parameter in trainable.items() if name not in squared}
        if general:
            squared |= _general(network, x, error, general)
    return GradientNorms({name: squared[name] * size.square() for name in trainable}, tuple(general))


def _error(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The derivative of the loss by the logits, p - e_y, in units of 1 - p_y (B, C), and that unit, float64 (B,)."""
    check_shapes(logits, labels)
    others = functional.softmax(logits, dim=1).scatter(1, labels[:, None], 0.0)
    missing = others.sum(1)
    error = others.scatter(1, labels[:, None], -missing[:, None])
    return error / missing.clamp_min(torch.finfo(missing.dtype).tiny)[:, None], missing.double()


class _Watch(TorchFunctionMode):
    """Sees every call of torch in a forward pass, and measures the signal that comes back to those that have a form."""

    def __init__(self, trainable: dict[str, nn.Parameter], examples: int) -> None:
        super().__init__()
        self.names = {id(parameter): name for name, parameter in trainable.items()}
        self.examples = examples
        self.squared: dict[str, Tensor] = {}
        self.uses: Counter[str] = Counter()
        self.changed: set[str] = set()
        self.roots: list[Tensor] = []

    def settled(self, name: str) -> bool:
        """Whether the closed form of a parameter holds."""
        return name in self.squared and self.uses[name] == 1 and name not in self.changed

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        form = FORMS.get(func)
        output = func(*args, **kwargs)
        # A call that gives no tensor (a shape, a dtype) has no part in the gradient.
        if _holds_tensor(output):
            self.uses.update(self.names[id(part)] for part in _flat((args, kwargs)) if id(part) in self.names)
        if form is None:
            return output
        given = inspect.signature(form).bind(*args, **kwargs).arguments
        norms = form(**given)
        slots = {self.names[id(given[slot])]: slot for slot in ("weight", "bias") if id(given.get(slot)) in self.names}
        if norms is None or not slots or len(output) != self.examples:
            return output
        for name in slots:
            self.squared[name] = torch.zeros(self.examples, dtype=torch.float64, device=output.device)
        if not output.requires_grad:
            # The first layer with parameters: the backward pass ends here.
            self.roots.append(output.requires_grad_())
        if output.is_leaf or output._base is not None:
            # A later operation in place, such as a rectifier, may not touch a root and would take a view's hook away.
            output = output.clone()
        source: Tensor = given["input"]
        version = source._version

        def measure(signal: Tensor) -> None:
            if source._version != version:
                self.changed.update(slots)
                return
            found = norms(signal)
            self.squared.update({name: found[slot] for name, slot in slots.items()})

        output.register_hook(measure)
        return output


def _flat(value: Any) -> Iterator[Any]:
    if isinstance(value, tuple | list):
        for part in value:
            yield from _flat(part)
    elif isinstance(value, dict):
        yield from _flat(tuple(value.values()))
    else:
        yield value


def _holds_tensor(value: Any) -> bool:
    return any(isinstance(part, Tensor) for part in _flat(value))


@contextmanager
def _frozen(trainable: dict[str, nn.Parameter]) -> Iterator[None]:
    """Turns the parameters' gradients off, so that the backward pass forms none of them."""
    for parameter in trainable.values():
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trainable.values():
            parameter.requires_grad_(True)


def _general(network: nn.Module, x: Tensor, error: Tensor, chosen: dict[str, nn.Parameter]) -> dict[str, Tensor]:
    """Squared norms by forming each example's gradient of the chosen parameters, many examples at a time."""
    detached = {name: parameter.detach() for name, parameter in chosen.items()}

    def along(parameters: dict[str, Tensor], image: Tensor, own: Tensor) -> Tensor:
        return (torch.func.functional_call(network, parameters, (image[None],))[0] * own).sum()

    def squared(image: Tensor, own: Tensor) -> dict[str, Tensor]:
        gradients = torch.func.grad(along)(detached, image, own)
        return {name: gradient.double().square().sum() for name, gradient in gradients.items()}

    bytes_each = sum(parameter.numel() * parameter.element_size() for parameter in chosen.values())
    chunk = max(1, min(len(x), GENERAL_BYTES // bytes_each))
    try:
        return torch.func.vmap(squared, chunk_size=chunk)(x, error)
    except RuntimeError:
        # What vmap cannot follow, such as a branch on a value, is done one example at a time.
        rows = [squared(image, own) for image, own in zip(x, error, strict=True)]
        return {name: torch.stack([row[name] for row in rows]) for name in detached}


@dataclass(frozen=True)
class Grand(AbstractModelScorer):
    """GraNd: the norm of the gradient of one example's loss over all parameters, ‖∇_w CE(f(x), y)‖₂.

    Exact, by closed forms for each layer: about the cost of one step of training. Published at initialisation and after
    a few epochs; only the latter replicates (Kirsch 2023, arXiv 2303.14753): with untrained running statistics it
    follows the norm of the input. Paul, Ganguli, Dziugaite 2021, definition 2.1.

    Args:
        bn: statistics of batch normalisation, see `scoring.statistics`; they count as constants.
    """

    bn: Statistics = "running"

    important: ClassVar[Direction] = "high"
    low: ClassVar[float] = 0.0
    high: ClassVar[float] = math.inf
    paper: ClassVar[str] = f"{DATA_DIET}, definition 2.1"

    def values(self, network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        size = AT_ONCE.get(x.device.type, 32)
        parts = zip(x.split(size), y.split(size), strict=True)
        return torch.cat([gradient_norms(network, image, label).total().sqrt() for image, label in parts])

    def notes(self, network: nn.Module, x: Tensor, y: Tensor) -> dict[str, Any]:
        """Gives which parameters had no closed form, from a look at two examples."""
        return {"without_closed_form": list(gradient_norms(network, x[:2], y[:2]).general)}


@dataclass(frozen=True)
class LastLayerGrand(AbstractModelScorer):
    """GraNd of the last linear layer only, in closed form: ‖p - e_y‖₂ √(1 + ‖h‖²), h its input.

    One forward pass. Not GraNd: it leaves out all other layers, and DeepCore's "GraNd" is this one. Exact for weight
    and bias together; without a bias the 1 falls away.

    Args:
        bn: statistics of batch normalisation, see `scoring.statistics`.
    """

    bn: Statistics = "running"

    important: ClassVar[Direction] = "high"
    low: ClassVar[float] = 0.0
    high: ClassVar[float] = math.inf
    paper: ClassVar[str] = f"{DATA_DIET}, definition 2.1, last layer only"

    def values(self, network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        seen, logits = features(network, x)
        constant = 0.0 if last_linear(network).bias is None else 1.0
        return el2n(logits, y).double() * (constant + seen.double().square().sum(1)).sqrt()
