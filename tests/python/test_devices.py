"""Arrays on a device: where they are, explicit copies, errors that say what to write. PoCL in CI."""

import os
import subprocess
import sys

import numpy as np
import pytest

import tenfold as tn

A = np.arange(12, dtype=np.float32).reshape(3, 4)


def device():
    try:
        return tn.device("opencl:0")
    except tn.DeviceError as error:
        pytest.skip(f"no OpenCL device: {error}")


def test_the_cpu_is_a_device():
    cpu = tn.device("cpu")
    x = tn.asarray(A, device=cpu)
    assert x.device == cpu == "cpu" and str(x.device) == "cpu"
    assert x.to("cpu").numpy().tolist() == A.tolist()
    assert tn.devices()[0][0] == "cpu"


def test_arrays_live_somewhere():
    d = device()
    x = tn.asarray(A, device=d)
    assert x.device == d == "opencl:0" and repr(d) == 'tenfold.device("opencl:0")'
    y = x * 2 + 1
    assert y.device == d
    np.testing.assert_array_equal(y.numpy(), A * 2 + 1)
    assert y.tolist() == (A * 2 + 1).tolist()
    assert float(y.sum()) == (A * 2 + 1).sum()
    assert repr(y) == repr(y.to("cpu"))
    for made in (
        tn.zeros((2, 3), device=d),
        tn.ones(3, device=d),
        tn.full((2,), 7, device=d),
        tn.eye(3, device=d),
    ):
        assert made.device == d
    np.testing.assert_array_equal(tn.arange(5, device=d).numpy(), np.arange(5))
    assert tn.zeros_like(x).device == d
    with d:
        assert tn.zeros(3).device == d and tn.asarray([1, 2]).device == d
    assert tn.zeros(3).device == "cpu"


def test_windows():
    d = device()
    x = np.arange(2 * 6 * 9 * 11, dtype=np.float32).reshape(2, 6, 9, 11) % 7
    w = np.arange(8 * 3 * 3 * 3, dtype=np.float32).reshape(8, 3, 3, 3) % 5

    def layer(x, w):
        y = tn.maximum(tn.conv(x, w, padding="same", groups=2, stride=(1, 2)) - 40, 0)
        return tn.max_pool(y, 3, stride=2, padding=1) + tn.mean_pool(y, 3, stride=2, padding=1)

    for f in (layer, tn.grad(lambda x, w: tn.sum(layer(x, w))), tn.grad(lambda x, w: tn.sum(layer(x, w)), 1)):
        there = tn.jit(f)(tn.asarray(x, device=d), tn.asarray(w, device=d))
        assert there.device == d
        np.testing.assert_allclose(there.numpy(), tn.jit(f)(x, w).numpy(), rtol=1e-5)


def test_random_bits_are_the_same():
    d = device()
    key = tn.random.key(5)
    there = tn.random.key(5, device=d)
    np.testing.assert_array_equal(tn.random.bits(there, (50,)).numpy(), tn.random.bits(key, (50,)).numpy())
    np.testing.assert_array_equal(
        tn.random.normal(there, (50,)).numpy(), tn.random.normal(key, (50,)).numpy()
    )


def test_jit_runs_where_its_arguments_are():
    d = device()
    f = tn.jit(lambda x, scale: {"y": tn.tanh(x) * scale, "s": tn.sum(x, axis=1)})
    x = tn.asarray(A, device=d)
    there, here = f(x, 0.5), f(A, 0.5)
    assert there["y"].device == d and here["y"].device == "cpu"
    for name in here:
        np.testing.assert_array_equal(there[name].numpy(), here[name].numpy())
    assert f.versions == 2
    text = str(tn.explain(f, x, 0.5))
    assert "device       opencl:0" in text and "machine      pocl" in text
    assert "__kernel void" in tn.explain(f, x, 0.5).listing("c")


def test_mixing_says_what_to_write():
    d = device()
    x = tn.asarray(A, device=d)
    with pytest.raises(
        tn.UserError, match=r'add: the arguments are on two devices(.|\n)*write x.to."opencl:0".'
    ):
        x + tn.ones((3, 4))
    with pytest.raises(
        tn.UserError, match=r'an array f32\[3,4\] on the cpu(.|\n)*asarray.a, device="opencl:0".'
    ):
        tn.jit(lambda a, b: a + b)(x, A)
    for look in (memoryview, np.asarray, np.from_dlpack):
        with pytest.raises((tn.UserError, BufferError), match="opencl:0"):
            look(x)
    with pytest.raises(tn.UserError, match='there is no device "tpu"'):
        tn.device("tpu")
    with pytest.raises(tn.DeviceError, match="device opencl:77"):
        x.to("opencl:77")


@pytest.mark.parametrize(
    ("kind", "install"),
    [("opencl", "Install an OpenCL loader and a driver"), ("cuda", "Install NVIDIA's driver")],
)
def test_a_missing_library_leaves_the_cpu(kind, install):
    program = (
        "import tenfold as tn\n"
        f"try: tn.device('{kind}:0')\n"
        "except tn.DeviceError as e: print(e)\n"
        f"print(tn.ones(3).sum().item(), [d for d in tn.devices() if d[0].startswith('{kind}')])\n"
    )
    environment = {**os.environ, f"TENFOLD_{kind.upper()}_LIBRARY": "libnothing.so"}
    out = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    ).stdout
    assert f"device {kind}:0: cannot open libnothing.so" in out
    assert install in out and "The cpu goes on working." in out
    assert f"3.0 [('{kind}', " in out
