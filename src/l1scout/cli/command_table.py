"""Every command with its description and an example: what the help shows before a command is imported."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class CommandEntry:
    """A command, or a group of commands, in the help.

    Parameters
    ----------
    help : str
        Description in the list of commands.
    example : str
        A command line without ``l1scout``, which the help of the command ends with.
    panel : str, optional
        Heading under which the command is listed.
    commands : mapping of str to CommandEntry
        Commands of a group; those of ``analyse`` follow from the analyses.
    details : str
        Description in a group's own help, if it is longer.
    """

    help: str
    example: str = ""
    panel: str | None = None
    commands: "Mapping[str, CommandEntry]" = field(default_factory=dict)
    details: str = ""

    @property
    def epilog(self) -> str | None:
        """Last line of the command's help."""
        return f"Example: l1scout {self.example}" if self.example else None


_FILES, _LIVE, _NETWORK, _PHYSICS = "Files and simulation", "Live chain", "Networks", "Physics"
_HARDWARE = "Hardware"

_SIMULATE = {
    "run": CommandEntry(
        "Write a simulated run as it comes from the fibres, and the muons that were sent.",
        "simulate run --orbits 200 --condition cosmics=0.5 --out run",
    ),
    "streams": CommandEntry(
        "Write packets of simulated boards of all streams.",
        "simulate streams --orbits 20 --pile-up 5 --out boards",
    ),
    "conditions": CommandEntry("List the effects that --condition can plant.", "simulate conditions"),
}
_FIRMWARE = {
    "train": CommandEntry(
        "Train a firmware model, with few bits, from a float model.",
        "firmware train --model M --data D.parquet --out FW",
    ),
    "build": CommandEntry("Write Verilog of a firmware model.", "firmware build FW --out RTL --clock 250"),
    "simulate": CommandEntry(
        "Simulate the Verilog and compare it with the integer network.", "firmware simulate FW RTL"
    ),
    "report": CommandEntry(
        "Report area, timing and the nine metrics.",
        "firmware report FW RTL --model M --data D.parquet --out page",
    ),
    "hls": CommandEntry("Write a Vitis HLS project of a firmware model.", "firmware hls FW --out HLS"),
    "board": CommandEntry(
        "Simulate the board's Verilog and compare it with the software board.",
        "firmware board run/links.l1l --out packets.dat",
    ),
}
_ANOMALY = {
    "train": CommandEntry(
        "Train a network that scores how unusual crossings are.",
        "anomaly train boards/gmt.dat boards/calo.dat --level all --out model",
    ),
    "score": CommandEntry(
        "Add the anomaly score of each crossing to data, as a stream.",
        "anomaly score boards/gmt.dat boards/calo.dat --model model --out scored",
    ),
}
_MENU = {
    "show": CommandEntry(
        "Show the algorithms of a menu with their limits.", "menu show menu.xml --algorithm L1_SingleMu22"
    ),
    "check": CommandEntry(
        "Emulate a menu on a test vector and compare all bits.", "menu check menu.xml TestVector.txt"
    ),
    "try": CommandEntry(
        "Try algorithms of your own: their rates, and what they add to a menu.",
        "menu try mine.toml run.raw --menu menu.xml",
    ),
    "cross-check": CommandEntry(
        "Compare recorded bits of the Global Trigger with emulated ones.",
        "menu cross-check run.raw --menu menu.xml",
    ),
    "verilog": CommandEntry(
        "Write algorithms on muons as Verilog, and compare it with the emulator.",
        "menu verilog menu.xml --algorithm L1_SingleMu22 --out rtl --random 1000",
    ),
}

