# cython: language_level=3, boundscheck=False, wraparound=False
"""The compiled kernels as functions on buffers: flat, C-contiguous, float32 or float64, of the sizes in `dims`.

`dims` is a PoolDims of three spatial dimensions. Sizes are checked here, because C cannot; the GIL is free while C runs, on
`threads` threads of the pool whose parallel_for stands at address `pool`.
"""

from libc.stdint cimport int64_t


cdef extern from "tinyconv.h" nogil:
    ctypedef void (*tc_pool_of_threads)(void *, char **, size_t *, size_t *, void *, size_t, size_t, int) noexcept nogil
    ctypedef struct tc_pool:
        int64_t input[3]
        int64_t output[3]
        int64_t kernel[3]
        int64_t stride[3]
        int64_t dilation[3]
        int64_t padding[3]
    int TC_MAXIMA, TC_GATHER, TC_SCATTER, TC_SUMS, TC_SUMS_ADJOINT
    const char *tc_level_name(int level)
    int tc_levels()
    void tc_pool_run(const tc_pool *p, int what, int level, int itemsize, int64_t planes, void *x, void *y, int64_t *at,
                     tc_pool_of_threads pool, int threads)


ctypedef fused real:
    float
    double


def levels():
    """Names of the vector levels that this CPU has, least first."""
    return tuple(tc_level_name(i).decode() for i in range(tc_levels()))


def max_pool(const real[::1] x, real[::1] y, int64_t[::1] at, dims, int level, size_t pool, int threads):
    """Fill y with the maxima of the windows of x, and `at` with their places in the plane."""
    run_pool[real](TC_MAXIMA, x, y, at, True, dims, level, pool, threads)


def pool_gather(const real[::1] x, real[::1] y, const int64_t[::1] at, dims, int level, size_t pool, int threads):
    """Fill y with the cells of x that stand at the places `at` in their planes; places are not checked."""
    run_pool[real](TC_GATHER, x, y, at, True, dims, level, pool, threads)


def pool_scatter(const real[::1] y, real[::1] x, const int64_t[::1] at, dims, int level, size_t pool, int threads):
    """Fill x with the sums of the y that stand at the places `at` in their planes; places are not checked."""
    run_pool[real](TC_SCATTER, x, y, at, True, dims, level, pool, threads)


def sum_pool(const real[::1] x, real[::1] y, dims, int level, size_t pool, int threads):
    """Fill y with the sums of the windows of x."""
    run_pool[real](TC_SUMS, x, y, None, False, dims, level, pool, threads)


def sum_pool_adjoint(const real[::1] y, real[::1] x, dims, int level, size_t pool, int threads):
    """Fill x with the sums of y over the windows that hold each cell."""
    run_pool[real](TC_SUMS_ADJOINT, x, y, None, False, dims, level, pool, threads)


cdef int run_pool(int what, const real[::1] x, const real[::1] y, const int64_t[::1] at, bint places, dims, int level,
                  size_t pool, int threads) except -1:
    cdef tc_pool p = geometry(dims)
    cdef int64_t planes = dims.N * dims.C
    if not 0 <= level < tc_levels():
        raise ValueError(f"no vector level {level}; this CPU has {tc_levels()}")
    check(x.shape[0], planes, p.input)
    check(y.shape[0], planes, p.output)
    if places:
        check(at.shape[0], planes, p.output)
    if planes == 0:
        return 0
    cdef const int64_t *here = &at[0] if places else NULL
    with nogil:  # C writes only to what the caller above holds writable
        tc_pool_run(&p, what, level, sizeof(real), planes, <void *>&x[0], <void *>&y[0], <int64_t *>here,
                    <tc_pool_of_threads>pool, threads)
    return 0


cdef tc_pool geometry(dims) except *:
    cdef tc_pool p
    for axis in range(3):
        p.input[axis], p.output[axis] = dims.input[axis], dims.output[axis]
        p.kernel[axis], p.stride[axis] = dims.kernel[axis], dims.stride[axis]
        p.dilation[axis], p.padding[axis] = dims.dilation[axis], dims.padding[axis][0]
    return p


cdef int check(int64_t size, int64_t planes, int64_t *plane) except -1:
    if size != planes * plane[0] * plane[1] * plane[2]:
        raise ValueError(f"{size} numbers for {planes} planes of {plane[0]} x {plane[1]} x {plane[2]}")
    return 0


