"""The help of `l1scout analyse` imports no library of the analyses."""

import subprocess
import sys

import pytest

from l1scout.analysis import ANALYSES

HEAVY = {
    *("numpy", "numba", "awkward", "scipy", "hist", "boost_histogram", "matplotlib", "iminuit", "pyarrow"),
    *("uproot", "vector", "keras", "jax", "onnx", "onnxruntime", "structlog"),
}


def imported(*arguments):
    code = (
        "import sys\nfrom l1scout.cli import main\n"
        f"sys.argv = ['l1scout', 'analyse', *{list(arguments)}]\n"
        "try:\n main()\nexcept SystemExit as end:\n assert not end.code, end\n"
        "print(*{name.split('.')[0] for name in sys.modules}, file=sys.stderr)\n"
        "print(*(name for name in sys.modules if name.startswith('l1scout.analysis.')), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *_, libraries, analyses = done.stderr.splitlines()
    return set(libraries.split()), set(analyses.split()), done.stdout


def test_the_list_imports_no_analysis():
    libraries, analyses, text = imported("--help")
    assert not HEAVY & libraries
    assert not {f"l1scout.analysis.{name}" for name in ANALYSES} & analyses
    for name in ANALYSES:
        assert f" {name} " in text
        assert ANALYSES.describe(name).split()[0] in text


@pytest.mark.parametrize("name", ANALYSES)
def test_the_help_of_an_analysis_imports_that_analysis_alone(name):
    libraries, analyses, text = imported(name, "--help")
    assert not HEAVY & libraries
    assert {f"l1scout.analysis.{n}" for n in ANALYSES} & analyses == {f"l1scout.analysis.{name}"}
    assert f"analyse {name}" in text
