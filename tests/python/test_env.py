"""Environments and rollouts, against gymnasium and against themselves in other pieces."""

import itertools
import math
import os
import re
import subprocess
import sys

import gymnasium
import numpy as np
import pytest

import tenfold as tn

FIELDS = ("obs", "action", "reward", "terminated", "truncated")
KEY = tn.random.key(7)


def arrays(out, names=FIELDS):
    return {name: np.asarray(getattr(out, name)) for name in names}


def weights(hidden=16, seed=3):
    rng = np.random.default_rng(seed)
    sizes = (4, hidden, hidden, 2)
    return [
        (tn.asarray((rng.normal(size=(a, b)) / math.sqrt(a)).astype("f4")), tn.asarray(np.zeros(b, "f4")))
        for a, b in itertools.pairwise(sizes)
    ]


def mlp(layers):
    def policy(obs, carry, key, t):
        x = obs
        for w, b in layers[:-1]:
            x = tn.tanh(x @ w + b)
        w, b = layers[-1]
        logits = x @ w + b
        right = 1.0 / (1.0 + tn.exp(logits[0] - logits[1]))
        action = tn.astype(tn.random.uniform(key, (), offset=t) < right, "i32")
        return action, {"right": right}, carry

    return policy


# ---- CartPole against gymnasium


@pytest.fixture(scope="module")
def single_steps():
    """10^5 steps of gymnasium, each from its own state: states, actions, next states, terminated, rewards."""
    count = 100_000
    rng = np.random.default_rng(11)
    states = rng.uniform(-1, 1, (count, 4)) * [2.6, 4, 0.25, 4]
    actions = rng.integers(0, 2, count)
    env = gymnasium.make("CartPole-v1").unwrapped
    env.reset(seed=0)
    after, terminated, rewards = np.empty_like(states), np.empty(count, bool), np.empty(count)
    for i in range(count):
        env.state, env.steps_beyond_terminated = states[i], None
        _, rewards[i], terminated[i], _, _ = env.step(int(actions[i]))
        after[i] = env.state
    return states, actions, after, terminated, rewards


def test_single_steps_are_those_of_gymnasium(single_steps):
    states, actions, after, terminated, rewards = single_steps
    env = tn.env.make("CartPole-v1", dtype="f64")
    step = tn.jit(tn.vmap(env.step))
    elapsed = np.zeros(len(states), "i4")
    state, obs, reward, over, truncated = step(
        (*(np.ascontiguousarray(c) for c in states.T), elapsed), actions.astype("i4")
    )
    got = np.stack([np.asarray(x) for x in state[:4]], 1)
    assert got.dtype == np.float64
    assert np.all(abs(got - after) <= 1e-12 * (1 + abs(after)))
    assert np.array_equal(np.asarray(obs), got)
    assert np.array_equal(np.asarray(over), terminated)
    assert np.array_equal(np.asarray(reward), rewards)
    assert terminated.any() and not terminated.all() and not np.asarray(truncated).any()
    assert np.all(np.asarray(state.elapsed) == 1)


