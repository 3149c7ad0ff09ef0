/* Kernels of the wire format: selection, quantization, index coders, value coders, entropy coder.
 *
 * Plain C11, no dependency, no allocation, no global state: every buffer belongs to the caller, who passes its length.
 * Functions that read untrusted bytes check every access and return a negative FCL_ERROR_... on damage; they never
 * read or write outside the lengths given. Everything that two machines must agree on is integer arithmetic, or float64
 * arithmetic in a fixed order: compile with -ffp-contract=off and without -ffast-math.
 *
 * Vocabulary. bitmap: bit i % 8 (least significant first) of byte i / 8 stands for entry i; padding bits are 0.
 * gaps: for the set bits of a bitmap in ascending order, the number of clear bits since the previous set bit.
 * Bit streams are least significant bit first; multi-byte integers are little endian.
 * Each function has a numpy twin in fedcomloc_mpi/kernels/twins that produces the same bytes, but for those that do what
 * several others do one after the other.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif
#if defined(__x86_64__) && (defined(__clang__) || (defined(__GNUC__) && __GNUC__ >= 6))
#define CARRY_LESS 1 /* may be compiled for some functions alone, and asked for when they run */
#include <wmmintrin.h>
#endif

#if defined(_WIN32)
#define FCL_API __declspec(dllexport)
#else
#define FCL_API __attribute__((visibility("default")))
#endif

enum {
    FCL_ERROR_ARGUMENT = -1,  /* the caller broke the contract: lengths, ranges */
    FCL_ERROR_CAPACITY = -2,  /* the output buffer is too small */
    FCL_ERROR_TRUNCATED = -3, /* the input ends too early */
    FCL_ERROR_DAMAGED = -4,   /* the input cannot have come from the encoder */
    FCL_ERROR_NONFINITE = -5, /* NaN or infinity where only finite numbers are allowed */
    FCL_DECLINED = -6,        /* nothing is wrong: the general way is to be taken */
};

enum {
    PROBABILITY_BITS = 12,
    PROBABILITY_SCALE = 1 << PROBABILITY_BITS,
    LANES = 4,
    CONTEXTS = 16,
    ALPHABET = 256,
    FRACTION = 12,    /* sizes are computed in units of 2^-12 bit */
    WEIGHT_BITS = 17, /* a weight is below 2^17 */
    KIND_BYTES = 4,   /* kinds 0 to 3 are tokens with that many mantissa bits */
    MODE_SINGLE = 0,
    MODE_ADAPTIVE = 1,
    MODE_CLASSES = 2,
};
#define STATE_LOW (UINT32_C(1) << 16) /* rANS states live in [2^16, 2^32) */

/* Changes with every change of a signature or of what a function writes. */
FCL_API int64_t fcl_version(void) { return 8; }

/* Whether this machine can run what is compiled for x86-64-v3; to be asked of the build for every machine. */
FCL_API int64_t fcl_runs_v3(void) {
#if defined(__x86_64__) && defined(__GNUC__)
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("fma");
#else
    return 0;
#endif
}

/* ---- bytes and bits ------------------------------------------------------------------------------------------- */

/* One memory access each where the machine is little endian: compilers do not see through the bytes of every store. */
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define LITTLE(bits, v) (v)
#else
#define LITTLE(bits, v) __builtin_bswap##bits(v)
#endif
#define DEFINE_LOAD_AND_STORE(bits)                                 \
    static inline uint##bits##_t load##bits(const uint8_t *p) {     \
        uint##bits##_t v;                                           \
        memcpy(&v, p, sizeof v);                                    \
        return LITTLE(bits, v);                                     \
    }                                                               \
    static inline void store##bits(uint8_t *p, uint##bits##_t v) {  \
        v = LITTLE(bits, v);                                        \
        memcpy(p, &v, sizeof v);                                    \
    }
DEFINE_LOAD_AND_STORE(16)
DEFINE_LOAD_AND_STORE(32)
DEFINE_LOAD_AND_STORE(64)

/* Up to 8 bytes from `p`, as many as `available`; missing ones read as 0. */
static inline uint64_t load_tail(const uint8_t *p, int64_t available) {
    if (available >= 8) return load64(p);
    uint64_t v = 0;
    for (int64_t i = 0; i < available; i++) v |= (uint64_t)p[i] << (8 * i);
    return v;
}

static inline void store_tail(uint8_t *p, int64_t available, uint64_t v) {
    if (available >= 8) {
        store64(p, v);
        return;
    }
    for (int64_t i = 0; i < available; i++) p[i] = (uint8_t)(v >> (8 * i));
}

static inline int bit_length(uint32_t v) { return v ? 32 - __builtin_clz(v) : 0; }

/* Without a population count instruction compilers call a library function; this is faster. */
static inline int popcount64(uint64_t v) {
#if defined(__POPCNT__) || defined(__aarch64__)
    return __builtin_popcountll(v);
#else
    v -= v >> 1 & UINT64_C(0x5555555555555555);
    v = (v & UINT64_C(0x3333333333333333)) + (v >> 2 & UINT64_C(0x3333333333333333));
    v = (v + (v >> 4)) & UINT64_C(0x0f0f0f0f0f0f0f0f);
    return (int)(v * UINT64_C(0x0101010101010101) >> 56);
#endif
}

/* Writes bits that the caller has already checked to fit. */
typedef struct {
    uint8_t *out;
    uint64_t pending;
    int count;
} bit_writer;

static inline void put_bits(bit_writer *w, uint32_t value, int width) {
    w->pending |= (uint64_t)value << w->count;
    w->count += width;
    if (w->count >= 32) {
        store32(w->out, (uint32_t)w->pending);
        w->out += 4;
        w->pending >>= 32;
        w->count -= 32;
    }
}

static inline uint8_t *finish_bits(bit_writer *w) {
    for (; w->count > 0; w->count -= 8, w->pending >>= 8) *w->out++ = (uint8_t)w->pending;
    return w->out;
}

typedef struct {
    const uint8_t *in;
    int64_t length;
    int64_t position; /* in bits */
} bit_reader;

/* At least 57 bits from the current position on; bits beyond the end read as 0. */
static inline uint64_t peek_bits(const bit_reader *r) {
    int64_t byte = r->position >> 3;
    if (byte >= r->length) return 0;
    return load_tail(r->in + byte, r->length - byte) >> (r->position & 7);
}

static inline uint32_t take_bits(bit_reader *r, int width) {
    uint32_t v = (uint32_t)(peek_bits(r) & ((UINT64_C(1) << width) - 1));
    r->position += width;
    return v;
}

/* ---- bitmaps -------------------------------------------------------------------------------------------------- */

static inline int64_t bitmap_bytes(int64_t d) { return (d + 7) / 8; }

/* Runs the statement for every set bit of a bitmap in ascending order, with `index` the entry's number. */
#define FOR_EACH_SET_BIT(bitmap, d, index)                                                                   \
    for (int64_t word_at_ = 0, bytes_ = bitmap_bytes(d); word_at_ < bytes_; word_at_ += 8)                    \
        for (uint64_t word_ = load_tail((bitmap) + word_at_, bytes_ - word_at_); word_; word_ &= word_ - 1)  \
            for (int64_t index = word_at_ * 8 + __builtin_ctzll(word_), once_ = 1; once_; once_ = 0)

FCL_API int64_t fcl_popcount(const uint8_t *bitmap, int64_t bytes) {
    int64_t total = 0;
    for (int64_t i = 0; i < bytes; i += 8) total += popcount64(load_tail(bitmap + i, bytes - i));
    return total;
}

/* Set bits among entries begin to end - 1, 0 <= begin <= end <= d. */
static int64_t count_between(const uint8_t *bitmap, int64_t d, int64_t begin, int64_t end) {
    int64_t total = 0, bytes = bitmap_bytes(d);
    for (int64_t at = begin / 64 * 8; at * 8 < end; at += 8) {
        uint64_t word = load_tail(bitmap + at, bytes - at);
        if (at * 8 < begin) word &= ~UINT64_C(0) << (begin - at * 8);
        if (end - at * 8 < 64) word &= (UINT64_C(1) << (end - at * 8)) - 1;
        total += popcount64(word);
    }
    return total;
}

/* out[j] = vector[index of the j-th set bit]; returns the number of set bits. */
FCL_API int64_t fcl_gather(const float *vector, int64_t d, const uint8_t *bitmap, float *out, int64_t capacity) {
    int64_t n = 0;
    for (int64_t at = 0, bytes = bitmap_bytes(d); at < bytes; at += 8) {
        uint64_t word = load_tail(bitmap + at, bytes - at);
        int ones = popcount64(word);
        if (n + ones > capacity) return FCL_ERROR_CAPACITY;
        if (ones && at * 8 + 63 - __builtin_clzll(word) >= d) return FCL_ERROR_ARGUMENT;
        const float *v = vector + at * 8;
        for (; word; word &= word - 1) out[n++] = v[__builtin_ctzll(word)];
    }
    return n;
}

/* out[index of the j-th set bit] = values[j], and 0 elsewhere. */
FCL_API int64_t fcl_scatter(const float *values, int64_t count, const uint8_t *bitmap, int64_t d, float *out) {
    int64_t n = 0;
    for (int64_t at = 0, bytes = bitmap_bytes(d); at < bytes; at += 8) {
        uint64_t word = load_tail(bitmap + at, bytes - at);
        float *o = out + at * 8;
        int64_t left = d - at * 8;
#if defined(__SSE2__)
        if (left >= 64) { /* a call of memset would cost more than the stores */
            for (int j = 0; j < 64; j += 4) _mm_storeu_ps(o + j, _mm_setzero_ps());
        } else
#endif
            memset(o, 0, (size_t)(left < 64 ? left : 64) * sizeof *o);
        if (!word) continue;
        if (n + popcount64(word) > count || at * 8 + 63 - __builtin_clzll(word) >= d) return FCL_ERROR_ARGUMENT;
        for (; word; word &= word - 1) o[__builtin_ctzll(word)] = values[n++];
    }
    return n == count ? n : FCL_ERROR_ARGUMENT;
}

/* A bitmap over the set bits of another one becomes a bitmap over its entries: entry i is set if `outer` has it, as
 * number j of its set bits, and bit j of `inner` is set. `inner` is that of popcount(outer) entries. */
FCL_API int64_t fcl_expand(const uint8_t *inner, int64_t inner_bytes, const uint8_t *outer, int64_t bytes, uint8_t *out) {
    int64_t taken = 0;
    for (int64_t at = 0; at < bytes; at += 8) {
        uint64_t word = load_tail(outer + at, bytes - at), found = 0;
        if (word) {
            int64_t from = taken >> 3;
            if (from >= inner_bytes) return FCL_ERROR_ARGUMENT;
            uint64_t chosen = load_tail(inner + from, inner_bytes - from) >> (taken & 7);
            int ones = popcount64(word), shift = (int)(taken & 7);
            if (shift && ones > 64 - shift && from + 8 < inner_bytes) chosen |= (uint64_t)inner[from + 8] << (64 - shift);
            taken += ones;
            for (; word && chosen; word &= word - 1, chosen >>= 1) found |= (word & (~word + 1)) & (0 - (chosen & 1));
        }
        store_tail(out + at, bytes - at, found);
    }
    return taken;
}

/* accumulator[index of the j-th set bit] += weight * values[j], in float64; bitmap NULL means every entry. */
FCL_API int64_t fcl_accumulate(const float *values, int64_t count, const uint8_t *bitmap, int64_t d, double weight,
                               double *accumulator) {
    if (!bitmap) {
        if (count != d) return FCL_ERROR_ARGUMENT;
        for (int64_t i = 0; i < d; i++) accumulator[i] += weight * (double)values[i];
        return count;
    }
    int64_t n = 0;
    for (int64_t at = 0, bytes = bitmap_bytes(d); at < bytes; at += 8) {
        uint64_t word = load_tail(bitmap + at, bytes - at);
        int ones = popcount64(word);
        if (n + ones > count) return FCL_ERROR_ARGUMENT;
        if (ones && at * 8 + 63 - __builtin_clzll(word) >= d) return FCL_ERROR_ARGUMENT;
        double *a = accumulator + at * 8;
        for (; word; word &= word - 1) a[__builtin_ctzll(word)] += weight * (double)values[n++];
    }
    return n == count ? n : FCL_ERROR_ARGUMENT;
}

/* ---- selection of the k entries of largest magnitude ------------------------------------------------------------
 *
 * The magnitude of a float32 orders like its bit pattern without the sign: the key. A small jittered sample brackets
 * the k-th largest key; one pass over the vector writes the bits of all keys above the bracket and collects the few
 * keys inside it, among which the threshold is found exactly. If the bracket missed, or too many entries tie inside it,
 * a radix histogram over the whole vector finds the threshold instead: slower, never wrong.
 */

enum { SAMPLE = 8192, SAMPLE_MINIMUM = 16384, RADIX_BITS = 11, RADIX = 1 << RADIX_BITS };
#define GOLDEN UINT64_C(0x9E3779B97F4A7C15)
#define KEY_MASK UINT32_C(0x7fffffff)
#define KEY_INFINITY UINT32_C(0x7f800000)

static inline uint32_t bits_of(float v) {
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    return bits;
}

static inline uint32_t key_of(float v) { return bits_of(v) & KEY_MASK; }

static inline int64_t candidate_capacity(int64_t d) { return d / 8 + 64; }

/* uint32 words of workspace that fcl_select needs for a vector of d entries. */
FCL_API int64_t fcl_select_words(int64_t d) { return 2 * candidate_capacity(d) + 2 * SAMPLE + 3 * RADIX; }

