"""The commands ``rsds`` and ``rsds-scheduler`` of the Python package: this process becomes Node."""

import os
import sys

from rsds.launch import LaunchError, bundled_main, find_node


def rsds(arguments=None):
    """Runs ``rsds`` with the arguments of the command line."""
    arguments = sys.argv[1:] if arguments is None else arguments
    main = bundled_main()
    if main is None:
        sys.exit("rsds: this package holds no JavaScript: install a wheel that `npm run wheel` made")
    try:
        node = find_node()
    except LaunchError as error:
        sys.exit(f"rsds: {error}")
    # The Python that opens graphs: the one that rsds was installed for.
    if "VIRTUAL_ENV" not in os.environ and sys.prefix != sys.base_prefix:
        os.environ["VIRTUAL_ENV"] = sys.prefix
    os.execv(node, [node, str(main), *arguments])


def rsds_scheduler():
    """Runs ``rsds scheduler`` with the arguments of the command line."""
    rsds(["scheduler", *sys.argv[1:]])