def test_a_trajectory_is_one_of_gymnasium():
    """Every step of a rollout in f64, resets and time limits taken from the rollout."""
    envs, steps = 3, 1100

    def balance(obs, carry, key, t):  # reaches the time limit now and then
        noise = tn.random.uniform(key, (), offset=t) - 0.5
        return (
            tn.astype(3 * obs[2] + obs[3] + 0.3 * noise + 0.1 * obs[0] + 0.2 * obs[1] > 0, "i32"),
            {},
            carry,
        )

    env = tn.env.make("CartPole-v1", dtype="f64")
    out = tn.rollout(env, balance, num_envs=envs, steps=steps, key=KEY, emit=(*FIELDS, "next_obs"))
    d = arrays(out, (*FIELDS, "next_obs", "returns", "episodes"))
    assert d["obs"].dtype == np.float64 and d["truncated"].any()
    for e in range(envs):
        oracle = gymnasium.make("CartPole-v1")
        oracle.reset(seed=0)
        oracle.unwrapped.state = d["obs"][0, e]
        for t in range(steps):
            assert np.all(abs(oracle.unwrapped.state - d["obs"][t, e]) <= 1e-9)
            oracle.unwrapped.state = d["obs"][t, e]
            _, reward, terminated, truncated, _ = oracle.step(int(d["action"][t, e]))
            assert np.allclose(oracle.unwrapped.state, d["next_obs"][t, e], rtol=0, atol=1e-12)
            assert (reward, terminated, truncated) == (
                d["reward"][t, e],
                d["terminated"][t, e],
                d["truncated"][t, e],
            )
            if terminated or truncated:
                oracle.reset(seed=0)
                if t + 1 < steps:
                    oracle.unwrapped.state = d["obs"][t + 1, e]
                    assert np.all(abs(d["obs"][t + 1, e]) <= 0.05)
    done = d["terminated"] | d["truncated"]
    assert np.array_equal(d["episodes"], done.sum(0))
    assert np.array_equal(d["returns"], d["reward"].sum(0))


# ---- the same bits, however the work is cut


@pytest.fixture(scope="module", params=["random", "mlp"])
def whole(request):
    policy = None if request.param == "random" else mlp(weights())
    envs = 40
    out = tn.rollout("CartPole-v1", policy, num_envs=envs, steps=1000, key=KEY, emit=FIELDS)
    return policy, envs, out, arrays(out)


@pytest.mark.parametrize("chunk", [1, 3, 7, 128, 1000])
def test_steps_in_chunks_are_the_same_bits(whole, chunk):
    policy, envs, out, expected = whole
    state, begun, parts, returns, episodes = None, 0, [], 0, 0
    while begun < 1000:
        steps = min(chunk, 1000 - begun)
        part = tn.rollout(
            "CartPole-v1", policy, num_envs=envs, steps=steps, key=KEY, emit=FIELDS, state=state, start=begun
        )
        parts.append(arrays(part))
        state, begun = part.state, begun + steps
        returns, episodes = returns + np.asarray(part.returns), episodes + np.asarray(part.episodes)
    for name in FIELDS:
        assert np.array_equal(np.concatenate([p[name] for p in parts]), expected[name]), name
    for got, want in zip(state, out.state, strict=True):
        assert np.array_equal(np.asarray(got), np.asarray(want))
    assert np.array_equal(returns, np.asarray(out.returns))
    assert np.array_equal(episodes, np.asarray(out.episodes))


@pytest.mark.parametrize("cuts", [(0, 1, 40), (0, 7, 8, 24, 40), (0, 16, 32, 40)])
def test_environments_in_parts_are_the_same_bits(whole, cuts):
    policy, envs, _, expected = whole
    keys = np.asarray(tn.random.split(KEY, envs))
    for first, last in itertools.pairwise(cuts):
        part = tn.rollout(
            "CartPole-v1", policy, num_envs=last - first, steps=1000, key=keys[first:last], emit=FIELDS
        )
        for name, got in arrays(part).items():
            assert np.array_equal(got, expected[name][:, first:last]), name


def test_emitting_changes_nothing(whole):
    policy, envs, out, _ = whole
    bare = tn.rollout("CartPole-v1", policy, num_envs=envs, steps=1000, key=KEY)
    assert bare._fields == ("returns", "episodes", "carry", "state")
    assert np.array_equal(np.asarray(bare.episodes), np.asarray(out.episodes))
    for got, want in zip(bare.state, out.state, strict=True):
        assert np.array_equal(np.asarray(got), np.asarray(want))


