/* The drivers of the weight gradient, included once for each vector level and dtype: items of work of a plan.
 *
 * Stage 0 packs y and pads x. Stage 1 sums: a task is a part of the taps, a slice of the positions and a block of channels,
 * and walks its positions in chunks that stay in cache. Stage 2 adds up the slices and puts the sums where they belong.
 */

/* By channels: a block of channels of an image of y as (positions, width); absent ones repeat the last. By rows, where
 * rows are shorter than a vector: a share of y as it is, with zeros behind the last. */
static TARGET void NAME(pack_y)(const tc_plan *p, int64_t item)
{
    const int64_t positions = p->positions, image = p->groups * p->Co * positions;
    if (p->kind == ROWS) {
        const int64_t from = p->N * item / p->packs, to = p->N * (item + 1) / p->packs;
        REAL *all = p->packed;
        memcpy(all + from * image, (const REAL *)p->b + from * image, (size_t)((to - from) * image) * sizeof(REAL));
        if (to == p->N)
            memset(all + to * image, 0, LANES * sizeof(REAL));
        return;
    }
    const int64_t n = item / (p->groups * p->blocks), g = item / p->blocks % p->groups, b = item % p->blocks;
    const int64_t width = b + 1 < p->blocks ? p->width : p->last, valid = least(width, p->Co - b * p->width);
    const REAL *y = (const REAL *)p->b + n * image + (g * p->Co + b * p->width) * positions;
    REAL *to = (REAL *)p->packed + (g * p->channels + b * p->width) * p->N * positions + n * positions * width;
    const int64_t whole = positions / LANES * LANES;
    for (int64_t o = 0; o < width; o += LANES) {
        const int64_t rows = valid - o < LANES ? valid - o : LANES;
        for (int64_t i = 0; i < whole; i += LANES)
            NAME(turn)(y + o * positions + i, positions, rows, to + i * width + o, width);
        for (int64_t i = whole; i < positions; i++)
            for (int64_t j = 0; j < LANES; j++)
                to[i * width + o + j] = y[(o + (j < rows ? j : rows - 1)) * positions + i];
    }
}

/* Add to the sums of one tile the products of T steps, and by rows those of the vectors that end the rows. */
INLINE void NAME(add_channels)(const int R, const int P, const int G, const REAL *const *x, const int64_t *xo, int64_t T,
                               const REAL *y, REAL *sums)
{
    VEC acc[28];
    UNROLL for (int i = 0; i < P * G * R; i++)
        acc[i] = LOAD(sums + i * LANES);
    NAME(channel_steps)(R, P, G, x, xo, T, y, acc);
    UNROLL for (int i = 0; i < P * G * R; i++)
        STORE(sums + i * LANES, acc[i]);
}

INLINE void NAME(add_rows)(const int K, const int P, const tc_plan *p, const REAL *const *x, const REAL *const *y,
                           int64_t row, int64_t rows, IVEC keep, REAL *sums)
{
    const int64_t whole = p->whole, cuts = p->images * p->per_image * whole + row;
    VEC acc[28];
    UNROLL for (int i = 0; i < K * P; i++)
        acc[i] = LOAD(sums + i * LANES);
    NAME(dot_steps)(K, P, x, p->xo + row * whole, y, p->yo + row * whole, rows * whole, 0, keep, acc);
    if (p->keep)
        NAME(dot_steps)(K, P, x, p->xo + cuts, y, p->yo + cuts, rows, 1, keep, acc);
    UNROLL for (int i = 0; i < K * P; i++)
        STORE(sums + i * LANES, acc[i]);
}

/* The lanes of the vector that ends a row: the last ones, or where rows are shorter than a vector, the first. */
static TARGET IVEC NAME(kept)(const tc_plan *p)
{
    union { IVEC v; INT lanes[LANES]; } mask;
    for (int64_t i = 0; i < LANES; i++)
        mask.lanes[i] = (p->whole ? i >= LANES - p->keep : i < p->keep) ? -1 : 0;
    return mask.v;
}

