"""CMS Level-1 40 MHz scouting: from the bits on the trigger's fibres to physics-quality muons.

>>> import l1scout
>>> data = l1scout.open("run.raw")  # or a folder, several files, or a store and the number of a run
>>> muons = data.to_awkward().muon  # one list of muons per crossing: pt, eta, phi, mass, charge and more
>>> model = l1scout.load_model("model/")
>>> better = data.recalibrated(model).to_awkward().muon
>>> result = l1scout.analyse("occupancy", data)

What is listed in ``l1scout.__all__`` is public. Each name is imported when it is first used, so that
``import l1scout`` itself takes no time.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from l1scout.analysis import ANALYSES as analyses  # noqa: N811
    from l1scout.analysis import Analysis, Result
    from l1scout.api import Data, analyse, load_model, open  # noqa: A004
    from l1scout.core.orbit_batch import OrbitBatch
    from l1scout.core.orbit_data import OrbitData, Origin
    from l1scout.core.provenance import Provenance
    from l1scout.deploy.engine import ENGINES as engines  # noqa: N811
    from l1scout.deploy.engine import Engine
    from l1scout.deploy.recalibrate import Recalibrator
    from l1scout.errors import InputError, ScoutingError
    from l1scout.formats.stream import STREAMS as streams  # noqa: N811
    from l1scout.formats.stream import Stream
    from l1scout.formats.wire_format import WIRE_FORMATS as wire_formats  # noqa: N811
    from l1scout.formats.wire_format import WireFormat
    from l1scout.io.reader import READERS as readers  # noqa: N811
    from l1scout.io.reader import Reader

_HOMES = {
    "open": "api:open",
    "load_model": "api:load_model",
    "analyse": "api:analyse",
    "Data": "api:Data",
    "OrbitBatch": "core.orbit_batch:OrbitBatch",
    "OrbitData": "core.orbit_data:OrbitData",
    "Origin": "core.orbit_data:Origin",
    "Provenance": "core.provenance:Provenance",
    "Recalibrator": "deploy.recalibrate:Recalibrator",
    "ScoutingError": "errors:ScoutingError",
    "InputError": "errors:InputError",
    "Analysis": "analysis:Analysis",
    "Result": "analysis:Result",
    "analyses": "analysis:ANALYSES",
    "Engine": "deploy.engine:Engine",
    "engines": "deploy.engine:ENGINES",
    "Reader": "io.reader:Reader",
    "readers": "io.reader:READERS",
    "Stream": "formats.stream:Stream",
    "streams": "formats.stream:STREAMS",
    "ScoutingNanoSchema": "io.coffea_schema:ScoutingNanoSchema",
    "WireFormat": "formats.wire_format:WireFormat",
    "wire_formats": "formats.wire_format:WIRE_FORMATS",
}
"""Where each public name is defined."""
__all__ = [  # noqa: RUF022 - the order of the documentation
    "open",
    "Data",
    "analyse",
    "load_model",
    "Recalibrator",
    "OrbitData",
    "OrbitBatch",
    "Origin",
    "Provenance",
    "Analysis",
    "Result",
    "analyses",
    "Engine",
    "engines",
    "Reader",
    "readers",
    "Stream",
    "streams",
    "WireFormat",
    "wire_formats",
    "ScoutingError",
    "InputError",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _HOMES:
        msg = f"module 'l1scout' has no attribute {name!r}"
        raise AttributeError(msg)
    module, _, attribute = _HOMES[name].partition(":")
    value = getattr(import_module(f"l1scout.{module}"), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted([*__all__, "__version__"])
