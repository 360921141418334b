"""What makes a function a verb: its arguments are read in one way, and the store can ask what a call stands for."""

from __future__ import annotations

import functools
import inspect
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, ParamSpec, TypeVar

from paredown import reading
from paredown.artifacts import Artifact
from paredown.errors import MethodError
from paredown.runtime import Runtime

P = ParamSpec("P")
R = TypeVar("R", bound=Artifact)


class Verb(Generic[P, R]):
    """A function of `paredown.verbs`, which also tells the store what a call of it stands for."""

    def __init__(self, function: Callable[P, R], version: int, needed: Callable[[dict[str, Any]], None] | None) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.name = function.__name__
        self.version = version
        self.needed = needed
        self.signature = inspect.signature(function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        given = self.signature.bind(*args, **kwargs).arguments
        how = {name: given.pop(name) for name in ("runtime", "folder") if name in given}
        bound = self.bind(**given)
        return self.run(bound, runtime=how.get("runtime") or Runtime(), folder=how.get("folder"))

    @property
    def parameters(self) -> dict[str, inspect.Parameter]:
        """The arguments that say what is made: all but `runtime` and `folder`."""
        return {n: p for n, p in self.signature.parameters.items() if n not in ("runtime", "folder")}

    def bind(self, **arguments: Any) -> dict[str, Any]:
        """Gives every argument as what the function takes, defaults filled in, and what is not needed left out.

        Raises:
            MethodError: an unknown argument, one that is missing, or one that cannot be read.
        """
        for name in arguments:
            if name not in self.parameters:
                raise MethodError(f"{self.name} has no argument '{name}'. It has: {', '.join(self.parameters)}.")
        for name, parameter in self.parameters.items():
            if parameter.default is inspect.Parameter.empty and name not in arguments:
                raise MethodError(f"{self.name} needs {name}=.")
        defaults = {name: parameter.default for name, parameter in self.parameters.items()}
        bound = {name: reading.read(name, value) for name, value in (defaults | arguments).items()}
        if self.needed is not None:
            self.needed(bound)
        return bound

    def how(self, runtime: Runtime) -> dict[str, Any]:
        """Gives what the runtime means on this machine, for the record."""
        from paredown.training.devices import in_words

        return in_words(runtime)

    def run(self, bound: Mapping[str, Any], *, runtime: Runtime, folder: Path | None) -> R:
        """Calls the function on arguments that `bind` gave."""
        how: dict[str, Any] = {"runtime": runtime}
        if "folder" in self.signature.parameters:
            how["folder"] = folder
        return self.function(**bound, **how)  # type: ignore[call-arg]


def verb(
    *, version: int, needed: Callable[[dict[str, Any]], None] | None = None
) -> Callable[[Callable[P, R]], Verb[P, R]]:
    """Makes a function a verb.

    Args:
        version: rises when what the verb makes of the same arguments changes.
        needed: takes out of the bound arguments what the method at hand does not look at, so that it is no part of the
            address; raises when something is lacking.
    """
    return lambda function: Verb(function, version, needed)


@contextmanager
def place_of(folder: Path | None) -> Iterator[Path]:
    """Gives the folder that a verb was given, or one that is gone afterwards.

    Raises:
        MethodError: none was given, and several processes have to share it.
    """
    if folder is not None:
        yield Path(folder)
        return
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise MethodError(
            "Several processes train into one folder. Give folder=, or use Store.make or the command line."
        )
    with tempfile.TemporaryDirectory(prefix="paredown-") as temporary:
        yield Path(temporary)
