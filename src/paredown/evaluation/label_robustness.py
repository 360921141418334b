"""Label robustness: what a small set teaches, less what soft labels and augmentation would add to any images."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from paredown.artifacts import DistilledSet
from paredown.data.dataset import PLAIN, AbstractImages, LearnableDataset
from paredown.errors import MethodError
from paredown.evaluation.base import AbstractTrainingSetProbe, TrainingSet
from paredown.evaluation.comparison import summary
from paredown.evaluation.students import STUDENT, Lesson, Students, lesson
from paredown.models.build import AbstractModel
from paredown.rng import stream
from paredown.runtime import Runtime
from paredown.training.objectives import CrossEntropy
from paredown.training.training import Training


def hard_label_recovery(full: float, hard: float) -> float:
    """Gives HLR, what is lost against all the data when both have hard labels, in [-1, 1]; lower is better.

    HLR = accuracy(all real, hard labels) - accuracy(the set, hard labels): DD-Ranking (Li et al. 2025, arXiv
    2505.13300).
    """
    return _share(full) - _share(hard)


def improvement_over_random(own: float, random: float) -> float:
    """Gives IOR, what is won over as many random real examples, in [-1, 1]; higher is better.

    IOR = accuracy(the set) - accuracy(random real), both trained in the set's own way: DD-Ranking.
    """
    return _share(own) - _share(random)


def label_robust_score(recovery: float, improvement: float, weight: float = 0.5) -> float:
    """Gives LRS, in [0, 1]: (e^α - e^-1) / (e - e^-1) with α = w·IOR - (1 - w)·HLR (DD-Ranking).

    Args:
        recovery: HLR, of accuracies as shares; percentages, which DD-Ranking's own code puts in, leave the scale.
        improvement: IOR, likewise.
        weight: w, how much the improvement counts.
    """
    return _scaled(weight * improvement - (1 - weight) * recovery)


def augmentation_robust_score(augmented: float, plain: float, weight: float = 0.5) -> float:
    """Gives ARS, in [0, 1]: as LRS, with β = γ·(gain over random, augmented) + (1 - γ)·(the same, not augmented).

    Args:
        augmented: accuracy(the set) - accuracy(random real), both trained with augmentation.
        plain: the same without.
        weight: γ, how much the first counts.
    """
    return _scaled(weight * augmented + (1 - weight) * plain)


def _scaled(gain: float) -> float:
    low = math.exp(-1)
    return (math.exp(gain) - low) / (math.e - low)


def _share(accuracy: float) -> float:
    if not 0 <= accuracy <= 1:
        raise MethodError(
            f"An accuracy of {accuracy:g} is no share in [0, 1], and these scores are of shares. Write 0.655, not 65.5."
        )
    return accuracy


@dataclass(frozen=True)
class LabelRobustness(AbstractTrainingSetProbe):
    """Label-robust and augmentation-robust scores of sets to train on (DD-Ranking, Li et al. 2025).

    Fresh networks are trained on the set with its own labels and with hard ones, with augmentation and without, on as
    many random real examples of each class, drawn anew for each network, and on all the data. Random examples are
    trained on in the set's own way; they have no soft labels of their own, because nobody learnt any. Hard labels are
    always trained by cross-entropy.

    Metrics: `label-robust-score`, `augmentation-robust-score` (both in [0, 1]), `hard-label-recovery`,
    `improvement-over-random`, and the accuracies that they are made of: `accuracy-own`, `-hard`, `-own-plain`,
    `-random`, `-random-plain`, `-full`. Each is the mean over the networks, a score that of the i-th network of every
    kind; the spread is the standard deviation over them.

    Args:
        model: of the networks.
        training: how they are trained: the set's own way. Without an augmentation named, that of the data.
        networks: how many of each kind; the i-th is trained with the evaluation's seed + i.
        full: the accuracy on all the data with hard labels, as a share, where it is known; none trains and tests.
        full_training: how, then; none trains as on the set, with as many steps.
        weight: w of the label-robust score.
        augmented_weight: γ of the augmentation-robust score.
    """

    model: AbstractModel
    training: Training = STUDENT
    networks: int = 5
    full: float | None = None
    full_training: Training | None = None
    weight: float = 0.5
    augmented_weight: float = 0.5

    needs: ClassVar[frozenset[str]] = frozenset({"against"})

    def __post_init__(self) -> None:
        if self.networks < 1:
            raise MethodError(f"LabelRobustness(networks={self.networks}): nothing would be trained. Give at least 1.")
        for name in ("weight", "augmented_weight"):
            if not 0 <= getattr(self, name) <= 1:
                raise MethodError(f"LabelRobustness({name}={getattr(self, name):g}): a weight lies from 0 to 1.")
        if self.full is not None:
            _share(self.full)

    def measure(
        self,
        sets: Sequence[TrainingSet],
        data: LearnableDataset,
        *,
        against: LearnableDataset | None,
        runtime: Runtime,
        seed: int,
        folder: Path,
    ) -> list[Mapping[str, Any]]:
        assert against is not None  # it needs it
        students = Students(self.model, data, runtime=runtime, folder=folder)
        figures: list[Mapping[str, Any]] = []
        for one in sets:
            _refuse_other_space(one, against)
            reached = [self._reached(students, one, against, seed + number) for number in range(self.networks)]
            about = {"subject": one.digest()[:16]}
            for metric in reached[0]:
                found = summary([network[metric] for network in reached])
                given = metric == "accuracy-full" and self.full is not None
                n, spread = (1, None) if given else (found.n, found.spread)
                figures.append({"metric": metric, "value": found.mean, "n": n, "spread": spread} | about)
        return figures

    def _reached(self, students: Students, one: TrainingSet, real: LearnableDataset, seed: int) -> dict[str, float]:
        """Gives the accuracies and scores of one network of each kind."""
        own, name = lesson([one], real, type(self).__name__), one.digest()[:12]
        drawn = Lesson(real, alike(own.labels, real, seed))
        augmented, plain = self._trainings(real)
        hard = replace(augmented, objective=CrossEntropy())

        def accuracy(kind: str, taught: Lesson, training: Training) -> float:
            return students.accuracy(f"{kind}-{seed}", taught, training, seed=seed)

        found = {
            "accuracy-own": accuracy(f"{name}-own", own, augmented),
            "accuracy-hard": accuracy(f"{name}-hard", own, hard),
            "accuracy-own-plain": accuracy(f"{name}-own-plain", own, plain),
            "accuracy-random": accuracy(f"{name}-random", drawn, augmented),
            "accuracy-random-plain": accuracy(f"{name}-random-plain", drawn, plain),
        }
        if self.full is None:
            training = replace(self.full_training or augmented, objective=CrossEntropy())
            found["accuracy-full"] = accuracy("full", Lesson(real), training)
        else:
            found["accuracy-full"] = self.full
        recovery = hard_label_recovery(found["accuracy-full"], found["accuracy-hard"])
        gain = improvement_over_random(found["accuracy-own"], found["accuracy-random"])
        bare = improvement_over_random(found["accuracy-own-plain"], found["accuracy-random-plain"])
        return {
            "label-robust-score": label_robust_score(recovery, gain, self.weight),
            "augmentation-robust-score": augmentation_robust_score(gain, bare, self.augmented_weight),
            "hard-label-recovery": recovery,
            "improvement-over-random": gain,
        } | found

    def _trainings(self, real: LearnableDataset) -> tuple[Training, Training]:
        """Gives the set's own way to train, with augmentation and without; the same for learnt and for real images."""
        if not isinstance(real, AbstractImages):
            return self.training, self.training
        usual = self.training.augmentation or real.augmentation
        return replace(self.training, augmentation=usual), replace(self.training, augmentation=PLAIN)


