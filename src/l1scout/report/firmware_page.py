"""The page of a firmware model: time, area, proof, nine metrics."""

from typing import Any

from l1scout.core.provenance import Provenance
from l1scout.evaluate.bench import PUBLISHED
from l1scout.firmware.against import Against
from l1scout.report.render import render
from l1scout.report.result_tables import KIND_NAMES, RATIO_NAMES, ratio_rows, score_rows

_NAMES = {
    "luts": "LUTs",
    "inverters": "inverters, which the placer puts into LUTs",
    "flip_flops": "flip-flops",
    "carries": "carry chains of 4 bits (CARRY4)",
    "dsps": "DSPs",
    "block_rams": "block RAMs",
}


def firmware_page(
    name: str, found: dict[str, Any], scores: Against | None, muons: str, record: Provenance | None = None
) -> str:
    """Make the page.

    Parameters
    ----------
    name : str
        Name of the model.
    found : dict
        What `l1scout.firmware.resources.resources` returned.
    scores : Against, optional
        Comparison with the float model.
    muons : str
        Description of the muons that were compared.
    record : Provenance, optional
        Kept in the page's metadata.
    """
    build, timing = found["build"], found["timing"]
    return render(
        "firmware.html",
        provenance=record.as_json() if record else "",
        name=name,
        compiler=build["compiler"],
        stages=build["stages"],
        clock_mhz=f"{timing['assumed_clock_mhz']:g}",
        timing=time_rows(found),
        ecp5=ecp5_line(found),
        area_head=area_head(found),
        area=area_rows(found),
        proof=proof_lines(found["simulation"]),
        scores=scores,
        muons=muons,
        kinds=KIND_NAMES,
        ratio_kinds=RATIO_NAMES,
        score_rows=score_rows({"float": scores.float_model, "firmware": scores.firmware}) if scores else [],
        ratio_rows=ratio_rows({"firmware / float": scores.ratio}) if scores else [],
        published=published_rows(found),
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
            f"{table}, {e['overflows']:,} values that lost bits, "
            f"{e['saturated']:,} with a pT beyond its field."
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
