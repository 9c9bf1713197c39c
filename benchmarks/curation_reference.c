/* Plain C over Arrow string buffers: the speed that `curation.py` compares with. It is written for speed and knows
   words of ASCII only; bytes above 127 are letters, three-byte characters of E3..E9 (most of Chinese) are words. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define BASE 0x9E3779B97F4A7C15ull

static uint8_t kind[256]; /* 0: gap, else the lower-case byte */

static void prepare(void) {
    for (int c = 0; c < 256; c++)
        kind[c] = c >= 128 || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ? c
                  : c >= 'A' && c <= 'Z' ? c + 32 : 0;
}

static inline uint64_t mixed(uint64_t h) {
    h ^= h >> 33; h *= 0xFF51AFD7ED558CCDull;
    h ^= h >> 33; h *= 0xC4CEB9FE1A85EC53ull;
    return h ^ h >> 33;
}

/* Hashes of the words of text[0..length); returns their number. */
static int64_t words(const uint8_t *text, int64_t length, uint64_t *out) {
    int64_t count = 0, i = 0;
    while (i < length) {
        if (!kind[text[i]]) { i++; continue; }
        uint64_t h = 0xCBF29CE484222325ull;
        if (text[i] >= 0xE3 && text[i] <= 0xE9 && i + 2 < length) {
            h = (h ^ text[i]) * 0x100000001B3ull;
            h = (h ^ text[i + 1]) * 0x100000001B3ull;
            h = (h ^ text[i + 2]) * 0x100000001B3ull;
            i += 3;
        } else {
            uint8_t c;
            while (i < length && (c = kind[text[i]]) && !(c >= 0xE3 && c <= 0xE9)) {
                h = (h ^ c) * 0x100000001B3ull;
                i++;
            }
        }
        out[count++] = h;
    }
    return count;
}

/* The hashes of all runs of n words, in place; returns their number. */
static int64_t runs(uint64_t *h, int64_t count, int n) {
    if (count == 0) return 0;
    if (count < n) n = (int)count;
    for (int64_t i = 0; i + n <= count; i++) {
        uint64_t r = n;
        for (int k = 0; k < n; k++) r = r * BASE + h[i + k];
        h[i] = mixed(r);
    }
    return count - n + 1;
}

/* MinHash: texts data[offsets[i]..offsets[i+1]) -> out[bands] hashes each; 32-bit permutations a*x+b. */
void minhash(const uint8_t *data, const int64_t *offsets, int64_t texts, int n, int bands, int rows,
             const uint32_t *a, const uint32_t *b, uint64_t *out) {
    int64_t longest = 0;
    int size = bands * rows;
    prepare();
    for (int64_t i = 0; i < texts; i++)
        if (offsets[i + 1] - offsets[i] > longest) longest = offsets[i + 1] - offsets[i];
    uint64_t *h = malloc((longest + 8) * sizeof *h);
    uint32_t *least = malloc(size * sizeof *least);
    for (int64_t i = 0; i < texts; i++) {
        int64_t count = runs(h, words(data + offsets[i], offsets[i + 1] - offsets[i], h), n);
        memset(least, 0xFF, size * sizeof *least);
        for (int64_t k = 0; k < count; k++) {
            uint32_t x = (uint32_t)(h[k] >> 32);
            for (int j = 0; j < size; j++) {
                uint32_t v = a[j] * x + b[j];
                least[j] = v < least[j] ? v : least[j];
            }
        }
        for (int band = 0; band < bands; band++) {
            uint64_t r = band + 1;
            for (int j = 0; j < rows; j++) r = mixed(r * BASE + least[band * rows + j]);
            out[i * bands + band] = r;
        }
    }
    free(h);
    free(least);
}

/* Union-find over documents: unites i with the first document of the same band hash. */
static int64_t root(int64_t *up, int64_t i) {
    while (up[i] != i) i = up[i] = up[up[i]];
    return i;
}

void unite(const int64_t *left, const int64_t *right, int64_t pairs, int64_t *up) {
    for (int64_t k = 0; k < pairs; k++) {
        int64_t a = root(up, left[k]), b = root(up, right[k]);
        if (a < b) up[b] = a; else up[a] = b;
    }
}

void roots(int64_t *up, int64_t count) {
    for (int64_t i = 0; i < count; i++) up[i] = root(up, i);
}

/* The n-gram filter: an open table of hashes behind a bit map that fits into the cache. */
static uint64_t *table;
static uint64_t mask;
static uint64_t *map;
#define MAP_BITS 22

static int known(uint64_t h) {
    uint64_t place = h >> (64 - MAP_BITS);
    if (!(map[place >> 6] >> (place & 63) & 1)) return 0;
    for (uint64_t i = h & mask; table[i]; i = (i + 1) & mask)
        if (table[i] == h) return 1;
    return 0;
}

void build(const uint8_t *data, const int64_t *offsets, int64_t texts, int n) {
    int64_t bytes = offsets[texts] - offsets[0];
    uint64_t size = 1024;
    prepare();
    while (size < (uint64_t)bytes) size *= 2;
    table = calloc(size, sizeof *table);
    map = calloc(1u << (MAP_BITS - 6), sizeof *map);
    mask = size - 1;
    uint64_t *h = malloc((bytes + 8) * sizeof *h);
    for (int64_t i = 0; i < texts; i++) {
        int64_t count = words(data + offsets[i], offsets[i + 1] - offsets[i], h);
        if (count < n) continue;
        count = runs(h, count, n);
        for (int64_t k = 0; k < count; k++) {
            uint64_t place = h[k] & mask;
            while (table[place] && table[place] != h[k]) place = (place + 1) & mask;
            table[place] = h[k];
            map[h[k] >> (64 - MAP_BITS) >> 6] |= 1ull << (h[k] >> (64 - MAP_BITS) & 63);
        }
    }
    free(h);
}

/* hit[i] = 1 if text i has an n-gram of the table. A rolling hash: one multiplication and one addition a word. */
void filter(const uint8_t *data, const int64_t *offsets, int64_t texts, int n, uint8_t *hit) {
    int64_t longest = 0;
    uint64_t power = 1;
    prepare();
    for (int k = 0; k < n; k++) power *= BASE;
    for (int64_t i = 0; i < texts; i++)
        if (offsets[i + 1] - offsets[i] > longest) longest = offsets[i + 1] - offsets[i];
    uint64_t *h = malloc((longest + 8) * sizeof *h);
    for (int64_t i = 0; i < texts; i++) {
        int64_t count = words(data + offsets[i], offsets[i + 1] - offsets[i], h);
        /* `runs` starts at n, so its polynomial has n * BASE^n beside the words'. */
        uint64_t r = 0, start = (uint64_t)n * power;
        hit[i] = 0;
        for (int64_t k = 0; k < count; k++) {
            r = r * BASE + h[k];
            if (k >= n) r -= h[k - n] * power;
            if (k >= n - 1 && known(mixed(r + start))) { hit[i] = 1; break; }
        }
    }
    free(h);
}
