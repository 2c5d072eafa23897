/* Convolution: what the vector levels share, the choice among them, and the threads.
 *
 * conv_plan.h and conv_weights_plan.h turn a geometry into tables; conv_tiles.h holds the inner loops, conv_maps.h and
 * conv_weights.h walk the tables with them. These three are included for every level (levels.h) and dtype.
 */
#include "levels.h"

#include <string.h>

#if defined(__GNUC__)
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 32")
#endif
#define PREFETCH(address) __builtin_prefetch(address)
#else
#define UNROLL
#define PREFETCH(address) ((void)0)
#endif
#if defined(__clang__) || __GNUC__ >= 12
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (IVEC){__VA_ARGS__})
#endif

/* The sizes of the tiles. All sums, the vectors read and one scalar must fit the registers, and there must be 8 sums or
 * more, or each multiply-add waits for the one before it (4 cycles, two of them a cycle). */
#define CHANNELS_32(T) T(0, 10, 1) T(1, 6, 2) T(2, 4, 3) T(3, 3, 4) T(4, 2, 5) T(5, 2, 6) T(6, 2, 7) T(7, 1, 13)
#define CHANNELS_16(T) T(0, 6, 1) T(1, 3, 2) T(2, 2, 3) T(3, 1, 4) T(4, 1, 5) T(5, 1, 6)
#define ROWS_32(T) T(0, 8, 1) T(1, 8, 2) T(2, 6, 3) T(3, 6, 4) T(4, 4, 5) T(5, 4, 6) T(6, 3, 8)
#define ROWS_16(T) T(0, 6, 1) T(1, 5, 2) T(2, 3, 3) T(3, 3, 4) T(4, 2, 5) T(5, 2, 6)
#define DOTS_32(T) T(0, 1, 9) T(1, 2, 8) T(2, 3, 7) T(3, 4, 5) T(4, 5, 4) T(5, 6, 3)
#define DOTS_16(T) T(0, 1, 9) T(1, 2, 5) T(2, 3, 3) T(3, 3, 4) T(4, 4, 3) T(5, 6, 2)
#define PAIR(I, A, B) {A, B},
#define COUNT(I, A, B) +1

struct tc_level {
    int bytes, channel_shapes, row_shapes, dot_shapes;
    int channels[8][2], rows[8][2], dots[8][2]; /* (P, G), (R, K), (K, P) */
    void (*run[2][2])(const tc_plan *, int, int64_t); /* float and double; correlation and weight gradient */
};

static double most_of(double a, double b, double c) { return a > b ? (a > c ? a : c) : (b > c ? b : c); }

#include "conv_plan.h"
#include "conv_weights_plan.h"

#define TEMPLATE "conv_level.h"
#include "levels.h"

#define ONE_LEVEL(name, bytes, registers)                                                                                      \
    {bytes, 0 CHANNELS_##registers(COUNT), 0 ROWS_##registers(COUNT), 0 DOTS_##registers(COUNT),                               \
     {CHANNELS_##registers(PAIR)}, {ROWS_##registers(PAIR)}, {DOTS_##registers(PAIR)},                                         \
     {{correlate_f32_##name, correlate_weights_f32_##name}, {correlate_f64_##name, correlate_weights_f64_##name}}},

static const tc_level levels[] = {FOR_LEVELS(ONE_LEVEL)};

int64_t tc_conv_plan(tc_plan *p, const tc_conv *c, int map, int level, int itemsize, int favourite, void *memory)
{
    memset(p, 0, sizeof(*p));
    p->level = &levels[level];
    p->memory = memory;
    p->map = map;
    p->favourite = favourite;
    p->itemsize = itemsize;
#if defined(__GNUC__)
    p->lanes = p->level->bytes / itemsize;
#else
    p->lanes = 1;
#endif
    p->N = c->N, p->groups = c->groups;
    if (map == TC_FORWARD)
        plan_forward(p, c);
    else if (map == TC_INPUT_GRAD)
        plan_input_grad(p, c);
    else
        plan_weight_grad(p, c);
    return p->bytes;
}

typedef struct {
    const tc_plan *p;
    int stage;
} stage_of_plan;

static void run_item(void *data, int64_t i)
{
    const stage_of_plan *s = data;
    s->p->level->run[s->p->itemsize == 8][s->p->map == TC_WEIGHT_GRAD](s->p, s->stage, i);
}

void tc_conv_run(tc_plan *p, const void *a, const void *b, const void *bias, int relu, void *out, tc_pool_of_threads pool,
                 int threads)
{
    p->a = a, p->b = b, p->bias = bias, p->relu = relu, p->out = out;
    for (int stage = 0; stage < TC_STAGES; stage++) {
        stage_of_plan s = {p, stage};
        tc_each(run_item, &s, p->items[stage], pool, threads);
    }
}
