/* A convolution as tables and sizes, for every dtype and vector level: included by conv.c alone.
 *
 * Forward and input gradient are one sum over a padded source, a phase of the destination at a time:
 *
 *     dst[n, o, cell] = bias[o] + sum over t  w[t, o] * src[n, base(cell) + offs[t]]          t = (channel, tap)
 *
 * Forward: src is x, dst is y, and there is one phase. Input gradient: src is y, dst is x, and x has a phase for every
 * remainder r = (i + p) mod s: with i + p = m*s + r and k*d = e*s + r, tap k reads y at m - e. Other taps never meet that
 * cell, so no zero is inserted or multiplied. Read next: conv_tiles.h.
 */

enum { CHANNELS, ROWS };            /* the tile: vectors of channels, or of positions */
enum { CHUNK = 96 * 1024 };         /* numbers of the source that a task reads: they stay in the second-level cache */
enum { TASKS = 16, BUNDLES = 32 };  /* items wanted, whatever the number of threads: the same sums in the same order */
enum { MIX = 8 };                   /* channels from which on a copy puts the channels of a row side by side */
enum { ALIGN = 64 };

/* Memory in a row. Without memory it only counts, so one text both measures a plan and lays it out. */
static void *take(tc_plan *p, int64_t count, int64_t size)
{
    char *here = p->memory ? p->memory + p->bytes : NULL;
    p->bytes += (count * size + ALIGN - 1) / ALIGN * ALIGN;
    return here;
}

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }
static int64_t above(int64_t a, int64_t b) { return (a + b - 1) / b; }
static int64_t volume(const int64_t *v) { return v[0] * v[1] * v[2]; }

/* One dimension of the forward map: cell o and tap k read o*s + k*d of the padded input. */
static tc_axis forward_axis(const tc_conv *c, int a)
{
    return (tc_axis){c->output[a], 0, 1, 0, c->stride[a], c->kernel[a], 0, 1, 0, c->dilation[a]};
}

/* One dimension of phase r of the input gradient; its taps are every `tap_step`-th, if there are any. */
static tc_axis phase_axis(const tc_conv *c, int a, int64_t r)
{
    const int64_t s = c->stride[a], d = c->dilation[a], p = c->padding[a], first = ((r - p) % s + s) % s;
    int64_t tap = 0, step = 1;
    while (tap < c->kernel[a] && tap * d % s != r)
        tap++;
    while (step * d % s != 0)
        step++;
    const int64_t cells = first < c->input[a] ? above(c->input[a] - first, s) : 0;
    const int64_t taps = tap < c->kernel[a] ? above(c->kernel[a] - tap, step) : 0;
    return (tc_axis){cells, first, s, (first + p - r) / s - tap * d / s, 1, taps, tap, step, 0, -(step * d / s)};
}

/* The same convolution, a pointwise one as a single long row, unless its channels are so many and so far apart that bringing
 * them together pays. */
static tc_conv flatten(tc_conv c, int *gathers)
{
    int plain = 1;
    for (int a = 0; a < 3; a++)
        plain &= c.input[a] == c.output[a] && c.kernel[a] == 1 && c.stride[a] == 1 && c.padding[a] == 0;
    *gathers = plain && least(c.C, c.O) >= 64 * c.groups && volume(c.input) >= 1024;
    if (plain && !*gathers) {
        c.input[2] = c.output[2] = volume(c.input);
        c.input[0] = c.input[1] = c.output[0] = c.output[1] = 1;
    }
    return c;
}

/* Where the source lies: in place, or as a padded copy whose columns are split by their remainder of `split`. */
static void lay_source(tc_plan *p, int64_t channels, const int64_t *size, const int64_t *padded, const int64_t *before,
                       int64_t split, int mixed, int copied)
{
    tc_source *s = &p->src;
    const int64_t *shape = copied ? padded : size;
    s->channels = channels;
    s->split = split;
    s->column = above(shape[2], split);
    const int64_t row = split * s->column;
    for (int a = 0; a < 3; a++) {
        s->size[a] = size[a];
        s->padded[a] = shape[a];
        s->before[a] = before[a];
    }
    s->image = channels * shape[0] * shape[1] * row;
    s->channel = mixed ? row : shape[0] * shape[1] * row;
    s->row = mixed ? channels * row : row;
    s->depth = shape[1] * s->row;
    s->planes = copied ? p->N * channels : 0;
    s->slack = 2 * p->lanes;
    s->copy = copied ? take(p, p->N * s->image + s->slack, p->itemsize) : NULL;
    s->bundle = most(1, above(s->planes, BUNDLES));
}