/* Sorts keys ascending; `other` has the same length. The result is in `keys`. */
static void sort_keys(uint32_t *keys, uint32_t *other, int64_t n, uint32_t *counts) {
    uint32_t *from = keys, *to = other;
    memset(counts, 0, 3 * RADIX * sizeof *counts);
    for (int64_t i = 0; i < n; i++) {
        counts[keys[i] & (RADIX - 1)]++;
        counts[RADIX + (keys[i] >> RADIX_BITS & (RADIX - 1))]++;
        counts[2 * RADIX + (keys[i] >> 2 * RADIX_BITS)]++;
    }
    for (int pass = 0; pass < 3; pass++) {
        uint32_t *c = counts + pass * RADIX, sum = 0;
        for (int j = 0; j < RADIX; j++) {
            uint32_t here = c[j];
            c[j] = sum;
            sum += here;
        }
        for (int64_t i = 0; i < n; i++) to[c[from[i] >> pass * RADIX_BITS & (RADIX - 1)]++] = from[i];
        uint32_t *swap = from;
        from = to;
        to = swap;
    }
    memcpy(keys, other, (size_t)n * sizeof *keys);
}

/* The key of rank `rank` (1 = largest) among n keys; *ties = how many of the keys equal to it belong to the top. */
static uint32_t radix_threshold(const uint32_t *keys, int64_t n, int64_t rank, uint32_t *counts, int64_t *ties) {
    static const int shifts[3] = {20, 9, 0};
    static const int widths[3] = {11, 11, 9};
    uint32_t prefix = 0, prefix_mask = 0;
    for (int level = 0; level < 3; level++) {
        int bins = 1 << widths[level];
        memset(counts, 0, (size_t)bins * sizeof *counts);
        for (int64_t i = 0; i < n; i++) {
            uint32_t key = keys[i] & KEY_MASK;
            if ((key & prefix_mask) == prefix) counts[key >> shifts[level] & (uint32_t)(bins - 1)]++;
        }
        int bin = bins - 1;
        while (bin > 0 && rank > (int64_t)counts[bin]) rank -= counts[bin--];
        prefix |= (uint32_t)bin << shifts[level];
        prefix_mask |= (uint32_t)(bins - 1) << shifts[level];
    }
    *ties = rank;
    return prefix;
}

/* 16 keys; `above` makes 16 bits of them: key > bound. Adding 2^23 to the key of NaN or infinity sets its top bit:
 * `note_nonfinite` collects these sums. */
#if defined(__SSE2__)
typedef struct {
    __m128i key[4];
} key_block;

static inline key_block load_block(const float *x) {
    key_block b;
    for (int j = 0; j < 4; j++)
        b.key[j] = _mm_and_si128(_mm_loadu_si128((const __m128i *)(const void *)(x + 4 * j)),
                                 _mm_set1_epi32((int)KEY_MASK));
    return b;
}

static inline uint32_t above(const key_block *b, uint32_t bound) {
    __m128i t = _mm_set1_epi32((int)bound);
    __m128i low = _mm_packs_epi32(_mm_cmpgt_epi32(b->key[0], t), _mm_cmpgt_epi32(b->key[1], t));
    __m128i high = _mm_packs_epi32(_mm_cmpgt_epi32(b->key[2], t), _mm_cmpgt_epi32(b->key[3], t));
    return (uint32_t)_mm_movemask_epi8(_mm_packs_epi16(low, high));
}

typedef __m128i nonfinite_note;
#define NOTHING_NOTED _mm_setzero_si128()

static inline nonfinite_note note_nonfinite(nonfinite_note note, const key_block *b) {
    for (int j = 0; j < 4; j++) note = _mm_or_si128(note, _mm_add_epi32(b->key[j], _mm_set1_epi32(1 << 23)));
    return note;
}

static inline int any_nonfinite(nonfinite_note note) { return _mm_movemask_ps(_mm_castsi128_ps(note)) != 0; }
#else
typedef struct {
    uint32_t key[16];
} key_block;

static inline key_block load_block(const float *x) {
    key_block b;
    memcpy(b.key, x, sizeof b.key);
    for (int j = 0; j < 16; j++) b.key[j] &= KEY_MASK;
    return b;
}

static inline uint32_t above(const key_block *b, uint32_t bound) {
    uint32_t bits = 0;
    for (int j = 0; j < 16; j++) bits |= (uint32_t)(b->key[j] > bound) << j;
    return bits;
}

typedef uint32_t nonfinite_note;
#define NOTHING_NOTED 0

static inline nonfinite_note note_nonfinite(nonfinite_note note, const key_block *b) {
    for (int j = 0; j < 16; j++) note |= b->key[j] + (1u << 23);
    return note;
}

static inline int any_nonfinite(nonfinite_note note) { return note >> 31 != 0; }
#endif

/* A block of the last fewer than 16 entries, filled up with zeros. */
static inline key_block load_last_block(const float *x, int64_t n) {
    float padded[16] = {0};
    memcpy(padded, x, (size_t)n * sizeof *x);
    return load_block(padded);
}

static int all_finite(const float *x, int64_t d) {
    uint32_t worst = 0;
    for (int64_t i = 0; i < d; i++) {
        uint32_t key = key_of(x[i]);
        worst = key > worst ? key : worst;
    }
    return worst < KEY_INFINITY;
}

/* Sets the bits of all keys above `threshold` and of the first `ties` keys equal to it. */
static void emit_threshold(const float *x, int64_t d, uint32_t threshold, int64_t ties, uint8_t *bitmap) {
    for (int64_t at = 0; at < d; at += 8) {
        uint32_t bits = 0;
        for (int64_t j = 0; j < 8 && at + j < d; j++) {
            uint32_t key = key_of(x[at + j]);
            int tie = key == threshold && ties > 0;
            ties -= tie;
            bits |= (uint32_t)(key > threshold || tie) << j;
        }
        bitmap[at / 8] = (uint8_t)bits;
    }
}

/* Sets the first n clear bits of a bitmap of d entries, of which at least n are clear. */
static void set_first_clear(uint8_t *bitmap, int64_t d, int64_t n) {
    for (int64_t at = 0, bytes = bitmap_bytes(d); at < bytes && n > 0; at += 8) {
        uint64_t word = load_tail(bitmap + at, bytes - at), valid = ~UINT64_C(0);
        if (d - at * 8 < 64) valid = (UINT64_C(1) << (d - at * 8)) - 1;
        uint64_t clear = ~word & valid;
        int64_t available = popcount64(clear);
        if (available <= n) {
            word |= clear;
            n -= available;
        } else {
            for (; n > 0; n--, clear &= clear - 1) word |= clear & (~clear + 1);
        }
        store_tail(bitmap + at, bytes - at, word);
    }
}

/* One pass with a bracket (low, high]: bits of keys > high, candidates with low < key <= high.
 * Returns the number of candidates, or -1 if there are more than fit; *nonfinite is set. */
static int64_t bracket_pass(const float *x, int64_t d, uint32_t low, uint32_t high, uint8_t *bitmap, uint32_t *keys,
                            uint32_t *places, int *nonfinite) {
    int64_t n = 0, room = candidate_capacity(d);
    nonfinite_note note = NOTHING_NOTED;
    for (int64_t at = 0; at < d; at += 16) {
        key_block b = d - at >= 16 ? load_block(x + at) : load_last_block(x + at, d - at);
        uint32_t up = above(&b, high), inside = above(&b, low) & ~up;
        note = note_nonfinite(note, &b);
        bitmap[at / 8] = (uint8_t)up;
        if (d - at > 8) bitmap[at / 8 + 1] = (uint8_t)(up >> 8);
        if (inside) {
            if (n + 16 > room) return -1;
            for (; inside; inside &= inside - 1) {
                int64_t place = at + __builtin_ctz(inside);
                keys[n] = key_of(x[place]);
                places[n++] = (uint32_t)place;
            }
        }
    }
    *nonfinite = any_nonfinite(note);
    return n;
}

static int64_t integer_sqrt(int64_t v) {
    int64_t r = 0;
    while ((r + 1) * (r + 1) <= v) r++;
    return r;
}

/* Keys between which, most probably, the k-th largest lies: *low < key <= *high. */
static void sample_bracket(const float *x, int64_t d, int64_t k, uint32_t *sample, uint32_t *low, uint32_t *high) {
    uint32_t *other = sample + SAMPLE, *counts = other + SAMPLE;
    int64_t size = d / 64 < 1024 ? 1024 : d / 64 < SAMPLE ? d / 64 : SAMPLE, stride = d / size;
    for (int64_t i = 0; i < size; i++) {
        uint64_t jitter = (uint64_t)(i + 1) * GOLDEN;
        sample[i] = key_of(x[i * stride + (int64_t)((jitter >> 32) * (uint64_t)stride >> 32)]);
    }
    sort_keys(sample, other, size, counts);
    double share = (double)k / (double)d;
    int64_t expected = (int64_t)(share * (double)size);
    int64_t margin = 3 * integer_sqrt((int64_t)(share * (1.0 - share) * (double)size)) + 8;
    int64_t from_top = expected - margin, to_top = expected + margin;
    *high = from_top <= 0 ? KEY_MASK : sample[size - from_top];
    *low = to_top >= size ? 0 : sample[size - 1 - to_top];
    if (*low > 0) *low -= 1; /* the bracket excludes `low` itself; with low = 0 it excludes exactly the zeros */
    if (*high == *low) *high = *low + 1;
}

/* Returns 1 if the bracket decided, 0 if it did not hold the threshold or too many keys, or an error. *threshold is set
 * to a key near the k-th largest, *candidates to the keys that were in the bracket. */
static int64_t select_by_bracket(const float *x, int64_t d, int64_t k, uint32_t low, uint32_t high, uint8_t *bitmap,
                                 uint32_t *work, uint32_t *found, int64_t *candidates) {
    uint32_t *keys = work, *places = keys + candidate_capacity(d), *counts = places + candidate_capacity(d);
    int nonfinite;
    *found = high;
    int64_t n = bracket_pass(x, d, low, high, bitmap, keys, places, &nonfinite);
    *candidates = n < 0 ? candidate_capacity(d) : n;
    if (n < 0) return 0;
    if (nonfinite) return FCL_ERROR_NONFINITE;
    int64_t wanted = k - fcl_popcount(bitmap, bitmap_bytes(d));
    if (wanted < 0 || (wanted > n && low > 0)) return 0;
    if (wanted >= n) {
        if (wanted > n) *found = 0;
        for (int64_t i = 0; i < n; i++) bitmap[places[i] >> 3] |= (uint8_t)(1u << (places[i] & 7));
        set_first_clear(bitmap, d, wanted - n); /* all that is left are zeros */
        return 1;
    }
    if (wanted == 0) return 1;
    int64_t ties;
    uint32_t threshold = *found = radix_threshold(keys, n, wanted, counts, &ties);
    for (int64_t i = 0; i < n; i++) {
        int tie = keys[i] == threshold && ties > 0;
        ties -= tie;
        uint32_t keep = keys[i] > threshold || tie;
        bitmap[places[i] >> 3] |= (uint8_t)(keep << (places[i] & 7));
    }
    return 1;
}

/* Sets exactly the bits of the k entries of largest magnitude; of equal magnitudes the lowest index wins.
 * bitmap: ceil(d / 8) bytes, overwritten. work: `words` >= fcl_select_words(d). Needs 0 <= k <= d < 2^32. guess[0]: the
 * k-th largest key of a similar vector, guess[1]: how far from it to look, or zeros; both are updated for the next call,
 * make it faster and change nothing else. Returns k, or FCL_ERROR_NONFINITE if any entry is NaN or infinite. */
FCL_API int64_t fcl_select(const float *x, int64_t d, int64_t k, uint8_t *bitmap, uint32_t *work, int64_t words,
                           uint32_t *guess) {
    enum { NARROWEST = 1 << 16, FIRST = 1 << 19, WIDEST = 1 << 22 }; /* of 2^23, which is a factor of two */
    if (d < 0 || k < 0 || k > d || d > (int64_t)UINT32_MAX || words < fcl_select_words(d)) return FCL_ERROR_ARGUMENT;
    uint32_t *threshold = guess, near = guess[0], width = guess[1] >= NARROWEST && guess[1] <= WIDEST ? guess[1] : FIRST;
    guess[0] = 0;
    guess[1] = width;
    if (k == 0 || k == d) {
        if (!all_finite(x, d)) return FCL_ERROR_NONFINITE;
        memset(bitmap, 0, (size_t)bitmap_bytes(d));
        if (k == d) set_first_clear(bitmap, d, d);
        return k;
    }
    if (d >= SAMPLE_MINIMUM) {
        int64_t done = 0;
        int64_t candidates = 0;
        if (near > width && near < KEY_INFINITY) {
            done = select_by_bracket(x, d, k, near - width, near + width, bitmap, work, threshold, &candidates);
            int crowded = candidates > d / 64;
            if (crowded && width > NARROWEST) guess[1] = width / 2;
            if (!done && !crowded && width < WIDEST) guess[1] = width * 2;
        }
        if (!done) {
            uint32_t low, high;
            sample_bracket(x, d, k, work, &low, &high);
            done = select_by_bracket(x, d, k, low, high, bitmap, work, threshold, &candidates);
        }
        if (done) return done < 0 ? done : k;
    }
    if (!all_finite(x, d)) return FCL_ERROR_NONFINITE;
    /* The histogram reads the keys straight from the floats' own memory, sign bits masked off. */
    int64_t ties;
    *threshold = radix_threshold((const uint32_t *)(const void *)x, d, k, work, &ties);
    emit_threshold(x, d, *threshold, ties, bitmap);
    return k;
}

