/* Stands in for libFuzzer where there is only gcc: runs every file that is named, and random changes of them.
 *
 *     replay CHANGES FILE...
 *
 * Link with fuzz_codec.c. The changes are the same in every run; the exit code is 0 unless a sanitizer objects.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { LARGEST = 1 << 16 };

static uint32_t next_random(void) {
    static uint64_t state = 1;
    state = state * UINT64_C(6364136223846793005) + 1442695040888963407;
    return (uint32_t)(state >> 33);
}

int main(int count, char **arguments) {
    static uint8_t original[LARGEST], changed[LARGEST];
    long changes = count > 1 ? atol(arguments[1]) : 0, runs = 0;
    for (int i = 2; i < count; i++) {
        FILE *file = fopen(arguments[i], "rb");
        if (!file) return 2;
        size_t size = fread(original, 1, LARGEST, file);
        fclose(file);
        LLVMFuzzerTestOneInput(original, size);
        runs++;
        for (long change = 0; change < changes; change++, runs++) {
            memcpy(changed, original, size);
            for (uint32_t flips = 1 + next_random() % 4; flips && size; flips--) {
                uint8_t *byte = changed + next_random() % size;
                *byte = next_random() % 2 ? (uint8_t)next_random() : (uint8_t)(*byte ^ 1 << next_random() % 8);
            }
            size_t cut = next_random() % 4 ? size : size ? next_random() % size : 0;
            LLVMFuzzerTestOneInput(changed, cut);
        }
    }
    printf("%ld inputs\n", runs);
    return 0;
}