static int64_t column(const tc_source *s, int64_t j) { return j % s->split * s->column + j / s->split; }

/* Tiles are numbered, channel tiles first: a test may ask for one, and gets it wherever it can be used. */
static double favour(const tc_plan *p, int tile, double cost) { return tile == p->favourite ? cost * 1e-9 : cost; }

/* The tile that needs the fewest cycles by a count of issue slots, for T steps a sum and rows of `length` cells: two
 * multiply-adds a cycle, or two loads; storing costs what it does. */
static void choose_tile(tc_plan *p, double T, int64_t length, int step)
{
    const int64_t L = p->lanes, Co = p->Co;
    const int direct = length >= L && step == 1;
    double best = -1;
    for (int i = 0; i < p->level->row_shapes; i++) {
        const int R = p->level->rows[i][0], K = p->level->rows[i][1];
        const double each = T * most_of(1.08 * R * K / 2, (1.5 * R + K) / 2, 4) + 30 + R * K * (direct ? 1 : 20);
        const double cost = favour(p, p->level->channel_shapes + i, (double)(above(length, L) * above(Co, K)) * each / R);
        if (best < 0 || cost < best)
            best = cost, p->kind = ROWS, p->shape = i, p->width = p->last = K;
    }
    const int64_t rest = Co % (2 * L), pairs = Co / (2 * L) + (rest > L), single = rest > 0 && rest <= L;
    for (int i = 0; i < p->level->channel_shapes; i++) {
        const int P = p->level->channels[i][0], G = p->level->channels[i][1];
        if (G > length)
            continue;
        double each = 0;
        for (int R = 1; R <= 2; R++) {
            const double slots = most_of(R * P * G / 2.0, (R + P * G) / 2.0, 4) * (G == 1 ? 1.1 : 1);
            each += (double)(R == 2 ? pairs : single) * (T * slots + 30 + R * P * (step == 1 ? 48 : 20 * G));
        }
        const double cost = favour(p, i, (double)above(length, G) * each / P);
        if (cost < best) {
            best = cost, p->kind = CHANNELS, p->shape = i;
            p->width = pairs ? 2 * L : L;
            p->last = single ? L : 2 * L;
        }
    }
    p->blocks = above(Co, p->width);
}

/* Tables of a phase: its taps as offsets in the source and in w, and its units: groups of neighbours along its rows. */
static void lay_phase(tc_plan *p, tc_phase *f, const tc_axis *axis)
{
    const int64_t *taps = (int64_t[]){axis[0].taps, axis[1].taps, axis[2].taps};
    const int64_t reach = p->kind == ROWS ? p->lanes : p->level->channels[p->shape][1];
    const int64_t wide = p->kind == ROWS ? p->level->rows[p->shape][0] : p->level->channels[p->shape][0];
    for (int a = 0; a < 3; a++)
        f->axis[a] = axis[a];
    f->T = p->Ci * volume(taps);
    f->reach = reach;
    f->across = above(axis[2].cells, reach);
    f->units = p->N * axis[0].cells * axis[1].cells * f->across;
    f->each = above(most(f->units, 1), p->chunks * wide) * wide;
    f->packed = p->packed_size;
    f->group = (f->T + 1) * ((p->blocks - 1) * p->width + p->last);
    p->packed_size += p->groups * f->group;
    f->offs = take(p, f->T, sizeof(int64_t));
    f->in_w = take(p, f->T, sizeof(int64_t));
    if (!f->offs)
        return;
    int64_t t = 0;
    for (int64_t c = 0; c < p->Ci; c++)
        for (int64_t i = 0; i < taps[0]; i++)
            for (int64_t j = 0; j < taps[1]; j++)
                for (int64_t k = 0; k < taps[2]; k++, t++) {
                    f->offs[t] = c * p->src.channel + (axis[0].offset + i * axis[0].offset_step) * p->src.depth +
                                 (axis[1].offset + j * axis[1].offset_step) * p->src.row +
                                 (p->src.split > 1 ? column(&p->src, k * axis[2].offset_step) : k * axis[2].offset_step);
                    const int64_t kd = axis[0].tap + i * axis[0].tap_step, kh = axis[1].tap + j * axis[1].tap_step;
                    f->in_w[t] = c * p->w_in + (kd * p->kernel[1] + kh) * p->kernel[2] + axis[2].tap + k * axis[2].tap_step;
                }
}