def test_threads_change_nothing():
    code = (
        "import hashlib, numpy as np, tenfold as tn\n"
        "key, h = tn.random.key(3), hashlib.sha256()\n"
        "out = tn.rollout('CartPole-v1', num_envs=1000, steps=300, key=key, emit=('obs', 'action'))\n"
        "for x in (out.obs, out.action, out.returns, *out.state): h.update(np.asarray(x).data)\n"
        "print(tn.thread_count(), h.hexdigest())"
    )
    said = []
    for threads in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            env={**os.environ, "TENFOLD_THREADS": threads},
        )
        assert done.returncode == 0, done.stderr
        said.append(done.stdout.split())
    assert said[0][0] == "1" and said[1][0] == "2"
    assert said[0][1] == said[1][1]


def test_the_derivation_of_random_numbers():
    """docs/environments.md, by the functions of tn.random."""
    envs, steps = 5, 60
    out = tn.rollout("CartPole-v1", num_envs=envs, steps=steps, key=KEY, emit=FIELDS)
    d = arrays(out)
    for e, key in enumerate(np.asarray(tn.random.split(KEY, envs))):
        action_key, reset_key = tn.random.fold_in(key, 0), tn.random.fold_in(key, 1)
        words = np.asarray(tn.random.bits(action_key, (steps,)))
        assert np.array_equal(d["action"][:, e], (words >> 31).astype("i4"))
        env = tn.env.make("CartPole-v1")
        begins = [0, *(np.flatnonzero(d["terminated"][:-1, e]) + 1)]
        assert len(begins) > 1
        for t in begins:
            fresh = env.reset(tn.random.fold_in(reset_key, int(t)))
            assert np.array_equal(np.asarray(env.observation(fresh)), d["obs"][t, e])


# ---- one launch


@pytest.mark.parametrize("policy", [None, mlp(weights(64))], ids=["random", "mlp"])
def test_a_rollout_is_one_launch_without_a_trajectory(policy):
    envs, steps = 1000, 1000
    e = tn.explain(tn.rollout, "CartPole-v1", policy, num_envs=envs, steps=steps, key=KEY)
    assert e.launches == 1
    assert e.interpreted == 0
    held = envs * (4 * 4 + 4 + 4 + 4)  # state, elapsed, returns, episodes
    given = (
        sum(w.nbytes + b.nbytes for w, b in map(lambda p: map(np.asarray, p), weights(64))) if policy else 0
    )
    assert e.bytes_least <= held + given + 8
    assert e.workspace_bytes < envs * steps
    assert e.bytes_read + e.bytes_written <= 2 * (held + given)


def test_emitted_fields_are_written_once():
    envs, steps = 1024, 100
    e = tn.explain(tn.rollout, "CartPole-v1", num_envs=envs, steps=steps, key=KEY, emit=FIELDS)
    assert e.launches == 1
    assert e.bytes_written <= 1.01 * (envs * steps * (16 + 4 + 4 + 1 + 1) + envs * 28)


def test_a_second_call_compiles_nothing():
    tn.rollout("CartPole-v1", num_envs=8, steps=5, key=KEY)
    before = tn.cache_statistics()["misses"]
    for seed in range(3):
        out = tn.rollout("CartPole-v1", num_envs=8, steps=5, key=tn.random.key(seed))
        tn.rollout("CartPole-v1", num_envs=8, steps=5, key=KEY, state=out.state, start=5 + seed)
    assert tn.cache_statistics()["misses"] <= before + 3  # going on from a state; eager keys


# ---- policies


def test_weights_that_are_replaced_are_seen():
    held = {"layers": weights()}

    def policy(obs, carry, key, t):
        return mlp(held["layers"])(obs, carry, key, t)

    first = tn.rollout("CartPole-v1", policy, num_envs=4, steps=20, key=KEY, emit="right")
    held["layers"] = weights(seed=4)
    misses = tn.cache_statistics()["misses"]
    second = tn.rollout("CartPole-v1", policy, num_envs=4, steps=20, key=KEY, emit="right")
    assert first.right.shape == (20, 4)
    assert not np.array_equal(np.asarray(first.right), np.asarray(second.right))
    assert tn.cache_statistics()["misses"] == misses  # other weights, the same program


