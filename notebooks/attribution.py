# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Where the time of a run went
#
# Reads a result folder of `rsds` and draws what its table says: the attribution of the scheduler thread's time, and how long
# its spans and the hops of a task took. As a script: `python notebooks/attribution.py [DIR [OUT]]`, DIR being a result folder
# (the committed one without it) and OUT where the pictures go (DIR without it). In Jupyter, set `RSDS_RESULT` to a folder.

# %%
import json
import os
import sys
from pathlib import Path

import matplotlib

IN_JUPYTER = "ipykernel" in sys.modules
if not IN_JUPYTER:
    matplotlib.use("Agg")
import matplotlib.pyplot as plt

HERE = Path(__file__).parent if "__file__" in globals() else Path.cwd()
arguments = [] if IN_JUPYTER else sys.argv[1:]
result = Path(arguments[0] if arguments else os.environ.get("RSDS_RESULT", HERE / "data"))
pictures = Path(arguments[1]) if len(arguments) > 1 else result

if len(arguments) > 2:
    sys.exit("attribution.py: at most two folders: the result's, and where the pictures go")
if not (result / "summary.json").is_file():
    sys.exit(f"attribution.py: {result} is no result folder: it has no summary.json")
summary = json.loads((result / "summary.json").read_text())
if "phases" not in summary:
    sys.exit(f"attribution.py: {result} has no phases: it was run with --trace off")
pictures.mkdir(parents=True, exist_ok=True)


def show(figure, name):
    """Keeps a figure as a PNG, and shows it where somebody looks."""
    figure.savefig(pictures / f"{name}.png", dpi=120, bbox_inches="tight")
    if IN_JUPYTER:
        plt.show()
    else:
        print(pictures / f"{name}.png")
    plt.close(figure)


# %% [markdown]
# ## The run

# %%
run, machine = summary["run"], summary["machine"]
title = f"{run['workload']}, {run['zero_workers']} zero workers, {run['transport']}, {run['scheduler']}"
print(f"{title}: {run['tasks']} tasks, {run['repeats']} repeats")
print(f"{machine['cpu']}, {machine['cores']} cores, Node {machine['node']}; rsds {summary['rsds']['version']}")
for name, label in (("us_per_task", "makespan"), ("scheduler_cpu_us_per_task", "scheduler CPU")):
    stat = summary[name]
    print(f"{label:14} {stat['median']:8.2f} µs a task ({stat['min']:.2f} – {stat['max']:.2f})")

# %% [markdown]
# ## Attribution
#
# Above the top-level phases, below their parts. Together with *unattributed* the shares sum to 1: what could not be tied to
# anything is shown as such.

# %%
COLOURS = {
    "scheduling": "tab:blue",
    "encoding": "tab:orange",
    "network": "tab:green",
    "worker": "tab:brown",
    "gc": "tab:red",
    "idle": "lightgrey",
    "unattributed": "black",
}
LABEL_SHARE_MIN = 0.07


def segments():
    """Of each bar: (row, name, share, colour, opacity)."""
    phases = summary["phases"]
    for top in (phase for phase in phases if phase["parent"] is None):
        colour = COLOURS[top["phase"]]
        yield "phases", top["phase"], top["share"], colour, 1.0
        parts = [phase for phase in phases if phase["parent"] == top["phase"]]
        for i, part in enumerate(parts):
            yield "parts", part["phase"], part["share"], colour, 0.9 - 0.6 * i / max(1, len(parts))
        rest = top["share"] - sum(part["share"] for part in parts)
        yield "parts", "", max(0.0, rest), colour, 0.1
    for row in ("phases", "parts"):
        yield row, "unattributed", max(0.0, summary["unattributed_share"]), COLOURS["unattributed"], 1.0


figure, axes = plt.subplots(figsize=(10, 2.8))
ends = {"phases": 0.0, "parts": 0.0}
for row, name, share, colour, opacity in segments():
    legend = f"{name} {share:.1%}" if row == "phases" and share > 0 else None
    axes.barh(row, share, left=ends[row], color=colour, alpha=opacity, edgecolor="white", label=legend)
    if name and name != "unattributed" and share >= LABEL_SHARE_MIN:
        axes.text(ends[row] + share / 2, row, name, ha="center", va="center", fontsize=8)
    ends[row] += share
axes.invert_yaxis()
axes.set_xlim(0, 1)
axes.xaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
axes.set_xlabel("share of the scheduler thread's time")
axes.set_title(title)
axes.legend(ncols=4, loc="upper center", bbox_to_anchor=(0.5, -0.28), frameon=False)
show(figure, "attribution")

# %% [markdown]
# ## Percentiles
#
# From the `.hgrm` files. The horizontal axis is logarithmic in 1 / (1 − p): each step to the right is a rarer case. A span is
# mostly a batch of many tasks; stamps of hops are taken once a batch, hence the steps.


# %%
def distribution(tag):
    """1 / (1 − p) and microseconds of a .hgrm file; None where the run had no such thing."""
    path = result / f"{tag}.hgrm"
    if not path.is_file():
        return None
    rarity, values = [], []
    for line in path.read_text().splitlines():
        fields = line.split()
        # The last line, the maximum, has no 1 / (1 − p); others are comments or the heading.
        if len(fields) == 4 and fields[0][0].isdigit():
            values.append(float(fields[0]))
            rarity.append(float(fields[3]))
        elif len(fields) == 3 and fields[0][0].isdigit():
            values.append(float(fields[0]))
            rarity.append(max(rarity[-1] if rarity else 1.0, float(fields[2])))
    return rarity, values


def draw(tags, heading, name):
    figure, axes = plt.subplots(figsize=(10, 4.5))
    for label, tag in tags:
        curve = distribution(tag)
        if curve is not None:
            axes.plot(*curve, drawstyle="steps-post", label=label, color=COLOURS.get(label))
    axes.set_xscale("log")
    axes.set_yscale("log")
    ticks = [(1, "0 %"), (2, "50 %"), (10, "90 %"), (100, "99 %"), (1e3, "99.9 %"), (1e4, "99.99 %"), (1e5, "99.999 %")]
    last = max((limit for limit, _ in ticks if limit <= axes.get_xlim()[1]), default=1)
    axes.set_xticks([at for at, _ in ticks if at <= last], [label for at, label in ticks if at <= last])
    axes.minorticks_off()
    axes.set_xlabel("percentile")
    axes.set_ylabel("µs")
    axes.set_title(f"{heading}: {title}")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    show(figure, name)


tops = [phase["phase"] for phase in summary["phases"] if phase["parent"] is None and phase["count"] > 0]
draw([(name, name) for name in tops], "spans of each phase", "phases")

# %%
hops = [hop["hop"] for hop in summary["hops"] if hop["count"] > 0]
draw([(hop, f"hop.{hop.replace('→', '-')}") for hop in hops], "hops of a task", "hops")
