"""The matrix product of everything that acts: the same bits whatever the number of rows, and on every processor.

Every number of the result is a bias plus products, added in the order of the inputs, each product and its sum rounded
once. BLAS has other bits for other numbers of rows, and then a session would depend on how many are stepped beside it.
Many rows are multiplied tile by tile, with the sums in vector registers, a few row by row: on one core about as fast as
BLAS for a few rows or many outputs, two thirds as fast for many rows where weights fit into the cache.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic

from gems_gym.common.arrays import copy_into
from gems_gym.common.compilation import compiled_with, inlined

TILE_ROWS, TILE_COLUMNS = 6, 16
"""Rows and columns of a tile: with AVX2 its sums take 12 of 16 registers, enough to start two instructions a cycle."""

_MANY = 4 * TILE_ROWS
"""Rows from which on it is worth the time to copy the columns of a tile next to each other."""


@compiled_with()
def dense(rows: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """``rows @ weight + bias``, (N, inputs) by (inputs, outputs) to (N, outputs); float32, contiguous.

    Every output is the bias plus the products in the order of the inputs, whatever N is, each product and its sum
    rounded once.
    """
    num_rows, outputs = rows.shape[0], weight.shape[1]
    result = np.empty((num_rows, outputs), dtype=np.float32)
    tiled, columns = 0, 0  # of the result, what is done tile by tile
    if num_rows >= _MANY and outputs >= TILE_COLUMNS:
        tiled, columns = num_rows - num_rows % TILE_ROWS, outputs - outputs % TILE_COLUMNS
        _multiply_by_tile(result, rows, weight, bias, tiled, columns)
    for begin, end, column in ((0, tiled, columns), (tiled, num_rows, 0)):
        if column < outputs:
            _multiply_by_row(result, rows, weight, bias, begin, end, column)
    return result


@inlined
def _multiply_by_tile(
    result: np.ndarray, rows: np.ndarray, weight: np.ndarray, bias: np.ndarray, end: int, last_column: int
) -> None:
    """Compute the first rows and columns of a result, whole tiles."""
    panel = np.empty((weight.shape[0], TILE_COLUMNS), dtype=np.float32)
    numbers = np.arange(end)
    for first_column in range(0, last_column, TILE_COLUMNS):
        for k in range(weight.shape[0]):
            copy_into(panel[k], weight[k, first_column : first_column + TILE_COLUMNS])
        for tile in range(0, end, TILE_ROWS):
            multiply_tile(result[tile:], first_column, rows, numbers[tile:], panel, bias)


@inlined
def _multiply_by_row(
    result: np.ndarray,
    rows: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray,
    begin: int,
    end: int,
    column: int,
) -> None:
    """Compute some rows of a result, from a column on.

    16 rows at a time share each read of the weights while their sums stay in the first-level cache; 8 inputs at a time
    share each read and write of the sums.
    """
    inputs = weight.shape[0]
    whole = inputs - inputs % 8
    for first in range(begin, end, 16):
        last = min(first + 16, end)
        for row in range(first, last):
            copy_into(result[row][column:], bias[column:])
        for k in range(0, whole, 8):
            w0, w1, w2 = weight[k][column:], weight[k + 1][column:], weight[k + 2][column:]
            w3, w4, w5 = weight[k + 3][column:], weight[k + 4][column:], weight[k + 5][column:]
            w6, w7 = weight[k + 6][column:], weight[k + 7][column:]
            for row in range(first, last):
                x = rows[row, k : k + 8]
                x0, x1, x2, x3, x4, x5, x6, x7 = x[0], x[1], x[2], x[3], x[4], x[5], x[6], x[7]
                out = result[row][column:]
                for j in range(out.size):
                    half = _fused(x3, w3[j], _fused(x2, w2[j], _fused(x1, w1[j], _fused(x0, w0[j], out[j]))))
                    out[j] = _fused(x7, w7[j], _fused(x6, w6[j], _fused(x5, w5[j], _fused(x4, w4[j], half))))
        for k in range(whole, inputs):
            w = weight[k][column:]
            for row in range(first, last):
                x0 = rows[row, k]
                out = result[row][column:]
                for j in range(out.size):
                    out[j] = _fused(x0, w[j], out[j])


def _fused_type_and_code(typing_context: Any, x: Any, y: Any, z: Any) -> Any:
    signature = types.float32(types.float32, types.float32, types.float32)
    return signature, lambda context, builder, signature, arguments: builder.fma(*arguments)


_fused: Any = intrinsic(_fused_type_and_code)
"""``x * y + z``, rounded once. Asked for by name, it has the same bits on every type of processor; a compiler that
may fuse does so only if there is an instruction. Without that instruction it is many times slower."""


def _tile_type_and_code(
    typing_context: Any, result: Any, column: Any, rows: Any, which: Any, panel: Any, bias: Any
) -> Any:
    for name, array in {"result": result, "rows": rows, "which": which, "panel": panel, "bias": bias}.items():
        if not (isinstance(array, types.Array) and array.layout == "C"):
            raise TypingError(f"{name} is {array}; a contiguous array was expected")
    return types.void(result, types.intp, rows, which, panel, bias), _tile_code


def _tile_code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    """Instructions for vectors of the panel's width, which the compiler splits as the processor's registers require."""
    vector = ir.VectorType(ir.FloatType(), TILE_COLUMNS)
    unset = ir.Constant(vector, ir.Undefined)
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), TILE_COLUMNS), None)
    fused_type = ir.FunctionType(vector, [vector] * 3)
    fused = cgutils.get_or_insert_function(builder.module, fused_type, f"llvm.fma.v{TILE_COLUMNS}f32")
    column = arguments[1]
    result, rows, which, panel, bias = (
        context.make_array(kind)(context, builder, argument)
        for kind, argument in zip(signature.args, arguments, strict=True)
        if isinstance(kind, types.Array)
    )
    outputs = cgutils.unpack_tuple(builder, result.shape)[1]
    inputs = cgutils.unpack_tuple(builder, panel.shape)[0]

    def vector_at(data: Any, index: Any) -> Any:
        return builder.bitcast(builder.gep(data, [index]), vector.as_pointer())

    start_of_sums = builder.load(vector_at(bias.data, column), align=4)
    places, sums, starts = [], [], []
    for number in range(TILE_ROWS):
        row = context.get_constant(types.intp, number)
        places.append(vector_at(result.data, builder.add(builder.mul(row, outputs), column)))
        sums.append(cgutils.alloca_once_value(builder, start_of_sums))
        starts.append(builder.mul(builder.load(builder.gep(which.data, [row])), inputs))
    width = context.get_constant(types.intp, TILE_COLUMNS)
    with cgutils.for_range(builder, inputs) as loop:
        weights = builder.load(vector_at(panel.data, builder.mul(loop.index, width)), align=4)
        for total, start in zip(sums, starts, strict=True):
            number = builder.load(builder.gep(rows.data, [builder.add(start, loop.index)]))
            first = builder.insert_element(unset, number, ir.Constant(ir.IntType(32), 0))
            everywhere = builder.shuffle_vector(first, unset, zeros)
            builder.store(builder.call(fused, [everywhere, weights, builder.load(total)]), total)
    for place, total in zip(places, sums, strict=True):
        builder.store(builder.load(total), place, align=4)
    return context.get_dummy_value()


multiply_tile: Any = intrinsic(_tile_type_and_code)
"""``multiply_tile(result, column, rows, which, panel, bias)`` computes a tile of a result, as :func:`dense` does.

The tile is the first 6 rows of ``result``, 16 columns from ``column`` on: the product of the 6 rows that ``which``
numbers, int64, and of the panel, which holds the weights of these columns only, float32 ``(inputs, 16)``. The bias is
that of all columns. Arrays that are not contiguous do not compile; places are not checked."""
