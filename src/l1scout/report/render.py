"""HTML pages from the Jinja templates in ``report/templates``."""

import base64
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from l1scout import __version__


def render(template: str, **values: Any) -> str:
    """Fill a template with values.

    Every value is escaped, so that names from files cannot become markup: that is written in templates only.

    Parameters
    ----------
    template : str
        File in ``report/templates``.
    **values
        What the template names; a name without a value is an error (`jinja2.UndefinedError`).
    """
    return _environment().get_template(template).render(values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("l1scout.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"data_uri": _data_uri, "minus": _minus, "thousands": _thousands}
    environment.globals |= {"version": __version__, "provenance": ""}
    return environment


def _data_uri(svg: str) -> str:
    """Return a figure as the address of an image that the page itself contains."""
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"


def _minus(text: str) -> str:
    return text.replace("-", "\N{MINUS SIGN}")


def _thousands(count: Any) -> str:
    """Return a count with thousands separated; what is not a count is left out."""
    return f"{count:,}" if isinstance(count, int) else ""
