/* Windows of images: the largest element of each, or the sum, and their gradients' ways back.
 *
 * Along the axes elements are added and compared in NumPy's order: the results have eager's bits.
 * REAL stands for float or double. */
#ifndef POOLING
#define POOLING
typedef struct {
    isize images, channels, size[3], out[3], kernel[3], stride[3], before[3], dilation[3];
    isize x[5], y[5]; /* strides of the images, and of what there is of each window */
} Pooling;

/* The window's elements from low to high lie inside of the image; whether all do. */
INSIDE int window_bounds(const Pooling *p, int axis, isize o, isize *low, isize *high)
{
    const isize first = o * p->stride[axis] - p->before[axis], d = p->dilation[axis];
    const isize left = p->size[axis] - first, k = p->kernel[axis];
    *low = first < 0 ? (d - 1 - first) / d : 0;
    *high = left <= 0 ? 0 : (left - 1) / d + 1 < k ? (left - 1) / d + 1 : k;
    return *low == 0 && *high == k;
}

/* From which window to which all lie inside along the last axis. */
INSIDE isize whole_from(const Pooling *p)
{
    const isize from = (p->before[2] + p->stride[2] - 1) / p->stride[2];
    return from < p->out[2] ? from : p->out[2];
}
INSIDE isize whole_to(const Pooling *p)
{
    const isize room = p->size[2] - 1 - p->dilation[2] * (p->kernel[2] - 1) + p->before[2];
    const isize to = room < 0 ? 0 : room / p->stride[2] + 1;
    return to < whole_from(p) ? whole_from(p) : to < p->out[2] ? to : p->out[2];
}

INSIDE isize corner(const Pooling *p, isize n, isize c, isize i, isize j)
{
    return n * p->x[0] + c * p->x[1] + (i * p->stride[0] - p->before[0]) * p->x[2]
        + (j * p->stride[1] - p->before[1]) * p->x[3] - p->before[2] * p->x[4];
}
INSIDE isize windows(const Pooling *p, isize n, isize c, isize i, isize j)
{
    return n * p->y[0] + c * p->y[1] + i * p->y[2] + j * p->y[3];
}
INSIDE isize element(const Pooling *p, isize t, isize u, isize v)
{
    return t * p->dilation[0] * p->x[2] + u * p->dilation[1] * p->x[3]
        + v * p->dilation[2] * p->x[4];
}
/* The window of which a place is an element; whether there is one. */
INSIDE int window_of(const Pooling *p, int axis, isize i, isize t, isize *o)
{
    const isize first = i + p->before[axis] - t * p->dilation[axis];
    o[axis] = first / p->stride[axis];
    return first >= 0 && first % p->stride[axis] == 0 && o[axis] < p->out[axis];
}
/* Loops over rows of windows. */
#define ROWS_OF(p) \
    for (isize n = 0; n < (p)->images; n++) \
        for (isize c = 0; c < (p)->channels; c++) \
            for (isize i = 0; i < (p)->out[0]; i++) \
                for (isize j = 0; j < (p)->out[1]; j++)
#define ELEMENTS_OF(p) \
    UNROLLED for (isize t = 0; t < (p)->kernel[0]; t++) \
        UNROLLED for (isize u = 0; u < (p)->kernel[1]; u++) \
            UNROLLED for (isize v = 0; v < (p)->kernel[2]; v++)
#endif

INSIDE REAL REAL_fold(const int sums, REAL a, REAL b)
{
    const REAL larger = a > b ? a : b;
    return sums ? a + b : a != a ? a : larger;
}

/* A window, axis after axis; what lies outside, where it is not whole, is 0 or -inf. */
INSIDE REAL REAL_window(const Pooling *p, const int sums, const int whole, const REAL *x,
                        const isize *low, const isize *high)
{
    REAL plane = 0, row = 0, sum = 0;
    UNROLLED for (isize v = 0; v < p->kernel[2]; v++) {
        UNROLLED for (isize u = 0; u < p->kernel[1]; u++) {
            UNROLLED for (isize t = 0; t < p->kernel[0]; t++) {
                const int inside = whole || (t >= low[0] && t < high[0] && u >= low[1]
                    && u < high[1] && v >= low[2] && v < high[2]);
                const REAL one = inside ? x[element(p, t, u, v)] : sums ? 0 : -INFINITY;
                sum = t ? REAL_fold(sums, sum, one) : one;
            }
            row = u ? REAL_fold(sums, row, sum) : sum;
        }
        plane = v ? REAL_fold(sums, plane, row) : row;
    }
    return plane;
}

/* The largest element, or the sum, of each window. */
INSIDE void REAL_pool(const Pooling *p, const int sums, const REAL *x, REAL *y)
{
    const isize along = p->stride[2] * p->x[4];
    ROWS_OF(p) {
        const REAL *from = x + corner(p, n, c, i, j);
        REAL *to = y + windows(p, n, c, i, j);
        isize low[3], high[3];
        const int rows = window_bounds(p, 0, i, low, high);
        const int whole = window_bounds(p, 1, j, low + 1, high + 1) && rows;
        const isize start = whole ? whole_from(p) : 0, end = whole ? whole_to(p) : 0;
        INDEPENDENT
        for (isize k = start; k < end; k++)
            to[k * p->y[4]] = REAL_window(p, sums, 1, from + k * along, low, high);
        for (isize k = 0; k < p->out[2]; k++) {
            if (k == start && end > start) {
                k = end - 1;
                continue;
            }
            window_bounds(p, 2, k, low + 2, high + 2);
            to[k * p->y[4]] = REAL_window(p, sums, 0, from + k * along, low, high);
        }
    }
}

