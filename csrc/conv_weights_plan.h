/* The weight gradient as tables and sizes, in two designs, included by conv.c alone.
 *
 *     dw[o, tap] = sum over n, position  y[n, o, position] * x[n, base(tap) + xo(position)]
 *
 * By channels: y is packed with its channels innermost, and the channel tile runs with positions in the role of steps and
 * taps in that of positions. By rows, for few channels: the dot tile, vectors of positions of x against those of y; the
 * lanes of a sum are added up at the end. Either way the positions are cut into slices by the shape alone, and the sums of
 * the slices are added up in order. Read next: conv_weights.h.
 */

enum { DEPTH = 224, ROW_DEPTH = 64 }; /* positions, or vectors of them, summed before a task moves on to other taps */
enum { SMALL = 16384 };               /* sums that stay in cache and are cheap to add up */

/* Cycles by channels of one position of one group, and the group of neighbouring taps that needs fewest. */
static double cost_by_channels(const tc_plan *p, const tc_conv *c, int *shape)
{
    const int64_t L = p->lanes, rows = p->Ci * c->kernel[0] * c->kernel[1], R = above(p->Co, L);
    double best = -1;
    for (int i = 0; i < p->level->channel_shapes; i++) {
        const int P = p->level->channels[i][0], G = p->level->channels[i][1];
        if (G > c->kernel[2])
            continue;
        const double each = most_of(P * G / 2.0, R > 1 ? 2 : 4, 0) * (G == 1 ? 1.1 : 1);
        const double cost = favour(p, i, (double)R * ((double)above(above(c->kernel[2], G) * rows, P) * each + (double)L / 2));
        if (best < 0 || cost < best)
            best = cost, *shape = i;
    }
    return best;
}

/* Cycles by rows of one vector of positions of one group, of so many, and the dot tile that needs fewest. */
static double cost_by_rows(const tc_plan *p, int64_t taps, double vectors, int *shape)
{
    double best = -1;
    for (int i = 0; i < p->level->dot_shapes; i++) {
        const int K = p->level->dots[i][0], P = p->level->dots[i][1];
        const double count = (double)(above(p->Co, K) * above(taps, P)) * most_of(0.75 * K * P, 1.1 * K + 1.5 * P, 0);
        const double cost = favour(p, p->level->channel_shapes + i, count + 3.0 * (double)(p->Co * taps) * p->lanes / vectors);
        if (best < 0 || cost < best)
            best = cost, *shape = i;
    }
    return best;
}

/* For every step of a few images, where it reads in x and (by rows) in y. */
static void lay_positions(tc_plan *p, const tc_conv *c)
{
    const int64_t L = p->lanes, OW = c->output[2], rows = c->output[0] * c->output[1];
    int64_t full = 0, cut = p->images * rows * p->whole;
    if (!p->xo)
        return;
    for (int64_t n = 0; n < p->images; n++)
        for (int64_t r = 0; r < rows; r++) {
            const int64_t x = n * p->src.image + r / c->output[1] * c->stride[0] * p->src.depth +
                              r % c->output[1] * c->stride[1] * p->src.row;
            if (p->kind == CHANNELS) {
                for (int64_t j = 0; j < OW; j++)
                    p->xo[full++] = x + column(&p->src, j * c->stride[2]);
                continue;
            }
            const int64_t y = n * c->O * p->positions + r * OW;
            for (int64_t j = 0; j + L <= OW; j += L, full++)
                p->xo[full] = x + j, p->yo[full] = y + j;
            if (OW % L > 0) /* the last vector of a row ends with the row, if the row is long enough */
                p->xo[cut] = x + most(0, OW - L), p->yo[cut++] = y + most(0, OW - L);
        }
}

/* For every group of `reach` neighbouring taps, where it begins in x and in a row of w. */
static void lay_taps(tc_plan *p, const tc_conv *c)
{
    const int64_t *k = c->kernel, *d = c->dilation;
    int64_t i = 0;
    for (int64_t row = 0; p->tap_src && row < p->Ci * k[0] * k[1]; row++)
        for (int64_t j = 0; j < k[2]; j += p->reach, i++) {
            const int64_t start = least(j, k[2] - p->reach);
            p->tap_src[i] = row / k[1] / k[0] * p->src.channel + row / k[1] % k[0] * d[0] * p->src.depth +
                            row % k[1] * d[1] * p->src.row + column(&p->src, start * d[2]);
            p->tap_w[i] = row * k[2] + start;
        }
}

