"""The two ways to count muons for a luminosity, and the option that chooses one."""

from typing import Annotated

from l1scout.analysis._analysis import Option

METHODS = ("rate", "zero")
"""Mean number of muons per crossing, or minus the logarithm of the fraction of crossings without any."""
Method = Annotated[str, Option("Counting method: zero or rate.", choices=METHODS)]
