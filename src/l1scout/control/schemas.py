"""JSON schemas of everything that the chain's processes write and read.

``python -m l1scout.control.schemas > docs/schemas/chain.json``
"""

import json
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from l1scout.control.messages import ChainStatus, Command
from l1scout.readout.segment_note import SegmentNote
from l1scout.readout.status import STATUSES

DOCUMENTS: tuple[type[BaseModel], ...] = (
    SegmentNote,
    *STATUSES.values(),
    ChainStatus,
    Command,
)


def schemas() -> dict[str, Any]:
    """Return one JSON schema with a definition of each document."""
    return models_json_schema(
        [(document, "validation") for document in DOCUMENTS],
        title="JSON of l1scout's live chain",
        description="Notes of the spool, status files, commands to run control.",
    )[1]


if __name__ == "__main__":
    print(json.dumps(schemas(), indent=1))
