/* Convolutions without columns: each element of a filter times a run of a framed image.
 *
 * An image is copied once into a frame of zeros, a phase for each remainder of the stride. There the
 * inputs of all outputs under one element of the filter are a single run of memory, which is
 * multiplied and added while the sums stay in registers. In the runs lie a few outputs too many,
 * between the rows; they are left out. One product of 64 filters, 32 channels and 3 x 3 elements
 * runs at 200 GFLOP/s on one core where columns and BLAS, the copies not counted, run at 125.
 *
 * REAL stands for float or double. */
#ifndef MOST
/* Filters of one tile, all tiles about equally tall; and vectors of outputs. */
#define MOST (REGISTERS / 4)
#define TILES(filters) (((filters) + MOST - 1) / MOST)
#define TALL(filters) (((filters) + TILES(filters) - 1) / TILES(filters))
#define DEEP (REGISTERS == 32 ? 3 : 2) /* elements of filters, where outputs are added up */
#define WIDE(tall) (MOST * 3 / (tall) > 6 ? 6 : MOST * 3 / (tall))

/* Along each axis, element i of a frame is the array's element first + i * step, or 0 outside. */
typedef struct { isize first[3], step[3], size[3], strides[3]; } Window;

/* The elements of a filter that make one phase of a result, and where it lies. */
typedef struct { isize taps; const isize *at, *weight; Window out; } Phase;

/* Of a group: its filters (what comes out) and channels (what is framed), as views of each. */
typedef struct {
    isize images, groups, filters, channels;
    isize in_image, in_channel, out_image, out_channel;
    isize weight_group, weight_filter, weight_channel; /* strides of the weights */
    isize shape[3], count[3], length; /* of a frame; of the outputs of a block, and their run */
    isize blocks, axis;
    isize views, phases;
    const Window *view;
    const Phase *phase;
} Convolution;

INSIDE isize frame_size(const Convolution *c) { return c->shape[0] * c->shape[1] * c->shape[2]; }

/* The window of a block, and what of an axis lies inside. */
INSIDE Window moved(const Convolution *c, Window window, isize block)
{
    window.first[c->axis] += block * c->count[c->axis] * window.step[c->axis];
    return window;
}
INSIDE void bounds(const Window *window, int axis, isize count, isize *low, isize *high)
{
    const isize first = window->first[axis], step = window->step[axis], size = window->size[axis];
    *low = first < 0 ? (-first + step - 1) / step : 0;
    *high = size > first ? (size - first + step - 1) / step : 0;
    *low = *low < count ? *low : count;
    *high = *high < *low ? *low : *high < count ? *high : count;
}
#endif

FUSED
/* Copy a window of an array into a frame: zeros outside. */
static void REAL_frame(const Window *window, const isize *shape, const REAL *x, REAL *out)
{
    isize low[3], high[3];
    for (int k = 0; k < 3; k++)
        bounds(window, k, shape[k], low + k, high + k);
    const isize *first = window->first, *step = window->step, *strides = window->strides;
    const isize along = step[2] * strides[2];
    for (isize i = 0; i < shape[0]; i++)
        for (isize j = 0; j < shape[1]; j++, out += shape[2]) {
            isize k = 0;
            if (i >= low[0] && i < high[0] && j >= low[1] && j < high[1]) {
                const REAL *row = x + (first[0] + i * step[0]) * strides[0]
                    + (first[1] + j * step[1]) * strides[1] + first[2] * strides[2];
                for (; k < low[2]; k++)
                    out[k] = 0;
                if (along == 1)
                    for (; k < high[2]; k++)
                        out[k] = row[k];
                else
                    for (; k < high[2]; k++)
                        out[k] = row[k * along];
            }
            for (; k < shape[2]; k++)
                out[k] = 0;
        }
}

/* Copy the outputs of a block, which lie in the rows of a frame, to where a window says. */
static void REAL_store(const Window *window, const isize *count, const isize *shape, const REAL *x,
                       REAL *out)
{
    isize low[3], high[3];
    for (int k = 0; k < 3; k++)
        bounds(window, k, count[k], low + k, high + k);
    const isize *first = window->first, *step = window->step, *strides = window->strides;
    const isize along = step[2] * strides[2];
    for (isize i = low[0]; i < high[0]; i++)
        for (isize j = low[1]; j < high[1]; j++) {
            const REAL *from = x + (i * shape[1] + j) * shape[2];
            REAL *row = out + (first[0] + i * step[0]) * strides[0]
                + (first[1] + j * step[1]) * strides[1] + first[2] * strides[2];
            if (along == 1)
                for (isize k = low[2]; k < high[2]; k++)
                    row[k] = from[k];
            else
                for (isize k = low[2]; k < high[2]; k++)
                    row[k * along] = from[k];
        }
}

