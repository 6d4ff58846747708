"""Figures of the analyses: legends cover no data, fractions stay in range, and little data can be drawn."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from l1scout.analysis.common.bunch_luminosity import Luminosity
from l1scout.analysis.common.cosmic_legs import Cosmics
from l1scout.analysis.common.counts import CrossingCounts
from l1scout.analysis.common.live_time import LiveTime
from l1scout.analysis.common.maps import Occupancy
from l1scout.analysis.common.mass_lines import LINES, RANGES
from l1scout.analysis.common.pair_masses import Masses
from l1scout.analysis.common.response import Reference, against
from l1scout.analysis.common.schemes import find_scheme, load_scheme
from l1scout.analysis.common.wrong_bx import Firing
from l1scout.analysis.figures import mass_spectra, muon_maps, rates
from l1scout.analysis.figures.canvas import plus_minus
from l1scout.errors import InputError
from l1scout.simulate.dimuons import Pairs, simulate_dimuons
from l1scout.simulate.run import Running, simulate_run

SCHEME = load_scheme("2018")


def states(orbits, scheme=SCHEME, **conditions):
    made = {
        "luminosity": Luminosity(scheme, LiveTime(max(orbits // 4, 1))),
        "occupancy": Occupancy(scheme, LiveTime(max(orbits // 4, 1))),
        "cosmics": Cosmics(scheme),
        "filling": CrossingCounts(),
    }
    if scheme.bx.size:
        made["firing"] = Firing(scheme)
    for piece in simulate_run(1, orbits, running=Running(**conditions), origin=True):
        for state in made.values():
            state.add(piece.muons)
    return made


def figures(made):
    found = find_scheme(made["filling"].all_muons, made["filling"].live.orbits)
    yield rates.filling(made["filling"], found)
    for name, state in made.items():
        if name != "filling":
            module = rates if name == "luminosity" else muon_maps
            yield getattr(module, name)(state, state.result())


def legend_is_clear(ax):
    """Whether no point, line or area reaches up to the legend."""
    legend = ax.get_legend()
    if legend is None or not np.isfinite(ax.dataLim.y1):
        return True
    top = ax.transData.transform((ax.get_xlim()[0], ax.dataLim.y1))[1]
    return top <= legend.get_window_extent().y0 + 1


@pytest.fixture(scope="module")
def drawn():
    conditions = {"processors": ((20, 0.0),), "cosmics": 3.0, "afterglow": (0.0005, 20.0)}
    made = states(100, **conditions)
    luminosity = made["luminosity"]
    reference = Reference("bx", {int(b): 1.0 + b / 5000 for b in SCHEME.bx})
    result = against(luminosity, reference)
    masses = Masses()
    for events in simulate_dimuons(1, 5000, Pairs({"J/psi": 0.2, "Z": 0.1, "continuum": 0.7})):
        masses.add(events)
    assert masses.peaks()
    every = [*figures(made), rates.linearity(result, True), mass_spectra.masses(masses)]
    for figure in every:
        FigureCanvasAgg(figure).draw()
    return every


def test_legends_cover_no_data(drawn):
    for figure in drawn:
        assert figure.axes
        for ax in figure.axes:
            assert legend_is_clear(ax), (ax.get_xlabel(), ax.get_ylabel())


def test_axes_have_names(drawn):
    """All but those that share the axis below, and colour bars."""
    for figure in drawn:
        for ax in figure.axes:
            assert ax.get_ylabel()
        assert sum(bool(ax.get_xlabel()) for ax in figure.axes) >= len(figure.axes) / 2 - 1


def test_percentages_are_from_0_to_100(drawn):
    """An uncertainty of -45,000 % was drawn where a bunch had next to no muons."""
    quiet = states(20, occupancy=0.0005)
    shown = rates.luminosity(quiet["luminosity"], quiet["luminosity"].result())
    looked_at = set()
    for figure in (*drawn, shown):
        for ax in figure.axes:
            if ax.get_ylabel() in ("%", "efficiency"):
                values = np.concatenate([np.asarray(line.get_ydata(), float) for line in ax.get_lines()])
                values = values[np.isfinite(values)]
                assert np.all((values >= 0) & (values <= (100 if ax.get_ylabel() == "%" else 1)))
                looked_at |= {ax.get_ylabel()} if values.size else set()
    assert looked_at == {"%", "efficiency"}


@pytest.mark.parametrize(("scheme", "occupancy"), [("none", 0.0), ("2018", 0.005)])
def test_little_data_can_be_drawn(scheme, occupancy):
    for figure in figures(states(2, load_scheme(scheme), occupancy=occupancy, cosmics=0.0)):
        FigureCanvasAgg(figure).draw()
    FigureCanvasAgg(mass_spectra.masses(Masses())).draw()


def test_bins_of_the_mass():
    edges = mass_spectra.mass_edges()
    width = np.diff(edges) / edges[:-1]
    assert width.max() < 0.1
    narrow = np.diff(edges)[np.searchsorted(edges, LINES["J/ψ"])]
    assert narrow <= 0.09  # the J/psi of the trigger is ten bins wide
    np.testing.assert_allclose(
        mass_spectra.mass_edges(30, (2, 5), log=False), np.linspace(2, 5, 31), atol=0.005
    )
    assert set(np.round(mass_spectra.mass_edges(log=False), 2)) <= set(
        np.round(np.r_[RANGES["low"], RANGES["high"]], 2)
    )
    for bins, span in ((10_000, (2, 5)), (10, (5, 2)), (10, (1, 500))):
        with pytest.raises(InputError, match=r"--bins|--range"):
            mass_spectra.mass_edges(bins, span)


def test_numbers_have_the_digits_of_their_uncertainty():
    assert plus_minus(3.09683, 0.00044, " GeV") == r"3.09683 $\pm$ 0.00044 GeV"
    assert plus_minus(12815.3, 118.4) == r"12815 $\pm$ 118"
    assert plus_minus(1.5, float("nan")) == "1.5"
