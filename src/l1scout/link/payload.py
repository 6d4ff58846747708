"""The payload of one link's orbit, read once from memory: crossings with anything in them, and the CRC.

Almost all words are 0: they add nothing to the CRC, and their crossings are not copied. Padding words, one in
26 to 40, are recognised by their value while the words stream by; afterwards the list of K flags is compared
with them. Where both agree, as they do unless a data word looks like padding, that is all.
"""

from typing import Any

import numpy as np

from l1scout.formats.lanes import SPAN, filled, lowest, ones, paddings
from l1scout.formats.pattern import FRAMES_PER_BX
from l1scout.jit import kernel
from l1scout.lhc import BX_PER_ORBIT
from l1scout.link.frames import PADDING, PADDING_K, PAYLOAD_WORDS, sparse_crc


@kernel
def words_by_value(words: Any, begin: Any, end: Any, places: Any, found: Any) -> Any:
    """List the words of an orbit that are not 0, taking every word with the value of padding for padding.

    Parameters
    ----------
    words : ndarray of uint32
    begin, end : int
        From an orbit's first word to the first comma after its CRC word, within `words`.
    places, found : ndarray of uint32, shape (21385,)
        Are filled with the places in the payload, and the words; the CRC word has place 21384.

    Returns
    -------
    n : int
        Words found.
    count : int
        Padding words.
    """
    n = count = np.int64(0)
    at, stop, size = np.uint64(begin), np.uint64(end), np.uint64(words.size)
    while at < stop:
        left = stop - at
        if at + np.uint64(SPAN) <= size:
            pad, more = paddings(words, at, np.uint32(PADDING))
            data = np.uint64(0) if more == 0 else filled(words, at) & ~pad
        else:
            pad = data = np.uint64(0)
            for j in range(left):
                bit = np.uint64(1) << np.uint64(j)
                if words[at + np.uint64(j)] == np.uint32(PADDING):
                    pad |= bit
                elif words[at + np.uint64(j)] != 0:
                    data |= bit
        if left < np.uint64(SPAN):
            inside = (np.uint64(1) << left) - np.uint64(1)
            pad, data = pad & inside, data & inside
        while data != 0:
            j = lowest(data)
            data &= data - np.uint64(1)
            before = ones(pad & ((np.uint64(1) << j) - np.uint64(1)))
            place = np.int64(at + j) - begin - count - np.int64(before)
            if place > PAYLOAD_WORDS:
                break
            places[n], found[n] = np.uint32(place), words[at + j]
            n += 1
        count += np.int64(ones(pad))
        at += np.uint64(SPAN)
    return n, count


@kernel
def words_by_flags(words: Any, begin: Any, at: Any, places: Any, found: Any) -> Any:
    """List the same words of an orbit with paddings at the positions ``at[:-1]``, and a comma at the last.

    Returns
    -------
    int
        Words found.
    """
    n, k = np.int64(0), np.int64(0)
    for p in range(begin, np.int64(at[at.size - 1])):
        if np.int64(at[k]) == p:
            k += 1
        elif words[p] != 0:
            places[n], found[n] = np.uint32(p - begin - k), words[p]
            n += 1
    return n


@kernel
def keep(places: Any, words: Any, tables: Any, crossings: Any, busy: Any) -> Any:
    """Put the words of an orbit that are not 0 into their crossings, and check the CRC.

    Parameters
    ----------
    places, words : ndarray of uint32
        See `words_by_value`.
    tables : CrcTables
    crossings : ndarray of uint32, shape (3564, 6)
        Is filled with the words of the BX that have any, in order.
    busy : ndarray of uint32, shape (112,)
        Becomes the map of these BX; bit b is BX b + 1.

    Returns
    -------
    bool
        Whether the CRC is right.
    """
    busy[:] = 0
    size, sent = places.size, np.uint32(0)
    if size > 0 and places[size - 1] == PAYLOAD_WORDS:
        size -= 1
        sent = words[size]
    n = np.int64(-1)
    last = np.uint32(BX_PER_ORBIT)
    for k in range(size):
        bx = places[k] // np.uint32(FRAMES_PER_BX)
        if bx != last:
            last = bx
            n += 1
            crossings[n] = 0
            busy[bx >> np.uint32(5)] |= np.uint32(1) << (bx & np.uint32(31))
        crossings[n, places[k] - bx * np.uint32(FRAMES_PER_BX)] = words[k]
    return sparse_crc(places[:size], words[:size], tables) == sent


@kernel
def are_paddings(words: Any, at: Any, mask: Any) -> Any:
    """Return whether the K words between two commas are all padding.

    Parameters
    ----------
    words : ndarray of uint32
        Of the link.
    at : ndarray of uint32, shape (n + 2,)
        Positions of the commas and of the words between; the last one is within `words`.
    mask : ndarray of uint8, shape (n,)
        K flags of the words between.
    """
    bad = np.uint32(0)
    for k in range(mask.size):
        bad |= np.uint32(mask[k] != PADDING_K)
    for k in range(mask.size + 1):
        bad |= np.uint32(at[k] >= at[k + 1])
    if bad != 0:
        return False
    for k in range(mask.size):
        bad |= words[np.uint64(at[k + 1])] ^ np.uint32(PADDING)
    return bad == 0
