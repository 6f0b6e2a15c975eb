/* Flat polygons, their areas and boxes by COCO's rule, for segkit.polygons, which does the same without this.
 *
 * The rule is rleFrPoly's (cocoapi): corners are rounded on a grid five times as fine, edges are walked along their
 * longer side, and a column's border is where the walk passes its middle. Here only the steps that pass a middle are
 * computed, with the same double arithmetic, so that results are equal to the bit.
 */
#define Py_LIMITED_API 0x030B0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "_runs.h"

PyObject *band_ious(PyObject *self, PyObject *arguments); /* in _bands.c */

#define REACH 1000000.0 /* px; the caller leaves out what lies farther away, so that nothing overflows */

typedef struct {
    uint64_t *at; /* borders: column * height + row */
    uint32_t *column;
    size_t count, room;
} Borders;

static int make_room(Borders *borders, size_t more)
{
    if (borders->count + more <= borders->room) return 1;
    size_t room = 2 * (borders->count + more);
    uint64_t *at = realloc(borders->at, room * sizeof *at);
    if (!at) return 0;
    borders->at = at;
    uint32_t *column = realloc(borders->column, room * sizeof *column);
    if (!column) return 0;
    borders->column = column;
    borders->room = room;
    return 1;
}

/* The border in column `column` at height `v` on the fine grid. */
static void add_border(Borders *borders, int column, int v, int height)
{
    int row = v < 0 ? 0 : (v + 2) / 5; /* ceil((v + .5) / 5 - .5) */
    if (row > height) row = height;
    borders->column[borders->count] = (uint32_t)column;
    borders->at[borders->count++] = (uint64_t)column * (uint64_t)height + (uint64_t)row;
}

