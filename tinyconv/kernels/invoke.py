"""Compiled functions that call others: by address, so that these are compiled once, and on all threads.

Numba compiles what a function calls into it anew, and its prange wraps a loop's body four deep, which is as many times
compiled again: half a second each. By address a tile is compiled once, on its own, and only the kinds that a problem needs;
`each` hands a function to Numba's threads as it is; a single item, which no second thread can help with, it does itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
import numba
from llvmlite import ir
from numba import typeof, types
from numba.core import cgutils
from numba.extending import intrinsic as numba_intrinsic

from .emit import I64
from .jit import njit

intrinsic: Any = numba_intrinsic  # called from compiled code without its first argument
POINTER = ir.IntType(8).as_pointer()
_known: dict[tuple[Any, ...], int] = {}


def address(function: Any, key: Any, *args: Any) -> int:
    """Where the machine code of a jitted function for these arguments, or types, lies, which follow from `key` alone.

    Compiled, or read from the cache, when first asked for; it stays as long as the process does.
    """
    found = _known.get((function, key))
    if found is None:
        signature = tuple(a if isinstance(a, types.Type) else typeof(a) for a in args)
        function.compile(signature)
        compiled = function.overloads[signature]
        found = compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name)
        _known[function, key] = found
    return found


def pool_of_threads() -> int:
    """The address of the parallel_for of Numba's threads, for C to call; 0, for one thread, where it has none by that name."""
    return llvm.address_of_symbol("numba_parallel_for") or 0


@intrinsic
def invoke(typingctx, where, args):
    """Call the jitted function at `where`, which returns nothing and raises nothing, with a tuple of arguments."""
    def codegen(context, b, sig, values):
        code = context.call_conv.get_function_type(types.none, args.types)
        context.call_conv.call_function(b, b.inttoptr(values[0], code.as_pointer()), types.none, args.types,
                                        cgutils.unpack_tuple(b, values[1]))
        return context.get_dummy_value()

    return types.void(where, args), codegen


@intrinsic
def _each(typingctx, count, body, args):
    # asking for their number starts the threads, and with them the names below are known: now, and when the cache is read
    start_threads: Callable = numba.get_num_threads
    start_threads()
    item = body.get_call_type(typingctx, (types.int64, *map(types.unliteral, args.types)), {})

    def codegen(context, b, sig, values):
        context.active_code_library._reload_init.add(start_threads)
        compiled = body.dispatcher.get_compile_result(item)
        context.active_code_library.add_linking_library(compiled.library)
        task = context.declare_function(b.module, compiled.fndesc)
        threads = b.call(cgutils.get_or_insert_function(b.module, ir.FunctionType(I64, []), "get_num_threads"), [])
        given = [_uncounted(context, b, kind, v) for kind, v in zip(args.types, cgutils.unpack_tuple(b, values[2]))]
        alone = b.icmp_signed("<=", values[0], I64(1))  # a launch costs 2.5 us
        parts = b.select(alone, I64(1), threads)
        job = cgutils.alloca_once_value(b, cgutils.pack_struct(b, [values[0], parts, *given]))

        # Numba's threads call a function of theirs with pointers that move by a step for each: by 1, from `data`
        kind = ir.FunctionType(ir.VoidType(), [POINTER.as_pointer(), I64.as_pointer(), I64.as_pointer(), POINTER])
        work = ir.Function(b.module, kind, b.module.get_unique_name("work"))
        work.linkage = "internal"
        work.attributes.add("noinline")  # one code, and the same bits, for one thread and for many
        inner = ir.IRBuilder(work.append_basic_block())
        pointers, dims, _, data = work.args
        total, parts, *given = cgutils.unpack_tuple(inner, inner.load(inner.bitcast(data, job.type)))
        part = inner.sub(inner.ptrtoint(inner.load(pointers), I64), inner.ptrtoint(data, I64))
        first, last = (inner.sdiv(inner.mul(total, k), parts) for k in (part, inner.add(part, inner.load(dims))))
        with cgutils.for_range_slice(inner, first, last, I64(1)) as (t, _):
            context.call_conv.call_function(inner, task, item.return_type, item.args, [t, *given])
        inner.ret_void()

        def ints(*numbers):
            return b.bitcast(cgutils.alloca_once_value(b, cgutils.pack_array(b, list(numbers))), POINTER)

        here = b.bitcast(job, POINTER)
        start = cgutils.alloca_once_value(b, here)
        launch = cgutils.get_or_insert_function(
            b.module, ir.FunctionType(ir.VoidType(), [POINTER] * 5 + [I64] * 3), "numba_parallel_for")
        with b.if_else(alone) as (one, many):
            with one:
                ones = b.bitcast(ints(I64(1)), I64.as_pointer())
                b.call(work, [start, ones, ones, here])
            with many:
                # always all of them: how many are named here is from now on what get_num_threads says
                b.call(launch, [b.bitcast(work, POINTER), b.bitcast(start, POINTER), ints(threads, I64(0)),
                                ints(I64(1), I64(0)), here, I64(1), I64(1), threads])
        return context.get_dummy_value()

    return types.void(count, body, args), codegen


def _uncounted(context, b, kind, value):
    """An array, or a tuple of some, without its count of references, which the caller holds: threads that keep it take turns at
    one cache line."""
    if isinstance(kind, types.Tuple | types.UniTuple):
        parts = zip(kind.types, cgutils.unpack_tuple(b, value))
        return context.make_tuple(b, kind, [_uncounted(context, b, k, v) for k, v in parts])
    if not isinstance(kind, types.Array):
        return value
    array = context.make_array(kind)(context, b, value)
    array.meminfo, array.parent = (cgutils.get_null_value(v.type) for v in (array.meminfo, array.parent))
    return array._getvalue()


def _one_by_one(count: int, body: Callable, args: tuple) -> None:
    for t in range(count):
        body(t, *args)


# each(count, body, args), for compiled code to call: body(t, *args) for every t < count, neighbours by one thread. The body is
# jitted (inner=True), returns nothing and raises nothing
each: Any = _one_by_one if numba.config.DISABLE_JIT else _each  # type: ignore[attr-defined]


def share(function: Any, T: int, literals: tuple[int, ...], a: Any, *args: Any) -> None:
    """On all threads: function(t, T, *literals, a, *args) for every t < T.

    It is jitted (inner=True), and compiled for these literals and the dtype of the array `a`, which decides the other types.
    """
    key = a.dtype, literals
    where = _known.get((function, key))  # without making the literals anew
    if where is None:
        where = address(function, key, 0, 1, *map(types.literal, literals), a, *args)
    _share(where, T, *literals, a, *args)


@njit
def _share(where, T, *args):
    each(T, _share_of, (where, T, args))


@njit(inner=True)
def _share_of(t, where, T, args):
    invoke(where, (t, T, *args))
