"""Recipes: reading, references, repeats, and every fault at once before anything runs."""

from __future__ import annotations

import importlib.util
import re
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest
import yaml

from paredown.errors import RecipeError
from paredown.recipe import PACKAGED, Recipe, locate, packaged
from paredown.steps import Several, Step, part_of_each, resolve, short

GOOD = """\
dials: {keep: [0.5, 0.25], seeds: [0, 1]}  # the numbers to turn
data:
  train: {name: synthetic, n: 64}
steps:
  full:
    train: {data: $train, model: convnet, training: {steps: 4, checkpoints_at: [0, 2]}, record: [correct]}
    repeat: {seed: $seeds}
  forgetting: {score: {scorer: forgetting, dynamics: $full.dynamics}}
  el2n: {score: {scorer: el2n, data: $train, checkpoint: $full.early}}
  features: {embed: {data: $train, checkpoint: $full-0.checkpoint, encoder: penultimate}}
  kept:
    select: {scores: $el2n, selector: highest}
    repeat: {fraction: $keep}
  again:
    train: {data: $train, model: convnet}
    repeat: {selection: $kept, seed: $seeds}
  result: {evaluate: {subject: [$full.checkpoint, $again], data: $train}}
"""


def written(folder: Path, text: str, name: str = "mine.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def faults(folder: Path, text: str, **dials: Any) -> str:
    with pytest.raises(RecipeError) as caught:
        Recipe.read(written(folder, text), **dials).check()
    return str(caught.value)


def test_a_good_recipe_has_no_fault(tmp_path: Path) -> None:
    recipe = Recipe.read(written(tmp_path, GOOD), keep=[0.1])
    recipe.check()
    assert recipe.name == "mine"
    assert recipe.dials == {"keep": [0.1], "seeds": [0, 1]}
    assert [(step.name, step.verb) for step in recipe.steps][:2] == [("full", "train"), ("forgetting", "score")]
    assert recipe.lines["steps", "forgetting"] == 8


def test_all_faults_are_listed_at_once_with_their_lines(tmp_path: Path) -> None:
    said = faults(
        tmp_path,
        """\
dials: {keep: 0.5, unused: 1}
data:
  train: {name: digitz}
steps:
  first: {scor: {scorer: el2n}}
  second:
    train:
      data: $trian
      model: {name: convnet, widht: 3, depth: deep}
      training: {steps: 0, optimizer: {name: sgd, lr: fast}, schedule: {name: cosin}}
      seeed: 3
  third: {score: {scorer: forgetting, dynamics: $second.dynamics}}
  fourth: {select: {scores: $fifth, selector: highest, fraction: 1.5}}
  fifth: {score: {scorer: input-norm, data: $train}}
  sixth: {select: {selector: highest, fraction: $keep, scores: $fifth.values}}
  seventh: {score: {scorer: el2n, data: $train}}
  eighth: {select: {selector: highest, fraction: 0.5, count: 3, scores: $fifth}}
  ninth: {evaluate: {subject: $fifth, data: $train}}
""",
    )
    for place, words in [
        ("line 1, dials.unused", "nothing uses this dial"),
        ("line 3, data.train", "Did you mean 'digits'"),
        ("line 5, steps.first", "no verb is called 'scor'. Did you mean 'score'"),
        ("line 8, steps.second.train.data", "nothing is called '$trian'. Did you mean 'train'"),
        ("line 9, steps.second.train.model", "has no field 'widht'. Did you mean 'width'"),
        ("line 9, steps.second.train.model", "ConvNet(depth='deep'): not a number"),
        ("line 10, steps.second.train.training", "Sgd(lr='fast'): not a number"),
        ("line 10, steps.second.train.training", "No schedule is called 'cosin'"),
        ("line 11, steps.second.train.seeed", "train has no argument 'seeed'. Did you mean 'seed'"),
        ("line 12, steps.third.score.dynamics", "the step records nothing"),
        ("line 13, steps.fourth.select.scores", "'$fifth' is written below"),
        ("line 13, steps.fourth.select.fraction", "fraction=1.5: a share lies above 0"),
        ("line 15, steps.sixth.select.scores", "a ScoreTable has no part 'values'"),
        ("line 16, steps.seventh", "El2n needs checkpoint= and data="),
        ("line 17, steps.eighth", "either fraction= or count=, and was given both"),
        ("line 18, steps.ninth.evaluate.subject", "$fifth is a ScoreTable, and subject takes Checkpoint"),
    ]:
        assert re.search(f"{re.escape(place)}: .*{re.escape(words)}", said), (place, words, said)
    assert said.startswith("mine has 16 faults:\n")


FORM = [
    ("steps: [1, 2]", "line 1, steps: names with values are needed here"),
    ("dials: {a: 1}", "steps: names with values are needed here"),
    ("steps: {a: 3}", "line 1, steps.a: a step is one verb with its arguments"),
    ("steps: {a: {score: {}, select: {}}}", "a step is one verb with its arguments"),
    ("steps: {a: {score: 3}}", "steps.a.score: a verb's arguments are names with values"),
    ("steps: {a: {score: {scorer: random}, repeat: 3}}", "repeat is the name of an argument with a list"),
    ("steps: {a: {score: {scorer: random}, repeat: {seed: 3}}}", "repeat takes a list"),
    ("steps: {a: {score: {scorer: random, seed: 1}, repeat: {seed: [1]}}}", "score is given seed above already"),
    ("steps: {a b: {score: {scorer: random}}}", "a name is letters, digits"),
    ("stops: {}\nsteps: {}", "line 1, stops: a recipe has no such part. Did you mean 'steps'"),
    ("dials: {a: 1}\nsteps: {a: {score: {scorer: random}}}", "a name of dials too, so \\$a could mean either"),
    ("steps:\n  a: {score: {scorer: random}}\n  a: {}", "line 3, steps.a: this name stands on line 2"),
    ("steps: {a: {score: {scorer: $1}}}", "'\\$1' is not a reference"),
    ("data: {d: digits}\nsteps: {a: {score: {scorer: random, data: $d.x}}}", "d has no parts"),
    ("steps: {a: {score: {data: digits}}}", "steps.a: score needs scorer"),
    ("steps: {a: {score: {scorer: {quantity: el2n}, data: digits}}}", "A scorer needs a name"),
    ("steps: {a: {score: {scorer: nowhere:X, data: digits}}}", "there is no module 'nowhere'"),
    ("steps: {a: {select: {selector: highest, fraction: 0.5, scores: nowhere}}}", "There is no artifact at nowhere"),
    ("steps: {a: {train: {data: digits, model: convnet, selection: [nowhere]}}}", "There is no artifact at nowhere"),
    ("steps: {a: {evaluate: {subject: nowhere, data: digits, probes: acuracy}}}", "Did you mean 'accuracy'"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "pattern"), FORM, ids=[pattern for _, pattern in FORM])
def test_a_fault_of_form_is_named(tmp_path: Path, text: str, pattern: str) -> None:
    assert re.search(pattern, faults(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("- a list", "is not a recipe"),
        ("", "is not a recipe"),
        ("a: [", "line 2: this is not YAML|line 1: this is not"),
    ],
)
def test_what_is_no_recipe_is_refused(tmp_path: Path, text: str, pattern: str) -> None:
    with pytest.raises(RecipeError, match=pattern):
        Recipe.read(written(tmp_path, text))


def test_several_results_do_not_go_where_one_is_taken(tmp_path: Path) -> None:
    text = GOOD.replace("repeat: {selection: $kept, seed: $seeds}", "repeat: {seed: $seeds}").replace(
        "train: {data: $train, model: convnet}", "train: {data: $train, model: convnet, selection: [$kept]}"
    )
    assert re.search("train takes one selection of the data, and was given 2", faults(tmp_path, text))


def test_values_that_never_go_together_are_a_fault(tmp_path: Path) -> None:
    text = """\
data: {d: {name: synthetic, n: 64}}
steps:
  drawn: {select: {selector: random, data: $d, fraction: 0.5}, repeat: {seed: [0, 1]}}
  net: {train: {data: $d, model: convnet}, repeat: {selection: $drawn, seed: [2, 3]}}
"""
    assert re.search(r"steps\.net\.repeat: no two of these values go together", faults(tmp_path, text))


def test_what_a_probe_needs_is_told_before_anything_runs(tmp_path: Path) -> None:
    text = """\
data: {d: {name: synthetic, n: 64}, other: {name: synthetic, split: test, n: 64}}
steps:
  net: {train: {data: $d, model: convnet}}
  part: {select: {selector: {name: classes, classes: [0]}, data: $d}}
  leak: {evaluate: {subject: $net.checkpoint, data: $d, probes: [membership]}}
  told: {evaluate: {subject: $net.checkpoint, data: $d, against: $other, selection: $part, probes: [membership]}}
  wrong: {evaluate: {subject: $net.checkpoint, data: $d, against: $net, probes: [membership]}}
  phases: {evaluate: {subject: [$part], data: $other, against: $d, probes: [{name: class-incremental, model: convnet}]}}
"""
    said = faults(tmp_path, text)
    assert "steps.leak: Membership needs against=, and evaluate() was given none." in said
    assert "steps.wrong.evaluate.against: $net is a Trained, and against takes data or a DistilledSet." in said
    assert "told" not in said and "phases" not in said


def test_a_dial_of_another_recipe_is_refused(tmp_path: Path) -> None:
    assert re.search("there is no dial 'kep'. Did you mean 'keep'", faults(tmp_path, GOOD, kep=0.1))


@pytest.mark.parametrize("form", ["flow", "block"])
def test_as_run_is_the_text_with_the_dials_turned(tmp_path: Path, form: str) -> None:
    block = "dials:\n  keep: [0.5, 0.25]\n  seeds:\n    - 0\n    - 1\n"
    text = GOOD if form == "flow" else block + GOOD.partition("\n")[2]
    assert Recipe.read(written(tmp_path, text)).as_run() == text
    turned = Recipe.read(written(tmp_path, text), keep=[0.1], seeds=[5]).as_run()
    again = Recipe.read(written(tmp_path, turned, "again.yaml"))
    assert again.dials == {"keep": [0.1], "seeds": [5]}
    assert (again.data, again.steps) == (Recipe.read(written(tmp_path, text)).data, again.steps)
    assert yaml.safe_load(turned)["steps"] == yaml.safe_load(text)["steps"]


def test_a_recipe_is_found_by_path_by_name_and_with_the_folder_of_the_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    smoke = PACKAGED / "data_diet" / "smoke.yaml"
    for name in ("data_diet/smoke", "data_diet/smoke.yaml", "recipes/data_diet/smoke.yaml"):
        assert locate(name) == smoke
    assert locate("down") == locate("recipes/down/down.yaml") == PACKAGED / "down" / "down.yaml"
    assert Recipe.read("down").name == "down"
    assert Recipe.read("data_diet/smoke").name == "data_diet-smoke"
    written(tmp_path, GOOD, "down")
    assert locate("down") == Path("down")
    with pytest.raises(RecipeError, match="Did you mean 'data_diet/smoke'"):
        locate("data_diet/smook")
    with pytest.raises(RecipeError, match=r"There is no recipe at \.\./recipe"):
        locate("../recipe")
    assert "data_diet/smoke" in packaged()


def test_references_are_followed_anywhere_and_several_are_spread() -> None:
    known = {"$a": 1, "$many": Several([2, 3]), "$list": [4, 5]}
    value = {"x": ["$a", "$many", {"y": "$list"}, "plain"], "z": "$many"}
    assert resolve(value, known.__getitem__) == {"x": [1, 2, 3, {"y": [4, 5]}, "plain"], "z": [2, 3]}


class Result:
    """Stands for a result with parts, some of which are several."""

    def __init__(self, name: str, varied: dict[str, Any]) -> None:
        self.link, self.varied = name, varied
        self.one, self.two = name, [name + "a", name + "b"]


def test_parts_of_one_and_of_several_results() -> None:
    first, second = Result("r", {}), Result("s", {})
    assert part_of_each([first], None, repeated=False) is first
    assert part_of_each([first], None, repeated=True) == [first]
    assert part_of_each([first], "one", repeated=False) == "r"
    assert part_of_each([first], "two", repeated=False) == ["ra", "rb"]
    assert part_of_each([first, second], "two", repeated=True) == ["ra", "rb", "sa", "sb"]


def variations(repeat: dict[str, Any], known: dict[str, Any]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    step = Step("s", "train", {}, repeat)
    return list(step.variations(known.__getitem__, lambda value: value if isinstance(value, Result) else None))


def test_a_repeat_makes_every_combination_the_last_name_fastest() -> None:
    made = [varied for _, varied in variations({"a": [1, 2], "b": "$b"}, {"$b": ["x", "y"]})]
    assert made == [{"a": 1, "b": "x"}, {"a": 1, "b": "y"}, {"a": 2, "b": "x"}, {"a": 2, "b": "y"}]
    assert [varied for _, varied in variations({}, {})] == [{}]
    assert [varied for _, varied in variations({"a": "$one"}, {"$one": 3})] == [{"a": 3}]


def test_what_was_varied_before_is_told_and_must_agree() -> None:
    drawn = [
        Result(f"drawn-{n}", {"fraction": f, "seed": s}) for n, (f, s) in enumerate([(0.5, 0), (0.5, 1), (0.2, 0)])
    ]
    made = variations({"selection": "$drawn", "seed": [0, 1]}, {"$drawn": Several(drawn)})
    assert [varied for _, varied in made] == [
        {"fraction": 0.5, "seed": 0, "selection": "drawn-0"},
        {"fraction": 0.5, "seed": 1, "selection": "drawn-1"},
        {"fraction": 0.2, "seed": 0, "selection": "drawn-2"},
    ]
    assert [variation["selection"] for variation, _ in made] == drawn


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.5, "0.5"),
        ("highest", "highest"),
        ({"name": "window", "version": 1, "offset": 0.2, "more": None, "none": []}, "window(offset=0.2)"),
        ([{"name": "accuracy"}, {"lr": {"name": "x", "a": 1}}], "accuracy, (lr=x(a=1))"),
    ],
)
def test_plain_data_in_short(value: Any, text: str) -> None:
    assert short(value) == text


