"""What only looks things up starts at once: no torch until something is computed."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

RUN_COMMAND = """
import sys
sys.argv = {argv!r}
from paredown.cli import main
try:
    code = main()
except SystemExit as end:
    code = end.code
assert not code, code
assert "torch" not in sys.modules, "torch was imported"
"""


def python(code: str, cwd: str | None = None) -> float:
    """Runs code in a new interpreter and gives its seconds."""
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=cwd, check=False)
    assert done.returncode == 0, done.stderr
    return time.perf_counter() - start


def test_importing_the_package_does_not_import_torch() -> None:
    python("import sys, paredown; assert 'torch' not in sys.modules, 'torch was imported'")


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["list"], ["score", "--help"]], ids=" ".join)
def test_looking_things_up_does_not_import_torch(arguments: list[str], tmp_path: object) -> None:
    python(RUN_COMMAND.format(argv=["pare", *arguments]), cwd=str(tmp_path))


def test_the_command_starts_fast() -> None:
    # Half a second on an idle machine; the test is generous because test machines are seldom idle.
    fastest = min(python(RUN_COMMAND.format(argv=["pare", "--help"])) for _ in range(3))
    assert fastest < 2.0, f"pare --help took {fastest:.2f} s"
