/* The register tiles, included once for each vector level and dtype: VEC is a vector of LANES numbers.
 *
 * A tile keeps a block of sums in registers and walks a table of offsets. What it reads per step is what must be loaded,
 * what it multiplies is the outer product of what it read. R, K, P and G are literals wherever a tile is called, so the
 * compiler unrolls the loops over them and gives every sum a register.
 *
 *     channel tile: R vectors of channels x P groups of G neighbours       row tile: R vectors of positions x K channels
 *
 *                 w[t, 0:L]   w[t, L:2L]                                               w[t, 0]  ...  w[t, K-1]
 *     x[0][off]   +---------+---------+                                x[0][off : +L]   +-----+-----+-----+
 *     x[0][off+1] |         |         |                                x[1][off : +L]   |     |     |     |
 *     x[1][off]   |   P*G x R sums    |                                x[2][off : +L]   |    R x K sums   |
 *     x[1][off+1] +---------+---------+                                x[3][off : +L]   +-----+-----+-----+
 *
 *     many channels, rows of any length                                few channels, long rows
 *
 * The dot tile, for weight gradients of few channels, has vectors of positions on both sides, and every lane a sum.
 */

/* acc += the products of T steps. w is (T, R*LANES). */
INLINE void NAME(channel_steps)(const int R, const int P, const int G, const REAL *const *x, const int64_t *offs, int64_t T,
                                const REAL *w, VEC *acc)
{
    const REAL *at[10];
    UNROLL for (int p = 0; p < P; p++)
        at[p] = x[p];
    for (int64_t t = 0; t < T; t++, w += R * LANES) {
        const int64_t off = offs[t];
        VEC row[2];
        UNROLL for (int r = 0; r < R; r++)
            row[r] = LOAD(w + r * LANES);
        UNROLL for (int p = 0; p < P; p++)
            UNROLL for (int g = 0; g < G; g++)
                UNROLL for (int r = 0; r < R; r++)
                    acc[(p * G + g) * R + r] += at[p][off + g] * row[r];
        PREFETCH(at[P - 1] + off + 48);
    }
}

/* Rows of a square turned over: LANES vectors, of which the first `rows` are given and the last of them stands for the rest. */
INLINE void NAME(weave)(VEC *v)
{
    for (int round = 1; round < LANES; round *= 2) {
        VEC next[LANES];
        UNROLL for (int i = 0; i < LANES / 2; i++) {
            next[2 * i] = LOW(v[i], v[i + LANES / 2]);
            next[2 * i + 1] = HIGH(v[i], v[i + LANES / 2]);
        }
        UNROLL for (int i = 0; i < LANES; i++)
            v[i] = next[i];
    }
}

/* dst[j*dstep + i] = src[i*sstep + j] for i, j < LANES; rows from `rows` on repeat the last. */
static TARGET void NAME(turn)(const REAL *src, int64_t sstep, int64_t rows, REAL *dst, int64_t dstep)
{
    VEC v[LANES];
    UNROLL for (int i = 0; i < LANES; i++)
        v[i] = LOAD(src + (i < rows ? i : rows - 1) * sstep);
    NAME(weave)(v);
    UNROLL for (int j = 0; j < LANES; j++)
        STORE(dst + j * dstep, v[j]);
}

/* Sums that start from the bias, turned over in registers as they are stored: group p of channel k < valid goes to
 * out[p] + k*step, its neighbours `apart`. */
INLINE void NAME(channel_tile)(const int R, const int P, const int G, const REAL *const *x, const int64_t *offs, int64_t T,
                               const REAL *w, int relu, REAL *const *out, int64_t step, int64_t apart, int64_t valid)
{
    VEC acc[28];
    UNROLL for (int i = 0; i < P * G; i++)
        UNROLL for (int r = 0; r < R; r++)
            acc[i * R + r] = LOAD(w + (T * R + r) * LANES);
    NAME(channel_steps)(R, P, G, x, offs, T, w, acc);
    if (relu) {
        UNROLL for (int i = 0; i < P * G * R; i++)
            acc[i] = CLIP(acc[i]);
    }
    VEC sums[28];
    UNROLL for (int i = 0; i < P * G * R; i++)
        sums[i] = acc[i];
    for (int r = 0; r < R; r++)
        for (int p = 0; p < P; p++)
            for (int g = 0; g < G; g += LANES) {
                const int many = G - g < LANES ? G - g : LANES;
                VEC v[LANES];
                UNROLL for (int i = 0; i < LANES; i++)
                    v[i] = sums[(p * G + g + (i < many ? i : many - 1)) * R + r];
                NAME(weave)(v);
                for (int lane = 0; lane < LANES && r * LANES + lane < valid; lane++) {
                    REAL *to = out[p] + (r * LANES + lane) * step + g * apart;
                    const REAL *from = (const REAL *)&v[lane];
                    if (apart == 1)
                        memcpy(to, from, (size_t)many * sizeof(REAL));
                    else
                        for (int i = 0; i < many; i++)
                            to[i * apart] = from[i];
                }
            }
}

/* Vector r of channel k goes to out[r] + k*step. w is (T + 1, K), its last row the bias. */
INLINE void NAME(row_tile)(const int R, const int K, const REAL *const *x, const int64_t *offs, int64_t T, const REAL *w,
                           int relu, REAL *const *out, int64_t step)
{
    VEC acc[28];
    const REAL *at[8];
    UNROLL for (int r = 0; r < R; r++) {
        at[r] = x[r];
        UNROLL for (int k = 0; k < K; k++)
            acc[k * R + r] = w[T * K + k] - (VEC){0};
    }
    for (int64_t t = 0; t < T; t++, w += K) {
        const int64_t off = offs[t];
        VEC row[8];
        UNROLL for (int r = 0; r < R; r++)
            row[r] = LOAD(at[r] + off);
        UNROLL for (int k = 0; k < K; k++)
            UNROLL for (int r = 0; r < R; r++)
                acc[k * R + r] += w[k] * row[r];
    }
    UNROLL for (int k = 0; k < K; k++)
        UNROLL for (int r = 0; r < R; r++)
            STORE(out[r] + k * step, relu ? CLIP(acc[k * R + r]) : acc[k * R + r]);
}

/* K rows of y x P of x, both vectors of positions: acc[k*P + p] += the products of T vectors, of which `keep` is a mask. */
INLINE void NAME(dot_steps)(const int K, const int P, const REAL *const *x, const int64_t *xo, const REAL *const *y,
                            const int64_t *yo, int64_t T, const int cut, IVEC keep, VEC *acc)
{
    const REAL *xs[9], *ys[6];
    UNROLL for (int p = 0; p < P; p++)
        xs[p] = x[p];
    UNROLL for (int k = 0; k < K; k++)
        ys[k] = y[k];
    for (int64_t t = 0; t < T; t++) {
        VEC taps[9];
        UNROLL for (int p = 0; p < P; p++)
            taps[p] = cut ? KEEP(LOAD(xs[p] + xo[t]), keep) : LOAD(xs[p] + xo[t]);
        UNROLL for (int k = 0; k < K; k++) {
            const VEC row = cut ? KEEP(LOAD(ys[k] + yo[t]), keep) : LOAD(ys[k] + yo[t]);
            UNROLL for (int p = 0; p < P; p++)
                acc[k * P + p] += row * taps[p];
        }
    }
}