/* Sets the bits of the entries whose bit patterns are not 0 (-0 among them); returns how many. */
FCL_API int64_t fcl_support(const float *x, int64_t d, uint8_t *bitmap) {
    int64_t at = 0;
#if defined(__SSE2__)
    for (; at + 16 <= d; at += 16) {
        __m128i zero[4];
        for (int j = 0; j < 4; j++)
            zero[j] = _mm_cmpeq_epi32(_mm_loadu_si128((const __m128i *)(const void *)(x + at + 4 * j)), _mm_setzero_si128());
        __m128i low = _mm_packs_epi32(zero[0], zero[1]), high = _mm_packs_epi32(zero[2], zero[3]);
        store16(bitmap + at / 8, (uint16_t)~_mm_movemask_epi8(_mm_packs_epi16(low, high)));
    }
#endif
    for (; at < d; at += 8) {
        uint32_t bits = 0;
        for (int64_t j = 0; j < 8 && at + j < d; j++) bits |= (uint32_t)(bits_of(x[at + j]) != 0) << j;
        bitmap[at / 8] = (uint8_t)bits;
    }
    return fcl_popcount(bitmap, bitmap_bytes(d));
}

/* ---- fingerprint ------------------------------------------------------------------------------------------------ */

static inline uint64_t mix64(uint64_t z) {
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

/* Hash of bytes, read as little-endian words of 8 (the last one filled up with zeros), 8192 words a block. */
static uint64_t hash_bytes(const uint8_t *p, int64_t length) {
    const int64_t block = 8192 * 8;
    uint64_t total = 0;
    for (int64_t begin = 0, number = 1; begin < length; begin += block, number++) {
        int64_t end = length - begin < block ? length : begin + block;
        uint64_t sum = 0, count = GOLDEN;
        int64_t at = begin;
        for (; at + 8 <= end; at += 8, count += GOLDEN) {
            uint64_t z = load64(p + at) + count;
            z = (z ^ (z >> 32)) * UINT64_C(0xBF58476D1CE4E5B9);
            sum += z ^ (z >> 29);
        }
        if (at < end) {
            uint64_t z = load_tail(p + at, end - at) + count;
            z = (z ^ (z >> 32)) * UINT64_C(0xBF58476D1CE4E5B9);
            sum += z ^ (z >> 29);
        }
        total += mix64(sum + (uint64_t)number * GOLDEN);
    }
    return mix64(total + (uint64_t)length);
}

/* 64-bit content hash of a vector, from the bitmap of the entries whose bits are not all 0 and their n values, which must
 * be little endian in memory; docs/wire-format.md defines it. */
FCL_API int64_t fcl_fingerprint(const uint8_t *bitmap, int64_t d, const float *values, int64_t n, uint64_t *result) {
    uint64_t inner = mix64(hash_bytes((const uint8_t *)values, 4 * n) + GOLDEN);
    *result = mix64(hash_bytes(bitmap, bitmap_bytes(d)) + inner + (uint64_t)d);
    return n;
}

/* ---- checksum -----------------------------------------------------------------------------------------------------
 *
 * CRC-32 (RFC 1952) by carry-less multiplication: Gopal and others, "Fast CRC Computation for Generic Polynomials Using
 * PCLMULQDQ Instruction", Intel 2009, whose constants for the reflected polynomial these are: powers of x modulo it, by
 * which 128 bits are carried over the 512 or 128 that follow, and at the end Barrett's reduction.
 */

#if defined(CARRY_LESS)
typedef __m128i crc_fold;

__attribute__((target("pclmul"))) static inline crc_fold carry_over(crc_fold from, crc_fold powers, crc_fold onto) {
    crc_fold low = _mm_clmulepi64_si128(from, powers, 0x00), high = _mm_clmulepi64_si128(from, powers, 0x11);
    return _mm_xor_si128(_mm_xor_si128(low, high), onto);
}

__attribute__((target("pclmul"))) static uint32_t crc32_folded(const uint8_t *p, int64_t length, uint32_t crc) {
    const crc_fold over_512 = _mm_set_epi64x(0x01c6e41596, 0x0154442bd4);
    const crc_fold over_128 = _mm_set_epi64x(0x00ccaa009e, 0x01751997d0);
    const crc_fold over_64 = _mm_set_epi64x(0, 0x0163cd6124), barrett = _mm_set_epi64x(0x01f7011641, 0x01db710641);
    const crc_fold low_words = _mm_set_epi32(0, -1, 0, -1);
    crc_fold x[4];
    for (int i = 0; i < 4; i++) x[i] = _mm_loadu_si128((const crc_fold *)(p + 16 * i));
    x[0] = _mm_xor_si128(x[0], _mm_cvtsi32_si128((int)~crc));
    const uint8_t *end = p + length;
    for (p += 64; end - p >= 64; p += 64)
        for (int i = 0; i < 4; i++) x[i] = carry_over(x[i], over_512, _mm_loadu_si128((const crc_fold *)(p + 16 * i)));
    for (int i = 1; i < 4; i++) x[0] = carry_over(x[0], over_128, x[i]);
    for (; p < end; p += 16) x[0] = carry_over(x[0], over_128, _mm_loadu_si128((const crc_fold *)p));
    crc_fold v = _mm_xor_si128(_mm_srli_si128(x[0], 8), _mm_clmulepi64_si128(x[0], over_128, 0x10));
    v = _mm_xor_si128(_mm_srli_si128(v, 4), _mm_clmulepi64_si128(_mm_and_si128(v, low_words), over_64, 0x00));
    crc_fold q = _mm_and_si128(_mm_clmulepi64_si128(_mm_and_si128(v, low_words), barrett, 0x10), low_words);
    v = _mm_xor_si128(v, _mm_clmulepi64_si128(q, barrett, 0x00));
    return ~(uint32_t)_mm_cvtsi128_si32(_mm_srli_si128(v, 4));
}
#endif

/* CRC-32 of `length` bytes, a multiple of 16 and at least 64, that follow others whose CRC-32 is `before`, 0 for none.
 * Declines on a machine without the instruction. */
FCL_API int64_t fcl_crc32(const uint8_t *p, int64_t length, uint32_t before) {
    if (length < 64 || length % 16) return FCL_ERROR_ARGUMENT;
#if defined(CARRY_LESS)
    if (__builtin_cpu_supports("pclmul")) return (int64_t)crc32_folded(p, length, before);
#endif
    (void)p;
    (void)before;
    return FCL_DECLINED;
}

/* ---- quantization ----------------------------------------------------------------------------------------------- */

/* Output number index + 1 of SplitMix64 seeded with key, its upper 53 bits scaled to [0, 1). */
static inline double uniform(uint64_t key, uint64_t index) {
    return (double)(mix64(key + (index + 1) * GOLDEN) >> 11) * 0x1p-53;
}

/* Without branches on the data: signs are random. */
static inline int32_t level_of(float value, double scale, double steps, double offset, double limit) {
    uint32_t bits = bits_of(value), magnitude_bits = bits & KEY_MASK;
    float magnitude;
    memcpy(&magnitude, &magnitude_bits, sizeof magnitude);
    double level = (double)magnitude / scale * steps + offset;
    level = level < limit ? level : limit;
    int32_t rounded = (int32_t)level, negative = -(int32_t)(bits >> 31); /* truncation is floor: level >= 0 */
    return (rounded ^ negative) - negative;
}

/* levels[j] = sign(v) * min(limit, floor(|v| / scale * steps + u)) for the j-th kept entry v, in float64.
 *
 * values: float32 [count], finite. bitmap: which of the d entries they are (NULL: all). offsets: int64 [layers + 1],
 * ascending from 0 to d; scales: float32 [layers], finite, >= 0; a layer of scale 0 has levels 0. u is the stream of
 * `key` at the entry's flat index, or 1/2 for every entry if dither is 0. 0 < limit < 2^31. Returns count. */
FCL_API int64_t fcl_quantize(const float *values, int64_t count, const uint8_t *bitmap, int64_t d,
                             const int64_t *offsets, const float *scales, int64_t layers, int64_t steps, int64_t limit,
                             uint64_t key, int32_t dither, int32_t *levels) {
    if (limit <= 0 || limit > INT32_MAX || steps <= 0) return FCL_ERROR_ARGUMENT;
    if (!bitmap) {
        if (count != d) return FCL_ERROR_ARGUMENT;
        for (int64_t layer = 0; layer < layers; layer++) {
            double scale = (double)scales[layer];
            for (int64_t i = offsets[layer]; i < offsets[layer + 1]; i++) {
                if (i < 0 || i >= d) return FCL_ERROR_ARGUMENT;
                double u = dither ? uniform(key, (uint64_t)i) : 0.5;
                levels[i] = scale > 0 ? level_of(values[i], scale, (double)steps, u, (double)limit) : 0;
            }
        }
        return count;
    }
    /* Indices first, a block at a time: the loop over a block's entries then overlaps many divisions. */
    enum { BLOCK = 512 };
    uint64_t indices[BLOCK + 64];
    int64_t n = 0, layer = 0, bytes = bitmap_bytes(d);
    for (int64_t at = 0; at < bytes;) {
        int64_t found = 0;
        for (; at < bytes && found < BLOCK; at += 8)
            for (uint64_t word = load_tail(bitmap + at, bytes - at); word; word &= word - 1)
                indices[found++] = (uint64_t)at * 8 + (uint64_t)__builtin_ctzll(word);
        if (found > count - n) return FCL_ERROR_ARGUMENT;
        for (int64_t i = 0; i < found;) {
            while (layer < layers && (int64_t)indices[i] >= offsets[layer + 1]) layer++;
            if (layer == layers) return FCL_ERROR_ARGUMENT;
            double scale = (double)scales[layer];
            uint64_t end = (uint64_t)offsets[layer + 1];
            for (; i < found && indices[i] < end; i++, n++) {
                double u = dither ? uniform(key, indices[i]) : 0.5;
                levels[n] = scale > 0 ? level_of(values[n], scale, (double)steps, u, (double)limit) : 0;
            }
        }
    }
    return n == count ? n : FCL_ERROR_ARGUMENT;
}

/* values[j] = float32(levels[j] * scale / steps), in float64; arguments as in fcl_quantize. */
FCL_API int64_t fcl_dequantize(const int32_t *levels, int64_t count, const uint8_t *bitmap, int64_t d,
                               const int64_t *offsets, const float *scales, int64_t layers, int64_t steps,
                               float *values) {
    if (steps <= 0) return FCL_ERROR_ARGUMENT;
    if (!bitmap) {
        if (count != d) return FCL_ERROR_ARGUMENT;
        for (int64_t layer = 0; layer < layers; layer++) {
            if (offsets[layer] < 0 || offsets[layer + 1] > d) return FCL_ERROR_ARGUMENT;
            double scale = (double)scales[layer];
            for (int64_t i = offsets[layer]; i < offsets[layer + 1]; i++)
                values[i] = (float)((double)levels[i] * scale / (double)steps);
        }
        return count;
    }
    int64_t n = 0, layer = 0;
    FOR_EACH_SET_BIT(bitmap, d, index) {
        while (layer < layers && index >= offsets[layer + 1]) layer++;
        if (layer == layers || n == count) return FCL_ERROR_ARGUMENT;
        values[n] = (float)((double)levels[n] * (double)scales[layer] / (double)steps);
        n++;
    }
    return n == count ? n : FCL_ERROR_ARGUMENT;
}

/* maxima[layer] = largest magnitude among the layer's kept entries, 0 if there is none; arguments as above. */
FCL_API int64_t fcl_layer_maxima(const float *values, int64_t count, const uint8_t *bitmap, int64_t d,
                                 const int64_t *offsets, int64_t layers, float *maxima) {
    int64_t from = 0;
    for (int64_t layer = 0; layer < layers; layer++) {
        int64_t begin = offsets[layer], end = offsets[layer + 1], kept = end - begin;
        if (begin < 0 || end > d || kept < 0) return FCL_ERROR_ARGUMENT;
        if (bitmap) kept = count_between(bitmap, d, begin, end);
        if (kept > count - from) return FCL_ERROR_ARGUMENT;
        uint32_t largest = 0;
        for (int64_t j = from; j < from + kept; j++) {
            uint32_t bits = key_of(values[j]);
            largest = bits > largest ? bits : largest;
        }
        memcpy(maxima + layer, &largest, sizeof largest);
        from += kept;
    }
    return from == count ? count : FCL_ERROR_ARGUMENT;
}

/* ---- differences: values against what both ends can compute ------------------------------------------------------ */

static inline uint32_t zigzag(uint32_t difference) {
    return (difference << 1) ^ (0u - (difference >> 31));
}

static inline uint32_t unzigzag(uint32_t v) { return (v >> 1) ^ (0u - (v & 1)); }

/* Maps float32 bit patterns to integers that order like the numbers, -0 just below 0; its own inverse. */
static inline uint32_t ordered(uint32_t bits) { return bits ^ ((0u - (bits >> 31)) & KEY_MASK); }

/* out[j] = zigzag(ordered(values[j]) - ordered(references[j])), modulo 2^32. */
FCL_API int64_t fcl_float_differences(const float *values, const float *references, int64_t n, uint32_t *out) {
    for (int64_t i = 0; i < n; i++) out[i] = zigzag(ordered(bits_of(values[i])) - ordered(bits_of(references[i])));
    return n;
}

/* Inverse of fcl_float_differences; FCL_ERROR_NONFINITE if any result is NaN or infinite. */
FCL_API int64_t fcl_apply_float_differences(const uint32_t *differences, const float *references, int64_t n,
                                            float *values) {
    uint32_t worst = 0;
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits = ordered(ordered(bits_of(references[i])) + unzigzag(differences[i]));
        uint32_t key = bits & KEY_MASK;
        worst = key > worst ? key : worst;
        memcpy(values + i, &bits, sizeof bits);
    }
    return worst < KEY_INFINITY ? n : FCL_ERROR_NONFINITE;
}

/* classes[j] = how many binades references[j] lies below the one of exponent field `top`, at most 15.
 * If top < 0 the largest exponent field of the references is taken. Returns the top that was used. */
