"""The option ``--engine`` of several commands."""

from typing import Annotated

import typer

from l1scout.deploy.engines import ENGINES

ENGINES_HELP = (
    f"{', '.join(ENGINES)}; settings follow a colon: fixed:Q4.12,variable,down,wrap (else Q8.8), "
    "mdla:2 (clusters)."
)
Engines = Annotated[
    list[str] | None,
    typer.Option(
        "--engine",
        help=f"{ENGINES_HELP} Several are allowed; by default all that run the model on any machine.",
    ),
]