def test_one_result_of_a_repeated_step_is_named_by_its_link(tmp_path: Path) -> None:
    start = """
data: {train: {name: synthetic, n: 60}}
steps:
  full: {train: {data: $train, model: convnet}, repeat: {seed: [0, 1]}}
  once: {train: {data: $train, model: convnet}}
"""
    last = "  features: {embed: {data: $train, checkpoint: $NAME.checkpoint, encoder: penultimate}}\n"
    for name in ("full-0", "full-1", "once"):
        Recipe.read(written(tmp_path, start + last.replace("NAME", name))).check()
    for name in ("full-2", "once-0", "ful-0"):
        assert f"nothing is called '${name}.checkpoint'" in faults(tmp_path, start + last.replace("NAME", name))
    assert "checkpoint takes one, and 2 are given" in faults(tmp_path, start + last.replace("NAME", "full"))
    early = start.replace("steps:\n", f"steps:\n{last.replace('NAME', 'full-0')}")
    assert "is written below" in faults(tmp_path, early)


LIBRARIES = """
data: {train: {name: synthetic, n: 40}}
steps:
  dense: {train: {data: $train, model: {name: simple-cnn, channels: [2]}, training: {steps: 1}}}
  found: {search: {checkpoint: $dense.checkpoint, data: $train, searcher: tpe, keep: 0.5}}
  files: {export: {checkpoint: $dense.checkpoint}}
  robust:
    evaluate:
      subject: $dense.checkpoint
      data: $train
      probes: [{name: robust-accuracy, attacks: [autoattack]}, {name: cost, formats: [onnx]}]
"""


def test_a_library_that_is_missing_is_named_before_anything_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "needs.yaml").write_text(LIBRARIES)
    recipe = Recipe.read(tmp_path / "needs.yaml")
    recipe.check()  # the recipe is right, wherever it is run
    lacking = {"optuna", "onnxruntime", "pyautoattack"}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in lacking else ModuleSpec(name, None))
    with pytest.raises(RecipeError) as fault:
        recipe.check(installed=True)
    told = str(fault.value).splitlines()[1:]
    wanted = [("found", "search"), ("files", "export"), ("robust", "autoattack"), ("robust", "export")]
    assert len(told) == len(wanted)
    for line, (step, extra) in zip(told, wanted, strict=True):
        assert step in line and line.endswith(f"is not installed. Run: pip install 'paredown[{extra}]'")
