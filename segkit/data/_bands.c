/* The IoU of the bands inside the contours of masks, for segkit.data.bands, which does the same without this.
 *
 * A mask is cut to its box and kept as bits, 64 rows of a column in a word. Its erosion by a square is exact: along the
 * columns run lengths get shorter at both ends, along the rows neighbouring columns are combined with "and".
 */
#define Py_LIMITED_API 0x030B0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdlib.h>
#include <string.h>

#include "_runs.h"

typedef struct {
    int64_t left, columns, first, words; /* the first word of a column has the rows from 64 * first on */
    int64_t pixels;
    uint64_t *bits; /* [columns, words]; NULL: not made yet, or empty */
    int made;
} Band;

typedef struct {
    int64_t column, top, end;
} Piece; /* the rows of a column that are inside, as long as possible */

typedef struct {
    Piece *at;
    size_t count, room;
} Pieces;

static int64_t popcount(uint64_t word) { return __builtin_popcountll(word); }

static int add_piece(Pieces *pieces, int64_t column, int64_t top, int64_t end)
{
    if (pieces->count == pieces->room) {
        size_t room = pieces->room ? 2 * pieces->room : 256;
        Piece *at = realloc(pieces->at, room * sizeof *at);
        if (!at) return 0;
        pieces->at = at;
        pieces->room = room;
    }
    pieces->at[pieces->count++] = (Piece){column, top, end};
    return 1;
}

/* The pixels from `begin` to `end`, counted down the columns. */
static int add_run(Pieces *pieces, int64_t begin, int64_t end, int64_t height)
{
    while (begin < end) {
        int64_t column = begin / height, stop = (column + 1) * height < end ? (column + 1) * height : end;
        if (!add_piece(pieces, column, begin - column * height, stop - column * height)) return 0;
        begin = stop;
    }
    return 1;
}

/* The pieces of a mask. 0 with an exception where that fails. */
static int read_pieces(PyObject *text, int64_t height, int64_t width, Pieces *pieces)
{
    Py_ssize_t length;
    Runs runs = {0};
    runs.text = PyUnicode_AsUTF8AndSize(text, &length);
    if (!runs.text) return 0;
    runs.length = (size_t)length;
    int64_t place = 0, begin = 0, end = 0, run; /* what is inside from `begin` to `end` is not added yet */
    pieces->count = 0;
    for (int inside = 0; (run = next_run(&runs)) >= 0; inside = !inside) {
        if (run > height * width - place) {
            run = RUNS_INVALID;
            break;
        }
        if (inside && run) {
            if (place > end) { /* else the runs touch: there was an empty one between */
                if (!add_run(pieces, begin, end, height)) goto no_memory;
                begin = place;
            }
            end = place + run;
        }
        place += run;
    }
    if (run == RUNS_INVALID || place != height * width) {
        PyErr_SetString(PyExc_ValueError, "run lengths must add up to the pixels of the image");
        return 0;
    }
    if (add_run(pieces, begin, end, height)) return 1;
no_memory:
    PyErr_NoMemory();
    return 0;
}

static void set_rows(uint64_t *column, int64_t top, int64_t end)
{
    for (int64_t word = top >> 6; top < end; word++) {
        int64_t stop = (word + 1) * 64 < end ? (word + 1) * 64 : end;
        uint64_t rows = stop - top == 64 ? ~(uint64_t)0 : (((uint64_t)1 << (stop - top)) - 1) << (top & 63);
        column[word] |= rows;
        top = stop;
    }
}

/* Columns that are inside together with the `reach` ones after them; the others keep what makes no difference. */
static void and_next(uint64_t *bits, int64_t columns, int64_t words, int64_t reach)
{
    int64_t have = 0; /* bits[c] is the "and" of c to c + have */
    while (have < reach) {
        int64_t step = have + 1 < reach - have ? have + 1 : reach - have;
        for (int64_t i = 0; i < (columns - have - step) * words; i++) bits[i] &= bits[i + step * words];
        have += step;
    }
}

