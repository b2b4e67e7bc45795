"""Build hook: puts the scheduler's JavaScript, with the packages that it needs, into the wheel as ``rsds/app``.

It comes from the repository around this folder, built and installed there (``npm ci``), or, in an unpacked sdist, from
``app`` beside this file. An editable install needs no copy: it runs the repository's own build.
"""

import json
from pathlib import Path

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class AppHook(BuildHookInterface):
    def initialize(self, version, build_data):
        if version == "editable":
            return
        here = Path(self.root)
        packed = here / "app"
        place = "app" if self.target_name == "sdist" else "rsds/app"
        if packed.is_dir():
            build_data["force_include"][str(packed)] = place
            return
        for name in parts_of_app(here.parent):
            build_data["force_include"][str(here.parent / name)] = f"{place}/{name}"


def parts_of_app(root):
    """Files and folders of the repository at ``root`` that the scheduler runs from. Raises where one is missing."""
    try:
        lock = json.loads((root / "package-lock.json").read_text())
    except OSError:
        raise RuntimeError(f"{root} is not rsds' repository: build the wheel from a clone of it") from None
    packages = [path for path, package in lock["packages"].items() if path and not package.get("dev")]
    parts = ["package.json", "LICENSE", "dist", *packages]
    missing = [name for name in parts if not (root / name).exists()]
    if missing:
        raise RuntimeError(f"{root} has no {', '.join(missing)}: run `npm ci` there first, which builds it too")
    return parts