static int add_edge(Borders *borders, int xs, int ys, int xe, int ye, int height, int width)
{
    int dx = abs(xe - xs), dy = abs(ye - ys);
    if (dx == 0) return 1;
    int flat = dx >= dy;
    if (flat ? xs > xe : ys > ye) {
        int t = xs; xs = xe; xe = t;
        t = ys; ys = ye; ye = t;
    }
    int low = xs < xe ? xs : xe, high = xs < xe ? xe : xs;
    /* columns c whose middle, between 5c + 2 and 5c + 3, lies between low and high */
    int first = low <= 2 ? 0 : (low + 2) / 5, end = high <= 2 ? 0 : (high + 2) / 5;
    if (end > width) end = width;
    if (first >= end) return 1;
    if (!make_room(borders, (size_t)(end - first))) return 0;
    double slope = flat ? (double)(ye - ys) / dx : (double)(xe - xs) / dy;
    for (int column = first; column < end; column++) {
        int u = 5 * column + 2;
        if (flat) { /* v is monotone along the edge: its lesser end is the one of this or of the next step */
            int t = u - xs + (slope < 0);
            add_border(borders, column, (int)(ys + slope * t + .5), height);
            continue;
        }
        /* the step t after which the walk is on the other side of the middle */
        int t = (int)floor((u + .5 - xs) / slope);
        if (t < 0) t = 0;
        if (t > dy - 1) t = dy - 1;
#define BEFORE(step) (slope > 0 ? (int)(xs + slope * (step) + .5) <= u : (int)(xs + slope * (step) + .5) > u)
        while (t > 0 && !BEFORE(t)) t--;
        while (t < dy - 1 && BEFORE(t + 1)) t++;
#undef BEFORE
        add_border(borders, column, t + ys, height);
    }
    return 1;
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* By column first, where there are many: what is left for insertion are the few borders within a column. */
static void sort_borders(Borders *borders, uint64_t *spare, uint32_t *starts)
{
    uint64_t *at = borders->at;
    const uint32_t *column = borders->column;
    size_t count = borders->count;
    if (count > 24) {
        uint32_t least = column[0], most = least;
        for (size_t i = 1; i < count; i++) {
            if (column[i] < least) least = column[i];
            if (column[i] > most) most = column[i];
        }
        memset(starts, 0, ((size_t)(most - least) + 2) * sizeof *starts);
        for (size_t i = 0; i < count; i++) starts[column[i] - least + 1]++;
        if (count / ((size_t)(most - least) + 1) > 32) { /* columns so full that insertion would crawl */
            qsort(at, count, sizeof *at, compare);
            return;
        }
        for (uint32_t i = 1; i <= most - least; i++) starts[i] += starts[i - 1];
        for (size_t i = 0; i < count; i++) spare[starts[column[i] - least]++] = at[i];
        memcpy(at, spare, count * sizeof *at);
    }
    for (size_t i = 1; i < count; i++) {
        uint64_t value = at[i];
        size_t j = i;
        for (; j && at[j - 1] > value; j--) at[j] = at[j - 1];
        at[j] = value;
    }
}

static PyObject *measured(const Borders *borders, int64_t height)
{
    int64_t area = 0, left = INT64_MAX, top = INT64_MAX, right = -1, bottom = -1;
    for (size_t i = 0; i + 1 < borders->count; i += 2) {
        int64_t begin = (int64_t)borders->at[i], last = (int64_t)borders->at[i + 1] - 1;
        if (last < begin) continue;
        area += last - begin + 1;
        int64_t x0 = begin / height, y0 = begin - x0 * height, x1 = x0, y1 = last - x0 * height;
        if (y1 >= height) x1 = last / height, y1 = last - x1 * height;
        if (x1 > x0) y0 = 0, y1 = height - 1;
        if (x0 < left) left = x0;
        if (x1 > right) right = x1;
        if (y0 < top) top = y0;
        if (y1 > bottom) bottom = y1;
    }
    if (area == 0) return Py_BuildValue("(L(dddd))", 0LL, 0.0, 0.0, 0.0, 0.0);
    return Py_BuildValue("(L(dddd))", (long long)area, (double)left, (double)top, (double)(right - left + 1),
                         (double)(bottom - top + 1));
}

/* Corner `index` of a flat polygon on the fine grid. */
static int corner(PyObject *polygon, Py_ssize_t index, int *x, int *y)
{
    double px = PyFloat_AsDouble(PyList_GetItem(polygon, 2 * index));
    double py = PyFloat_AsDouble(PyList_GetItem(polygon, 2 * index + 1));
    if (PyErr_Occurred()) return 0;
    if (!(fabs(px) <= REACH && fabs(py) <= REACH)) {
        PyErr_SetString(PyExc_ValueError, "coordinates must be finite and less than a million");
        return 0;
    }
    *x = (int)(5 * px + .5);
    *y = (int)(5 * py + .5);
    return 1;
}

static int walk(Borders *borders, PyObject *polygon, int height, int width)
{
    if (!PyList_Check(polygon) || PyList_Size(polygon) < 6) {
        PyErr_SetString(PyExc_ValueError, "a polygon is a list of six numbers or more");
        return 0;
    }
    Py_ssize_t corners = PyList_Size(polygon) / 2;
    int x0, y0, x, y;
    if (!corner(polygon, 0, &x0, &y0)) return 0;
    borders->count = 0;
    x = x0;
    y = y0;
    for (Py_ssize_t i = 1; i <= corners; i++) {
        int nx = x0, ny = y0;
        if (i < corners && !corner(polygon, i, &nx, &ny)) return 0;
        if (!add_edge(borders, x, y, nx, ny, height, width)) {
            PyErr_NoMemory();
            return 0;
        }
        x = nx;
        y = ny;
    }
    return 1;
}

static PyObject *measure(PyObject *self, PyObject *arguments)
{
    PyObject *polygons;
    int height, width;
    if (!PyArg_ParseTuple(arguments, "Oii", &polygons, &height, &width)) return NULL;
    if (!PyList_Check(polygons) || height < 1 || width < 1) {
        PyErr_SetString(PyExc_ValueError, "expected a list of polygons, and a height and a width of one or more");
        return NULL;
    }
    Borders borders = {0};
    uint64_t *spare = NULL;
    size_t room = 0;
    uint32_t *starts = malloc(((size_t)width + 3) * sizeof *starts);
    Py_ssize_t count = PyList_Size(polygons);
    PyObject *out = starts ? PyList_New(count) : PyErr_NoMemory();
    for (Py_ssize_t i = 0; out && i < count; i++) {
        PyObject *one = NULL;
        if (walk(&borders, PyList_GetItem(polygons, i), height, width)) {
            if (borders.room > room) {
                free(spare);
                room = borders.room;
                spare = malloc(room * sizeof *spare);
            }
            if (room && !spare) {
                PyErr_NoMemory();
            } else {
                if (borders.count) sort_borders(&borders, spare, starts);
                one = measured(&borders, height);
            }
        }
        if (!one) {
            Py_DECREF(out);
            out = NULL;
            break;
        }
        PyList_SetItem(out, i, one);
    }
    free(borders.at);
    free(borders.column);
    free(spare);
    free(starts);
    return out;
}

/* [[x1, y1], [x2, y2], ...] as [x1, y1, x2, y2, ...]; None unless all are pairs of finite numbers within reach. */
static PyObject *flatten(PyObject *self, PyObject *points)
{
    if (!PyList_Check(points)) Py_RETURN_NONE;
    Py_ssize_t count = PyList_Size(points);
    PyObject *out = PyList_New(2 * count);
    if (!out) return NULL;
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *pair = PyList_GetItem(points, i);
        if (!PyList_CheckExact(pair) || PyList_Size(pair) != 2) goto none;
        for (int axis = 0; axis < 2; axis++) {
            PyObject *value = PyList_GetItem(pair, axis);
            if (!PyFloat_CheckExact(value) && !PyLong_CheckExact(value)) goto none;
            double number = PyFloat_AsDouble(value);
            if (PyErr_Occurred()) {
                PyErr_Clear();
                goto none;
            }
            if (!(fabs(number) < REACH)) goto none;
            Py_INCREF(value);
            PyList_SetItem(out, 2 * i + axis, value);
        }
    }
    return out;
none:
    Py_DECREF(out);
    Py_RETURN_NONE;
}

