"""Plain NumPy: the numbers that every contender must produce, and the checks of the hand loops.

`python bench/reference.py` checks the hand loops by themselves.
"""

import numpy as np

_U64 = np.uint64
_DOMAIN, _FOLD_IN, _SPLIT = 0x1BD11BDA, 1, 2  # tenfold/ir/prims/random.cc


def philox(counter, key):
    """Philox4x32-10: four words u32[..] from a counter of four and a key of two, broadcast together."""
    c = [np.asarray(x, _U64) for x in counter]
    k = [np.asarray(x, _U64) for x in key]
    low = _U64(0xFFFFFFFF)
    for _ in range(10):
        p0, p1 = _U64(0xD2511F53) * c[0], _U64(0xCD9E8D57) * c[2]
        c = [(p1 >> _U64(32)) ^ c[1] ^ k[0], p1 & low, (p0 >> _U64(32)) ^ c[3] ^ k[1], p0 & low]
        k = [(k[0] + _U64(0x9E3779B9)) & low, (k[1] + _U64(0xBB67AE85)) & low]
    return [x.astype("u4") for x in np.broadcast_arrays(*c)]


def _keys(words):
    return np.ascontiguousarray(np.stack(words[:2], -1))


def fold_in(key, n):
    return _keys(philox((n, 0, _DOMAIN, _FOLD_IN), (key[..., 0], key[..., 1])))


def split(key, n):
    return _keys(philox((np.arange(n), 0, _DOMAIN, _SPLIT), (key[..., 0], key[..., 1])))


def bits(key, j):
    return np.choose(np.asarray(j) % 4, philox((np.asarray(j) // 4, 0, 0, 0), (key[..., 0], key[..., 1])))


def key(seed):
    return np.array([seed & 0xFFFFFFFF, seed >> 32], "u4")


# ---- the rollout's derivations: beside these, only bench/hand/cartpole.h knows them


def random_actions(keys, t):
    return bits(fold_in(keys, 0), t) >> np.uint32(31)


def fresh_states(keys, n):
    """States after n steps begun: f32[..,4] in [-0.05, 0.05)."""
    words = philox((0, 0, 0, 0), np.moveaxis(fold_in(fold_in(keys, 1), n), -1, 0))
    return (np.stack(words, -1) >> np.uint32(8)) * 2.0**-24 * 0.1 - 0.05


def cartpole_step(state, action):
    """gymnasium's CartPole-v1, one step in f64: (state, terminated)."""
    x, v, theta, omega = np.moveaxis(np.asarray(state, "f8"), -1, 0)
    force = np.where(action == 1, 10.0, -10.0)
    cos, sin = np.cos(theta), np.sin(theta)
    temp = (force + 0.05 * omega**2 * sin) / 1.1
    alpha = (9.8 * sin - cos * temp) / (0.5 * (4 / 3 - 0.1 * cos**2 / 1.1))
    accel = temp - 0.05 * alpha * cos / 1.1
    new = np.stack([x + 0.02 * v, v + 0.02 * accel, theta + 0.02 * omega, omega + 0.02 * alpha], -1)
    return new, (abs(new[..., 0]) > 2.4) | (abs(new[..., 2]) > 12 * 2 * np.pi / 360)


def check_trajectory(out, keys, actions=random_actions, atol=1e-6):
    """Every step of an emitted rollout: actions as agreed, physics, flags, time limit, resets."""
    obs, act, done = out["obs"], out["action"], (out["terminated"] | out["truncated"]).astype(bool)
    steps, envs = act.shape
    for t in range(steps):
        if actions is not None and not np.array_equal(act[t], actions(keys, t)):
            raise AssertionError(f"actions of step {t} differ")
    new, terminated = cartpole_step(obs[:-1], act[:-1])
    limit = np.minimum(abs(abs(new[..., 0]) - 2.4), abs(abs(new[..., 2]) - 12 * 2 * np.pi / 360))
    if np.any((terminated != out["terminated"][:-1].astype(bool)) & (limit > 1e-5)):
        raise AssertionError("terminated differs from gymnasium's rule")
    elapsed = np.zeros(envs, int)
    for t in range(steps):
        elapsed += 1
        if np.any((elapsed >= 500) != out["truncated"][t].astype(bool)):
            raise AssertionError(f"truncated is wrong at step {t}")
        elapsed[done[t]] = 0
    fresh = np.stack([fresh_states(keys, n) for n in range(steps)])
    want = np.where(done[:-1, :, None], fresh[1:], new)
    error = max(abs(obs[1:] - want).max(), abs(obs[0] - fresh[0]).max())
    if error > atol:
        raise AssertionError(f"states differ by {error}")
    if not np.array_equal(out["episodes"], done.sum(0)) or not np.allclose(
        out["returns"], out["reward"].sum(0)
    ):
        raise AssertionError("returns or episodes are not those of the trajectory")
    return error


def _ulps(got, exact):
    return np.max(abs(got - exact) / np.spacing(np.abs(exact).astype("f4")).astype("f8"))


def main():
    import ctypes

    import hand

    keys = split(key(7), 256)
    run, folded = hand.rollout(keys, 600)
    run()
    run, packed = hand.rollout(keys, 600, packed=True)
    run()
    for streaming in (False, True):
        run, out = hand.rollout(keys, 600, emit=True, streaming=streaming)
        run()
        print("trajectory: greatest error", check_trajectory(out, keys))
        for name in ("returns", "episodes"):
            assert np.array_equal(out[name], folded[name]) and np.array_equal(out[name], packed[name]), name

    lib = hand.loops()
    x = np.linspace(-0.5, 0.5, 1 << 24, dtype="f4")
    sine, cosine = np.empty_like(x), np.empty_like(x)
    lib.hand_sincos(*map(hand.pointer, (x, sine, cosine)), ctypes.c_int64(len(x)))
    ok = x != 0
    wide = x.astype("f8")
    print("ulps: sin", _ulps(sine[ok], np.sin(wide[ok])), "cos", _ulps(cosine, np.cos(wide)))
    x = np.concatenate([np.linspace(-10, 10, 1 << 22), np.geomspace(1e-6, 10, 1 << 20)]).astype("f4")
    y = np.empty_like(x)
    lib.hand_tanh(*map(hand.pointer, (x, y)), ctypes.c_int64(len(x)))
    print("ulps: tanh", _ulps(y[x != 0], np.tanh(x[x != 0].astype("f8"))))


if __name__ == "__main__":
    main()
