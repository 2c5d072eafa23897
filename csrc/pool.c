/* Pooling: the index arithmetic that both dtypes share, then the template, once for each of them.
 *
 * A window is too short for vectors, so the innermost loops run along rows: a tap folds a row of x into the row of
 * outputs above it. Those whose cell lies inside x are a range, worked out before the loop.
 */
#include "tinyconv.h"

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

enum { MAXIMA, SUMS, SUMS_ADJOINT };

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

#define REAL float
#define PLACE int32_t
#define NAME(function) function##_f32
#include "pool_template.h"
#undef REAL
#undef PLACE
#undef NAME

#define REAL double
#define PLACE int64_t
#define NAME(function) function##_f64
#include "pool_template.h"
