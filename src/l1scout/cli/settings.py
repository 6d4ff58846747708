"""``l1scout settings``: the settings file of the live chain."""

from l1scout.cli.live import Set, SettingsFile, load


def settings(settings: SettingsFile = None, over: Set = None) -> None:
    """Print the settings of the live chain as a TOML file: each with its meaning, unit and value.

    What is printed is in force: defaults, over them the file, the environment and --set. Keep it with
    `l1scout settings > chain.toml`. A setting `listen` of `[readout]` is L1SCOUT_READOUT_LISTEN in the
    environment. The token is never printed.
    """
    from l1scout.settings import as_toml

    print(as_toml(load(settings, over)), end="")