/* The filters' elements in the order in which they are read: for each tile, tap by tap. */
INSIDE void REAL_pack(const Convolution *c, const int tall, const REAL *weights, REAL *out)
{
    for (isize f = 0; f < c->phases; f++)
        for (isize group = 0; group < c->groups; group++)
            for (isize tile = 0; tile < c->filters; tile += tall)
                for (isize channel = 0; channel < c->channels; channel++)
                    for (isize t = 0; t < c->phase[f].taps; t++)
                        for (int i = 0; i < tall; i++)
                            *out++ = tile + i < c->filters ? weights[
                                group * c->weight_group + (tile + i) * c->weight_filter
                                + channel * c->weight_channel + c->phase[f].weight[t]] : 0;
}

static int REAL_finite(const Convolution *c, const REAL *weights)
{
    int finite = 1;
    for (isize f = 0; f < c->phases; f++)
        for (isize group = 0; group < c->groups; group++)
            for (isize i = 0; i < c->filters; i++)
                for (isize j = 0; j < c->channels; j++)
                    for (isize t = 0; t < c->phase[f].taps; t++)
                        finite &= __builtin_fabs(weights[
                            group * c->weight_group + i * c->weight_filter
                            + j * c->weight_channel + c->phase[f].weight[t]]) < INFINITY;
    return finite;
}

/* The places in a frame of what each element of a filter meets at the first output. */
INSIDE isize REAL_places(const Convolution *c, const Phase *phase, isize *place)
{
    isize count = 0;
    for (isize channel = 0; channel < c->channels; channel++)
        for (isize t = 0; t < phase->taps; t++)
            place[count++] = channel * c->views * frame_size(c) + phase->at[t];
    return count;
}

/* tall filters at wide vectors of outputs. */
INSIDE void REAL_tile(const int tall, const int wide, isize count, const isize *place,
                      const REAL *weights, const REAL *x, REAL *out, isize step)
{
    REAL_vector sums[MOST][6];
    UNROLLED for (int i = 0; i < tall; i++)
        UNROLLED for (int v = 0; v < wide; v++)
            sums[i][v] = (REAL_vector){0};
    for (isize k = 0; k < count; k++, weights += tall) {
        const REAL *from = x + place[k];
        REAL_vector inputs[6];
        UNROLLED for (int v = 0; v < wide; v++)
            inputs[v] = *(const REAL_loose *)(from + v * REAL_lanes);
        UNROLLED for (int i = 0; i < tall; i++)
            UNROLLED for (int v = 0; v < wide; v++)
                sums[i][v] += weights[i] * inputs[v];
    }
    UNROLLED for (int i = 0; i < tall; i++)
        UNROLLED for (int v = 0; v < wide; v++)
            *(REAL_loose *)(out + i * step + v * REAL_lanes) = sums[i][v];
}

/* A part of the images: frame each, multiply, store. rows: tall runs of outputs. */
INSIDE void REAL_convolve(const Convolution *c, const int tall, const REAL *x, const REAL *weights,
                          REAL *y, REAL *frame, REAL *rows, isize *place, isize part, isize parts)
{
    const isize size = frame_size(c), units = c->images * c->blocks;
    const int wide = WIDE(tall);
    const isize vectors = (c->length + REAL_lanes - 1) / REAL_lanes, step = vectors * REAL_lanes;
    for (isize unit = part * units / parts; unit < (part + 1) * units / parts; unit++) {
        const isize image = unit / c->blocks, block = unit % c->blocks;
        for (isize j = 0; j < c->groups * c->channels; j++)
            for (isize v = 0; v < c->views; v++) {
                const Window window = moved(c, c->view[v], block);
                REAL_frame(&window, c->shape, x + image * c->in_image + j * c->in_channel,
                           frame + (j * c->views + v) * size);
            }
        const REAL *packed = weights;
        for (isize f = 0; f < c->phases; f++) {
            const isize count = REAL_places(c, c->phase + f, place);
            const Window window = moved(c, c->phase[f].out, block);
            for (isize group = 0; group < c->groups; group++)
                for (isize tile = 0; tile < c->filters; tile += tall, packed += count * tall) {
                    const REAL *from = frame + group * c->channels * c->views * size;
                    isize v = 0;
                    for (; v + wide <= vectors; v += wide)
                        REAL_tile(tall, wide, count, place, packed, from + v * REAL_lanes,
                                  rows + v * REAL_lanes, step);
                    for (; v < vectors; v++)
                        REAL_tile(tall, 1, count, place, packed, from + v * REAL_lanes,
                                  rows + v * REAL_lanes, step);
                    for (int i = 0; i < tall && tile + i < c->filters; i++)
                        REAL_store(&window, c->count, c->shape, rows + i * step,
                                   y + image * c->out_image
                                       + (group * c->filters + tile + i) * c->out_channel);
                }
        }
    }
}

