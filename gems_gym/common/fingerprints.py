"""What numbers depend on beside settings and seed: the code that made them, and the type of the processor.

The same code rounds otherwise on another type of processor (numba fuses multiplications and additions where there is an
instruction for it; torch, MKL and OpenBLAS choose other kernels), and training turns a last bit into another policy.
"""

from __future__ import annotations

import ast
import hashlib
import os
import platform
import re
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec, resolve_name
from pathlib import Path
from typing import Any

_DIGITS = 12
_OWN_PACKAGES = ("gems_gym", "gems_gym_agents")
_LIBRARIES = {
    name: name.replace("_", "-")
    for name in (
        "d3rlpy",
        "gymnasium",
        "numba",
        "numpy",
        "sb3_contrib",
        "scipy",
        "stable_baselines3",
        "torch",
    )
}
"""Libraries that compute, by what they are imported as -> their distribution."""

_WITHOUT_NUMBERS = re.compile(
    r"gems_gym\.(errors|plugins|artifacts\.unfinished)|gems_gym\.commands\.(output|terminals)"
    r"|gems_gym\.common(\.(array_files|check_messages|checks|dataset_folders|files|fingerprints|jobs|locks|machine"
    r"|progress))?|gems_gym\.datasets\.card"
    r"|gems_gym\.envs\.(canvas|picture|rendering|video)"
    r"|gems_gym_agents\.pipeline\.(pictures|quickstart_tables|results|running|stages|studies|tables)"
)
"""Modules that check, store or show, but compute nothing: a change of theirs changes no number."""

_MODULE_NAME = re.compile(r"[A-Za-z_]\w*(\.\w+)+(:\w+)?")
_NUMERIC_FEATURE = re.compile(
    r"\+(s?sse[\w.-]*|avx[\w.-]*|fma4?|f16c|xop|amx[\w.-]*|neon|asimd|sv[e2][\w.-]*|sme[\w.-]*)"
)
KERNEL_CHOICES = (
    "ATEN_CPU_CAPABILITY", "DNNL_MAX_CPU_ISA", "MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS", "NPY_DISABLE_CPU_FEATURES",
    "NUMBA_CPU_FEATURES", "NUMBA_CPU_NAME", "ONEDNN_MAX_CPU_ISA", "OPENBLAS_CORETYPE",
)  # fmt: skip


def made_by(*modules: str) -> dict[str, str]:
    """``code`` and ``cpu``: the fingerprints to keep beside a result.

    Args:
        modules: See :func:`code_fingerprint`.
    """
    return {"code": code_fingerprint(*modules), "cpu": cpu_type()["fingerprint"]}


@cache
def code_fingerprint(*modules: str) -> str:
    """Identifies the code of modules and of all that they import from their own packages, directly or not.

    Comments, docstrings and layout do not count, nor do modules that compute nothing. Imports inside functions count,
    and so do texts that name a module (``"package.module:Class"``). What is loaded by a plugin's name is no import:
    name its module here.

    Args:
        modules: Full names, e.g. ``"gems_gym.pretraining.gru"``.

    Returns:
        12 hexadecimal digits, of the code and of the versions of the libraries that it computes with.

    Raises:
        ModuleNotFoundError: No module of that name, or one without source.
    """
    found = _reachable(modules)
    digest = hashlib.sha256()
    for name in sorted(found):
        digest.update(f"{name}\n{_code(name)}\n".encode())
    imported = {module.split(".")[0] for name in found for module, _ in _imports(name)}
    for library in sorted(imported & _LIBRARIES.keys()):
        digest.update(f"{library} {_version(_LIBRARIES[library])}\n".encode())
    return digest.hexdigest()[:_DIGITS]


