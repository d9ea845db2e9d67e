/* Threads that share the work of all compiled programs: as many as NumPy's BLAS has.
 *
 * A process has one pool, in a library of its own. A task comes in parts that do not depend on each
 * other. The caller takes parts from the front and the pool's threads take them from the back, so a
 * thread that wakes up late delays nobody. After a task the threads watch for the next one for
 * 200 µs, so that they do not sleep inside a step; then they sleep. */
#include <fenv.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>

enum { PATIENCE = 200000 /* ns */, STACK = 1 << 23 };
#define OWN_LINE _Alignas(64) /* of the cache: threads watch one and write to another */

int (*get_blas_threads)(void); /* set by Python; NULL where NumPy's BLAS does not tell */
void (*set_blas_threads)(int);

/* The task. Its fields change only when no thread works on it. */
static OWN_LINE struct { Task *task; void **operands; isize parts; fenv_t environment; } job;

/* Which parts nobody has taken: from the first (16 bits) up to the end (16 bits). The 32 bits above
 * count the tasks, so that a thread cannot mistake a new task for the one it has seen. */
static OWN_LINE _Atomic uint64_t open_parts;
static inline isize first_part(uint64_t open) { return open & 0xffff; }
static inline isize end_part(uint64_t open) { return open >> 16 & 0xffff; }
static inline int any(uint64_t open) { return first_part(open) < end_part(open); }

static OWN_LINE _Atomic isize finished;   /* the number of finished parts */
static _Atomic int raised;                /* the floating-point flags of the pool's threads */
static OWN_LINE _Atomic int busy, asleep; /* whether there is a task; how many threads sleep */
static isize started;                     /* the number of threads */
static _Atomic int beside, had; /* how many programs run beside BLAS, and how many threads it had */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t wake = PTHREAD_COND_INITIALIZER;

static inline int64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * (int64_t)1000000000 + time.tv_nsec;
}

static inline void pause_a_moment(int turn)
{
#ifdef __x86_64__
    __builtin_ia32_pause();
#endif
    if (turn % 32 == 31)
        sched_yield(); /* BLAS's threads watch for work as well, and there may be no free core */
}

static void take_parts(int front)
{
    uint64_t open = atomic_load(&open_parts);
    while (any(open)) {
        const uint64_t rest = front ? open + 1 : open - 0x10000;
        if (!atomic_compare_exchange_weak(&open_parts, &open, rest))
            continue;
        if (!front)
            fesetenv(&job.environment); /* rounding, and how denormal numbers are treated */
        job.task(job.operands, front ? first_part(open) : end_part(open) - 1, job.parts);
        if (!front)
            atomic_fetch_or(&raised, flags());
        atomic_fetch_add(&finished, 1);
        open = atomic_load(&open_parts);
    }
}

static void *serve(void *unused)
{
    for (;;) {
        const int64_t start = now();
        for (int turn = 0; !any(atomic_load(&open_parts)) && now() - start < PATIENCE; turn++)
            pause_a_moment(turn);
        if (!any(atomic_load(&open_parts))) {
            pthread_mutex_lock(&lock);
            atomic_fetch_add(&asleep, 1);
            while (!any(atomic_load(&open_parts)))
                pthread_cond_wait(&wake, &lock);
            atomic_fetch_sub(&asleep, 1);
            pthread_mutex_unlock(&lock);
        }
        take_parts(0);
    }
    return unused;
}

/* A forked process has none of the threads. */
static void forget_threads(void)
{
    started = 0;
    atomic_store(&open_parts, 0);
    atomic_store(&busy, 0);
    atomic_store(&asleep, 0);
    atomic_store(&beside, 0);
    pthread_mutex_init(&lock, NULL);
    pthread_cond_init(&wake, NULL);
}

/* Start threads until there are "count". Where the system has none, the caller does all parts. */
static void start(isize count)
{
    static int known;
    if (!known)
        known = !pthread_atfork(NULL, NULL, forget_threads);
    pthread_attr_t attributes;
    sigset_t all, before;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, STACK);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are for Python's threads */
    for (pthread_t thread; started < count; started++)
        if (pthread_create(&thread, &attributes, serve, NULL))
            break;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
}

/* Run a task in at most "most" parts. Returns their number. */
isize run_in_parts(isize most, Task *task, void **operands)
{
    isize parts = most > 1 && get_blas_threads ? beside ? had : get_blas_threads() : 1;
    parts = parts < most ? parts : most;
    parts = parts < THREADS ? parts : THREADS;
    if (parts <= 1 || atomic_exchange(&busy, 1)) {
        task(operands, 0, 1);
        return 1;
    }
    if (started < parts - 1)
        start(parts - 1);
    job.task = task, job.operands = operands, job.parts = parts;
    fegetenv(&job.environment);
    atomic_store(&finished, 0);
    atomic_store(&raised, 0);
    const uint64_t number = (atomic_load(&open_parts) >> 32) + 1;
    atomic_store(&open_parts, number << 32 | (uint64_t)parts << 16);
    if (atomic_load(&asleep)) {
        pthread_mutex_lock(&lock);
        pthread_cond_broadcast(&wake);
        pthread_mutex_unlock(&lock);
    }
    take_parts(1);
    for (int turn = 0; atomic_load(&finished) < parts; turn++)
        pause_a_moment(turn);
    set_flags(flags() | atomic_load(&raised));
    atomic_store(&busy, 0);
    return parts;
}

/* Run a program that shares its large products itself: BLAS has one thread meanwhile. */
int run_beside_blas(Program *program, Tuple *arrays, Tuple *numbers, Tuple *fixed, Tuple *out)
{
    if (!get_blas_threads || !set_blas_threads)
        return program(arrays, numbers, fixed, out);
    pthread_mutex_lock(&lock);
    if (!beside) {
        had = get_blas_threads();
        set_blas_threads(1);
    }
    beside++;
    pthread_mutex_unlock(&lock);
    const int code = program(arrays, numbers, fixed, out);
    pthread_mutex_lock(&lock);
    beside--;
    if (!beside && get_blas_threads() == 1) /* else somebody has set it meanwhile */
        set_blas_threads(had);
    pthread_mutex_unlock(&lock);
    return code;
}
