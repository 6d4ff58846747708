"""Metrics of every process: their names, values and answers; rules and dashboard ask for those that exist."""

import json
import re
import shutil
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from l1scout.access import Access
from l1scout.control.chain_metrics import ALL_METRICS, reference
from l1scout.control.messages import Buffer, ChainStatus, ProcessRow
from l1scout.control.metrics_server import StatusServer, metrics_served
from l1scout.control.states import State
from l1scout.errors import InputError
from l1scout.readout.process_metrics import BUILD_INFO, exposition
from l1scout.readout.status import MonitorStatus, ReadoutStatus, StoreStatus
from l1scout.store.http_server import HttpServer
from live_packets import board_status

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "monitoring"
NAMES = {m.name for metrics in ALL_METRICS.values() for m in metrics} | {BUILD_INFO[0]}
PROMTOOL = shutil.which("promtool")


def filled(kind, **values):
    """Return a status whose numbers are all different."""
    made = {}
    for k, (name, field) in enumerate(kind.model_fields.items()):
        if field.annotation in (int, float) and name not in ("version", "pid"):
            made[name] = 100 + k
    return kind(**{"state": "running", **made, **values})


def chain_status(**values):
    row = ProcessRow(
        state="running", pid=1, restarts=2, refusal="", cpu_cores=0.25, buffer=Buffer(unit="MB"), lag_s=1.5
    )
    fields = {
        **{"state": State.RUNNING, "run": 42, "data": "simulated", "seconds": 10.0, "up": True, "error": ""},
        **{"folder": "", "pid": 1, "orbits": 1000, "objects": {}, "duplicates": 3, "alarms": ["a"]},
        **{"lost": {"missed": 7, "corrupt": 0, "dropped": 0, "unsent": 0}, "waiting_for": "", "warnings": []},
        "processes": {"readout": row},
    }
    return ChainStatus(**{**fields, **values})


STATUSES = {
    "board": board_status(state="running", run=1, delivered=500, dropped=20),
    "readout": filled(ReadoutStatus, data="real", objects={"muon": 12345}, store_connected=True),
    "store": filled(StoreStatus, warnings=[]),
    "monitor": filled(MonitorStatus, orbits=77),
    "control": chain_status(),
}


def samples(process, status):
    text = exposition(process, ALL_METRICS[process], status)[0].decode()
    families = text_string_to_metric_families(text)
    return {(s.name, *sorted(s.labels.values())): s.value for f in families for s in f.samples}


def test_values_are_those_of_the_status():
    status = STATUSES["readout"]
    found = samples("readout", status)
    assert found[("l1scout_orbits_written_total",)] == status.orbits
    assert found[("l1scout_orbits_lost_total", "missed")] == status.missed
    assert found[("l1scout_orbits_lost_total", "corrupt")] == status.corrupt
    assert found[("l1scout_objects_written_total", "muon")] == 12345
    assert found[("l1scout_spool_used_bytes",)] == status.spool_bytes
    assert found[("l1scout_spool_filling_seconds",)] == float("inf")
    assert samples("store", STATUSES["store"])[("l1scout_disk_free_bytes",)] == STATUSES["store"].disk_free
    assert samples("board", STATUSES["board"])[("l1scout_orbits_dropped_total",)] == 20
    chain = samples("control", STATUSES["control"])
    assert chain[("l1scout_run_lost_orbits", "missed")] == 7
    assert chain[("l1scout_run_state", "running")] == 1
    assert chain[("l1scout_run_state", "idle")] == 0
    assert chain[("l1scout_process_lagging_seconds", "readout")] == 1.5


@pytest.mark.parametrize("process", ALL_METRICS)
def test_series_exist_from_the_start_at_zero(process):
    before, after = samples(process, None), samples(process, STATUSES[process])
    assert {v for k, v in before.items() if k[0] != BUILD_INFO[0]} == {0}
    of_processes = {m.name for m in ALL_METRICS[process] if m.label == "process"}
    assert {k for k in after if k[0] not in of_processes} == set(before)


@pytest.mark.parametrize("process", ALL_METRICS)
def test_names_follow_the_rules(process):
    for metric in ALL_METRICS[process]:
        assert re.fullmatch(r"l1scout_[a-z]+(_[a-z]+)+", metric.name)
        assert metric.name.endswith("_total") == (metric.kind == "counter")
        assert metric.help.endswith(".")
        assert "orbit" not in metric.label


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed")
@pytest.mark.parametrize("process", ALL_METRICS)
def test_promtool_finds_nothing_in_the_metrics(process):
    text = exposition(process, ALL_METRICS[process], STATUSES[process])[0]
    done = subprocess.run([PROMTOOL, "check", "metrics"], input=text, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed")
@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "config", "prometheus.yml"),
        ("check", "rules", "alerts.yml"),
        ("test", "rules", "alerts_test.yml"),
    ],
)
def test_promtool_accepts_configuration_and_rules(arguments):
    done = subprocess.run([PROMTOOL, *arguments], cwd=MONITORING, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_rules_and_dashboard_ask_for_metrics_that_exist():
    texts = [(MONITORING / name).read_text() for name in ("alerts.yml", "alerts_test.yml", "grafana.json")]
    used = {name for text in texts for name in re.findall(r"\bl1scout_[a-z_]+", text)}
    assert len(used) > 15
    assert used <= NAMES
    expressions = [t["expr"] for p in json.loads(texts[2])["panels"] for t in p["targets"]]
    assert all("l1scout_" in expression for expression in expressions)


def test_the_reference_is_up_to_date():
    assert (ROOT / "docs/metrics.md").read_text("utf-8") == reference(), "run `make docs`"


def get(address, path):
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_a_process_answers_with_its_newest_status():
    told = []
    status = board_status(state="running", run=1, delivered=5, dropped=0)
    server = StatusServer("board", told.append)
    log = lambda *_, **__: None  # noqa: E731
    http = HttpServer(server.application(Access(), log), "127.0.0.1:0", Access(), log).start()
    try:
        assert get(http.address, "/healthz")[0] == 503
        server(status)
        assert get(http.address, "/healthz")[0] == 200
        assert "l1scout_orbits_sent_total 5.0" in get(http.address, "/metrics")[1]
        server(status.model_copy(update={"dead_threads": ["sender"], "alarms": ["x"]}))
        code, text = get(http.address, "/healthz")
        assert code == 503
        assert json.loads(text)["alarms"] == ["x"]
        assert "sender" in json.loads(text)["fault"]
        server(status.model_copy(update={"time": status.time - 100}))  # it hangs
        assert get(http.address, "/healthz")[0] == 503
        assert get(http.address, "/other")[0] == 404
    finally:
        http.stop()
    assert len(told) == 3


def test_without_an_address_nothing_is_served_and_others_need_tls():
    report = [].append
    with metrics_served("board", "", Access(), print, report) as told:
        assert told is report
    with (
        pytest.raises(InputError, match="other machines"),
        metrics_served("board", "0.0.0.0:0", Access(), print, report),
    ):
        pass


def test_run_control_in_error_is_unhealthy():
    from l1scout.control.metrics_server import health

    assert health(chain_status())[2] == ""
    assert health(chain_status(state=State.ERROR, error="disk"))[2] == "disk"
