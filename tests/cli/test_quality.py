"""`l1scout quality`: flags, golden JSON, shift report and exit status of a file with a bad lumisection."""

import json
from dataclasses import replace

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from l1scout.cli.quality import quality
from l1scout.core.orbit_data import OrbitData
from l1scout.errors import InputError
from l1scout.io.format_writer import write_data
from l1scout.lhc import ORBITS_PER_LUMISECTION
from l1scout.simulate.run import Running, simulate_run

app = typer.Typer()
app.command()(quality)


def run(*arguments: object):
    done = CliRunner().invoke(app, [str(a) for a in arguments])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def write_sections(path, last, bad):
    """Write short lumisections; in one of them all muons are 7 BX late."""

    def sections():
        for n in range(1, last + 1):
            first = (n - 1) * ORBITS_PER_LUMISECTION
            (piece,) = simulate_run(n, 20, first=first, running=Running(occupancy=0.2), chunk=20, origin=True)
            rows = {"run": 7, "lumisection": n}
            columns = {name: np.full(len(piece.muons), value) for name, value in rows.items()}
            late = np.clip(piece.muons.bx + 7 * (n == bad), 1, 3564)
            yield OrbitData.of_muons(replace(piece.muons, bx=late, **columns))

    write_data(sections(), path, None, drop=True)
    return path


def test_a_bad_lumisection_is_flagged_with_reasons(tmp_path):
    path, out = write_sections(tmp_path / "run.parquet", 7, 6), tmp_path / "quality"
    done = run(path, "--out", out)
    assert done.exit_code == 1
    assert "1 alarm; 6 of 7 lumisections are good (simulated data" in done.stdout
    assert json.loads((out / "golden.json").read_text()) == {"7": [[1, 5], [7, 7]]}
    (line,) = [json.loads(row) for row in (out / "alarms.jsonl").read_text().splitlines()]
    assert (line["run"], line["section"], line["check"]) == (7, 6, "muon/occupied_bx")
    assert line["bx"][0] <= line["bx"][1]
    page = (out / "shift_report.html").read_text()
    for text in ("Data quality: run 7", "muon/occupied_bx", "Simulation.", "1-5, 7"):
        assert text in page


def test_good_data_exit_with_0_and_bad_options_are_refused(tmp_path):
    path = write_sections(tmp_path / "run.parquet", 5, None)
    done = run(path, "--json")
    assert done.exit_code == 0
    found = json.loads(done.stdout)
    assert (found["checked_lumisections"], found["alarms"], found["golden"]) == (5, [], {"7": [[1, 5]]})
    assert found["data"] == found["provenance"]["data"] == "simulated"
    with pytest.raises(InputError, match="either files"):
        run(path, "--run", 3)
    with pytest.raises(InputError, match="above 0"):
        run(path, "--false-alarms", 0)
