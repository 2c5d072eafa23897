/* The compiled kernels: pointers and integers in, numbers out. Nothing here knows Python, allocates, or fails.
 *
 * Arrays are C-contiguous, of three spatial dimensions; the index relation is that of the whole library,
 * i = o*stride + k*dilation - padding.
 */
#ifndef TINYCONV_H
#define TINYCONV_H

#include <stddef.h>
#include <stdint.h>

/* ---- threads: threads.c ---- */

/* A pool of threads, as Numba exports its own: runs fn(args, dims, steps, data) `dims[0]` times, on so many threads. */
typedef void (*tc_pool_of_threads)(void *fn, char **args, size_t *dims, size_t *steps, void *data, size_t inner, size_t arrays,
                                   int threads);

/* item(data, i) for every i below `items`, on so many threads of the pool, or on this one where there is none. Every thread
 * takes the next item until there is none; who takes it changes no bit of it. */
void tc_each(void (*item)(void *data, int64_t i), void *data, int64_t items, tc_pool_of_threads pool, int threads);

/* ---- vector levels: levels.c ---- */

/* Names of the vector levels, least first; those from tc_levels() on are not for this CPU. */
const char *tc_level_name(int level);
int tc_levels(void);

/* ---- pooling: pool.c. A plane is one channel of one sample; padding is never read. ---- */

typedef struct {
    int64_t input[3], output[3], kernel[3], stride[3], dilation[3], padding[3]; /* padding: before the first cell */
} tc_pool;

enum {
    TC_MAXIMA,       /* y[o] = the greatest cell of window o, at[o] = its place in the plane: first of equals, first NaN */
    TC_GATHER,       /* y[o] = x[at[o]] */
    TC_SCATTER,      /* x[at[o]] += y[o], from zeros */
    TC_SUMS,         /* y[o] = the sum of window o */
    TC_SUMS_ADJOINT  /* x[i] = the sum of y[o] over the windows that hold cell i */
};

/* Pool planes of float32 or float64 (itemsize 4 or 8), from x to y or, for scatter and the adjoint, from y to x; sums want no
 * `at`. Maxima of float32: planes of less than 2^31 cells. */
void tc_pool_run(const tc_pool *p, int what, int level, int itemsize, int64_t planes, void *x, void *y, int64_t *at,
                 tc_pool_of_threads pool, int threads);

/* ---- convolution: conv.c ---- */

typedef struct {
    int64_t N, C, O, groups;
    int64_t input[3], output[3], kernel[3], stride[3], dilation[3], padding[3]; /* padding: before the first cell */
} tc_conv;

enum { TC_FORWARD, TC_INPUT_GRAD, TC_WEIGHT_GRAD };
enum { TC_STAGES = 3 }; /* pack, sum, and for weight gradients: add up */

/* One dimension of a phase of the destination: its cells, where they read, and the taps that reach them. */
typedef struct {
    int64_t cells, dst, dst_step;                       /* how many, the first, from one to the next */
    int64_t src, src_step;                              /* where the first cell reads in the padded source, and the next */
    int64_t taps, tap, tap_step, offset, offset_step;   /* how many; the first and next in the kernel, in the source */
} tc_axis;

typedef struct {
    tc_axis axis[3];
    int64_t T;                          /* steps of a sum: channels x taps */
    int64_t *offs, *in_w;               /* of each step: in the source, in w */
    int64_t reach, across, units, each; /* neighbours in a unit, units in a row, in all, in a task */
    int64_t packed, group;              /* where its packed weights begin, and how many a group has */
} tc_phase;

typedef struct {
    int64_t channels, size[3], padded[3], before[3];
    int64_t split, column;              /* column j of the padded width lies at (j % split)*column + j / split */
    int64_t image, channel, depth, row; /* from one to the next */
    int64_t planes, bundle, slack;      /* to copy, at a time; numbers behind the last */
    void *copy;                         /* NULL: the source is read where it lies */
} tc_source;

typedef struct tc_level tc_level;

/* One map of one convolution at one vector level: sizes, tables, and the operands. Offsets count numbers, not bytes. */
typedef struct tc_plan {
    const tc_level *level;
    char *memory;
    int64_t bytes, items[TC_STAGES];
    int64_t N, groups, Ci, Co, itemsize, lanes, kernel[3], dst_size[3], w_in, w_out;
    int map, favourite, kind, shape, phases, partial, relu;
    int64_t width, last, blocks, chunks, packs, packed_size; /* channels of a tile, of the last one, tiles, ... */
    tc_source src;
    tc_phase *phase;
    void *packed;
    /* the weight gradient: taps of an (o, c) pair, of a tile, positions of an image; by rows: whole vectors of a row, lanes of
     * the one that ends it; images and steps of a chunk, chunks of an image, in all */
    int64_t taps, reach, wide, channels, groups_of_taps, tiles, positions, per_image, whole, keep;
    int64_t images, deep, steps, slices, parts, pieces;
    int64_t *xo, *yo, *tap_src, *tap_w; /* of each position in x and in y; of each group of taps in x and in a row of w */
    void *sums;
    const void *a, *b, *bias;
    void *out;
} tc_plan;

/* Lay out a map in `memory`, 64-byte aligned; NULL only counts. Returns the bytes it takes. No size may be 0. The tile is the
 * one that is thought fastest where `favourite` is -1. */
int64_t tc_conv_plan(tc_plan *p, const tc_conv *c, int map, int level, int itemsize, int favourite, void *memory);

/* Run a plan: a and b are the operands, (x, w), (y, w) or (x, y); bias is NULL, or a number for each
 * channel of y, or of x in an input gradient. `out` holds what cells get that no tap reaches, where there are any (partial). */
void tc_conv_run(tc_plan *p, const void *a, const void *b, const void *bias, int relu, void *out, tc_pool_of_threads pool,
                 int threads);

#endif
