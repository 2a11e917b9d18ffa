"""Templates, static files and migrations are found in a checkout and in a wheel alike."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from schedmgr import resources

ROOT = Path(__file__).parent.parent
FOLDERS = ("templates", "static", "migrations")
NEEDED_TO_BUILD = ("schedmgr", "packaging", *FOLDERS)
ASK = """
import json
from schedmgr import resources as r
print(json.dumps([str(place()) for place in (r.templates, r.static, r.migrations, r.sample_definitions)]))
"""


def files_under(folder: Path) -> set[str]:
    found = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(folder).as_posix() for path in found}


@pytest.fixture(scope="module")
def installed_wheel(tmp_path_factory) -> Path:
    """A folder that holds what a wheel of this very tree installs."""
    place = tmp_path_factory.mktemp("wheel")
    tree = place / "tree"
    for name in NEEDED_TO_BUILD:
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*build, "-w", str(place), str(tree)], check=True)
    (wheel,) = place.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(place / "site")
    return place / "site"


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_checkout_uses_the_folder_beside_the_package(folder):
    assert getattr(resources, folder)() == ROOT / folder


def test_a_wheel_brings_every_file_and_finds_it_inside_itself(installed_wheel, tmp_path):
    environment = os.environ | {"PYTHONPATH": str(installed_wheel)}
    asked = subprocess.run(
        [sys.executable, "-c", ASK], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    *folders, sample = map(Path, json.loads(asked.stdout))
    assert [files_under(folder) for folder in folders] == [files_under(ROOT / folder) for folder in FOLDERS]
    assert all(folder.is_relative_to(installed_wheel) for folder in folders)
    assert sample == installed_wheel / "schedmgr" / "sample" / "definitions.py"


def test_a_child_of_python_is_started_as_a_module_of_the_same_python():
    assert resources.program_argv("version", "--json") == [sys.executable, "-P", "-m", "schedmgr", "version", "--json"]
