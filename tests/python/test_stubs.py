"""The type stubs that the build writes: they parse, and every name they use means something."""

import ast
import builtins
from pathlib import Path

import pytest

import tenfold as tn

PACKAGE = Path(tn.__file__).parent
STUBS = ["_tenfold.pyi", "random.pyi", "_ops.pyi"]
if not (PACKAGE / "_tenfold.pyi").exists():
    pytest.skip("this package was built without stubs", allow_module_level=True)


def defined(body):
    """The names that these statements define."""
    names = set()
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.AnnAssign):
            names.add(node.target.id)
        elif isinstance(node, ast.Assign):
            names.update(target.id for target in node.targets)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names.update(alias.asname or alias.name for alias in node.names)
    return names


def loaded(node):
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}


def tree(name):
    return ast.parse((PACKAGE / name).read_text(), name)


@pytest.mark.parametrize("stub", STUBS)
def test_every_name_is_defined(stub):
    module = tree(stub)
    assert loaded(module) <= defined(module.body) | set(dir(builtins))
    for node in module.body:
        if isinstance(node, ast.ImportFrom) and node.module.startswith("tenfold."):
            source = tree(node.module.removeprefix("tenfold.") + ".pyi")
            assert {alias.name for alias in node.names} <= defined(source.body), node.module


@pytest.mark.parametrize("stub", STUBS)
def test_no_member_hides_a_type(stub):
    module = tree(stub)
    hidden = defined(module.body) & {
        "bool",
        "int",
        "float",
        "complex",
        "str",
        "tuple",
        "list",
        "dict",
        "type",
    }
    assert not hidden
    for node in module.body:
        if isinstance(node, ast.ClassDef):
            assert not loaded(node) & defined(node.body) - {"property"}, node.name


def test_types_are_told():
    module = tree("_tenfold.pyi")
    tensor = next(n for n in module.body if isinstance(n, ast.ClassDef) and n.name == "Tensor")
    returns = {n.name: ast.unparse(n.returns) for n in tensor.body if isinstance(n, ast.FunctionDef)}
    for name in ("__add__", "__rmul__", "__matmul__", "__eq__", "T", "sum", "evaluate"):
        assert returns[name] == "Tensor"
    assert returns["dtype"] == "Dtype" and returns["numpy"] == "_np.ndarray[Any, Any]"
    for stub in STUBS:  # a binding that takes any object says so in its pattern file, python/*.pattern
        for function in (n for n in ast.walk(tree(stub)) if isinstance(n, ast.FunctionDef)):
            said = [ast.unparse(a.annotation) for a in function.args.args if a.annotation]
            assert not any(text.startswith("object |") for text in said), function.name
            if function.name != "__dlpack__":  # a capsule
                assert function.returns is not None and ast.unparse(function.returns) != "object", (
                    function.name
                )


def test_what_the_stub_defines_is_there():
    for name in defined(tree("_tenfold.pyi").body):
        if not name[0].isupper() and name not in ("random", "_np", "_R", "annotations"):
            assert hasattr(tn._tenfold, name), name
    for name in defined(tree("random.pyi").body):
        assert name[0].isupper() or hasattr(tn.random, name), name


def test_public_names_hold_no_plumbing():
    assert tn.__version__.count(".") == 2
    assert {"jit", "grad", "rollout", "Tensor", "UserError", "float32", "bool", "random"} <= set(tn.__all__)
    for name in tn.__all__:
        assert (
            hasattr(tn, name) and not name.endswith("_call") and name not in ("annotations", "TYPE_CHECKING")
        )
