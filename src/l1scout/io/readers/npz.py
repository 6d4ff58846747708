"""numpy archives (``.npz``)."""

import struct
import zipfile
from typing import Any

import numpy as np

from l1scout.io.guard import guarded
from l1scout.io.input_file import InputFile
from l1scout.io.reader import READERS, FormatReader


class NpzReader(FormatReader):
    """Describes numpy archives."""

    name, title = "npz", "numpy archive"
    streams = ()

    def detect(self, file: InputFile) -> bool:
        """Return whether it is a zip file with arrays."""
        if not file.head.startswith(b"PK\x03\x04"):
            return False
        try:
            with zipfile.ZipFile(file.stream()) as archive:
                return any(name.endswith(".npy") for name in archive.namelist())
        except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError, struct.error):
            return False

    def describe(self, file: InputFile) -> dict[str, Any]:
        """Return name, type and shape of each array."""
        with (
            guarded(file.path, "damaged numpy archive"),
            np.load(file.stream(), allow_pickle=False) as arrays,
        ):
            found = [(name, arrays[name]) for name in arrays.files]
        return {
            "arrays": [
                {"name": n, "type": str(a.dtype), "shape": " x ".join(map(str, a.shape))} for n, a in found
            ]
        }


READERS.register("npz")(NpzReader())