static TARGET void NAME(sum_weights)(const tc_plan *p, int64_t item)
{
    const int64_t b = item % p->blocks, g = item / p->blocks % p->groups, ps = item / p->blocks / p->groups;
    const int64_t slice = ps % p->slices, part = ps / p->slices, width = b + 1 < p->blocks ? p->width : p->last;
    const int64_t from = p->tiles * part / p->parts, to = p->tiles * (part + 1) / p->parts;
    const int64_t block = g * p->channels + b * p->width;
    const int64_t each = p->wide * width * (p->kind == CHANNELS ? p->reach : LANES); /* numbers of the sums of a tile */
    const int64_t image = p->groups * p->Co * p->positions, valid = least(width, p->Co - b * p->width);
    const REAL *src = (p->src.copy ? (const REAL *)p->src.copy : (const REAL *)p->a) + g * p->Ci * p->src.channel;
    const REAL *x[10], *y[6], *rows_of_y = (p->packs ? (const REAL *)p->packed : (const REAL *)p->b);
    REAL *sums = (REAL *)p->sums + block * p->slices * p->tiles * (each / width) + slice * p->tiles * each;
    const IVEC keep = NAME(kept)(p);
    memset(sums + from * each, 0, (size_t)((to - from) * each) * sizeof(REAL));
    for (int64_t c = p->steps * slice / p->slices; c < p->steps * (slice + 1) / p->slices; c++) {
        const int64_t n = p->images > 1 ? c * p->images : c / p->chunks, first = p->images > 1 ? 0 : c % p->chunks * p->deep;
        const int64_t many = least(p->deep, (p->images > 1 ? p->N - n : 1) * p->per_image - first);
        const REAL *w = (const REAL *)p->packed + block * p->N * p->positions + (n * p->positions + first) * width;
        for (int64_t k = 0; p->kind == ROWS && k < width; k++)
            y[k] = rows_of_y + n * image + (g * p->Co + b * p->width + least(k, valid - 1)) * p->positions;
        for (int64_t tile = from; tile < to; tile++) {
            for (int64_t i = 0; i < p->wide; i++)
                x[i] = src + n * p->src.image + p->tap_src[least(tile * p->wide + i, p->groups_of_taps - 1)];
            REAL *here = sums + tile * each;
            if (p->kind == CHANNELS) {
#define CASE(I, P, G)                                                                                                          \
    case I:                                                                                                                    \
        if (width == 2 * LANES)                                                                                                \
            NAME(add_channels)(2, P, G, x, p->xo + first, many, w, here);                                                      \
        else                                                                                                                   \
            NAME(add_channels)(1, P, G, x, p->xo + first, many, w, here);                                                      \
        break;
                switch (p->shape) { CHANNEL_SHAPES(CASE) }
#undef CASE
            } else {
#define CASE(I, K, P)                                                                                                          \
    case I:                                                                                                                    \
        NAME(add_rows)(K, P, p, x, y, first, many, keep, here);                                                                \
        break;
                switch (p->shape) { DOT_SHAPES(CASE) }
#undef CASE
            }
        }
    }
}

/* By channels, a piece of the taps of a block: (slices, taps, channels) to rows of w. */
static TARGET void NAME(gather_channels)(const tc_plan *p, REAL *sums, int64_t width, int64_t valid, int64_t piece, REAL *w)
{
    const int64_t G = p->reach, from = p->groups_of_taps * piece / p->pieces, to = p->groups_of_taps * (piece + 1) / p->pieces;
    const int64_t apart = p->tiles * p->wide * G * width, linear = p->kernel[2] % G == 0, end = to * G;
    for (int64_t s = 1; s < p->slices; s++)
        for (int64_t i = from * G * width; i < end * width; i++)
            sums[i] += sums[s * apart + i];
    int64_t t = from * G;
    for (; linear && t + LANES <= end; t += LANES)
        for (int64_t o = 0; o < valid; o += LANES) {
            REAL turned[LANES * LANES];
            NAME(turn)(sums + t * width + o, width, LANES, turned, LANES);
            for (int64_t i = 0; i < LANES && o + i < valid; i++)
                memcpy(w + (o + i) * p->taps + t, turned + i * LANES, LANES * sizeof(REAL));
        }
    for (; t < end; t++)
        for (int64_t o = 0; o < valid; o++)
            w[o * p->taps + p->tap_w[t / G] + t % G] = sums[t * width + o];
}

/* By rows: (slices, tiles, channels, taps of a tile, lanes) to rows of w. */
static TARGET void NAME(gather_rows)(const tc_plan *p, const REAL *sums, int64_t width, int64_t valid, int64_t piece, REAL *w)
{
    const int64_t P = p->wide, from = p->taps * piece / p->pieces, to = p->taps * (piece + 1) / p->pieces;
    for (int64_t t = from; t < to; t++)
        for (int64_t o = 0; o < valid; o++) {
            REAL v = 0;
            for (int64_t s = 0; s < p->slices; s++) {
                const REAL *lanes = sums + (((s * p->tiles + t / P) * width + o) * P + t % P) * LANES;
                for (int64_t i = 0; i < LANES; i++)
                    v += lanes[i];
            }
            w[o * p->taps + t] = v;
        }
}

static TARGET void NAME(correlate_weights)(const tc_plan *p, int stage, int64_t item)
{
    if (stage == 1) {
        NAME(sum_weights)(p, item);
    } else if (stage == 2) {
        const int64_t piece = item % p->pieces, gb = item / p->pieces, b = gb % p->blocks, g = gb / p->blocks;
        const int64_t width = b + 1 < p->blocks ? p->width : p->last, valid = least(width, p->Co - b * p->width);
        const int64_t a_channel = p->slices * p->tiles * p->wide * (p->kind == CHANNELS ? p->reach : LANES);
        REAL *sums = (REAL *)p->sums + (g * p->channels + b * p->width) * a_channel;
        REAL *w = (REAL *)p->out + (g * p->Co + b * p->width) * p->taps;
        if (p->kind == CHANNELS)
            NAME(gather_channels)(p, sums, width, valid, piece, w);
        else
            NAME(gather_rows)(p, sums, width, valid, piece, w);
    } else if (item < p->packs) {
        NAME(pack_y)(p, item);
    } else {
        NAME(pad_planes)(p, p->a, item - p->packs);
    }
}
