"""The house around the code: its layout, its two commands, and documentation that says what is there."""

import re
import subprocess
import tomllib
from pathlib import Path

import click
import pytest

from schedmgr.cli.program import COMMANDS, program
from schedmgr.settings import VARIABLES

ROOT = Path(__file__).parent.parent
TOP = {
    *("schedmgr", "templates", "static", "migrations", "tests", "packaging", "pm2", "docs", "bench", "examples"),
    *("pyproject.toml", "Makefile", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE"),
}
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def tracked_files() -> list[str]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    return listed.stdout.splitlines()


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):.*## ", read("Makefile"), re.MULTILINE))


def code_blocks(page: str) -> list[str]:
    return re.findall(r"^```\w*\n(.*?)^```", page, re.MULTILINE | re.DOTALL)


def commands_of_the_readme() -> dict[str, set[str]]:
    """Each command of the table, with its subcommands if it has any."""
    cells = re.findall(r"^\| (`.+?`) \|", read("README.md").split("## Commands")[1], re.MULTILINE)
    found: dict[str, set[str]] = {}
    for cell in cells:
        first, *others = re.findall(r"`(.+?)`", cell)
        name, _, subcommand = first.partition(" ")
        found.setdefault(name, set()).update({subcommand, *others} if subcommand else ())
        found.update({} if subcommand else {other: set() for other in others})
    return found


def commands_of_the_program() -> dict[str, set[str]]:
    commands = {name: program.get_command(click.Context(program), name) for name in COMMANDS}
    return {name: set(getattr(command, "commands", ())) for name, command in commands.items()}


def anchors(page: str) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", page, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_nothing_stands_at_the_top_but_what_the_design_names_and_dot_files():
    entries = {file.split("/")[0] for file in tracked_files()}
    assert {entry for entry in entries if not entry.startswith(".")} <= TOP


def test_the_readme_begins_with_the_two_commands():
    first = code_blocks(read("README.md"))[0]
    assert [line.split("#")[0].strip() for line in first.splitlines()] == ["make run", "make test"]


def test_ci_runs_the_readmes_test_command_with_nothing_left_out():
    assert "CI=true make test" in read(".ci/run")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_make_command_that_a_page_shows_exists(page):
    shown = set(re.findall(r"(?:^|`|\w=\S+ )make ([a-z-]+)", page.read_text(encoding="utf-8"), re.MULTILINE))
    assert shown <= make_targets()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_between_pages_leads_somewhere(page):
    links = re.findall(r"\[[^\]]+\]\((?!https?://)([^)#]*)#?([^)]*)\)", page.read_text(encoding="utf-8"))
    targets = [((page.parent / path) if path else page, anchor) for path, anchor in links]
    lost = [str(target) for target, _ in targets if not target.exists()]
    lost += [f"{target}#{anchor}" for target, anchor in targets if anchor and anchor not in anchors(target.read_text())]
    assert not lost


def test_the_configuration_page_lists_exactly_the_variables_that_the_program_reads():
    listed = re.findall(r"^\| `([A-Z_]+)`", read("docs/configuration.md"), re.MULTILINE)
    assert sorted(listed) == sorted(variable.name for variable in VARIABLES)


def test_the_readme_lists_exactly_the_commands_that_there_are():
    assert commands_of_the_readme() == commands_of_the_program()


def test_the_page_that_docstrings_refer_to_has_the_section_on_missed_runs():
    assert "missed-runs" in anchors(read("docs/guarantees.md"))


def test_every_package_that_the_project_names_is_pinned_to_one_version():
    project = tomllib.loads(read("pyproject.toml"))["project"]
    named = [*project["dependencies"], *(name for extra in project["optional-dependencies"].values() for name in extra)]
    lines = [line for line in read("packaging/constraints.txt").splitlines() if not line.startswith("#")]
    pinned = {re.fullmatch(r"([\w.-]+)==[\w.]+", line)[1].lower() for line in lines}
    assert {re.split(r"[><=!~]", name)[0].lower() for name in named} <= pinned
