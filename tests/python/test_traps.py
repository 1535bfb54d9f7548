"""The traps of lazy evaluation (docs/design.md, section 3), each closed and held closed."""

import gc
import re
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import tenfold as tn


def in_new_process(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_shape_error_is_raised_at_the_call_that_made_it():
    x = tn.ones(3)
    with pytest.raises(tn.UserError):
        x + tn.ones(4)


def test_values_are_computed_when_looked_at():
    x = tn.asarray(np.ones(4, np.float32))
    before = tn.cache_statistics()
    y = (x + 1) * 3.5 - x
    assert tn.cache_statistics() == before
    assert y.tolist() == [6.0] * 4
    assert (
        tn.cache_statistics()["misses"] + tn.cache_statistics()["hits"]
        == before["misses"] + before["hits"] + 1
    )


def test_a_changing_number_compiles_once():
    x = tn.asarray(np.ones(4, np.float32))
    (x - 0.5 * x).evaluate()
    before = tn.cache_statistics()["misses"]
    for step in range(20):
        x = x - (0.1 / (step + 1)) * x
        x.evaluate()
    assert tn.cache_statistics()["misses"] == before


def test_a_changing_number_is_an_argument_of_a_jitted_function():
    f = tn.jit(lambda x, rate: x * rate)
    assert [f(tn.ones(2), r).tolist()[0] for r in (0.5, 2.0, 3)] == [0.5, 2.0, 3.0]
    assert f.versions == 2  # a float and an integer


def test_a_repeated_operation_is_not_planned_again():
    x, y = tn.asarray(np.ones(3, np.float32)), tn.asarray(np.ones(3, np.float32))
    (x + y).evaluate()
    before = tn.cache_statistics()["misses"]
    for _ in range(5):
        x = (x + y).evaluate()
    assert tn.cache_statistics()["misses"] == before and x.tolist() == [6.0] * 3


def test_nothing_waits_for_ever():
    x = tn.zeros(2)
    for _ in range(3000):
        x = x + 1
        assert tn.pending_statistics()["nodes"] <= 513
    assert x.tolist() == [3000.0, 3000.0]


def test_waiting_results_are_bounded_in_bytes():
    out = in_new_process(
        "import os; os.environ['TENFOLD_PENDING_BYTES'] = '1000000'\n"
        "import tenfold as tn\n"
        "kept = [tn.ones(10000) + i for i in range(200)]\n"
        "print(tn.pending_statistics()['bytes'] <= 1_100_000, kept[7].tolist()[0])"
    )
    assert out == "True 8.0"


def test_waiting_operations_die_with_their_tensors():
    x = tn.ones(3)
    for _ in range(100):
        x = x * 2
    del x
    gc.collect()
    assert tn.pending_statistics()["nodes"] == 0


def test_what_was_computed_on_the_way_is_not_computed_again():
    x = tn.asarray(np.ones(3, np.float32))
    y = tn.exp(x)
    (y + 1).evaluate()
    with tn.profile() as p:
        y.tolist()
    assert p.launches == 0


def test_a_writable_array_is_copied():
    a = np.ones(4, np.float32)
    x = tn.asarray(a)
    a[:] = 7
    assert x.tolist() == [1.0] * 4


def test_a_writable_array_is_shared_when_asked_for():
    a = np.ones(4, np.float32)
    x = tn.asarray(a, copy=False)
    a[:] = 7
    assert x.tolist() == [7.0] * 4


def test_a_read_only_array_is_shared():
    a = np.ones(1000, np.float32)
    a.flags.writeable = False
    assert tn.asarray(a).numpy().ctypes.data == a.ctypes.data
    assert tn.asarray(a, copy=True).numpy().ctypes.data != a.ctypes.data


def test_sharing_a_strided_array_is_refused():
    with pytest.raises(
        tn.UserError, match="copy=False was asked for, but the ndarray is not row-major in memory"
    ):
        tn.asarray(np.ones((4, 4), np.float32).T[1:], copy=False)


def test_a_jitted_call_borrows_its_arguments():
    a = np.ones(1 << 20, np.float32)
    f = tn.jit(lambda x: tn.sum(x))
    f(a)
    before = tn.memory_statistics()["live_bytes"]
    y = f(a)
    assert tn.memory_statistics()["live_bytes"] - before < 1 << 20
    a[0] = 3
    assert y.item() == 1 << 20 and f(a).item() == (1 << 20) + 2


def test_exports_are_read_only():
    x = tn.ones(3) + 0
    for view in (x.numpy(), np.asarray(x), np.asarray(memoryview(x)), np.from_dlpack(x)):
        assert not view.flags.writeable
        with pytest.raises(ValueError):
            view[0] = 5
    assert memoryview(x).readonly


def test_an_export_outlives_its_tensor():
    view = (tn.ones(1000) * 3).numpy()
    gc.collect()
    tn.trim_memory()
    assert (view == 3).all()


def test_a_donated_array_beyond_the_caches_is_overwritten_in_place():
    def update(p, g, m):
        m = 0.5 * m + g
        return p - m, m

    p, g, m = (tn.asarray(np.full((4097, 4096), value, "f4")) for value in (3, 1, 4))
    place = p.numpy().ctypes.data
    new, momentum = tn.jit(update, donate=("p", "m"))(p, g, m)
    assert new.numpy().ctypes.data == place
    np.testing.assert_array_equal(np.unique(new), [0])
    np.testing.assert_array_equal(np.unique(momentum), [3])


def test_a_view_blocks_donation():
    step = tn.jit(lambda x: x + 1, donate=0)
    x = (tn.zeros(100) + 1).evaluate()
    view = x.numpy()
    y = step(x)
    assert (view == 1).all() and (y.numpy() == 2).all() and (x.numpy() == 1).all()


def test_donated_memory_is_reused_and_the_argument_is_gone():
    step = tn.jit(lambda x: x + 1, donate="x")
    x = (tn.zeros(1000) + 1).evaluate()
    y = step(x)
    with pytest.raises(tn.UserError, match="was donated at test_traps"):
        x + 1
    assert y.tolist()[0] == 2.0


def test_donating_an_argument_that_is_passed_twice_copies():
    step = tn.jit(lambda x, y: x + y[::-1], donate=0)
    x = tn.arange(4).evaluate()
    assert step(x, x).tolist() == [3, 3, 3, 3] and x.tolist() == [0, 1, 2, 3]


def test_updating_a_donated_argument_moves_the_slice_alone():
    def store(cache, row, i):
        return tn.update_slice(cache, row[None] * 2, (i, 0))

    cache = (tn.zeros((1000, 64)) + 1).evaluate()
    want = cache.numpy().copy()
    e = tn.explain(store, cache, tn.ones(64), 7, donate="cache")
    assert e.bytes_read + e.bytes_written < 2000 and e.notes == []
    assert tn.explain(store, cache, tn.ones(64), 7).bytes_written >= cache.numpy().nbytes
    step = tn.jit(store, donate="cache")
    cache = (tn.zeros((1000, 64)) + 1).evaluate()
    for i in (0, 7, 999, 5000):
        cache = step(cache, tn.full((64,), float(i)), i)
        want[min(i, 999)] = 2 * i
    assert np.array_equal(cache.numpy(), want)


def test_python_constants_do_not_change_a_jitted_functions_results():
    scale = {"value": 2.0}
    f = tn.jit(lambda x: x * scale["value"])
    assert f(tn.ones(1)).tolist() == [2.0]


def test_imports_are_light():
    out = in_new_process(
        "import sys, time; t = time.perf_counter(); import tenfold; t = time.perf_counter() - t\n"
        "maps = open('/proc/self/maps').read()\n"
        "print('numpy' in sys.modules, 'libLLVM' in maps, t < 0.5)"
    )
    assert out == "False False True"


def test_products_and_convolutions_are_nobody_elses(tmp_path, monkeypatch):
    """No library of products or convolutions is loaded, not even after some ran; NumPy would bring one."""
    monkeypatch.setenv("TENFOLD_CACHE_DIR", str(tmp_path))  # no kernel of an earlier run: all are compiled
    objects = in_new_process(
        "import tenfold as tn\n"
        "x, image, taps = tn.ones((64, 300)), tn.ones((1, 8, 20, 20)), tn.ones((8, 8, 3, 3))\n"
        "assert (x @ x.T).tolist()[63][63] == 300 and tn.conv(image, taps).tolist()[0][0][5][5] == 72\n"
        "half = x.astype(tn.bfloat16)\n"
        "turned = x.astype(tn.complex64) * 1j\n"
        "assert (half @ half.T).tolist()[0][0] == 300 and (turned @ turned.T).tolist()[0][0] == -300\n"
        "print(*sorted({line.split()[5] for line in open('/proc/self/maps') if line.count('/')}))"
    ).split()
    names = [path.rsplit("/", 1)[-1] for path in objects]
    assert any(name.startswith("libtenfold_llvm") for name in names), names  # kernels were compiled
    foreign = re.compile(
        r"blas|lapack|mkl|blis|dnn|xnn|xsmm|eigen|torch|fbgemm|armpl|accelerate|gomp|onnx", re.I
    )
    assert not list(filter(foreign.search, names)), names


def test_threads_may_look_at_one_tensor():
    x = tn.asarray(np.arange(1000, dtype=np.float32))
    for _ in range(20):
        y = tn.sum(x * 2)
        got = []
        threads = [threading.Thread(target=lambda y=y, got=got: got.append(y.item())) for _ in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert got == [999000.0] * 4


def test_calls_release_the_gil():
    def slow(x):
        return tn.scan(lambda c, t: (tn.sin(c), None), x, length=20000)[0]

    f = tn.jit(slow)
    x = np.ones(512, np.float32)
    f(x)
    ticks = []
    stop = threading.Event()

    def tick():
        while not stop.is_set():
            ticks.append(time.perf_counter())
            time.sleep(0.0005)

    t = threading.Thread(target=tick)
    t.start()
    start = time.perf_counter()
    f(x).evaluate()
    end = time.perf_counter()
    stop.set()
    t.join()
    assert sum(start < tick < end for tick in ticks) >= 2 or end - start < 0.005


def test_ctrl_c_stops_between_launches():
    out = in_new_process(
        "import signal, os, threading, time, tenfold as tn, numpy as np\n"
        "f = tn.jit(lambda x: tn.while_loop(lambda c: tn.sum(c) > -1.0, lambda c: tn.abs(c - tn.mean(c)) + 1.0, x))\n"
        "threading.Timer(3.0, lambda: os.kill(os.getpid(), signal.SIGINT)).start()\n"
        "t = time.time()\n"
        "try:\n"
        "    f(np.ones((256, 256), np.float32)); print('ended')\n"
        "except KeyboardInterrupt:\n"
        "    print('stopped')\n"
    )
    assert out == "stopped"


def test_what_was_computed_from_a_donated_tensor_keeps_its_value():
    step = tn.jit(lambda w, g: w - 0.1 * g, donate=("w",))
    w = tn.ones(4)
    norm, double = tn.sum(w * w), w + w  # both wait
    later = norm * 2
    w = step(w, tn.ones(4))
    assert (norm.item(), later.item()) == (4, 8)
    np.testing.assert_array_equal(double, [2, 2, 2, 2])
    np.testing.assert_allclose(w, [0.9] * 4)


def test_what_cannot_be_had_is_told_to_who_asks():
    huge = tn.zeros((2**40,))
    np.testing.assert_array_equal(tn.ones(3) + 1, [2, 2, 2])
    more = huge + 1
    np.testing.assert_array_equal(tn.ones(3) * 2, [2, 2, 2])
    with pytest.raises(tn.DeviceError, match=r"f32\[1099511627776\], made at test_traps.py"):
        more.numpy()
    np.testing.assert_array_equal(tn.ones(3) + 2, [3, 3, 3])
