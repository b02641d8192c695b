"""How the compiled parts are compiled: cached on disk, with the arithmetic of C, and free of Python's lock."""

import numba

# error_model: a division by zero gives inf or NaN, as in numpy; looking out for it in every loop costs half the speed

compiled = numba.njit(cache=True, error_model="numpy", nogil=True)
"""For kernels that are called from Python."""

inlined = numba.njit(cache=True, error_model="numpy", nogil=True, inline="always")
"""For parts of a kernel: numba would pass whole tuples of arrays at every call, at a third of the speed."""
