#include "schema/model/explore.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WORLD = sizeof(struct world), BITS = (WORLD + 7) / 8, PACKED_MAX = BITS + WORLD };

struct edge {
    uint32_t from, to;
};

struct search {
    byte *bytes; /* all states, packed, one after the other */
    size_t used, room;
    size_t *at; /* state n is bytes[at[n]] up to at[n + 1] */
    uint32_t *parent;
    size_t count, state_room;
    uint32_t *table; /* of hashes: number of the state + 1 */
    size_t table_size;
    struct edge *edges; /* of moves that can be relied upon */
    size_t edge_count, edge_room;
    size_t moves;
    uint32_t now; /* the state whose moves are being made */
    const char *broken;
    uint32_t broken_at;
    uint32_t wanted; /* while a way is printed: the state to which a move is looked for */
    bool printing, printed;
    int names[PROCESSES], named;
};

static void *grown(void *old, size_t bytes)
{
    void *p = realloc(old, bytes);
    if (!p) {
        (void)fprintf(stderr, "explore: out of memory\n");
        abort();
    }
    return p;
}

/* --------------------------------------------------------------- states */

/* A bit for each byte that is not zero, then these bytes. */
static size_t pack(const struct world *w, byte *out)
{
    const byte *in = (const byte *)w;
    size_t n = BITS;
    memset(out, 0, BITS);
    for (size_t i = 0; i < WORLD; i++) {
        if (in[i]) {
            out[i / 8] = (byte)(out[i / 8] | (1U << (i % 8)));
            out[n++] = in[i];
        }
    }
    return n;
}

static void unpack(const struct search *s, uint32_t state, struct world *w)
{
    const byte *in = s->bytes + s->at[state];
    byte *out = (byte *)w;
    size_t n = BITS;
    for (size_t i = 0; i < WORLD; i++)
        out[i] = in[i / 8] >> (i % 8) & 1 ? in[n++] : 0;
}

static uint64_t hash(const byte *bytes, size_t n)
{
    uint64_t h = 14695981039346656037U;
    for (size_t i = 0; i < n; i++)
        h = (h ^ bytes[i]) * 1099511628211U;
    return h ^ (h >> 29);
}

static void grow_table(struct search *s)
{
    size_t size = s->table_size ? s->table_size * 2 : 1 << 16;
    free(s->table);
    s->table = grown(NULL, size * sizeof *s->table);
    memset(s->table, 0, size * sizeof *s->table);
    s->table_size = size;
    for (uint32_t n = 0; n < s->count; n++) {
        size_t i = hash(s->bytes + s->at[n], s->at[n + 1] - s->at[n]) & (size - 1);
        while (s->table[i])
            i = (i + 1) & (size - 1);
        s->table[i] = n + 1;
    }
}

static void make_room(struct search *s, size_t bytes)
{
    if (s->used + bytes > s->room) {
        s->room = (s->used + bytes) * 2 + (1 << 16);
        s->bytes = grown(s->bytes, s->room);
    }
    if (s->count + 2 > s->state_room) {
        s->state_room = s->state_room * 2 + (1 << 12);
        s->at = grown(s->at, s->state_room * sizeof *s->at);
        s->parent = grown(s->parent, s->state_room * sizeof *s->parent);
    }
    if (s->count * 2 >= s->table_size)
        grow_table(s);
}

/* The number of this state; it is new when that is the count of before. */
static uint32_t number_of(struct search *s, const struct world *w)
{
    byte packed[PACKED_MAX];
    size_t n = pack(w, packed);
    make_room(s, n);
    size_t i = hash(packed, n) & (s->table_size - 1);
    for (; s->table[i]; i = (i + 1) & (s->table_size - 1)) {
        uint32_t known = s->table[i] - 1;
        if (s->at[known + 1] - s->at[known] == n && !memcmp(s->bytes + s->at[known], packed, n))
            return known;
    }
    uint32_t state = (uint32_t)s->count++;
    s->table[i] = state + 1;
    memcpy(s->bytes + s->used, packed, n);
    s->at[state] = s->used;
    s->used += n;
    s->at[state + 1] = s->used;
    s->parent[state] = s->now;
    return state;
}

/* ---------------------------------------------------------------- moves */

static void add_edge(struct search *s, uint32_t to)
{
    if (s->edge_count == s->edge_room) {
        s->edge_room = s->edge_room * 2 + (1 << 12);
        s->edges = grown(s->edges, s->edge_room * sizeof *s->edges);
    }
    s->edges[s->edge_count++] = (struct edge){ s->now, to };
}

