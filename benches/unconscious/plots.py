"""The plot of `cargo xtask bench attack`, as SVG. Needs this folder's parent in PYTHONPATH."""

import matplotlib

matplotlib.use("svg")
# Glyphs as paths look the same everywhere; a fixed salt and no date make the same figures the same file.
matplotlib.rcParams |= {"svg.fonttype": "path", "svg.hashsalt": "attack", "font.size": 10, "axes.axisbelow": True}

import matplotlib.pyplot as plt  # noqa: E402  (the settings above must come first)
from jsonlines import serve  # noqa: E402

# Okabe and Ito's colours, which people tell apart however they see colours.
COLOURS = ("#0072b2", "#009e73", "#cc79a7", "#d55e00", "#7f6000")
MARKERS = ("o", "s", "^", "D", "v")


def attack(lines: list, before: float, default: float, most: float, path: str) -> dict:
    """The cosine of a guess with the truth, as the budget of a memory grows."""
    figure, axes = plt.subplots(figsize=(8, 5))
    figure.subplots_adjust(left=0.09, right=0.97, top=0.92, bottom=0.12)
    axes.set_title("What a curious process finds out about a signature of 384 dimensions", fontsize=11, loc="left")
    axes.grid(color="#d8d8d8", linewidth=0.7)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xscale("log", base=2)
    for each, colour, marker in zip(lines, COLOURS, MARKERS, strict=True):
        axes.plot(each["budgets"], each["cosines"], marker=marker, markersize=5, color=colour, label=each["name"])
    axes.axhline(before, color=COLOURS[4], linestyle=":", linewidth=1.4, label="informed, before asking anything")
    axes.axhline(most, color="#606060", linestyle="--", linewidth=1, label=f"{most:g}")
    axes.axvline(default, color="#606060", linewidth=1)
    axes.annotate("default", (default, 0.97), (5, 0), textcoords="offset points", color="#606060", va="top")
    axes.set_ylim(0, 1)
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:,.0f}")
    axes.set_xlabel("units that a memory's budget holds (an answer of 0 costs 1, another 16, a sum 32)")
    axes.set_ylabel("cosine between guess and truth, mean")
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(0.0, 0.94))
    figure.savefig(path, format="svg", metadata={"Date": None}, facecolor="white")
    plt.close(figure)
    return {"path": path}


if __name__ == "__main__":
    serve(attack)
