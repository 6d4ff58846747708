"""A firmware model as a Vitis HLS project of hls4ml, and its C++ emulated with g++: no vendor's tool."""

import contextlib
import io
import logging
import os
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from l1scout.deploy.engines.firmware import FirmwareEngine
from l1scout.errors import InputError
from l1scout.firmware.build import network_of
from l1scout.firmware.quantised import Inputs, answers_in_steps, load
from l1scout.model.card import KERAS_FILE
from l1scout.model.directory import Model
from l1scout.training.save_model import probes

PROJECT = "recalibrate"
PART = "xcvu9p-flga2577-2-e"
_MARK = f"{PROJECT}_bridge.cpp"


def export(model: Model, folder: str | Path, *, clock: float = 250.0, part: str = PART) -> Any:
    """Write a Vitis HLS project of a firmware model's HGQ2 network; return hls4ml's model.

    Its inputs are those of the HGQ2 network, (hardware - offset) / 2**shift: see
    `l1scout.firmware.quantised.Inputs`. Its answers are those of the integer network if it has gains, and
    2**-8 of them otherwise.

    Raises
    ------
    InputError
        If hls4ml or HGQ2 is missing, or the folder holds something else.
    """
    path = Path(folder)
    integers = network_of(model)
    if path.exists() and any(path.iterdir()) and not (path / _MARK).exists():
        msg = f"{path}: exists and is no project of `l1scout firmware hls`; name another or remove it"
        raise InputError(msg)
    network = load((model.directory or Path()) / KERAS_FILE)
    shutil.rmtree(path, ignore_errors=True)
    with _quiet():
        try:
            from hls4ml.converters import convert_from_keras_model

            from l1scout.firmware import hls_gains, hls_look_up
        except ImportError as error:
            msg = f"hls4ml is not installed ({error}); pip install 'l1scout[firmware]'"
            raise InputError(msg) from error
        hls_look_up.register()
        if integers.gains:
            hls_gains.register()
            network = hls_gains.with_gains(network, integers.gains, Inputs.of(model.domain))
        project = convert_from_keras_model(
            network,
            output_dir=str(path),
            project_name=PROJECT,
            backend="Vitis",
            io_type="io_parallel",
            part=part,
            clock_period=1000 / clock,
            hls_config={"Model": {"Precision": "fixed<16,6>", "ReuseFactor": 1, "Strategy": "latency"}},
        )
        project.write()
    return project


def emulate(model: Model, project: Any) -> tuple[int, int]:
    """Compile a project's C++ with g++ and compare it with the integer network.

    Returns
    -------
    (int, int)
        Inputs: the corners of the domain and 16,384 in it; and those whose answers differ.

    Raises
    ------
    InputError
        If there is no g++, or it refuses the project.
    """
    if shutil.which("g++") is None:
        msg = "g++ is not installed; on Debian or Ubuntu: apt-get install g++"
        raise InputError(msg)
    hardware = probes(model.card).T
    columns = {q.name: hardware[k] for k, q in enumerate(model.card.inputs)}
    with _quiet():
        try:
            project.compile()
        except Exception as error:  # hls4ml raises bare ones
            msg = f"g++ does not compile the project: {(str(error) or 'no reason given').splitlines()[0]}"
            raise InputError(msg) from error
        answers = project.predict(np.ascontiguousarray(Inputs.of(model.domain)(columns)))
    network, rows = network_of(model), np.asarray(answers, np.float64).reshape(-1, 3)
    given = np.rint(rows.T).astype(np.int64) if network.gains else answers_in_steps(network, hardware, rows)
    wanted = FirmwareEngine(network).integers(hardware)
    return hardware.shape[1], int(np.count_nonzero((given != wanted).any(axis=0)))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep hls4ml's prints, warnings and change of folder to itself."""
    folder = Path.cwd()
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            logging.disable(logging.WARNING)
            yield
    finally:
        logging.disable(logging.NOTSET)
        os.chdir(folder)
