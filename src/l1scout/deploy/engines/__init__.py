"""Engines, which evaluate networks: modules here, and entry points of the group ``l1scout.engines``."""

from typing import TYPE_CHECKING

from l1scout.core.registry import Registry

if TYPE_CHECKING:
    from l1scout.deploy.engines._base import Engine


def _base() -> type:
    from l1scout.deploy.engines._base import Engine

    return Engine


ENGINES: "Registry[type[Engine]]" = Registry("engines", "l1scout.deploy.engines", _base, classes=True)
"""Classes of engines by name."""
