/* Convolution: the vector levels from one source, the choice among them, and the threads.
 *
 * conv_plan.h and conv_weights_plan.h turn a geometry into tables; conv_tiles.h holds the inner loops, conv_maps.h and
 * conv_weights.h walk the tables with them. These three are included for every level and dtype. A level is what a CPU can
 * do, not what this one can: tc_levels() says how many of them it has, and code of the others is never run.
 */
#include "tinyconv.h"

#include <string.h>

#if defined(__GNUC__)
#define INLINE static inline __attribute__((always_inline)) TARGET
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 32")
#endif
#define PREFETCH(address) __builtin_prefetch(address)
#else
#define INLINE static inline
#define UNROLL
#define PREFETCH(address) ((void)0)
#endif
#if defined(__clang__) || __GNUC__ >= 12
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (IVEC){__VA_ARGS__})
#endif
#define JOIN_(a, b, c) a##b##c
#define JOIN(a, b, c) JOIN_(a, b, c)

/* The sizes of the tiles. All sums, the vectors read and one scalar must fit the registers, and there must be 8 sums or
 * more, or each multiply-add waits for the one before it (4 cycles, two of them a cycle). */
#define CHANNELS_32(T) T(0, 10, 1) T(1, 6, 2) T(2, 4, 3) T(3, 3, 4) T(4, 2, 5) T(5, 2, 6) T(6, 2, 7) T(7, 1, 13)
#define CHANNELS_16(T) T(0, 6, 1) T(1, 3, 2) T(2, 2, 3) T(3, 1, 4) T(4, 1, 5) T(5, 1, 6)
#define ROWS_32(T) T(0, 8, 1) T(1, 8, 2) T(2, 6, 3) T(3, 6, 4) T(4, 4, 5) T(5, 4, 6) T(6, 3, 8)
#define ROWS_16(T) T(0, 6, 1) T(1, 5, 2) T(2, 3, 3) T(3, 3, 4) T(4, 2, 5) T(5, 2, 6)
#define DOTS_32(T) T(0, 1, 9) T(1, 2, 8) T(2, 3, 7) T(3, 4, 5) T(4, 5, 4) T(5, 6, 3)
#define DOTS_16(T) T(0, 1, 9) T(1, 2, 5) T(2, 3, 3) T(3, 3, 4) T(4, 4, 3) T(5, 6, 2)
#define PAIR(I, A, B) {A, B},

struct tc_level {
    const char *name;
    int bytes, channel_shapes, row_shapes, dot_shapes;
    int channels[8][2], rows[8][2], dots[8][2]; /* (P, G), (R, K), (K, P) */
    void (*run[2][2])(const tc_plan *, int, int64_t); /* float and double; correlation and weight gradient */
};

static double most_of(double a, double b, double c) { return a > b ? (a > c ? a : c) : (b > c ? b : c); }

#include "conv_plan.h"
#include "conv_weights_plan.h"

#define BYTES 16
#define TARGET
#if defined(__aarch64__)
#define LEVEL neon
#define CHANNEL_SHAPES CHANNELS_32
#define ROW_SHAPES ROWS_32
#define DOT_SHAPES DOTS_32
#else
#define LEVEL baseline
#define CHANNEL_SHAPES CHANNELS_16
#define ROW_SHAPES ROWS_16
#define DOT_SHAPES DOTS_16
#endif
#include "conv_level.h"
#undef LEVEL
#undef BYTES
#undef TARGET

#if defined(__GNUC__) && defined(__x86_64__)
#define LEVEL avx2
#define BYTES 32
#define TARGET __attribute__((target("avx2,fma")))
#include "conv_level.h"
#undef LEVEL
#undef BYTES
#undef TARGET
#undef CHANNEL_SHAPES
#undef ROW_SHAPES
#undef DOT_SHAPES

#define LEVEL avx512
#define BYTES 64
#define TARGET __attribute__((target("avx512f,avx512vl,avx512dq,avx512bw,avx2,fma,prefer-vector-width=512")))
#define CHANNEL_SHAPES CHANNELS_32
#define ROW_SHAPES ROWS_32
#define DOT_SHAPES DOTS_32
#include "conv_level.h"
#endif

#define ONE_LEVEL(name, bytes, regs, channels, rows, dots)                                                                     \
    {#name, bytes, channels, rows, dots, {CHANNELS_##regs(PAIR)}, {ROWS_##regs(PAIR)}, {DOTS_##regs(PAIR)},                    \
     {{correlate_f32_##name, correlate_weights_f32_##name}, {correlate_f64_##name, correlate_weights_f64_##name}}}

static const tc_level levels[] = {
#if defined(__aarch64__)
    ONE_LEVEL(neon, 16, 32, 8, 7, 6),
#else
    ONE_LEVEL(baseline, 16, 16, 6, 6, 6),
#endif
#if defined(__GNUC__) && defined(__x86_64__)
    ONE_LEVEL(avx2, 32, 16, 6, 6, 6),
    ONE_LEVEL(avx512, 64, 32, 8, 7, 6),
#endif
};

const char *tc_level_name(int level)
{
    return level >= 0 && level < (int)(sizeof(levels) / sizeof(*levels)) ? levels[level].name : NULL;
}

int tc_levels(void)
{
#if defined(__GNUC__) && defined(__x86_64__)
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma"))
        return 1;
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
                   __builtin_cpu_supports("avx512bw") ? 3 : 2;
#else
    return 1;
#endif
}

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
