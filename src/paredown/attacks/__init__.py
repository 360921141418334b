"""Attacks: images near a clean one that a network gets wrong."""

from paredown.attacks.apgd import Apgd
from paredown.attacks.base import AbstractAttack, Ball, climb, refuse_unfit, undisturbed
from paredown.attacks.ensemble import Worst, quick_ensemble, worst_case
from paredown.attacks.gradient import Fgsm, Pgd, ascend
from paredown.attacks.minimal import CarliniWagner, DeepFool
from paredown.attacks.square import Square

__all__ = [
    "AbstractAttack",
    "Apgd",
    "Ball",
    "CarliniWagner",
    "DeepFool",
    "Fgsm",
    "Pgd",
    "Square",
    "Worst",
    "ascend",
    "climb",
    "quick_ensemble",
    "refuse_unfit",
    "undisturbed",
    "worst_case",
]
