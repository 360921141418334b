"""The command `pare`: one command a verb, made from its signature, and those that go beyond the verbs.

Whatever is wrong ends in one sentence on standard error and exit code 2. The last line on standard output is the folder
of what was made.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from paredown import __version__, catalog, down, flags
from paredown.artifacts import Report, Selection
from paredown.artifacts.base import read_header
from paredown.artifacts.results_table import results_table, stored_reports
from paredown.errors import ParedownError, RecipeError, did_you_mean
from paredown.flags import CommandError, Flags
from paredown.reading import read
from paredown.recipe import Recipe, locate, packaged
from paredown.steps import short
from paredown.store import Entry, Store
from paredown.verbs import VERBS, Verb

INTERRUPTED = "Interrupted. What was finished is kept and what was begun is saved: the same command goes on from here."


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command line and gives the exit code: 0, 2 for a fault that a person can mend, 130 when interrupted."""
    words = list(sys.argv[1:] if argv is None else argv)
    # So that `module:Class` finds a file beside the person; last, so that it hides nothing that is installed.
    if str(Path.cwd()) not in sys.path and "" not in sys.path:
        sys.path.append(str(Path.cwd()))
    try:
        return _command(words)
    except SystemExit as end:  # argparse leaves --help so
        return int(end.code or 0)
    except KeyboardInterrupt:
        print(INTERRUPTED, file=sys.stderr)
        return 130
    except ParedownError as error:
        print(error, file=sys.stderr)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        print(f"{error.filename or 'A file'}: {error.strerror or error}.", file=sys.stderr)
    return 2


