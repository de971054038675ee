/* The library and the committed list of the interface (tools/abi) know the same structs, of the same sizes. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "kedge.h"

static void the_library_tells_the_size_of_every_struct(void **state) {
    FILE *list = fopen("tests/golden/abi.txt", "r");
    char line[1000], name[64];
    int64_t bytes, abi = -1, structs = 0;
    (void)state;
    assert_non_null(list);
    if (sizeof(void *) != 8) skip();
    while (fgets(line, sizeof line, list)) {
        sscanf(line, "KD_ABI %" SCNd64, &abi);
        if (sscanf(line, "struct %63[a-z_]: %" SCNd64 " bytes", name, &bytes) != 2) continue;
        if (kd_struct_bytes(name) != bytes) fail_msg("%s: %" PRId64 " bytes, the list says %" PRId64, name, kd_struct_bytes(name), bytes);
        structs++;
    }
    fclose(list);
    assert_true(structs >= 8);
    assert_int_equal(kd_abi(), abi);
    assert_int_equal(kd_struct_bytes("kd_pla"), -1);
    assert_int_equal(kd_struct_bytes(""), -1);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_library_tells_the_size_of_every_struct)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
