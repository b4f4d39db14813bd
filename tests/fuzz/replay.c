/*
 * replay.c -- runs a fuzzer on files, without libFuzzer: every input that once mattered
 * is a test in every build.
 *
 *     fuzz_sse DIRECTORY|FILE...
 *
 * Each file is fed as it is, and cut at up to CUTS_MAX places: what is cut is what the
 * network brings.  Whatever is wrong stops the program, as in libFuzzer.
 */
#include <dirent.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
__attribute__((weak)) int LLVMFuzzerInitialize(int *argc, char ***argv);

enum { CUTS_MAX = 16, FILE_BYTES_MAX = 1 << 20 };

static size_t fed;

/* In memory of exactly this size, so that a sanitizer sees one byte too far. */
static void feed(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size > 0 ? size : 1);
    if (!copy)
        abort();
    if (size > 0)
        memcpy(copy, data, size);
    (void)LLVMFuzzerTestOneInput(copy, size);
    free(copy);
    fed++;
}

static bool feed_file(const char *path)
{
    static uint8_t bytes[FILE_BYTES_MAX];
    FILE *file = fopen(path, "rb");
    if (!file) {
        perror(path);
        return false;
    }
    size_t size = fread(bytes, 1, sizeof bytes, file);
    (void)fclose(file);
    (void)fprintf(stderr, "%s\n", path); /* the last one is what stopped it */
    feed(bytes, size);
    for (size_t i = 0; i < CUTS_MAX && i < size; i++)
        feed(bytes, size * i / CUTS_MAX);
    return true;
}

static bool feed_directory(const char *path)
{
    struct dirent **names;
    int count = scandir(path, &names, NULL, alphasort);
    bool fine = count > 2; /* a directory without seeds is a mistake */
    for (int i = 0; i < count; i++) {
        char file[4096];
        (void)snprintf(file, sizeof file, "%s/%s", path, names[i]->d_name);
        if (names[i]->d_name[0] != '.')
            fine = feed_file(file) && fine;
        free(names[i]);
    }
    if (count >= 0)
        free(names);
    return fine;
}

int main(int argc, char **argv)
{
    bool fine = argc > 1;
    if (LLVMFuzzerInitialize && LLVMFuzzerInitialize(&argc, &argv) != 0)
        return 1;
    for (int i = 1; i < argc; i++) {
        struct stat about;
        bool directory = stat(argv[i], &about) == 0 && S_ISDIR(about.st_mode);
        fine = (directory ? feed_directory(argv[i]) : feed_file(argv[i])) && fine;
    }
    (void)fprintf(stderr, "%zu inputs\n", fed);
    return fine ? 0 : 1;
}
