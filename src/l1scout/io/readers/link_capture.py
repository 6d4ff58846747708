"""Link captures: the words that came on eight fibres."""

from typing import Any

import numpy as np

from l1scout.core.provenance import joint_origin
from l1scout.io.input_file import InputFile
from l1scout.io.reader import READERS, FormatReader
from l1scout.link.capture import MAGIC, read_capture


class LinkCaptureReader(FormatReader):
    """Describes link captures; ``l1scout board`` makes muons of them."""

    name, title = "link-capture", "link capture"
    streams = ()

    def detect(self, file: InputFile) -> bool:
        """Return whether the file begins as a capture."""
        return file.head.startswith(MAGIC)

    def describe(self, file: InputFile) -> dict[str, Any]:
        """Return pieces, orbits, and words and K words of each link (InputError if it is damaged)."""
        pieces, orbits, words, k_words = 0, [0, 0], np.zeros(8, np.int64), np.zeros(8, np.int64)
        origins: set[bool | None] = set()
        for capture in read_capture(file.stream(), file.size, str(file.path)):
            if not pieces:
                orbits[0] = capture.first_orbit
            orbits[1] = capture.first_orbit + capture.orbits - 1
            pieces += 1
            origins.add(capture.simulated)
            words += np.diff(capture.starts)
            k_words += np.diff(capture.k_starts)
        links = [{"link": n, "words": int(words[n]), "k_words": int(k_words[n])} for n in range(words.size)]
        stated = {True: "simulated", False: "real", None: None}[joint_origin(origins)]
        return {"data": stated, "pieces": pieces, "orbit": orbits, "links": links}


READERS.register("link-capture")(LinkCaptureReader())
