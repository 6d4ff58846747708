"""Draw the README's picture from a finished demo: python docs/images/draw.py demo."""

import sys
from pathlib import Path

from l1scout.core.provenance import recording
from l1scout.dataset.matched import read_dataset
from l1scout.deploy.recalibrate import Recalibrator
from l1scout.evaluate.evaluation import evaluate
from l1scout.report.figures import residual_figure

demo = Path(sys.argv[1])
models = {name: Recalibrator.load(demo / f"model-{name}") for name in ("B", "default")}
with recording("make demo", {}):
    svg = residual_figure(evaluate(read_dataset(demo / "muons.parquet"), models))
(Path(__file__).parent / "residuals.svg").write_text(svg)
