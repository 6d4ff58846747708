"""The checksum of a whole, of those of its parts."""

from crc32c import crc32c
from hypothesis import given
from hypothesis import strategies as st

from l1scout.readout.joint_checksum import joint_checksum


@given(st.binary(max_size=100), st.binary(max_size=3000))
def test_it_is_that_of_the_bytes_together(first, second):
    assert joint_checksum(crc32c(first), crc32c(second), len(second)) == crc32c(first + second)


def test_a_segment_of_gigabytes():
    size, zeros = (1 << 20) * 40 + 7, bytes(1 << 20)
    crc = 0
    for _ in range(40):
        crc = crc32c(zeros, crc)
    crc = crc32c(bytes(7), crc)
    whole = crc32c(b"header")
    for _ in range(40):
        whole = crc32c(zeros, whole)
    assert joint_checksum(crc32c(b"header"), crc, size) == crc32c(bytes(7), whole)
