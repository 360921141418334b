"""A network for other programs: a program of `torch.export` and a file of ONNX, each held against the network itself.

Normalisation is the network's first layer, so that what is exported takes pixels in [0, 1] as the network does.
Nothing of the machine that exported it stays in a file: torch writes down which line of which file each operation came
from, and that is taken out, so that the same network gives the same bytes.
"""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from typing import Any

import numpy as np
import torch
from torch import nn

from paredown.artifacts.checkpoint import Checkpoint
from paredown.artifacts.exported import FILES, Exported, Format
from paredown.errors import MethodError, require
from paredown.models.build import load
from paredown.rng import stream

TOLERANCE = 1e-4
"""How far exported logits may lie from those of the network, as a share of the largest."""
LARGEST = 2 * 1024**3
"""Bytes that a file of ONNX can hold."""
TALKATIVE = ("torch.onnx", "torch.fx.experimental.symbolic_shapes")
"""Loggers whose warnings nobody can act on."""


def exported(checkpoint: Checkpoint, formats: Sequence[Format] = ("onnx", "torch")) -> Exported:
    """Gives a network as files, each checked to give the network's logits on batches of one and of several images.

    Args:
        checkpoint: of images.
        formats: `onnx`, which `onnxruntime` and others run; `torch`, a program that `torch.export.load` reads.

    Raises:
        MethodError: no format, or one that is not known; a network that cannot be followed; other logits.
        MissingExtra: ONNX without the extra `export`.
    """
    wanted = list(dict.fromkeys(formats))
    unknown = [name for name in wanted if name not in FILES]
    if unknown or not wanted:
        what = f"'{unknown[0]}' is not a format" if unknown else "no format is asked for"
        raise MethodError(f"export: {what}. There are: {', '.join(FILES)}.")
    if len(checkpoint.shape) != 3:
        raise MethodError("export follows one image through a network, and this one takes sentences.")
    network = load(checkpoint).eval()
    program = _program(network, checkpoint.shape)
    files, about = {}, {}
    for name in wanted:
        if name == "onnx":
            content, told = _onnx(program, checkpoint)
            run = onnx_session(content)
        else:
            content, told = _saved(program), {"torch": str(torch.__version__).partition("+")[0]}
            run = _opened(content)
        file = FILES[name]
        files[file] = np.frombuffer(content, np.uint8)
        about[file] = told | {"difference": _difference(file, network, run, checkpoint.shape)}
    return Exported(
        files, about=about, shape=checkpoint.shape, classes=checkpoint.classes, checkpoint=checkpoint.digest()
    )


def onnx_session(content: bytes | np.ndarray, threads: int = 0) -> Callable[[np.ndarray], np.ndarray]:
    """Gives what runs a file of ONNX on the CPU: from images (B, C, H, W), float32, to logits.

    Args:
        content: of the file.
        threads: cores that one operation may use; 0 leaves it to onnxruntime.

    Raises:
        MissingExtra: `onnxruntime` is not installed.
    """
    ort = require("onnxruntime", "export")
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = ort.InferenceSession(bytes(content), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda images: np.asarray(session.run(None, {name: images})[0])


def _program(network: nn.Module, shape: tuple[int, ...]) -> torch.export.ExportedProgram:
    # Two images: an export that sees one takes it for the only size there is.
    images = torch.from_numpy(_images(2, shape))
    batch = torch.export.Dim("batch", min=1)
    try:
        with _silent():
            program = torch.export.export(network, (images,), dynamic_shapes=({0: batch},))
    except (RuntimeError, ValueError, TypeError, AttributeError) as error:
        raise MethodError(
            f"{type(getattr(network, 'body', network)).__name__} cannot be exported: {_first_line(error)}. "
            "Its code must not depend on the values of what it computes."
        ) from error
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    return program


def _saved(program: torch.export.ExportedProgram) -> bytes:
    held = io.BytesIO()
    with _silent():
        torch.export.save(program, held)
    return held.getvalue()


def _opened(content: bytes) -> Callable[[np.ndarray], np.ndarray]:
    with _silent():
        module = torch.export.load(io.BytesIO(content)).module()
    return lambda images: np.asarray(module(torch.from_numpy(images)).detach().numpy())


def _onnx(program: torch.export.ExportedProgram, checkpoint: Checkpoint) -> tuple[bytes, dict[str, Any]]:
    onnx = require("onnx", "export")
    require("onnxscript", "export")
    if sum(array.nbytes for array in checkpoint.weights.values()) >= LARGEST:
        raise MethodError("export: a file of ONNX holds less than 2 GiB, and the weights are more. Ask for torch.")
    try:
        with _silent():
            made = torch.onnx.export(
                program, dynamo=True, input_names=["images"], output_names=["logits"], verbose=False
            )
    except RuntimeError as error:
        raise MethodError(f"export: ONNX has no way to say it: {_first_line(error)}. Ask for torch.") from error
    assert made is not None
    model = made.model_proto
    _anonymise(model)
    model.doc_string = "Takes pixels in [0, 1], gives logits."
    told = {"opset": int(model.opset_import[0].version), "onnx": str(onnx.__version__)}
    return model.SerializeToString(deterministic=True), told


def _anonymise(model: Any) -> None:
    """Takes out where operations came from, and calls the free dimension `batch`."""
    graph = model.graph
    parts = (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer, graph, model)
    for part in parts:
        del part.metadata_props[:]
    for node in graph.node:
        node.doc_string = ""
    free = graph.input[0].type.tensor_type.shape.dim[0].dim_param
    for value in (*graph.input, *graph.output, *graph.value_info):
        for size in value.type.tensor_type.shape.dim:
            if free and size.dim_param:
                size.dim_param = size.dim_param.replace(free, "batch")


def _difference(
    name: str, network: nn.Module, run: Callable[[np.ndarray], np.ndarray], shape: tuple[int, ...]
) -> float:
    """Gives how far logits lie from the network's at most; refuses what is not rounding."""
    worst = 0.0
    for count in (1, 5):
        images = _images(count, shape)
        with torch.no_grad():
            expected = network(torch.from_numpy(images)).numpy()
        found = run(images)
        away = float(np.abs(found - expected).max()) if found.shape == expected.shape else float("inf")
        if not away <= TOLERANCE * max(1.0, float(np.abs(expected).max())):
            raise MethodError(
                f"export: logits of {name} lie {away:.1g} from those of the network, which is more than rounding. "
                "Update torch and onnxruntime, or ask for another format."
            )
        worst = max(worst, away)
    return worst


def _images(count: int, shape: tuple[int, ...]) -> np.ndarray:
    return stream(0, "export", "images", count).random((count, *shape), dtype=np.float32)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(".")


@contextmanager
def _silent() -> Iterator[None]:
    """Exporters tell of themselves, of libraries that are not there, and print whole graphs when they fail."""
    before = {name: logging.getLogger(name).level for name in TALKATIVE}
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
