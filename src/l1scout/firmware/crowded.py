"""The board's worst case: a muon in both slots of every link in every crossing."""

from collections.abc import Iterator

import numpy as np

from l1scout.formats.block_format import BlockFormat
from l1scout.formats.pattern import FRAMES_PER_BX
from l1scout.formats.records import LINKS
from l1scout.formats.streams.muon import PT
from l1scout.formats.wire_formats.run3 import RUN3
from l1scout.lhc import BX_PER_ORBIT
from l1scout.link.capture import Capture
from l1scout.link.frames import ISO_HDLC, MAX_SKEW_WORDS, PAYLOAD_WORDS, Crc
from l1scout.link.transmit import LinkTiming, Transmitter


def crowded_orbits(orbits: int, form: BlockFormat = RUN3, crc: Crc = ISO_HDLC) -> Iterator[Capture]:
    """Send orbits from number 0 on with all 3564 BX full, random words, over links of the largest skews.

    Parameters
    ----------
    orbits : int
    form : BlockFormat
    crc : Crc

    Yields
    ------
    Capture
        An orbit of time each, and one with the end of the last.
    """
    random = np.random.default_rng(1)
    late = (-1) ** np.arange(LINKS) * MAX_SKEW_WORDS
    sender = Transmitter(form, [LinkTiming(int(skew), phase=n) for n, skew in enumerate(late)], crc)
    for orbit in range(orbits):
        words = random.integers(0, 1 << 32, (1, LINKS, BX_PER_ORBIT, FRAMES_PER_BX), np.uint32)
        words[..., 0] = 0
        words[..., 2::2] |= np.uint32(1 << PT.start)
        yield sender.send_words(words.reshape(1, LINKS, PAYLOAD_WORDS), orbit)
    yield sender.idle(orbits)
