"""tenfold in small: graph -> plan -> tile -> code, in the words of the real one. Run it; it checks itself.

A program is a graph of nodes. The plan cuts it into clusters by one cost, the bytes moved. Each cluster
becomes a tile program, which is printed, counted, and turned into code: here Python that runs over rows with
NumPy. Left out: tiles smaller than a row, scratch, several targets, gradients, symbolic shapes.
"""

from dataclasses import dataclass
from itertools import count

import numpy as np

# ---- ir: a primitive is one record, a node is a value of the graph


@dataclass(frozen=True)
class Prim:
    """What an operation is: its meaning, and which part of its input a part of its output needs."""

    name: str
    kind: str  # leaf, map, reduce, move or control: passes ask for the kind, never for the name
    meaning: object = None  # of arrays
    relation: object = None  # (node, atoms of the output's dimensions, fresh) -> those of each input


def same(node, atoms, fresh):
    return [atoms] * len(node.inputs)


def reduced(node, atoms, fresh):  # the last axis is whole: a fresh atom
    return [(*atoms, fresh(node.inputs[0].shape[-1]))]


def broadcast(node, atoms, fresh):  # along a new last axis: the input does not have its atom
    return [atoms[:-1]]


PRIMS = {
    p.name: p
    for p in (
        Prim("input", "leaf"),
        Prim("add", "map", np.add, same),
        Prim("sub", "map", np.subtract, same),
        Prim("mul", "map", np.multiply, same),
        Prim("div", "map", np.divide, same),
        Prim("exp", "map", np.exp, same),
        Prim("scale", "map", lambda x, by: x * by, same),
        Prim("max", "reduce", lambda x: x.max(-1), reduced),
        Prim("sum", "reduce", lambda x: x.sum(-1), reduced),
        Prim("broadcast", "move", lambda x, n: np.repeat(x[..., None], n, -1), broadcast),
        Prim("transpose", "move", lambda x: x.T, lambda node, atoms, fresh: [atoms[::-1]]),
        Prim("scan", "control", relation=same),
    )
}


NODES = {}


class Node:
    """Immutable and hash-consed: two nodes that say the same are one."""

    def __new__(cls, prim, inputs=(), attr=None, shape=None):
        key = (prim, tuple(map(id, inputs)), attr, shape)
        if key not in NODES:
            node = NODES[key] = super().__new__(cls)
            node.prim, node.inputs, node.attr = PRIMS[prim], tuple(inputs), attr
            node.shape = shape or node.infer()
        return NODES[key]

    def infer(self):
        shapes = {i.shape for i in self.inputs}
        if self.prim.kind in ("map", "control") and len(shapes) != 1:
            raise ValueError(f"{self.prim.name}: the inputs are {shapes}; broadcast one to the other's shape")
        (shape, *_) = [i.shape for i in self.inputs]
        return {
            "max": shape[:-1], "sum": shape[:-1], "transpose": shape[::-1], "broadcast": (*shape, self.attr)
        }.get(self.prim.name, shape)  # fmt: skip

    @property
    def bytes(self):
        return 4 * int(np.prod(self.shape))


def topological(results):
    """Inputs first, without recursion."""
    order, done, stack = [], set(), [(r, False) for r in results]
    while stack:
        node, ready = stack.pop()
        if ready and node not in done:
            done.add(node)
            order.append(node)
        elif node not in done:
            stack += [(node, True), *((i, False) for i in node.inputs)]
    return order


def evaluate(results, values):
    """The reference interpreter: the plain meaning, which everything else is compared with."""
    values = dict(values)
    for node in topological(results):
        if node in values:
            continue
        inputs = [values[i] for i in node.inputs]
        if node.prim.kind == "control":
            (length, body), (carry,) = node.attr, inputs
            for _ in range(length):
                carry = body(carry)
            values[node] = carry
        else:
            extra = () if node.attr is None else (node.attr,)
            values[node] = node.prim.meaning(*inputs, *extra)
    return [values[r] for r in results]


# ---- plan: relations say what may be one kernel, bytes say what should be


class Barrier(Exception):
    """No one kernel does this; its message is what `explain` says."""


