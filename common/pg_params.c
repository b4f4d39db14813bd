#include "common/pg.h"

#include <assert.h>
#include <endian.h>
#include <string.h>

/* Postgres numbers its types in catalog/pg_type.dat; these never change. */
static const struct {
    unsigned oid, array_oid;
} types[PG_TYPES] = {
    [PG_BOOL] = { 16, 1000 },   [PG_INT4] = { 23, 1007 },   [PG_INT8] = { 20, 1016 },
    [PG_TEXT] = { 25, 1009 },   [PG_UUID] = { 2950, 2951 }, [PG_BYTEA] = { 17, 1001 },
    [PG_TIME] = { 1184, 1185 },
};

void pg_params_init(struct pg_params *p, size_t limit_bytes)
{
    assert(limit_bytes < INT32_MAX); /* lengths travel as 32 bits */
    *p = (struct pg_params){ .count = 0 };
    buf_init(&p->bytes, limit_bytes);
}

void pg_params_release(struct pg_params *p)
{
    buf_release(&p->bytes);
    p->count = 0;
    p->array_open = false;
}

void pg_params_reset(struct pg_params *p)
{
    buf_reset(&p->bytes);
    p->count = 0;
    p->array_open = false;
}

/* ---- bytes in network order ---------------------------------------------- */

static void add_32(struct buf *b, int32_t value)
{
    uint32_t wire = htobe32((uint32_t)value);
    buf_add(b, &wire, sizeof wire);
}

static void add_64(struct buf *b, int64_t value)
{
    uint64_t wire = htobe64((uint64_t)value);
    buf_add(b, &wire, sizeof wire);
}

/* Microseconds since 2000-01-01 UTC: what timestamptz is on the wire. */
static int64_t time_on_wire(int64_t wall_ms)
{
    return (wall_ms - INT64_C(946684800000)) * 1000;
}

/* ---- scalars -------------------------------------------------------------- */

static struct pg_param *begin(struct pg_params *p, unsigned oid)
{
    assert(!p->array_open && p->count < PG_PARAMS_MAX);
    struct pg_param *param = &p->list[p->count++];
    *param = (struct pg_param){ .at = p->bytes.len, .length = -1, .oid = oid };
    return param;
}

static void end(struct pg_params *p, struct pg_param *param)
{
    param->length = (int)(p->bytes.len - param->at);
}

void pg_add_null(struct pg_params *p, enum pg_type type)
{
    (void)begin(p, types[type].oid);
}

void pg_add_null_array(struct pg_params *p, enum pg_type type)
{
    (void)begin(p, types[type].array_oid);
}

void pg_add_bool(struct pg_params *p, bool value)
{
    struct pg_param *param = begin(p, types[PG_BOOL].oid);
    buf_putc(&p->bytes, value ? 1 : 0);
    end(p, param);
}

void pg_add_int4(struct pg_params *p, int32_t value)
{
    struct pg_param *param = begin(p, types[PG_INT4].oid);
    add_32(&p->bytes, value);
    end(p, param);
}

void pg_add_int8(struct pg_params *p, int64_t value)
{
    struct pg_param *param = begin(p, types[PG_INT8].oid);
    add_64(&p->bytes, value);
    end(p, param);
}

void pg_add_text(struct pg_params *p, const char *value)
{
    struct pg_param *param = begin(p, types[PG_TEXT].oid);
    if (!value)
        return;
    buf_puts(&p->bytes, value);
    end(p, param);
}

void pg_add_uuid(struct pg_params *p, const struct uuid *value)
{
    struct pg_param *param = begin(p, types[PG_UUID].oid);
    buf_add(&p->bytes, value->b, sizeof value->b);
    end(p, param);
}

void pg_add_bytea(struct pg_params *p, const void *data, size_t n)
{
    struct pg_param *param = begin(p, types[PG_BYTEA].oid);
    if (!data)
        return;
    buf_add(&p->bytes, data, n);
    end(p, param);
}

void pg_add_time(struct pg_params *p, int64_t wall_ms)
{
    struct pg_param *param = begin(p, types[PG_TIME].oid);
    add_64(&p->bytes, time_on_wire(wall_ms));
    end(p, param);
}

/* ---- arrays ---------------------------------------------------------------- */

/* On the wire: dimensions (1), are there NULLs (may always be said), type of the
 * elements, then of the one dimension its length and lower bound, then each
 * element with its length.  The length is filled in at the end.             */
void pg_array_begin(struct pg_params *p, enum pg_type type)
{
    (void)begin(p, types[type].array_oid);
    p->array_open = true;
    p->array_type = type;
    p->array_count = 0;
    add_32(&p->bytes, 1);
    add_32(&p->bytes, 1);
    add_32(&p->bytes, (int32_t)types[type].oid);
    p->array_count_at = p->bytes.len;
    add_32(&p->bytes, 0);
    add_32(&p->bytes, 1);
}

static void put(struct pg_params *p, enum pg_type type, int32_t length)
{
    assert(p->array_open && p->array_type == type);
    p->array_count++;
    add_32(&p->bytes, length);
}

void pg_put_null(struct pg_params *p)
{
    put(p, p->array_type, -1);
}

void pg_put_bool(struct pg_params *p, bool value)
{
    put(p, PG_BOOL, 1);
    buf_putc(&p->bytes, value ? 1 : 0);
}

void pg_put_int4(struct pg_params *p, int32_t value)
{
    put(p, PG_INT4, 4);
    add_32(&p->bytes, value);
}

void pg_put_int8(struct pg_params *p, int64_t value)
{
    put(p, PG_INT8, 8);
    add_64(&p->bytes, value);
}

/* A single value that cannot be sent at all must not wrap its length around. */
static void put_bytes(struct pg_params *p, enum pg_type type, const void *data, size_t n)
{
    if (!data) {
        pg_put_null(p);
        return;
    }
    if (n > p->bytes.limit_bytes) {
        p->bytes.full = true;
        return;
    }
    put(p, type, (int32_t)n);
    buf_add(&p->bytes, data, n);
}

void pg_put_text(struct pg_params *p, const char *value)
{
    put_bytes(p, PG_TEXT, value, value ? strlen(value) : 0);
}

void pg_put_textn(struct pg_params *p, const char *value, size_t n)
{
    put_bytes(p, PG_TEXT, value, n);
}

void pg_put_uuid(struct pg_params *p, const struct uuid *value)
{
    put_bytes(p, PG_UUID, value ? value->b : NULL, sizeof value->b);
}

void pg_put_bytea(struct pg_params *p, const void *data, size_t n)
{
    put_bytes(p, PG_BYTEA, data, n);
}

void pg_put_time(struct pg_params *p, int64_t wall_ms)
{
    put(p, PG_TIME, 8);
    add_64(&p->bytes, time_on_wire(wall_ms));
}

void pg_array_end(struct pg_params *p)
{
    assert(p->array_open);
    p->array_open = false;
    if (p->bytes.full)
        return;
    uint32_t count = htobe32((uint32_t)p->array_count);
    memcpy(p->bytes.data + p->array_count_at, &count, sizeof count);
    end(p, &p->list[p->count - 1]);
}