@cache
def cpu_type() -> dict[str, Any]:
    """The type of the processor, as far as it decides how numbers are rounded.

    Returns:
        ``fingerprint``, e.g. "znver4-0f3a91c2"; ``processor``, as the system calls it; ``features``, the instruction
        sets for numbers that it has, as LLVM calls them; ``kernels``, the environment variables that make libraries use
        others than these.
    """
    from numba.core.codegen import get_host_cpu_features, ll  # type: ignore[attr-defined]  # llvmlite, by numba's name

    features = sorted(_NUMERIC_FEATURE.findall(get_host_cpu_features()))
    kernels = {name: os.environ[name] for name in KERNEL_CHOICES if os.environ.get(name)}
    name, vendor = ll.get_host_cpu_name(), _cpu_info("vendor_id")
    identity = repr((platform.machine(), vendor, name, features, sorted(kernels.items())))
    return {
        "fingerprint": f"{name}-{hashlib.sha256(identity.encode()).hexdigest()[:8]}",
        "processor": _cpu_info("model name") or platform.processor() or platform.machine(),
        "features": features,
        "kernels": kernels,
    }


def _reachable(modules: tuple[str, ...]) -> set[str]:
    tops = {name.split(".")[0] for name in (*_OWN_PACKAGES, *modules)}
    found: set[str] = set()
    left = list(modules)
    while left:
        name = left.pop()
        if name in found or _WITHOUT_NUMBERS.fullmatch(name):
            continue
        found.add(name)
        left += [_owner(module, member) for module, member in _imports(name) if module.split(".")[0] in tops]
    return found


@cache
def _imports(name: str) -> list[tuple[str, str]]:
    """(module, name of a member or nothing) of each import of a module."""
    found = []
    for node in ast.walk(_parsed(name)):
        if isinstance(node, ast.Import):
            found += [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [(_imported_from(node, name), alias.name) for alias in node.names]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            module = node.value.split(":")[0]
            ours = module.split(".")[0] in (name.split(".")[0], *_OWN_PACKAGES)
            if ours and _MODULE_NAME.fullmatch(node.value) and _file(module):
                found.append((module, ""))
    return found


def _imported_from(node: ast.ImportFrom, importer: str) -> str:
    """The module that an import statement names, in full."""
    if not node.level:
        return node.module or ""
    file = _file(importer)
    is_package = file is not None and file.name == "__init__.py"
    return resolve_name(
        "." * node.level + (node.module or ""), importer if is_package else importer.rpartition(".")[0]
    )


def _owner(module: str, member: str) -> str:
    """The module that a member is of: a submodule, or where a package's own ``__init__`` imports it from."""
    if member and _file(f"{module}.{member}"):
        return f"{module}.{member}"
    file = _file(module)
    if member and file is not None and file.name == "__init__.py":
        for node in ast.walk(_parsed(module)):
            if isinstance(node, ast.ImportFrom):
                names = {alias.asname or alias.name for alias in node.names}
                if member in names and (source := _imported_from(node, module)) != module:
                    return _owner(source, member)
    return module


@cache
def _file(module: str) -> Path | None:
    top, *parts = module.split(".")
    spec = find_spec(top)
    if spec is not None and spec.origin is not None and not parts and spec.submodule_search_locations is None:
        return Path(spec.origin) if spec.origin.endswith(".py") else None  # a module that is no package
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder).joinpath(*parts)
        for file in (path / "__init__.py", path.with_suffix(".py")):
            if file.is_file():
                return file
    if spec and spec.origin and not parts and spec.origin.endswith(".py"):  # a package of a single file
        return Path(spec.origin)
    return None


@cache
def _parsed(module: str) -> ast.Module:
    file = _file(module)
    if file is None:
        raise ModuleNotFoundError(f"there is no source of the module {module!r}", name=module)
    return ast.parse(file.read_bytes())


@cache
def _code(module: str) -> str:
    """A module's code without docstrings, comments and layout."""
    tree = _parsed(module)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [one for one in node.body if not _is_text(one)] or [ast.Pass()]
    return ast.dump(tree)


def _is_text(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:  # imported by a function that was never called
        return "not installed"


@cache
def _cpu_info(key: str) -> str:
    """A line of what Linux says about the processor; nothing elsewhere."""
    try:
        found = re.search(rf"^{key}\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        return ""
    return found[1] if found else ""
