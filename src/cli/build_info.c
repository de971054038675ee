/* What this build contains. The Makefile compiles this file last, with KD_COMMIT, KD_FLAVOUR and
 * KD_BUILD_FLAGS: the commit is that of the code that was compiled. */
#include "build_info.h"

#include <stdio.h>
#include <string.h>
#include <xxhash.h>
#include <yaml.h>
#include <zstd.h>

#include "dev/ctx.h"

#if defined(__clang__)
#define COMPILER "clang " __clang_version__
#else
#define COMPILER "gcc " __VERSION__
#endif

static void add_text(json_t *to, const char *key, const char *text) { json_object_set_new(to, key, json_string(text)); }

/* "1.5.4", or "1.5.4, running with 1.5.5" where the library says what it is at run time. */
static void add_library(json_t *to, const char *name, const char *built, const char *running) {
    char text[128];
    snprintf(text, sizeof text, "%s, running with %s", built, running);
    add_text(to, name, strcmp(built, running) ? text : built);
}

static void describe_libraries(json_t *to) {
    char built[32], running[32];
    unsigned now = XXH_versionNumber();
    snprintf(built, sizeof built, "%d.%d.%d", XXH_VERSION_MAJOR, XXH_VERSION_MINOR, XXH_VERSION_RELEASE);
    snprintf(running, sizeof running, "%u.%u.%u", now / 10000, now / 100 % 100, now % 100);
    add_library(to, "jansson", JANSSON_VERSION, jansson_version_str());
    add_text(to, "libyaml", yaml_get_version_string());
    add_library(to, "zstd", ZSTD_VERSION_STRING, ZSTD_versionString());
    add_library(to, "xxhash", built, running);
}

kd_status kd_build_describe(json_t *to) {
    kd_ctx *ctx;
    KD_TRY(kd_ctx_open(&ctx, 0));
    json_t *sets = json_array(), *libraries = json_object();
    for (kd_isa isa = KD_ISA_REF; isa <= KD_ISA_AVX512; isa++) {
#if !defined(KD_X86)
        if (isa != KD_ISA_REF) continue;
#endif
        json_array_append_new(sets, json_string(kd_isa_name(isa)));
    }
    describe_libraries(libraries);
    add_text(to, "commit", KD_COMMIT);
    add_text(to, "compiler", COMPILER);
    add_text(to, "flavour", KD_FLAVOUR);
    add_text(to, "flags", KD_BUILD_FLAGS);
    json_object_set_new(to, "instruction_sets", sets);
    add_text(to, "instruction_set", kd_isa_name(ctx->isa));
    json_object_set_new(to, "threads", json_integer(kd_pool_threads(ctx->pool)));
    json_object_set_new(to, "cuda", json_false());
    json_object_set_new(to, "mpi", json_false());
    json_object_set_new(to, "libraries", libraries);
    kd_ctx_close(ctx);
    return KD_OK;
}
