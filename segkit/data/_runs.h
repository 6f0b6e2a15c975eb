/* COCO's compressed run lengths (cocoapi's rleFrString), one run after another. */
#ifndef SEGKIT_RUNS_H
#define SEGKIT_RUNS_H
#include <stddef.h>
#include <stdint.h>

typedef struct {
    const char *text;
    size_t length, at, number;
    int64_t before[2]; /* the runs two before, by parity */
} Runs;

enum { RUNS_END = -1, RUNS_INVALID = -2 };

static inline int64_t next_run(Runs *runs)
{
    if (runs->at >= runs->length) return RUNS_END;
    int64_t value = 0;
    int shift = 0, digit;
    do {
        digit = runs->at < runs->length ? runs->text[runs->at++] - 48 : -1;
        if (digit < 0 || digit > 63 || shift > 30) return RUNS_INVALID;
        value |= (int64_t)(digit & 31) << shift;
        shift += 5;
    } while (digit & 32);
    if (digit & 16) value -= (int64_t)1 << shift;
    if (runs->number > 2) value += runs->before[runs->number & 1];
    if (value < 0 || value > UINT32_MAX) return RUNS_INVALID;
    runs->before[runs->number++ & 1] = value;
    return value;
}
#endif
