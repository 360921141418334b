"""The command line is the API: every argument of a verb is a flag of the same name, and nothing is written twice."""

from __future__ import annotations

import argparse
from dataclasses import fields

import pytest

from paredown import catalog
from paredown.cli import COMMANDS
from paredown.flags import Flags, Gather, add_runtime, add_verb
from paredown.reading import OF_DATA, READERS
from paredown.recipe import Recipe
from paredown.rehearsal import kind_of
from paredown.runtime import Runtime
from paredown.verbs import VERBS


def flags_of(verb: str) -> dict[str, argparse.Action]:
    """Gives the flags of a verb by name."""
    parser = Flags(verb, "")
    add_verb(parser, VERBS[verb], [])
    add_runtime(parser)
    return {flag[2:]: action for action in parser._actions for flag in action.option_strings if flag[:2] == "--"}


@pytest.mark.parametrize("verb", VERBS)
def test_every_argument_is_a_flag_and_every_flag_an_argument(verb: str) -> None:
    how = {"store", "runs", "help", *(field.name for field in fields(Runtime))}
    assert flags_of(verb).keys() == VERBS[verb].parameters.keys() | how


@pytest.mark.parametrize("verb", VERBS)
def test_what_is_needed_is_needed_and_methods_take_fields(verb: str) -> None:
    flags = flags_of(verb)
    for name, parameter in VERBS[verb].parameters.items():
        assert flags[name].required == (parameter.default is parameter.empty), name
        assert isinstance(flags[name], Gather) == (kind_of(name) is not None or name in OF_DATA), name
        assert flags[name].help, name


def test_no_command_hides_a_verb() -> None:
    assert not COMMANDS.keys() & VERBS.keys()


def test_every_kind_of_method_that_a_verb_takes_has_names() -> None:
    taken = {kind_of(name) for verb in VERBS.values() for name in verb.parameters} - {None}
    assert {"scorer", "selector", "model", "training", "probe", "encoder", "recording"} <= taken
    assert all(catalog.names(str(kind)) for kind in taken)


def test_every_argument_is_read_in_one_place() -> None:
    assert {name for verb in VERBS.values() for name in verb.parameters} <= READERS.keys()


def test_the_main_job_has_a_flag_for_each_dial(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        COMMANDS["down"](["--help"])
    shown = capsys.readouterr().out
    for name in Recipe.read("down").dials:
        assert (f"--{name}" if name != "data" else "DATA") in shown
