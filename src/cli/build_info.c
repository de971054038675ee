/* What this build contains. The Makefile compiles this file last, with KD_FLAVOUR, KD_BUILD_FLAGS and, in a git repository,
 * KD_COMMIT: the commit is that of the code that was compiled. */
#include "build_info.h"

#include <stdio.h>
#include <string.h>
#include <xxhash.h>
#include <yaml.h>
#include <zstd.h>

#include "dev/ctx.h"
#include "par/comm.h"

#if defined(__clang__)
#define COMPILER "clang " __clang_version__
#else
#define COMPILER "gcc " __VERSION__
#endif

#if !defined(KD_COMMIT)
#define KD_COMMIT "$Format:%H$"  /* `git archive` writes the commit over it (.gitattributes). */
#endif

/* The commit's first twelve digits, with "-dirty" behind them where git says so; "unknown" out of copies that no git made. */
static json_t *commit(void) {
    static const char known[] = KD_COMMIT;
    if (known[0] == '$') return json_string("unknown");
    return json_stringn(known, strlen(known) == 40 ? 12 : strlen(known));
}

/* Takes value over; NULL: memory was out, which *status then says. */
static void add(kd_status *status, json_t *to, const char *key, json_t *value) {
    if (json_object_set_new(to, key, value)) *status = kd_fail(KD_ENOMEM, "out of memory");
}

/* "1.5.4", or "1.5.4, running with 1.5.5" where the library says what it is at run time. */
static void add_library(kd_status *status, json_t *to, const char *name, const char *built, const char *running) {
    char text[128];
    snprintf(text, sizeof text, "%s, running with %s", built, running);
    add(status, to, name, json_string(strcmp(built, running) ? text : built));
}

static void describe_libraries(kd_status *status, json_t *to) {
    char built[32], running[32];
    unsigned now = XXH_versionNumber();
    snprintf(built, sizeof built, "%d.%d.%d", XXH_VERSION_MAJOR, XXH_VERSION_MINOR, XXH_VERSION_RELEASE);
    snprintf(running, sizeof running, "%u.%u.%u", now / 10000, now / 100 % 100, now % 100);
    add_library(status, to, "jansson", JANSSON_VERSION, jansson_version_str());
    add(status, to, "libyaml", json_string(yaml_get_version_string()));
    add_library(status, to, "zstd", ZSTD_VERSION_STRING, ZSTD_versionString());
    add_library(status, to, "xxhash", built, running);
}

/* "cuda": whether the build has it; then its version, and the GPUs there are or why there are none. */
static void describe_cuda(kd_status *status, json_t *to) {
    char text[200];
    kd_cuda_version(text);
    add(status, to, "cuda", json_boolean(text[0]));
    if (!text[0]) return;
    add(status, to, "cuda_version", json_string(text));
    json_t *list = json_array();
    for (int64_t i = 0; !kd_cuda_gpu_words(text, i); i++)
        if (json_array_append_new(list, json_string(text))) *status = kd_fail(KD_ENOMEM, "out of memory");
    if (json_array_size(list)) add(status, to, "gpus", json_incref(list));
    else add(status, to, "gpus", json_string(kd_message()));
    json_decref(list);
}

kd_status kd_build_describe(json_t *to) {
    kd_ctx *ctx;
    KD_TRY(kd_ctx_open(&ctx, 0));
    kd_status status = KD_OK;
    json_t *sets = json_array(), *libraries = json_object();
    for (kd_isa isa = KD_ISA_REF; isa <= KD_ISA_SM90; isa++) {
#if !defined(KD_X86)
        if (isa == KD_ISA_AVX2 || isa == KD_ISA_AVX512) continue;
#endif
#if !defined(KD_CUDA)
        if (isa >= KD_ISA_SM80) continue;
#endif
        if (json_array_append_new(sets, json_string(kd_isa_name(isa)))) status = kd_fail(KD_ENOMEM, "out of memory");
    }
    describe_libraries(&status, libraries);
    add(&status, to, "commit", commit());
    add(&status, to, "compiler", json_string(COMPILER));
    add(&status, to, "flavour", json_string(KD_FLAVOUR));
    add(&status, to, "flags", json_string(KD_BUILD_FLAGS));
    add(&status, to, "instruction_sets", sets);
    add(&status, to, "instruction_set", json_string(kd_isa_name(ctx->isa)));
    add(&status, to, "threads", json_integer(kd_pool_threads(ctx->pool)));
    describe_cuda(&status, to);
    add(&status, to, "mpi", json_boolean(kd_comm_has_mpi()));
    add(&status, to, "nccl", json_boolean(kd_comm_has_nccl()));
    add(&status, to, "libraries", libraries);
    kd_ctx_close(ctx);
    return status;
}