/* Tasks: blocks of channels x parts of the taps x slices of the positions, whose sums are added up in order. */
static void lay_sums(tc_plan *p)
{
    const int64_t each = p->kind == CHANNELS ? p->reach : p->lanes, blocks = p->groups * p->blocks; /* numbers of a sum */
    const int64_t sums = p->tiles * p->wide * each * p->groups * p->channels, wanted = above(TASKS, blocks);
    const int small = sums <= SMALL; /* a slice reads its positions once, a part all of them */
    p->slices = small ? most(1, least(p->steps, wanted)) : 1;
    p->parts = least(p->tiles, above(wanted, p->slices));
    if (!small)
        p->slices = most(1, least(p->steps, wanted / p->parts));
    p->sums = take(p, sums * p->slices, p->itemsize);
    p->items[1] = blocks * p->slices * p->parts;
    p->pieces = above(p->taps, 512);
    p->items[2] = blocks * p->pieces;
}

static void plan_weight_grad(tc_plan *p, const tc_conv *given)
{
    int gathers, channel_shape = 0, dot_shape = 0, copied = 0;
    const tc_conv c = flatten(*given, &gathers);
    int64_t padded[3];
    p->Ci = c.C / c.groups, p->Co = c.O / c.groups;
    p->taps = p->Ci * volume(c.kernel);
    p->positions = volume(c.output);
    const int64_t L = p->lanes, OW = c.output[2], rows = p->positions / OW;
    const double by_channels = (double)(p->N * c.groups * p->positions) * cost_by_channels(p, &c, &channel_shape);
    const double vectors = (double)(p->N * rows * above(OW, L));
    const double by_rows = (double)c.groups * vectors * cost_by_rows(p, p->taps, vectors, &dot_shape);
    p->kind = by_rows < by_channels ? ROWS : CHANNELS;
    for (int a = 0; a < 3; a++) {
        padded[a] = (c.output[a] - 1) * c.stride[a] + (c.kernel[a] - 1) * c.dilation[a] + 1;
        copied |= c.padding[a] > 0 || padded[a] > c.input[a];
        p->kernel[a] = c.kernel[a];
    }
    /* neighbours of a tile must be neighbours in memory: taps by channels, positions by rows */
    const int64_t split = p->kind == ROWS ? c.stride[2] : c.kernel[2] > 1 ? c.dilation[2] : 1;
    copied |= split > 1 || (p->kind == ROWS && OW < L);
    lay_source(p, c.C, c.input, padded, c.padding, split, 0, copied);
    int64_t depth, per_image; /* steps of a chunk; rows or positions of an image */
    if (p->kind == CHANNELS) {
        const int64_t rest = p->Co % (2 * L), pairs = p->Co / (2 * L) + (rest > L);
        p->shape = channel_shape;
        p->wide = p->level->channels[p->shape][0], p->reach = p->level->channels[p->shape][1];
        p->width = pairs ? 2 * L : L;
        p->last = rest > 0 && rest <= L ? L : p->width;
        depth = DEPTH, per_image = p->positions, p->whole = 1;
    } else {
        p->shape = dot_shape;
        p->wide = p->level->dots[p->shape][1], p->reach = 1;
        p->width = p->last = p->level->dots[p->shape][0];
        p->whole = OW / L, p->keep = OW % L;
        depth = most(1, ROW_DEPTH / above(OW, L)), per_image = rows;
    }
    p->blocks = above(p->Co, p->width);
    p->channels = (p->blocks - 1) * p->width + p->last;
    p->per_image = per_image;
    p->images = most(1, least(p->N, depth / per_image));
    p->deep = p->images > 1 ? p->images * per_image : above(per_image, most(1, (per_image + depth / 2) / depth));
    p->chunks = p->images > 1 ? 1 : above(per_image, p->deep);
    p->steps = p->images > 1 ? above(p->N, p->images) : p->N * p->chunks;
    p->groups_of_taps = p->Ci * c.kernel[0] * c.kernel[1] * above(c.kernel[2], p->reach);
    p->tiles = above(p->groups_of_taps, p->wide);
    const int64_t entries = p->kind == CHANNELS ? p->positions : rows * above(OW, L);
    p->xo = take(p, p->images * entries, sizeof(int64_t));
    p->yo = take(p, p->images * entries, sizeof(int64_t));
    p->tap_src = take(p, p->groups_of_taps, sizeof(int64_t));
    p->tap_w = take(p, p->groups_of_taps, sizeof(int64_t));
    lay_positions(p, &c);
    lay_taps(p, &c);
    p->packs = p->kind == CHANNELS ? p->N * p->groups * p->blocks : OW < L ? least(p->N, BUNDLES) : 0;
    p->packed_size = p->kind == CHANNELS ? p->N * p->positions * p->groups * p->channels
                     : p->packs          ? p->N * c.O * p->positions + L : 0;
    p->packed = take(p, p->packed_size, p->itemsize);
    p->items[0] = p->packs + above(p->src.planes, p->src.bundle);
    lay_sums(p);
}
