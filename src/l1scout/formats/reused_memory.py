"""Memory that is used again once nobody holds an array in it: new pages take as long as the decoding."""

import sys
from collections.abc import Sequence
from math import prod
from threading import local
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

_LEAST = 1 << 16
"""Bytes below which the allocator of numpy is as good."""
_MAX_BYTES = 1 << 28
"""Kept of a thread at most."""
_LINE = 64
_BLOCKS = local()


def _references(blocks: list[NDArray[np.uint8]]) -> list[int]:
    """Count the references to each block: those of the list and of this function, and others."""
    return [sys.getrefcount(block) for block in blocks]


_FREE = _references([np.empty(1, np.uint8)])[0]
"""References to a block that nobody else holds; versions of Python differ in it."""


def reused(size: int) -> NDArray[np.uint8]:
    """Return at least `size` bytes, of any content.

    They are not given again as long as there is an array that has a part of them as its `base`.
    """
    if size < _LEAST:
        return np.empty(size, np.uint8)
    blocks: list[NDArray[np.uint8]] = _BLOCKS.__dict__.setdefault("blocks", [])
    found = None
    for number, references in enumerate(_references(blocks)):
        block = blocks[number]
        if references == _FREE and size <= block.size < 4 * size + _LEAST:
            found = block if found is None or block.size < found.size else found
    if found is None:
        found = np.empty(size + size // 8, np.uint8)
        if found.size <= _MAX_BYTES:
            blocks.append(found)
            _drop_unused(blocks)
    return found


def _drop_unused(blocks: list[NDArray[np.uint8]]) -> None:
    """Give up blocks, the oldest first, until all have no more than is to be kept."""
    held = sum(block.nbytes for block in blocks)
    while blocks and held > _MAX_BYTES:
        held -= blocks.pop(0).nbytes


def arrays_in_one_block(wanted: Sequence[tuple[tuple[int, ...], DTypeLike]]) -> list[NDArray[Any]]:
    """Return arrays of any content, by shape and type, in one piece of reused memory."""
    sizes = [prod(shape) * np.dtype(kind).itemsize for shape, kind in wanted]
    steps = [(size + _LINE - 1) // _LINE * _LINE for size in sizes]
    block, at, made = reused(sum(steps)), 0, []
    for (shape, kind), size, step in zip(wanted, sizes, steps, strict=True):
        made.append(block[at : at + size].view(kind).reshape(shape))
        at += step
    return made
