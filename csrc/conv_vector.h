/* What the tiles are written in: vectors of LANES numbers of type REAL, by the vector extensions of GCC and Clang; for other
 * compilers a vector is one number. Included before the tiles, and once more after them, to take it all back. */

#ifndef LANES
#if defined(__GNUC__)
#define LANES (BYTES / SIZE)
#define VEC NAME(vector)
#define IVEC NAME(whole)
#define LOOSE NAME(anywhere)
typedef REAL VEC __attribute__((vector_size(BYTES)));
typedef INT IVEC __attribute__((vector_size(BYTES)));
typedef REAL LOOSE __attribute__((vector_size(BYTES), aligned(SIZE), may_alias));
#define CLIP(v) ((VEC)((IVEC)(v) & ~((v) < 0))) /* NaN stays NaN */
#define KEEP(v, mask) ((VEC)((IVEC)(v) & (mask)))
#else
#define LANES 1
#define VEC REAL
#define IVEC INT
#define LOOSE REAL
#define CLIP(v) ((v) < 0 ? 0 : (v))
#define KEEP(v, mask) (v)
#endif
#define LOAD(from) ((VEC) * (const LOOSE *)(from))
#define STORE(to, v) (*(LOOSE *)(to) = (v))

/* two vectors interleaved: the lower halves, and the upper ones */
#if !defined(__GNUC__)
#define LOW(a, b) (a)
#define HIGH(a, b) (b)
#elif BYTES / SIZE == 16
#define LOW(a, b) SHUFFLE(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)
#define HIGH(a, b) SHUFFLE(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)
#elif BYTES / SIZE == 8
#define LOW(a, b) SHUFFLE(a, b, 0, 8, 1, 9, 2, 10, 3, 11)
#define HIGH(a, b) SHUFFLE(a, b, 4, 12, 5, 13, 6, 14, 7, 15)
#elif BYTES / SIZE == 4
#define LOW(a, b) SHUFFLE(a, b, 0, 4, 1, 5)
#define HIGH(a, b) SHUFFLE(a, b, 2, 6, 3, 7)
#else
#define LOW(a, b) SHUFFLE(a, b, 0, 2)
#define HIGH(a, b) SHUFFLE(a, b, 1, 3)
#endif

#else
#undef LANES
#undef VEC
#undef IVEC
#undef LOOSE
#undef CLIP
#undef KEEP
#undef LOAD
#undef STORE
#undef LOW
#undef HIGH
#endif
