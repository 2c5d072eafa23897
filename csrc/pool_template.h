/* Included by pool.c once for each dtype: REAL is the type, PLACE an integer of its width, NAME(f) the function's name. */

/* Fold one cell of each of n windows, s apart, into their maxima. A NaN beats every number and nothing beats a NaN;
 * selects and no branch, because branches on data are mispredicted half the time and keep the loop out of vectors. */
static inline void NAME(fold)(const REAL *restrict x, PLACE place, PLACE s, PLACE n, REAL *restrict top,
                              PLACE *restrict best)
{
    for (PLACE o = 0; o < n; o++) {
        const REAL v = x[o * s], t = top[o];
        const PLACE here = place + o * s, b = best[o];
        const PLACE wins = (t == t) & !(v <= t);
        top[o] = wins ? v : t;
        best[o] = wins ? here : b;
    }
}

/* Fold the row of x that begins at `line` in its plane into the m windows from c on. */
static void NAME(fold_row)(const REAL *x, int64_t line, const tc_pool *p, int64_t c, int64_t m, REAL *top, PLACE *best)
{
    const int64_t s = p->stride[2];
    for (int64_t kw = 0; kw < p->kernel[2]; kw++) {
        const int64_t shift = c * s + kw * p->dilation[2] - p->padding[2];
        int64_t first, last = reach(p->input[2], m, s, shift, &first);
        if (last <= first)
            continue;
        const int64_t i = line + first * s + shift;
        const PLACE n = (PLACE)(last - first);
        if (s == 1) /* literal strides become vectors */
            NAME(fold)(x + i, (PLACE)i, 1, n, top + first, best + first);
        else if (s == 2)
            NAME(fold)(x + i, (PLACE)i, 2, n, top + first, best + first);
        else
            NAME(fold)(x + i, (PLACE)i, (PLACE)s, n, top + first, best + first);
    }
}

static void NAME(max_planes)(const REAL *x, int64_t planes, const tc_pool *p, REAL *y, int64_t *at)
{
    const int64_t D = p->input[0], H = p->input[1], W = p->input[2], OW = p->output[2];
    REAL top[CHUNK];
    PLACE best[CHUNK];
    for (int64_t plane = 0; plane < planes; plane++, x += D * H * W)
        for (int64_t od = 0; od < p->output[0]; od++)
            for (int64_t oh = 0; oh < p->output[1]; oh++, y += OW, at += OW)
                for (int64_t c = 0; c < OW; c += CHUNK) {
                    const int64_t m = OW - c < CHUNK ? OW - c : CHUNK;
                    const int64_t d0 = od * p->stride[0] - p->padding[0], h0 = oh * p->stride[1] - p->padding[1];
                    const int64_t line = (first_inside(d0, p->dilation[0]) * H + first_inside(h0, p->dilation[1])) * W;
                    for (int64_t o = 0; o < m; o++) {
                        top[o] = (REAL)-INFINITY;
                        best[o] = (PLACE)(line + first_inside((c + o) * p->stride[2] - p->padding[2], p->dilation[2]));
                    }
                    for (int64_t kd = 0, d = d0; kd < p->kernel[0]; kd++, d += p->dilation[0])
                        for (int64_t kh = 0, h = h0; kh < p->kernel[1]; kh++, h += p->dilation[1])
                            if (d >= 0 && d < D && h >= 0 && h < H)
                                NAME(fold_row)(x, (d * H + h) * W, p, c, m, top, best);
                    for (int64_t o = 0; o < m; o++) {
                        y[c + o] = top[o];
                        at[c + o] = best[o];
                    }
                }
}

/* Walk every row of y with every row of x under it, and every tap along them: y += x, or x += y for the adjoint. */
static inline void NAME(sum_rows)(REAL *x, REAL *y, int64_t planes, const tc_pool *p, int adjoint)
{
    const int64_t D = p->input[0], H = p->input[1], W = p->input[2], OW = p->output[2], s = p->stride[2];
    for (int64_t plane = 0; plane < planes; plane++, x += D * H * W)
        for (int64_t od = 0; od < p->output[0]; od++)
            for (int64_t oh = 0; oh < p->output[1]; oh++, y += OW)
                for (int64_t kd = 0; kd < p->kernel[0]; kd++)
                    for (int64_t kh = 0; kh < p->kernel[1]; kh++) {
                        const int64_t d = od * p->stride[0] + kd * p->dilation[0] - p->padding[0];
                        const int64_t h = oh * p->stride[1] + kh * p->dilation[1] - p->padding[1];
                        if (d < 0 || d >= D || h < 0 || h >= H)
                            continue;
                        for (int64_t kw = 0; kw < p->kernel[2]; kw++) {
                            const int64_t shift = kw * p->dilation[2] - p->padding[2];
                            int64_t first, last = reach(W, OW, s, shift, &first);
                            REAL *restrict row = x + (d * H + h) * W;
                            REAL *restrict sums = y;
                            if (adjoint)
                                for (int64_t o = first; o < last; o++)
                                    row[o * s + shift] += sums[o];
                            else
                                for (int64_t o = first; o < last; o++)
                                    sums[o] += row[o * s + shift];
                        }
                    }
}

/* Some of the planes: item i of ITEMS. */
static void NAME(some_planes)(void *data, int64_t i)
{
    const planes_to_pool *t = data;
    const int64_t first = t->planes * i / ITEMS, many = t->planes * (i + 1) / ITEMS - first;
    const int64_t in = cells(t->p->input), out = cells(t->p->output);
    REAL *x = (REAL *)t->x + first * in, *y = (REAL *)t->y + first * out; /* one of them is only read */
    if (t->what == MAXIMA) {
        NAME(max_planes)(x, many, t->p, y, t->at + first * out);
        return;
    }
    const int adjoint = t->what == SUMS_ADJOINT;
    memset(adjoint ? x : y, 0, sizeof(REAL) * (size_t)(many * (adjoint ? in : out)));
    NAME(sum_rows)(x, y, many, t->p, adjoint);
}

void NAME(tc_max_pool)(const REAL *x, int64_t planes, const tc_pool *p, REAL *y, int64_t *at, tc_pool_of_threads pool,
                       int threads)
{
    planes_to_pool t = {MAXIMA, planes, p, (void *)x, y, at};
    tc_each(NAME(some_planes), &t, ITEMS, pool, threads);
}

void NAME(tc_sum_pool)(const REAL *x, int64_t planes, const tc_pool *p, REAL *y, tc_pool_of_threads pool, int threads)
{
    planes_to_pool t = {SUMS, planes, p, (void *)x, y, NULL};
    tc_each(NAME(some_planes), &t, ITEMS, pool, threads);
}

void NAME(tc_sum_pool_adjoint)(const REAL *y, int64_t planes, const tc_pool *p, REAL *x, tc_pool_of_threads pool, int threads)
{
    planes_to_pool t = {SUMS_ADJOINT, planes, p, x, (void *)y, NULL};
    tc_each(NAME(some_planes), &t, ITEMS, pool, threads);
}
