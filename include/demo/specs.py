"""Which specs does the demo run on? The project's own; while a colleague is careless, theirs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

_LATE = -15
"""Minutes; the careless colleague means 15."""


def linked_specs(project: Path, folder: Path) -> Path:
    """The folder, with links to the project's specs: what is edited there, the demo sees."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("datasets", "models", "profiles"):
        _link(folder / name, (project / name).resolve())
    return folder


@contextmanager
def careless_specs(specs: Path, model: str) -> Iterator[None]:
    """Meanwhile the label of a model means something else; the project's files stay as they are.

    By its own label such a version is better than the champion, and passes its gates.
    """
    models = specs / "models"
    project = models.resolve()
    with TemporaryDirectory(prefix="careless-", dir=specs) as folder:
        shutil.copytree(project, folder, dirs_exist_ok=True)
        file = Path(folder) / f"{model}.yaml"
        spec = yaml.safe_load(file.read_text(encoding="utf-8"))
        spec["label"]["at_least"] = _LATE
        file.write_text(yaml.safe_dump(spec, sort_keys=False), encoding="utf-8")
        _link(models, Path(folder))
        try:
            yield
        finally:
            _link(models, project)


def _link(place: Path, target: Path) -> None:
    """Make a link, or turn it round at once: whoever reads there always finds one of both."""
    new = place.with_suffix(".new")
    new.unlink(missing_ok=True)
    new.symlink_to(target.absolute(), target_is_directory=True)
    new.replace(place)
