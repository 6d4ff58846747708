"""``python -m l1scout``: the command line."""

from l1scout.cli import main

main()
