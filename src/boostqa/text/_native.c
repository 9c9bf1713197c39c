/* The innermost loops over folded texts, compiled: the same as the numpy code beside each call, to the last bit.

   Built where there is a compiler (see pyproject.toml), never needed: `tokens`, `ngrams` and `minhash` say what each
   function means and do without it. All arrays are contiguous and made by the caller. */
#define Py_LIMITED_API 0x030B0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>

#define FACTOR 0x9E3779B97F4A7C15u /* `tokens._FACTOR` and `ngrams.BASE` */
#define OPERATORS 15               /* `context.OPERATORS` */
#define EMPTY 0xFFFFFFFFu          /* `minhash._NONE` */
#define UNUSED 20                  /* `measures._UNUSED` */
#define BEHIND 15                  /* bytes behind the last place of a block */
#define MOST 65536                 /* places of a signature */

/* Eight bytes as a little-endian number. */
static inline uint64_t eight(const uint8_t *at) {
    uint64_t value;
    memcpy(&value, at, 8);
#if PY_BIG_ENDIAN
    value = __builtin_bswap64(value);
#endif
    return value;
}

/* Blanks the first byte that ends a word and all behind it, as `tokens._cut`; how many bytes are left, 0..8. */
static inline int cut(uint64_t *part) {
    uint64_t ends = (*part - 0x2121212121212121u) & ~*part & 0x8080808080808080u;
    uint64_t mask = ((ends & -ends) >> 7) - 1;
    *part &= mask;
    return (int)((mask & 0x0101010101010101u) * 0x0101010101010101u >> 56);
}

/* The hash of the token that begins here, as `tokens._hashes`. */
static inline uint64_t token(const uint8_t *at) {
    uint64_t part = eight(at), hash, length = 0;
    if (*at <= 32) part = *at;
    else length = cut(&part);
    hash = part * FACTOR;
    hash ^= hash >> 29;
    while (length == 8) {
        at += 8;
        part = eight(at);
        length = cut(&part);
        if (!length) break;
        hash = (hash + part) * FACTOR;
        hash ^= hash >> 31;
    }
    return hash;
}

/* Three passes, because each step of a single one would have to wait for the length of the word before. */
static Py_ssize_t words(const uint8_t *folded, Py_ssize_t end, const int64_t *borders, Py_ssize_t texts,
                        uint64_t *hashes, uint8_t *lead, int64_t *starts) {
    Py_ssize_t count = 0, text = 0;
    for (Py_ssize_t i = 1; i < end; i++)
        lead[i] = ((folded[i] > 32) & (folded[i - 1] <= 32)) | ((uint8_t)(folded[i] - 1) < OPERATORS);
    for (Py_ssize_t i = 1; i < end; i++) {
        hashes[count] = (uint64_t)i;
        count += lead[i];
    }
    for (Py_ssize_t k = 0; k < count; k++) {
        const Py_ssize_t i = (Py_ssize_t)hashes[k];
        while (text < texts && borders[text] <= i) starts[text++] = k;
        lead[k] = folded[i];
        hashes[k] = token(folded + i);
    }
    while (text < texts) starts[text++] = count;
    return count;
}

static inline uint64_t mix(uint64_t hash) {
    hash ^= hash >> 32;
    hash *= 0xD6E8FEB86659FD93u;
    return hash ^ hash >> 32;
}

static uint64_t power(int64_t exponent) {
    uint64_t result = 1, base = FACTOR;
    for (; exponent; exponent >>= 1, base *= base)
        if (exponent & 1) result *= base;
    return result;
}

/* As `ngrams.windows` for each text: a polynomial over the hashes, rolled on from place to place. */
static uint64_t *runs(const uint64_t *hash, int64_t count, int64_t n, uint64_t *out) {
    uint64_t gone = power(n), value = 0, first = (uint64_t)n * power(1 + n - (n & -n));
    for (int64_t i = 0; i < count; i++) {
        value = value * FACTOR + hash[i];
        if (i >= n) value -= hash[i - n] * gone;
        if (i >= n - 1) *out++ = mix(value + first);
    }
    return out;
}

static PyObject *refused(const char *function) {
    return PyErr_Format(PyExc_ValueError, "_native.%s: an array is too short for what it must hold", function);
}

