"""Compiled functions called by address, so that a driver does not compile again all that it calls.

Numba compiles what a function calls into it anew, and a parallel loop wraps itself four deep: tiles would be compiled five
times over. By address they are compiled once, on their own, and only the kinds that a problem needs.
"""

from __future__ import annotations

from typing import Any

import llvmlite.binding as llvm
from numba import typeof, types
from numba.core import cgutils
from numba.extending import intrinsic as numba_intrinsic

intrinsic: Any = numba_intrinsic  # called from compiled code without its first argument
_known: dict[tuple[Any, ...], int] = {}


def address(function: Any, dtype: Any, *args: Any) -> int:
    """Where the machine code of a jitted function for these arguments lies, whose types follow from the dtype alone.

    Compiled, or read from the cache, when first asked for; it stays as long as the process does.
    """
    found = _known.get((function, dtype))
    if found is None:
        signature = tuple(map(typeof, args))
        function.compile(signature)
        compiled = function.overloads[signature]
        found = compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name)
        _known[function, dtype] = found
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
