/* What this build contains, for bug reports and for comparing runs. */
#ifndef KD_BUILD_INFO_H
#define KD_BUILD_INFO_H

#include "base/error.h"
#include "format/json.h"

/* Adds to the object: commit, compiler, flags, instruction sets, threads, features, versions of libraries. */
kd_status kd_build_describe(json_t *to);

#endif