def test_a_policy_has_a_carry():
    def policy(obs, carry, key, t):
        count = carry["count"] + 1
        return count % 2, {"count": count, "t": t}, {"count": count, "sum": carry["sum"] + obs[0]}

    carry = {"count": np.arange(3, dtype="i4"), "sum": np.zeros(3, "f4")}
    out = tn.rollout(
        "CartPole-v1", policy, num_envs=3, steps=6, key=KEY, carry=carry, emit=("count", "t", "action", "obs")
    )
    assert np.array_equal(np.asarray(out.count), np.arange(1, 7)[:, None] + np.arange(3))
    assert np.array_equal(np.asarray(out.t), np.arange(6)[:, None] + np.zeros(3))
    assert np.array_equal(np.asarray(out.action), np.asarray(out.count) % 2)
    assert np.array_equal(np.asarray(out.carry["count"]), np.arange(3) + 6)
    assert np.allclose(np.asarray(out.carry["sum"]), np.asarray(out.obs)[:, :, 0].sum(0), atol=1e-6)


def test_a_rollout_inside_of_a_jitted_function():
    @tn.jit
    def mean_return(key):
        return tn.mean(tn.rollout("CartPole-v1", num_envs=64, steps=50, key=key).returns)

    assert float(mean_return(KEY)) == 50


# ---- environments in Python


class Pendulum:
    """A pendulum with a torque, observed by cosine, sine and speed."""

    def reset(self, key):
        return {
            "theta": tn.random.uniform(key, (), -math.pi, math.pi),
            "omega": tn.random.uniform(key, (), -1.0, 1.0, offset=1),
            "t": tn.zeros((), "i32"),
        }

    def observation(self, state):
        return {"cos": tn.cos(state["theta"]), "sin": tn.sin(state["theta"]), "omega": state["omega"]}

    def random_action(self, key, t):
        return tn.random.uniform(key, (), -2.0, 2.0, offset=t)

    def step(self, state, torque):
        theta, omega = state["theta"], state["omega"]
        u = tn.clip(torque, -2.0, 2.0)
        cost = theta * theta + 0.1 * omega * omega + 0.001 * u * u
        omega = tn.clip(omega + (15.0 * tn.sin(theta) + 3.0 * u) * 0.05, -8.0, 8.0)
        state = {"theta": theta + omega * 0.05, "omega": omega, "t": state["t"] + 1}
        return state, self.observation(state), -cost, False, state["t"] >= 200


def test_an_environment_in_python():
    envs, steps = 6, 450
    out = tn.rollout(
        Pendulum(), num_envs=envs, steps=steps, key=KEY, emit=("obs", "action", "reward", "truncated")
    )
    assert np.array_equal(np.asarray(out.episodes), np.full(envs, 2))
    theta = np.arctan2(np.asarray(out.obs["sin"]), np.asarray(out.obs["cos"])).astype("f8")
    omega, u = np.asarray(out.obs["omega"], "f8"), np.asarray(out.action, "f8")
    turned = np.clip(omega + (15 * np.sin(theta) + 3 * u) * 0.05, -8, 8)
    live = ~np.asarray(out.truncated)[:-1]
    assert np.allclose(turned[:-1][live], omega[1:][live], atol=1e-4)
    assert np.allclose(np.asarray(out.returns), np.asarray(out.reward).sum(0), rtol=1e-4)
    assert np.array_equal(np.asarray(out.state["t"]), np.full(envs, 50))
    assert tn.explain(tn.rollout, Pendulum(), num_envs=1000, steps=steps, key=KEY).launches == 1


def test_without_an_observation_the_state_is_seen():
    class Walk:
        def reset(self, key):
            return tn.zeros((), "f32")

        def step(self, state, action):
            after = state + tn.astype(2 * action - 1, "f32")
            return after, after, after, tn.abs(after) > 3, False

    out = tn.rollout(
        Walk(), lambda obs, c, k, t: (1, {}, c), num_envs=2, steps=9, key=KEY, emit=("obs", "terminated")
    )
    assert np.asarray(out.obs)[:, 0].tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 0]
    assert np.asarray(out.episodes).tolist() == [2, 2]


