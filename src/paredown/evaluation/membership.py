"""Membership inference: can one tell from what a network gives for an example whether it was trained on it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from paredown.data.dataset import LearnableDataset
from paredown.errors import MethodError
from paredown.evaluation.base import AbstractContrastProbe
from paredown.evaluation.detection import area, bootstrapped, detected
from paredown.models.build import inputs
from paredown.rng import key, stream
from paredown.runtime import Runtime

AttackName = Literal["threshold", "logistic-regression", "random-forest", "nearest-neighbors", "mlp"]
ALARMS = {"0.1%": 0.001, "1%": 0.01}
BATCH = 100  # whatever the runtime says: last digits that depend on it would train other attacks
LEAST = 12  # with fewer a third of a half has fewer rows than the nearest neighbours that are asked for


@dataclass(frozen=True)
class Membership(AbstractContrastProbe):
    """Membership inference (Shokri et al. 2017): attacks tell members, `data`, from non-members, `against`.

    Members are all examples of `data`, whether the network saw them itself, or a coreset of them, or only what was
    distilled of them: the question is who stood in the data. With `selection` they are the chosen ones alone, of which
    a network that was trained on a coreset tells the most.

    Metrics, one of each for every attack, which stands as the row's threat: `membership-auc`, the area under the ROC
    curve, where 0.5 means that nothing leaks; `membership-tpr-at-0.1%` and `-at-1%`, the share of members that are
    found while at most that share of non-members is taken for one (Carlini et al. 2022). As many members as
    non-members are looked at, drawn by the seed; n counts both for the area and the members alone for the shares. The
    spread is the standard error of a bootstrap over the examples, with the attacks as they were trained.

    - `threshold`: the loss itself, lower for members (Yeom et al. 2018).
    - The others are trained on [logits, loss], each number scaled to a standard deviation of 1 where the attack asks
      for a scale. Two halves, each with as many members as non-members: every example is scored by the attack that was
      trained on the other half, with the settings of the highest area in a threefold search within that half (as
      tensorflow-privacy does, whose published grids these are).

    Args:
        attacks: which.
        examples: look at so many members and as many non-members; none looks at all that both have.
        loss: what the attacker computes from logits and label; squared-error is ½ ‖z - (e_y - 1/C)‖², that of networks
            trained on centred labels.
        grid: the settings that the random forest is searched over: six of them, or the 36 published ones, which take
            six times as long.
    """

    attacks: tuple[AttackName, ...] = get_args(AttackName)
    examples: int | None = 5000
    loss: Literal["cross-entropy", "squared-error"] = "cross-entropy"
    grid: Literal["short", "published"] = "short"

    def __post_init__(self) -> None:
        if not self.attacks or len(set(self.attacks)) < len(self.attacks):
            raise MethodError(f"Membership(attacks={self.attacks}): name at least one attack, and each once.")
        if self.examples is not None and self.examples < LEAST:
            raise MethodError(
                f"Membership(examples={self.examples}): too few to train an attack on. Give at least {LEAST}."
            )

    def measure(
        self,
        network: nn.Module,
        data: LearnableDataset,
        against: LearnableDataset,
        *,
        rows: np.ndarray,
        runtime: Runtime,
        seed: int,
    ) -> list[Mapping[str, Any]]:
        _refuse_overlap(data, rows, against)
        count = min(len(rows), len(against), self.examples or len(rows))
        if count < LEAST:
            raise MethodError(
                f"Membership: there are {len(rows)} members of {data.name} and {len(against)} examples of "
                f"{against.name}, and at least {LEAST} of each are needed to train an attack on."
            )
        sides = {"members": (data, rows), "others": (against, np.arange(len(against)))}
        looked_at = []
        for name, (part, among) in sides.items():
            drawn = np.sort(stream(seed, "membership", name).permutation(among)[:count])
            looked_at.append(answers(network, part, drawn, loss=self.loss))
        features, member = np.concatenate(looked_at), np.repeat([1, 0], count)
        figures: list[Mapping[str, Any]] = []
        for attack in self.attacks:
            score = scores(attack, features, member, seed=seed, grid=self.grid)
            figures += _figures(attack, score[:count], score[count:], seed)
        return figures


def answers(
    network: nn.Module,
    data: LearnableDataset,
    rows: np.ndarray,
    *,
    loss: Literal["cross-entropy", "squared-error"] = "cross-entropy",
) -> np.ndarray:
    """Gives what an attacker sees of some examples: the logits, and the loss in the last column; float64 (n, C + 1).

    Args:
        network: left as it was.
        data: the examples, un-augmented.
        rows: which of them.
        loss: see `Membership`.
    """
    modes = [(module, module.training) for module in network.modules()]
    given = inputs(network, data)
    found = []
    network.eval()
    try:
        with torch.no_grad():
            parts = np.split(rows, range(BATCH, len(rows), BATCH))
            for x, y in given.batches(parts):
                # In float64: the losses of examples that were learnt by heart differ in digits that float32 has not.
                logits = network(x).cpu().double()
                found.append(torch.cat([logits, LOSSES[loss](logits, y.cpu())[:, None]], dim=1).numpy())
    finally:
        for module, training in modes:
            module.training = training
    seen = np.concatenate(found)
    if not np.isfinite(seen).all():
        raise MethodError(
            f"Membership: the network gives logits for {data.name} that are not finite, so there is nothing to learn "
            "from them. Its training diverged: look at the loss, and lower the learning rate."
        )
    return seen


def _squared_error(logits: Tensor, y: Tensor) -> Tensor:
    classes = logits.shape[1]
    return (logits - (functional.one_hot(y, classes) - 1 / classes)).square().sum(dim=1) / 2


LOSSES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cross-entropy": partial(functional.cross_entropy, reduction="none"),
    "squared-error": _squared_error,
}


def scores(
    attack: AttackName,
    features: np.ndarray,
    member: np.ndarray,
    *,
    seed: int = 0,
    grid: Literal["short", "published"] = "short",
) -> np.ndarray:
    """Gives for each example how likely an attack holds it for a member; float64 (n,), higher for likelier.

    Args:
        attack: its name.
        features: shape (n, C + 1): logits, and the loss in the last column.
        member: 1 or 0 for each, shape (n,), as many of each.
        seed: of the halves and of what the attack draws.
        grid: see `Membership`.
    """
    if attack == "threshold":
        return -features[:, -1]
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.model_selection import GridSearchCV, StratifiedKFold

    state = key(seed, "membership", attack) % 2**32
    learner, settings = _learner(attack, state, grid)
    found = np.empty(len(features))
    halves = StratifiedKFold(2, shuffle=True, random_state=key(seed, "membership", "halves") % 2**32)
    for known, rest in halves.split(features, member):
        thirds = StratifiedKFold(3, shuffle=True, random_state=state)
        search = GridSearchCV(learner, settings, cv=thirds, scoring="roc_auc")
        with warnings.catch_warnings():
            # A network that stops at its last step has been cut short, and is an attack all the same.
            warnings.simplefilter("ignore", ConvergenceWarning)
            search.fit(features[known], member[known])
        found[rest] = search.predict_proba(features[rest])[:, 1]
    return found


def _learner(attack: AttackName, state: int, grid: str) -> tuple[Any, dict[str, list[Any]]]:
    """Gives an attack that is not trained yet, and the settings to search over."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if attack == "random-forest":
        settings: dict[str, list[Any]] = {"max_depth": [5, 10, None], "min_samples_leaf": [1, 4]}
        if grid == "published":
            settings = {
                "max_depth": [5, 10, 20, None],
                "min_samples_split": [2, 5, 10],
                "min_samples_leaf": [1, 2, 4],
            }
        return RandomForestClassifier(100, max_features="sqrt", random_state=state), settings
    if attack == "logistic-regression":
        learner, settings = LogisticRegression(max_iter=1000), {"C": list(np.logspace(-4, 2, 10))}
    elif attack == "nearest-neighbors":
        learner, settings = KNeighborsClassifier(), {"n_neighbors": [3, 5, 7]}
    else:
        sizes = [(64,), (32, 32)]
        learner = MLPClassifier(random_state=state)
        settings = {"hidden_layer_sizes": sizes, "alpha": [1e-4, 1e-3, 1e-2]}
    scaled = make_pipeline(StandardScaler(), learner)
    name = scaled.steps[-1][0]
    return scaled, {f"{name}__{setting}": values for setting, values in settings.items()}


def _figures(attack: str, members: np.ndarray, others: np.ndarray, seed: int) -> list[Mapping[str, Any]]:
    kinds: dict[str, tuple[Callable[[np.ndarray, np.ndarray], float], int]] = {
        "membership-auc": (area, len(members) + len(others))
    }
    for name, alarms in ALARMS.items():
        kinds[f"membership-tpr-at-{name}"] = (partial(detected, alarms=alarms), len(members))
    return [
        {
            "metric": metric,
            "value": statistic(members, others),
            "n": n,
            "spread": bootstrapped(statistic, members, others, stream(seed, "membership", "bootstrap", attack, metric)),
            "threat": attack,
        }
        for metric, (statistic, n) in kinds.items()
    ]


def _refuse_overlap(data: LearnableDataset, rows: np.ndarray, against: LearnableDataset) -> None:
    """Raises MethodError where members are among the non-members."""
    if data.ids.pool.fingerprint != against.ids.pool.fingerprint:
        return
    both = int(against.ids.holds(data.ids.take(rows)).sum())
    if both:
        raise MethodError(
            f"Membership: {both} examples of {data.name} are both members and non-members, so no attack could tell "
            "them apart. Give as against= examples that training never saw, such as the test split."
        )
