/* What every generated program begins with. It needs no Python.h: the layouts are checked when the
 * package is loaded (layout.py). BLAS_INT is defined before it. */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef intptr_t isize;

/* Python's and NumPy's objects, as far as they are read. */
typedef struct { isize references; void *type; } Object;
typedef struct { Object head; double value; } Float;
typedef struct { Object head; isize size; Object *items[]; } Tuple;
typedef struct {
    Object head;
    char *data;
    int ndim;
    isize *shape, *strides;
    Object *base, *dtype;
    int flags;
} Array;

#define ARRAY(tuple, i) ((Array *)((Tuple *)(tuple))->items[i])
#define DATA(type, tuple, i) ((type *)ARRAY(tuple, i)->data)
#define NUMBER(tuple, i) (((Float *)((Tuple *)(tuple))->items[i])->value)

/* NumPy's inner loops. Python fills a table of them, and of BLAS functions, once. */
typedef struct {
    void (*function)(char **operands, const isize *lengths, const isize *steps, void *data);
    void *data;
} Loop;

enum { ROWS = 101, PLAIN = 111, TRANSPOSED = 112 }; /* CBLAS's words */

/* Before a loop whose runs do not depend on each other. */
#ifdef __clang__
#define INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#else
#define INDEPENDENT _Pragma("GCC ivdep")
#endif

/* Functions whose sizes are constants where they are called, and loops of a few runs. */
#define INSIDE static inline __attribute__((always_inline))
#define UNROLLED _Pragma("GCC unroll 16")

/* Which of NumPy's floating-point warnings are due: flags of the processor. */
#ifdef __x86_64__
enum { INVALID = 1, DIVIDE = 4, OVER = 8 };
static inline int flags(void)
{
    __asm__ volatile("" ::: "memory"); /* what is to be computed, is computed before */
    return __builtin_ia32_stmxcsr() & (INVALID | DIVIDE | OVER);
}
static inline void set_flags(int flags)
{
    __asm__ volatile("" ::: "memory");
    __builtin_ia32_ldmxcsr((__builtin_ia32_stmxcsr() & ~63u) | flags);
}
#else
#include <fenv.h>
enum { INVALID = FE_INVALID, DIVIDE = FE_DIVBYZERO, OVER = FE_OVERFLOW };
static inline int flags(void)
{
    __asm__ volatile("" ::: "memory");
    return fetestexcept(INVALID | DIVIDE | OVER);
}
static inline void set_flags(int flags)
{
    __asm__ volatile("" ::: "memory");
    feclearexcept(FE_ALL_EXCEPT);
    if (flags)
        feraiseexcept(flags);
}
#endif

static inline void call(Loop loop, isize n, const isize *steps, void **operands)
{
    loop.function((char **)operands, &n, steps, loop.data);
}

/* out = a @ b, as np.matmul's loop does it: (n, k) times (k, m), with six strides in bytes. */
static inline void product(Loop loop, isize n, isize k, isize m, const isize *strides, void *a,
                           void *b, void *out)
{
    char *operands[3] = {a, b, out};
    isize lengths[4] = {1, n, k, m}, steps[9] = {0};
    memcpy(steps + 3, strides, 6 * sizeof(isize));
    loop.function(operands, lengths, steps, loop.data);
}

/* out = beta * out + alpha * a @ b by NumPy's BLAS, with beta 0 or 1, and out += alpha * a @ b by
 * loops for a column times a row. BLAS does not read a and b where alpha is 0, but NumPy makes nan of
 * 0 * inf: then the product is computed on its own, in "whole". Where an element of the column is 0,
 * as most of an image is, nothing changes, unless the row holds inf or nan. */
#define GEMM(type) \
    typedef void blas_##type(int, int, int, BLAS_INT, BLAS_INT, BLAS_INT, type, const type *, \
                             BLAS_INT, const type *, BLAS_INT, type, type *, BLAS_INT); \
    static inline void gemm_##type(Loop blas, BLAS_INT n, BLAS_INT m, BLAS_INT k, type alpha, \
                                   int ta, const type *a, BLAS_INT lda, int tb, const type *b, \
                                   BLAS_INT ldb, type beta, type *out, BLAS_INT ldo, type *whole) \
    { \
        blas_##type *const multiply = (blas_##type *)(void *)blas.function; \
        if (alpha != 0) { \
            multiply(ROWS, ta, tb, n, m, k, alpha, a, lda, b, ldb, beta, out, ldo); \
            return; \
        } \
        multiply(ROWS, ta, tb, n, m, k, 1, a, lda, b, ldb, 0, whole, ldo); \
        for (isize i = 0; i < n; i++) \
            for (isize j = 0; j < m; j++) \
                out[i * ldo + j] += alpha * whole[i * ldo + j]; \
    } \
    INSIDE void outer_##type(isize n, isize m, type alpha, const type *x, isize x_step, \
                             const type *y, isize y_step, type *out) \
    { \
        int finite = 1; \
        for (isize j = 0; j < m; j++) \
            finite &= __builtin_isfinite(y[j * y_step]); \
        for (isize i = 0; i < n; i++) { \
            const type factor = alpha * x[i * x_step]; \
            if (factor != 0 || !finite) \
                INDEPENDENT for (isize j = 0; j < m; j++) \
                    out[i * m + j] += factor * y[j * y_step]; \
        } \
    }
GEMM(float) GEMM(double)

typedef struct { uint64_t low, high; } uint128; /* an element that is only moved */

/* An index from the front; 1 where it is out of bounds: NumPy then says so. */
static inline int place(int64_t *index, int64_t rows)
{
    *index += *index < 0 ? rows : 0;
    return *index < 0 || *index >= rows;
}
