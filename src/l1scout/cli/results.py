"""How the analyses tell what they found: a table on the screen; figure, tables and JSON in a directory."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from l1scout.cli.output import json_text, print_json
from l1scout.files import complete_or_nothing
from l1scout.report.tables import rows_csv, rows_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Tables = Mapping[str, Sequence[Mapping[str, Any]]]


def give(
    name: str,
    result: Mapping[str, Any],
    tables: Tables,
    figure: "Callable[[], Figure] | None",
    out: Path | None,
    *,
    simulated: bool | None,
    json: bool,
    shown: int = 12,
) -> None:
    """Print and write what an analysis found."""
    from l1scout.report.figures import origin

    result = {"analysis": name, "origin": origin(simulated)} | dict(result)
    if out:
        from l1scout.report.analyses import png

        files = {f"{name}.json": json_text(result).encode() + b"\n"}
        if figure:
            files[f"{name}.png"] = png(figure())
        files |= {f"{name}-{table}.csv": rows_csv(rows).encode() for table, rows in tables.items() if rows}
        for file, content in files.items():
            with complete_or_nothing(out / file) as part:
                part.write_bytes(content)
    if json:
        print_json(result)
        return
    print(f"{name}: {origin(simulated)}")
    for key, value in result.items():
        if isinstance(value, int | float | str) and key not in ("analysis", "origin"):
            print(f"{key.replace('_', ' ')}: {value:,.6g}" if isinstance(value, float) else f"{key}: {value}")
        elif isinstance(value, dict) and set(value) <= {"value", "error", "stat", "syst"}:
            print(f"{key.replace('_', ' ')}: " + " ± ".join(f"{v:.5g}" for v in value.values()))
        elif isinstance(value, dict) and set(value) == {"value", "low", "high"}:
            ends = f"{value['low']:.5g} to {value['high']:.5g} with 68 % confidence"
            print(f"{key.replace('_', ' ')}: {value['value']:.5g}, {ends}")
    for table, rows in tables.items():
        if rows:
            print(f"\n{table}\n{rows_text(rows[:shown])}")
            if len(rows) > shown:
                print(f"... {len(rows) - shown} more: --out or --json")
    if out:
        print(f"\nWritten to {out}")
