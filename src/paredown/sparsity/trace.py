"""One pass through a network without numbers: which layers read what, and which channels are tied to each other.

The pass runs on torch's `meta` device, so that it costs neither memory nor time. Tensors carry a tag: the channels
that they hold, and the layers that made them. Convolutions, linear layers and batch normalisations are seen as modules;
between them stand operations of torch, of which those that keep channels apart are known by name. What is not known
is remembered by name: it does not hinder the description of layers, only that of groups.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode

from paredown.errors import MethodError

LAYERS = (nn.Conv2d, nn.Linear)
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
# Statistics over several channels: one cannot go without changing what the others become.
MIXING_NORMS = (nn.GroupNorm, nn.LayerNorm, nn.InstanceNorm2d)

# Operations of one tensor that leave every channel where it is; in place they are called the same and an underscore.
KEEP = frozenset(
    (
        *(
            "relu",
            "silu",
            "gelu",
            "leaky_relu",
            "elu",
            "sigmoid",
            "tanh",
            "hardtanh",
            "hardswish",
            "hardsigmoid",
            "mish",
        ),
        *("softplus", "clone", "detach", "alias", "_to_copy", "native_dropout", "neg", "abs", "exp", "sqrt", "pow"),
        *("clamp", "max_pool2d_with_indices", "avg_pool2d", "_adaptive_avg_pool2d", "adaptive_max_pool2d"),
        *("upsample_nearest2d", "upsample_bilinear2d"),
    )
)
# Operations of two tensors, element by element: where both hold channels, these are tied.
PAIR = frozenset(("add", "sub", "mul", "div", "maximum", "minimum"))
OVER_POSITIONS = frozenset(("mean", "sum", "amax"))
RESHAPE = frozenset(("view", "_unsafe_view", "reshape", "squeeze"))


@dataclass(eq=False)
class Dim:
    """Channels that can only go together, as they are found: unions point to the one that stands for them."""

    size: int
    fixed: bool = False
    writers: list[str] = field(default_factory=list)
    readers: list[tuple[str, int, int]] = field(default_factory=list)
    norms: list[tuple[str, int, int]] = field(default_factory=list)
    parent: Dim | None = None

    def root(self) -> Dim:
        at = self
        while at.parent is not None:
            at = at.parent
        return at

    def join(self, other: Dim) -> None:
        """Ties these channels to others, one by one."""
        mine, its = self.root(), other.root()
        if mine is its:
            return
        its.parent = mine
        mine.fixed |= its.fixed
        for kind in ("writers", "readers", "norms"):
            getattr(mine, kind).extend(getattr(its, kind))


@dataclass(frozen=True)
class Tag:
    """What a tensor holds.

    Args:
        channels: along its second dimension, in order: channels, and how many features stand for each.
        last: the layers that made it, through nothing but elementwise work.
        above: all layers above it.
        depth: layers on the longest way from the image.
        direct: the one layer that made it, where nothing was added since.
        unknown: the operation after which channels cannot be followed.
    """

    channels: tuple[tuple[Dim, int], ...]
    last: frozenset[str] = frozenset()
    above: frozenset[str] = frozenset()
    depth: int = 0
    direct: str = ""
    unknown: str = ""


@dataclass
class Call:
    """What is known of a layer: the tag that it reads, the shape of one example of it, the sizes of what it gives."""

    reads: Tag
    given: tuple[int, ...]
    side: tuple[int, int]
    positions: int


class Trace(TorchDispatchMode):
    """Follows tags through one pass; `calls`, `beside`, `dims` and `problem()` hold what was found."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: dict[int, Tag] = {}
        self.alive: list[Tensor] = []  # an id means nothing once its tensor is gone
        self.dims: list[Dim] = []
        self.calls: dict[str, Call] = {}
        self.beside: dict[str, str] = {}
        self.lost: list[Tag] = []
        self.inside = 0

    def new(self, size: int, **known: Any) -> Dim:
        dim = Dim(size, **known)
        self.dims.append(dim)
        return dim

    def tag(self, tensor: Tensor, tag: Tag) -> None:
        self.alive.append(tensor)
        self.tags[id(tensor)] = tag

    def of(self, tensor: Any) -> Tag | None:
        return self.tags.get(id(tensor)) if isinstance(tensor, Tensor) else None

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if not self.inside:
            given = [value for arg in args for value in (arg if isinstance(arg, list | tuple) else (arg,))]
            tagged = [value for value in given if self.of(value) is not None]
            if tagged:
                self.follow(func.overloadpacket.__name__, given, tagged, args, out)
        return out

    def follow(self, name: str, given: Sequence[Any], tagged: Sequence[Tensor], args: Any, out: Any) -> None:
        """Tags what an operation gives."""
        results = [value for value in (out if isinstance(out, list | tuple) else (out,)) if isinstance(value, Tensor)]
        if not results:
            return
        tags = [self.tags[id(tensor)] for tensor in tagged]
        first, result = tagged[0], results[0]
        unknown = next((tag.unknown for tag in tags if tag.unknown), "")
        made: Tag | None = None
        name = name.removesuffix("_")  # in place the result is the operand
        if not unknown:
            if name in KEEP or _spares_channels(name, first, args):
                made = tags[0]
            elif name in RESHAPE:
                made = _reshaped(tags[0], first, result)
            elif name == "cat" and result.dim() > 1 and (args[1] if len(args) > 1 else 0) in (1, 1 - result.dim()):
                made = self.joined(tags, tuple(part for tag in tags for part in tag.channels))
            elif name in PAIR and len(tags) == 2:
                made = self.paired(name, tags[0], tags[1])
            elif name in PAIR:
                self.hold(tags[0], first, given)
                made = tags[0]
        if made is None:
            made = self.joined(tags, tuple(part for tag in tags for part in tag.channels))
            made = replace(made, unknown=unknown or name)
            self.lost.append(made)
        for tensor in results:
            self.tag(tensor, made)

    def joined(self, tags: Sequence[Tag], channels: tuple[tuple[Dim, int], ...]) -> Tag:
        return Tag(
            channels,
            last=frozenset().union(*(tag.last for tag in tags)),
            above=frozenset().union(*(tag.above for tag in tags)),
            depth=max(tag.depth for tag in tags),
        )

    def problem(self) -> str:
        """Gives the first operation after which channels that could go cannot be followed; empty where all can."""
        return next((tag.unknown for tag in self.lost if not all(dim.root().fixed for dim, _ in tag.channels)), "")

    def paired(self, name: str, left: Tag, right: Tag) -> Tag | None:
        """Ties the channels of two tensors; at an addition, looks whether one is a block's projection."""
        sizes = [[(part.size, repeat) for part, repeat in tag.channels] for tag in (left, right)]
        if sizes[0] != sizes[1]:
            return None
        for (mine, _), (its, _) in zip(left.channels, right.channels, strict=True):
            mine.join(its)
        if name == "add":
            for short, long in ((left, right), (right, left)):
                if short.direct and long.depth > short.depth:
                    self.look_beside(short.direct, long)
        return self.joined((left, right), left.channels)

    def look_beside(self, name: str, long: Tag) -> None:
        """A layer alone on its way, beside others that begin with one that reads the same, is a projection."""
        reads = self.calls[name].reads.last
        same = [other for other in long.above if other != name and self.calls[other].reads.last == reads]
        if same and reads:
            self.beside[name] = min(same, key=list(self.calls).index)

    def hold(self, tag: Tag, tensor: Tensor, given: Sequence[Any]) -> None:
        """Channels meet numbers that no module holds, such as a mean of the image: they cannot go."""
        others = [value for value in given if isinstance(value, Tensor) and value is not tensor]
        if any(value.dim() >= tensor.dim() - 1 and value.shape[1 - tensor.dim()] > 1 for value in others):
            for dim, _ in tag.channels:
                dim.root().fixed = True

    def enter(self, *_: Any) -> None:
        self.inside += 1

    def layer(self, name: str, module: nn.Module, given: Any, out: Tensor) -> None:
        """Tags what a layer gives, and notes what it reads."""
        self.inside -= 1
        if self.inside:
            return
        read = self.of(given[0])
        if read is None:
            read = Tag((), unknown="nothing known")
        positions = out.numel() // out.shape[0] // (out.shape[1] if isinstance(module, nn.Conv2d) else out.shape[-1])
        side = (int(out.shape[2]), int(out.shape[3])) if isinstance(module, nn.Conv2d) else (1, 1)
        before = self.calls.get(name)
        self.calls[name] = Call(read, tuple(given[0].shape[1:]), side, positions + (before.positions if before else 0))
        offset = 0
        for dim, repeat in read.channels if not read.unknown else ():
            dim.root().readers.append((name, offset, repeat))
            offset += dim.size * repeat
        wide = out.shape[1] if out.dim() in (2, 4) else out.shape[-1]
        made = self.new(int(wide), writers=[name])
        unknown = "" if out.dim() in (2, 4) else f"{type(module).__name__} on {out.dim()} dimensions"
        if isinstance(module, nn.Conv2d) and module.groups > 1:
            if module.groups == module.in_channels == module.out_channels and len(read.channels) == 1:
                made.join(read.channels[0][0])  # a depthwise convolution gives the channels that it reads
            else:
                for dim, _ in (*read.channels, (made, 1)):
                    dim.root().fixed = True
        above = read.above | {name}
        tag = Tag(((made, 1),), frozenset((name,)), above, read.depth + 1, name, unknown)
        self.tag(out, tag)
        if unknown:
            self.lost.append(tag)

    def norm(self, name: str, module: nn.Module, given: Any, out: Tensor) -> None:
        """Normalisation keeps the channels that it reads; of those that mix channels none can go."""
        self.inside -= 1
        read = self.of(given[0])
        if self.inside or read is None:
            return
        offset = 0
        for dim, repeat in read.channels:
            dim.root().norms.append((name, offset, repeat))
            dim.root().fixed |= isinstance(module, MIXING_NORMS)
            offset += dim.size * repeat
        self.tag(out, read)


