/* Pooling: the index arithmetic that all share, the template once for each vector level and dtype, the choice among them.
 *
 * A window is too short for vectors, so the innermost loops run along rows: a tap folds a row of x into the row of
 * outputs above it. Those whose cell lies inside x are a range, worked out before the loop.
 */
#define LOOPS_512 "256" /* rows are short: wider vectors save less than what is left over at their ends costs */
#include "levels.h"

#include <math.h>
#include <string.h>

#define CHUNK 64 /* outputs whose running maxima and their places are kept at a time: a few vectors, always in L1 */

/* The outputs o below `outputs` with 0 <= o*s + shift < size: from *first to below the result. */
static int64_t reach(int64_t size, int64_t outputs, int64_t s, int64_t shift, int64_t *first)
{
    *first = shift >= 0 ? 0 : (-shift + s - 1) / s;
    if ((outputs - 1) * s + shift < size)
        return outputs;
    return size - 1 < shift ? 0 : (size - 1 - shift) / s + 1;
}

/* The first cell inside x of the window that starts at `start`, which may be negative. */
static int64_t first_inside(int64_t start, int64_t d)
{
    return start < 0 ? start + (-start + d - 1) / d * d : start;
}

#define ITEMS 32 /* parts that the planes are cut into; a plane belongs to one of them */

typedef struct {
    int what;
    int64_t planes;
    const tc_pool *p;
    void *x, *y;
    int64_t *at;
} planes_to_pool;

static int64_t cells(const int64_t size[3])
{
    return size[0] * size[1] * size[2];
}

#define TEMPLATE "pool_level.h"
#include "levels.h"

#define BOTH(name, bytes, registers) {some_planes_f32_##name, some_planes_f64_##name},

static void (*const some_planes[][2])(void *, int64_t) = {FOR_LEVELS(BOTH)};

void tc_pool_run(const tc_pool *p, int what, int level, int itemsize, int64_t planes, void *x, void *y, int64_t *at,
                 tc_pool_of_threads pool, int threads)
{
    planes_to_pool t = {what, planes, p, x, y, at};
    tc_each(some_planes[level][itemsize == 8], &t, ITEMS, pool, threads);
}
