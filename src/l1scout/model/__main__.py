"""Write the JSON schemas of a model's files: ``python -m l1scout.model docs/schemas``."""

import json
import sys
from pathlib import Path

from l1scout.core.documents import json_schema
from l1scout.model.card import Card
from l1scout.model.integers import IntegerNetwork
from l1scout.model.network import Network

DOCUMENTS = {"card.json": Card, "network.json": Network, "integer_network.json": IntegerNetwork}
"""Pydantic classes of documents, by the name of the schema's file."""


def schemas() -> dict[str, str]:
    """Return the text of each schema by the name of its file."""
    return {name: json.dumps(json_schema(kind), indent=1) + "\n" for name, kind in DOCUMENTS.items()}


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in schemas().items():
        (folder / name).write_text(text, "utf-8")