class Instances:
    """Demands propagated from what a cluster stores to what it loads. An atom is a loop axis."""

    def __init__(self, nodes, stores):
        self.extent, self.atoms, names = {}, {}, count()

        def fresh(extent):
            atom = f"a{next(names)}"
            self.extent[atom] = extent
            return atom

        inside, grid = set(nodes), None
        for store in stores:
            atoms = tuple(map(fresh, store.shape)) if grid is None else grid[: len(store.shape)]
            grid = grid or atoms
            self.ask(store, atoms)
        for node in reversed(topological(stores)):
            if node in inside and node in self.atoms:
                demands = node.prim.relation(node, self.atoms[node], fresh)
                for i, atoms in zip(node.inputs, demands, strict=True):
                    self.ask(i, atoms)
        self.grid = grid[:-1] if len(grid) > 1 else grid
        for node in nodes:  # the grid runs over whole rows
            if node in self.atoms and self.atoms[node][: len(self.grid)] != self.grid:
                raise Barrier(f"{node.prim.name} needs more than the rows of one block")

    def index(self, node):
        """Where a block finds its part of a value in memory: a row, or a column of a transposed one."""
        return ", ".join(f"block[{self.grid.index(a)}]" if a in self.grid else ":" for a in self.atoms[node])

    def ask(self, node, atoms):
        """Two demands of one value are one if their forms unify (here: a last atom takes the old name)."""
        known = self.atoms.setdefault(node, atoms)
        if [self.extent[a] for a in known] != [self.extent[a] for a in atoms]:
            raise Barrier(f"{node.prim.name} is asked for in two orders")
        if known[:-1] != atoms[:-1]:
            raise Barrier(f"{node.prim.name} is asked for at two places")


@dataclass
class Kernel:
    """A tile program: for every block, statements over whole rows."""

    loads: list
    body: list
    stores: list
    blocks: tuple
    index: dict

    def __str__(self):
        name = {n: f"%{k}" for k, n in enumerate(self.loads + self.body)}
        lines = [f"  grid {' x '.join(map(str, self.blocks))} {{"]
        lines += [f"    {name[n]} = load {n.attr or 'value'}[{self.index[n]}]" for n in self.loads]
        for n in self.body:
            lines.append(f"    {name[n]} = {n.prim.name} {', '.join(name[i] for i in n.inputs)}")
        lines += [f"    store {name[n]} at [{self.index[n]}]" for n in self.stores]
        return "\n".join([*lines, "  }"])

    @property
    def bytes(self):
        """The cost of a cluster is the count of its program: there is no second model."""
        return sum(n.bytes for n in self.loads), sum(n.bytes for n in self.stores)


def lower(nodes, results, users):
    inside = set(nodes)
    stores = [n for n in nodes if n in results or any(u not in inside for u in users[n])]
    instances = Instances(nodes, stores)
    body = [n for n in topological(stores) if n in inside]
    loads = list(dict.fromkeys(i for n in body for i in n.inputs if i not in inside))
    index = {n: instances.index(n) for n in (*loads, *stores)}
    return Kernel(loads, body, stores, tuple(instances.extent[a] for a in instances.grid), index)


def plan(results, fuse=True):
    """Every node alone, then greedy merges as long as bytes fall: kernels in order, and why not fewer."""
    order = [n for n in topological(results) if n.prim.kind != "leaf"]
    users = {n: [u for u in order if n in u.inputs] for n in topological(results)}
    clusters, notes = [(n,) for n in order], []
    place = {n: k for k, n in enumerate(order)}

    def try_merge(a, b):
        merged = tuple(sorted({*a, *b}, key=place.get))
        inside, seen = set(merged), set()
        work = [u for n in merged for u in users[n] if u not in inside]  # a path that leaves must not return
        while work:
            n = work.pop()
            if n in inside:
                raise Barrier("a path leaves the cluster and comes back")
            if n not in seen:
                seen.add(n)
                work += users[n]
        before = sum(sum(lower(c, results, users).bytes) for c in (a, b))
        return before - sum(lower(merged, results, users).bytes), merged

    while fuse:
        best = (0, None)
        for b in clusters:
            for a in clusters:
                if a is b or not any(i in a for n in b for i in n.inputs):
                    continue
                try:
                    gain, merged = try_merge(a, b)
                    best = max(best, (gain, (merged, a, b)), key=lambda g: g[0])
                except Barrier as why:
                    notes.append(str(why))
        if best[1] is None:
            break
        merged, a, b = best[1]
        clusters = [c for c in clusters if c not in (a, b)] + [merged]
    kernels = [lower(c, results, users) for c in sorted(clusters, key=lambda c: max(map(place.get, c)))]
    return kernels, sorted(set(notes))


