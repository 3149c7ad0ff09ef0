/* Fuzzes every kernel of codec.c that reads untrusted bytes, under libFuzzer: see `make fuzz`.
 *
 * The first bytes of an input choose the decoder and what the receiver would know (d, the number of entries, classes,
 * the reference); the rest is the section. Every buffer is allocated to exactly the size that the kernel is told, so
 * that AddressSanitizer sees the first byte beyond it. A section that decodes is encoded again and decoded again: the
 * second result must equal the first.
 */
#include "../fedcomloc_mpi/kernels/codec.c"

#include <stdio.h>
#include <stdlib.h>

static void *exactly(size_t bytes) {
    void *p = malloc(bytes ? bytes : 1);
    if (!p) abort();
    return p;
}

static void require(int condition, const char *what) {
    if (condition) return;
    fprintf(stderr, "broken: %s\n", what);
    abort();
}

/* Positions that decoded gaps name, put into a bitmap of d entries. */
static void flip_marks(const uint32_t *gaps, int64_t n, int64_t d) {
    uint8_t *bitmap = exactly((size_t)bitmap_bytes(d));
    memset(bitmap, 0, (size_t)bitmap_bytes(d));
    if (fcl_flip(gaps, n, bitmap, d) == n) {
        require(fcl_popcount(bitmap, bitmap_bytes(d)) == n, "marks");
        uint32_t *again = exactly((size_t)n * 4);
        require(fcl_gaps(bitmap, d, again, n) == n && !memcmp(again, gaps, (size_t)n * 4), "gaps");
        free(again);
        float *values = exactly((size_t)n * 4);
        double *accumulator = exactly((size_t)d * 8);
        memset(values, 0, (size_t)n * 4);
        memset(accumulator, 0, (size_t)d * 8);
        require(fcl_accumulate(values, n, bitmap, d, 1.0, accumulator) == n, "accumulate");
        float *spread = exactly((size_t)d * 4);
        require(fcl_scatter(values, n, bitmap, d, spread) == n, "scatter");
        free(spread);
        uint8_t *inner = exactly((size_t)bitmap_bytes(n)), *outer = exactly((size_t)bitmap_bytes(d));
        memset(inner, 0x5a, (size_t)bitmap_bytes(n));
        require(fcl_expand(inner, bitmap_bytes(n), bitmap, bitmap_bytes(d), outer) == n, "expand");
        free(inner);
        free(outer);
        free(values);
        free(accumulator);
    }
    free(bitmap);
}

static void integers(const uint8_t *in, int64_t length, int64_t n, int kind, const uint8_t *classes, int64_t universe) {
    uint8_t *symbols = exactly((size_t)n);
    uint32_t *work = exactly((size_t)fcl_decode_words() * 4);
    uint32_t *values = exactly((size_t)n * 4);
    int64_t read = fcl_decode_symbols(in, length, n, kind, classes, universe, symbols, work);
    require(read <= length, "bytes read");
    if (read > 0) {
        int mode = in[0] & 3;
        void *plan = exactly((size_t)fcl_plan_bytes());
        uint8_t *groups = exactly((size_t)(n + 3) / 4), *out = exactly((size_t)fcl_symbols_bound(n));
        uint8_t *again = exactly((size_t)n);
        int64_t size = fcl_plan_symbols(plan, symbols, n, kind, mode, classes, groups, universe);
        require(size > 0, "plan");
        int64_t written = fcl_encode_symbols(plan, symbols, n, classes, groups, out, fcl_symbols_bound(n));
        require(written > 0 && written <= size + n / 1000 + 1 && written + 9 + n / 1000 >= size, "size");
        uint8_t *copy = exactly((size_t)written);
        memcpy(copy, out, (size_t)written);
        require(fcl_decode_symbols(copy, written, n, kind, classes, universe, again, work) == written, "reread");
        require(!memcmp(again, symbols, (size_t)n), "symbols");
        free(copy);
        free(again);
        free(out);
        free(groups);
        free(plan);
        if (kind < KIND_BYTES) {
            int64_t low = fcl_unpack_low(in + read, length - read, symbols, n, kind, values);
            require(low <= length - read, "low bits read");
            if (low >= 0) {
                uint8_t *tokens = exactly((size_t)n);
                require(fcl_tokenise(values, n, kind, tokens) >= 0 && !memcmp(tokens, symbols, (size_t)n), "tokens");
                free(tokens);
                if (universe) flip_marks(values, n, universe);
            }
        }
    }
    free(values);
    free(work);
    free(symbols);
}

