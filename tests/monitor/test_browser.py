"""The live page in headless Chromium: every view works, plots follow the data, names are text."""

import io
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import uproot

from l1scout.core.orbit_data import OrbitData
from l1scout.core.provenance import Provenance
from l1scout.io.format_writer import write_data
from l1scout.lhc import ORBITS_PER_LUMISECTION, lumisection
from l1scout.simulate.run import Running, simulate_run
from monitor_page import RUN, Served, SpoolWriter
from processes import PATIENCE_S, wait_for
from toy_anomaly import write_anomaly_model

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = [
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--no-first-run"),
]
sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.skipif(not Path(CHROMIUM).exists(), reason="Chromium is not installed")
VIEWS = ("overview", "physics", "maps", "bunches", "menu", "history", "compare", "anomaly")
EVIL = "run<img src=x onerror=document.title='broken'>"
FIRST_RUN = f"run{RUN - 1:06d}"


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    """A monitor with a saved run to compare with, and a run that is taken."""
    folder = tmp_path_factory.mktemp("browser")
    for run in (RUN - 1, RUN):
        writer = SpoolWriter(folder / "spool", run)
        writer.write(72)
        if run == RUN:
            break
        served = Served(folder)
        served.wait_for_orbits(writer.orbits)
        served.close()
        writer.close()
    shutil.copy(folder / "histograms" / f"{FIRST_RUN}.root", folder / "histograms" / f"{EVIL}.root")
    stated = {"score_exceeded_by_fraction": {"0.1": 20}, "crossings_per_orbit": 300.0}
    model = write_anomaly_model(folder / "axo<b>", change=lambda card: card.update(scores=stated))
    served = Served(folder, monitor__anomaly_models=model)
    served.wait_for_orbits(writer.orbits)
    wait_for(lambda: served.monitor.status().anomaly[0].scored == 1)
    served.monitor.live.faults.append("<script>document.title='broken'</script>")
    yield served, writer
    served.close()
    writer.close()


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser, live):
    """A page whose console must stay empty, and that asks no other server."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, accept_downloads=True)
    page, said, asked = context.new_page(), [], set()
    page.set_default_timeout(1000 * PATIENCE_S)
    page.on("console", lambda m: said.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda e: said.append(str(e)))
    page.on("request", lambda r: asked.add(r.url.split("/")[2]) if r.url.startswith(("http", "ws")) else None)
    page.on("dialog", lambda d: said.append(d.message))
    yield page
    assert said == []
    assert asked <= {live[0].monitor.address}
    context.close()


def frames(page) -> int:
    return int(page.evaluate("document.body.dataset.frames || '0'"))


def show(page, live, query, drawings=2):
    """Open a view, and wait until it was drawn from some frames."""
    page.goto(f"{live[0].url}/?{query}")
    wait_for(lambda: frames(page) >= drawings or page.wait_for_timeout(50))


def drawn(page) -> list[float]:
    """Return the sum of what each plot shows."""
    return page.eval_on_selector_all(".plot[data-sum]", "nodes => nodes.map(n => Number(n.dataset.sum))")


def until(page, what):
    wait_for(lambda: what() or page.wait_for_timeout(50))


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_is_shown_without_errors(page, live, view):
    show(page, live, f"view={view}")
    assert page.inner_text("#run") == f"run {RUN}"
    assert page.inner_text("#data") == "simulation"
    assert page.inner_text("#connection") == "live"
    assert len(page.inner_text("main")) > 20
    if view in ("overview", "physics", "maps", "bunches", "anomaly"):
        assert max(drawn(page)) > 0
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_filling_scheme_is_shown_and_times_are_utc(page, live):
    live[1].write(360)  # enough to tell which BX collide
    show(page, live, "view=bunches")
    until(page, lambda: "Filling scheme" in page.inner_text("main"))
    assert re.search(r"\d+ BX in \d+ trains?", page.inner_text("main"))
    shown = re.search(r"^BX (\d+) to (\d+), (\d+)", page.inner_text(".trains"))
    assert 1 <= int(shown[1]) < int(shown[2]) < int(shown[3]) <= 3564
    assert re.fullmatch(r"updated \d\d:\d\d:\d\d UTC", page.inner_text("#updated"))
    assert "of the orbits since the first were read" in page.inner_text("#newest")


@pytest.mark.parametrize("view", ["overview", "maps"])
def test_a_phone_needs_no_sideways_scrolling(page, live, view):
    page.set_viewport_size({"width": 360, "height": 740})
    show(page, live, f"view={view}")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize("view", ["physics", "maps", "bunches"])
def test_plots_change_as_data_arrive(page, live, view):
    show(page, live, f"view={view}")
    before = sum(drawn(page))
    if view == "bunches":
        before = page.inner_text("main")
    live[1].write(48)
    until(page, lambda: (page.inner_text("main") if view == "bunches" else sum(drawn(page))) != before)


def test_two_runs_are_compared(page, live):
    show(page, live, "view=compare")
    assert "Choose a reference" in page.inner_text("main")
    page.select_option("#reference", FIRST_RUN)
    until(page, lambda: "χ²" in page.inner_text("main"))
    assert f"reference ({FIRST_RUN})" in page.inner_text("main")
    assert f"reference={FIRST_RUN}" in page.url
    page.select_option("#a", FIRST_RUN)  # with itself
    until(page, lambda: "χ² / bins = 0 " in page.inner_text("main"))
    show(page, live, page.url.partition("?")[2], drawings=1)  # a saved run has one frame
    until(page, lambda: "χ² / bins = 0 " in page.inner_text("main"))


def test_maps_are_compared_with_the_reference(page, live):
    show(page, live, f"view=maps&reference={FIRST_RUN}")
    until(page, lambda: "Ratio to the reference" in page.inner_text("main"))


def test_anomaly_scores_rates_and_top_crossings(page, live):
    show(page, live, "view=anomaly")
    until(page, lambda: "% of the orbits read were scored" in page.inner_text("main"))
    text = page.inner_text("main")
    assert "axo-b" in text
    assert "trained on simulated crossings" in text
    row = page.locator("table >> nth=0 >> tbody tr").inner_text().split("\t")
    assert row[:3] == ["20", "10 % of crossings", "337 kHz"]  # 0.1 x 300 x 11.2455 kHz
    assert re.fullmatch(r"[\d.]+ ± [\d.]+ kHz", row[3])
    until(page, lambda: len(drawn(page)) == 2 and min(drawn(page)) > 0)
    top = page.locator("table").last.locator("tbody tr")
    assert top.count() == 10
    score, run, lumisection, _, bx, objects = top.first.inner_text().split("\t")
    assert (run, lumisection, objects[:5]) == (str(RUN), "1", "muon ")
    assert 1 <= int(bx) <= 3564
    assert int(score) > 20
    page.keyboard.press("w")
    until(page, lambda: "newest lumisection" in page.inner_text("main"))
    page.keyboard.press("7")
    page.keyboard.press("8")
    until(page, lambda: "view=anomaly" in page.url and "highest scores" in page.inner_text("main"))


def test_keys_and_address(page, live):
    show(page, live, "view=overview")
    page.keyboard.press("3")
    until(page, lambda: "view=maps" in page.url and "All track finders" in page.inner_text("main"))
    page.keyboard.press("l")
    page.keyboard.press("w")
    page.keyboard.press("t")
    until(page, lambda: all(part in page.url for part in ("log=1", "window=last", "theme=dark")))
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.keyboard.press("ArrowRight")
    until(page, lambda: "Luminosity per bunch" in page.inner_text("main"))
    page.go_back()
    until(page, lambda: "All track finders" in page.inner_text("main"))
    assert page.is_checked("#log")
    page.keyboard.press("?")
    assert page.is_visible("#keys")


def test_downloads_of_each_kind(page, live):
    show(page, live, "view=physics")
    contents = {}
    for kind in ("ROOT", "JSON", "CSV", "PNG"):
        page.click("#downloads summary")
        with page.expect_download() as waiting:
            page.click(f"#download-links >> text=/^{kind}/ >> nth=0")
        contents[kind] = Path(waiting.value.path()).read_bytes()
        if page.get_attribute("#downloads", "open") is not None:
            page.click("#downloads summary")
    with uproot.open(io.BytesIO(contents["ROOT"])) as file:
        assert file["muon/pt"].values().sum() > 0
    assert "muon/pt" in json.loads(contents["JSON"])
    assert contents["CSV"].startswith(b"# {")
    assert contents["PNG"].startswith(b"\x89PNG")


def test_names_are_text(page, live):
    show(page, live, "view=overview")
    assert "<script>document.title='broken'</script>" in page.inner_text(".alarms")
    show(page, live, "view=compare")
    assert EVIL in page.inner_text("#reference")
    page.select_option("#reference", EVIL)
    until(page, lambda: "χ²" in page.inner_text("main"))
    show(page, live, "view=%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E&reference=%3Cb%3E")
    assert "broken" not in page.title()


HOT_PHI, SECTIONS, FAULT_FROM = 100, 9, 7
"""hwPhi at which a third of the muons are in a fault; lumisections, and the first one with the fault."""


def lumisections_with_a_fault():
    """Yield a few orbits of each lumisection; from one on, the same direction is reported again and again."""
    (piece,) = simulate_run(5, 60, running=Running(occupancy=0.1), chunk=60)
    muons = piece.muons
    stuck = np.where(np.arange(muons.n_objects) % 3 == 0, HOT_PHI, muons["hwPhi"]).astype(np.int16)
    faulty = replace(muons, columns={**muons.columns, "hwPhi": stuck})
    for number in range(1, SECTIONS + 1):
        now, first = faulty if number >= FAULT_FROM else muons, (number - 1) * ORBITS_PER_LUMISECTION
        orbit = muons.orbit + first
        yield OrbitData.of_muons(
            replace(
                now,
                orbit=orbit,
                lumisection=lumisection(orbit),
                first_orbit=first,
                run=np.full(len(now), RUN),
            )
        )


def test_a_fault_in_stored_data_is_an_alarm_with_a_link_to_its_plot(browser, tmp_path):
    write_data(lumisections_with_a_fault(), tmp_path / "run.parquet", made=Provenance("test"), drop=True)
    served = Served(tmp_path, tmp_path / "run.parquet")
    page = browser.new_page()
    page.set_default_timeout(1000 * PATIENCE_S)
    try:
        show(page, (served,), "view=overview")
        until(page, lambda: "muon/finder_eta_phi" in page.inner_text(".alarms"))
        alarm = page.inner_text(".alarms li a >> nth=0")
        assert f"run {RUN}, lumisection {FAULT_FROM}" in alarm
        assert page.inner_text("#alarm-count").startswith(str(page.locator(".alarms .bad").count()))
        assert f"lumisection {FAULT_FROM - 1}" not in page.inner_text(".alarms")
        page.click(".alarms li a >> text=finder_eta_phi")
        until(page, lambda: "view=maps" in page.url and "All track finders" in page.inner_text("main"))
        until(page, lambda: max(drawn(page), default=0) > 0)
    finally:
        page.close()
        served.close()
