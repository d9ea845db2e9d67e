/* A task in parts that do not depend on each other; pool.h has the threads. */
enum { THREADS = 16 };
typedef void Task(void **operands, isize part, isize parts);

/* Run a task in at most "most" parts. Returns their number. */
static inline isize parallel(Loop pool, isize most, Task *task, void **operands)
{
    if (!pool.function) {
        task(operands, 0, 1);
        return 1;
    }
    return ((isize (*)(isize, Task *, void **))(void *)pool.function)(most, task, operands);
}

/* Run a program beside whose tasks BLAS has one thread. */
typedef int Program(Tuple *arrays, Tuple *numbers, Tuple *fixed, Tuple *out);
static inline int run(Loop beside_blas, Program *program, Tuple *arrays, Tuple *numbers,
                      Tuple *fixed, Tuple *out)
{
    typedef int Runner(Program *, Tuple *, Tuple *, Tuple *, Tuple *);
    if (!beside_blas.function)
        return program(arrays, numbers, fixed, out);
    return ((Runner *)(void *)beside_blas.function)(program, arrays, numbers, fixed, out);
}

/* The head of a task. A task that is a piece of a program gets the operands of the program. */
#define TASK(name) static void name(void **operands, isize part, isize parts)
#define GIVEN arrays, numbers, fixed, out
#define TUPLES \
    Tuple *const arrays = operands[0], *const numbers = operands[1]; \
    Tuple *const fixed = operands[2], *const out = operands[3];

/* From which of a loop's n runs to which a part goes. */
#define FROM(n) (part * (n) / parts)
#define TO(n) ((part + 1) * (n) / parts)
