"""Methods: abstract or final, equal by settings, to plain data and back, numbers read by annotation, faults named."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paredown import catalog, method
from paredown.errors import MethodError
from paredown.method import Method, build, read


class AbstractFruit(Method):
    kind: ClassVar[str] = "fruit"


@dataclass(frozen=True)
class Apple(AbstractFruit):
    """An apple."""

    weight: float = 0.1
    colour: Literal["red", "green"] = "red"
    seeds: int = 5
    ripe: bool = True
    sizes: tuple[int, ...] = ()
    other: AbstractFruit | None = None


@dataclass(frozen=True)
class Pear(AbstractFruit):
    """A pear."""

    length: float


@pytest.fixture(autouse=True)
def fruit(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = {"apple": f"{__name__}:Apple", "pear": f"{__name__}:Pear"}
    monkeypatch.setitem(catalog.CATALOG, "fruit", entries)
    monkeypatch.setattr(sys.modules[__name__], "number", 3, raising=False)


def test_equal_settings_are_equal_methods() -> None:
    assert build("fruit", {"name": "apple", "weight": 0.2}) == Apple(weight=0.2)
    assert hash(Apple()) == hash(Apple())


def test_a_whole_number_is_one_identity_with_its_float() -> None:
    assert repr(Apple(weight=1).identity()) == repr(build("fruit", {"name": "apple", "weight": "1"}).identity())
    assert repr(Apple(weight=1).plain()["weight"]) == "1.0" and repr(Apple(seeds=1).plain()["seeds"]) == "1"


def test_a_final_class_cannot_be_subclassed() -> None:
    with pytest.raises(TypeError, match=r"which is final\. Hold a Apple in a field instead"):

        class Cider(Apple):
            pass


def test_an_abstract_class_cannot_be_built() -> None:
    with pytest.raises(MethodError, match="AbstractFruit is abstract"):
        build("fruit", f"{__name__}:AbstractFruit")


def test_plain_data_holds_every_field_and_reads_back() -> None:
    apple = Apple(weight=0.3, sizes=(1, 2), other=Pear(length=2.0))
    plain = apple.plain()
    assert plain == {
        "name": "apple",
        "weight": 0.3,
        "colour": "red",
        "seeds": 5,
        "ripe": True,
        "sizes": [1, 2],
        "other": {"name": "pear", "length": 2.0},
    }
    assert build("fruit", plain) == apple


def test_identity_carries_the_version_of_every_method() -> None:
    identity = Apple(other=Pear(length=2.0)).identity()
    assert identity["version"] == 1
    assert identity["other"]["version"] == 1


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [
        ("weight", "8/255", 8 / 255),
        ("weight", "5e-4", 5e-4),
        ("weight", 1, 1.0),
        ("seeds", "7", 7),
        ("seeds", 7.0, 7),
        ("seeds", "1_000", 1000),
        ("ripe", "no", False),
        ("sizes", ["1", 2], (1, 2)),
        ("other", "none", None),
        ("other", "apple", Apple()),
    ],
)
def test_values_are_read_by_annotation(field: str, text: Any, value: Any) -> None:
    made = getattr(build("fruit", {"name": "apple", field: text}), field)
    assert made == value
    assert type(made) is type(value)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_float_survives_its_text(number: float) -> None:
    assert read(float, repr(number), "x") == number


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("aple", "No fruit is called 'aple'. Did you mean 'apple'?"),
        ("grapefruit", "No fruit is called 'grapefruit'. There are: apple, pear."),
        ({"name": "apple", "wieght": 1}, "Apple has no field 'wieght'. Did you mean 'weight'?"),
        ({"name": "apple", "weight": "heavy"}, r"Apple\(weight='heavy'\): not a number"),
        ({"name": "apple", "weight": "1/0"}, "not a number"),
        ({"name": "apple", "weight": float("nan")}, "not a number"),
        ({"name": "apple", "seeds": 1.5}, r"Apple\(seeds=1.5\): a whole number is needed"),
        ({"name": "apple", "seeds": True}, "not a number"),
        ({"name": "apple", "ripe": "perhaps"}, "true or false is needed"),
        ({"name": "apple", "colour": "gren"}, "not one of red, green. Did you mean 'green'?"),
        ({"name": "apple", "weight": None}, r"Apple\(weight=None\)"),
        ({"name": "apple", "other": 3}, "3 is not a fruit"),
        ("pear", "Pear needs a value for 'length'"),
        ({"weight": 1}, "A fruit needs a name"),
        (17, "17 is not a fruit"),
        (f"{__name__}:Plum", "has no 'Plum'"),
        ("no.such.module:Plum", "there is no module 'no.such.module'"),
        (f"{__name__}:number", "is not a fruit: it names a int"),
    ],
)
def test_faults_are_named(value: Any, words: str) -> None:
    with pytest.raises(MethodError, match=words):
        build("fruit", value)


def test_another_kind_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(catalog.CATALOG, "stone", {})
    with pytest.raises(MethodError, match="Apple is a fruit, and a stone is needed here"):
        build("stone", Apple())


def test_every_name_of_the_catalog_is_a_method_of_its_kind() -> None:
    for kind, entries in catalog.CATALOG.items():
        for name in entries:
            if kind == "fruit":
                continue
            found = catalog.find(kind, name)
            assert issubclass(found, Method), (kind, name)
            assert found.kind == kind, (kind, name)
            assert catalog.name_of(found) == name
            assert method.field_types(found) is not None
