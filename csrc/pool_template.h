/* For each vector level and dtype: REAL is the type, PLACE an integer of its width, NAME(f) the function's name. */

/* Fold one cell of each of n windows, s apart, into their maxima. A NaN beats every number and nothing beats a NaN;
 * selects and no branch, because branches on data are mispredicted half the time and keep the loop out of vectors. */
INLINE void NAME(fold)(const REAL *restrict x, PLACE place, PLACE s, PLACE n, REAL *restrict top, PLACE *restrict best)
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
static TARGET void NAME(fold_row)(const REAL *x, int64_t line, const tc_pool *p, int64_t c, int64_t m, REAL *top, PLACE *best)
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

static TARGET void NAME(max_planes)(const REAL *x, int64_t planes, const tc_pool *p, REAL *y, int64_t *at)
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

/* n cells of x, s apart, into n sums, or back. */
INLINE void NAME(add)(REAL *restrict x, REAL *restrict sums, int64_t s, int64_t n, int adjoint)
{
    if (adjoint)
        for (int64_t o = 0; o < n; o++)
            x[o * s] += sums[o];
    else
        for (int64_t o = 0; o < n; o++)
            sums[o] += x[o * s];
}

/* Walk every row of y with every row of x under it, and every tap along them: y += x, or x += y for the adjoint. */
INLINE void NAME(sum_rows)(REAL *x, REAL *y, int64_t planes, const tc_pool *p, int adjoint)
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
                            if (last <= first)
                                continue;
                            REAL *row = x + (d * H + h) * W + first * s + shift;
                            if (s == 1) /* literal strides become vectors */
                                NAME(add)(row, y + first, 1, last - first, adjoint);
                            else if (s == 2)
                                NAME(add)(row, y + first, 2, last - first, adjoint);
                            else
                                NAME(add)(row, y + first, s, last - first, adjoint);
                        }
                    }
}

static TARGET void NAME(gather)(const REAL *x, int64_t planes, const tc_pool *p, REAL *y, const int64_t *at)
{
    const int64_t in = cells(p->input), out = cells(p->output);
    for (int64_t plane = 0; plane < planes; plane++, x += in, y += out, at += out)
        for (int64_t o = 0; o < out; o++)
            y[o] = x[at[o]];
}

/* In the order of o, so that overlapping windows add up the same on any number of threads. */
static TARGET void NAME(scatter)(REAL *x, int64_t planes, const tc_pool *p, const REAL *y, const int64_t *at)
{
    const int64_t in = cells(p->input), out = cells(p->output);
    for (int64_t plane = 0; plane < planes; plane++, x += in, y += out, at += out) {
        memset(x, 0, sizeof(REAL) * (size_t)in); /* while it is in cache */
        for (int64_t o = 0; o < out; o++)
            x[at[o]] += y[o];
    }
}

/* Some of the planes: item i of ITEMS. */
static TARGET void NAME(some_planes)(void *data, int64_t i)
{
    const planes_to_pool *t = data;
    const int64_t first = t->planes * i / ITEMS, many = t->planes * (i + 1) / ITEMS - first;
    const int64_t in = cells(t->p->input), out = cells(t->p->output);
    REAL *x = (REAL *)t->x + first * in, *y = (REAL *)t->y + first * out; /* one of them is only read */
    switch (t->what) {
    case TC_MAXIMA:
        NAME(max_planes)(x, many, t->p, y, t->at + first * out);
        break;
    case TC_GATHER:
        NAME(gather)(x, many, t->p, y, t->at + first * out);
        break;
    case TC_SCATTER:
        NAME(scatter)(x, many, t->p, y, t->at + first * out);
        break;
    case TC_SUMS:
        memset(y, 0, sizeof(REAL) * (size_t)(many * out));
        NAME(sum_rows)(x, y, many, t->p, 0);
        break;
    case TC_SUMS_ADJOINT:
        memset(x, 0, sizeof(REAL) * (size_t)(many * in));
        NAME(sum_rows)(x, y, many, t->p, 1);
    }
}
