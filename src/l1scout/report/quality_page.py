"""The shift report of a run: what data quality found, and which lumisections are good."""

from l1scout.core.provenance import Provenance, data_label
from l1scout.quality.quality_flag import summary
from l1scout.quality.quality_run import QualityRun
from l1scout.report.render import render

MAX_ROWS = 1000
"""Alarms on the page, the first ones."""


def quality_page(found: QualityRun, record: Provenance | None = None) -> str:
    """Make the page.

    Parameters
    ----------
    found : QualityRun
    record : Provenance, optional
        Kept in the page's metadata.
    """
    rows = summary(found.flags)
    runs = sorted({at.run for at in found.checked})
    golden = found.golden
    per_run = []
    for run in runs:
        stretches = golden.get(str(run), [])
        checked = sum(at.run == run for at in found.checked)
        good = sum(last - first + 1 for first, last in stretches)
        ranges = ", ".join(f"{first}" if first == last else f"{first}-{last}" for first, last in stretches)
        per_run.append((str(run), f"{checked:,}", f"{good:,}", ranges or "none"))
    streams = []
    for name, stream in found.histograms.streams.items():
        trend = stream.trend()
        orbits, lost, objects = (int(trend[key].sum()) for key in ("orbits", "lost_orbits", "objects"))
        streams.append((name, f"{orbits:,}", f"{lost:,}", f"{objects:,}"))
    return render(
        "quality.html",
        runs=", ".join(map(str, runs)) or "none",
        data=data_label(found.histograms.simulated),
        alarms=[
            (
                f"{r['run']}: {r['first']}" + (f"-{r['last']}" if r["last"] > r["first"] else ""),
                r["check"],
                r["where"],
                r["what"],
                r["certainty"],
            )
            for r in rows[:MAX_ROWS]
        ],
        alarm_count=len(rows),
        per_run=per_run,
        streams=streams,
        tests=found.quality.tests,
        rate=f"{found.quality.false_alarms_per_day:g}",
        alpha=f"{found.quality.alpha:.2g}",
        unchecked=found.unchecked,
        provenance=record.as_json() if record else "",
    )