COMMANDS = {
    "demo": CommandEntry(
        "Simulate muons, train networks, compare them, recalibrate a file.", "demo --out demo", _FILES
    ),
    "inspect": CommandEntry(
        "Describe a file: format, era, runs, orbits, muons, columns.", "inspect L1Ntuple.root", _FILES
    ),
    "convert": CommandEntry(
        "Convert scouting data: .raw, records, packets, archive, nano, Parquet.",
        "convert run390000_ls0001_index000000.raw nano.root --hardware",
        _FILES,
    ),
    "simulate": CommandEntry(
        "Simulate a run of the LHC on eight fibres, with its truth.", "", _FILES, _SIMULATE
    ),
    "board": CommandEntry(
        "Decode and align eight links, suppress empty BX, write packets.",
        "board run/links.l1l --out packets.dat",
        _LIVE,
    ),
    "run": CommandEntry(
        "Run board, readout and store under a supervisor.", "run chain.toml --set board.simulate=1000", _LIVE
    ),
    "start": CommandEntry(
        "Start a run under a waiting `l1scout run`.", "start --settings chain.toml --run 42", _LIVE
    ),
    "stop": CommandEntry(
        "End the run of `l1scout run`, and drain it to the store.", "stop --settings chain.toml", _LIVE
    ),
    "status": CommandEntry(
        "Show rates, buffers, lag, losses and restarts of the chain.", "status --settings chain.toml", _LIVE
    ),
    "monitor": CommandEntry(
        "Show live histograms, rates and alarms on a page.", "monitor --settings chain.toml", _LIVE
    ),
    "settings": CommandEntry(
        "Print every setting of the live chain as a TOML file.", "settings > chain.toml", _LIVE
    ),
    "source": CommandEntry(
        "Send packets to the readout at the pace of the LHC.", "source --set board.simulate=1000", _LIVE
    ),
    "readout": CommandEntry(
        "Apply fine zero suppression, spool and forward segments.", "readout --settings readout.toml", _LIVE
    ),
    "store": CommandEntry(
        "Receive, acknowledge, compress and catalogue segments.", "store --settings store.toml", _LIVE
    ),
    "runs": CommandEntry(
        "List the runs in the store: orbits, muons, losses, bytes.", "runs --settings chain.toml", _LIVE
    ),
    "account": CommandEntry("Show where every orbit of a run went.", "account 42 --verify", _LIVE),
    "transfer": CommandEntry(
        "Copy stored segments elsewhere and verify every copy.", "transfer s3://bucket/l1 --run 42", _LIVE
    ),
    "dataset": CommandEntry(
        "Match L1 with offline muons, from files or simulated.",
        "dataset L1Ntuple.root --out D.parquet",
        _NETWORK,
    ),
    "train": CommandEntry(
        "Train a network and write it as a model directory.", "train --data D.parquet --out model", _NETWORK
    ),
    "import": CommandEntry(
        "Make a model of a network trained elsewhere: an ONNX file.",
        "import --onnx net.onnx --data D.parquet --answers subtract --out model",
        _NETWORK,
    ),
    "study": CommandEntry(
        "Cross-validate networks and compare them.",
        "study --data D.parquet --models A,B --out study",
        _NETWORK,
    ),
    "evaluate": CommandEntry(
        "Compare models with the raw trigger on muons they never saw.",
        "evaluate --data D.parquet --model model --out report.html",
        _NETWORK,
    ),
    "recalibrate": CommandEntry(
        "Copy a file and add corrected pT, eta and phi of its L1 muons.",
        "recalibrate --model model nano.root recalibrated.root",
        _NETWORK,
    ),
    "compile": CommandEntry(
        "Tabulate a model's answer to every possible input.", "compile -m model", _NETWORK
    ),
    "export": CommandEntry(
        "Write a model as an ONNX file, for other programs and accelerators.",
        "export model --out model.onnx",
        _NETWORK,
    ),
    "verify": CommandEntry(
        "Compare engines with the network over every possible input.",
        "verify -m model --engine fused --sample 100000",
        _NETWORK,
    ),
    "bench": CommandEntry(
        "Measure throughput and latency of the engines.", "bench -m model --threads 2 --out bench", _NETWORK
    ),
    "anomaly": CommandEntry(
        "Score how unusual crossings are, with a network as in the trigger.", "", _NETWORK, _ANOMALY
    ),
    "analyse": CommandEntry(
        "Luminosity, occupancy, filling scheme, prefiring, cosmics, masses.",
        panel=_PHYSICS,
        details="Physics and detector quantities, from packets, files or a simulated run. Each command "
        "prints a table; with --out it writes figure, tables (CSV) and result (JSON), too.",
    ),
    "quality": CommandEntry(
        "Check the data quality of each lumisection: flags, golden JSON, shift report.",
        "quality --run 42 --out quality",
        _PHYSICS,
    ),
    "skim": CommandEntry(
        "Keep the crossings that a trigger expression selects.",
        "skim run.raw dimuons.root --when 'comb{MU5[QLTY>=12], MU3}[OS]' --window 1",
        _PHYSICS,
    ),
    "jets": CommandEntry(
        "Cluster jets from calorimeter towers, and correct them.",
        "jets run.raw jets.root --radius 0.4 --min-pt 20 --corrections jec.json",
        _PHYSICS,
    ),
    "central": CommandEntry(
        "Compare scouting with events of the central DAQ: run, orbit, BX, L1 objects.",
        "central run.raw --events L1Ntuple.root --out differences.csv",
        _PHYSICS,
    ),
    "menu": CommandEntry("Show a Level-1 trigger menu, and emulate it bit for bit.", "", _PHYSICS, _MENU),
    "firmware": CommandEntry(
        "Train for, build, simulate and synthesise logic in Verilog.", "", _HARDWARE, _FIRMWARE
    ),
}
"""Every command, in the order of the help."""