/* words(folded, borders, hashes, lead, starts) -> number of tokens */
static PyObject *py_words(PyObject *self, PyObject *args) {
    Py_buffer folded, borders, hashes, lead, starts;
    Py_ssize_t count = -1, texts;
    if (!PyArg_ParseTuple(args, "y*y*w*w*w*", &folded, &borders, &hashes, &lead, &starts)) return NULL;
    texts = borders.len / 8;
    /* No token begins where none fits: each takes a byte at least. */
    if (folded.len > BEHIND && hashes.len / 8 >= folded.len - BEHIND && lead.len >= folded.len - BEHIND &&
        starts.len >= borders.len) {
        Py_BEGIN_ALLOW_THREADS
        count = words(folded.buf, folded.len - BEHIND, borders.buf, texts, hashes.buf, lead.buf, starts.buf);
        Py_END_ALLOW_THREADS
    }
    PyBuffer_Release(&folded), PyBuffer_Release(&borders), PyBuffer_Release(&hashes);
    PyBuffer_Release(&lead), PyBuffer_Release(&starts);
    return count < 0 ? refused("words") : PyLong_FromSsize_t(count);
}

/* runs(hashes, starts, n, out): n-grams of each text; a shorter text is one of its own length */
static PyObject *py_runs(PyObject *self, PyObject *args) {
    Py_buffer hashes, starts, out;
    Py_ssize_t n;
    int fits;
    if (!PyArg_ParseTuple(args, "y*y*nw*", &hashes, &starts, &n, &out)) return NULL;
    const int64_t *start = starts.buf;
    const int64_t held = hashes.len / 8, room = out.len / 8;
    Py_ssize_t texts = starts.len / 8 - 1;
    int64_t needed = 0, last = 0;
    fits = n > 0;
    for (Py_ssize_t i = 0; fits && i < texts; i++) {
        fits = start[i] >= last && start[i + 1] >= start[i] && start[i + 1] <= held;
        if (!fits) break;
        last = start[i + 1];
        needed += last - start[i] < n ? last > start[i] : last - start[i] - n + 1;
        fits = needed <= room;
    }
    if (fits) {
        uint64_t *next = out.buf;
        Py_BEGIN_ALLOW_THREADS
        for (Py_ssize_t i = 0; i < texts; i++) {
            int64_t length = start[i + 1] - start[i];
            if (length > 0) next = runs((uint64_t *)hashes.buf + start[i], length, length < n ? length : n, next);
        }
        Py_END_ALLOW_THREADS
    }
    PyBuffer_Release(&hashes), PyBuffer_Release(&starts), PyBuffer_Release(&out);
    if (!fits) return refused("runs");
    Py_RETURN_NONE;
}

/* minima(runs, counts, owners, size, values): see `minhash.Signatures.add` */
static PyObject *py_minima(PyObject *self, PyObject *args) {
    Py_buffer hashes, counts, owners, values;
    Py_ssize_t size;
    int fits;
    if (!PyArg_ParseTuple(args, "y*y*y*nw*", &hashes, &counts, &owners, &size, &values)) return NULL;
    const int64_t *count = counts.buf, *owner = owners.buf;
    int64_t left = hashes.len / 8;
    Py_ssize_t texts = counts.len / 8, rows = size > 0 ? values.len / 4 / size : 0;
    fits = owners.len >= counts.len;
    for (Py_ssize_t i = 0; fits && i < texts; i++) {
        fits = count[i] >= 0 && count[i] <= left && owner[i] >= 0 && owner[i] < rows;
        left -= count[i];
    }
    if (fits) {
        const uint64_t *hash = hashes.buf;
        Py_BEGIN_ALLOW_THREADS
        for (Py_ssize_t i = 0; i < texts; i++) {
            uint32_t *least = (uint32_t *)values.buf + owner[i] * size;
            for (int64_t k = 0; k < count[i]; k++, hash++) {
                uint64_t place = (*hash >> 32) * (uint64_t)size >> 32;
                uint32_t value = (uint32_t)*hash, before = least[place];
                /* No branch: it could not be foretold. */
                least[place] = value < before ? value : before;
            }
        }
        Py_END_ALLOW_THREADS
    }
    PyBuffer_Release(&hashes), PyBuffer_Release(&counts), PyBuffer_Release(&owners), PyBuffer_Release(&values);
    if (!fits) return refused("minima");
    Py_RETURN_NONE;
}

