"""JAX: CartPole as a scan over a batched step or as a vmapped scan of one environment (gymnax), both
generators; the memory-bound set."""

import jax
import jax.numpy as jnp
import numpy as np
from harness import Prepared

from . import ops, policy_weights

LIMIT = 12 * 2 * np.pi / 360


def prepare(case):
    jax.clear_caches()
    return _cartpole(case) if case["work"] == "cartpole" else _memory(case)


def _physics(state, action):
    x, v, theta, omega = state
    force = jnp.where(action, 10.0 / 1.1, -10.0 / 1.1)
    sin, cos = jnp.sin(theta), jnp.cos(theta)
    temp = force + (0.05 / 1.1) * omega * omega * sin
    alpha = (9.8 * sin - cos * temp) / (2 / 3 - (0.05 / 1.1) * cos * cos)
    accel = temp - (0.05 / 1.1) * alpha * cos
    x, v = x + 0.02 * v, v + 0.02 * accel
    theta, omega = theta + 0.02 * omega, omega + 0.02 * alpha
    return (x, v, theta, omega), (abs(x) > 2.4) | (abs(theta) > LIMIT)


def _cartpole(case):
    """config: style "batched" | "vmapped", generator "threefry2x32" | "unsafe_rbg", unroll."""
    envs, steps, config = case["envs"], case["steps"], case.get("config", {})
    vmapped = config.get("style", "batched") == "vmapped"
    shape = () if vmapped else (envs,)
    weights = list(map(jnp.asarray, policy_weights()))
    hidden = jnp.tanh if case["policy"] == "tanh" else jax.nn.relu

    def act(state, key):
        if case["policy"] == "random":
            return jax.random.bits(key, shape) >> 31 == 1
        w1, b1, w2, b2, w3, b3 = weights
        h = hidden(hidden(jnp.stack(state, -1) @ w1 + b1) @ w2 + b2)
        logits = h @ w3 + b3
        return jax.random.uniform(key, shape) < jax.nn.sigmoid(logits[..., 1] - logits[..., 0])

    def fresh(key):
        return tuple(jax.random.uniform(key, (4, *shape), minval=-0.05, maxval=0.05))

    def step(carry, _):
        state, elapsed, returns, episodes, key = carry
        key, action_key, reset_key = jax.random.split(key, 3)
        state, done = _physics(state, act(state, action_key))
        elapsed = elapsed + 1
        done |= elapsed >= 500
        state = tuple(jnp.where(done, new, old) for new, old in zip(fresh(reset_key), state, strict=True))
        return (state, jnp.where(done, 0, elapsed), returns + 1.0, episodes + done, key), None

    def rollout(key):
        key, start_key = jax.random.split(key)
        carry = (fresh(start_key), jnp.zeros(shape, "i4"), jnp.zeros(shape), jnp.zeros(shape, "i4"), key)
        carry, _ = jax.lax.scan(step, carry, length=steps, unroll=config.get("unroll", 1))
        return carry[2], carry[3]

    key = jax.random.key(7, impl=config.get("generator", "threefry2x32"))
    call = jax.jit(jax.vmap(rollout) if vmapped else rollout)
    argument = jax.random.split(key, envs) if vmapped else key
    kept = {}

    def run():
        kept["returns"], kept["episodes"] = jax.block_until_ready(call(argument))

    return Prepared(run, lambda: kept, envs * steps)


def _functions():
    def normalised(x):
        mean = x.mean(-1, keepdims=True)
        return (x - mean) * jax.lax.rsqrt(x.var(-1, keepdims=True) + ops.EPSILON)

    def dropout_norm(key, x, bias, residual, gain, shift):
        kept = jax.random.bernoulli(key, 1 - ops.DROP, x.shape)
        return normalised(residual + jnp.where(kept, (x + bias) / (1 - ops.DROP), 0)) * gain + shift

    def adam(p, g, m, v):
        rate, b1, b2, epsilon = ops.ADAM
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
        c1, c2 = ops.adam_scales()
        return p - rate * c1 * m / (jnp.sqrt(v * c2) + epsilon), m, v

    def rope(x, cos, sin):
        a, b = x[:, : ops.COLS // 2], x[:, ops.COLS // 2 :]
        return jnp.concatenate([a * cos - b * sin, a * sin + b * cos], -1)

    return {
        "softmax": lambda x: jax.nn.softmax(x, -1),
        "log_softmax": lambda x: jax.nn.log_softmax(x, -1),
        "layer_norm": lambda x, w, b: normalised(x) * w + b,
        "rms_norm": lambda x, w: x * jax.lax.rsqrt((x * x).mean(-1, keepdims=True) + ops.EPSILON) * w,
        "gelu": lambda x: jax.nn.gelu(x, approximate=False),
        "mish": jax.nn.mish,
        "dropout_norm": dropout_norm,
        "adam": adam,
        "rope": rope,
        "chain": lambda x: ops.chain(x, jnp),
    }


def _memory(case):
    """config: generator, of the dropout."""
    op, size = case["op"], case["bytes"]
    arrays = [jnp.asarray(a) for a in ops.inputs(op, size)]
    if op == "dropout_norm":
        arrays.insert(0, jax.random.key(3, impl=case.get("config", {}).get("generator", "threefry2x32")))
    call = jax.jit(_functions()[op])
    kept = {}

    def run():
        kept["y"] = jax.block_until_ready(call(*arrays))

    def outputs():
        y = kept["y"]
        return (
            dict(zip(("p", "m", "v"), (a[:1024] for a in y), strict=True))
            if op == "adam"
            else {"y": y[:1024]}
        )

    return Prepared(run, outputs, 1)
