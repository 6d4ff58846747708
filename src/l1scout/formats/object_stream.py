"""Streams of objects in records of a crossing, which tables describe (`formats.object_records`)."""

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.core.orbit_batch import OrbitBatch
from l1scout.formats.decoded import Decoded
from l1scout.formats.object_records import DecodingPlan, FoundObjects, ObjectTable, RecordForm, decode_objects
from l1scout.formats.payloads import Payloads
from l1scout.formats.stream import Stream


class ObjectStream(Stream):
    """A stream of objects that `formats.object_records` decodes.

    Attributes
    ----------
    forms : mapping of int to RecordForm
        Records by source id; a single one is that of all sources.
    table : ObjectTable
        Columns of the objects.
    """

    forms: Mapping[int, RecordForm]
    table: ObjectTable

    def decode(
        self, words: NDArray[np.uint32], bounds: NDArray[np.int64], sources: NDArray[np.int64]
    ) -> tuple[Decoded, NDArray[np.int64]]:
        """Decode the objects of records; in a crossing, those of the first source given come first."""
        return self.decode_with([self], Payloads.of(words, bounds, sources), {})[self.name]

    def decode_with(
        self, streams: Sequence[Stream], payloads: Payloads, columns: Mapping[str, Collection[str]]
    ) -> dict[str, tuple[Decoded, NDArray[np.int64]]]:
        """Decode the objects of all streams that are in the same records."""
        number, used = self._form_numbers(payloads.sources)
        names = [columns.get(s.name) for s in streams] if columns else None
        key = (*used, *(s.name for s in streams), *(None if n is None else tuple(n) for n in names or ()))
        if key not in self._plans:
            chosen = [self, *(s for s in streams if isinstance(s, ObjectStream) and s._shares(self, used))]
            kinds = [s.table.choose(columns.get(s.name)) for s in chosen]
            forms = [[s.forms[source] for source in used] for s in chosen]
            self._plans[key] = chosen, DecodingPlan(kinds, forms)
        chosen, plan = self._plans[key]
        found, ends = decode_objects(payloads, plan, number)
        none = np.zeros(0, np.int64)
        return {
            s.name: (Decoded(s.objects(f, columns.get(s.name)), none), ends)
            for s, f in zip(chosen, found, strict=True)
        }

    @cached_property
    def _plans(self) -> dict[tuple[Any, ...], tuple[list["ObjectStream"], DecodingPlan]]:
        """Plans of decoding that were used so far, by forms, streams and columns."""
        return {}

    def objects(self, found: FoundObjects, names: Collection[str] | None = None) -> OrbitBatch:
        """Make a batch of what was found, with the columns `names`; all if it is None."""
        del names  # only these were decoded
        return found.batch()

    def _form_numbers(self, sources: NDArray[np.int64]) -> tuple[NDArray[np.int64], list[int]]:
        """Return the number of the form of each payload, and for each form a source that has it."""
        if len(self.forms) == 1:
            return np.zeros(sources.size, np.int64), list(self.forms)
        used = sorted(set(sources.tolist())) or list(self.forms)[:1]
        if not set(used) <= set(self.forms):
            msg = f"stream {self.name} has no frames of source id {set(used) - set(self.forms)}"
            raise KeyError(msg)
        return np.searchsorted(used, sources), used

    def _shares(self, other: "ObjectStream", sources: Sequence[int]) -> bool:
        """Return whether its objects are in the same records of fixed length as those of another stream."""
        if self is other or self.table.keep_words or other.table.keep_words:  # words are kept of one kind
            return False
        return all(
            source in self.forms
            and source in other.forms
            and self.forms[source].frame == other.forms[source].frame
            and bool(self.forms[source].fixed_words)
            for source in sources
        )