FCL_API int64_t fcl_reference_classes(const float *references, int64_t n, int32_t top, uint8_t *classes) {
    uint32_t highest = 0;
    if (top > 255) return FCL_ERROR_ARGUMENT;
    if (top < 0) {
        for (int64_t i = 0; i < n; i++) {
            uint32_t key = key_of(references[i]);
            highest = key > highest ? key : highest;
        }
        top = (int32_t)(highest >> 23);
    }
    for (int64_t i = 0; i < n; i++) {
        int32_t below = top - (int32_t)(key_of(references[i]) >> 23);
        below = below < 0 ? 0 : below;
        classes[i] = (uint8_t)(below > CONTEXTS - 1 ? CONTEXTS - 1 : below);
    }
    return top;
}

/* out[j] = zigzag(levels[j] - predicted[j]), modulo 2^32; predicted NULL means 0. */
FCL_API int64_t fcl_level_differences(const int32_t *levels, const int32_t *predicted, int64_t n, uint32_t *out) {
    for (int64_t i = 0; i < n; i++)
        out[i] = zigzag((uint32_t)levels[i] - (predicted ? (uint32_t)predicted[i] : 0u));
    return n;
}

/* Inverse of fcl_level_differences; FCL_ERROR_DAMAGED if any level's magnitude exceeds `limit` (< 2^31). */
FCL_API int64_t fcl_apply_level_differences(const uint32_t *differences, const int32_t *predicted, int64_t n,
                                            int64_t limit, int32_t *levels) {
    uint32_t bad = 0;
    if (limit < 0 || limit > INT32_MAX) return FCL_ERROR_ARGUMENT;
    for (int64_t i = 0; i < n; i++) {
        uint32_t level = (predicted ? (uint32_t)predicted[i] : 0u) + unzigzag(differences[i]);
        memcpy(levels + i, &level, sizeof level);
        uint32_t magnitude = level >> 31 ? 0u - level : level;
        bad |= magnitude > (uint32_t)limit;
    }
    return bad ? FCL_ERROR_DAMAGED : n;
}

/* ---- fixed-width packing and floats as exponent symbols ---------------------------------------------------------- */

/* n integers of `width` bits (0 to 32) each, least significant bit first; returns the bytes written. */
FCL_API int64_t fcl_pack(const uint32_t *values, int64_t n, int32_t width, uint8_t *out, int64_t capacity) {
    if (width < 0 || width > 32 || n < 0) return FCL_ERROR_ARGUMENT;
    if ((n * width + 7) / 8 > capacity) return FCL_ERROR_CAPACITY;
    uint32_t mask = (uint32_t)((UINT64_C(1) << width) - 1);
    int64_t i = 0;
    if (width == 24) /* what split floats need: whole bytes, each store overlapping the next value's first byte */
        for (; i + 1 < n; i++) store32(out + 3 * i, values[i] & mask);
    bit_writer w = {out + (width == 24 ? 3 * i : 0), 0, 0};
    for (; i < n; i++) put_bits(&w, values[i] & mask, width);
    return finish_bits(&w) - out;
}

/* Inverse of fcl_pack; returns the bytes read. */
FCL_API int64_t fcl_unpack(const uint8_t *in, int64_t length, int64_t n, int32_t width, uint32_t *values) {
    if (width < 0 || width > 32 || n < 0) return FCL_ERROR_ARGUMENT;
    if ((n * width + 7) / 8 > length) return FCL_ERROR_TRUNCATED;
    bit_reader r = {in, length, 0};
    for (int64_t i = 0; i < n; i++) values[i] = take_bits(&r, width);
    return (n * width + 7) / 8;
}

/* Splits floats into exponent fields (symbols of the entropy coder) and 24 raw bits: mantissa, sign on top. */
FCL_API int64_t fcl_split_floats(const float *values, int64_t n, uint8_t *exponents, uint32_t *rest) {
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits = bits_of(values[i]);
        exponents[i] = (uint8_t)(bits >> 23);
        rest[i] = (bits & 0x7fffff) | bits >> 31 << 23;
    }
    return n;
}

/* Inverse of fcl_split_floats; FCL_ERROR_NONFINITE for an exponent field of 255. */
FCL_API int64_t fcl_join_floats(const uint8_t *exponents, const uint32_t *rest, int64_t n, float *values) {
    uint8_t worst = 0;
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits = (rest[i] & 0x7fffff) | (uint32_t)exponents[i] << 23 | (rest[i] >> 23 & 1) << 31;
        worst = exponents[i] > worst ? exponents[i] : worst;
        memcpy(values + i, &bits, sizeof bits);
    }
    return worst == 255 ? FCL_ERROR_NONFINITE : n;
}

/* ---- gaps, and the index coders without an entropy model --------------------------------------------------------- */

/* Gaps of the set bits among the first d; returns their number. */
FCL_API int64_t fcl_gaps(const uint8_t *bitmap, int64_t d, uint32_t *gaps, int64_t capacity) {
    int64_t n = 0, next = 0;
    for (int64_t at = 0, bytes = bitmap_bytes(d); at < bytes; at += 8) {
        uint64_t word = load_tail(bitmap + at, bytes - at);
        if (!word) continue;
        if (n + popcount64(word) > capacity) return FCL_ERROR_CAPACITY;
        for (; word; word &= word - 1) {
            int64_t index = at * 8 + __builtin_ctzll(word);
            gaps[n++] = (uint32_t)(index - next);
            next = index + 1;
        }
    }
    return next > d ? FCL_ERROR_ARGUMENT : n;
}

/* Flips the bits that the gaps name in a bitmap of d entries; FCL_ERROR_DAMAGED if they run past the end. */
FCL_API int64_t fcl_flip(const uint32_t *gaps, int64_t n, uint8_t *bitmap, int64_t d) {
    uint64_t index = UINT64_MAX;
    for (int64_t i = 0; i < n; i++) {
        index += (uint64_t)gaps[i] + 1;
        if (index >= (uint64_t)d) return FCL_ERROR_DAMAGED;
        bitmap[index >> 3] ^= (uint8_t)(1u << (index & 7));
    }
    return n;
}

static inline uint64_t valid_bits(int64_t d, int64_t at) {
    return d - at * 8 >= 64 ? ~UINT64_C(0) : (UINT64_C(1) << (d - at * 8)) - 1;
}

/* Marks the entries in which a bitmap of d entries differs from nothing, from `first` or from `second` (NULL: not there),
 * whichever leaves fewest, or fewest unmarked, of equals the earlier one. If more than half are marked, the others are
 * marked instead. marks: bitmap; gaps: those of the marks, at most `capacity` >= d / 2. Returns the number of marks;
 * facts[0]: 0, 1 or 2, what it was compared with; facts[1]: whether it is inverted. */
FCL_API int64_t fcl_mark(const uint8_t *bitmap, int64_t d, const uint8_t *first, const uint8_t *second, uint8_t *marks,
                         uint32_t *gaps, int64_t capacity, int64_t *facts) {
    const uint8_t *bases[3] = {NULL, first, second};
    int64_t bytes = bitmap_bytes(d), fewest = -1, chosen = 0, count = 0;
    for (int64_t base = 0; base < 3; base++) {
        if (base && !bases[base]) continue;
        int64_t ones = 0;
        for (int64_t at = 0; at < bytes; at += 8)
            ones += popcount64(load_tail(bitmap + at, bytes - at) ^ (base ? load_tail(bases[base] + at, bytes - at) : 0));
        int64_t fewer = 2 * ones > d ? d - ones : ones;
        if (fewest < 0 || fewer < fewest) {
            fewest = fewer;
            chosen = base;
            count = ones;
        }
    }
    int inverted = 2 * count > d;
    for (int64_t at = 0; at < bytes; at += 8) {
        uint64_t word = load_tail(bitmap + at, bytes - at);
        if (chosen) word ^= load_tail(bases[chosen] + at, bytes - at);
        store_tail(marks + at, bytes - at, inverted ? ~word & valid_bits(d, at) : word);
    }
    facts[0] = chosen;
    facts[1] = inverted;
    return fcl_gaps(marks, d, gaps, capacity);
}

/* Inverse of fcl_mark: `base` (NULL: nothing) has `base_count` of d entries; bitmap is overwritten. Returns the number of
 * its entries, or FCL_ERROR_DAMAGED if the gaps run past the end. */
FCL_API int64_t fcl_unmark(const uint32_t *gaps, int64_t n, const uint8_t *base, int64_t base_count, int32_t inverted,
                           int64_t d, uint8_t *bitmap) {
    int64_t bytes = bitmap_bytes(d), count = inverted ? d - base_count : base_count;
    for (int64_t at = 0; at < bytes; at += 8) {
        uint64_t word = base ? load_tail(base + at, bytes - at) : 0;
        store_tail(bitmap + at, bytes - at, inverted ? ~word & valid_bits(d, at) : word);
    }
    uint64_t index = UINT64_MAX;
    for (int64_t i = 0; i < n; i++) {
        index += (uint64_t)gaps[i] + 1;
        if (index >= (uint64_t)d) return FCL_ERROR_DAMAGED;
        count += bitmap[index >> 3] >> (index & 7) & 1 ? -1 : 1;
        bitmap[index >> 3] ^= (uint8_t)(1u << (index & 7));
    }
    return count;
}

/* Positions from gaps (prefix sums), for the fixed-width coder. */
FCL_API int64_t fcl_positions(const uint32_t *gaps, int64_t n, uint32_t *positions) {
    uint32_t index = UINT32_MAX;
    for (int64_t i = 0; i < n; i++) positions[i] = index += gaps[i] + 1;
    return n;
}

/* Gaps from positions; FCL_ERROR_DAMAGED unless they ascend strictly and stay below d. */
FCL_API int64_t fcl_gaps_of_positions(const uint32_t *positions, int64_t n, int64_t d, uint32_t *gaps) {
    int64_t next = 0;
    for (int64_t i = 0; i < n; i++) {
        if ((int64_t)positions[i] < next || (int64_t)positions[i] >= d) return FCL_ERROR_DAMAGED;
        gaps[i] = positions[i] - (uint32_t)next;
        next = (int64_t)positions[i] + 1;
    }
    return n;
}

/* Sum of gaps[i] >> shift: the zero bits of the Rice code with that parameter. */
FCL_API int64_t fcl_quotient_sum(const uint32_t *gaps, int64_t n, int32_t shift) {
    if (shift < 0 || shift > 31) return FCL_ERROR_ARGUMENT;
    int64_t sum = 0;
    for (int64_t i = 0; i < n; i++) sum += gaps[i] >> shift;
    return sum;
}

/* The Rice parameter, of `first` to `last`, with the shortest code, of equals the lowest; *size = bytes of that code. */
FCL_API int64_t fcl_rice_parameter(const uint32_t *gaps, int64_t n, int32_t first, int32_t last, int64_t *size) {
    int64_t best = -1;
    for (int32_t shift = first; shift <= last; shift++) {
        int64_t zeros = fcl_quotient_sum(gaps, n, shift);
        if (zeros < 0) return zeros;
        int64_t bytes = (zeros + n + 7) / 8 + (n * shift + 7) / 8;
        if (best < 0 || bytes < *size) {
            best = shift;
            *size = bytes;
        }
    }
    return best < 0 ? FCL_ERROR_ARGUMENT : best;
}

/* Rice code in two planes: for each gap, gap >> shift zero bits and a one bit, padded to a byte; then the low `shift`
 * bits of all gaps, padded to a byte. Returns the bytes written. */
FCL_API int64_t fcl_rice_encode(const uint32_t *gaps, int64_t n, int32_t shift, uint8_t *out, int64_t capacity) {
    int64_t zeros = fcl_quotient_sum(gaps, n, shift);
    if (zeros < 0) return zeros;
    int64_t plane = (zeros + n + 7) / 8;
    if (plane > capacity) return FCL_ERROR_CAPACITY;
    memset(out, 0, (size_t)plane);
    int64_t bit = -1;
    for (int64_t i = 0; i < n; i++) {
        bit += (int64_t)(gaps[i] >> shift) + 1;
        out[bit >> 3] |= (uint8_t)(1u << (bit & 7));
    }
    int64_t low = fcl_pack(gaps, n, shift, out + plane, capacity - plane);
    return low < 0 ? low : plane + low;
}

/* Inverse of fcl_rice_encode; returns the bytes read. */
FCL_API int64_t fcl_rice_decode(const uint8_t *in, int64_t length, int64_t n, int32_t shift, uint32_t *gaps) {
    if (shift < 0 || shift > 31 || n < 0) return FCL_ERROR_ARGUMENT;
    int64_t i = 0, last = -1, plane = 0;
    for (int64_t at = 0; at < length && i < n; at += 8) {
        for (uint64_t word = load_tail(in + at, length - at); word && i < n; word &= word - 1) {
            int64_t bit = at * 8 + __builtin_ctzll(word), quotient = bit - last - 1;
            if (quotient > (int64_t)(UINT32_MAX >> shift)) return FCL_ERROR_DAMAGED;
            gaps[i++] = (uint32_t)quotient << shift;
            last = bit;
        }
    }
    if (i < n) return FCL_ERROR_TRUNCATED;
    plane = (last + 8) / 8;
    if ((n * shift + 7) / 8 > length - plane) return FCL_ERROR_TRUNCATED;
    bit_reader r = {in + plane, length - plane, 0};
    if (shift)
        for (i = 0; i < n; i++) gaps[i] |= take_bits(&r, shift);
    return plane + (n * shift + 7) / 8;
}

/* ---- log-linear tokens -------------------------------------------------------------------------------------------
 *
 * An integer v is split into a token and low bits. With m mantissa bits and e = max(m, floor(log2 v)), low bits are the
 * lowest e - m bits of v, and token = ((e - m) << m) + (v >> (e - m)): exact below 2^(m + 1), then 2^m tokens an octave.
 */

