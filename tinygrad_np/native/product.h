/* Products of small matrices, whose sizes are constants: no copy of a, and of b only where its rows
 * are no runs of whole vectors. The sums stay in registers. REAL stands for float or double. */

/* wide vectors of columns, and as many rows as registers hold with them. */
#define VECTORS(n, lanes) (((n) + (lanes) - 1) / (lanes))
#define COLUMNS(v) ((v) < 7 ? (v) : (v) % 4 == 0 ? 4 : 3)
#define HEIGHT(wide) ((wide) == 1 ? REGISTERS / 4 : REGISTERS / 4 * 3 / (wide))

/* A tile of out, or of what is added to it times alpha; of the last vector some lanes are stored. */
INSIDE void REAL_block(const int tall, const int wide, const isize k, const REAL *a,
                       const isize a_row, const isize a_step, const REAL *b, const isize b_row,
                       REAL *out, const isize row, const int adds, const REAL alpha,
                       const int lanes)
{
    REAL_vector sums[REGISTERS / 4 * 3][6];
    UNROLLED for (int i = 0; i < tall; i++)
        UNROLLED for (int v = 0; v < wide; v++)
            sums[i][v] = (REAL_vector){0};
    for (isize t = 0; t < k; t++) {
        REAL_vector columns[6];
        UNROLLED for (int v = 0; v < wide; v++)
            columns[v] = *(const REAL_loose *)(b + t * b_row + v * REAL_lanes);
        UNROLLED for (int i = 0; i < tall; i++)
            UNROLLED for (int v = 0; v < wide; v++)
                sums[i][v] += a[i * a_row + t * a_step] * columns[v];
    }
    UNROLLED for (int i = 0; i < tall; i++)
        UNROLLED for (int v = 0; v < wide; v++) {
            REAL *to = out + i * row + v * REAL_lanes;
            if (v == wide - 1 && lanes < REAL_lanes)
                for (int l = 0; l < lanes; l++)
                    to[l] = adds ? to[l] + alpha * sums[i][v][l] : sums[i][v][l];
            else if (adds)
                *(REAL_loose *)to += alpha * sums[i][v];
            else
                *(REAL_loose *)to = sums[i][v];
        }
}

/* Some vectors of columns, of a part of the rows: strips, each about as tall. */
INSIDE void REAL_strips(const int wide, const isize n, const isize k, const REAL *a,
                        const isize a_row, const isize a_step, const REAL *b, const isize b_row,
                        REAL *out, const isize row, const int adds, const REAL alpha,
                        const int lanes, isize part, isize parts)
{
    const isize strips = (n + HEIGHT(wide) - 1) / HEIGHT(wide);
    const int tall = (n + strips - 1) / strips, rest = n - (strips - 1) * tall;
    const isize full = rest == tall ? strips : strips - 1;
    const isize first = part * strips / parts, end = (part + 1) * strips / parts;
    for (isize i = first; i < end && i < full; i++)
        REAL_block(tall, wide, k, a + i * tall * a_row, a_row, a_step, b, b_row,
                   out + i * tall * row, row, adds, alpha, lanes);
    if (full < strips && end == strips)
        REAL_block(rest, wide, k, a + (n - rest) * a_row, a_row, a_step, b, b_row,
                   out + (n - rest) * row, row, adds, alpha, lanes);
}

/* b with rows of whole vectors. */
INSIDE void REAL_packed(const isize k, const isize m, const REAL *b, const isize b_row,
                        const isize b_step, REAL *out)
{
    const isize step = VECTORS(m, REAL_lanes) * REAL_lanes;
    for (isize t = 0; t < k; t++)
        for (isize j = 0; j < m; j++)
            out[t * step + j] = b[t * b_row + j * b_step];
}

/* A part of the rows of out = a @ b, or of out += alpha * a @ b; a is (n, k) and b is (k, m). Where the
 * rows of b are not whole vectors, b is first copied to "copy". */
INSIDE void REAL_multiply(const isize n, const isize k, const isize m, const REAL *a,
                          const isize a_row, const isize a_step, const REAL *b, isize b_row,
                          const isize b_step, REAL *out, const isize row, const int adds,
                          const REAL alpha, REAL *copy, isize part, isize parts)
{
    const isize vectors = VECTORS(m, REAL_lanes), wide = COLUMNS(vectors);
    const int rest = m - (vectors - 1) * REAL_lanes; /* of the last vector */
    if (b_step != 1 || rest != REAL_lanes) {
        REAL_packed(k, m, b, b_row, b_step, copy);
        b = copy, b_row = vectors * REAL_lanes;
    }
    const isize full = rest == REAL_lanes ? vectors : vectors - 1, whole = full - full % wide;
    for (isize v = 0; v < whole; v += wide)
        REAL_strips(wide, n, k, a, a_row, a_step, b + v * REAL_lanes, b_row, out + v * REAL_lanes,
                    row, adds, alpha, REAL_lanes, part, parts);
    if (whole < vectors)
        REAL_strips(vectors - whole, n, k, a, a_row, a_step, b + whole * REAL_lanes, b_row,
                    out + whole * REAL_lanes, row, adds, alpha, rest, part, parts);
}