def test_an_environment_gets_an_id():
    tn.env.register("Pendulum-test", Pendulum)
    assert "Pendulum-test" in tn.env.known() and "CartPole-v1" in tn.env.known()
    assert tn.rollout("Pendulum-test", num_envs=2, steps=3, key=KEY).returns.shape == (2,)
    with pytest.raises(tn.UserError, match="already"):
        tn.env.register("CartPole-v1", Pendulum)


def test_resets_by_vote_beside_a_state_of_another_size():
    """The states do not fit one grid, so they live in scratch; each of four steps a block votes on its own."""
    envs, others, steps = 64, 4096, 16
    keys = tn.random.split(KEY, envs)

    def step(state, t):
        x, v, other = state
        push = tn.vmap(lambda k: tn.random.bits(tn.random.fold_in(k, 0), (), offset=t) >> 31)(keys)
        fresh = tn.vmap(lambda k: tn.random.uniform(tn.random.fold_in(tn.random.fold_in(k, 1), t), ()))(keys)
        after = x + 0.1 * v
        done = tn.abs(after) > 1.0
        return (tn.where(done, fresh, after), v + tn.where(push == 1, 0.3, -0.3), other + 1.0), None

    start = np.linspace(-1, 1, envs, dtype="f4"), np.zeros(envs, "f4"), np.zeros(others, "f4")
    folded = tn.jit(lambda *state: tn.scan(step, state, length=steps)[0])(*start)
    once = tn.jit(lambda t, *state: step(state, t)[0])
    state = start
    for t in range(steps):
        state = once(np.int64(t), *state)
    for got, want in zip(folded, state, strict=True):
        assert np.array_equal(np.asarray(got), np.asarray(want))


# ---- errors


def run(env="CartPole-v1", policy=None, **changed):
    return tn.rollout(env, policy, **{"num_envs": 4, "steps": 3, "key": KEY, **changed})


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (
            lambda: run("cartpole-v7"),
            r'no environment "cartpole-v7"; known are: .*CartPole-v1.* Did you mean "CartPole-v1"\?',
        ),
        (lambda: run("zzz"), r'no environment "zzz"; known are: [^?]*$'),
        (
            lambda: run(emit=("obs", "colour")),
            r'emit names "colour", but the fields are: obs, action, reward',
        ),
        (lambda: run(emit=("obs", "obs")), "each must be an identifier, name one field"),
        (lambda: run(num_envs=0), "num_envs is 0; it must be at least 1"),
        (lambda: run(num_envs=-3), "num_envs is -3; it must be at least 1"),
        (lambda: run(steps=-1), "steps is -1; it must be at least 0"),
        (lambda: run(key=np.zeros(3, "u4")), r"the key is u32\[3\], but it must be u32\[2\]"),
        (
            lambda: run(policy=lambda o, c, k, t: (o[:2], {}, c)),
            r"an action f32\[2\], but the environment takes i32\[\].*argmax",
        ),
        (
            lambda: run(policy=lambda o, c, k, t: (o[0], {}, c)),
            r"an action f32\[\], but the environment takes i32\[\]",
        ),
        (
            lambda: run(policy=lambda o, c, k, t: 1),
            r"must return \(action, extras, carry\), but it returned a int",
        ),
        (lambda: run(policy=lambda o, c, k, t: (1, {"obs": o}, c)), '"obs" among its extras'),
        (lambda: run(policy=lambda o, c, k, t: (1, {}, (o, o))), "the policy's carry enters as"),
        (
            lambda: run(carry=np.zeros(3, "f4")),
            r"a part of carry is f32\[3\], but its first axis must be num_envs, 4",
        ),
        (lambda: run(policy="random"), "the policy is 'random'; give a function"),
        (lambda: run(env=object()), "a object is no environment: it has no reset"),
        (lambda: run(start=1.5), "start must be one integer"),
        (lambda: tn.env.make("CartPole-v1", dtype="f16"), "computes in f32 or f64, not in f16"),
    ],
)
def test_errors(call, said):
    with pytest.raises(tn.UserError) as error:
        call()
    assert re.search(said, str(error.value), re.DOTALL), str(error.value)


