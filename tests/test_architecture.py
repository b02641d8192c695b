"""Rules that are easily broken unnoticed: what an import loads, what is banned. Who imports whom: pyproject.toml."""

from __future__ import annotations

import ast
import configparser
import graphlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grimp
import pytest

import gems_gym

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("gems_gym", "gems_gym_agents")
HEAVY = ("torch", "d3rlpy", "stable_baselines3", "sb3_contrib", "minari", "matplotlib", "polars", "faiss")

# What a public package could be asked about: which modules may name a heavy library outside functions.
MAY_IMPORT = {
    "torch": ("gems_gym.pretraining", "gems_gym_agents"),
    "minari": ("gems_gym.datasets", "gems_gym_agents"),
    "polars": (),
    "d3rlpy": ("gems_gym_agents.offline",),
    "stable_baselines3": ("gems_gym_agents.online",),
    "sb3_contrib": ("gems_gym_agents.online",),
}

BANNED_NAMES = {
    "eval": "eval runs whatever it is given",
    "exec": "exec runs whatever it is given",
    "pickle.load": "a pickle can run code",
    "pickle.loads": "a pickle can run code",
    "torch.load": "a pickle can run code",
    "torch.seed": "global randomness",
    "random.seed": "global randomness",
}
# Keeping the caller's global state while a library draws from it is the opposite of drawing from it.
KEEPING_STATE = {"get_state", "set_state"}
GENERATOR_NAMES = {
    "Generator",
    "SeedSequence",
    "default_rng",
    "PCG64",
    "PCG64DXSM",
    "Philox",
    "SFC64",
    "BitGenerator",
}
MACHINE_PATH = re.compile(r"/(?:home|root|work|Users|tmp|opt)/\w|[A-Z]:\\\\\w")


def module_files() -> Iterator[tuple[str, Path]]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


MODULES = dict(module_files())


TREES = {name: ast.parse(path.read_text()) for name, path in MODULES.items()}


def dotted(node: ast.expr) -> str:
    """'np.random.rand' for the expression that reads so; an empty string for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        owner = dotted(node.value)
        return f"{owner}.{node.attr}" if owner else ""
    return ""


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and dotted(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}


def imports(tree: ast.AST, *, only_at_import: bool) -> Iterator[tuple[int, str]]:
    """(line, module) of each import; ``from package import name`` gives 'package.name' if that is ours."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import"
            for alias in node.names:
                longer = f"{node.module}.{alias.name}"
                yield node.lineno, longer if longer in MODULES else str(node.module)
        elif only_at_import and (
            isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or is_type_checking(node)
        ):
            continue
        else:
            yield from imports(node, only_at_import=only_at_import)


def within(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == package or module.startswith(package + ".") for package in packages)


def test_heavy_libraries_stay_in_their_rooms() -> None:
    wrong = []
    for name, tree in TREES.items():
        for line, module in imports(tree, only_at_import=True):
            top = module.split(".")[0]
            if top == "matplotlib" or (top in MAY_IMPORT and not within(name, MAY_IMPORT[top])):
                wrong.append(f"{name}, line {line}: {top}")
    assert not wrong


def test_every_import_is_declared() -> None:
    """setup.cfg names every library that is imported: none may be there only because another one needs it."""
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    lists = [settings["options"]["install_requires"], *settings["options.extras_require"].values()]
    declared = {
        re.split(r"[\[<>=!~; ]", line)[0].replace("-", "_") for text in lists for line in text.split()
    }
    declared |= {"PIL"} if "pillow" in declared else set()
    # Cleared before d3rlpy is imported, if it is there at all; never needed.
    declared |= {"gym_notices"}
    used = {
        (name, module.split(".")[0])
        for name, tree in TREES.items()
        for _, module in imports(tree, only_at_import=False)
    }
    known = declared | set(sys.stdlib_module_names) | set(PACKAGES)
    assert not {(name, top) for name, top in used if top not in known}