/* Floats from differences that no encoder made, on a reference that no trainer made; what decodes is encoded again. */
static void float_differences(const uint8_t *in, int64_t length, int64_t n, int64_t d, const uint8_t *bitmap, int top) {
    float *reference = exactly((size_t)d * 4), *known = exactly((size_t)n * 4), *values = exactly((size_t)n * 4);
    uint8_t *tokens = exactly((size_t)n), *classes = exactly((size_t)n);
    uint32_t *work = exactly((size_t)fcl_decode_words() * 4);
    for (int64_t i = 0; i < d; i++) {
        uint32_t pattern = (uint32_t)(i + 1) * 2654435761u;
        memcpy(reference + i, &pattern, 4);
        if (key_of(reference[i]) >= KEY_INFINITY) reference[i] = 0;
    }
    uint8_t *support = exactly((size_t)bitmap_bytes(d));
    float *held = exactly((size_t)d * 4);
    int64_t held_count = fcl_gather(reference, d, support, held, fcl_support(reference, d, support));
    require(fcl_gather_known(held, held_count, support, bitmap, d, known, n) == n, "known");
    free(held);
    free(support);
    int64_t read = fcl_decode_float_differences(in, length, n, known, top, tokens, classes, work, values);
    require(read <= length, "bytes read");
    if (read > 0) {
        int64_t capacity = 4 * n + 8, facts[2];
        uint8_t *low = exactly((size_t)capacity), *out = exactly((size_t)fcl_symbols_bound(n));
        void *plan = exactly((size_t)fcl_plan_bytes());
        int m = in[0] >> 3;
        int64_t size = fcl_plan_float_differences(plan, values, n, known, m, tokens, classes, low, capacity, facts);
        require(size > 0 && facts[1] >= 0 && facts[1] <= capacity, "plan");
        int64_t written = fcl_encode_symbols(plan, tokens, n, classes, NULL, out, fcl_symbols_bound(n));
        require(written > 0, "encode");
        uint8_t *copy = exactly((size_t)(written + facts[1]));
        memcpy(copy, out, (size_t)written);
        memcpy(copy + written, low, (size_t)facts[1]);
        float *again = exactly((size_t)n * 4);
        require(fcl_decode_float_differences(copy, written + facts[1], n, known, (int32_t)facts[0], tokens, classes, work,
                                             again) == written + facts[1], "reread");
        require(!memcmp(again, values, (size_t)n * 4), "floats");
        free(again);
        free(copy);
        free(plan);
        free(out);
        free(low);
    }
    free(work);
    free(classes);
    free(tokens);
    free(values);
    free(known);
    free(reference);
}

