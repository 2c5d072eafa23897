/* NumPy's arrays on cache lines: the allocator that NumPy asks for them (NEP 49, "Data allocation strategies in NumPy").
 *
 * malloc begins large arrays 16 bytes behind a line, so every vector of 64 bytes straddles two. The struct is NumPy's
 * PyDataMem_Handler, part of its binary interface, written out so that no header of NumPy's is needed to build.
 */
#include <stddef.h>
#include <stdlib.h>

#include "tinyconv.h"

#if defined(__linux__)

enum { LINE = 64, FROM = 4096 }; /* bytes: less is mostly read once, and malloc is quicker */

static void *allocate(void *none, size_t size)
{
    void *found = NULL;

    (void)none;
    if (size < FROM)
        return malloc(size);
    return posix_memalign(&found, LINE, size) ? NULL : found;
}

static void *zeros(void *none, size_t count, size_t size)
{
    (void)none;
    return calloc(count, size); /* not on a line: fresh pages are zeros already, and need not be written */
}

static void *resize(void *none, void *there, size_t size)
{
    (void)none;
    return realloc(there, size);
}

static void release(void *none, void *there, size_t size)
{
    (void)none;
    (void)size;
    free(there);
}

static struct {
    char name[127];
    unsigned char version;
    struct {
        void *context;
        void *(*malloc)(void *, size_t);
        void *(*calloc)(void *, size_t, size_t);
        void *(*realloc)(void *, void *, size_t);
        void (*free)(void *, void *, size_t);
    } allocator;
} handler = {"tinyconv", 1, {NULL, allocate, zeros, resize, release}};

void *tc_handler(void)
{
    return &handler;
}

#else

void *tc_handler(void)
{
    return NULL;
}

#endif
