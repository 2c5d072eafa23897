/* The drivers of forward and input gradient, included once for each vector level and dtype: items of work of a plan.
 *
 * Items are independent: any thread may take any of them, in any order, and the numbers come out the same bit for bit.
 * Stage 0 packs: blocks of weights as (steps, channels of a tile), planes of the source with zeros around them.
 * Stage 1 sums: a task is a chunk of the units of a phase, for one block of channels.
 */

/* A block of weights as (T, width), channels innermost, and as row T what the sums start from; absent channels are 0. */
static TARGET void NAME(pack_weights)(const tc_plan *p, int64_t item)
{
    const tc_phase *f = p->phase + item / (p->groups * p->blocks);
    const int64_t g = item / p->blocks % p->groups, b = item % p->blocks, width = b + 1 < p->blocks ? p->width : p->last;
    const int64_t valid = least(width, p->Co - b * p->width), taps = f->T / p->Ci, T = f->T, *in_w = f->in_w;
    REAL *to = (REAL *)p->packed + f->packed + g * f->group + b * (T + 1) * p->width;
    const int64_t first = g * (p->map == TC_FORWARD ? p->Co * p->w_out : p->Ci * p->w_in) + b * p->width * p->w_out;
    const REAL *w = (const REAL *)p->b + first;
    const int64_t whole = p->map == TC_FORWARD && taps == p->w_in && width % LANES == 0 ? T / LANES * LANES : 0;
    for (int64_t o = 0; o < width; o += LANES) {
        const int64_t rows = valid - o < LANES ? valid - o : LANES, lanes = width - o < LANES ? width - o : LANES;
        for (int64_t t = 0; t < whole; t += LANES) /* rows of w as they lie, turned over */
            NAME(turn)(w + o * p->w_out + t, p->w_out, rows, to + t * width + o, width);
        for (int64_t i = 0; i < lanes; i++)
            for (int64_t t = whole; t < T; t++)
                to[t * width + o + i] = i < rows ? w[(o + i) * p->w_out + in_w[t]] : 0;
    }
    const REAL *bias = p->bias ? (const REAL *)p->bias + g * p->Co + b * p->width : NULL;
    for (int64_t o = 0; o < width; o++)
        to[T * width + o] = bias && o < valid ? bias[o] : 0;
}

/* n numbers, in whole vectors where there is one: the last goes over the one before. */
INLINE void NAME(copy)(const REAL *from, REAL *to, int64_t n)
{
    if (n < LANES) {
        memcpy(to, from, (size_t)most(n, 0) * sizeof(REAL));
        return;
    }
    for (int64_t j = 0; j + LANES <= n; j += LANES)
        STORE(to + j, LOAD(from + j));
    STORE(to + n - LANES, LOAD(from + n - LANES));
}

/* A row of the source into a row of its copy, its columns split, zeros on either side. */
static TARGET void NAME(pad_row)(const tc_source *s, const REAL *x, REAL *to)
{
    const int64_t from = s->before[2], W = s->size[2];
    const int64_t many = most(0, least(W, s->padded[2] - from)); /* columns that no window reads stay out */
    if (s->split == 1) {
        if (s->column >= LANES && from <= LANES && s->column - from - many <= LANES) {
            STORE(to, (VEC){0});
            STORE(to + s->column - LANES, (VEC){0});
        } else {
            memset(to, 0, (size_t)s->column * sizeof(REAL));
        }
        if (many)
            NAME(copy)(x, to + from, many);
        return;
    }
    for (int64_t m = 0; m < s->split; m++, to += s->column) { /* column j of x goes to (j + from) / split, if it is of this m */
        const int64_t first = ((m - from) % s->split + s->split) % s->split, left = (first + from) / s->split;
        const int64_t count = first < many ? above(many - first, s->split) : 0, step = s->split;
        for (int64_t j = 0; j < left && j < s->column; j++)
            to[j] = 0;
        if (step == 2) /* literal strides become vectors */
            for (int64_t j = 0; j < count; j++)
                to[left + j] = x[first + 2 * j];
        else
            for (int64_t j = 0; j < count; j++)
                to[left + j] = x[first + step * j];
        for (int64_t j = left + count; j < s->column; j++)
            to[j] = 0;
    }
}

/* Some planes of the source, with zeros around them. */
static TARGET void NAME(pad_planes)(const tc_plan *p, const REAL *x, int64_t bundle)
{
    const tc_source *s = &p->src;
    const int64_t end = least(s->planes, (bundle + 1) * s->bundle), row = s->split * s->column;
    for (int64_t i = bundle * s->bundle; i < end; i++) {
        REAL *plane = (REAL *)s->copy + i / s->channels * s->image + i % s->channels * s->channel;
        for (int64_t d = 0; d < s->padded[0]; d++)
            for (int64_t h = 0; h < s->padded[1]; h++) {
                REAL *to = plane + d * s->depth + h * s->row;
                const int64_t a = d - s->before[0], b = h - s->before[1];
                if (a < 0 || a >= s->size[0] || b < 0 || b >= s->size[1])
                    memset(to, 0, (size_t)row * sizeof(REAL));
                else
                    NAME(pad_row)(s, x + ((i * s->size[0] + a) * s->size[1] + b) * s->size[2], to);
            }
    }
    if (end == s->planes) /* tiles may read, and drop, a little past the last plane */
        memset((REAL *)s->copy + p->N * s->image, 0, (size_t)s->slack * sizeof(REAL));
}