cdef extern from "tinyconv.h" nogil:
    ctypedef struct tc_conv:
        int64_t N, C, O, groups
        int64_t input[3]
        int64_t output[3]
        int64_t kernel[3]
        int64_t stride[3]
        int64_t dilation[3]
        int64_t padding[3]
    ctypedef struct tc_plan:
        int kind, shape, partial
    int64_t tc_conv_plan(tc_plan *p, const tc_conv *c, int map, int level, int itemsize, int favourite, void *memory)
    void tc_conv_run(tc_plan *p, const void *a, const void *b, const void *bias, int relu, void *out, tc_pool_of_threads pool,
                     int threads)


MAPS = "conv", "conv_input_grad", "conv_weight_grad"


cdef class Conv:
    """One map of one convolution (ConvDims of three spatial dimensions, no size 0) at one vector level.

    `tile` asks for a tile by number, channel tiles first, and is what the plan took: its kind, and its number of that kind.
    """

    cdef tc_conv c
    cdef tc_plan p
    cdef int map, level, favourite, itemsize
    cdef int64_t a, b, out
    cdef readonly int64_t bytes
    cdef readonly bint partial
    cdef readonly tuple tile

    def __init__(self, dims, int map, int level, int itemsize, int tile=-1):
        if not 0 <= map < 3 or not 0 <= level < tc_levels() or itemsize not in (4, 8):
            raise ValueError(f"no map {map} at level {level} for numbers of {itemsize} bytes")
        self.c.N, self.c.C, self.c.O, self.c.groups = dims.N, dims.C, dims.O, dims.groups
        cdef int64_t inputs = dims.N * dims.C, weights = dims.O * (dims.C // dims.groups), outputs = dims.N * dims.O
        for axis in range(3):
            self.c.input[axis], self.c.output[axis] = dims.input[axis], dims.output[axis]
            self.c.kernel[axis], self.c.stride[axis] = dims.kernel[axis], dims.stride[axis]
            self.c.dilation[axis], self.c.padding[axis] = dims.dilation[axis], dims.padding[axis][0]
            inputs, weights, outputs = inputs * dims.input[axis], weights * dims.kernel[axis], outputs * dims.output[axis]
        if not inputs or not weights or not outputs:
            raise ValueError(f"there is nothing to sum in {dims}")
        self.a, self.b, self.out = ((inputs, weights, outputs), (outputs, weights, inputs), (inputs, outputs, weights))[map]
        self.map, self.level, self.itemsize, self.favourite = map, level, itemsize, tile
        self.bytes = tc_conv_plan(&self.p, &self.c, map, level, itemsize, tile, NULL)
        self.partial = self.p.partial
        self.tile = ("channels", "rows")[self.p.kind], self.p.shape

    def run(self, const real[::1] a, const real[::1] b, const real[::1] bias, bint relu, real[::1] out,
            unsigned char[::1] memory, size_t pool, int threads):
        """Fill `out` from the operands, on threads of the pool whose parallel_for stands at address `pool`."""
        cdef size_t here = <size_t>&memory[0]
        cdef const void *add = NULL
        cdef int64_t channels = (self.c.O, self.c.C, 0)[self.map]
        if (a.shape[0], b.shape[0], out.shape[0]) != (self.a, self.b, self.out):
            raise ValueError(f"{a.shape[0]}, {b.shape[0]} and {out.shape[0]} numbers, not {self.a}, {self.b} and {self.out}")
        if sizeof(real) != self.itemsize:
            raise ValueError(f"numbers of {sizeof(real)} bytes for a plan of {self.itemsize}")
        if bias is not None:
            if not bias.shape[0] or bias.shape[0] != channels:
                raise ValueError(f"a bias of {bias.shape[0]} numbers for {MAPS[self.map]} of {channels}")
            add = &bias[0]
        if memory.shape[0] < self.bytes or here % 64:
            raise ValueError(f"{memory.shape[0]} bytes from address {here} on; it takes {self.bytes} from a multiple of 64 on")
        with nogil:
            tc_conv_plan(&self.p, &self.c, self.map, self.level, sizeof(real), self.favourite, &memory[0])
            tc_conv_run(&self.p, &a[0], &b[0], add, relu, &out[0], <tc_pool_of_threads>pool, threads)
