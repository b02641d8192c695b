"""Fingerprints of code and of processors: what changes them, and what does not."""

import re
import subprocess
import sys
import time

import pytest

from gems_gym.common import fingerprints
from gems_gym.common.fingerprints import code_fingerprint, cpu_type

CODE = '''"""What it does."""

from small_package import helper, shown
from small_package.members import member


def work(x):
    """Twice."""
    # a comment
    return helper.twice(x) + member
'''


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of a few modules, which a test may rewrite: ``write(module, text)``, ``fingerprint()``."""
    folder = tmp_path / "small_package"
    folder.mkdir()
    texts = {
        "__init__": "from small_package.members import member\n",
        "work": CODE,
        "helper": "def twice(x):\n    from small_package import deep\n    return 2 * x + deep.ZERO\n",
        "deep": "ZERO = 0\nNAMED = 'small_package.named:Thing'\n",
        "named": "class Thing:\n    number = 1\n",
        "members": "member = 0\nFILE = '__main__.py'\n",
        "shown": "import matplotlib\n",
        "other": "unused = 1\n",
        "relative": "from . import deep\nfrom .members import member as found\n",
    }

    def write(module: str, text: str) -> None:
        (folder / f"{module}.py").write_text(text)

    def fingerprint(module: str = "small_package.work") -> str:
        for cached in (
            fingerprints._file, fingerprints._parsed, fingerprints._imports, fingerprints._code, code_fingerprint,
        ):  # fmt: skip
            cached.cache_clear()
        return code_fingerprint(module)

    for module, text in texts.items():
        write(module, text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)  # as in a program that is no module
    return write, fingerprint


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("work", CODE.replace("helper.twice(x) +", "helper.twice(x) -")),
        ("helper", "def twice(x):\n    from small_package import deep\n    return x + x + deep.ZERO\n"),
        ("deep", "ZERO = 1\nNAMED = 'small_package.named:Thing'\n"),
        ("named", "class Thing:\n    number = 2\n"),
        ("members", "member = 1\nFILE = '__main__.py'\n"),
        ("shown", "import numpy\n"),
    ],
)
def test_code_that_is_reached_changes_the_fingerprint(package, module, text):
    write, fingerprint = package
    before = fingerprint()
    assert re.fullmatch("[0-9a-f]{12}", before)
    write(module, text)
    assert fingerprint() != before


@pytest.mark.parametrize(
    ("module", "text"),
    [("deep", "ZERO = 1\nNAMED = 'small_package.named:Thing'\n"), ("members", "member = 2\n")],
)
def test_relative_imports_are_followed(package, module, text):
    write, fingerprint = package
    before = fingerprint("small_package.relative")
    write(module, text)
    assert fingerprint("small_package.relative") != before


def test_comments_docstrings_layout_and_code_elsewhere_do_not(package):
    write, fingerprint = package
    before = fingerprint()
    write(
        "work",
        CODE.replace("Twice", "Two times").replace("    # a comment\n", "").replace("(x) + m", "(x)+m"),
    )
    write("other", "unused = 2\n")
    assert fingerprint() == before


def test_libraries_count_by_their_version(package, monkeypatch):
    write, fingerprint = package
    write("deep", "import numpy\nZERO = 0\n")
    before = fingerprint()
    monkeypatch.setattr(fingerprints, "version", lambda name: "0.0.1")
    assert fingerprint() != before


def test_an_unknown_module_is_named(package):
    _, fingerprint = package
    with pytest.raises(ModuleNotFoundError, match="no source of the module 'small_package.missing'"):
        fingerprint("small_package.missing")


def test_our_own_code_is_followed_where_it_matters_only():
    modules = fingerprints._reachable(("gems_gym.pretraining.gru", "gems_gym.pretraining.session_log"))
    assert {
        "gems_gym.simulator.kernels",
        "gems_gym.embeddings.co_click",
        "gems_gym.beliefs.gru",
    } <= modules
    assert not [
        name
        for name in modules
        if name.startswith(("gems_gym_agents", "gems_gym.rankers", "gems_gym.commands.program"))
    ]
    start = time.process_time()
    code_fingerprint("gems_gym_agents.pipeline.runs", "gems_gym_agents.online.sac")
    assert time.process_time() - start < 2


def test_the_registered_environments_are_followed():
    assert "gems_gym.envs.slate_vector" in fingerprints._reachable(("gems_gym.registration",))


def test_the_processor_is_told_apart_by_what_it_computes_with():
    found = cpu_type()
    assert re.fullmatch(r"[\w.-]+-[0-9a-f]{8}", found["fingerprint"])
    assert found["processor"] and found["kernels"].keys() <= set(fingerprints.KERNEL_CHOICES)
    code = "from gems_gym.common.fingerprints import cpu_type; print(cpu_type()['fingerprint'], *cpu_type()['kernels'])"
    other = subprocess.run(
        [sys.executable, "-c", code],
        env={"OPENBLAS_CORETYPE": "Haswell"},
        capture_output=True,
        text=True,
        check=True,
    )
    fingerprint, *kernels = other.stdout.split()
    assert fingerprint != found["fingerprint"] and kernels == ["OPENBLAS_CORETYPE"]


def test_a_module_that_is_no_package(package, tmp_path):
    _, fingerprint = package
    (tmp_path / "alone.py").write_text("from small_package import deep\n")
    before = fingerprint("alone")
    (tmp_path / "alone.py").write_text("from small_package import helper\n")
    assert fingerprint("alone") != before
