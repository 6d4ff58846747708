"""What commands say of the option ``--engine``."""

from l1scout.deploy.engines import ENGINES

ENGINES_HELP = (
    f"{', '.join(ENGINES)}; settings follow a colon: fixed:Q4.12,variable,down,wrap (else Q8.8), "
    "mdla:2 (clusters)."
)
