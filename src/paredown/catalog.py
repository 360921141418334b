"""Short names of methods: kind, then name, then `"module:Class"`.

The values are strings, so that listing or looking up a name imports nothing and one scorer does not import the others.
Whatever takes a name also takes `yourpackage.module:YourClass`; nothing has to be registered.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

from paredown.errors import MethodError, did_you_mean

CATALOG: dict[str, dict[str, str]] = {
    "data": {
        "anli": "paredown.data.corpora:Anli",
        "cifar10": "paredown.data.cifar:Cifar10",
        "cifar100": "paredown.data.cifar:Cifar100",
        "cinic10": "paredown.data.cinic10:Cinic10",
        "datacomp": "paredown.data.datacomp:DataComp",
        "cub-200": "paredown.data.cub:Cub200",
        "digits": "paredown.data.digits:Digits",
        "fashion-mnist": "paredown.data.idx:FashionMnist",
        "folder": "paredown.data.folder:Folder",
        "generated-images": "paredown.data.generated:GeneratedImages",
        "generated-mixtures": "paredown.data.mixtures:GeneratedMixtures",
        "hugging-face": "paredown.data.corpora:HuggingFace",
        "idx": "paredown.data.idx:Idx",
        "imagenet": "paredown.data.imagenet:ImageNet",
        "imagenet-resized": "paredown.data.imagenet_resized:ImageNetResized",
        "imagenette": "paredown.data.imagenette:Imagenette",
        "imagewoof": "paredown.data.imagenette:Imagewoof",
        "imdb": "paredown.data.corpora:Imdb",
        "mnist": "paredown.data.idx:Mnist",
        "npz": "paredown.data.npz:Npz",
        "parquet": "paredown.data.parquet:Parquet",
        "pseudo-labelled": "paredown.models.pseudo_labelled:PseudoLabelled",
        "rotten-tomatoes": "paredown.data.corpora:RottenTomatoes",
        "sentences": "paredown.data.text:Sentences",
        "svhn": "paredown.data.svhn:Svhn",
        "synthetic": "paredown.data.synthetic:Synthetic",
        "synthetic-sentences": "paredown.data.phrases:SyntheticSentences",
        "synthetic-pairs": "paredown.data.datacomp:SyntheticPairs",
        "tiny-imagenet": "paredown.data.tiny_imagenet:TinyImageNet",
    },
    "augmentation": {
        "augmentation": "paredown.data.augment:Augmentation",
        "single-operation": "paredown.data.differentiable:SingleOperation",
    },
    "noise": {"label-noise": "paredown.data.corrupt:LabelNoise"},
    "model": {
        "alexnet": "paredown.models.flat:AlexNet",
        "compacted": "paredown.pruning.compact:Compacted",
        "convnet": "paredown.models.convnet:ConvNet",
        "dc-convnet": "paredown.models.constant_width:DcConvNet",
        "factory": "paredown.models.build:Factory",
        "flat-resnet18": "paredown.models.flat:FlatResNet18",
        "kip-convnet": "paredown.models.constant_width:KipConvNet",
        "pretrained-text": "paredown.models.pretrained:Pretrained",
        "preact-resnet18": "paredown.models.resnet:PreActResNet18",
        "resnet18": "paredown.models.resnet:ResNet18",
        "resnet34": "paredown.models.resnet:ResNet34",
        "resnet50": "paredown.models.resnet:ResNet50",
        "simple-cnn": "paredown.models.convnet:SimpleCnn",
        "preact-swish": "paredown.models.wide_resnet:PreActSwish",
        "small-resnet": "paredown.models.small:SmallResNet",
        "vgg11": "paredown.models.flat:Vgg11",
        "vgg16-bn": "paredown.models.vgg:Vgg16Bn",
        "wide-resnet": "paredown.models.wide_resnet:WideResNet",
        "widening-convnet": "paredown.models.widening:WideningConvNet",
        "transformer": "paredown.models.transformer:Transformer",
    },
    "training": {"training": "paredown.training.training:Training"},
    "mixing": {"mixing": "paredown.training.mixing:Mixing"},
    "objective": {
        "cross-entropy": "paredown.training.objectives:CrossEntropy",
        "fast": "paredown.training.single_step:Fast",
        "free": "paredown.training.single_step:Free",
        "madry": "paredown.training.objectives:Madry",
        "mart": "paredown.training.objectives:Mart",
        "soft-cross-entropy": "paredown.training.soft_labels:SoftCrossEntropy",
        "squared-error": "paredown.training.soft_labels:SquaredError",
        "trades": "paredown.training.objectives:Trades",
    },
    "optimizer": {
        "sgd": "paredown.training.optimizers:Sgd",
        "adam": "paredown.training.optimizers:Adam",
        "adamw": "paredown.training.optimizers:AdamW",
    },
    "schedule": {
        "constant": "paredown.training.schedules:Constant",
        "epoch-cosine": "paredown.pruning.schedules:EpochCosine",
        "linear": "paredown.training.schedules:Linear",
        "one-cycle": "paredown.training.schedules:OneCycle",
        "restarts": "paredown.pruning.schedules:Restarts",
        "step": "paredown.training.schedules:Step",
        "cosine": "paredown.training.schedules:Cosine",
        "triangular": "paredown.training.schedules:Triangular",
    },
    "validation": {"validation": "paredown.training.validation:Validation"},
    "recording": {"recording": "paredown.training.record:Recording"},
    "scorer": {
        "aspect-ratio": "paredown.scoring.metadata:AspectRatio",
        "aum": "paredown.scoring.dynamics:Aum",
        "cal": "paredown.scoring.contrast:Cal",
        "caption-length": "paredown.scoring.metadata:CaptionLength",
        "cluster": "paredown.scoring.clusters:Cluster",
        "column": "paredown.scoring.columns:Column",
        "confidence": "paredown.scoring.errors:Confidence",
        "correctness": "paredown.scoring.dynamics:Correctness",
        "dual": "paredown.scoring.windows:Dual",
        "dynamic-uncertainty": "paredown.scoring.windows:DynamicUncertainty",
        "el1n": "paredown.scoring.errors:El1n",
        "el2n": "paredown.scoring.errors:El2n",
        "entropy": "paredown.scoring.errors:Entropy",
        "forgetting": "paredown.scoring.dynamics:Forgetting",
        "function": "paredown.scoring.base:FunctionScorer",
        "grand": "paredown.scoring.gradients:Grand",
        "grand-last-layer": "paredown.scoring.gradients:LastLayerGrand",
        "image-size": "paredown.scoring.metadata:ImageSize",
        "imported": "paredown.scoring.columns:Imported",
        "input-norm": "paredown.scoring.plain:InputNorm",
        "loss": "paredown.scoring.errors:Loss",
        "margin-max": "paredown.scoring.errors:MaxMargin",
        "margin-sum": "paredown.scoring.errors:SumMargin",
        "nearest-similarity": "paredown.scoring.similarity:NearestSimilarity",
        "prototypicality": "paredown.scoring.prototypes:Prototypicality",
        "random": "paredown.scoring.plain:Random",
        "recorded-mean": "paredown.scoring.dynamics:RecordedMean",
        "spectral": "paredown.scoring.spectrum:Spectral",
        "tdds": "paredown.scoring.windows:Tdds",
        "variability": "paredown.scoring.dynamics:Variability",
    },
    "encoder": {
        "clip": "paredown.embedding.clip:Clip",
        "last-layer-gradient": "paredown.embedding.gradients:LastLayerGradient",
        "penultimate": "paredown.embedding.penultimate:Penultimate",
        "sentence": "paredown.embedding.sentences:SentenceEncoder",
        "pretrained-resnet": "paredown.embedding.vision:PretrainedResNet",
        "sscd": "paredown.embedding.sscd:Sscd",
        "stored": "paredown.embedding.stored:Stored",
    },
    "selector": {
        "bins": "paredown.selection.bins:Bins",
        "ccs": "paredown.selection.coverage:Ccs",
        "d2": "paredown.selection.message_passing:D2",
        "classes": "paredown.selection.threshold:OfClasses",
        "craig": "paredown.selection.craig:Craig",
        "facility-location": "paredown.selection.submodular:FacilityLocation",
        "function": "paredown.selection.base:FunctionSelector",
        "glister": "paredown.selection.glister:Glister",
        "grad-match": "paredown.selection.gradient_matching:GradMatch",
        "graph-cut": "paredown.selection.submodular:GraphCut",
        "herding": "paredown.selection.herding:Herding",
        "highest": "paredown.selection.simple:Highest",
        "highest-magnitude": "paredown.selection.simple:HighestMagnitude",
        "k-center": "paredown.selection.kcenter:KCenter",
        "lowest": "paredown.selection.simple:Lowest",
        "lowest-magnitude": "paredown.selection.simple:LowestMagnitude",
        "moderate": "paredown.selection.moderate:Moderate",
        "near-duplicates": "paredown.selection.deduplicate:NearDuplicates",
        "random": "paredown.selection.simple:Random",
        "saturated-coverage": "paredown.selection.submodular:SaturatedCoverage",
        "threshold": "paredown.selection.threshold:Threshold",
        "weighted": "paredown.selection.weighted:Weighted",
        "window": "paredown.selection.simple:Window",
    },
    "searcher": {
        "cma-es": "paredown.searching.black_box:CmaEs",
        "ddpg": "paredown.searching.ddpg:Ddpg",
        "erk": "paredown.searching.baselines:Erk",
        "global-magnitude": "paredown.searching.baselines:GlobalMagnitude",
        "lamp": "paredown.searching.baselines:Lamp",
        "random": "paredown.searching.black_box:RandomSearch",
        "tpe": "paredown.searching.black_box:Tpe",
        "uniform": "paredown.searching.baselines:Uniform",
    },
    "pruner": {
        "admm": "paredown.pruning.admm:Admm",
        "hydra": "paredown.pruning.hydra:Hydra",
        "magnitude": "paredown.pruning.magnitude:Magnitude",
    },
    "walk": {"layer-walk": "paredown.searching.walk:LayerWalk"},
    "reward": {"pruned-accuracy": "paredown.searching.reward:PrunedAccuracy"},
    "extrapolation": {
        "graph-network": "paredown.scoring.graph_network:GraphNetwork",
        "kernel-ridge": "paredown.scoring.extrapolation:KernelRidge",
        "nearest-mean": "paredown.scoring.extrapolation:NearestMean",
    },
    "distiller": {"feature-regression": "paredown.distillation.feature_regression:FeatureRegression"},
    "semantic-augmentation": {"infinite-semantic": "paredown.distillation.semantic:InfiniteSemantic"},
    "attack": {
        "apgd": "paredown.attacks.apgd:Apgd",
        "autoattack": "paredown.attacks.autoattack:AutoAttack",
        "carlini-wagner": "paredown.attacks.minimal:CarliniWagner",
        "deepfool": "paredown.attacks.minimal:DeepFool",
        "fgsm": "paredown.attacks.gradient:Fgsm",
        "pgd": "paredown.attacks.gradient:Pgd",
        "square": "paredown.attacks.square:Square",
    },
    "index": {
        "exact": "paredown.neighbors.exact:Exact",
        "ivf": "paredown.neighbors.approximate:Ivf",
    },
    "probe": {
        "robust-accuracy": "paredown.evaluation.robust:RobustAccuracy",
        "accuracy": "paredown.evaluation.accuracy:Accuracy",
        "attacked-accuracy": "paredown.evaluation.attacked:AttackedAccuracy",
        "class-balance": "paredown.evaluation.balance:ClassBalance",
        "class-incremental": "paredown.evaluation.class_incremental:ClassIncremental",
        "cost": "paredown.evaluation.cost:Cost",
        "coverage": "paredown.evaluation.spacing:Coverage",
        "label-robustness": "paredown.evaluation.label_robustness:LabelRobustness",
        "membership": "paredown.evaluation.membership:Membership",
        "overlap": "paredown.evaluation.agreement:Overlap",
        "redundancy": "paredown.evaluation.spacing:Redundancy",
    },
}


def names(kind: str) -> list[str]:
    """Gives the names of one kind, sorted."""
    return sorted(CATALOG[kind])


def default_class(kind: str) -> str | None:
    """Gives the name that a recipe may leave out: that of a kind's only class, or the one called like the kind."""
    entries = CATALOG[kind]
    return next(iter(entries)) if len(entries) == 1 else kind if kind in entries else None


