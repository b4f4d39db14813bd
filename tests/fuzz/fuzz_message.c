/*
 * fuzz_message.c -- any bytes are a doorbell or are refused with a sentence, and a
 * doorbell that was taken is written back to one that means the same.
 */
#include "common/message.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct doorbell d, back;
    struct error err = { "" };
    struct buf written;
    char key[DOORBELL_KEY_SIZE];
    enum outcome outcome = doorbell_read((const char *)data, size, &d, &err);
    if (outcome != OK) {
        require(outcome == REFUSED && *err.text);
        return 0;
    }
    require(d.step >= 0 && d.index >= DOORBELL_PLAN);
    buf_init(&written, 1024);
    require(doorbell_write(&written, &d));
    require(doorbell_read(written.data, written.len, &back, &err) == OK);
    require(uuid_eq(&back.run, &d.run) && back.step == d.step && back.index == d.index);
    require(doorbell_key(&d, key) == strlen(key));
    buf_release(&written);
    return 0;
}