INSIDE REAL REAL_sum(REAL_vector v)
{
#if VECTOR >= 64
    typedef REAL Half __attribute__((vector_size(32)));
    const union { REAL_vector all; Half part[2]; } halves = {v};
    const Half h = halves.part[0] + halves.part[1];
#elif VECTOR >= 32
    const REAL_vector h = v;
#endif
    typedef REAL Quarter __attribute__((vector_size(16)));
#if VECTOR >= 32
    const union { __typeof__(h) all; Quarter part[2]; } quarters = {h};
    const Quarter q = quarters.part[0] + quarters.part[1];
#else
    const Quarter q = v;
#endif
    return sizeof(REAL) == 8 ? q[0] + q[1] : (q[0] + q[1]) + (q[2 % (16 / sizeof(REAL))]
        + q[3 % (16 / sizeof(REAL))]);
}

/* Add to tall x wide elements of filters: runs of outputs times runs of inputs. */
INSIDE void REAL_dots(const int tall, const int wide, isize vectors, const isize *place,
                      const REAL *y, isize step, const REAL *x, REAL *out, isize count)
{
    REAL_vector sums[MOST][6];
    UNROLLED for (int i = 0; i < tall; i++)
        UNROLLED for (int t = 0; t < wide; t++)
            sums[i][t] = (REAL_vector){0};
    for (isize v = 0; v < vectors; v++) {
        REAL_vector outputs[MOST];
        UNROLLED for (int i = 0; i < tall; i++)
            outputs[i] = *(const REAL_vector *)(y + i * step + v * REAL_lanes);
        UNROLLED for (int t = 0; t < wide; t++) {
            const REAL_vector input = *(const REAL_loose *)(x + place[t] + v * REAL_lanes);
            UNROLLED for (int i = 0; i < tall; i++)
                sums[i][t] += outputs[i] * input;
        }
    }
    UNROLLED for (int i = 0; i < tall; i++)
        UNROLLED for (int t = 0; t < wide; t++)
            out[i * count + t] += REAL_sum(sums[i][t]);
}

/* A part of the images: frame inputs and outputs, add to total (groups, filters, 3 more places). */
INSIDE void REAL_correlate(const Convolution *c, const int tall, const REAL *x, REAL *total,
                           const REAL *y, REAL *frame, REAL *rows, isize *place, isize part,
                           isize parts)
{
    const int wide = DEEP;
    const isize size = frame_size(c), units = c->images * c->blocks;
    const isize vectors = (c->length + REAL_lanes - 1) / REAL_lanes;
    const isize count = REAL_places(c, c->phase, place), padded = (count + wide - 1) / wide * wide;
    isize shape[3] = {c->count[0], c->count[1], c->count[2]}; /* whole rows, but no more */
    for (int k = 1; k < 3; k++)
        shape[k] = c->count[k - 1] == 1 && shape[k - 1] == 1 ? c->count[k] : c->shape[k];
    const isize whole = shape[0] * shape[1] * shape[2];
    const isize step = (whole + REAL_lanes - 1) / REAL_lanes * REAL_lanes;
    for (isize k = count; k < padded; k++)
        place[k] = place[0];
    memset(total, 0, c->groups * TILES(c->filters) * tall * padded * sizeof(REAL));
    for (isize unit = part * units / parts; unit < (part + 1) * units / parts; unit++) {
        const isize image = unit / c->blocks, block = unit % c->blocks;
        for (isize j = 0; j < c->groups * c->channels; j++)
            for (isize v = 0; v < c->views; v++) {
                const Window window = moved(c, c->view[v], block);
                REAL_frame(&window, c->shape, x + image * c->in_image + j * c->in_channel,
                           frame + (j * c->views + v) * size);
            }
        REAL *sums = total;
        for (isize group = 0; group < c->groups; group++)
            for (isize tile = 0; tile < c->filters; tile += tall, sums += tall * padded) {
                Window window = moved(c, c->phase->out, block);
                for (int i = 0; i < tall && tile + i < c->filters; i++)
                    REAL_frame(&window, shape, y + image * c->out_image
                        + (group * c->filters + tile + i) * c->out_channel, rows + i * step);
                for (isize k = 0; k < padded; k += wide)
                    REAL_dots(tall, wide, vectors, place + k, rows, step,
                              frame + group * c->channels * c->views * size, sums + k, padded);
            }
    }
}

