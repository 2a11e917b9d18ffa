"""Puts templates/, static/ and migrations/ into the wheel, as schedmgr/_resources; see schedmgr/resources.py."""

from pathlib import Path

from setuptools.command.build_py import build_py

FOLDERS = ("templates", "static", "migrations")


class BuildWithResources(build_py):
    """The usual build of the package, and the files that lie beside it in a checkout."""

    def run(self) -> None:
        """Build; an editable install reads the checkout itself and needs no copy."""
        super().run()
        if not self.editable_mode:
            for file in _resource_files():
                self._copy(file)

    def get_source_files(self) -> list[str]:
        """What a source distribution needs on top of the package, so that a wheel can be built from it."""
        return [*super().get_source_files(), *map(str, _resource_files()), str(Path("packaging") / Path(__file__).name)]

    def _copy(self, file: Path) -> None:
        target = Path(self.build_lib) / "schedmgr" / "_resources" / file
        self.mkpath(str(target.parent))
        self.copy_file(str(file), str(target))


def _resource_files() -> list[Path]:
    """Every file of the three folders, relative to the project."""
    found = (file for folder in FOLDERS for file in sorted(Path(folder).rglob("*")))
    return [file for file in found if file.is_file() and "__pycache__" not in file.parts]