/* densify(values, order, size): see `minhash._densify`; order[rank][place] is where a place looks for a filled one */
static PyObject *py_densify(PyObject *self, PyObject *args) {
    Py_buffer values, orders;
    Py_ssize_t size;
    if (!PyArg_ParseTuple(args, "w*y*n", &values, &orders, &size)) return NULL;
    int fits = size > 0 && size <= MOST && orders.len / 8 >= size * size;
    Py_ssize_t places = fits ? values.len / 4 / size * size : 0;
    const int64_t *order = orders.buf;
    uint32_t *before = fits ? PyMem_Malloc(size * 4) : NULL;
    fits = fits && before;
    for (Py_ssize_t i = 0; fits && i < size * size; i++) fits = order[i] >= 0 && order[i] < size;
    for (Py_ssize_t at = 0; fits && at < places; at += size) {
        uint32_t *row = (uint32_t *)values.buf + at;
        memcpy(before, row, size * 4);
        for (Py_ssize_t i = 0; i < size; i++)
            for (Py_ssize_t rank = 1; row[i] == EMPTY && rank < size; rank++) row[i] = before[order[rank * size + i]];
    }
    PyMem_Free(before);
    PyBuffer_Release(&values), PyBuffer_Release(&orders);
    if (!fits) return refused("densify");
    Py_RETURN_NONE;
}

/* How many different ones there are among `count` hashes; the table holds a power of two of places, over twice as many. */
static int64_t different(const uint64_t *hash, int64_t count, uint64_t *table, uint64_t places) {
    int64_t found = 0;
    memset(table, 0, places * sizeof *table);
    for (int64_t i = 0; i < count; i++) {
        /* One is added, because 0 is an empty place. */
        uint64_t key = (hash[i] >> UNUSED) + 1, at = key & (places - 1);
        while (table[at] && table[at] != key) at = (at + 1) & (places - 1);
        found += !table[at];
        table[at] = key;
    }
    return found;
}

/* different(hashes, counts, out): see `measures._different` */
static PyObject *py_different(PyObject *self, PyObject *args) {
    Py_buffer hashes, counts, out;
    if (!PyArg_ParseTuple(args, "y*y*w*", &hashes, &counts, &out)) return NULL;
    const int64_t *count = counts.buf;
    int64_t texts = counts.len / 8, needed = 0, most = 0;
    int fits = out.len >= counts.len;
    for (int64_t i = 0; fits && i < texts; i++) {
        fits = count[i] >= 0 && count[i] <= hashes.len / 8;
        needed += count[i];
        if (count[i] > most) most = count[i];
    }
    fits = fits && needed <= hashes.len / 8;
    uint64_t *table = fits ? PyMem_Malloc((4 * most + 4) * sizeof *table) : NULL;
    if (table) {
        const uint64_t *hash = hashes.buf;
        Py_BEGIN_ALLOW_THREADS
        for (int64_t i = 0; i < texts; hash += count[i++]) {
            uint64_t places = 2;
            while (places <= 2 * (uint64_t)count[i]) places *= 2;
            ((int64_t *)out.buf)[i] = different(hash, count[i], table, places);
        }
        Py_END_ALLOW_THREADS
    }
    PyMem_Free(table);
    PyBuffer_Release(&hashes), PyBuffer_Release(&counts), PyBuffer_Release(&out);
    if (fits && !table) return PyErr_NoMemory();
    if (!fits) return refused("different");
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"words", py_words, METH_VARARGS, "Tokens of a folded block."},
    {"runs", py_runs, METH_VARARGS, "N-grams of tokens."},
    {"minima", py_minima, METH_VARARGS, "Smallest hashes by place."},
    {"densify", py_densify, METH_VARARGS, "Fills empty places."},
    {"different", py_different, METH_VARARGS, "Counts different hashes."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_native", NULL, 0, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__native(void) { return PyModuleDef_Init(&module); }
