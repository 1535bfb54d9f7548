"""Timing contenders against each other: one process each, asked in turn, undisturbed by other thread pools.

A contender is a module of bench/peers with `prepare(case) -> Prepared`. Cases are plain dicts.
"""

import dataclasses
import datetime
import importlib
import importlib.metadata
import multiprocessing
import os
import pathlib
import platform
import re
import sys
import time
import traceback

import numpy as np

THREADS = 2
ROUNDS = 5  # A B A B ...
SLICE = 0.25  # seconds of repetitions per contender and round


@dataclasses.dataclass
class Prepared:
    """run() does all the work and waits for it; outputs() gives arrays to check; units of work in a run."""

    run: object
    outputs: object
    units: float = 1.0


def _time(prepared, seconds):
    runs, start = [], time.perf_counter()
    while not runs or time.perf_counter() - start < seconds:
        before = time.perf_counter()
        prepared.run()
        runs.append(time.perf_counter() - before)
    return float(np.median(runs)), float(np.min(runs))


def _serve(pipe, module):
    prepared = {}
    while True:
        try:
            request, argument = pipe.recv()
        except EOFError:  # whoever asked is gone
            return
        try:
            if request == "prepare":
                prepared.clear()
                prepared[0] = importlib.import_module(f"peers.{module}").prepare(argument)
                for _ in range(3):  # fresh pages are paid for, caches are filled
                    prepared[0].run()
                answer = prepared[0].units
            elif request == "time":
                answer = _time(prepared[0], argument)
            elif request == "outputs":
                answer = {k: np.asarray(v) for k, v in prepared[0].outputs().items()}
            elif request == "call":
                name, arguments = argument
                answer = getattr(importlib.import_module(f"peers.{module}"), name)(**arguments)
            else:
                return
            pipe.send((True, answer))
        except Exception:
            pipe.send((False, traceback.format_exc()))


class Unavailable(Exception):
    """The contender cannot do this; its message says why."""


class Contender:
    """A process with one library in it. `environment` is set before it starts."""

    _spawn = multiprocessing.get_context("spawn")

    def __init__(self, module, label=None, **environment):
        self.module, self.label, self.environment = module, label or module, environment
        self.process = None

    def ask(self, request, argument=None):
        if self.process is None:
            kept = {k: os.environ.get(k) for k in self.environment}
            os.environ.update(self.environment)
            self.pipe, other = self._spawn.Pipe()
            self.process = self._spawn.Process(target=_serve, args=(other, self.module), daemon=True)
            self.process.start()
            other.close()
            for k, v in kept.items():
                os.environ.pop(k) if v is None else os.environ.__setitem__(k, v)
        self.pipe.send((request, argument))
        try:
            good, answer = self.pipe.recv()
        except (EOFError, OSError):
            self.process = None
            raise Unavailable(f"{self.label}: its process died") from None
        if not good:
            raise Unavailable(f"{self.label}: {answer.strip().splitlines()[-1]}\n{answer}")
        return answer

    def call(self, function, **arguments):
        return self.ask("call", (function, arguments))

    def close(self):
        if self.process:
            self.pipe.send(("stop", None))
            self.process.join(5)
            self.process.kill()
            self.process = None


@dataclasses.dataclass
class Timing:
    """Seconds a run, one entry a round; `rate` is units a second."""

    units: float
    rounds: list
    best: float

    @property
    def seconds(self):
        return float(np.median(self.rounds))

    @property
    def rate(self):
        return self.units / self.seconds


def interleave(contenders, cases, check=None, rounds=ROUNDS, seconds=SLICE, pause=0):
    """{name: Timing} of contenders {name: Contender} on `cases` (one case, or {name: case}).

    All are prepared, and their outputs given to `check(name, outputs)`, before anything is timed. Who cannot
    run is reported and left out.
    """
    ready = {}
    for name, contender in contenders.items():
        case = cases.get(name, cases)
        try:
            units = contender.ask("prepare", case)
            if check:
                check(name, contender.ask("outputs"))
            ready[name] = Timing(units, [], np.inf)
        except Unavailable as error:
            note(f"left out: {error}")
    for _ in range(rounds):
        for name, timing in ready.items():
            time.sleep(pause)  # until the threads of who ran before no longer spin
            median, best = contenders[name].ask("time", seconds)
            timing.rounds.append(median)
            timing.best = min(timing.best, best)
    return ready