# ---- target: a tile program becomes code


def compile_kernel(kernel):
    """Python source, for a row at a time; what stays between load and store never touches memory."""
    name = {n: f"v{k}" for k, n in enumerate(kernel.loads + kernel.body)}
    extra, lines = {}, ["def run(memory):", f"    for block in np.ndindex({kernel.blocks}):"]
    for n in kernel.loads:
        lines.append(f"        {name[n]} = memory[{name[n]!r}][{kernel.index[n]}]")
    for n in kernel.body:
        inputs = [name[i] for i in n.inputs]
        extra[f"f_{name[n]}"] = n.prim.meaning
        if n.prim.kind == "control":  # the carry of a step needs the same tile of the step before: one kernel
            length, extra[f"f_{name[n]}"] = n.attr
            lines += [f"        {name[n]} = {inputs[0]}", f"        for step in range({length}):"]
            lines.append(f"            {name[n]} = f_{name[n]}({name[n]})")
            continue
        if n.attr is not None:
            inputs.append(repr(n.attr))
        lines.append(f"        {name[n]} = f_{name[n]}({', '.join(inputs)})")
    lines += [f"        memory[{name[n]!r}][{kernel.index[n]}] = {name[n]}" for n in kernel.stores]
    scope = {"np": np, **extra}
    exec("\n".join(lines), scope)
    return scope["run"], name


def run(kernels, results, values):
    values = dict(values)
    for kernel in kernels:
        code, name = compile_kernel(kernel)
        for n in kernel.stores:
            values[n] = np.empty(n.shape, "f4")
        code({name[n]: values[n] for n in (*kernel.loads, *kernel.stores)})
    return [values[r] for r in results]


def explain(kernels, results):
    read, written = (sum(k.bytes[side] for k in kernels) for side in (0, 1))
    leaves = [n for n in topological(results) if n.prim.kind == "leaf"]
    least = sum(n.bytes for n in leaves) + sum(r.bytes for r in results)
    return f"{len(kernels)} launches, {read} bytes read, {written} written; least {least}"


# ---- programs


def tensor(name, *shape):
    return Node("input", attr=name, shape=shape)


def softmax(x):
    n = x.shape[-1]
    e = Node("exp", [Node("sub", [x, Node("broadcast", [Node("max", [x])], n)])])
    return Node("div", [e, Node("broadcast", [Node("sum", [e])], n)])


def pendulum(state):
    """One step; plain NumPy, traced by nobody: the toy's scan takes its body as a function."""
    return state + np.float32(0.05) * np.sin(state)


def check(title, results, shapes, launches):
    random = np.random.default_rng(0)
    values = {x: random.standard_normal(x.shape, dtype="f4") for x in shapes}
    want = evaluate(results, values)
    kernels, notes = plan(results)
    for fused in (kernels, plan(results, fuse=False)[0]):
        for got, expected in zip(run(fused, results, values), want, strict=True):
            np.testing.assert_allclose(got, expected, rtol=1e-5)
    assert len(kernels) == launches, f"{title}: {len(kernels)} launches, not {launches}"
    print(f"{title}: {explain(kernels, results)}")
    print(f"  one at a time: {explain(plan(results, fuse=False)[0], results)}")
    print(*(f"  not fused: {n}\n" for n in notes), *map(str, kernels), sep="\n")
    return kernels


def main():
    x, y = tensor("x", 64, 1024), tensor("y", 64, 1024)
    (kernel,) = check("softmax", [softmax(x)], [x], 1)
    assert kernel.bytes == (x.bytes, x.bytes)  # read once, written once
    check("softmax of a sum, and the sum", [softmax(s := Node("add", [x, y])), s], [x, y], 1)
    rolled = Node("scan", [Node("scale", [x], 0.1)], (100, pendulum))
    check("a hundred steps in one kernel", [Node("sum", [rolled])], [x], 1)
    square = tensor("square", 48, 48)
    check("rows and columns", [Node("add", [softmax(square), Node("transpose", [square])])], [square], 2)


if __name__ == "__main__":
    main()
