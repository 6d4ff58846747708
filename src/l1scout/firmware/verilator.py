"""Verilog as programs: built by Verilator or Icarus Verilog, fed with bytes, read as bytes.

Both are tools of the system, not of Python: ``apt-get install verilator iverilog`` on Debian.
Programs are kept in a folder under a name made of what they were built from.
"""

import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from l1scout.errors import InputError

_LARGE = 200_000
_SPLIT = ("--output-split", "4000", "--output-split-cfuncs", "500")
"""For sources of more bytes than `_LARGE`: the compiler takes minutes for one big file."""
_WARNINGS = ("-Wfuture-WIDTHTRUNC", "-Wno-WIDTH", "-Wno-fatal")
"""For sources of others: 5.006 stops at the names of later versions' warnings."""


def program_folder() -> Path:
    """Folder for built programs when none is named: in the user's cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "l1scout" / "verilog"


def have_verilator() -> bool:
    """Say whether Verilator, and what it needs to build a program, are there."""
    return all(shutil.which(p) for p in ("verilator", "make", "g++"))


def have_icarus() -> bool:
    """Say whether Icarus Verilog is there."""
    return all(shutil.which(p) for p in ("iverilog", "vvp"))


def build_verilator(
    sources: Sequence[Path],
    top: str,
    main: Path,
    folder: Path,
    parameters: Mapping[str, int | str] | None = None,
    *,
    optimise: str = "-O1",
    strict: bool = False,
) -> Path:
    """Build a program from Verilog and a C++ main program; if it is there already, only name it.

    Parameters
    ----------
    sources : sequence of Path
        Verilog files. Files that they include must be in a folder of theirs and end in ``.vh``.
    top : str
        Module at the top. The C++ class is ``V<top>``, its header ``V<top>.h``.
    main : Path
        C++ file with ``main``: see ``rtl/board_main.cpp``.
    folder : Path
        Where programs are kept; is made if it is not there.
    parameters : mapping, optional
        Of the top module: integers, or text as Verilog writes it (``"32'hFF"``).
    optimise : str
        Of the C++ compiler. Large combinational cores take minutes with anything above ``-O0``.
    strict : bool
        Stop at the linter's warnings: for sources of our own.

    Returns
    -------
    Path
        The program.

    Raises
    ------
    InputError
        If Verilator or the compiler is missing, or refuses the sources.
    """
    if not have_verilator():
        msg = "Verilator is not installed; on Debian or Ubuntu: apt-get install verilator g++ make"
        raise InputError(msg)
    given = [f"-G{name}={value}" for name, value in (parameters or {}).items()]
    digest = _hash(sources, main, [top, optimise, str(strict), *given])
    program = folder / f"{top}-{digest}" / f"V{top}"
    if not program.exists():
        large = sum(p.stat().st_size for p in sources) > _LARGE
        flags = [
            *("--cc", "--exe", "--build", "--build-jobs", "2", "--top-module", top, "--prefix", f"V{top}"),
            *("-O3", "--x-assign", "fast", "--x-initial", "fast", *_include(sources)),
            *(("-Wall",) if strict else _WARNINGS),
            *(_SPLIT if large else ()),
            *("-MAKEFLAGS", f"OPT_FAST={optimise} OPT_SLOW=-O0 OPT_GLOBAL=-O0", *given),
        ]
        files = [str(p.resolve()) for p in (*sources, main)]
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as part:
            _do(["verilator", *flags, "--Mdir", part, *files])
            _keep(Path(part) / program.name, program)
    return program


def build_icarus(
    sources: Sequence[Path], top: str, folder: Path, parameters: Mapping[str, int | str] | None = None
) -> Path:
    """Compile Verilog, test bench included, for ``vvp``; if it is there already, only name it.

    Parameters, returned path and errors are those of `build_verilator`.
    """
    if not have_icarus():
        msg = "Icarus Verilog is not installed; on Debian or Ubuntu: apt-get install iverilog"
        raise InputError(msg)
    given = [f"-P{top}.{name}={value}" for name, value in (parameters or {}).items()]
    flags = ["-g2012", "-s", top, *given]
    program = folder / f"{top}-{_hash(sources, None, flags)}" / f"{top}.vvp"
    if not program.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as part:
            made = Path(part) / program.name
            files = [str(p.resolve()) for p in sources]
            _do(["iverilog", *flags, *_include(sources), "-o", str(made), *files])
            _keep(made, program)
    return program


def run_program(program: Path, data: bytes | Iterable[bytes] = b"", arguments: Sequence[str] = ()) -> bytes:
    """Run a program of `build_verilator` or `build_icarus`: bytes in, bytes out.

    Parameters
    ----------
    program : Path
    data : bytes or iterable of bytes
        Standard input; of an iterable a part at a time is in memory.
    arguments : sequence of str

    Returns
    -------
    bytes
        Standard output.

    Raises
    ------
    InputError
        If it ends with an error, with the last line that it said.
    """
    command = ["vvp", "-n", str(program)] if program.suffix == ".vvp" else [str(program)]
    return _do([*command, *arguments], data)


def _folders(sources: Sequence[Path]) -> list[Path]:
    return list(dict.fromkeys(p.resolve().parent for p in sources))


def _include(sources: Sequence[Path]) -> list[str]:
    return [f"-I{folder}" for folder in _folders(sources)]


def _hash(sources: Sequence[Path], main: Path | None, flags: Sequence[str]) -> str:
    """Of all that a program depends on but the versions of the tools: they are the system's."""
    included = [p for folder in _folders(sources) for p in sorted(folder.glob("*.vh"))]
    digest = hashlib.sha256("\0".join(flags).encode())
    for path in (*sources, *included, *((main,) if main else ())):
        try:
            data = path.read_bytes()
        except OSError as error:
            msg = f"{path}: {(error.strerror or 'cannot be read').lower()}"
            raise InputError(msg) from error
        digest.update(f"\0{path.name}\0{len(data)}\0".encode() + data)
    return digest.hexdigest()[:16]


def _keep(made: Path, program: Path) -> None:
    """Give a program its name at once, whoever else builds it."""
    program.parent.mkdir(exist_ok=True)
    made.replace(program)


def _do(command: Sequence[str], data: bytes | Iterable[bytes] = b"") -> bytes:
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        work = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=out, stderr=err)
        try:
            assert work.stdin is not None
            # a program that has ended says why itself
            with contextlib.suppress(BrokenPipeError), work.stdin as stream:
                for part in (data,) if isinstance(data, bytes) else data:
                    stream.write(part)
        except BaseException:
            work.kill()
            raise
        finally:
            status = work.wait()
        out.seek(0)
        err.seek(0)
        result, said = out.read(), err.read().decode(errors="replace").strip().splitlines()
    if status:
        errors = [line for line in said if re.search(r"%Warning|\berror", line, re.IGNORECASE)]
        told = (errors[:1] or said[-1:] or ["it said nothing"])[0]
        msg = f"{Path(command[0]).name} ended with status {status}: {told}"
        raise InputError(msg)
    return result
