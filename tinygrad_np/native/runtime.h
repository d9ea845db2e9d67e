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

/* Elements to a block of an elementwise loop: a few arrays of them stay in the first-level cache. */
enum { BLOCK = 1024 };

enum { ROWS = 101, PLAIN = 111, TRANSPOSED = 112 }; /* CBLAS's words */

static inline void call1(Loop loop, const void *x, void *out, isize n, isize size)
{
    char *operands[2] = {(char *)x, out};
    isize steps[2] = {size, size};
    loop.function(operands, &n, steps, loop.data);
}

static inline void call2(Loop loop, const void *x, isize xstep, const void *y, isize ystep,
                         void *out, isize step, isize n)
{
    char *operands[3] = {(char *)x, (char *)y, out};
    isize steps[3] = {xstep, ystep, step};
    loop.function(operands, &n, steps, loop.data);
}

/* out += the sum of n numbers, by NumPy's pairwise order. Bits are np.sum's if out was 0. */
static inline void sum(Loop add, const void *x, isize step, void *out, isize n)
{
    call2(add, out, 0, x, step, out, 0, n);
}

/* A loop over operands of any strides, as the ufunc itself would run it. */
enum { MOST_AXES = 64, MOST_OPERANDS = 4 };
typedef struct { int ndim; isize shape[MOST_AXES], strides[MOST_OPERANDS][MOST_AXES]; } Nest;

/* NumPy's order: axes of length 1 left out, long strides of the operand `by` outside, joined where
 * one continues the other. */
static Nest arrange(int count, int by, int ndim, const isize *shape, const isize *const *strides)
{
    Nest nest = {0};
    for (int axis = 0; axis < ndim; axis++) {
        if (shape[axis] == 1)
            continue;
        int at = nest.ndim++;
        for (; at > 0 && labs(nest.strides[by][at - 1]) < labs(strides[by][axis]); at--) {
            nest.shape[at] = nest.shape[at - 1];
            for (int k = 0; k < count; k++)
                nest.strides[k][at] = nest.strides[k][at - 1];
        }
        nest.shape[at] = shape[axis];
        for (int k = 0; k < count; k++)
            nest.strides[k][at] = strides[k][axis];
    }
    int last = 0;
    for (int axis = 1; axis < nest.ndim; axis++) {
        int joined = 1;
        for (int k = 0; k < count; k++)
            joined &= nest.strides[k][last] == nest.strides[k][axis] * nest.shape[axis];
        last += !joined;
        nest.shape[last] = joined ? nest.shape[last] * nest.shape[axis] : nest.shape[axis];
        for (int k = 0; k < count; k++)
            nest.strides[k][last] = nest.strides[k][axis];
    }
    nest.ndim = nest.ndim ? last + 1 : 0;
    return nest;
}

/* Runs a loop over all of a nest. Reductions: 0 as the stride of the result along reduced axes, the
 * result as the first operand and the last. */
static void each(Loop loop, int count, char *const *operands, const Nest *nest)
{
    int inner = nest->ndim - 1;
    isize length = 1, steps[MOST_OPERANDS] = {0}, at[MOST_AXES] = {0};
    char *places[MOST_OPERANDS];
    for (int k = 0; k < count; k++) {
        places[k] = operands[k];
        if (inner >= 0)
            steps[k] = nest->strides[k][inner];
    }
    for (int axis = 0; axis <= inner; axis++)
        if (nest->shape[axis] == 0)
            return;
    if (inner >= 0)
        length = nest->shape[inner];
    for (;;) {
        char *now[MOST_OPERANDS]; /* a loop may change what it is given */
        isize n = length;
        memcpy(now, places, sizeof now);
        loop.function(now, &n, steps, loop.data);
        int axis = inner - 1;
        for (; axis >= 0 && ++at[axis] == nest->shape[axis]; axis--) {
            at[axis] = 0;
            for (int k = 0; k < count; k++)
                places[k] -= nest->strides[k][axis] * (nest->shape[axis] - 1);
        }
        if (axis < 0)
            return;
        for (int k = 0; k < count; k++)
            places[k] += nest->strides[k][axis];
    }
}

/* Copies of any strides: as loops, by the size of an element. */
#define COPY(type) \
    static void copy_##type(char **p, const isize *n, const isize *steps, void *data) \
    { \
        (void)data; \
        for (isize i = 0; i < *n; i++) \
            *(type *)(p[1] + i * steps[1]) = *(type *)(p[0] + i * steps[0]); \
    }
typedef struct { uint64_t low, high; } uint128;
COPY(uint8_t) COPY(uint16_t) COPY(uint32_t) COPY(uint64_t) COPY(uint128)

static inline void copy(void *out, const isize *out_strides, const void *x, const isize *x_strides,
                        int ndim, const isize *shape, isize size)
{
    Loop loop = {size == 1   ? copy_uint8_t
                 : size == 2 ? copy_uint16_t
                 : size == 4 ? copy_uint32_t
                 : size == 8 ? copy_uint64_t
                             : copy_uint128,
                 NULL};
    Nest nest = arrange(2, 1, ndim, shape, (const isize *const[]){x_strides, out_strides});
    each(loop, 2, (char *const[]){(char *)x, out}, &nest);
}

/* Rows by index; 0, or 1 where an index is out of bounds: NumPy then says so. */
static inline int place(int64_t *index, int64_t rows)
{
    *index += *index < 0 ? rows : 0;
    return *index < 0 || *index >= rows;
}

static inline int gather(void *out, const void *x, const int64_t *index, isize n, isize rows,
                         isize size)
{
    for (isize i = 0; i < n; i++) {
        int64_t row = index[i];
        if (place(&row, rows))
            return 1;
        memcpy((char *)out + i * size, (const char *)x + row * size, size);
    }
    return 0;
}

/* out[index] += x, row after row, as np.add.at does. */
static inline int scatter_add(Loop add, void *out, const void *x, const int64_t *index, isize n,
                              isize rows, isize columns, isize size)
{
    for (isize i = 0; i < n; i++) {
        int64_t row = index[i];
        if (place(&row, rows))
            return 1;
        char *at = (char *)out + row * columns * size;
        call2(add, at, size, (const char *)x + i * columns * size, size, at, size, columns);
    }
    return 0;
}

/* The greatest number, nan if there is one; and where the first such is. */
#define GREATEST(type) \
    static inline type max_##type(const type *x, isize n) \
    { \
        type found = x[0]; \
        for (isize i = 1; i < n; i++) \
            found = x[i] > found || x[i] != x[i] ? x[i] : found; \
        return found; \
    } \
    static inline isize argmax_##type(const type *x, isize step, isize n) \
    { \
        isize found = 0; \
        for (isize i = 1; i < n && x[found * step] == x[found * step]; i++) \
            if (!(x[i * step] <= x[found * step])) \
                found = i; \
        return found; \
    }
GREATEST(float) GREATEST(double) GREATEST(int64_t)