/* Pixels that compressed run lengths stand for, or -1 where they are none. */
static long long total_of(const char *text, Py_ssize_t length)
{
    Runs runs = {text, (size_t)length, 0, 0, {0, 0}};
    long long total = 0, run;
    while ((run = next_run(&runs)) >= 0) total += run;
    return run == RUNS_INVALID ? -1 : total;
}

static PyObject *run_totals(PyObject *self, PyObject *texts)
{
    (void)self;
    if (!PyList_Check(texts)) return PyErr_Format(PyExc_TypeError, "a list is needed");
    Py_ssize_t count = PyList_Size(texts);
    PyObject *totals = PyList_New(count);
    for (Py_ssize_t n = 0; totals && n < count; n++) {
        Py_ssize_t length;
        const char *text = PyUnicode_AsUTF8AndSize(PyList_GetItem(texts, n), &length);
        PyObject *total = text ? PyLong_FromLongLong(total_of(text, length)) : NULL;
        if (!total || PyList_SetItem(totals, n, total) < 0) Py_CLEAR(totals);
    }
    return totals;
}

static PyMethodDef methods[] = {
    {"measure", measure, METH_VARARGS, "measure(polygons, height, width) -> [(area, (x, y, w, h)), ...]"},
    {"flatten", flatten, METH_O, "flatten(points) -> flat list, or None"},
    {"run_totals", run_totals, METH_O, "run_totals(list of COCO's compressed counts) -> [pixels or -1, ...]"},
    {"band_ious", band_ious, METH_VARARGS, "band_ious(found, truth, pairs, height, width, distance) -> [IoU, ...]"},
    {0},
};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_polygons", NULL, 0, methods};

PyMODINIT_FUNC PyInit__polygons(void) { return PyModule_Create(&module); }
