"""Data are read as data: nothing in the library unpickles, evaluates or hands a text to a shell. Read off the code itself."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TOP = Path(__file__).parents[1]
CODE = sorted(path for folder in ("ehr_pipeline", "benchmarks", "data") for path in (TOP / folder).rglob("*.py"))

# Modules that make objects of any kind out of bytes, and parsers that have to be told not to.
MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "xml", "pty", "commands"}
BUILT_IN = {"eval", "exec", "compile", "__import__"}
SHELL = {("os", "system"), ("os", "popen"), ("subprocess", "getoutput"), ("subprocess", "getstatusoutput")}
SHELL |= {("os", name) for name in ("spawnl", "spawnlp", "execl", "execlp")} | {("asyncio", "create_subprocess_shell")}
UNPICKLING = {"read_pickle", "unpack_archive", "extractall", "load_module"}


def findings(source: str) -> Iterator[str]:
    """What a piece of code does that it should not."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            yield from (f"imports {name}" for name in names if name.split(".")[0] in MODULES)
            if isinstance(node, ast.ImportFrom) and node.module == "yaml":
                yield "imports from yaml"  # so that what is called says which of its loaders it is
        if not isinstance(node, ast.Call):
            continue
        named = {keyword.arg: keyword.value for keyword in node.keywords}
        if isinstance(node.func, ast.Name):
            owner, name = "", node.func.id
        elif isinstance(node.func, ast.Attribute):
            owner, name = (node.func.value.id if isinstance(node.func.value, ast.Name) else "…"), node.func.attr
        else:
            continue
        if (not owner and name in BUILT_IN) or (owner, name) in SHELL or name in UNPICKLING:
            yield f"calls {owner}.{name}"
        if owner == "yaml" and "load" in name and name not in ("safe_load", "safe_load_all"):
            yield f"calls yaml.{name}"
        if "shell" in named and not is_constant(named["shell"], False):
            yield f"calls {name} with a shell"
        if "allow_pickle" in named and not is_constant(named["allow_pickle"], False):
            yield f"calls {name} with allow_pickle"
        if owner == "torch" and name == "load" and not is_constant(named.get("weights_only"), True):
            yield "calls torch.load without weights_only"
        if "trust_remote_code" in named and not is_constant(named["trust_remote_code"], False):
            yield f"calls {name} with trust_remote_code"


def is_constant(node: ast.expr | None, value: bool) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


def test_data_are_read_as_data() -> None:
    found = {path.relative_to(TOP).as_posix(): list(findings(path.read_text(encoding="utf-8"))) for path in CODE}
    assert {path: bad for path, bad in found.items() if bad} == {}


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from joblib import load",
        "import xml.etree.ElementTree",
        "eval(text)",
        "exec(text)",
        "os.system('ls ' + name)",
        "subprocess.run(f'ls {name}', shell=True)",
        "subprocess.run(command, shell=wanted)",
        "numpy.load(path, allow_pickle=True)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "pandas.read_pickle(path)",
        "yaml.load(text)",
        "yaml.full_load(text)",
        "from yaml import load",
        "AutoModel.from_pretrained(folder, trust_remote_code=True)",
        "tarfile.open(path).extractall()",
    ],
)
def test_the_test_finds_what_it_should(code: str) -> None:
    assert len(list(findings(code))) == 1


def test_what_is_harmless_is_not_found() -> None:
    harmless = "model.eval(); re.compile('x'); torch.load(p, weights_only=True); np.load(p); subprocess.run(['ls'], shell=False)"
    assert list(findings(harmless)) == []
    assert len(CODE) > 150
