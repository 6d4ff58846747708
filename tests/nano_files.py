"""Nano files that differ from others in what a test is about."""

import awkward as ak
import uproot


def rewrite(source, target, change=lambda name, fields: fields, *, rntuple=False, nested=False):
    """Write the trees of a nano file again; `change` gets each tree's name and its arrays."""
    with uproot.open(source) as old, uproot.recreate(target) as new:
        for name in {key.split(";")[0] for key in old.keys()}:  # noqa: SIM118
            arrays = {key: old[name][key].array() for key in old[name].keys()}  # noqa: SIM118
            fields = change(name, arrays)
            groups: dict[str, dict[str, ak.Array]] = {}
            for key, values in fields.items():
                group, _, member = key.partition("_")
                if values.ndim == 2 and (nested or not rntuple):
                    groups.setdefault(group, {})[member] = values
            flat = {k: v for k, v in fields.items() if k.partition("_")[0] not in groups and k[:2] != "nL"}
            flat = {k: v for k, v in flat.items() if not (k[0] == "n" and k[1:] in groups)}
            data = flat | {group: ak.zip(members) for group, members in groups.items()}
            (new.mkrntuple if rntuple else new.mktree)(name, data)
    return target
