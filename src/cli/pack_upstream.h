/* kedge pack --upstream. */
#ifndef KD_PACK_UPSTREAM_H
#define KD_PACK_UPSTREAM_H

#include "train/run_file.h"

/* The rows that AnchorContext's own preprocessing would make of the run's training data, as JSON lines on stdout or in a file
 * (data/upstream.h). engine: "flash" or "flex". Texts are its raw_json format, packed rows its tokenized one; windows are
 * run->window tokens and whatever else the run file says is not looked at. */
kd_status kd_pack_upstream(const kd_run_file *run, const char *engine, const char *out);

#endif