static inline int token_shift(uint32_t token, int m) {
    return token < (2u << m) ? 0 : (int)(token >> m) - 1;
}

static inline uint32_t token_base(uint32_t token, int m) {
    int shift = token_shift(token, m);
    return (token - ((uint32_t)shift << m)) << shift;
}

/* Number of tokens that 32-bit integers can have. */
static inline int token_count(int m) { return ((31 - m) << m) + (2 << m); }

/* Tokens of n integers; returns the total number of low bits. */
FCL_API int64_t fcl_tokenise(const uint32_t *values, int64_t n, int32_t m, uint8_t *tokens) {
    enum { BLOCK = 64 };
    if (m < 0 || m > 3) return FCL_ERROR_ARGUMENT;
    int64_t total = 0;
    for (int64_t at = 0; at < n; at += BLOCK) {
        int64_t end = n - at < BLOCK ? n : at + BLOCK;
        /* Below 2^24 float32 is exact, and the top bits of its pattern are the token but for an offset; of larger values
         * the lowest 8 bits, which are low bits in any case, are left out. No branch: vectorizable. */
        int32_t shifts = 0;
        for (int64_t i = at; i < end; i++) {
            int32_t large = -(int32_t)(values[i] >> 24 != 0), small = -(int32_t)(values[i] < 1u << m);
            int32_t kept = (int32_t)((values[i] & ~(uint32_t)large) | (values[i] >> 8 & (uint32_t)large));
            int32_t pattern = (int32_t)bits_of((float)kept);
            int32_t token = (pattern >> (23 - m)) - ((126 + m) << m) + (large & 8 << m);
            int32_t shift = (pattern >> 23) - 127 - m + (large & 8);
            tokens[i] = (uint8_t)((token & ~small) | (kept & small));
            shifts += shift & ~(shift >> 31);
        }
        total += shifts;
    }
    return total;
}

/* Writes the low bits of n integers, `bits` in all as fcl_tokenise counted them; returns the bytes written. */
FCL_API int64_t fcl_pack_low(const uint32_t *values, int64_t n, int32_t m, int64_t bits, uint8_t *out,
                             int64_t capacity) {
    if (m < 0 || m > 3 || bits < 0) return FCL_ERROR_ARGUMENT;
    if ((bits + 7) / 8 > capacity) return FCL_ERROR_CAPACITY;
    uint8_t *at = out, *end = out + (bits + 7) / 8;
    uint64_t pending = 0;
    int count = 0;
    int64_t left = bits, i = 0;
    /* Eight bytes are stored for each pair, whole bytes of them kept: no branch depends on the data, but for pairs of
     * more than 56 low bits, which are rare, and are left to the loop after this one. */
    for (; i + 2 <= n && end - at >= 8; i += 2) {
        int first = 31 - __builtin_clz(values[i] | 1u << m) - m, second = 31 - __builtin_clz(values[i + 1] | 1u << m) - m;
        if (first + second > 56) break;
        uint64_t pair = values[i] & ((UINT64_C(1) << first) - 1);
        pair |= (values[i + 1] & ((UINT64_C(1) << second) - 1)) << first;
        pending |= pair << count;
        count += first + second;
        left -= first + second;
        store64(at, pending);
        at += count >> 3;
        pending = count < 64 ? pending >> (count & ~7) : 0;
        count &= 7;
    }
    bit_writer w = {at, pending, count};
    for (; i < n; i++) {
        int shift = 31 - __builtin_clz(values[i] | 1u << m) - m;
        left -= shift;
        if (left < 0) return FCL_ERROR_ARGUMENT;
        put_bits(&w, values[i] & (uint32_t)((UINT64_C(1) << shift) - 1), shift);
    }
    return finish_bits(&w) - out;
}

typedef struct {
    uint32_t base[ALPHABET];
    uint8_t shifts[ALPHABET]; /* 255: no such token */
} token_tables;

static void fill_token_tables(token_tables *t, int m) {
    int tokens = token_count(m);
    for (int token = 0; token < ALPHABET; token++) {
        t->shifts[token] = token < tokens ? (uint8_t)token_shift((uint32_t)token, m) : 255;
        t->base[token] = token < tokens ? token_base((uint32_t)token, m) : 0;
    }
}

/* Bits below n tokens with m mantissa bits; FCL_ERROR_DAMAGED if one does not exist. */
static int64_t count_low(const uint8_t *tokens, int64_t n, int m) {
    enum { BLOCK = 4096 };
    int64_t total = 0;
    uint8_t largest = 0;
    for (int64_t at = 0; at < n; at += BLOCK) {
        int64_t end = n - at < BLOCK ? n : at + BLOCK;
        uint32_t shifts = 0;
        for (int64_t i = at; i < end; i++) { /* token_shift, vectorizable */
            uint8_t octave = (uint8_t)(tokens[i] >> m);
            shifts += (uint32_t)(octave - (octave > 0));
            largest = tokens[i] > largest ? tokens[i] : largest;
        }
        total += shifts;
    }
    return n && largest >= token_count(m) ? FCL_ERROR_DAMAGED : total;
}

/* Integers from tokens and low bits, which the caller has counted. Where 8 bytes can be loaded at once, nothing depends
 * on the data but the position. */
static void take_values(const token_tables *t, bit_reader *r, const uint8_t *tokens, int64_t n, uint32_t *values) {
    const uint8_t *in = r->in;
    int64_t i = 0, fast = r->length - 8, position = r->position;
    for (; i < n && position >> 3 <= fast; i++) {
        int shift = t->shifts[tokens[i]];
        uint64_t ahead = load64(in + (position >> 3)) >> (position & 7);
        values[i] = t->base[tokens[i]] + (uint32_t)(ahead & ((UINT64_C(1) << shift) - 1));
        position += shift;
    }
    r->position = position;
    for (; i < n; i++) values[i] = t->base[tokens[i]] + take_bits(r, t->shifts[tokens[i]]);
}

/* Integers from tokens and low bits; returns the bytes read. */
FCL_API int64_t fcl_unpack_low(const uint8_t *in, int64_t length, const uint8_t *tokens, int64_t n, int32_t m,
                               uint32_t *values) {
    token_tables t;
    if (m < 0 || m > 3) return FCL_ERROR_ARGUMENT;
    fill_token_tables(&t, m);
    int64_t total = count_low(tokens, n, m);
    if (total < 0) return total;
    if ((total + 7) / 8 > length) return FCL_ERROR_TRUNCATED;
    bit_reader r = {in, length, 0};
    take_values(&t, &r, tokens, n, values);
    return (total + 7) / 8;
}

/* ---- entropy coder: symbols in contexts, interleaved rANS ---------------------------------------------------------
 *
 * Symbols are bytes. Each is coded with the table of its context: one context (single); a running mean of the symbols'
 * sizes, updated every four symbols (adaptive); or a class that both ends know (classes). Neighbouring contexts share a
 * table where that is smaller; `starts` has bit c set if context c begins a new table.
 *
 * Section: u8 head = mode | geometric << 2 | kind << 3; u16 starts unless the mode is single; the tables; the states of
 * four lanes, u32 each; 16-bit words. A geometric table takes one byte (number of symbols - 1) and follows from the
 * number of symbols n among a universe of d; other tables are weights with four significant bits.
 */

typedef struct {
    uint32_t histogram[CONTEXTS][ALPHABET]; /* by context, after planning by table */
    uint16_t frequency[CONTEXTS][ALPHABET];
    uint16_t cumulative[CONTEXTS][ALPHABET];
    uint8_t table_of[CONTEXTS];
    int64_t universe;
    int32_t symbols[CONTEXTS]; /* alphabet size by table */
    int32_t mode, kind, geometric, tables;
    uint32_t starts;
} symbol_plan;

FCL_API int64_t fcl_plan_bytes(void) { return (int64_t)sizeof(symbol_plan); }

/* A table to decode with. Which symbol a slot belongs to takes a byte, and all else is by symbol: tables of several contexts
 * then stay in the nearest cache together, and are filled in next to no time. */
typedef struct {
    uint8_t symbol_of[PROBABILITY_SCALE];
    struct {
        uint16_t frequency, start;
    } of[ALPHABET];
} decode_table;

/* Words of workspace that fcl_decode_symbols needs. */
FCL_API int64_t fcl_decode_words(void) { return (int64_t)(CONTEXTS * sizeof(decode_table) / sizeof(uint32_t)); }

/* Capacity that is enough for fcl_encode_symbols on n symbols. */
FCL_API int64_t fcl_symbols_bound(int64_t n) { return 2 * n + 8192; }

/* 2^16 log2(1 + i / 64), rounded to the nearest. */
static const uint32_t LOG2_OF[65] = {
    0, 1466, 2909, 4331, 5732, 7112, 8473, 9814, 11136, 12440, 13727, 14996,
    16248, 17484, 18704, 19909, 21098, 22272, 23433, 24579, 25711, 26830, 27936, 29029,
    30109, 31178, 32234, 33279, 34312, 35334, 36346, 37346, 38336, 39316, 40286, 41246,
    42196, 43137, 44068, 44990, 45904, 46809, 47705, 48593, 49472, 50344, 51207, 52063,
    52911, 53751, 54584, 55410, 56229, 57040, 57845, 58643, 59434, 60219, 60997, 61769,
    62534, 63294, 64047, 64794, 65536,
};

/* log2(v) in units of 2^-FRACTION bit, v >= 1: between the entries of a table on a straight line, at most 2^-12 off. */
static uint32_t log2_fixed(uint32_t v) {
    int whole = bit_length(v) - 1;
    uint32_t fraction = (uint32_t)((uint64_t)v << (32 - whole)), i = fraction >> 26;
    uint32_t between = (uint32_t)((uint64_t)(LOG2_OF[i + 1] - LOG2_OF[i]) * (fraction & ((1u << 26) - 1)) >> 26);
    return ((uint32_t)whole << FRACTION) + ((LOG2_OF[i] + between + (1u << (15 - FRACTION))) >> (16 - FRACTION));
}

/* Symbols of a histogram up to the highest one that occurs; none occurs from number `limit` on. */
static int symbols_of(const uint32_t *histogram, int limit) {
    while (limit > 0 && !histogram[limit - 1]) limit--;
    return limit;
}

/* Weight of a symbol seen `seen` times of `total`: its share of 2^16 less what every symbol gets anyway, rounded to four
 * significant bits; 0 only for a symbol that does not occur. */
static uint32_t weight_of(uint32_t seen, uint64_t total) {
    if (!seen) return 0;
    uint64_t share = (uint64_t)seen * 65536 / total;
    uint32_t weight = share > 17 ? (uint32_t)share - 16 : 1;
    int drop = bit_length(weight) - 4;
    if (drop > 0) weight = (weight + (1u << (drop - 1))) >> drop << drop;
    return weight;
}

/* Frequencies that sum to 2^12 from weights: 1 for every symbol with `used`, the rest in proportion, by rounding the
 * running sums down. Returns 0 if there is no symbol or no weight. */
static int normalise(const uint64_t *weights, const uint8_t *used, int symbols, uint16_t *frequency,
                     uint16_t *cumulative) {
    uint64_t sum = 0, running = 0;
    uint32_t count = 0, start = 0;
    for (int s = 0; s < symbols; s++) {
        sum += weights[s];
        count += used[s];
    }
    if (!sum || !count) return 0;
    uint64_t rest = PROBABILITY_SCALE - count, before = 0;
    for (int s = 0; s < symbols; s++) {
        running += weights[s];
        uint64_t after = used[s] ? running * rest / sum : before; /* a symbol without weight takes nothing */
        uint32_t f = used[s] ? (uint32_t)(after - before) + 1 : 0;
        before = after;
        frequency[s] = (uint16_t)f;
        cumulative[s] = (uint16_t)start;
        start += f;
    }
    return start == PROBABILITY_SCALE;
}

static int gamma_bits(uint32_t v) { return 2 * bit_length(v) - 1; }

/* Visits a table's description symbol by symbol: length of the weight as a signed difference from the length before it,
 * zigzag, plus 1, in Elias gamma (zeros, then the number from its top bit down); then up to three bits below the
 * weight's leading one. Returns the bits; writes them if `w` is given. */
static int64_t describe_table(const uint64_t *weights, int symbols, bit_writer *w) {
    int64_t bits = 8;
    int previous = 0;
    if (w) put_bits(w, (uint32_t)(symbols - 1), 8);
    for (int s = 0; s < symbols; s++) {
        uint32_t weight = (uint32_t)weights[s];
        int length = bit_length(weight);
        uint32_t code = zigzag((uint32_t)(length - previous)) + 1;
        int tail = length - 1 < 3 ? (length - 1 > 0 ? length - 1 : 0) : 3;
        bits += gamma_bits(code) + tail;
        if (w) {
            int size = bit_length(code);
            put_bits(w, 0, size - 1);
            for (int b = size - 1; b >= 0; b--) put_bits(w, code >> b & 1, 1);
            if (tail) put_bits(w, weight >> (length - 1 - tail) & ((1u << tail) - 1), tail);
        }
        previous = length;
    }
    return bits;
}