def alike(labels: np.ndarray, real: LearnableDataset, seed: int) -> np.ndarray:
    """Gives random rows of some data, as many of each class as some labels have, int64, ascending."""
    order = stream(seed, "label-robustness", "random").permutation(len(real))
    parts = []
    for label, count in zip(*np.unique(labels, return_counts=True), strict=True):
        rows = order[real.labels[order] == label][:count]
        if len(rows) < count:
            raise MethodError(
                f"LabelRobustness: the set has {count} examples of class {label} and {real.name} has {len(rows)}, so "
                "as many cannot be drawn. Give as against= the data that the set was made from."
            )
        parts.append(rows)
    return np.sort(np.concatenate(parts)).astype(np.int64)


def _refuse_other_space(one: TrainingSet, real: LearnableDataset) -> None:
    """Raises MethodError where networks for the set and for the real data would begin with other layers."""
    if not isinstance(one, DistilledSet) or not isinstance(real, AbstractImages):
        return
    mine, others = one.whitening, real.whitening
    if mine is others if mine is None or others is None else np.array_equal(mine.matrix, others.matrix):
        return
    how = "whitened" if mine is not None else "not whitened"
    raise MethodError(
        f"LabelRobustness: the set was learnt on data that are {how}, and {real.name} is opened otherwise, so the "
        "random examples would be at a disadvantage or an advantage. Give as against= the data as they were distilled."
    )
