/* A task in parts that do not depend on each other; pool.h has the threads. */
enum { THREADS = 16 };
typedef void Task(void **operands, isize part, isize parts);

/* Returns the number of parts, which is at most so many. */
static inline isize parallel(Loop pool, isize most, Task *task, void **operands)
{
    if (!pool.function) {
        task(operands, 0, 1);
        return 1;
    }
    return ((isize (*)(isize, Task *, void **))(void *)pool.function)(most, task, operands);
}

/* The head of a task. One that is a part of a program is given what the program is given. */
#define TASK(name) static void name(void **operands, isize part, isize parts)
#define GIVEN arrays, numbers, fixed, out
#define TUPLES \
    Tuple *const arrays = operands[0], *const numbers = operands[1]; \
    Tuple *const fixed = operands[2], *const out = operands[3];

/* The share of a part in n runs of a loop. */
#define FROM(n) (part * (n) / parts)
#define TO(n) ((part + 1) * (n) / parts)
