"""Files given to the readout: packets of its wire format, damaged or not; anything else is refused."""

import re

import pytest

from l1scout.errors import InputError
from l1scout.formats.wire_formats.run2 import RUN2
from l1scout.formats.wire_formats.run3 import RUN3
from l1scout.readout.packet_file import check_packet_file


def test_packets_are_accepted(samples, tmp_path):
    check_packet_file(samples["DMA_PACKETS"], RUN3)
    damaged = tmp_path / "damaged"
    damaged.write_bytes(b"\xff" * 40 + samples["DMA_PACKETS"].read_bytes()[:-7])
    check_packet_file(damaged, RUN3)  # for the account
    empty = tmp_path / "empty"
    empty.touch()
    check_packet_file(empty, RUN3)
    check_packet_file(tmp_path / "missing", RUN3)  # whoever opens it says so


@pytest.mark.parametrize("kind", ["RAW", "RECORDS"])
def test_stored_orbits_are_refused(samples, kind):
    with pytest.raises(
        InputError, match=re.escape(str(samples[kind])) + ": holds stored orbits, not packets"
    ):
        check_packet_file(samples[kind], RUN3)


def test_another_wire_format_is_refused(samples):
    with pytest.raises(InputError, match=r"packets of run3, not run2: set readout\.wire_format"):
        check_packet_file(samples["DMA_PACKETS"], RUN2)
