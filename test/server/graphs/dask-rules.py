"""Answers what dask.utils makes of texts: one JSON document in, one out."""

import json
import sys

from dask.utils import key_split, parse_timedelta


def span(value):
    try:
        return parse_timedelta(value)
    except (ValueError, KeyError, IndexError):
        return None


asked = json.load(sys.stdin)
json.dump(
    {
        "splits": [key_split(text) for text in asked["keys"]],
        "spans": [span(value) for value in asked["spans"]],
    },
    sys.stdout,
)
