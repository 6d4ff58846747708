"""A process of the chain that run control starts, and that ends cleanly when run control is gone.

``python -m l1scout.control.child FD NAME SETTINGS STATUS LOG [section.name=value ...]`` runs the service NAME
of `l1scout.control.services` (``readout``, or, of several sources, ``readout.calo``) with the settings of a
file, and writes its status and its log to others. It gets SIGTERM when the pipe FD is closed at the other
end. Run control holds the other end; so does the process that feeds this one, so that a chain whose run
control was killed drains in its order.
"""

import faulthandler
import os
import signal
import sys
import threading
from pathlib import Path

from l1scout.control.logs import logger
from l1scout.control.services import SERVICES, StatusFile
from l1scout.errors import InputError, printable
from l1scout.settings import read_settings

REFUSED = 2
"""Exit status of a process that cannot work with its settings or surroundings: trying again does not help."""


def _follow(lifeline: int) -> None:
    os.read(lifeline, 1)
    os.kill(os.getpid(), signal.SIGTERM)


def main(lifeline: str, name: str, settings: str, status: str, log: str, *changed: str) -> int:
    """Run a service; return the exit status."""
    write = logger(name, Path(log), own_stderr=True)
    faulthandler.enable()
    threading.Thread(target=_follow, args=(int(lifeline),), daemon=True).start()
    kind, _, source = name.partition(".")
    try:
        chosen = read_settings(Path(settings), over=changed)
        own = chosen if kind == "store" else chosen.of_source(source)
        SERVICES[kind](own, write, StatusFile(Path(status)))
    except (InputError, OSError) as error:
        where = f"{error.filename}: " if isinstance(error, OSError) and error.filename else ""
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        print(f"l1scout: {printable(where + why, 2000)}", file=sys.stderr)
        return REFUSED
    finally:
        # Python takes its handlers away before it has ended: one more SIGTERM would change the exit status
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