/* Reads what describe_table wrote; returns the alphabet size or an error. */
static int64_t parse_table(bit_reader *r, int alphabet, uint16_t *frequency, uint16_t *cumulative) {
    uint64_t weights[ALPHABET];
    uint8_t used[ALPHABET];
    int symbols = (int)take_bits(r, 8) + 1, previous = 0;
    if (symbols > alphabet) return FCL_ERROR_DAMAGED;
    for (int s = 0; s < symbols; s++) {
        uint64_t ahead = peek_bits(r);
        int zeros = ahead ? __builtin_ctzll(ahead) : 64;
        if (zeros > 5) return r->position + zeros > r->length * 8 ? FCL_ERROR_TRUNCATED : FCL_ERROR_DAMAGED;
        uint32_t code = 0;
        for (int b = 0; b <= zeros; b++) code = code << 1 | (uint32_t)(ahead >> (zeros + b) & 1);
        r->position += 2 * zeros + 1;
        int length = previous + (int)(int32_t)unzigzag(code - 1);
        if (length < 0 || length > WEIGHT_BITS) return FCL_ERROR_DAMAGED;
        int tail = length - 1 < 3 ? (length - 1 > 0 ? length - 1 : 0) : 3;
        uint32_t top = tail ? take_bits(r, tail) : 0;
        weights[s] = length ? ((UINT64_C(1) << tail) | top) << (length - 1 - tail) : 0;
        used[s] = length > 0;
        previous = length;
    }
    if (r->position > r->length * 8) return FCL_ERROR_TRUNCATED;
    if (!normalise(weights, used, symbols, frequency, cumulative)) return FCL_ERROR_DAMAGED;
    return symbols;
}

/* Table of the tokens of gaps between n marks that lie at random among a universe of d: a gap of g or more has
 * probability ((d - n) / d)^g, in 32-bit fixed point, by squaring. Needs 0 < n <= d < 2^32. */
static int geometric_table(int64_t n, int64_t d, int m, int symbols, uint16_t *frequency, uint16_t *cumulative) {
    uint64_t weights[ALPHABET], survives = UINT64_C(1) << 32;
    uint64_t ratio = ((uint64_t)(d - n) << 32) / (uint64_t)d;
    uint8_t used[ALPHABET];
    for (int s = 0; s < symbols; s++) {
        uint64_t next = 0;
        if (s + 1 < symbols) {
            uint64_t power = ratio;
            next = UINT64_C(1) << 32;
            for (uint32_t g = token_base((uint32_t)s + 1, m); g; g >>= 1) {
                if (g & 1) next = next * power >> 32;
                power = power * power >> 32;
            }
        }
        if (next > survives) next = survives;
        weights[s] = survives - next;
        used[s] = 1;
        survives = next;
    }
    return normalise(weights, used, symbols, frequency, cumulative);
}

/* Bits, in units of 2^-FRACTION, that a histogram costs with given frequencies. */
static uint64_t coded_size(const uint32_t *histogram, int symbols, const uint16_t *frequency) {
    uint64_t size = 0;
    for (int s = 0; s < symbols; s++)
        if (histogram[s]) size += (uint64_t)histogram[s] * ((PROBABILITY_BITS << FRACTION) - log2_fixed(frequency[s]));
    return size;
}

/* Weights of the `symbols` symbols of a histogram. */
static void weigh(const uint32_t *histogram, int symbols, uint64_t *weights) {
    uint64_t total = 0;
    for (int s = 0; s < symbols; s++) total += histogram[s];
    for (int s = 0; s < symbols; s++) weights[s] = weight_of(histogram[s], total);
}

/* Frequencies of a histogram's own table; returns the size of table and symbols in units of 2^-FRACTION bit. */
static uint64_t own_table(const uint32_t *histogram, int limit, int32_t *symbols, uint16_t *frequency,
                          uint16_t *cumulative) {
    uint64_t weights[ALPHABET];
    uint8_t used[ALPHABET];
    int count = *symbols = symbols_of(histogram, limit);
    if (count < 1) return 0;
    weigh(histogram, count, weights);
    for (int s = 0; s < count; s++) used[s] = histogram[s] > 0;
    normalise(weights, used, count, frequency, cumulative);
    uint64_t table = (uint64_t)describe_table(weights, count, NULL) << FRACTION;
    return table + coded_size(histogram, count, frequency);
}

static inline int adaptive_context(uint32_t mean) {
    int length = bit_length(mean);
    return length < CONTEXTS ? length : CONTEXTS - 1;
}

/* Size of a symbol as the running mean sees it; capped so that the mean cannot overflow. */
static inline uint32_t adaptive_size(uint32_t symbol, int kind) {
    uint32_t base = token_base(symbol, kind);
    return base < 65536 ? base : 65536;
}

static inline uint32_t adaptive_update(uint32_t mean, const uint8_t *group, const uint32_t *sizes) {
    return mean - (mean >> 2) + sizes[group[0]] + sizes[group[1]] + sizes[group[2]] + sizes[group[3]];
}

static void fill_adaptive_sizes(uint32_t *sizes, int kind) {
    for (int s = 0; s < ALPHABET; s++) sizes[s] = s < token_count(kind) ? adaptive_size((uint32_t)s, kind) : 0;
}

/* Merges neighbouring tables, best gain first, until no merge makes the whole smaller. */
static uint64_t merge_tables(symbol_plan *p) {
    uint64_t size[CONTEXTS], merged_size[CONTEXTS], total = 0;
    uint32_t merged[ALPHABET];
    uint16_t frequency[ALPHABET], cumulative[ALPHABET];
    int32_t symbols, limit = 0;
    int first[CONTEXTS], tables = CONTEXTS; /* first context of each table */
    for (int t = 0; t < tables; t++) {
        int here = symbols_of(p->histogram[t], ALPHABET);
        limit = here > limit ? here : limit;
    }
    for (int t = 0; t < tables; t++) {
        first[t] = t;
        size[t] = own_table(p->histogram[t], limit, &symbols, frequency, cumulative);
        merged_size[t] = UINT64_MAX; /* size of tables t and t + 1 together: not known yet */
    }
    for (;;) {
        int best = -1;
        uint64_t gain = 0;
        for (int t = 0; t + 1 < tables; t++) {
            if (merged_size[t] == UINT64_MAX) {
                if (!size[t] || !size[t + 1]) {
                    merged_size[t] = size[t] + size[t + 1];
                } else {
                    for (int s = 0; s < limit; s++) merged[s] = p->histogram[t][s] + p->histogram[t + 1][s];
                    merged_size[t] = own_table(merged, limit, &symbols, frequency, cumulative);
                }
            }
            uint64_t apart = size[t] + size[t + 1];
            int empty = !size[t] || !size[t + 1];
            if (empty || (merged_size[t] <= apart && apart - merged_size[t] > gain)) {
                best = t;
                gain = apart - merged_size[t];
                if (empty) break;
            }
        }
        if (best < 0) break;
        for (int s = 0; s < limit; s++) p->histogram[best][s] += p->histogram[best + 1][s];
        size[best] = merged_size[best];
        for (int t = best + 1; t + 1 < tables; t++) {
            memcpy(p->histogram[t], p->histogram[t + 1], sizeof p->histogram[t]);
            size[t] = size[t + 1];
            merged_size[t] = merged_size[t + 1];
            first[t] = first[t + 1];
        }
        tables--;
        merged_size[best] = UINT64_MAX;
        if (best > 0) merged_size[best - 1] = UINT64_MAX;
    }
    p->tables = tables;
    p->starts = 0;
    for (int t = 0; t < tables; t++) {
        p->starts |= 1u << first[t];
        for (int c = first[t]; c < (t + 1 < tables ? first[t + 1] : CONTEXTS); c++) p->table_of[c] = (uint8_t)t;
        total += size[t];
    }
    return total;
}

/* Chooses the tables of a plan whose histograms, by context, are those of n symbols; returns as fcl_plan_symbols. */
static int64_t choose_tables(symbol_plan *p, int64_t n) {
    uint64_t size;
    if (p->mode == MODE_SINGLE) {
        p->tables = 1;
        p->starts = 1;
        size = own_table(p->histogram[0], ALPHABET, &p->symbols[0], p->frequency[0], p->cumulative[0]);
        if (p->universe && p->kind != KIND_BYTES) {
            uint16_t frequency[ALPHABET], cumulative[ALPHABET];
            geometric_table(n, p->universe, p->kind, p->symbols[0], frequency, cumulative);
            uint64_t parametric = (8 << FRACTION) + coded_size(p->histogram[0], p->symbols[0], frequency);
            if (parametric <= size) {
                size_t used = (size_t)p->symbols[0] * sizeof *frequency;
                memcpy(p->frequency[0], frequency, used);
                memcpy(p->cumulative[0], cumulative, used);
                p->geometric = 1;
                size = parametric;
            }
        }
        size += 8 << FRACTION;
    } else {
        size = merge_tables(p) + (24 << FRACTION);
        for (int t = 0; t < p->tables; t++)
            own_table(p->histogram[t], ALPHABET, &p->symbols[t], p->frequency[t], p->cumulative[t]);
    }
    /* Four lanes leave 16 to 32 bits each beyond the information in their states: count the most. */
    return (int64_t)((size + (8 << FRACTION) - 1) >> (FRACTION + 3)) + 4 * LANES;
}

/* Chooses contexts' tables for n >= 1 symbols. plan: fcl_plan_bytes(), 8-byte aligned. kind: mantissa bits 0 to 3 of
 * tokens, or 4 for plain bytes (modes single and classes only). classes: uint8 [n], values below 16, for mode classes. groups: uint8 [ceil(n / 4)]
 * workspace, for mode adaptive. universe: d if the symbols are tokens of the gaps of n marks among d, else 0.
 * Returns the bytes that fcl_encode_symbols will write: at most that many, at least 8 fewer (with some 1e-5 of the
 * symbols' size to spare on both sides). */
FCL_API int64_t fcl_plan_symbols(void *plan, const uint8_t *symbols, int64_t n, int32_t kind, int32_t mode,
                                 const uint8_t *classes, uint8_t *groups, int64_t universe) {
    symbol_plan *p = plan;
    if (n < 1 || n > (int64_t)UINT32_MAX || kind < 0 || kind > KIND_BYTES || mode < 0 || mode > MODE_CLASSES)
        return FCL_ERROR_ARGUMENT;
    if (mode == MODE_ADAPTIVE && kind == KIND_BYTES) return FCL_ERROR_ARGUMENT;
    if (universe < 0 || universe > (int64_t)UINT32_MAX || (universe && n > universe)) return FCL_ERROR_ARGUMENT;
    memset(p, 0, sizeof *p);
    p->mode = mode;
    p->kind = kind;
    p->universe = universe;
    if (mode == MODE_SINGLE) {
        /* Four counts of each symbol, so that a run of one symbol does not wait for itself: contexts 0 to 3 are free. */
        for (int64_t i = 0; i < n; i++) p->histogram[i & 3][symbols[i]]++;
        for (int s = 0; s < ALPHABET; s++) {
            p->histogram[0][s] += p->histogram[1][s] + p->histogram[2][s] + p->histogram[3][s];
            p->histogram[1][s] = p->histogram[2][s] = p->histogram[3][s] = 0;
        }
    } else if (mode == MODE_CLASSES) {
        for (int64_t i = 0; i < n; i++) {
            if (classes[i] >= CONTEXTS) return FCL_ERROR_ARGUMENT;
            p->histogram[classes[i]][symbols[i]]++;
        }
    } else {
        uint32_t sizes[ALPHABET], mean = 0;
        fill_adaptive_sizes(sizes, kind);
        for (int64_t i = 0; i < n; i += 4) {
            int context = adaptive_context(mean);
            groups[i / 4] = (uint8_t)context;
            for (int64_t j = i; j < i + 4 && j < n; j++) p->histogram[context][symbols[j]]++;
            if (i + 4 <= n) mean = adaptive_update(mean, symbols + i, sizes);
        }
    }
    return choose_tables(p, n);
}

static inline uint32_t *lane_of(uint32_t *states, int64_t i) { return states + (i & (LANES - 1)); }

/* What putting a symbol of frequency f onto a state takes. For x < 2^20 f, which is what a state is brought below first,
 * floor(x / f) = x (floor(2^44 / f) + 1) >> 44 exactly, and the product fits in 64 bits, since f <= 2^12. */
typedef struct {
    uint64_t reciprocal;
    uint32_t frequency, start;
} encode_entry;

/* Puts one symbol onto a state. The word is stored in any case, and kept if the state is too large for the frequency:
 * no branch depends on the data. There is room below `word`: the capacity counts a word for every symbol and more. */
static inline void encode_step(uint32_t *x, const encode_entry *e, uint8_t **word, uint32_t *missing) {
    *missing |= e->frequency == 0;
    uint32_t spill = *x >= (uint64_t)e->frequency << 20;
    store16(*word - 2, (uint16_t)*x);
    *word -= 2 * spill;
    uint32_t v = *x >> (16 * spill), quotient = (uint32_t)(v * e->reciprocal >> 44);
    *x = (quotient << PROBABILITY_BITS) + v - quotient * e->frequency + e->start;
}

/* Puts symbols 0 to n - 1, a multiple of LANES, onto the states, from the last to the first; returns the first word. With
 * a constant `mode` each call becomes a loop without a choice in it. */
static inline uint8_t *encode_groups(int mode, const encode_entry *const *step_of, const uint8_t *symbols,
                                     const uint8_t *classes, const uint8_t *groups, int64_t n, uint32_t *states,
                                     uint8_t *word, uint32_t *missing) {
    uint32_t x[LANES], none = 0;
    memcpy(x, states, sizeof x);
    for (int64_t i = n - LANES; i >= 0; i -= LANES) {
        const encode_entry *shared = step_of[mode == MODE_ADAPTIVE ? groups[i / LANES] : 0];
        for (int lane = LANES - 1; lane >= 0; lane--) {
            const encode_entry *table = mode == MODE_CLASSES ? step_of[classes[i + lane]] : shared;
            encode_step(x + lane, table + symbols[i + lane], &word, &none);
        }
    }
    memcpy(states, x, sizeof x);
    *missing |= none;
    return word;
}

/* Encodes n symbols with a plan made for exactly them; returns the bytes written. capacity >= fcl_symbols_bound(n) is
 * always enough. */