def test_every_folder_is_a_package() -> None:
    folders = {path.parent for path in MODULES.values()}
    assert not [str(folder) for folder in folders if not (folder / "__init__.py").exists()]


@pytest.mark.parametrize(
    "statements",
    [
        "import gems_gym",
        "import gems_gym.plugins",
        "import gems_gym_agents",
        "import gems_gym.commands.program",
        "import gymnasium; gymnasium.make('gems_gym:GemsSlate-diffuse_topdown-v0').close()",
        "import gymnasium; gymnasium.make('gems_gym:GemsSlateLatent-diffuse_topdown-v0').close()",
    ],
)
def test_import_is_light(statements: str) -> None:
    code = f"import sys; {statements}; print(*(name for name in {HEAVY!r} if name in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [], f"{statements!r} loads {done.stdout.split()}"


def test_everything_public_has_a_docstring() -> None:
    without = [name for name, tree in TREES.items() if not ast.get_docstring(tree)]

    def visit(owner: ast.Module | ast.ClassDef, prefix: str) -> None:
        for node in owner.body:
            if (
                isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
                and node.name[0] != "_"
            ):
                decorators = [dotted(d.func if isinstance(d, ast.Call) else d) for d in node.decorator_list]
                inherited = any(d.split(".")[-1] in {"override", "overload", "setter"} for d in decorators)
                if not inherited and not ast.get_docstring(node):
                    without.append(prefix + node.name)
                if isinstance(node, ast.ClassDef):
                    visit(node, f"{prefix}{node.name}.")

    for name, tree in TREES.items():
        visit(tree, f"{name}.")
    assert not without


def test_nothing_banned() -> None:
    assert not {name: wrong for name, tree in TREES.items() if (wrong := banned(tree))}


def banned(tree: ast.Module) -> list[str]:
    """Lines of a module that do what none may do."""
    wrong = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = dotted(node.func)
            if called in BANNED_NAMES:
                wrong.append(f"line {node.lineno}: {called} ({BANNED_NAMES[called]})")
            owner, _, method = called.rpartition(".")
            if owner in {"np.random", "numpy.random"} and method not in GENERATOR_NAMES | KEEPING_STATE:
                wrong.append(f"line {node.lineno}: {called} (global randomness: take a Generator)")
            if any(
                keyword.arg == "allow_pickle" and dotted_constant(keyword.value) for keyword in node.keywords
            ):
                wrong.append(f"line {node.lineno}: allow_pickle=True (a pickle can run code)")
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and MACHINE_PATH.search(node.value):
            wrong.append(f"line {node.lineno}: a machine's path in {node.value[:60]!r}")
    pickles = [
        line
        for line, module in imports(tree, only_at_import=False)
        if module.split(".")[0] in {"pickle", "dill"}
    ]
    return wrong + [f"line {line}: imports pickle" for line in pickles]


def dotted_constant(node: ast.expr) -> bool:
    return not (isinstance(node, ast.Constant) and node.value is False)


def test_versions_agree() -> None:
    """setup.cfg holds the version; CITATION.cff and the package repeat it for their own readers."""
    version = re.search(r"^version = (\S+)$", (ROOT / "setup.cfg").read_text(), re.MULTILINE)
    cited = re.search(r"^version: (\S+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert version
    assert cited
    assert version[1] == cited[1] == gems_gym.__version__
    assert f"## {version[1]}" in (ROOT / "CHANGELOG.md").read_text()


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Not even inside functions, or for types alone."""
    graph = grimp.build_graph(*PACKAGES, cache_dir=None)
    imports = {name: graph.find_modules_directly_imported_by(name) for name in graph.modules}
    # a package's face hands on names of what stands below it
    circles = graphlib.TopologicalSorter(
        {name: found for name, found in imports.items() if not (ROOT / name.replace(".", "/")).is_dir()}
    )
    circles.prepare()  # raises a CycleError that names the modules
