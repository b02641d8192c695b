"""gems_gym.common.products: a matrix product whose bits depend on nothing but its numbers."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba import njit
from numba.core.errors import TypingError

from gems_gym.common.products import dense, multiply_tile


def numbers(num_rows: int, inputs: int, outputs: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(num_rows)
    shapes: tuple[tuple[int, ...], ...] = ((num_rows, inputs), (inputs, outputs), (outputs,))
    rows, weight, bias = (rng.standard_normal(shape, dtype=np.float32) for shape in shapes)
    return rows, weight, bias


@given(st.integers(0, 70), st.integers(1, 20), st.integers(1, 50))
def test_is_a_matrix_product_with_the_same_bits_for_every_row_alone(
    num_rows: int, inputs: int, outputs: int
) -> None:
    rows, weight, bias = numbers(num_rows, inputs, outputs)
    together = dense(rows, weight, bias)
    np.testing.assert_allclose(together, rows @ weight + bias, atol=1e-5)
    for row, alone in zip(rows, together, strict=True):
        np.testing.assert_array_equal(dense(row[None], weight, bias)[0], alone)


def test_adds_in_the_order_of_the_inputs() -> None:
    """1 + 2^60 − 2^60 is 0 in this order; in pairs, or from the back, it is 1 or 2^60 + …"""
    rows = np.tile(np.array([1, 2.0**60, -(2.0**60)], np.float32), (40, 1))
    weight, bias = np.ones((3, 20), np.float32), np.full(20, 0.5, np.float32)
    np.testing.assert_array_equal(dense(rows, weight, bias), 0)
    np.testing.assert_array_equal(dense(rows[:, ::-1].copy(), weight, bias), 1)


DIGEST = """
import hashlib
import numpy as np
from gems_gym.common.products import dense
rng = np.random.default_rng(0)
shapes = ((1, 20, 256), (10, 20, 100), (33, 21, 7), (17, 1, 1), (50, 20, 100))
results = (dense(*(rng.standard_normal(one, dtype=np.float32) for one in ((n, i), (i, o), o))) for n, i, o in shapes)
digest = hashlib.sha256(b"".join(one.tobytes() for one in results)).hexdigest()[:16]
"""


def run(code: str, cache: Path, **variables: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"NUMBA_CACHE_DIR": str(cache), **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_has_the_same_bits_on_every_type_of_processor(tmp_path: Path) -> None:
    here: dict[str, str] = {}
    exec(DIGEST, here)  # noqa: S102
    assert here["digest"] == "f9079886fd296246"
    assert run(f"{DIGEST}print(digest)", tmp_path, NUMBA_CPU_NAME="generic") == "f9079886fd296246"


def test_is_callable_after_a_kernel_that_calls_it(tmp_path: Path) -> None:
    """While a part of it was a compiled function of its own, this ended in an error inside numba."""
    code = """
import numpy as np
from gems_gym.common.products import dense
from gems_gym.rankers.kernels import best_of_each
rows, weight, bias = np.ones((40, 8), np.float32), np.ones((8, 20), np.float32), np.zeros(20, np.float32)
best_of_each(rows, weight, bias, 3)
print(dense(rows, weight, bias)[0, 0])
"""
    assert [run(code, tmp_path) for _ in ("compiled", "from the cache")] == ["8.0", "8.0"]


def test_a_tile_is_not_compiled_for_arrays_that_are_not_contiguous() -> None:
    @njit
    def tile(result: np.ndarray, rows: np.ndarray, panel: np.ndarray, bias: np.ndarray) -> None:
        multiply_tile(result, 0, rows, np.arange(6), panel, bias)

    rows, panel, bias = numbers(12, 4, 16)
    result = np.empty((6, 16), np.float32)
    tile(result, rows, panel, bias)
    np.testing.assert_array_equal(result, dense(rows, panel, bias)[:6])
    with pytest.raises(TypingError, match="rows is .*a contiguous array was expected"):
        tile(result, rows[::2], panel, bias)