FCL_API int64_t fcl_encode_symbols(const void *plan, const uint8_t *symbols, int64_t n, const uint8_t *classes,
                                   const uint8_t *groups, uint8_t *out, int64_t capacity) {
    const symbol_plan *p = plan;
    if (n < 1) return FCL_ERROR_ARGUMENT;
    if (capacity < fcl_symbols_bound(n)) return FCL_ERROR_CAPACITY;
    uint8_t *at = out;
    *at++ = (uint8_t)(p->mode | p->geometric << 2 | p->kind << 3);
    if (p->mode != MODE_SINGLE) {
        store16(at, (uint16_t)p->starts);
        at += 2;
    }
    if (p->geometric) {
        *at++ = (uint8_t)(p->symbols[0] - 1);
    } else {
        bit_writer w = {at, 0, 0};
        for (int t = 0; t < p->tables; t++) {
            uint64_t weights[ALPHABET];
            weigh(p->histogram[t], p->symbols[t], weights);
            describe_table(weights, p->symbols[t], &w);
        }
        at = finish_bits(&w);
    }
    encode_entry steps[CONTEXTS][ALPHABET];
    for (int t = 0; t < p->tables; t++) {
        memset(steps[t], 0, sizeof steps[t]);
        for (int symbol = 0; symbol < p->symbols[t]; symbol++) {
            uint32_t f = p->frequency[t][symbol];
            if (f) steps[t][symbol] = (encode_entry){(UINT64_C(1) << 44) / f + 1, f, p->cumulative[t][symbol]};
        }
    }
    const encode_entry *step_of[CONTEXTS];
    for (int c = 0; c < CONTEXTS; c++) step_of[c] = steps[p->mode == MODE_SINGLE ? 0 : p->table_of[c]];
    uint32_t states[LANES] = {STATE_LOW, STATE_LOW, STATE_LOW, STATE_LOW};
    uint8_t *end = out + capacity, *word = end;
    int64_t i = n;
    uint32_t missing = 0;
    for (; i & (LANES - 1); i--) {
        int context = p->mode == MODE_SINGLE ? 0 : p->mode == MODE_CLASSES ? classes[i - 1] : groups[i >> 2];
        encode_step(states + ((i - 1) & (LANES - 1)), step_of[context] + symbols[i - 1], &word, &missing);
    }
    if (p->mode == MODE_SINGLE)
        word = encode_groups(MODE_SINGLE, step_of, symbols, classes, groups, i, states, word, &missing);
    else if (p->mode == MODE_CLASSES)
        word = encode_groups(MODE_CLASSES, step_of, symbols, classes, groups, i, states, word, &missing);
    else
        word = encode_groups(MODE_ADAPTIVE, step_of, symbols, classes, groups, i, states, word, &missing);
    if (missing) return FCL_ERROR_ARGUMENT;
    for (int lane = 0; lane < LANES; lane++, at += 4) store32(at, states[lane]);
    memmove(at, word, (size_t)(end - word));
    return at + (end - word) - out;
}

static void fill_decode_table(decode_table *t, const uint16_t *frequency, int symbols) {
    uint32_t slot = 0;
    for (int s = 0; s < symbols; s++) {
        memset(t->symbol_of + slot, s, frequency[s]);
        t->of[s].frequency = frequency[s];
        t->of[s].start = (uint16_t)slot;
        slot += frequency[s];
    }
}

static inline uint8_t decode_step(uint32_t *x, const decode_table *t, const uint8_t **word) {
    uint32_t slot = *x & (PROBABILITY_SCALE - 1);
    uint8_t symbol = t->symbol_of[slot];
    uint32_t next = t->of[symbol].frequency * (*x >> PROBABILITY_BITS) + slot - t->of[symbol].start;
    uint32_t refill = next << 16 | load16(*word);
    int small = next < STATE_LOW;
    *x = small ? refill : next;
    *word += 2 * small;
    return symbol;
}

/* Decodes n symbols. `kind` and `universe` as when planning; classes as when planning (NULL: mode classes is refused).
 * work: fcl_decode_words() words. Returns the bytes read. */
FCL_API int64_t fcl_decode_symbols(const uint8_t *in, int64_t length, int64_t n, int32_t kind, const uint8_t *classes,
                                   int64_t universe, uint8_t *symbols, uint32_t *work) {
    if (n < 1 || kind < 0 || kind > KIND_BYTES || universe < 0 || universe > (int64_t)UINT32_MAX)
        return FCL_ERROR_ARGUMENT;
    if (length < 1) return FCL_ERROR_TRUNCATED;
    int mode = in[0] & 3, geometric = in[0] >> 2 & 1, alphabet = kind == KIND_BYTES ? ALPHABET : token_count(kind);
    if (in[0] >> 3 != kind || mode > MODE_CLASSES) return FCL_ERROR_DAMAGED;
    if (mode == MODE_ADAPTIVE && kind == KIND_BYTES) return FCL_ERROR_DAMAGED;
    if (mode == MODE_CLASSES && !classes) return FCL_ERROR_DAMAGED;
    if (geometric && (mode != MODE_SINGLE || kind == KIND_BYTES || n > universe)) return FCL_ERROR_DAMAGED;
    decode_table *tables = (decode_table *)work;
    const decode_table *table_of[CONTEXTS];
    uint16_t frequency[ALPHABET], cumulative[ALPHABET];
    int64_t at = 1;
    uint32_t starts = 1;
    if (mode != MODE_SINGLE) {
        if (length < 3) return FCL_ERROR_TRUNCATED;
        starts = load16(in + 1);
        at = 3;
        if (!(starts & 1)) return FCL_ERROR_DAMAGED;
    }
    if (geometric) {
        if (length < 2) return FCL_ERROR_TRUNCATED;
        int count = in[1] + 1;
        if (count > alphabet || !geometric_table(n, universe, kind, count, frequency, cumulative))
            return FCL_ERROR_DAMAGED;
        fill_decode_table(tables, frequency, count);
        for (int c = 0; c < CONTEXTS; c++) table_of[c] = tables;
        at = 2;
    } else {
        bit_reader r = {in + at, length - at, 0};
        decode_table *table = tables;
        for (int c = 0; c < CONTEXTS; c++) {
            if (starts >> c & 1) {
                int64_t count = parse_table(&r, alphabet, frequency, cumulative);
                if (count < 0) return count;
                table = tables + c;
                fill_decode_table(table, frequency, (int)count);
            }
            table_of[c] = table;
        }
        at += (r.position + 7) / 8;
    }
    if (length - at < 4 * LANES) return FCL_ERROR_TRUNCATED;
    uint32_t x[LANES], sizes[ALPHABET], mean = 0;
    for (int lane = 0; lane < LANES; lane++, at += 4) {
        x[lane] = load32(in + at);
        if (x[lane] < STATE_LOW) return FCL_ERROR_DAMAGED;
    }
    if (mode == MODE_ADAPTIVE) fill_adaptive_sizes(sizes, kind);
    const uint8_t *word = in + at, *end = in + length;
    int64_t i = 0;
    /* Four symbols read at most four words: while that many are left, no check is needed inside the group. */
    uint32_t states[LANES]; /* a copy that is only indexed with constants, so that it stays in registers */
    memcpy(states, x, sizeof states);
    if (mode == MODE_CLASSES) {
        for (; n - i >= LANES && end - word >= 2 * LANES; i += LANES)
            for (int lane = 0; lane < LANES; lane++)
                symbols[i + lane] = decode_step(states + lane, table_of[classes[i + lane] & (CONTEXTS - 1)], &word);
    } else {
        for (; n - i >= LANES && end - word >= 2 * LANES; i += LANES) {
            const decode_table *table = table_of[mode == MODE_SINGLE ? 0 : adaptive_context(mean)];
            for (int lane = 0; lane < LANES; lane++) symbols[i + lane] = decode_step(states + lane, table, &word);
            if (mode == MODE_ADAPTIVE) mean = adaptive_update(mean, symbols + i, sizes);
        }
    }
    memcpy(x, states, sizeof states);
    uint8_t padded[2] = {0, 0};
    for (; i < n; i++) {
        int context = mode == MODE_SINGLE ? 0 : mode == MODE_CLASSES ? classes[i] & (CONTEXTS - 1) : adaptive_context(mean);
        const uint8_t *before = end - word >= 2 ? word : padded, *after = before;
        symbols[i] = decode_step(lane_of(x, i), table_of[context], &after);
        if (after != before) {
            if (before == padded) return FCL_ERROR_TRUNCATED;
            word += 2;
        }
        if (mode == MODE_ADAPTIVE && (i & 3) == 3) mean = adaptive_update(mean, symbols + i - 3, sizes);
    }
    for (int lane = 0; lane < LANES; lane++)
        if (x[lane] != STATE_LOW) return FCL_ERROR_DAMAGED;
    return word - in;
}

/* ---- float differences in one pass --------------------------------------------------------------------------------
 *
 * What the functions above do one after the other, a block at a time while it is in the cache.
 */

enum { FUSED_BLOCK = 512 };

/* known[j] = the reference's entry at the j-th set bit of `bitmap` (NULL: all d entries are). The reference is given by the
 * bitmap of its entries that are not +0 (NULL: all are) and their `held_count` values: where it is sparse, that is a
 * fraction of the vector to read, and most words of the two bitmaps are equal. Returns n, how many there must be. */
FCL_API int64_t fcl_gather_known(const float *held, int64_t held_count, const uint8_t *support, const uint8_t *bitmap,
                                 int64_t d, float *known, int64_t n) {
    if (!support) {
        if (held_count != d) return FCL_ERROR_ARGUMENT;
        if (bitmap) return fcl_gather(held, d, bitmap, known, n) == n ? n : FCL_ERROR_ARGUMENT;
        if (n != d) return FCL_ERROR_ARGUMENT;
        memcpy(known, held, (size_t)n * sizeof *known);
        return n;
    }
    int64_t from = 0, to = 0, bytes = bitmap_bytes(d);
    for (int64_t at = 0; at < bytes; at += 8) {
        uint64_t has = load_tail(support + at, bytes - at);
        uint64_t asked = bitmap ? load_tail(bitmap + at, bytes - at) : valid_bits(d, at);
        int had = popcount64(has), wanted = popcount64(asked);
        if (had > held_count - from || wanted > n - to) return FCL_ERROR_ARGUMENT;
        if (has == asked) {
            for (int j = 0; j < had; j++) known[to + j] = held[from + j];
        } else {
            int64_t source = from, target = to;
            for (uint64_t either = has | asked; either; either &= either - 1) {
                uint64_t bit = either & (~either + 1);
                float value = has & bit ? held[source++] : 0.0f;
                if (asked & bit) known[target++] = value;
            }
        }
        from += had;
        to += wanted;
    }
    return to == n ? n : FCL_ERROR_ARGUMENT;
}

/* Appends up to 56 bits to `pending`, which holds *count < 8 bits that are not yet in full bytes; returns the new end.
 * Eight bytes are stored, whole bytes of them kept: no branch depends on the data. */
static inline uint8_t *put_low(uint8_t *at, uint64_t *pending, int *count, uint64_t bits, int width) {
    *pending |= bits << *count;
    *count += width;
    store64(at, *pending);
    at += *count >> 3;
    *pending >>= *count & ~7;
    *count &= 7;
    return at;
}

/* Plans the differences of n >= 1 values from those that the receiver knows at the same entries, as tokens with m mantissa
 * bits in the contexts of the known values' binades (see fcl_reference_classes), and writes their low bits.
 *
 * plan, n: as in fcl_plan_symbols, whose result this returns. tokens, classes: uint8 [n], to be passed to
 * fcl_encode_symbols. low: `capacity` >= 4 n + 8 bytes; facts[0] = top, facts[1] = bytes of the low bits. */
FCL_API int64_t fcl_plan_float_differences(void *plan, const float *values, int64_t n, const float *known, int32_t m,
                                           uint8_t *tokens, uint8_t *classes, uint8_t *low, int64_t capacity,
                                           int64_t *facts) {
    symbol_plan *p = plan;
    uint32_t differences[FUSED_BLOCK];
    if (n < 1 || n > (int64_t)UINT32_MAX || m < 0 || m > 3) return FCL_ERROR_ARGUMENT;
    if (capacity < 4 * n + 8) return FCL_ERROR_CAPACITY;
    memset(p, 0, sizeof *p);
    p->mode = MODE_CLASSES;
    p->kind = m;
    int32_t top = (int32_t)fcl_reference_classes(known, n, -1, classes);
    token_tables t;
    fill_token_tables(&t, m);
    /* Neighbours count in histograms of their own, so that a run of one token does not wait for itself. */
    uint32_t odd[CONTEXTS][ALPHABET];
    memset(odd, 0, sizeof odd);
    uint64_t pending = 0;
    int count = 0;
    uint8_t *at = low;
    for (int64_t begin = 0; begin < n; begin += FUSED_BLOCK) {
        int64_t size = n - begin < FUSED_BLOCK ? n - begin : FUSED_BLOCK;
        fcl_float_differences(values + begin, known + begin, size, differences);
        fcl_tokenise(differences, size, m, tokens + begin);
        const uint8_t *token = tokens + begin, *class = classes + begin;
        int64_t i = 0;
        for (; i + 2 <= size; i += 2) {
            int first = t.shifts[token[i]], second = t.shifts[token[i + 1]];
            if (first + second > 56) break;
            p->histogram[class[i]][token[i]]++;
            odd[class[i + 1]][token[i + 1]]++;
            uint64_t pair = differences[i] & ((UINT64_C(1) << first) - 1);
            pair |= (differences[i + 1] & ((UINT64_C(1) << second) - 1)) << first;
            at = put_low(at, &pending, &count, pair, first + second);
        }
        for (; i < size; i++) {
            p->histogram[class[i]][token[i]]++;
            int shift = t.shifts[token[i]];
            at = put_low(at, &pending, &count, differences[i] & ((UINT64_C(1) << shift) - 1), shift);
        }
    }
    for (int c = 0; c < CONTEXTS; c++)
        for (int s = 0; s < ALPHABET; s++) p->histogram[c][s] += odd[c][s];
    facts[0] = top;
    facts[1] = at - low + (count > 0);
    return choose_tables(p, n);
}