/* E1, P3: a process keeps its name on the way, whatever its place in the canonical form. */
static void rename_processes(struct search *s, const struct world *next, const byte *was)
{
    int names[PROCESSES];
    for (int p = 0; p < PROCESSES; p++) {
        int old = s->names[was[p]];
        names[p] = next->processes[p].kind == NOBODY ? 0 : old ? old : ++s->named;
    }
    memcpy(s->names, names, sizeof names);
}

void explore_next(struct search *s, const struct world *next, enum reliable reliable, int process,
                  const char *format, ...)
{
    struct world w = *next;
    byte was[PROCESSES];
    world_canonical(&w, was);
    size_t before = s->count;
    uint32_t state = number_of(s, &w);
    if (s->printing) {
        if (state != s->wanted || s->printed)
            return;
        char text[200];
        va_list args;
        va_start(args, format);
        (void)vsnprintf(text, sizeof text, format, args);
        va_end(args);
        if (process == SOMEBODY)
            (void)printf("#   somebody %s\n", text);
        else
            (void)printf("#   %c%d %s\n", next->processes[process].kind == PLANNER ? 'P' : 'E',
                         s->names[process], text);
        s->printed = true;
        rename_processes(s, &w, was);
        return;
    }
    s->moves++;
    if (reliable == WILL)
        add_edge(s, state);
    if (state == before && !s->broken) {
        s->broken = judge(&w);
        s->broken_at = state;
    }
}

static int print_way(struct search *s, uint32_t to)
{
    int steps = 0;
    if (to != 0)
        steps = 1 + print_way(s, s->parent[to]);
    else
        return 0;
    struct world w;
    s->now = s->parent[to];
    s->wanted = to;
    s->printed = false;
    unpack(s, s->now, &w);
    moves(s, &w);
    return steps;
}

/* ------------------------------------------------------------- progress */

/* Marks all states from which the end can be relied upon; the first other one, or -1. */
static int64_t first_stuck(const struct search *s)
{
    size_t *begin = grown(NULL, (s->count + 2) * sizeof *begin);
    uint32_t *from = grown(NULL, (s->edge_count + 1) * sizeof *from);
    uint32_t *queue = grown(NULL, (s->count + 1) * sizeof *queue);
    byte *good = grown(NULL, s->count + 1);
    size_t head = 0, tail = 0;
    memset(begin, 0, (s->count + 2) * sizeof *begin);
    memset(good, 0, s->count + 1);
    for (size_t i = 0; i < s->edge_count; i++)
        begin[s->edges[i].to + 2]++;
    for (size_t i = 2; i <= s->count + 1; i++)
        begin[i] += begin[i - 1];
    for (size_t i = 0; i < s->edge_count; i++)
        from[begin[s->edges[i].to + 1]++] = s->edges[i].from;
    for (uint32_t n = 0; n < s->count; n++) {
        struct world w;
        unpack(s, n, &w);
        if (is_over(&w)) {
            good[n] = 1;
            queue[tail++] = n;
        }
    }
    while (head < tail) {
        uint32_t n = queue[head++];
        for (size_t i = begin[n]; i < begin[n + 1]; i++) {
            if (!good[from[i]]) {
                good[from[i]] = 1;
                queue[tail++] = from[i];
            }
        }
    }
    int64_t stuck = -1;
    for (uint32_t n = 0; n < s->count && stuck < 0; n++) {
        if (!good[n])
            stuck = n;
    }
    free(begin);
    free(from);
    free(queue);
    free(good);
    return stuck;
}

struct finding explore(void)
{
    struct search s = { 0 };
    struct world w;
    byte was[PROCESSES];
    world_begin(&w);
    world_canonical(&w, was);
    rename_processes(&s, &w, was);
    (void)number_of(&s, &w);
    for (s.now = 0; s.now < s.count && !s.broken; s.now++) {
        unpack(&s, s.now, &w);
        moves(&s, &w);
        if (s.count > STATES_MAX)
            s.broken = "the model is too large to be explored";
    }
    if (!s.broken) {
        int64_t stuck = first_stuck(&s);
        if (stuck >= 0) {
            s.broken = "nothing can be relied upon to move this run on (P1)";
            s.broken_at = (uint32_t)stuck;
        }
    }
    struct finding f = { .broken = s.broken, .states = s.count, .moves = s.moves };
    if (s.broken) {
        (void)printf("# %s: %s\n", setting->name, s.broken);
        s.printing = true;
        f.steps = print_way(&s, s.broken_at);
    }
    free(s.bytes);
    free(s.at);
    free(s.parent);
    free(s.table);
    free(s.edges);
    return f;
}