/* Each g to the first of its window's largest elements; windows lie apart, or add up. The strides
 * of g and of the result. */
INSIDE void REAL_pool_back(const Pooling *p, const int apart, const REAL *x, const REAL *y,
                           const REAL *g, REAL *out, const isize *from, const isize *to)
{
    Pooling result = *p;
    for (int k = 0; k < 5; k++)
        result.x[k] = to[k];
    const Pooling *q = &result;
    const isize along = p->stride[2] * p->x[4], onto = p->stride[2] * to[4];
    ROWS_OF(p) {
        const REAL *xs = x + corner(p, n, c, i, j), *ys = y + windows(p, n, c, i, j);
        const REAL *gs = g + n * from[0] + c * from[1] + i * from[2] + j * from[3];
        REAL *outs = out + corner(q, n, c, i, j);
        isize low[3], high[3];
        const int rows = window_bounds(p, 0, i, low, high);
        const int whole = window_bounds(p, 1, j, low + 1, high + 1) && rows && apart;
        const isize start = whole ? whole_from(p) : 0, end = whole ? whole_to(p) : 0;
        INDEPENDENT
        for (isize k = start; k < end; k++) {
            const REAL largest = ys[k * p->y[4]];
            REAL rest = gs[k * from[4]]; /* 0 as soon as an element has got it */
            ELEMENTS_OF(p) {
                const REAL one = xs[k * along + element(p, t, u, v)];
                outs[k * onto + element(q, t, u, v)] = ((one == largest) | (one != one)) ? rest : 0;
                rest = ((one == largest) | (one != one)) ? 0 : rest;
            }
        }
        for (isize k = 0; k < p->out[2]; k++) {
            if (k == start && end > start) {
                k = end - 1;
                continue;
            }
            window_bounds(p, 2, k, low + 2, high + 2);
            const REAL largest = ys[k * p->y[4]];
            int met = 0;
            for (isize t = low[0]; t < high[0]; t++)
                for (isize u = low[1]; u < high[1]; u++)
                    for (isize v = low[2]; v < high[2]; v++) {
                        const REAL one = xs[k * along + element(p, t, u, v)];
                        REAL *at = outs + k * onto + element(q, t, u, v);
                        if (!met && (one == largest || one != one))
                            *at = apart ? gs[k * from[4]] : *at + gs[k * from[4]], met = 1;
                    }
        }
    }
}

/* Each y added to all elements of its window, along the last axis first. */
INSIDE void REAL_spread(const Pooling *p, const int apart, const REAL *y, REAL *x)
{
    if (apart) {
        const isize along = p->stride[2] * p->x[4];
        ROWS_OF(p) {
            REAL *to = x + corner(p, n, c, i, j);
            const REAL *from = y + windows(p, n, c, i, j);
            isize low[3], high[3];
            window_bounds(p, 0, i, low, high);
            window_bounds(p, 1, j, low + 1, high + 1);
            for (isize k = 0; k < p->out[2]; k++) {
                window_bounds(p, 2, k, low + 2, high + 2);
                for (isize t = low[0]; t < high[0]; t++)
                    for (isize u = low[1]; u < high[1]; u++)
                        for (isize v = low[2]; v < high[2]; v++)
                            to[k * along + element(p, t, u, v)] = 0 + from[k * p->y[4]];
            }
        }
        return;
    }
    isize i[3], o[3];
    for (isize n = 0; n < p->images * p->channels; n++)
        for (i[0] = 0; i[0] < p->size[0]; i[0]++)
            for (i[1] = 0; i[1] < p->size[1]; i[1]++)
                for (i[2] = 0; i[2] < p->size[2]; i[2]++) {
                    const isize image = n / p->channels, channel = n % p->channels;
                    REAL planes = 0;
                    for (isize t = 0; t < p->kernel[0]; t++) {
                        if (!window_of(p, 0, i[0], t, o))
                            continue;
                        REAL rows = 0;
                        for (isize u = 0; u < p->kernel[1]; u++) {
                            if (!window_of(p, 1, i[1], u, o))
                                continue;
                            REAL sum = 0;
                            for (isize v = 0; v < p->kernel[2]; v++)
                                if (window_of(p, 2, i[2], v, o))
                                    sum += y[windows(p, image, channel, o[0], o[1])
                                             + o[2] * p->y[4]];
                            rows += sum;
                        }
                        planes += rows;
                    }
                    x[image * p->x[0] + channel * p->x[1] + i[0] * p->x[2] + i[1] * p->x[3]
                      + i[2] * p->x[4]] = planes;
                }
}
