"""The plots of `cargo xtask bench index`, as SVG. Needs this folder's parent in PYTHONPATH."""

import math

import matplotlib

matplotlib.use("svg")
# Glyphs as paths look the same everywhere; a fixed salt and no date make the same figures the same file.
matplotlib.rcParams |= {"svg.fonttype": "path", "svg.hashsalt": "index", "font.size": 10, "axes.axisbelow": True}

import matplotlib.pyplot as plt  # noqa: E402  (the settings above must come first)
from jsonlines import serve  # noqa: E402
from matplotlib.patheffects import withStroke  # noqa: E402
from matplotlib.ticker import LogLocator  # noqa: E402

OURS = "activation-index"
# Okabe and Ito's colours, which people tell apart however they see colours.
COLOURS = {
    OURS: "#d55e00",
    "hnswlib": "#0072b2",
    "faiss": "#009e73",
    "usearch f16": "#cc79a7",
    "usearch bf16": "#8a4f9e",
    "usearch i8": "#56b4e9",
    "hnsw_rs": "#7f6000",
}
RECALL_TICKS = (0.9, 0.95, 0.97, 0.985, 0.99, 0.995, 0.998, 0.999, 0.9995)
# Between the labels beside the axes, as a share of their height.
LABEL_GAP = 0.05
HALO = [withStroke(linewidth=3, foreground="white")]


def depth(recall: float) -> float:
    """Decades of what is missed; at most five, where nothing is."""
    return -math.log10(max(1 - recall, 1e-5))


def recall(curves: list, marks: list, rows: int, path: str) -> dict:
    """Recall against queries per second; `marks` are single settings of ours."""
    figure, axes = canvas(f"Nearest among {rows:,} sentence embeddings, 384 dimensions")
    axes.set_yscale("log")
    ends = []
    for curve in curves:
        points = [(depth(p["recall"]), p["queries_per_s"]) for p in curve["points"] if p["recall"] >= 0.9]
        if points:
            ends.append((curve["name"], *line(axes, curve["name"], points)))
    right = max(x for _, x, _ in ends)
    for name, point in marks:
        x, y = depth(point["recall"]), point["queries_per_s"]
        style = {"color": "white", "markeredgecolor": COLOURS[OURS], "markeredgewidth": 1.5}
        axes.plot(min(x, right), y, marker="D", markersize=6, **style)
        if x > right:
            ends.append((f"{name}, recall {point['recall']:.5g}", right, y))
            continue
        text = axes.annotate(name, (x, y), (6, 7), textcoords="offset points", va="center", color=COLOURS[OURS])
        text.set_path_effects(HALO)
    axes.set_xticks([depth(tick) for tick in RECALL_TICKS if depth(tick) <= right + 0.05])
    axes.set_xticklabels([f"{tick:g}" for tick in RECALL_TICKS if depth(tick) <= right + 0.05])
    axes.set_xlabel("recall@10 (the scale is that of the share that is missed)")
    axes.set_ylabel("queries per second, one thread")
    return finish(figure, axes, ends, path)


def growth(lines: list, recall: float, path: str) -> dict:
    """Microseconds of a query as the number of vectors grows."""
    figure, axes = canvas(f"A query among synthetic vectors, 384 dimensions, at recall@10 of {recall:g}")
    axes.set_xscale("log")
    axes.set_yscale("log")
    ends = []
    for each in lines:
        points = list(zip(each["sizes"], each["micros"], strict=True))
        ends.append((each["name"], *line(axes, each["name"], points)))
    axes.set_xlabel("vectors")
    axes.set_ylabel("microseconds per query, one thread")
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:,.0f}")
    return finish(figure, axes, ends, path)


def colour(name: str) -> str:
    return COLOURS[OURS] if name.startswith("exact scan") else COLOURS[name]


def canvas(title: str):
    figure, axes = plt.subplots(figsize=(8, 5))
    figure.subplots_adjust(left=0.1, right=0.8, top=0.92, bottom=0.12)
    axes.set_title(title, fontsize=11, loc="left")
    axes.grid(which="major", color="#d0d0d0", linewidth=0.7)
    axes.grid(which="minor", color="#ececec", linewidth=0.5)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def line(axes, name: str, points: list) -> tuple:
    """Draws a line and answers where it ends."""
    ours = name in (OURS, "exact scan")
    style = {"linewidth": 2.4 if ours else 1.4, "markersize": 4 if ours else 3, "zorder": 3 if ours else 2}
    dashes = {"linestyle": "--"} if name == "exact scan" else {}
    axes.plot(*zip(*points, strict=True), marker="o", color=colour(name), **style, **dashes)
    return points[-1]


def finish(figure, axes, ends: list, path: str) -> dict:
    """Names every line: beside the axes if it ends near them, next to its end if it ends earlier."""
    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < 1000 else (1,)))
    axes.yaxis.set_major_formatter(lambda y, _: f"{y:,.10g}")
    axes.yaxis.set_minor_formatter("")
    figure.canvas.draw()
    to_axes = axes.transData + axes.transAxes.inverted()
    placed = sorted(((*to_axes.transform((x, y)), name) for name, x, y in ends), key=lambda end: end[1])
    beside = [end for end in placed if end[0] > 0.75]
    for (x, y, name), height in zip(beside, apart([y for _, y, _ in beside]), strict=True):
        axes.annotate(
            name,
            (x, y),
            (1.03, height),
            xycoords="axes fraction",
            textcoords="axes fraction",
            va="center",
            color=colour(name),
            weight="bold" if name == OURS else "normal",
            arrowprops={"arrowstyle": "-", "color": "#b0b0b0", "linewidth": 0.7, "shrinkB": 3, "relpos": (0, 0.5)},
        )
    for x, y, name in placed:
        if x <= 0.75:
            text = axes.annotate(
                name, (x, y), (6, 0), xycoords="axes fraction", textcoords="offset points", va="center", color=colour(name)
            )
            text.set_path_effects(HALO)
    figure.savefig(path, format="svg", metadata={"Date": None}, facecolor="white")
    plt.close(figure)
    return {"path": path}


def apart(heights: list) -> list:
    """Moves ascending heights up and down until none is nearer to the next than a label needs."""
    heights = list(heights)
    for _ in range(200):
        for i in range(len(heights) - 1):
            lack = LABEL_GAP - (heights[i + 1] - heights[i])
            if lack > 1e-6:
                heights[i] -= lack / 2
                heights[i + 1] += lack / 2
    return heights


if __name__ == "__main__":
    serve(recall, growth)