/* Walks the units of a phase: where the next one reads and writes, and how many cells of it are its own. */
typedef struct {
    const tc_plan *p;
    const tc_phase *f;
    const REAL *src;
    REAL *dst;
    int64_t n, d, h, j;
} NAME(walk);

static TARGET NAME(walk) NAME(walk_from)(const tc_plan *p, const tc_phase *f, int64_t g, int64_t o, int64_t unit)
{
    const int64_t rows = f->axis[1].cells, row = unit / f->across;
    NAME(walk) at = {p, f, p->src.copy ? p->src.copy : p->a, p->out, row / rows / f->axis[0].cells,
                     row / rows % f->axis[0].cells, row % rows, unit % f->across};
    at.src += g * p->Ci * p->src.channel;
    at.dst += (g * p->Co + o) * volume(p->dst_size);
    return at;
}

INLINE void NAME(next)(NAME(walk) *at, const REAL **src, REAL **dst)
{
    const tc_plan *p = at->p;
    const tc_axis *a = at->f->axis;
    /* the last of a row overlaps the one before */
    const int64_t start = most(0, least(at->j * at->f->reach, a[2].cells - at->f->reach));
    *src = at->src + at->n * p->src.image + (a[0].src + at->d * a[0].src_step) * p->src.depth +
           (a[1].src + at->h * a[1].src_step) * p->src.row + a[2].src + start;
    *dst = at->dst + ((at->n * p->groups * p->Co * p->dst_size[0] + a[0].dst + at->d * a[0].dst_step) * p->dst_size[1] +
                      a[1].dst + at->h * a[1].dst_step) * p->dst_size[2] + a[2].dst + start * a[2].dst_step;
    if (++at->j == at->f->across) {
        at->j = 0;
        if (++at->h == a[1].cells) {
            at->h = 0;
            if (++at->d == a[0].cells)
                at->d = 0, at->n++;
        }
    }
}

/* A task: phase, group, block of channels, and a chunk of the units. */
static TARGET void NAME(sum)(const tc_plan *p, int64_t item)
{
    const int64_t b = item % p->blocks, g = item / p->blocks % p->groups, fg = item / p->blocks / p->groups;
    const tc_phase *f = p->phase + fg % p->phases;
    const int64_t from = fg / p->phases * f->each, to = least(from + f->each, f->units), T = f->T;
    const int64_t width = b + 1 < p->blocks ? p->width : p->last, valid = least(width, p->Co - b * p->width);
    const int64_t step = volume(p->dst_size), apart = f->axis[2].dst_step;
    const REAL *w = (const REAL *)p->packed + f->packed + g * f->group + b * (T + 1) * p->width, *x[10];
    const int direct = p->kind == ROWS && f->axis[2].cells >= LANES && apart == 1 && valid == width;
    const int many = p->kind == ROWS ? p->level->rows[p->shape][0] : p->level->channels[p->shape][0];
    REAL *out[10], held[28 * LANES], *rows[10];
    if (from >= to)
        return;
    NAME(walk) at = NAME(walk_from)(p, f, g, b * p->width, from);
    for (int64_t unit = from; unit < to; unit += many) {
        const int n = to - unit < many ? (int)(to - unit) : many;
        for (int i = 0; i < many; i++) /* absent ones repeat the last: the same numbers are written twice */
            if (i < n)
                NAME(next)(&at, &x[i], &out[i]);
            else
                x[i] = x[i - 1], out[i] = out[i - 1];
        if (p->kind == CHANNELS) {
#define CASE(I, P, G)                                                                                                          \
    case I:                                                                                                                    \
        if (width == 2 * LANES)                                                                                                \
            NAME(channel_tile)(2, P, G, x, f->offs, T, w, p->relu, out, step, apart, valid);                                   \
        else                                                                                                                   \
            NAME(channel_tile)(1, P, G, x, f->offs, T, w, p->relu, out, step, apart, valid);                                   \
        break;
            switch (p->shape) { CHANNEL_SHAPES(CASE) }
#undef CASE
            continue;
        }
        for (int i = 0; i < many; i++)
            rows[i] = held + i * LANES;
#define CASE(I, R, K)                                                                                                          \
    case I:                                                                                                                    \
        NAME(row_tile)(R, K, x, f->offs, T, w, p->relu, direct ? out : rows, direct ? step : R * LANES);                       \
        break;
        switch (p->shape) { ROW_SHAPES(CASE) }
#undef CASE
        if (!direct)
            for (int i = 0; i < n; i++)
                for (int64_t k = 0; k < valid; k++)
                    for (int64_t j = 0; j < least(f->reach, f->axis[2].cells); j++)
                        out[i][k * step + j * apart] = held[(k * many + i) * LANES + j];
    }
}

static TARGET void NAME(correlate)(const tc_plan *p, int stage, int64_t item)
{
    if (stage == 1)
        NAME(sum)(p, item);
    else if (item < p->packs)
        NAME(pack_weights)(p, item);
    else
        NAME(pad_planes)(p, p->a, item - p->packs);
}