def _spares_channels(name: str, tensor: Tensor, args: Any) -> bool:
    """Says whether an operation sums, averages or pads over positions alone."""
    if name == "constant_pad_nd":
        return len(args[1]) <= 2 * (tensor.dim() - 2)
    dims = args[1] if name in OVER_POSITIONS and len(args) > 1 and isinstance(args[1], list | tuple) else ()
    return bool(dims) and all(dim % tensor.dim() > 1 for dim in dims)


def _reshaped(tag: Tag, before: Tensor, after: Tensor) -> Tag | None:
    """Maps of a channel that are laid out one after the other stand for it; any other new shape loses track."""
    if before.shape[:2] == after.shape[:2] and after.dim() in (2, 4):
        return tag
    if after.dim() == 2 and after.shape[0] == before.shape[0]:
        features = int(before.shape[2:].numel())
        return replace(tag, channels=tuple((dim, repeat * features) for dim, repeat in tag.channels))
    return None


@contextmanager
def _hooked(network: nn.Module, trace: Trace) -> Iterator[None]:
    handles = []
    for name, module in network.named_modules():
        if isinstance(module, LAYERS + BATCH_NORMS + MIXING_NORMS):
            seen = trace.layer if isinstance(module, LAYERS) else trace.norm
            handles.append(module.register_forward_pre_hook(trace.enter))
            handles.append(
                module.register_forward_hook(
                    lambda module, given, out, seen=seen, name=name: seen(name, module, given, out)
                )
            )
    training = [module for module in network.modules() if module.training]
    network.eval()
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        for module in training:
            module.training = True


