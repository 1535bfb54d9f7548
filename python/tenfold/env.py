"""Environments, and rollouts of thousands of them in one launch.

An environment is a description of ONE simulated thing, written once on tensors:

    reset(key) -> state                     every random number comes from the key
    step(state, action) -> (state, obs, reward, terminated, truncated)
    observation(state) -> obs               optional: without it a policy sees the state itself
    random_action(key, t) -> action         optional: without it 0 or 1, the top bit of word t of the key

States, observations and actions are tensors or structures of them (tuples, dicts, dataclasses ...).
Those that are written in C++ have an id, see known(). docs/environments.md: how random numbers are derived.
"""

from __future__ import annotations

from collections import namedtuple

from tenfold import _tenfold

TYPE_CHECKING = False  # typing is for type checkers alone
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    class Rollout(tuple[Any, ...]):
        """What rollout returns: a named tuple, with what is emitted."""

        returns: _tenfold.Tensor
        episodes: _tenfold.Tensor
        carry: Any
        state: Any

        def __getattr__(self, name: str) -> Any: ...


_CACHED_PROGRAMS = 64

_makers: dict[str, Callable[[], Any]] = {}  # of environments written in Python, by id
_made: dict[str, _tenfold.Environment] = {}  # environments of the library, by id
_types: dict[tuple[str, ...], type] = {}  # of results, by what is emitted
_programs: dict[tuple[Any, ...], _tenfold.Jitted[Any]] = {}


def known() -> dict[str, str]:
    """{id: one line about it} of every environment that make() and rollout() know by id."""
    return {**_tenfold._known_environments(), **{id: (f.__doc__ or "").strip() for id, f in _makers.items()}}


def register(id: str, maker: Callable[[], Any]) -> None:
    """Makes an environment written in Python known by an id; maker() returns it."""
    if not isinstance(id, str) or not callable(maker):
        raise _tenfold.UserError(
            "env.register: a str and a function that makes the environment are needed, "
            f"but {id!r} and {maker!r} came."
        )
    if id in known():
        raise _tenfold.UserError(f'there is an environment "{id}" already; choose another id.')
    _makers[id] = maker


def make(id: str, dtype: _tenfold.DtypeLike = "f32") -> Any:
    """The environment with that id; those of the library compute in f32 or f64."""
    if not isinstance(id, str):
        raise _tenfold.UserError(f"env.make: an id is a str, but {id!r} came; env.known() lists them.")
    if id in _makers:
        return _makers[id]()
    if _makers and id not in _tenfold._known_environments():
        from difflib import get_close_matches

        meant = "".join(f' Did you mean "{near}"?' for near in get_close_matches(id, known(), 1))
        ids = ", ".join(sorted(known()))
        raise _tenfold.UserError(f'there is no environment "{id}"; known are: {ids}.{meant}')
    return _tenfold._make_environment(id, dtype)


def _environment(env):
    if isinstance(env, type):
        raise _tenfold.UserError(
            f"rollout: {env.__name__} is a class, but an environment is needed: pass {env.__name__}()."
        )
    if not isinstance(env, str):
        return env
    if env in _makers:
        return make(env)
    if env not in _made:
        _made[env] = make(env)
    return _made[env]


def _result_type(emit):
    if emit not in _types:
        fields = ["returns", "episodes", "carry", "state", *emit]
        for name in fields:
            if fields.count(name) > 1 or not name.isidentifier() or name.startswith("_"):
                raise _tenfold.UserError(
                    f"rollout: emit names {', '.join(map(repr, emit))}: each must be an identifier, "
                    "name one field, and not be returns, episodes, carry or state, which are always there."
                )
        _types[emit] = namedtuple("Rollout", fields)
    return _types[emit]


def _integer(name, value):
    try:
        return value.__index__()
    except (AttributeError, TypeError):
        raise _tenfold.UserError(
            f"rollout: {name} must be an integer, but a {type(value).__name__} came."
        ) from None