/* The weights' gradient: what the parts have found, added up. Says whether there is a nan. */
static int REAL_collect(const Convolution *c, const int tall, const REAL *total, isize apart,
                         isize parts, REAL *weights)
{
    const isize taps = c->phase->taps, count = c->channels * taps;
    const isize padded = (count + DEEP - 1) / DEEP * DEEP, tiles = TILES(c->filters);
    int unknown = 0;
    for (isize group = 0; group < c->groups; group++)
        for (isize i = 0; i < c->filters; i++)
            for (isize k = 0; k < count; k++) {
                const REAL *from = total + (group * tiles * tall + i) * padded + k;
                REAL sum = from[0];
                for (isize part = 1; part < parts; part++)
                    sum += from[part * apart];
                weights[group * c->weight_group + i * c->weight_filter
                        + k / taps * c->weight_channel + c->phase->weight[k % taps]] = sum;
                unknown |= sum != sum;
            }
    return unknown;
}

/* Product by product, for numbers that are infinite: no zeros of a frame meet them. Adds to y the
 * weights times x; or, where y is given, to the weights y times x, which is 0 outside. */
static void REAL_plainly(const Convolution *c, const REAL *x, REAL *weights, REAL *y, int given)
{
    isize end[3] = {c->count[0], c->count[1], c->count[2]}, i[3], q[3];
    end[c->axis] *= c->blocks;
    for (isize n = 0; n < c->images * c->groups * c->filters * c->channels; n++)
        for (isize f = 0; f < c->phases; f++)
            for (isize t = 0; t < c->phase[f].taps; t++) {
                const isize channel = n % c->channels, filter = n / c->channels % c->filters;
                const isize group = n / c->channels / c->filters % c->groups;
                const isize image = n / c->channels / c->filters / c->groups;
                const isize at = c->phase[f].at[t], size = frame_size(c);
                const Window *in = c->view + at / size, *out = &c->phase[f].out;
                i[0] = at % size / c->shape[2] / c->shape[1];
                i[1] = at / c->shape[2] % c->shape[1], i[2] = at % c->shape[2];
                REAL *weight = weights + group * c->weight_group + filter * c->weight_filter
                    + channel * c->weight_channel + c->phase[f].weight[t];
                for (q[0] = 0; q[0] < end[0]; q[0]++)
                    for (q[1] = 0; q[1] < end[1]; q[1]++)
                        for (q[2] = 0; q[2] < end[2]; q[2]++) {
                            const REAL *from = x + image * c->in_image
                                + (group * c->channels + channel) * c->in_channel;
                            REAL *to = y + image * c->out_image
                                + (group * c->filters + filter) * c->out_channel;
                            int inside = 1, met = 1;
                            for (int k = 0; k < 3; k++) {
                                const isize a = in->first[k] + (q[k] + i[k]) * in->step[k];
                                const isize b = out->first[k] + q[k] * out->step[k];
                                inside &= a >= 0 && a < in->size[k];
                                met &= b >= 0 && b < out->size[k];
                                from += a * in->strides[k];
                                to += b * out->strides[k];
                            }
                            if (met && given)
                                *weight += *to * (inside ? *from : 0);
                            else if (met && inside)
                                *to += *weight * *from;
                        }
            }
}
FUSED_END