/* Inverse of the above: n >= 1 values from a section of untrusted bytes (symbols, then low bits). tokens,
 * classes: uint8 [n], work: fcl_decode_words() words of workspace. Returns the bytes read. */
FCL_API int64_t fcl_decode_float_differences(const uint8_t *in, int64_t length, int64_t n, const float *known,
                                             int32_t top, uint8_t *tokens, uint8_t *classes, uint32_t *work,
                                             float *values) {
    if (length < 1) return FCL_ERROR_TRUNCATED;
    if (top < 0) return FCL_ERROR_ARGUMENT;
    int32_t m = in[0] >> 3;
    if (m >= KIND_BYTES) return FCL_ERROR_DAMAGED;
    fcl_reference_classes(known, n, top, classes);
    int64_t read = fcl_decode_symbols(in, length, n, m, classes, 0, tokens, work);
    if (read < 0) return read;
    token_tables t;
    fill_token_tables(&t, m);
    int64_t low = count_low(tokens, n, m), result = 0;
    if (low < 0) return low;
    low = (low + 7) / 8;
    if (low > length - read) return FCL_ERROR_TRUNCATED;
    bit_reader r = {in + read, length - read, 0};
    uint32_t differences[FUSED_BLOCK];
    for (int64_t begin = 0; begin < n; begin += FUSED_BLOCK) {
        int64_t size = n - begin < FUSED_BLOCK ? n - begin : FUSED_BLOCK;
        take_values(&t, &r, tokens + begin, size, differences);
        int64_t applied = fcl_apply_float_differences(differences, known + begin, size, values + begin);
        if (applied < 0) result = applied;
    }
    return result < 0 ? result : read + low;
}

/* ---- sparse float differences at once ------------------------------------------------------------------------------
 *
 * The two sections of the most frequent kind of message, a sparse vector of floats coded against a reference, each in one
 * call: index coders 3 (rice) and 4 (tokens), value coder 3 (float32-differences). What is called here is what the general
 * way calls, in the same order, and so are the bytes; on anything else, damage included, all decline.
 */

enum {
    CODER_RICE = 3,
    CODER_TOKENS = 4,
    MARKS_START = 5,        /* bytes before marks against a reference: what they are compared with, and how many */
    MARKS_INVERTED = 4,     /* bit of the first of them */
    MARKS_ADAPTIVE = 1000,  /* from so many marks on, tables of several contexts are tried */
    MARKS_MOST = 65536,     /* with more, the mode is chosen on a sample */
    MARKS_SPARSE = 16,      /* with one in so many entries marked, a coded bitmap is never tried */
    MANTISSA_MARKS = 2,
    MANTISSA_VALUES = 1,
};

/* The workspace, each part aligned to 8 bytes. */
typedef struct {
    symbol_plan values, single, adaptive;
    decode_table tables[CONTEXTS];
    uint8_t parts[];
} sparse_work;

static inline int64_t aligned(int64_t bytes) { return (bytes + 7) / 8 * 8; }

static inline int64_t most_marks(int64_t d) {
    int64_t most = d / MARKS_SPARSE;
    return most < MARKS_MOST ? most : MARKS_MOST;
}

/* Bytes of workspace for k of d entries. */
FCL_API int64_t fcl_sparse_work(int64_t d, int64_t k) {
    int64_t marks = most_marks(d) + 1;
    return (int64_t)sizeof(sparse_work) + aligned(bitmap_bytes(d)) + aligned(4 * marks) + 2 * aligned(marks) +
           aligned(4 * k) + 2 * aligned(k) + aligned(4 * k + 8);
}

/* Capacity that is enough for both sections of k of d entries. */
FCL_API int64_t fcl_sparse_bound(int64_t d, int64_t k) {
    return 1 + fcl_symbols_bound(k) + 4 * k + 8 + MARKS_START + 1 + fcl_symbols_bound(most_marks(d)) + 4 * most_marks(d) + 8;
}

static uint8_t *take_part(uint8_t **at, int64_t bytes) {
    uint8_t *part = *at;
    *at += aligned(bytes);
    return part;
}

/* Encodes k values at the set bits of a bitmap of d entries, 0 < k < d, against a reference: `held`, its `held_count` values
 * at the set bits of `support`, and `topk`, the bitmap of its k entries of largest magnitude. work: fcl_sparse_work(d, k)
 * bytes, 8-byte aligned. out: `capacity` >= fcl_sparse_bound(d, k) bytes: the value section, then the index section.
 * facts[0], facts[1]: their bytes; facts[2]: the index coder. Returns the bytes of both. Declines unless these coders are
 * what the smallest proposals come from, and differences take at most 70 % of what the values take as they are. */
FCL_API int64_t fcl_encode_sparse_floats(const float *values, int64_t k, const uint8_t *bitmap, int64_t d,
                                         const uint8_t *topk, const uint8_t *support, const float *held,
                                         int64_t held_count, void *work, int64_t work_bytes, uint8_t *out,
                                         int64_t capacity, int64_t *facts) {
    if (k < 1 || k >= d || d > (int64_t)UINT32_MAX || work_bytes < fcl_sparse_work(d, k)) return FCL_ERROR_ARGUMENT;
    if (capacity < fcl_sparse_bound(d, k)) return FCL_ERROR_CAPACITY;
    sparse_work *w = work;
    uint8_t *at = w->parts;
    int64_t bytes = bitmap_bytes(d), most = most_marks(d);
    uint8_t *marks = take_part(&at, bytes);
    uint32_t *gaps = (uint32_t *)take_part(&at, 4 * (most + 1));
    uint8_t *gap_tokens = take_part(&at, most + 1), *groups = take_part(&at, most + 1);
    float *known = (float *)take_part(&at, 4 * k);
    uint8_t *tokens = take_part(&at, k), *classes = take_part(&at, k), *low = take_part(&at, 4 * k + 8);

    int64_t marked[2];
    int64_t n = fcl_mark(bitmap, d, topk, support, marks, gaps, most, marked);
    if (n == FCL_ERROR_CAPACITY || n == 0 || n * MARKS_SPARSE >= d) return FCL_DECLINED;
    if (n < 0) return n;
    int64_t start = marked[0] ? MARKS_START : 1;
    int64_t mean = (d - n) / n, rice = 0;
    int32_t near = bit_length((uint32_t)(mean > 1 ? mean : 1)) - 1;
    int64_t shift = fcl_rice_parameter(gaps, n, near > 1 ? near - 1 : 0, near + 1, &rice);
    if (shift < 0) return shift;
    rice += 1;
    int64_t low_bits = fcl_tokenise(gaps, n, MANTISSA_MARKS, gap_tokens);
    const symbol_plan *best = &w->single;
    int64_t coded = fcl_plan_symbols(&w->single, gap_tokens, n, MANTISSA_MARKS, MODE_SINGLE, NULL, NULL, d);
    if (coded < 0) return coded;
    if (n >= MARKS_ADAPTIVE) {
        int64_t other = fcl_plan_symbols(&w->adaptive, gap_tokens, n, MANTISSA_MARKS, MODE_ADAPTIVE, NULL, groups, d);
        if (other < 0) return other;
        if (other < coded) {
            coded = other;
            best = &w->adaptive;
        }
    }
    coded += (low_bits + 7) / 8;
    int64_t width = bit_length((uint32_t)(d - 1)), indices = start + (rice <= coded ? rice : coded);
    if (bytes <= indices || (k * width + 7) / 8 <= indices) return FCL_DECLINED;

    int64_t gathered = fcl_gather_known(held, held_count, held_count == d ? NULL : support, bitmap, d, known, k);
    if (gathered < 0) return gathered;
    int64_t top_and_low[2];
    int64_t planned = fcl_plan_float_differences(&w->values, values, k, known, MANTISSA_VALUES, tokens, classes, low,
                                                 4 * k + 8, top_and_low);
    if (planned < 0) return planned;
    /* As integers: 8 size > 0.7 * 32 k. */
    if (80 * (1 + planned + top_and_low[1]) > 7 * 32 * k) return FCL_DECLINED;

    uint8_t *put = out;
    *put++ = (uint8_t)top_and_low[0];
    int64_t written = fcl_encode_symbols(&w->values, tokens, k, classes, NULL, put, fcl_symbols_bound(k));
    if (written < 0) return written;
    put += written;
    memcpy(put, low, (size_t)top_and_low[1]);
    put += top_and_low[1];
    facts[0] = put - out;
    *put++ = (uint8_t)(marked[0] | (marked[1] ? MARKS_INVERTED : 0));
    if (marked[0]) {
        store32(put, (uint32_t)n);
        put += 4;
    }
    if (rice <= coded) {
        facts[2] = CODER_RICE;
        *put++ = (uint8_t)shift;
        written = fcl_rice_encode(gaps, n, (int32_t)shift, put, out + capacity - put);
    } else {
        facts[2] = CODER_TOKENS;
        written = fcl_encode_symbols(best, gap_tokens, n, NULL, groups, put, fcl_symbols_bound(n));
        if (written < 0) return written;
        put += written;
        written = fcl_pack_low(gaps, n, MANTISSA_MARKS, low_bits, put, out + capacity - put);
    }
    if (written < 0) return written;
    put += written;
    facts[1] = put - out - facts[0];
    return put - out;
}

/* Inverse of the above, from untrusted sections: writes the bitmap of k of d entries and their values; `topk` may be NULL
 * where the index section does not refer to it. Returns k, or declines: what it has written then means nothing. */
FCL_API int64_t fcl_decode_sparse_floats(const uint8_t *section, int64_t section_bytes, const uint8_t *indices,
                                         int64_t index_bytes, int32_t coder, int64_t d, int64_t k, const uint8_t *topk,
                                         const uint8_t *support, const float *held, int64_t held_count, void *work,
                                         int64_t work_bytes, uint8_t *bitmap, float *values) {
    if (k < 1 || k >= d || d > (int64_t)UINT32_MAX || work_bytes < fcl_sparse_work(d, k)) return FCL_ERROR_ARGUMENT;
    sparse_work *w = work;
    uint8_t *at = w->parts;
    int64_t most = most_marks(d);
    take_part(&at, bitmap_bytes(d));
    uint32_t *gaps = (uint32_t *)take_part(&at, 4 * (most + 1));
    uint8_t *gap_tokens = take_part(&at, most + 1);
    take_part(&at, most + 1);
    float *known = (float *)take_part(&at, 4 * k);
    uint8_t *tokens = take_part(&at, k), *classes = take_part(&at, k);

    if (index_bytes < MARKS_START + 1 || section_bytes < 1) return FCL_DECLINED;
    int base = indices[0] & 3, inverted = (indices[0] & MARKS_INVERTED) != 0;
    if (indices[0] & ~(MARKS_INVERTED | 3) || base > 2 || (base == 1 && !topk)) return FCL_DECLINED;
    int64_t n = base ? (int64_t)load32(indices + 1) : inverted ? d - k : k, read;
    if (n < 1 || n > most) return FCL_DECLINED;
    const uint8_t *in = indices + (base ? MARKS_START : 1);
    int64_t length = index_bytes - (in - indices);
    if (coder == CODER_RICE) {
        if (*in > 31) return FCL_DECLINED;
        read = fcl_rice_decode(in + 1, length - 1, n, *in, gaps);
        if (read != length - 1) return FCL_DECLINED;
    } else if (coder == CODER_TOKENS) {
        int32_t m = *in >> 3;
        if (m >= KIND_BYTES) return FCL_DECLINED;
        read = fcl_decode_symbols(in, length, n, m, NULL, d, gap_tokens, (uint32_t *)w->tables);
        if (read < 0) return FCL_DECLINED;
        if (fcl_unpack_low(in + read, length - read, gap_tokens, n, m, gaps) != length - read) return FCL_DECLINED;
    } else {
        return FCL_DECLINED;
    }
    const uint8_t *bases[3] = {NULL, topk, support};
    int64_t base_count = base == 0 ? 0 : base == 1 ? k : held_count;
    if (fcl_unmark(gaps, n, bases[base], base_count, inverted, d, bitmap) != k) return FCL_DECLINED;
    if (fcl_gather_known(held, held_count, held_count == d ? NULL : support, bitmap, d, known, k) < 0) return FCL_DECLINED;
    read = fcl_decode_float_differences(section + 1, section_bytes - 1, k, known, section[0], tokens, classes,
                                        (uint32_t *)w->tables, values);
    return read == section_bytes - 1 ? k : FCL_DECLINED;
}

/* Adds `weight` times what the above decodes to float64 accumulator[d], as fcl_accumulate does; nothing is added where this
 * declines. */
FCL_API int64_t fcl_add_sparse_floats(const uint8_t *section, int64_t section_bytes, const uint8_t *indices,
                                      int64_t index_bytes, int32_t coder, int64_t d, int64_t k, const uint8_t *topk,
                                      const uint8_t *support, const float *held, int64_t held_count, void *work,
                                      int64_t work_bytes, double weight, double *accumulator) {
    if (k < 1 || k >= d || d > (int64_t)UINT32_MAX || work_bytes < fcl_sparse_work(d, k)) return FCL_ERROR_ARGUMENT;
    /* The workspace's first part and its last one, which decoding does not use. */
    uint8_t *bitmap = ((sparse_work *)work)->parts;
    float *values = (float *)((uint8_t *)work + fcl_sparse_work(d, k) - aligned(4 * k + 8));
    int64_t decoded = fcl_decode_sparse_floats(section, section_bytes, indices, index_bytes, coder, d, k, topk, support, held,
                                               held_count, work, work_bytes, bitmap, values);
    return decoded < 0 ? decoded : fcl_accumulate(values, k, bitmap, d, weight, accumulator);
}