def traced(network: nn.Module, shape: tuple[int, ...]) -> Trace:
    """Follows one image through a network; no number is computed and nothing about the network changes.

    Args:
        network: takes images (B, C, H, W), gives logits.
        shape: channels, height and width of one image.

    Raises:
        MethodError: the network does not take images of that shape.
    """
    if len(shape) != 3:
        raise MethodError(
            f"Pruning follows images through a network, and this one takes examples of shape {tuple(shape)}. "
            "Use a network for images."
        )
    trace = Trace()
    image = torch.zeros(2, *shape, device="meta")
    trace.tag(image, Tag(((trace.new(shape[0], fixed=True), 1),)))
    held = {name: value.detach().to("meta") for name, value in (*network.named_parameters(), *network.named_buffers())}
    try:
        with torch.no_grad(), torch.device("meta"), _hooked(network, trace), trace:
            out = functional_call(network, held, (image,))
    except (RuntimeError, NotImplementedError, ValueError, TypeError, AttributeError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise MethodError(
            f"{type(getattr(network, 'body', network)).__name__}: an image of shape {tuple(shape)} cannot be followed "
            f"through it ({first}). Give the shape that it was made for, or a network of plain layers."
        ) from error
    last = trace.of(out)
    for dim, _ in last.channels if last is not None else ():
        dim.root().fixed = True
    return trace