def find(kind: str, name: str) -> Any:
    """Imports what a name stands for.

    Args:
        kind: a key of `CATALOG`.
        name: a name of that kind, or `module:Class` for a class of one's own.

    Raises:
        MethodError: no such name, module or class; the sentence names the nearest.
    """
    path = CATALOG[kind].get(name, name if ":" in name else "")
    if not path:
        hint = did_you_mean(name, CATALOG[kind]) or f" There are: {', '.join(names(kind))}."
        raise MethodError(f"No {kind} is called '{name}'.{hint}")
    module, _, attribute = path.partition(":")
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and (module == error.name or module.startswith(error.name + ".")):
            raise MethodError(
                f"{kind} '{name}': there is no module '{module}' to import. "
                "Write module:Class, with the module's folder on PYTHONPATH."
            ) from error
        raise
    for part in attribute.split("."):
        if not hasattr(found, part):
            hint = did_you_mean(part, [known for known in vars(found) if not known.startswith("_")])
            raise MethodError(f"{kind} '{name}': module '{module}' has no '{attribute}'.{hint}")
        found = getattr(found, part)
    return found


def name_of(cls: type) -> str:
    """Gives the short name of a class, or `module:Class` for one that stands outside the catalog."""
    path = f"{cls.__module__}:{cls.__qualname__}"
    for entries in CATALOG.values():
        for name, entry in entries.items():
            if entry == path:
                return name
    return path


def path_of(function: Any) -> str:
    """Gives `module:name` of a function, by which it can be imported again; text is given back as it is.

    Raises:
        MethodError: it cannot be imported by name, such as a lambda or a function inside another.
    """
    if isinstance(function, str):
        return function
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", repr(function))
    if getattr(sys.modules.get(module or ""), name, None) is not function:
        raise MethodError(
            f"{name} cannot be imported by name, and its name is what identifies a function in stored results. "
            "Define it with def at the top of a module."
        )
    return f"{module}:{name}"
