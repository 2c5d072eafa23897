/* The vector levels' names, and how many of them this CPU has. */
#include "levels.h"

#define NAME_OF(name, bytes, registers) #name,
static const char *const names[] = {FOR_LEVELS(NAME_OF)};

const char *tc_level_name(int level)
{
    return level >= 0 && level < (int)(sizeof(names) / sizeof(*names)) ? names[level] : NULL;
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