def _command(words: Sequence[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0
    if words[0] == "--version":
        print(f"paredown {__version__}")
        return 0
    name, rest = words[0], words[1:]
    answer = flags.answer(rest)
    if answer is not None:
        print("\n".join(answer))
        return 0
    if name in VERBS:
        return _verb(VERBS[name], rest)
    if name in COMMANDS:
        return COMMANDS[name](rest)
    hint = did_you_mean(name, [*VERBS, *COMMANDS]) or " `pare --help` lists the commands."
    raise CommandError(f"There is no command '{name}'.{hint}")


def _overview() -> str:
    lines = [
        "usage: pare COMMAND …",
        "",
        "Pares down what it takes to train, and shows the proof.",
        "",
        "the main job:",
    ]
    lines += _listed({"down": COMMANDS["down"]})
    lines += ["", "verbs:", *_listed({name: verb.function for name, verb in VERBS.items()})]
    lines += ["", "recipes and results:", *_listed({n: f for n, f in COMMANDS.items() if n != "down"})]
    return "\n".join(
        [*lines, "", "`pare COMMAND --help` says more; `pare list scorers` (models, data, …) names what there is."]
    )


def _listed(commands: dict[str, Callable[..., Any]]) -> Iterable[str]:
    for name, function in commands.items():
        yield f"  {name:<11} {_first(function)}"


def _verb(verb: Verb[Any, Any], words: Sequence[str]) -> int:
    parser = Flags(verb.name, _first(verb.function))
    flags.add_verb(parser, verb, words)
    flags.add_runtime(parser)
    given = parser.read(words)
    store = Store(given.store)
    artifact = store.make(verb, runtime=flags.runtime(given), **flags.arguments(verb, given))
    print(artifact.to_markdown() if isinstance(artifact, Report) else artifact.describe())
    print(store.root / str(artifact.address))
    return 0


def _down(words: Sequence[str]) -> int:
    """Finds the part of the data that trains as well as all of it: pare down fashion-mnist --keep 0.3"""
    dials = Recipe.read(down.recipe()).dials
    parser = Flags("down", _first(_down), "DATA")
    down.add_dials(parser, dials, words)
    flags.add_runtime(parser)
    given = parser.read(words)
    turned = down.turned(dials, given)
    return _carry_out(Recipe.read(down.recipe(turned), **turned), given, ["down", *words])


def _run(words: Sequence[str]) -> int:
    """Runs a recipe, a file or one of this package: pare run recipe.yaml dial=value …"""
    parser = Flags("run", _first(_run), "RECIPE [dial=value …]")
    parser.add_argument("recipe", help="a file, or a name that `pare list recipes` shows", metavar="RECIPE")
    parser.add_argument("dials", nargs="*", help="values for its dials: name=value", metavar="DIAL=VALUE")
    flags.add_runtime(parser)
    given = parser.read(words)
    return _carry_out(Recipe.read(given.recipe, **_dials(given.dials)), given, ["run", *words])


def _carry_out(recipe: Recipe, given: argparse.Namespace, words: Sequence[str]) -> int:
    """Runs a recipe, says a line for each result as it is there, and prints the run's folder last."""
    runtime, store = flags.runtime(given), Store(given.store)

    from rich.console import Console

    from paredown.account import give_account
    from paredown.runner import Made, Runner, means

    console = Console(stderr=True, highlight=False)

    def say(made: Made) -> None:
        how = "reused" if made.reused else f"made in {made.seconds:.1f} s"
        varied = " ".join(f"{name}={short(made.varied[name])}" for name in made.step.repeat)
        console.print(f"  [bold]{made.link:<20}[/] {made.step.verb:<11} {how:<18} [dim]{varied}[/]", soft_wrap=True)

    run = Runner(store, runs=given.runs, runtime=runtime, say=say).run(recipe)
    found, files = give_account(run, store, command=["pare", *words])
    made = [one.artifact for results in run.results.values() for one in results]
    selections = {artifact.digest()[:16] for artifact in made if isinstance(artifact, Selection)}
    for step, report in means(run).items():
        # What was measured of selections stands on the page, and in report.md.
        measured = {row.subject for one in run.results[step] for row in one.artifact.rows}
        if not files or not measured <= selections:
            print(report.to_markdown())
    for line in (found, *files) if files else ():
        print(line)
    print(run.folder)
    return 0


def _check(words: Sequence[str]) -> int:
    """Looks through recipes without running them and lists every fault."""
    parser = Flags("check", _first(_check), "RECIPE … [dial=value …]")
    parser.add_argument("recipes", nargs="+", help="files or names, and values for dials", metavar="RECIPE|DIAL=VALUE")
    given = parser.read(words)
    dials = _dials([word for word in given.recipes if "=" in word and not Path(word).exists()])
    faults = []
    for path in (word for word in given.recipes if "=" not in word or Path(word).exists()):
        try:
            recipe = Recipe.read(path, **dials)
            recipe.check()
            print(f"{recipe.name}: {len(recipe.steps)} steps, no fault")
        except RecipeError as error:
            faults.append(str(error))
    if faults:
        raise RecipeError("\n".join(faults))
    return 0


def _list(words: Sequence[str]) -> int:
    """Lists the results in the store; with a kind (scorers, models, data, recipes, …) what there is of it."""
    parser = Flags("list", _first(_list), "[KIND]")
    parser.add_argument("kind", nargs="?", help=", ".join(["recipes", *catalog.CATALOG]), metavar="KIND")
    parser.add_argument("--store", default="store", help="folder that keeps results (default: store)", metavar="FOLDER")
    given = parser.read(words)
    if given.kind is None:
        for entry in Store(given.store).entries():
            print(_line(entry))
        return 0
    kind = given.kind.removesuffix("s")
    if kind == "recipe":
        names = packaged()
    elif kind in catalog.CATALOG:
        names = catalog.names(kind)
    else:
        hint = did_you_mean(kind, [*catalog.CATALOG, "recipe"]) or f" There are: {', '.join(catalog.CATALOG)}."
        raise CommandError(f"There is no kind '{given.kind}' to list.{hint}")
    print("\n".join(names))
    return 0


def _line(entry: Entry) -> str:
    if not entry.complete:
        return f"{entry.address:<26} unfinished"
    return (
        f"{entry.address:<26} {entry.manifest['artifact']:<16} {entry.made['when'][:16]}  {entry.made['seconds']:.1f} s"
    )


def _show(words: Sequence[str]) -> int:
    """Shows what a result is, what made it and from what."""
    parser = Flags("show", _first(_show), "ADDRESS")
    parser.add_argument("address", help="an address, the beginning of one, or a folder", metavar="ADDRESS")
    parser.add_argument("--store", default="store", help="folder that keeps results (default: store)", metavar="FOLDER")
    given = parser.read(words)
    place = Path(given.address)
    store = Store(place.resolve().parent if (place / "manifest.json").exists() else given.store)
    entry = store.find(place.resolve().name if place.exists() else given.address)
    if not entry.complete:
        print(f"{entry.address}: unfinished. The command that began it goes on from here.")
        return 0
    identity, made = entry.manifest["identity"], entry.made
    makers = _makers(store)
    print(f"{entry.address}: {store.open(entry.address).describe()}")
    for name, value in identity["arguments"].items():
        if value is not None:
            print(f"  {name:<11} {_words(value, makers)}")
    how = ", ".join(f"{name} {version}" for name, version in made["versions"].items())
    device = f"{made['device']}, {made['threads']} threads"
    print(f"  made        {made['when']} in {made['seconds']:.1f} s on {device}, with {how}")
    print(entry.folder)
    return 0


def _makers(store: Store) -> dict[str, str]:
    """Gives the address of what holds an artifact, or a part of it, by the artifact's digest."""
    makers: dict[str, str] = {}
    for entry in store.entries():
        if entry.complete:
            header = read_header(entry.folder)
            parts = [
                header.get("checkpoint"),
                header.get("dynamics"),
                *(digest for _, digest in header.get("early", [])),
            ]
            makers |= {digest: entry.address for digest in (entry.manifest["digest"], *parts) if digest}
    return makers


def _words(value: Any, makers: dict[str, str]) -> str:
    if isinstance(value, dict) and "digest" in value:
        return makers.get(value["digest"], f"{value.get('artifact', 'data')} {value['digest'][:16]}, not in this store")
    if isinstance(value, list):
        return ", ".join(_words(part, makers) for part in value)
    return re.sub(r"\b([0-9a-f]{12})[0-9a-f]{52}\b", r"\1…", short(value))


def _table(words: Sequence[str]) -> int:
    """Puts the figures of runs side by side: pare table runs/a runs/b --metric accuracy --form latex"""
    parser = Flags("table", _first(_table), "RUN …")
    parser.add_argument("runs", nargs="+", help="folders of runs, or of stored reports", metavar="RUN")
    parser.add_argument("--metric", action="append", default=[], help="a column (repeat the flag for several)")
    parser.add_argument("--form", choices=("markdown", "csv", "latex"), default="markdown", help="(default: markdown)")
    given = parser.read(words)
    table = results_table(stored_reports(given.runs), given.metric)
    print({"markdown": table.to_markdown, "csv": table.to_csv, "latex": table.to_latex}[given.form](), end="")
    return 0


def _shares(words: Sequence[str]) -> int:
    """Draws how much of each layer searches keep: pare shares store/search-a … --checkpoint store/train-b"""
    parser = Flags("shares", _first(_shares), "STRATEGY …")
    parser.add_argument("strategies", nargs="+", help="folders of searches, or their strategy.json", metavar="STRATEGY")
    parser.add_argument("--checkpoint", required=True, help="folder of the network", metavar="FOLDER")
    parser.add_argument("--to", default="shares.svg", help=".svg, .png or .pdf (default: shares.svg)", metavar="FILE")
    given = parser.read(words)
    from paredown.models.build import load
    from paredown.searching.figure import write_figure
    from paredown.sparsity.layers import layers_of

    strategies = [read("strategy", folder) for folder in given.strategies]
    write_figure(layers_of(load(read("checkpoint", given.checkpoint))), strategies, given.to)
    print(given.to)
    return 0


def _copy(words: Sequence[str]) -> int:
    """Takes a recipe of this package home, to change it: pare copy data_diet/smoke mine.yaml"""
    parser = Flags("copy", _first(_copy), "RECIPE [TO]")
    parser.add_argument("recipe", help="a name that `pare list recipes` shows", metavar="RECIPE")
    parser.add_argument("to", nargs="?", help="a file or a folder (default: here, under its own name)", metavar="TO")
    given = parser.read(words)
    source, place = locate(given.recipe), Path(given.to or ".")
    place = place / source.name if place.is_dir() else place
    if place.exists():
        raise CommandError(f"{place} is there already, and it may hold changes. Give another name.")
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, place)
    print(place)
    return 0


def _clean(words: Sequence[str]) -> int:
    """Removes what is unfinished and what no run links to; without --yes it only says what that is."""
    parser = Flags("clean", _first(_clean))
    parser.add_argument("--store", default="store", help="folder that keeps results (default: store)", metavar="FOLDER")
    parser.add_argument("--runs", default="runs", help="folder of the runs (default: runs)", metavar="FOLDER")
    parser.add_argument("--yes", action="store_true", help="remove it")
    given = parser.read(words)
    store = Store(given.store)
    linked = {link.resolve() for link in Path(given.runs).glob("*/*") if link.is_symlink()}
    loose = [entry for entry in store.entries() if not entry.complete or entry.folder.resolve() not in linked]
    for entry in loose:
        if given.yes:
            store.remove(entry)
        why = "no run links to it" if entry.complete else "unfinished"
        print(
            f"{'removed' if given.yes else 'would remove'} {entry.address} ({why}, {_megabytes(entry.folder):.1f} MB)"
        )
    if loose and not given.yes:
        print("Say --yes to remove it.")
    return 0


def _megabytes(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def _dials(words: Sequence[str]) -> dict[str, Any]:
    for word in words:
        if not re.match(r"[A-Za-z][\w-]*=", word):
            raise CommandError(f"'{word}' is not a dial. Write name=value.")
    return {name: flags.scalar(value) for name, _, value in (word.partition("=") for word in words)}


def _first(function: Callable[..., Any]) -> str:
    return " ".join((function.__doc__ or "").split("\n\n")[0].split())


COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "down": _down,
    "run": _run,
    "check": _check,
    "list": _list,
    "show": _show,
    "table": _table,
    "shares": _shares,
    "copy": _copy,
    "clean": _clean,
}
