"""What is wrong with data is said in one or two sentences, before anything is trained."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.wrong_inputs import WRONG, Wrong

from paredown.data import open_data
from paredown.errors import ParedownError


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.__name__)
def test_a_wrong_input_is_one_clear_message(wrong: Wrong, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ParedownError, match=WRONG[wrong]) as caught:
        open_data(wrong(tmp_path))
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 400
    assert message.count(". ") <= 2
    assert capsys.readouterr().out == ""  # nothing that a file holds was run
