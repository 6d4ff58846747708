"""``l1scout simulate conditions``: the effects that a simulated run can have."""

from dataclasses import asdict
from json import dumps

from l1scout.cli.output import Json, print_json


def conditions(json: Json = False) -> None:
    """List what --condition can plant in a simulated run: form, unit, default and an example of each."""
    from l1scout.simulate.planted import CONDITIONS

    rows = [{**asdict(c), "default": c.default} for c in CONDITIONS]
    if json:
        print_json({"conditions": rows})
        return
    for c in CONDITIONS:
        unit = f" ({c.unit})" if c.unit else ""
        print(f"{c.name}: {c.meaning}")
        print(f"    {c.form}{unit}; default {dumps(c.default)}")
        print(f"    --condition '{c.example}'")
