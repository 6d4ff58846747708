"""The README does what it says: its Python example is right, and its commands and links exist."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from l1scout.cli import COMMANDS, make_app

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def run(*words: str) -> str:
    """Run a command in the working folder; return its standard output."""
    done = CliRunner().invoke(make_app(), words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_the_python_example_counts_the_final_muons_of_the_truth(tmp_path, monkeypatch):
    """Intermediate muons, which repeat final ones, must not be counted."""
    monkeypatch.chdir(tmp_path)
    truth = json.loads(run("simulate", "run", "--orbits=20", "--out=run", "--json"))
    (example,) = blocks("python")
    said = subprocess.run([sys.executable, "-c", example], check=True, capture_output=True, text=True)
    muons = sum(int(line.split()[0]) for line in said.stdout.splitlines())
    assert muons == truth["final_muons"] > 1000


def test_the_simulated_run_can_be_analysed(tmp_path, monkeypatch):
    """As a newcomer without data would, with the README's own lines."""
    lines = [line.split("#")[0].split() for block in blocks("sh") for line in block.splitlines()]
    wanted = [line for line in lines if line[1:3] in (["simulate", "run"], ["analyse", "luminosity"])]
    assert len(wanted) == 2
    monkeypatch.chdir(tmp_path)
    for program, *words in wanted:
        assert program == "l1scout"
        run(*words)
    assert json.loads((tmp_path / "lumi" / "luminosity.json").read_text())["orbits"] == 200


def test_commands_exist():
    used = {
        line.split()[1]
        for block in blocks("sh")
        for line in block.splitlines()
        if line.startswith("l1scout ")
    }
    assert len(used) > 10
    assert used <= set(COMMANDS)


@pytest.mark.parametrize(
    "page", sorted({"README.md", *(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md"))})
)
def test_links_lead_somewhere(page):
    text = (ROOT / page).read_text("utf-8")
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", text)
    assert targets or page != "README.md"
    for target in targets:
        if "://" not in target:
            assert (ROOT / page).parent.joinpath(target).exists(), f"{page}: {target}"
