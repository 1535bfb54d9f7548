"""The figures: `scripts/bench [figure ...]`, 1 to 16 or `contraction` (8 to 16), all by default.

Prints a table, writes bench/results/<machine>.json, a plot beside it and one of shares of peak. Figures
that were not asked for keep what an earlier run wrote. Exits with 1 where a figure is missed or impossible.
Nothing else should run.
"""

import argparse
import dataclasses
import importlib
import json
import pathlib
import re
import sys

import harness

RESULTS = pathlib.Path(__file__).parent / "results"
LAST = 16
MODULES = {"tenfold": "tenfold_", "jax": "jax_", "torch": "torch_", "onnx": "onnx_"}


class Peers(dict):
    """Contenders by name, made when asked for; "hand2" is a second process of "hand"."""

    def __missing__(self, name):
        module = re.sub(r"\d+$", "", name)
        self[name] = harness.Contender(MODULES.get(module, module), name)
        return self[name]

    def close(self):
        for contender in self.values():
            contender.close()
        self.clear()


def print_table(rows):
    width = max((len(r.name) for r in rows), default=0)
    for r in rows:
        value = "-" if r.value is None else f"{r.value:.4g}"
        target = "" if r.target is None else f"{'>=' if r.at_least else '<='} {r.target:g}"
        print(f"  {r.figure}  {r.name:{width}}  {value:>9} {r.unit:<10} {target:>9}  {r.verdict}")


def plot(figures, path):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    judged = [r for f in figures.values() for r in f["rows"] if r["target"] and r["value"] is not None]
    rated = [r for f in figures.values() for r in f["rows"] if r["unit"] == "M steps/s" and r["value"]]
    height = 1.5 + 0.22 * max(len(judged), len(rated))
    left, right = plt.subplots(1, 2, figsize=(15, height), layout="constrained")[1]
    share = [
        r["value"] / r["target"] if r["at_least"] else r["target"] / max(r["value"], 1e-9) for r in judged
    ]
    left.barh(
        [f"{r['figure']}: {r['name']}" for r in judged],
        share,
        color=["C2" if s >= 1 else "C3" for s in share],
    )
    left.axvline(1, color="black", lw=1)
    left.set_title("reached / wanted (right of the line: met)")
    right.barh([f"{r['figure']}: {r['name']}" for r in rated], [r["value"] for r in rated])
    right.set_title("CartPole, million steps a second")
    for axes in (left, right):
        axes.set_xscale("log")
        axes.invert_yaxis()
        axes.tick_params(axis="y", labelsize=7)
    plt.savefig(path, dpi=110)
    plt.close()


def plot_shares(figures, path):
    """Of each figure that knows its peak, the share of it that every contender reaches, case by case."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    shares = {}  # of a figure: {contender: {case: share}}
    for f in figures.values():
        for r in f["rows"]:
            if "of peak" in r["detail"]:
                d = r["detail"]
                shares.setdefault(f["title"], {}).setdefault(d["who"], {})[d["case"]] = d["of peak"]
    if not shares:
        return
    grid = plt.subplots(len(shares), 1, figsize=(15, 6 * len(shares)), layout="constrained", squeeze=False)[1]
    for axes, (title, contenders) in zip(grid[:, 0], shares.items(), strict=True):
        cases = list(dict.fromkeys(case for found in contenders.values() for case in found))
        for k, (who, found) in enumerate(contenders.items()):
            ours = who.startswith("tenfold")
            at = [i for i, case in enumerate(cases) if case in found]
            axes.plot(
                at,
                [found[cases[i]] for i in at],
                "o-" if ours else "x",
                color=f"C{k}",
                lw=0.8,
                ms=5,
                label=who,
            )
        axes.set_xticks(range(len(cases)), cases, rotation=90, fontsize=7)
        axes.set(ylim=(0, 1.05), xlim=(-0.7, len(cases) - 0.3), title=f"{title}: share of peak")
        axes.axhline(1, color="black", lw=1)
        axes.grid(alpha=0.3)
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    plt.savefig(path, dpi=110)
    plt.close()


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    groups = {"contraction": range(8, LAST + 1)} | {str(n): [n] for n in range(1, LAST + 1)}
    parser.add_argument("figures", nargs="*", choices=groups, metavar="figure", default=[])
    parser.add_argument(
        "--results", type=pathlib.Path, default=RESULTS, help="folder of the JSON and the plot"
    )
    options = parser.parse_args()
    machine = harness.machine()
    name = re.sub(r"[^a-z0-9]+", "-", f"{machine['cpu']}-{machine['family']}".lower()).strip("-")
    path = options.results / f"{name}.json"
    figures = json.loads(path.read_text())["figures"] if path.exists() else {}
    peers, failed = Peers(), False
    asked = [number for name in options.figures for number in groups[name]]
    for number in asked or range(1, LAST + 1):
        module = importlib.import_module(f"figures.figure{number}")
        print(f"{number}. {module.TITLE}", flush=True)
        harness.notes.clear()
        rows = []
        try:
            for row in module.measure(peers):
                rows.append(row)
                print(f"  {row.name}: {row.value}", file=sys.stderr, flush=True)
        except (harness.Impossible, AssertionError) as error:
            failed = True
            harness.note(f"ERROR: {error}")
        finally:
            peers.close()
        print_table(rows)
        failed |= any(r.verdict == "MISSED" for r in rows)
        figures[str(number)] = {
            "title": module.TITLE,
            "machine": machine | harness.machine(),
            "rows": [dataclasses.asdict(r) for r in rows],
            "notes": [n.splitlines()[0] for n in harness.notes],
        }
        options.results.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"figures": figures}, indent=1) + "\n")
    if figures:
        plot(figures, path.with_suffix(".png"))
        plot_shares(figures, path.with_name(f"{name}-peak.png"))
        print(f"written: {path} and its plots")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