/* Both sections at once, against a sparse reference: the section's first two bytes say where the index section begins. */
static void sparse_floats(const uint8_t *in, int64_t length, int64_t k, int64_t d, int32_t coder, int with_topk) {
    if (length < 2 || k < 1 || k >= d) return;
    int64_t work_bytes = fcl_sparse_work(d, k), split = (in[0] | in[1] << 8) % (length - 1), bytes = bitmap_bytes(d);
    float *reference = exactly((size_t)d * 4), *held = exactly((size_t)d * 4), *values = exactly((size_t)k * 4);
    uint8_t *support = exactly((size_t)bytes), *topk = exactly((size_t)bytes), *bitmap = exactly((size_t)bytes);
    uint32_t *select_work = exactly((size_t)fcl_select_words(d) * 4), threshold[2] = {0, 0};
    void *work = exactly((size_t)work_bytes);
    for (int64_t i = 0; i < d; i++) {
        uint32_t pattern = (uint32_t)(i + 1) * 2654435761u;
        memcpy(reference + i, &pattern, 4);
        if (i % 3 || key_of(reference[i]) >= KEY_INFINITY) reference[i] = 0;
    }
    int64_t held_count = fcl_gather(reference, d, support, held, fcl_support(reference, d, support));
    require(fcl_select(reference, d, k, topk, select_work, fcl_select_words(d), threshold) == k, "topk");
    uint8_t *section = exactly((size_t)split), *indices = exactly((size_t)(length - 2 - split));
    memcpy(section, in + 2, (size_t)split);
    memcpy(indices, in + 2 + split, (size_t)(length - 2 - split));
    int64_t decoded = fcl_decode_sparse_floats(section, split, indices, length - 2 - split, coder, d, k,
                                               with_topk ? topk : NULL, support, held, held_count, work, work_bytes,
                                               bitmap, values);
    require(decoded == k || decoded == FCL_DECLINED, "declined or decoded");
    double *sum = exactly((size_t)d * 8), *expected = exactly((size_t)d * 8);
    memset(sum, 0, (size_t)d * 8);
    memset(expected, 0, (size_t)d * 8);
    require(fcl_add_sparse_floats(section, split, indices, length - 2 - split, coder, d, k, with_topk ? topk : NULL, support,
                                  held, held_count, work, work_bytes, 0.5, sum) == decoded, "added or declined alike");
    if (decoded == k) require(fcl_accumulate(values, k, bitmap, d, 0.5, expected) == k, "accumulate");
    require(!memcmp(sum, expected, (size_t)d * 8), "sum");
    free(expected);
    free(sum);
    if (decoded == k) {
        require(fcl_popcount(bitmap, bytes) == k && all_finite(values, k), "entries");
        int64_t capacity = fcl_sparse_bound(d, k), facts[3];
        uint8_t *out = exactly((size_t)capacity), *again = exactly((size_t)bytes);
        float *floats = exactly((size_t)k * 4);
        int64_t written = fcl_encode_sparse_floats(values, k, bitmap, d, topk, support, held, held_count, work, work_bytes,
                                                   out, capacity, facts);
        require(written == FCL_DECLINED || written == facts[0] + facts[1], "encode");
        if (written != FCL_DECLINED) {
            uint8_t *first = exactly((size_t)facts[0]), *second = exactly((size_t)facts[1]);
            memcpy(first, out, (size_t)facts[0]);
            memcpy(second, out + facts[0], (size_t)facts[1]);
            require(fcl_decode_sparse_floats(first, facts[0], second, facts[1], (int32_t)facts[2], d, k, topk, support,
                                             held, held_count, work, work_bytes, again, floats) == k, "reread");
            require(!memcmp(again, bitmap, (size_t)bytes) && !memcmp(floats, values, (size_t)k * 4), "sparse floats");
            free(second);
            free(first);
        }
        free(floats);
        free(again);
        free(out);
    }
    free(indices);
    free(section);
    free(work);
    free(select_work);
    free(bitmap);
    free(topk);
    free(support);
    free(values);
    free(held);
    free(reference);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 6) return 0;
    int what = data[0] % 8, kind = data[1] % 5, shift = data[1] % 40;
    int64_t n = data[2] | (data[3] & 3) << 8, d = n + data[4] * (1 + (data[5] & 63));
    /* The section in a buffer of its own: reading beyond it is seen. */
    int64_t length = (int64_t)size - 6;
    uint8_t *in = exactly((size_t)length);
    memcpy(in, data + 6, (size_t)length);
    uint32_t *values = exactly((size_t)n * 4);
    uint8_t *classes = exactly((size_t)n);
    for (int64_t i = 0; i < n; i++) classes[i] = (uint8_t)(i * (data[5] | 1) >> 3 & 15);
    if (what == 0) {
        integers(in, length, n, kind, NULL, 0);
    } else if (what == 1) {
        integers(in, length, n, kind, classes, 0);
    } else if (what == 2) {
        integers(in, length, n, kind, NULL, d);
    } else if (what == 3) {
        int64_t read = fcl_rice_decode(in, length, n, shift, values);
        require(read <= length, "bytes read");
        if (read >= 0) flip_marks(values, n, d);
    } else if (what == 4) {
        int64_t read = fcl_unpack(in, length, n, shift, values);
        if (read >= 0) {
            uint32_t *gaps = exactly((size_t)n * 4);
            if (fcl_gaps_of_positions(values, n, d, gaps) == n) flip_marks(gaps, n, d);
            free(gaps);
        }
    } else if (what == 6) {
        if (!n) goto done;
        uint8_t *bitmap = exactly((size_t)bitmap_bytes(d));
        memset(bitmap, 0, (size_t)bitmap_bytes(d));
        for (int64_t i = 0; i < n; i++) bitmap[i * d / n >> 3] |= (uint8_t)(1 << (i * d / n & 7));
        float_differences(in, length, n, d, d == n ? NULL : bitmap, data[1]);
        free(bitmap);
    } else if (what == 7) {
        sparse_floats(in, length, n, d, CODER_RICE + (data[1] & 1), data[1] & 2);
    } else {
        /* Levels and floats from differences that no encoder made, on a reference and scales that no trainer made. */
        if (length < 8 * n + 16) goto done;
        float *reference = exactly((size_t)n * 4), *floats = exactly((size_t)n * 4);
        int32_t *levels = exactly((size_t)n * 4), *predicted = exactly((size_t)n * 4);
        memcpy(reference, in, (size_t)n * 4);
        memcpy(values, in + 4 * n, (size_t)n * 4);
        for (int64_t i = 0; i < n; i++)
            if (key_of(reference[i]) >= KEY_INFINITY) reference[i] = 0;
        fcl_apply_float_differences(values, reference, n, floats);
        require(fcl_reference_classes(reference, n, in[0], classes) == in[0], "classes");
        int64_t offsets[4] = {0, n / 3, n / 2, n};
        float scales[3];
        memcpy(scales, in + 8 * n, sizeof scales);
        for (int i = 0; i < 3; i++)
            if (!(scales[i] >= 0) || key_of(scales[i]) >= KEY_INFINITY) scales[i] = 1;
        int64_t limit = kind ? INT32_MAX : 255;
        require(fcl_quantize(reference, n, NULL, n, offsets, scales, 3, 255, 1 << 30, 7, kind & 1, predicted) == n, "q");
        if (fcl_apply_level_differences(values, predicted, n, limit, levels) == n)
            require(fcl_dequantize(levels, n, NULL, n, offsets, scales, 3, 255, floats) == n, "dequantize");
        free(predicted);
        free(levels);
        free(floats);
        free(reference);
    }
done:
    free(classes);
    free(values);
    free(in);
    return 0;
}
