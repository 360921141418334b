from __future__ import annotations

import pytest
import torch

from paredown.errors import MethodError
from paredown.runtime import Runtime
from paredown.training.devices import Place, choose, fast_bfloat16, place


def test_auto_takes_a_gpu_only_where_there_is_one() -> None:
    assert choose("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert choose("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["cuda:99", "toaster"])
def test_a_device_that_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(MethodError, match=rf"Runtime\(device='{name}'\): there is no such device here"):
        choose(name)


@pytest.mark.parametrize(
    ("precision", "expected"), [("float32", torch.float32), ("bfloat16", torch.bfloat16), ("auto", None)]
)
def test_the_forward_pass_has_the_precision_asked_for(precision: str, expected: torch.dtype | None) -> None:
    with place(Runtime(device="cpu", precision=precision)) as here, here.autocast():
        made = torch.nn.functional.linear(torch.ones(1, 2), torch.ones(3, 2)).dtype
    if expected is None:
        expected = torch.bfloat16 if fast_bfloat16(torch.device("cpu")) else torch.float32
    assert made == expected


def test_small_images_stay_in_float32_on_a_cpu_unless_told_otherwise() -> None:
    for precision, expected in (("auto", False), ("bfloat16", True)):
        with place(Runtime(device="cpu", precision=precision), pixels=8 * 8) as here:
            assert here.bfloat16 is expected


def test_threads_are_given_back() -> None:
    before = torch.get_num_threads()
    with place(Runtime(device="cpu", threads=before + 1)):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


def test_one_process_is_the_whole() -> None:
    here = Place(torch.device("cpu"))
    network, tensor = torch.nn.Linear(1, 1), torch.ones(2)
    assert here.spread(network) is network and here.total(tensor) is tensor
    assert here.agree(True) and not here.agree(False)
