"""read-csvs.py DIR: do the tables of a result folder load in pandas, with numbers as numbers, and say what summary.json says?

Prints each breach on a line of its own; status 1 if there is one.
"""

import json
import os
import sys

import pandas as pd

folder = sys.argv[1]
bad = []


def need(condition, text):
    if not condition:
        bad.append(text)


def load(name):
    return pd.read_csv(os.path.join(folder, name))


def is_number(column):
    return pd.api.types.is_numeric_dtype(column)


with open(os.path.join(folder, "summary.json")) as file:
    summary = json.load(file)

for name, text_columns in (("phases", ["phase", "parent"]), ("hops", ["hop"])):
    table = load(f"{name}.csv")
    rows = pd.DataFrame(summary[name])
    need(list(table.columns) == list(rows.columns), f"{name}.csv: columns {list(table.columns)}")
    need(len(table) == len(rows), f"{name}.csv: {len(table)} rows, {len(rows)} in the summary")
    for column in rows.columns:
        if column in text_columns:
            same = table[column].where(table[column].notna(), None).equals(rows[column].where(rows[column].notna(), None))
            need(same, f"{name}.csv: {column} is not the summary's")
            continue
        need(is_number(table[column]), f"{name}.csv: {column} is {table[column].dtype}")
        need((table[column] == rows[column]).all(), f"{name}.csv: {column} is not the summary's")
        need((table[column] >= 0).all(), f"{name}.csv: {column} has negative numbers")

phases = load("phases.csv")
total = phases[phases.parent.isna()].share.sum() + summary["unattributed_share"]
need(abs(total - 1) < 1e-6, f"phases.csv: top-level shares and unattributed sum to {total}")
for parent, parts in phases[phases.parent.notna()].groupby("parent"):
    whole = phases[phases.phase == parent].total_s.sum()
    need(abs(parts.total_s.sum() - whole) <= 1e-9 + 1e-6 * whole, f"phases.csv: the parts of {parent} are not the whole")

if "tasks.csv.gz" in summary["files"]:
    tasks = load("tasks.csv.gz")
    run = summary["run"]
    need(len(tasks) == run["tasks"] * run["repeats"], f"tasks.csv.gz: {len(tasks)} rows")
    need(not tasks.duplicated(["key", "repeat"]).any(), "tasks.csv.gz: a key twice in a repeat")
    for column in tasks.columns.drop(["key", "worker"]):
        need(is_number(tasks[column]), f"tasks.csv.gz: {column} is {tasks[column].dtype}")
    for before, after in (("submit_us", "known_us"), ("known_us", "placed_us"), ("placed_us", "written_us"), ("written_us", "finished_us")):
        # A run without a wire has no moment of writing.
        seen = tasks[tasks[before].notna() & tasks[after].notna()]
        need((seen[before] <= seen[after]).all(), f"tasks.csv.gz: {after} before {before}")

print("\n".join(bad) if bad else f"{len(phases)} phases, {len(load('hops.csv'))} hops: no breach")
sys.exit(1 if bad else 0)