static void finish_plan(tc_plan *p, int phases)
{
    p->phases = phases;
    p->packed = take(p, p->packed_size, p->itemsize);
    p->packs = phases * p->groups * p->blocks;
    p->items[0] = p->packs + above(p->src.planes, p->src.bundle);
    p->items[1] = p->chunks * phases * p->groups * p->blocks;
    p->items[2] = 0;
}

static void set_chunks(tc_plan *p, int64_t phases)
{
    const int64_t numbers = p->N * p->Ci * (p->src.image / p->src.channels);
    p->chunks = most(above(numbers, CHUNK), above(TASKS, phases * p->groups * p->blocks));
}

static void plan_forward(tc_plan *p, const tc_conv *given)
{
    int gathers;
    const tc_conv c = flatten(*given, &gathers);
    int64_t padded[3];
    int copied = gathers || c.stride[2] > 1;
    for (int a = 0; a < 3; a++) {
        padded[a] = (c.output[a] - 1) * c.stride[a] + (c.kernel[a] - 1) * c.dilation[a] + 1;
        copied |= c.padding[a] > 0 || padded[a] > c.input[a];
        p->kernel[a] = c.kernel[a];
        p->dst_size[a] = c.output[a];
    }
    p->Ci = c.C / c.groups, p->Co = c.O / c.groups;
    p->w_in = volume(c.kernel), p->w_out = p->Ci * p->w_in;
    choose_tile(p, (double)(p->Ci * p->w_in), c.output[2], 1);
    copied |= p->kind == ROWS && c.output[2] < p->lanes; /* a vector would reach beyond the row */
    lay_source(p, c.C, c.input, padded, c.padding, c.stride[2], copied && c.C >= MIX * c.groups, copied);
    set_chunks(p, 1);
    tc_phase *f = p->phase = take(p, 1, sizeof(tc_phase));
    tc_phase counted;
    const tc_axis axes[3] = {forward_axis(&c, 0), forward_axis(&c, 1), forward_axis(&c, 2)};
    lay_phase(p, f ? f : &counted, axes);
    finish_plan(p, 1);
}

/* The next phase with cells and taps, in the order of the remainders; 0 after the last. */
static int next_phase(const tc_conv *c, int64_t *number, tc_axis *axis)
{
    for (; *number < volume(c->stride); ++*number) {
        int64_t r = *number, full = 1;
        for (int a = 2; a >= 0; r /= c->stride[a], a--) {
            axis[a] = phase_axis(c, a, r % c->stride[a]);
            full *= axis[a].cells * axis[a].taps;
        }
        if (full)
            return ++*number, 1;
    }
    return 0;
}

static void plan_input_grad(tc_plan *p, const tc_conv *given)
{
    int gathers;
    const tc_conv c = flatten(*given, &gathers);
    int64_t padded[3], before[3] = {0, 0, 0}, after[3] = {0, 0, 0}, at = 0, phases = 0, cells = 0, shortest = c.input[2];
    tc_axis axis[3];
    while (next_phase(&c, &at, axis)) {
        for (int a = 0; a < 3; a++) {
            before[a] = most(before[a], -(axis[a].src + (axis[a].taps - 1) * axis[a].offset_step));
            after[a] = most(after[a], axis[a].src + axis[a].cells - c.output[a]);
        }
        cells += axis[0].cells * axis[1].cells * axis[2].cells;
        shortest = least(shortest, axis[2].cells);
        phases++;
    }
    int copied = gathers;
    for (int a = 0; a < 3; a++) {
        padded[a] = c.output[a] + before[a] + after[a];
        copied |= padded[a] > c.output[a];
        p->kernel[a] = c.kernel[a];
        p->dst_size[a] = c.input[a];
    }
    p->partial = cells < volume(c.input);
    p->Ci = c.O / c.groups, p->Co = c.C / c.groups;
    p->w_in = p->Co * volume(c.kernel), p->w_out = volume(c.kernel);
    choose_tile(p, (double)(p->Ci * p->w_out) / (double)most(phases, 1), shortest, (int)c.stride[2]);
    copied |= p->kind == ROWS && shortest < p->lanes;
    lay_source(p, c.O, c.output, padded, before, 1, copied && c.O >= MIX * c.groups, copied);
    set_chunks(p, most(phases, 1));
    p->phase = take(p, phases, sizeof(tc_phase));
    at = 0;
    for (int64_t i = 0; next_phase(&c, &at, axis); i++) {
        for (int a = 0; a < 3; a++)
            axis[a].src += before[a];
        tc_phase counted;
        lay_phase(p, p->phase ? p->phase + i : &counted, axis);
    }
    finish_plan(p, (int)phases);
}
