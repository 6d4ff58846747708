"""Importing l1scout leaves Keras and its environment variable alone."""

import os
import subprocess
import sys

CODE = """
import importlib, os, pkgutil, sys
import l1scout
for name in ("training", "firmware", "model", "deploy", "evaluate", "dataset"):
    package = importlib.import_module(f"l1scout.{name}")
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if module.name.split(".")[-1] not in ("__main__", "look_up", "hls_look_up", "hls_gains"):
            importlib.import_module(module.name)
assert "keras" not in sys.modules and "KERAS_BACKEND" not in os.environ
from l1scout.model.keras_backend import load_keras
assert load_keras().backend.backend() == "jax"
"""


def test_no_module_sets_the_backend_when_it_is_imported():
    environment = {k: v for k, v in os.environ.items() if k != "KERAS_BACKEND"}
    done = subprocess.run([sys.executable, "-c", CODE], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
