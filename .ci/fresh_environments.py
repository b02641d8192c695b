"""What a stranger would install, each in a fresh environment without a clone, and run there.

    python3.12 .ci/fresh_environments.py -c constraints.txt extras
    python3.12 .ci/fresh_environments.py libraries tianshou_sac rllib_ppo

The environments are made with the Python that runs this file, which needs nothing installed. `extras` builds the source
archive and from it the wheel, installs both, the wheel with each extra, and prints a row of docs/install.md for each.
`libraries` runs the scripts of examples/libraries, each with what its own first lines require.
"""

import argparse
import configparser
import json
import re
import resource
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = ROOT / "examples" / "libraries"
STAYS_OUT = {
    "": "torch",
    "data": "torch",
    "pretrain": "minari",
    "online": "d3rlpy",
    "offline": "stable_baselines3",
}
"""Extra -> what it must not bring."""


@contextmanager
def fresh_environment(*requirements: str) -> Iterator[tuple[Path, dict[str, float]]]:
    """A folder with an environment in ``venv``, and the packages, MB and seconds that the requirements took.

    The seconds are those of a processor: how long the download takes says more about the line than about us.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run(folder, sys.executable, "-m", "venv", "venv")
        bare, begin = size(folder), cpu_seconds()
        run(folder, "pip", "install", "--quiet", *requirements)
        took = cpu_seconds() - begin
        run(folder, "pip", "check")
        packages = json.loads(run(folder, "pip", "list", "--format=json", "--exclude=pip"))
        yield folder, {"packages": len(packages), "MB": (size(folder) - bare) / 1e6, "seconds": took}


def cpu_seconds() -> float:
    """Of all processes that were started here and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run(folder: Path, program: str, *arguments: str) -> str:
    """What a program of the environment prints."""
    own = folder / "venv" / "bin" / program
    command = [str(own if own.exists() else program), *arguments]
    return subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True).stdout


def size(folder: Path) -> int:
    """Bytes of all files."""
    return sum(file.lstat().st_size for file in folder.rglob("*") if file.is_file())


def build(folder: Path) -> tuple[str, str]:
    """The source archive and the wheel, which is built from what the archive holds."""
    with fresh_environment("build", "setuptools>=77") as (environment, _):
        run(environment, "python", "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT))
    (archive,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as held:
        sizes = {entry.filename: entry.file_size for entry in held.infolist()}
    strange = [
        name for name in sizes if not re.match(r"(gems_gym|gems_gym_agents|gems_gym-[^/]*\.dist-info)/", name)
    ]
    assert not strange, f"not part of the packages: {strange}"
    assert {"gems_gym/py.typed", "gems_gym_agents/py.typed"} <= sizes.keys()
    assert sum(number for name, number in sizes.items() if "/shipped/" in name) <= 10 * 2**20
    return str(archive), str(wheel)


def check_extra(requirement: str, extra: str, pip_options: list[str]) -> None:
    """Install, look for what must stay out, score a policy, and follow the first tutorial where its extra is there."""
    with fresh_environment(requirement, *pip_options) as (folder, took):
        if extra in STAYS_OUT:
            find = f"import importlib.util; print(importlib.util.find_spec('{STAYS_OUT[extra]}'))"
            assert run(folder, "python", "-c", find) == "None\n", f"[{extra}] brings {STAYS_OUT[extra]}"
        run(folder, "gems-gym", "list")
        if not extra:
            run(
                folder,
                "gems-gym",
                "evaluate",
                "random",
                "--env",
                "GemsSlate-diffuse_mix-v0",
                "--episodes",
                "10",
            )
        if extra in ("online", "all"):
            page = (ROOT / "docs" / "tutorials" / "ten_minutes.md").read_text()
            run(folder, "python", "-c", "\n".join(re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)))
    name = f"`{extra}`" if extra else f"none, from {Path(requirement).name}"
    print(f"| {name} | {took['packages']} | {took['MB']:,.0f} | {took['seconds']:.0f} |", flush=True)


def check_extras(names: list[str], pip_options: list[str]) -> None:
    """The source archive, the wheel, and the wheel with each extra; or with these extras only."""
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    print("| extra | packages | MB | seconds |\n|---|---:|---:|---:|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        archive, wheel = build(Path(folder))
        for requirement in () if names else (archive, wheel):
            check_extra(requirement, "", pip_options)
        for extra in names or settings["options.extras_require"]:
            check_extra(f"{wheel}[{extra}]", extra, pip_options)


def requirements(script: Path) -> list[str]:
    """What the first lines of a script say it depends on (the format of PEP 723)."""
    block = re.search(r"^# /// script\n(.*?)^# ///$", script.read_text(), flags=re.DOTALL | re.MULTILINE)
    assert block, f"{script.name} does not say what it requires"
    required: list[str] = tomllib.loads(re.sub(r"^# ?", "", block[1], flags=re.MULTILINE))["dependencies"]
    return required


def check_libraries(names: list[str], pip_options: list[str]) -> None:
    """All scripts, or these."""
    failed = []
    with tempfile.TemporaryDirectory() as folder:
        _, wheel = build(Path(folder))
        for script in [SCRIPTS / f"{name}.py" for name in names] or sorted(SCRIPTS.glob("*.py")):
            required = [one.replace("gems-gym", wheel) for one in requirements(script)]
            try:
                with fresh_environment(*required, *pip_options) as (environment, took):
                    run(environment, "python", str(script))
            except subprocess.CalledProcessError as error:
                failed.append(script.stem)
                print(f"{script.stem}: failed, {error}", flush=True)
            else:
                print(f"{script.stem}: runs; {took['MB']:,.0f} MB", flush=True)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["extras", "libraries"])
    parser.add_argument("names", nargs="*", help="some of them (default: all)")
    parser.add_argument("-c", dest="constraints", type=Path, help="as pip's (default: the newest that fit)")
    arguments = parser.parse_args()
    pip_options = ["-c", str(arguments.constraints.resolve())] if arguments.constraints else []
    {"extras": check_extras, "libraries": check_libraries}[arguments.what](arguments.names, pip_options)


if __name__ == "__main__":
    main()
