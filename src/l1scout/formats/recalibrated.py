"""The 64-bit word of a recalibrated muon, as the firmware core gives it.

Phi, eta and pT are those of the GMT muon with more bits below the point; the rest is the GMT's, unchanged.
Where ``isRecal`` is 0 the three are the trigger's own, at the vertex: a reader may take them without looking.
"""

from l1scout.formats.layout import Field, Layout
from l1scout.formats.streams.muon import ETA_LSB, PHI_BINS, PHI_LSB, PT_LSB

PHI_STEPS = 16
ETA_STEPS = 32
PT_STEPS = 32
"""Steps a count of the GMT muon: powers of two, so that the core only adds."""

PHI = Field("phiRecal", 0, 14, scale=PHI_LSB / PHI_STEPS, unit="rad", period=PHI_BINS * PHI_STEPS)
ETA = Field("etaRecal", 14, 14, signed=True, scale=ETA_LSB / ETA_STEPS)
PT = Field(
    "ptRecal",
    28,
    14,
    scale=PT_LSB / PT_STEPS,
    offset=-PT_LSB,
    unit="GeV",
    zero_is_absent=True,
    note="0 to 31 = no muon (hwPt 0); 16383 = 255.5 GeV or more",
)

RECALIBRATED = Layout(
    "Recalibrated muon",
    64,
    (
        PHI,
        ETA,
        PT,
        Field("hwQual", 42, 4),
        Field("hwIso", 46, 2),
        Field("hwCharge", 48, 1, note="1 = negative"),
        Field("hwChargeValid", 49, 1),
        Field("tfMuonIndex", 50, 7),
        Field("isRecal", 57, 1, note="1 = the network's, 0 = the trigger's own phi, eta and pT"),
        Field("reserved", 58, 6),
    ),
    "Made by `l1scout firmware build`: 16 steps a count of the GMT's phi, 32 a count of its eta and pT.",
)
