# cython: language_level=3, boundscheck=False, wraparound=False
"""The compiled kernels as functions on buffers: flat, C-contiguous, float32 or float64, of the sizes in `dims`.

`dims` is a PoolDims of three spatial dimensions. Sizes are checked here, because C cannot; the GIL is free while C runs.
"""

from libc.stdint cimport int64_t


cdef extern from "tinyconv.h" nogil:
    ctypedef struct tc_pool:
        int64_t input[3]
        int64_t output[3]
        int64_t kernel[3]
        int64_t stride[3]
        int64_t dilation[3]
        int64_t padding[3]
    void tc_max_pool_f32(const float *x, int64_t planes, const tc_pool *p, float *y, int64_t *at)
    void tc_max_pool_f64(const double *x, int64_t planes, const tc_pool *p, double *y, int64_t *at)
    void tc_sum_pool_f32(const float *x, int64_t planes, const tc_pool *p, float *y)
    void tc_sum_pool_f64(const double *x, int64_t planes, const tc_pool *p, double *y)
    void tc_sum_pool_adjoint_f32(const float *y, int64_t planes, const tc_pool *p, float *x)
    void tc_sum_pool_adjoint_f64(const double *y, int64_t planes, const tc_pool *p, double *x)


ctypedef fused real:
    float
    double


def max_pool(const real[::1] x, real[::1] y, int64_t[::1] at, dims):
    """Fill y with the maxima of the windows of x, and `at` with their places in the plane."""
    cdef tc_pool p = geometry(dims)
    cdef int64_t planes = dims.N * dims.C
    check(x.shape[0], planes, p.input)
    check(y.shape[0], planes, p.output)
    check(at.shape[0], planes, p.output)
    if planes == 0:
        return
    with nogil:
        if real is float:
            tc_max_pool_f32(&x[0], planes, &p, &y[0], &at[0])
        else:
            tc_max_pool_f64(&x[0], planes, &p, &y[0], &at[0])


def sum_pool(const real[::1] x, real[::1] y, dims):
    """Fill y with the sums of the windows of x."""
    cdef tc_pool p = geometry(dims)
    cdef int64_t planes = dims.N * dims.C
    check(x.shape[0], planes, p.input)
    check(y.shape[0], planes, p.output)
    if planes == 0:
        return
    with nogil:
        if real is float:
            tc_sum_pool_f32(&x[0], planes, &p, &y[0])
        else:
            tc_sum_pool_f64(&x[0], planes, &p, &y[0])


def sum_pool_adjoint(const real[::1] y, real[::1] x, dims):
    """Fill x with the sums of y over the windows that hold each cell."""
    cdef tc_pool p = geometry(dims)
    cdef int64_t planes = dims.N * dims.C
    check(x.shape[0], planes, p.input)
    check(y.shape[0], planes, p.output)
    if planes == 0:
        return
    with nogil:
        if real is float:
            tc_sum_pool_adjoint_f32(&y[0], planes, &p, &x[0])
        else:
            tc_sum_pool_adjoint_f64(&y[0], planes, &p, &x[0])


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
