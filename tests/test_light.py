"""Training, scoring and selection run where only torch, numpy and safetensors are installed, as on a GPU machine."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ["pyarrow", "accelerate", "rich", "matplotlib", "jinja2", "sklearn", "scipy", "PIL", "yaml", "pandas"]

PROGRAM = f"""
import sys

sys.modules.update(dict.fromkeys({HEAVY}))  # importing a name that stands for None fails
from paredown import Runtime, evaluate, open_data, score, select, train

quiet = Runtime(progress=False)
data = open_data("synthetic", n=120)
full = train(data, "simple-cnn", {{"epochs": 3, "batch_size": 40}}, record=["correct"], runtime=quiet)
for scores in (score("forgetting", dynamics=full), score("grand", checkpoint=full, data=data, runtime=quiet)):
    kept = select("highest", scores=scores, data=data, fraction=0.5, by_class=True)
    student = train(data, "simple-cnn", {{"steps": 5, "batch_size": 40}}, selection=kept, runtime=quiet)
    print(evaluate(student, data, runtime=quiet).describe())
"""


def test_the_work_needs_no_heavy_library() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("accuracy") == 2
