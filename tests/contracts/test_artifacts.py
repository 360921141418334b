"""Every noun survives a trip to disk, and says so in words when its files did not."""

from __future__ import annotations

import pytest
from tests.contracts.cases import artifacts

from paredown import artifacts as nouns
from paredown.artifacts import Artifact
from paredown.testing import check_artifact


@pytest.mark.parametrize("artifact", artifacts(), ids=lambda artifact: type(artifact).__name__)
def test_artifacts(artifact: Artifact) -> None:
    check_artifact(artifact)


def test_every_noun_has_a_case() -> None:
    exported = {name for name in nouns.__all__ if isinstance(getattr(nouns, name), type)}
    known = {name for name in exported if issubclass(getattr(nouns, name), Artifact)} - {"Artifact"}
    assert {type(artifact).__name__ for artifact in artifacts()} == known
