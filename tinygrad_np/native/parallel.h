/* A task in parts, each on a thread of its own: as many as NumPy's BLAS has. */
#include <pthread.h>

enum { THREADS = 16 };
typedef void Task(void **operands, isize part, isize parts);
typedef struct { Task *task; void **operands; isize part, parts; int flags; pthread_t thread; } Share;

static void *share(void *given)
{
    Share *s = given;
    s->task(s->operands, s->part, s->parts);
    s->flags = flags();
    return NULL;
}

/* In how many parts it was done, at most so many. */
static isize parallel(Loop threads, isize most, Task *task, void **operands)
{
    Share shares[THREADS];
    isize parts = most > 1 && threads.function ? ((int (*)(void))(void *)threads.function)() : 1;
    parts = parts < 1 ? 1 : parts > most ? most : parts;
    parts = parts > THREADS ? THREADS : parts;
    for (isize part = 1; part < parts; part++) {
        shares[part] = (Share){task, operands, part, parts};
        if (pthread_create(&shares[part].thread, NULL, share, &shares[part]))
            shares[part].task = NULL;
    }
    task(operands, 0, parts);
    for (isize part = 1; part < parts; part++) {
        if (shares[part].task)
            pthread_join(shares[part].thread, NULL);
        else
            task(operands, part, parts); /* there was no thread to be had */
        set_flags(flags() | (shares[part].task ? shares[part].flags : 0));
    }
    return parts;
}
