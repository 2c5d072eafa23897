/* The compiled kernels: pointers and integers in, numbers out. Nothing here knows Python, allocates, or fails.
 *
 * Arrays are C-contiguous; a plane is one channel of one sample. Every function walks `planes` planes of three spatial
 * dimensions by the index relation of the whole library,  i = o*stride + k*dilation - padding,  and never reads padding.
 * Each exists for float (_f32) and double (_f64), from one source: pool_template.h.
 */
#ifndef TINYCONV_H
#define TINYCONV_H

#include <stdint.h>

typedef struct {
    int64_t input[3], output[3], kernel[3], stride[3], dilation[3], padding[3]; /* padding: before the first cell */
} tc_pool;

/* y[o] = the greatest cell of window o, at[o] = its place in the plane; the first of equals, the first NaN if there is one.
 * float: planes of less than 2^31 cells. */
void tc_max_pool_f32(const float *x, int64_t planes, const tc_pool *p, float *y, int64_t *at);
void tc_max_pool_f64(const double *x, int64_t planes, const tc_pool *p, double *y, int64_t *at);

/* y[o] = the sum of window o. */
void tc_sum_pool_f32(const float *x, int64_t planes, const tc_pool *p, float *y);
void tc_sum_pool_f64(const double *x, int64_t planes, const tc_pool *p, double *y);

/* The adjoint of tc_sum_pool: x[i] = the sum of y[o] over the windows that hold cell i. */
void tc_sum_pool_adjoint_f32(const float *y, int64_t planes, const tc_pool *p, float *x);
void tc_sum_pool_adjoint_f64(const double *y, int64_t planes, const tc_pool *p, double *x);

#endif
