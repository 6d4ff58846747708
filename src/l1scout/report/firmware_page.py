"""The page of a firmware model: time, area, proof, nine metrics."""

from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from l1scout import __version__
from l1scout.evaluate.bench import PUBLISHED
from l1scout.firmware.against import Against
from l1scout.report.page import STYLE
from l1scout.report.result_tables import columns, ratio_rows, score_rows

_TEMPLATE = Template((Path(__file__).parent / "firmware.html").read_text("utf-8"))
_NAMES = {
    "luts": "LUTs",
    "inverters": "inverters, which the placer puts into LUTs",
    "flip_flops": "flip-flops",
    "carries": "carry chains of 4 bits (CARRY4)",
    "dsps": "DSPs",
    "block_rams": "block RAMs",
}


def firmware_page(name: str, found: dict[str, Any], scores: Against | None, muons: str) -> str:
    """Make the page.

    Parameters
    ----------
    name : str
        Of the model.
    found : dict
        Of `l1scout.firmware.resources.resources`.
    scores : Against, optional
    muons : str
        Which muons the scores are of.
    """
    build, timing = found["build"], found["timing"]
    return _TEMPLATE.substitute(
        style=STYLE,
        version=escape(__version__),
        name=escape(name),
        compiler=escape(build["compiler"]),
        stages=build["stages"],
        clock=f"{timing['assumed_clock_mhz']:g}",
        timing=_table(("", ""), time_rows(found)),
        ecp5=escape(ecp5_line(found)),
        area=_table(area_head(found), area_rows(found)),
        proof="".join(f"<p>{escape(line)}</p>" for line in proof_lines(found["simulation"])),
        scores=_scores(scores, muons),
        published=_table(("", "one muon", "throughput", "what the number is"), published_rows(found)),
    )


def time_rows(found: dict[str, Any]) -> list[tuple[str, str]]:
    """Rows of text: latency, throughput, cores."""
    t, build = found["timing"], found["build"]
    clock = f"at an assumed {t['assumed_clock_mhz']:g} MHz"
    return [
        ("initiation interval", "1 clock"),
        ("stages of the core", f"{build['stages']} ({t['core_ns']:.0f} ns {clock})"),
        (
            "muon in to recalibrated muon out",
            f"{t['latency_edges']} clock edges ({t['latency_ns']:.0f} ns {clock})",
        ),
        ("throughput of one core", f"{t['million_muons_per_s']:g} M muons/s {clock}"),
        ("cores for 8 muons a BX at 40 MHz", f"{t['cores']} ({t['needed_million_per_s']:g} M/s)"),
    ]


def ecp5_line(found: dict[str, Any]) -> str:
    """Say what the ECP5 reached, if it was asked."""
    mhz, device = found["ecp5"]["mhz"], found["ecp5"]["device"]
    if mhz is None:
        return "Place and route on an ECP5, a lower bound from open tools, was not run."
    return (
        f"Placed and routed by nextpnr on an {device}, an older and slower family: {mhz:.0f} MHz. That is "
        "a lower bound for UltraScale+, for which there is no open place and route."
    )


def area_head(found: dict[str, Any]) -> list[str]:
    """Head of the rows of `area_rows`."""
    return ["", "core", "module", *(f"module, of a {d}" for d in found["module"]["parts"])]


def area_rows(found: dict[str, Any]) -> list[list[str]]:
    """Rows of text: what core and module take, and the module's part of each device."""
    rows = []
    for key, name in _NAMES.items():
        parts = [p.get(key) for p in found["module"]["parts"].values()]
        shares = [f"{100 * p:.2f} %" if p is not None and key != "block_rams" else "" for p in parts]
        rows.append([name, f"{found['core'][key]:,}", f"{found['module'][key]:,}", *shares])
    return rows


def proof_lines(simulation: dict[str, Any] | None) -> list[str]:
    """Say in sentences what was simulated."""
    if simulation is None:
        return ["Not simulated: run `l1scout firmware simulate`."]
    lines = []
    if v := simulation.get("verilator"):
        lines.append(
            f"Verilator: {v['muons']:,} muons with random gaps, {v['mismatches']:,} mismatches with "
            f"the integer network, latency {v['latency']} clock edges."
        )
    if said := simulation.get("icarus"):
        lines.append(f"Icarus Verilog, the folder's own test bench: {said}.")
    if e := simulation.get("exhaustive"):
        which = f"{e['inputs']:,} random inputs" if e.get("sampled") else f"All {e['inputs']:,} inputs"
        table = "table not compared" if e["table"] is None else f"{e['table']:,} of the table"
        lines.append(
            f"{which} of the domain: {e['logic']:,} mismatches of the traced logic, "
            f"{table}, {e['overflows']:,} values that lost bits."
        )
    return lines


def published_rows(found: dict[str, Any]) -> list[list[str]]:
    """Rows of text: Table 3 of the publication, and this core."""
    rows = [
        [
            f"published: {p.device}",
            f"{p.latency_ns:g} ns",
            f"> {p.millions:g} M/s",
            "measured in hardware; the time is 1 / throughput",
        ]
        for p in PUBLISHED
    ]
    t = found["timing"]
    what = (
        f"edges counted in simulation, times an assumed clock of {t['assumed_clock_mhz']:g} MHz; no hardware"
    )
    rate = f"{t['million_muons_per_s']:g} M/s"
    return [*rows, ["this core", f"{t['latency_ns']:.0f} ns", rate, what]]


def _scores(scores: Against | None, muons: str) -> str:
    if scores is None:
        return "<p>Not compared: give the float model and a data set.</p>"
    both = columns(score_rows({"float": scores.float_model, "firmware": scores.firmware}))
    ratio = columns(ratio_rows({"firmware / float": scores.ratio}))
    return (
        f"<p>{escape(muons)}, {scores.muons:,}; the ratio’s uncertainty counts that they are the same "
        f"muons. The furthest ratio is {scores.worst:.4f} from 1.</p>"
        f"<pre>{escape(both)}</pre><pre>{escape(ratio)}</pre>"
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    top = "".join(f"<th>{escape(h)}</th>" for h in head)
    cells = [(escape(r[0]), "".join(f"<td>{escape(c)}</td>" for c in r[1:])) for r in rows]
    body = "".join(f'<tr><th scope="row">{name}</th>{rest}</tr>' for name, rest in cells)
    start = '<div class="scroll"><table class="cuts"><thead><tr>'
    return f"{start}{top}</tr></thead><tbody>{body}</tbody></table></div>"