def ratio(timings, a, b):
    """How many times faster a is than b: the median of the ratios of the rounds; None if one is missing."""
    if a not in timings or b not in timings:
        return None
    a, b = timings[a], timings[b]
    return float(np.median([tb / b.units * a.units / ta for ta, tb in zip(a.rounds, b.rounds, strict=True)]))


def fastest(contenders, cases, check=None):
    """The names of the fastest case of each contender's label, {label: (name, rate)}: one short look at each.

    contenders {name: Contender}, cases {name: case}; the label of "jax/batched, 4096" is "jax".
    """
    best = {}
    for name, contender in contenders.items():
        timing = interleave({name: contender}, {name: cases[name]}, check, rounds=1, seconds=0.5).get(name)
        label = name.split("/")[0]
        if timing and (label not in best or timing.units / timing.best > best[label][1]):
            best[label] = (name, timing.units / timing.best)
    return best


def quickest(calls, seconds=0.03):
    """The call whose best run is shortest: a short look at each. Who raises is passed over."""
    best, chosen, last = np.inf, None, None
    for call in calls:
        try:
            for _ in range(2):
                call()
            taken = _time(Prepared(call, None), seconds)[1]
        except Exception as error:
            last = error
            continue
        if taken < best:
            best, chosen = taken, call
    if chosen is None:
        raise last
    return chosen


def rates(figure, label, timings, unit, peak=None):
    """A row for each contender's rate in G `unit` a second; beside a peak, its share of that is plotted."""
    for name, t in timings.items():
        rate = t.rate / 1e9
        detail = (
            {"case": label, "who": name, "of peak": at_most(label, rate, peak, unit) / peak} if peak else {}
        )
        yield Row(figure, f"{label}, {name}", rate, unit, detail=detail)


def against_best(figure, label, contenders, cases, check, unit, peak=None, **how):
    """Rows of each contender's rate; the last is our fastest ("tenfold...") over the fastest other."""
    timings = interleave(contenders, cases, check, **how)
    first = lambda ours: max(
        (name for name in timings if name.startswith("tenfold") == ours),
        key=lambda name: timings[name].rate,
        default=None,
    )
    ours, peer = first(True), first(False)
    found = Row(figure, f"{label}, {ours} / {peer}", ratio(timings, ours, peer), "x")
    return [*rates(figure, label, timings, unit, peak), found]


def geomean(values):
    values = [v for v in values if v]
    return float(np.exp(np.mean(np.log(values)))) if values else None


notes = []


def note(text):
    notes.append(text)
    print("  " + text.splitlines()[0], file=sys.stderr, flush=True)


@dataclasses.dataclass
class Row:
    """A line of the table: `value`, wanted `at_least` (or at most) `target`; JSON keeps `detail` too."""

    figure: int
    name: str
    value: float | None
    unit: str = ""
    target: float | None = None
    at_least: bool = True
    detail: dict = dataclasses.field(default_factory=dict)

    @property
    def verdict(self):
        if self.target is None:
            return ""
        if self.value is None:
            return "not measured"
        return (
            "met" if (self.value >= self.target) == self.at_least or self.value == self.target else "MISSED"
        )


class Impossible(Exception):
    """A figure above what the machine can do: the measurement is wrong."""


def at_most(what, value, limit, unit):
    if value > 1.03 * limit:
        raise Impossible(f"{what}: {value:.4g} {unit} is above the machine's {limit:.4g} {unit}")
    return value


def machine():
    """Who measured: CPU, date, versions."""
    info = pathlib.Path("/proc/cpuinfo").read_text()
    field = lambda name: (re.search(rf"^{name}\s*:\s*(.*)$", info, re.M) or [None, "?"])[1].strip()
    versions = {}
    for package in ("torch", "jax", "jaxlib", "onnxruntime", "envpool", "gymnasium", "numpy"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    return {
        "cpu": field("model name"),
        "family": f"{field('cpu family')}/{field('model')}",
        "cores": os.cpu_count(),
        "avx512": "avx512f" in info,
        "load": os.getloadavg()[0],
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "versions": versions,
    }
