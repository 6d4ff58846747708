"""Install the hooks of a test in a process of the live chain: Python imports this file when it starts."""

import os
import traceback

try:
    import hooks

    hooks.install(os.environ.get("CHAIN_HOOKS", ""))
except BaseException:  # Python itself would go on without the hooks
    traceback.print_exc()
    os._exit(97)
