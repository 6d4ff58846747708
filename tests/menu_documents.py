"""Small menus as XML and JSON, written for tests."""

import json


def element(tag, **fields):
    inside = "".join(f"<{name}>{value}</{name}>" for name, value in fields.items())
    return f"<{tag}>{inside}</{tag}>"


def cut(name, type_, low=0.0, high=0.0, data=""):
    return element("cut", name=name, object="any", type=type_, minimum=low, maximum=high, data=data)


def algorithm(index, expression, cuts="", name=None, **more):
    body = element("x", name=name or f"L1_{index}", expression=expression, index=index, module_id=1, **more)
    return f"<algorithm>{body[3:-4]}{cuts}</algorithm>"


def menu_xml(*algorithms, grammar="0.12", more="", root="tmxsd:menu"):
    signal = element("ext_signal", name="BPTX.v0", system="BRIL", cable=1, channel=3)
    return (
        f'<?xml version="1.0"?><{root} xmlns:tmxsd="http://www.cern.ch/tmxsd/1.0.0">'
        f"<name>L1Menu_Test</name><grammar_version>{grammar}</grammar_version>{''.join(algorithms)}"
        f"{more}<ext_signal_set><name>signals</name>{signal}</ext_signal_set></{root}>"
    )


def facts(expression, objects, cuts=(), name="L1Menu_Collisions2024_test"):
    conditions = {
        "c": {
            "expression": expression,
            "objects": [{"name": n, "req": list(req)} for n, req in objects],
            "cuts": list(cuts),
        }
    }
    algorithm = {"index": 7, "name": "L1_7", "module": 2, "expression": expression, "conditions": conditions}
    return json.dumps({"menu": name, "algorithms": [algorithm]})


ONLY_MUONS = """
name = "Muons"
[[algorithm]]
name = "L1_SingleMu5"
expression = "MU5[QLTY>=12]"
[[algorithm]]
name = "L1_SingleMu22"
index = 7
expression = "MU22[QLTY>=12]"
[[algorithm]]
name = "L1_DoubleMu"
expression = "comb{MU0, MU0}"
[[algorithm]]
name = "L1_Isolated"
expression = "MU0 AND NOT (MU0-1 OR MU0+2)"
[[algorithm]]
name = "L1_Empty"
expression = "NOT (MU0 OR MU0+1)"
"""
MUON_MENU = (
    ONLY_MUONS
    + """
[[algorithm]]
name = "L1_Jet"
expression = "JET20"
"""
)
