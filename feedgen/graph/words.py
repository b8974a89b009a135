"""Single words of memory by address, for compiled code: what a day's arrays are made of.

A list of days of different shapes can't be handed to compiled code as numpy arrays, so a day is a row of addresses.
Every load widens to int64, because numba turns arithmetic that mixes uint64 and int64 into floats. The `acquire` and
`release` forms order the words around them on any processor: data first, then the word that publishes it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, cast

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from feedgen.core.jit import inline

_Load = Callable[[int, int], int]
_Convert = Callable[[Any], int]
_Store = Callable[[int, int, int], None]


@inline
def _i64(x: Any) -> Any:
    return np.int64(x)


# Any integer as int64: before arithmetic, so that it stays an integer.
i64: Final = cast(_Convert, _i64)


def _loader(bits: int, ordering: str) -> _Load:
    def load(typing_context: Any, address: Any, index: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            word = ir.IntType(bits)
            pointer = builder.gep(builder.inttoptr(args[0], word.as_pointer()), [args[1]])
            value = builder.load_atomic(pointer, ordering, bits // 8)
            return value if bits == 64 else builder.zext(value, ir.IntType(64))

        return types.int64(types.int64, types.int64), codegen

    return cast(_Load, intrinsic(load))


def _storer(bits: int, ordering: str) -> _Store:
    def store(typing_context: Any, address: Any, index: Any, value: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            word = ir.IntType(bits)
            pointer = builder.gep(builder.inttoptr(args[0], word.as_pointer()), [args[1]])
            value = args[2] if bits == 64 else builder.trunc(args[2], word)
            builder.store_atomic(value, pointer, ordering, bits // 8)
            return context.get_dummy_value()

        return types.void(types.int64, types.int64, types.int64), codegen

    return cast(_Store, intrinsic(store))


def _unaligned(typing_context: Any, address: Any, offset: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = builder.inttoptr(builder.add(args[0], args[1]), ir.IntType(64).as_pointer())
        return builder.load(pointer, align=1)

    return types.int64(types.int64, types.int64), codegen


# 8 bytes from any address plus so many bytes.
_load_unaligned: Final = cast(_Load, intrinsic(_unaligned))


@inline
def load_bits(address: int, index: int, width: int) -> int:
    """One of the numbers of `width` bits that lie there without gaps; at most 57 bits. A section ends with room for the
    8 bytes that are read.
    """
    bit = index * width
    return (_load_unaligned(address, bit >> 3) >> (bit & 7)) & ((i64(1) << width) - 1)


def _prefetcher(write: int) -> Callable[[int, int], None]:
    def prefetch(typing_context: Any, address: Any, offset: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            pointer = builder.inttoptr(builder.add(args[0], args[1]), ir.IntType(8).as_pointer())
            kind = ir.FunctionType(ir.VoidType(), [pointer.type, *[ir.IntType(32)] * 3])
            function = builder.module.globals.get("llvm.prefetch.p0") or ir.Function(
                builder.module, kind, "llvm.prefetch.p0"
            )
            # for writing or not, to be kept in all caches, data
            builder.call(function, [pointer, *(ir.Constant(ir.IntType(32), x) for x in (write, 3, 1))])
            return context.get_dummy_value()

        return types.void(types.int64, types.int64), codegen

    return cast(Callable[[int, int], None], intrinsic(prefetch))


# Asks for the cache line at an address plus so many bytes, and does not wait for it. Any address will do.
prefetch: Final = _prefetcher(write=1)
prefetch_read: Final = _prefetcher(write=0)  # takes the line from no other processor

# "monotonic" costs nothing on the processors we know; it says that the word is read once and whole, though another
# thread may write it.
load_u8: Final = _loader(8, "monotonic")
load_u16: Final = _loader(16, "monotonic")
load_u32: Final = _loader(32, "monotonic")
load_i64: Final = _loader(64, "monotonic")
load_i64_acquire: Final = _loader(64, "acquire")
load_u32_acquire: Final = _loader(32, "acquire")

store_u8: Final = _storer(8, "monotonic")
store_u16: Final = _storer(16, "monotonic")
store_u32: Final = _storer(32, "monotonic")
store_i64: Final = _storer(64, "monotonic")
store_i64_release: Final = _storer(64, "release")
store_u32_release: Final = _storer(32, "release")
