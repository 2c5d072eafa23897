/* Items of work shared out over a pool of threads that belongs to someone else. */
#include "tinyconv.h"

typedef struct {
    void (*item)(void *data, int64_t i);
    void *data;
    int64_t items, next;
} job;

static int64_t take_item(job *j)
{
#if defined(__GNUC__)
    return __atomic_fetch_add(&j->next, 1, __ATOMIC_RELAXED);
#else
    return j->next++; /* other compilers run on one thread */
#endif
}

static void work(char **args, size_t *dims, size_t *steps, void *data)
{
    job *j = data;
    (void)args, (void)dims, (void)steps;
    for (int64_t i = take_item(j); i < j->items; i = take_item(j))
        j->item(j->data, i);
}

void tc_each(void (*item)(void *data, int64_t i), void *data, int64_t items, tc_pool_of_threads pool, int threads)
{
    job j = {item, data, items, 0};
    char *none = NULL;
    size_t dims[2] = {(size_t)threads, 0}, steps[2] = {0, 0};
#if defined(__GNUC__)
    if (pool && threads > 1 && items > 1) {
        pool((void *)work, &none, dims, steps, &j, 1, 1, threads);
        return;
    }
#endif
    work(&none, dims, steps, &j);
}
