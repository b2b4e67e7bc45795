"""What dask.config makes of files and variables. Reads [{"env": {…}, "paths": […]}, …] from stdin, prints one line."""

import json
import sys
import warnings

import dask.config
import distributed.config  # noqa: F401  adds its own renamed keys

warnings.simplefilter("ignore")


def plain(value):
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [plain(item) for item in value]
    return value if isinstance(value, (bool, int, float, str, type(None))) else str(value)


answers = []
for case in json.load(sys.stdin):
    try:
        config = dask.config.collect(case["paths"], case["env"])
        # Older releases do this a step later.
        dask.config.rename(dask.config.deprecations, config)
        answers.append({"config": plain(config)})
    except ValueError as error:
        answers.append({"error": str(error)})
print(json.dumps(answers))