/* The band of a mask from its pieces: the mask less its erosion. 0 where memory runs out. */
static int make_band(Band *band, const Pieces *pieces, int64_t distance)
{
    band->made = 1;
    if (!pieces->count) return 1;
    int64_t top = INT64_MAX, bottom = 0, deep = 0;
    for (size_t i = 0; i < pieces->count; i++) {
        const Piece *piece = &pieces->at[i];
        if (piece->top < top) top = piece->top;
        if (piece->end > bottom) bottom = piece->end;
        deep |= piece->end - piece->top > 2 * distance;
    }
    band->left = pieces->at[0].column;
    band->columns = pieces->at[pieces->count - 1].column + 1 - band->left;
    band->first = top >> 6;
    band->words = ((bottom - 1) >> 6) + 1 - band->first;
    int64_t words = band->words, size = band->columns * words, row = 64 * band->first;
    deep = deep && band->columns > 2 * distance;
    band->bits = calloc((size_t)size, sizeof *band->bits);
    uint64_t *eroded = deep ? calloc((size_t)size, sizeof *eroded) : NULL;
    if (!band->bits || (deep && !eroded)) {
        free(eroded);
        return 0;
    }
    for (size_t i = 0; i < pieces->count; i++) {
        const Piece *piece = &pieces->at[i];
        int64_t at = (piece->column - band->left) * words;
        set_rows(band->bits + at, piece->top - row, piece->end - row);
        if (deep) set_rows(eroded + at, piece->top + distance - row, piece->end - distance - row);
    }
    if (deep) {
        and_next(eroded, band->columns, words, 2 * distance);
        uint64_t *from = band->bits + distance * words;
        for (int64_t i = 0; i < (band->columns - 2 * distance) * words; i++) from[i] &= ~eroded[i];
        free(eroded);
    }
    for (int64_t i = 0; i < size; i++) band->pixels += popcount(band->bits[i]);
    return 1;
}

static int64_t shared_pixels(const Band *a, const Band *b)
{
    int64_t left = a->left > b->left ? a->left : b->left, first = a->first > b->first ? a->first : b->first;
    int64_t right = a->left + a->columns, other = b->left + b->columns;
    int64_t last = a->first + a->words, its = b->first + b->words, pixels = 0;
    if (other < right) right = other;
    if (its < last) last = its;
    if (!a->bits || !b->bits) return 0;
    for (int64_t column = left; column < right; column++) {
        const uint64_t *one = a->bits + (column - a->left) * a->words;
        const uint64_t *two = b->bits + (column - b->left) * b->words;
        for (int64_t word = first; word < last; word++) pixels += popcount(one[word - a->first] & two[word - b->first]);
    }
    return pixels;
}

static int need_band(Band *band, PyObject *texts, Py_ssize_t at, int64_t sizes[3], Pieces *pieces)
{
    if (band->made) return 1;
    if (!read_pieces(PyList_GetItem(texts, at), sizes[0], sizes[1], pieces)) return 0;
    if (make_band(band, pieces, sizes[2])) return 1;
    PyErr_NoMemory();
    return 0;
}

static void drop_bands(Band *bands, Py_ssize_t count)
{
    for (Py_ssize_t i = 0; bands && i < count; i++) free(bands[i].bits);
    free(bands);
}

PyObject *band_ious(PyObject *self, PyObject *arguments)
{
    (void)self;
    PyObject *found, *truth, *pairs;
    long long height, width, distance;
    if (!PyArg_ParseTuple(arguments, "OOOLLL", &found, &truth, &pairs, &height, &width, &distance)) return NULL;
    if (!PyList_Check(found) || !PyList_Check(truth) || !PyList_Check(pairs) || height < 1 || width < 1 ||
        height > INT32_MAX || width > INT32_MAX || distance < 0 || distance > INT32_MAX) {
        return PyErr_Format(PyExc_ValueError, "expected three lists, height and width of one or more, and a distance");
    }
    int64_t sizes[3] = {height, width, distance};
    Py_ssize_t count = PyList_Size(pairs), sides[2] = {PyList_Size(found), PyList_Size(truth)};
    PyObject *lists[2] = {found, truth};
    Band *bands[2] = {calloc((size_t)sides[0] + 1, sizeof(Band)), calloc((size_t)sides[1] + 1, sizeof(Band))};
    Pieces pieces = {0};
    PyObject *ious = bands[0] && bands[1] ? PyList_New(count) : PyErr_NoMemory();
    for (Py_ssize_t n = 0; ious && n < count; n++) {
        Py_ssize_t at[2];
        PyObject *iou = NULL, *pair = PyList_GetItem(pairs, n);
        if (!PyTuple_Check(pair)) {
            PyErr_SetString(PyExc_TypeError, "a pair is a tuple of two places in the lists");
        } else if (PyArg_ParseTuple(pair, "nn", &at[0], &at[1])) {
            int ready = 1;
            for (int side = 0; ready && side < 2; side++) {
                if (at[side] < 0 || at[side] >= sides[side]) {
                    PyErr_SetString(PyExc_IndexError, "a pair of masks that are not in the lists");
                    ready = 0;
                } else {
                    ready = need_band(&bands[side][at[side]], lists[side], at[side], sizes, &pieces);
                }
            }
            if (ready) {
                const Band *a = &bands[0][at[0]], *b = &bands[1][at[1]];
                int64_t both = shared_pixels(a, b), any = a->pixels + b->pixels - both;
                iou = PyFloat_FromDouble(any ? (double)both / (double)any : 0.0);
            }
        }
        if (!iou || PyList_SetItem(ious, n, iou) < 0) Py_CLEAR(ious);
    }
    drop_bands(bands[0], sides[0]);
    drop_bands(bands[1], sides[1]);
    free(pieces.at);
    return ious;
}
