"""The verbs: a whole chain on small data, one address however it is asked for, faults in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paredown import Runtime, Store, embed, evaluate, open_data, score, select, train
from paredown.artifacts import ExampleIds, Pool, Report, ScoreTable, Selection, Trained
from paredown.errors import ArtifactError, MethodError, PoolMismatch
from paredown.scoring import El2n
from paredown.selection import Highest
from paredown.training import Training

DATA = {"name": "synthetic", "n": 120, "classes": 3, "size": 8, "seed": 1}
MODEL = {"name": "simple-cnn", "channels": [4]}
TRAINING = {"epochs": 3, "batch_size": 32}
QUIET = Runtime(progress=False, precision="float32")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train(
        DATA,
        MODEL,
        TRAINING | {"checkpoints_at": [0, 3]},
        record=["confidence", "correct", "el2n"],
        seed=3,
        runtime=QUIET,
        folder=tmp_path_factory.mktemp("training"),
    )


def test_the_whole_chain(trained: Trained) -> None:
    data = open_data(DATA)
    scores = score(El2n(), checkpoint=[trained.checkpoint, *trained.early], data=data)
    assert scores.runs == 3
    assert scores.name == "el2n"
    chosen = select(Highest(), scores=scores, fraction=0.25)
    assert len(chosen) == 30
    assert scores.of(chosen.ids).min() >= np.sort(scores.values)[-30]
    student = train(data, MODEL, TRAINING, selection=chosen, seed=1, runtime=QUIET)
    report = evaluate(student.checkpoint, {**DATA, "split": "test"})
    (row,) = report.of("accuracy")
    assert row.subject == student.checkpoint.digest()[:16]
    assert row.spread is not None and row.n > 1 and 0 <= row.value <= 1
    vectors = embed("penultimate", data=data, checkpoint=student.checkpoint)
    assert len(vectors.vectors) == 120


def test_a_training_leaves_what_was_asked_for(trained: Trained) -> None:
    assert [part.step for part in trained.early] == [0, 3]
    assert trained.dynamics is not None
    assert len(trained.dynamics) == 3
    assert trained.checkpoint.step == 9


def test_a_training_without_a_folder_can_be_read_afterwards() -> None:
    made = train(DATA, MODEL, TRAINING, record=["loss"], seed=0, runtime=QUIET)
    assert made.dynamics is not None
    assert np.isfinite(made.dynamics[0]["loss"]).any()


def test_names_plain_data_and_objects_have_one_address(tmp_path: Path, trained: Trained) -> None:
    store = Store(tmp_path)
    folder = trained.save(tmp_path / "copy")
    asked: list[dict[str, Any]] = [
        {"scorer": "el2n", "checkpoint": folder, "data": DATA},
        {"scorer": {"name": "el2n"}, "checkpoint": str(folder / "checkpoint"), "data": open_data(DATA)},
        {"scorer": El2n(), "checkpoint": trained, "data": DATA, "seed": 0},
    ]
    assert len({store.address(score, **arguments) for arguments in asked}) == 1
    plain = store.address(train, data=DATA, model=MODEL, training=TRAINING)
    assert plain == store.address(train, data=DATA, model=MODEL, training=Training(epochs=3, batch_size=32))
    assert plain != store.address(train, data=DATA, model=MODEL, training=TRAINING | {"epochs": 4})


def test_what_a_scorer_does_not_look_at_is_no_part_of_its_address(tmp_path: Path, trained: Trained) -> None:
    store = Store(tmp_path)
    alone = store.address(score, scorer="forgetting", dynamics=trained)
    assert alone == store.address(score, scorer="forgetting", dynamics=trained, checkpoint=trained, data=DATA)


def test_the_store_opens_what_a_verb_made(tmp_path: Path) -> None:
    store = Store(tmp_path)
    made = store.make(train, data=DATA, model=MODEL, training=TRAINING, record=["correct"], runtime=QUIET)
    again = store.make(train, data=DATA, model=MODEL, training=TRAINING, record=["correct"], runtime=QUIET)
    assert isinstance(made, Trained) and made == again
    forgotten = store.make(score, scorer="forgetting", dynamics=made)
    assert isinstance(forgotten, ScoreTable)
    chosen = store.make(select, selector="highest", scores=forgotten, count=7, by_class=True, data=DATA)
    assert isinstance(chosen, Selection) and len(chosen) == 7
    assert isinstance(store.make(evaluate, subject=made, data=DATA), Report)


def test_within_counts_the_share_on_the_whole(trained: Trained) -> None:
    scores = score("el2n", checkpoint=trained, data=DATA)
    trusted = select("lowest", scores=scores, fraction=0.5)
    hard = select("highest", scores=scores, fraction=0.25, within=trusted)
    assert len(hard) == 30
    assert set(hard.ids.keys) <= set(trusted.ids.keys)
    assert hard.asked["within"] == trusted.digest()
    with pytest.raises(MethodError, match="70 examples are wanted and there are 60 to choose from"):
        select("highest", scores=scores, count=70, within=trusted)


def test_random_needs_nothing_but_data() -> None:
    chosen = select("random", data=DATA, fraction=0.5, by_class=True, seed=4)
    labels = open_data(DATA).labels[chosen.ids.keys]
    assert np.ptp(np.bincount(labels)) <= 1
    assert select("random", data=DATA, fraction=0.5, by_class=True, seed=4) == chosen


OTHER = DATA | {"seed": 2}


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (
            lambda t: score("el2n", data=DATA),
            MethodError,
            r"El2n needs checkpoint= and data=, and score\(\) was given no",
        ),
        (
            lambda t: score("forgetting"),
            MethodError,
            r"Forgetting needs dynamics=, and score\(\) was given no dynamics",
        ),
        (lambda t: score("el3n", data=DATA), MethodError, "Did you mean 'el2n'"),
        (lambda t: score("el2n", checkpoint=[], data=DATA), ArtifactError, "checkpoint: a list of Checkpoint is empty"),
        (lambda t: score("el2n", checkpoint=7, data=DATA), ArtifactError, "checkpoint=7: neither a Checkpoint"),
        (lambda t: score("el2n", checkpoint="/no/where", data=DATA), ArtifactError, "There is no artifact at"),
        (lambda t: select("random", data=DATA), MethodError, "either fraction= or count=, and was given neither"),
        (lambda t: select("random", data=DATA, count=3, fraction=0.1), MethodError, "was given both"),
        (lambda t: select("random", data=DATA, count=0), MethodError, "0 examples are wanted"),
        (lambda t: select("random", data=DATA, fraction=2), MethodError, "a share lies above 0"),
        (lambda t: select("random", fraction=0.1), MethodError, "select needs scores=, embeddings=, graph= or data="),
        (lambda t: select("highest", data=DATA, fraction=0.1), MethodError, "Highest needs values"),
        (
            lambda t: select("highest", scores=score("input-norm", data=DATA), fraction=0.1, by_class=True),
            MethodError,
            "needs data=, whose labels say the classes",
        ),
        (
            lambda t: select("highest", scores=score("input-norm", data=DATA), data=OTHER, fraction=0.1),
            PoolMismatch,
            "the scores index pool",
        ),
        (
            lambda t: train(OTHER, MODEL, TRAINING, selection=select("random", data=DATA, count=9), runtime=QUIET),
            PoolMismatch,
            "the data index pool",
        ),
        (lambda t: evaluate(t.checkpoint, DATA, ["acuracy"]), MethodError, "Did you mean 'accuracy'"),
        (
            lambda t: evaluate(t, DATA | {"size": 12}),
            MethodError,
            "The network takes images of 3×8×8 in 3 classes, and",
        ),
        (
            lambda t: score("el2n", checkpoint=t, data=DATA | {"classes": 5}),
            MethodError,
            "8×8 in 5 classes. Use the data",
        ),
        (lambda t: embed("penultimate", data=DATA), MethodError, "needs checkpoint="),
        (
            lambda t: evaluate(select("random", data=DATA, count=9), DATA),
            MethodError,
            "Accuracy measures networks, and a selection was given",
        ),
        (lambda t: train.bind(data=DATA, modle="x"), MethodError, "train has no argument 'modle'"),
        (lambda t: train.bind(data=DATA), MethodError, "train needs model="),
    ],
)
def test_faults_are_named(call: Any, error: type[Exception], words: str, trained: Trained) -> None:
    with pytest.raises(error, match=words):
        call(trained)


def test_a_training_that_recorded_nothing_says_so(tmp_path: Path) -> None:
    made = train(DATA, MODEL, TRAINING, runtime=QUIET, folder=tmp_path)
    with pytest.raises(ArtifactError, match=r"recorded no dynamics\. Train again with record="):
        score("forgetting", dynamics=made)


def test_the_seed_is_no_part_of_a_choice_that_does_not_draw(tmp_path: Path) -> None:
    store = Store(tmp_path)
    scores = ScoreTable(ExampleIds.of_pool(Pool(("a",), 9, "a" * 64)), np.arange(9.0), name="s", important="high",
                        low=0.0, high=9.0)  # fmt: skip
    for selector, places in (("highest", 1), ("random", 2)):
        addresses = {store.address(select, selector=selector, scores=scores, fraction=0.5, seed=s) for s in (0, 1)}
        assert len(addresses) == places