def _program(env, policy=None, *, num_envs, steps, key, carry=None, emit=(), state=None, start=0):
    """A jitted function and the arguments of this call for it."""
    env = _environment(env)
    if policy is not None and not callable(policy):
        raise _tenfold.UserError(
            f"rollout: the policy is {policy!r}; give a function "
            "(obs, carry, key, t) -> (action, extras, carry), or None to act at random."
        )
    num_envs, steps = _integer("num_envs", num_envs), _integer("steps", steps)
    if isinstance(start, int) and start < 0:
        raise _tenfold.UserError(f"rollout: start is {start}, but the number of a step is 0 or more.")
    emit = (emit,) if isinstance(emit, str) else emit
    if not isinstance(emit, tuple | list) or not all(isinstance(name, str) for name in emit):
        raise _tenfold.UserError(f"rollout: emit is {emit!r}, but it must be names of fields.")
    emit = tuple(emit)
    result_type = _result_type(emit)
    # Step 0 is a constant of the program: there, the compiler knows where a block of random numbers begins.
    if type(start) is int and start == 0:
        start = None

    # What belongs to the library cannot change, nor may a jitted policy. Other objects may (a policy's
    # weights are replaced, say), so they are traced at each call; a graph seen before is not compiled again.
    can_cache = isinstance(env, _tenfold.Environment) and (
        policy is None or isinstance(policy, _tenfold.Jitted)
    )
    signature = (env, policy, num_envs, steps, emit)
    if can_cache and signature in _programs:
        return _programs[signature], (key, start, state, carry)

    def run(key, start, state, carry):
        out = _tenfold._rollout_graph(env, policy, num_envs, steps, emit, key, start, state, carry)
        returns, episodes, carry, state, emitted = out
        return result_type(returns, episodes, carry, state, *(emitted[name] for name in emit))

    run.__name__ = f"rollout of {env.name if isinstance(env, _tenfold.Environment) else type(env).__name__}"
    jitted = _tenfold.Jitted(run, (), None, (), ())
    if can_cache:
        if len(_programs) >= _CACHED_PROGRAMS:
            del _programs[next(iter(_programs))]
        _programs[signature] = jitted
    return jitted, (key, start, state, carry)


def rollout(
    env: Any,
    policy: Callable[..., Any] | None = None,
    *,
    num_envs: int,
    steps: int,
    key: _tenfold.ArrayLike,
    carry: Any = None,
    emit: str | tuple[str, ...] | list[str] = (),
    state: Any = None,
    start: _tenfold.ArrayLike = 0,
) -> Rollout:
    """Runs num_envs environments for `steps` steps each, policy inside, as one program.

    env       an id ("CartPole-v1"), or any object with reset(key) and step(state, action); see tenfold.env
    policy    policy(obs, carry, key, t) -> (action, extras, carry) for ONE environment: what it sees, its
              own state, the environment's key for actions, the number of the step (draw with offset=t);
              extras is a dict of values that may be emitted. None acts at random. A plain function is
              traced at each call, so that new weights are seen; a jitted one only once.
    key       u32[2], split into a key for each environment; or u32[num_envs,2], those keys
    carry     the policy's own state at the start: tensors [num_envs, ...], or a structure of them
    emit      fields of every step to return as [steps, num_envs, ...]: "obs" (what the policy saw),
              "action", "reward", "terminated", "truncated", "next_obs" (after the step, before a reset),
              and extras by name
    state     .state of an earlier rollout to go on from, instead of reset
    start     number of the first step, an integer or a tensor: the sum of the steps before

    An episode that ends begins anew in the same step. Returns a named tuple:
    returns   f32[num_envs]  sum of the rewards of these steps
    episodes  i32[num_envs]  how many episodes ended in these steps
    carry, state             as they are after the last step
    and what is emitted. Trajectories are the same bits however environments and steps are split in parts.

    Moves   8 bytes and the state for each environment, and what is emitted, in one launch
    Raises  UserError for unknown ids and fields, policies that are no functions, and actions, states or
            carries of another type than needed
    """
    jitted, args = _program(
        env, policy, num_envs=num_envs, steps=steps, key=key, carry=carry, emit=emit, state=state, start=start
    )
    return jitted(*args)


setattr(rollout, "__tenfold_program__", _program)  # noqa: B010 explain(rollout, ...) explains this