class Counter:
    """Counts in i32, as reset makes it, unless step is told to return something else."""

    def __init__(self, after):
        self.after = after

    def reset(self, key):
        return {"n": tn.zeros((), "i32"), "v": tn.zeros((3,), "f32")}

    def observation(self, state):
        return state["v"]

    def step(self, state, action):
        return self.after(state), state["v"], 1.0, False, False


@pytest.mark.parametrize(
    ("after", "said"),
    [
        (
            lambda s: {**s, "n": tn.astype(s["n"], "f32")},
            "rollout of Counter: state['n'] leaves step as f32[] but reset made i32[]; make them one type.\n",
        ),
        (
            lambda s: {**s, "v": tn.sum(s["v"])},
            "rollout of Counter: state['v'] leaves step as f32[] but reset made f32[3]; make them one type.\n",
        ),
        (
            lambda s: {"n": s["n"], "w": s["v"]},
            "rollout of Counter: a state is {'n': tensor, 'v': tensor}, but step returned {'n': tensor, 'w': tensor};"
            " a state keeps its structure. state['v'] is missing, state['w'] is new.\n",
        ),
    ],
)
def test_a_state_keeps_its_type(after, said):
    with pytest.raises(tn.UserError) as error:
        run(Counter(after))
    assert str(error.value).startswith(said), str(error.value)


def test_a_number_takes_the_type_of_the_state():
    out = run(Counter(lambda s: {"n": 7, "v": s["v"] + 1}))
    assert out.state["n"].dtype == tn.int32 and np.asarray(out.state["n"]).tolist() == [7] * 4


def test_an_error_names_the_line_of_the_call():
    with pytest.raises(tn.UserError, match=r"called at .*test_env\.py:\d+"):
        run(num_envs=0)


def test_arguments_of_a_rollout():
    class Walk:
        def reset(self, key):
            return tn.zeros(())

        def step(self, state, action):
            return state, state, tn.asarray(0.0), tn.asarray(False), tn.asarray(False)

    def act(value):
        return lambda obs, carry, key, t: (value, {}, carry)

    def message(env="CartPole-v1", policy=None, **kwargs):
        with pytest.raises(tn.UserError) as caught:
            tn.rollout(env, policy, **{"num_envs": 2, "steps": 2, "key": tn.random.key(0), **kwargs})
        return str(caught.value)

    assert message(num_envs=2.5) == "rollout: num_envs must be an integer, but a float came."
    assert message(steps="3") == "rollout: steps must be an integer, but a str came."
    assert message(Walk) == "rollout: Walk is a class, but an environment is needed: pass Walk()."
    assert message(start=-1) == "rollout: start is -1, but the number of a step is 0 or more."
    assert message(emit=3) == "rollout: emit is 3, but it must be names of fields."
    for env, name in (("CartPole-v1", "CartPole-v1"), (Walk(), "Walk")):
        said = f"rollout of {name}: the policy's action: a str cannot become a tensor.\n"
        assert message(env, act("left")).startswith(said)
    with pytest.raises(tn.UserError, match="a str and a function that makes the environment are needed"):
        tn.env.register(3, Walk)
    with pytest.raises(tn.UserError, match="are needed, but 'w' and 3 came"):
        tn.env.register("w", 3)
    with pytest.raises(tn.UserError, match="an id is a str, but 3 came"):
        tn.env.make(3)
    tn.rollout("CartPole-v1", num_envs=np.int64(2), steps=np.int32(2), key=tn.random.key(0))
