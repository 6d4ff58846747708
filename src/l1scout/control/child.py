"""A process of the chain that ends cleanly when nobody holds its lifeline any more.

``python -m l1scout.control.child FD COMMAND...`` is ``l1scout COMMAND...``, and gets SIGTERM when the
pipe FD is closed at the other end. Run control holds the other end; so does the process that feeds
this one, so that a chain whose run control was killed drains in its order.
"""

import os
import signal
import sys
import threading

from l1scout.cli import main


def _follow(lifeline: int) -> None:
    os.read(lifeline, 1)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=_follow, args=(int(sys.argv.pop(1)),), daemon=True).start()
    sys.argv[0] = "l1scout"
    main()
