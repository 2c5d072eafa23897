/* The vector levels, from one source. A level is what a CPU can do, not what this one can: tc_levels() says how many of them
 * it has, and code of the others is never run.
 *
 * FOR_LEVELS(T) lists them, least first, as T(name, bytes of a vector, vector registers). With TEMPLATE set, this file includes
 * it once for each level, where LEVEL, BYTES, REGISTERS and TARGET stand for that level: functions there are TARGET or INLINE.
 */
#ifndef TINYCONV_LEVELS_H
#define TINYCONV_LEVELS_H

#include "tinyconv.h"

#if defined(__GNUC__) && defined(__x86_64__)
#define FOR_LEVELS(T) T(baseline, 16, 16) T(avx2, 32, 16) T(avx512, 64, 32)
#elif defined(__aarch64__)
#define FOR_LEVELS(T) T(neon, 16, 32)
#else
#define FOR_LEVELS(T) T(baseline, 16, 16)
#endif

#if defined(__GNUC__)
#define INLINE static inline __attribute__((always_inline)) TARGET
#else
#define INLINE static inline
#endif
#ifndef LOOPS_512
#define LOOPS_512 "512" /* bits of the vectors that the compiler makes of plain loops where there is AVX-512 */
#endif
#define JOIN_(a, b, c) a##b##c
#define JOIN(a, b, c) JOIN_(a, b, c)

#endif

#ifdef TEMPLATE

#define BYTES 16
#define TARGET
#if defined(__aarch64__)
#define LEVEL neon
#define REGISTERS 32
#else
#define LEVEL baseline
#define REGISTERS 16
#endif
#include TEMPLATE
#undef LEVEL
#undef BYTES
#undef REGISTERS
#undef TARGET

#if defined(__GNUC__) && defined(__x86_64__)
#define LEVEL avx2
#define BYTES 32
#define REGISTERS 16
#define TARGET __attribute__((target("avx2,fma")))
#include TEMPLATE
#undef LEVEL
#undef BYTES
#undef REGISTERS
#undef TARGET

#define LEVEL avx512
#define BYTES 64
#define REGISTERS 32
#define TARGET __attribute__((target("avx512f,avx512vl,avx512dq,avx512bw,avx2,fma,prefer-vector-width=" LOOPS_512)))
#include TEMPLATE
#undef LEVEL
#undef BYTES
#undef REGISTERS
#undef TARGET
#endif

#undef TEMPLATE
#endif
