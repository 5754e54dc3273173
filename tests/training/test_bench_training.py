"""The benchmark of the training step."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.waiting import DEADLINE

SCRIPT = Path(__file__).parents[2] / "scripts" / "bench_training.py"


@pytest.mark.slow
def test_the_recipe_is_measured_in_each_way() -> None:
    command = [sys.executable, SCRIPT, "--child", "sampled_softmax", "--size", "wikitext2_60min", "--steps", "1"]
    result = subprocess.run(command, check=True, timeout=DEADLINE, capture_output=True, text=True)
    measured = json.loads(result.stdout)
    assert "fp32 1" in measured["speed"]
    assert measured["speed"].keys() == measured["limits"].keys()
    assert min(*measured["speed"].values(), *measured["limits"].values()) > 0.0
