"""``l1scout firmware``: hardware in Verilog, simulated and synthesised with free tools."""

from importlib import import_module

import typer

firmware = typer.Typer(
    help="Hardware in Verilog: trained for, built, simulated, synthesised with free tools.",
    no_args_is_help=True,
)
for _name in (
    "train",
    "build",
    "simulate",
    "report",
    "hls",
    "board",
):  # each the function of its name in cli/firmware_<name>.py
    firmware.command(_name)(getattr(import_module(f"l1scout.cli.firmware_{_name}"), _name))
