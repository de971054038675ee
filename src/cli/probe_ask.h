/* What kedge probe and kedge check rope measure, as their command lines have it. */
#ifndef KD_CLI_PROBE_ASK_H
#define KD_CLI_PROBE_ASK_H

#include "probe_print.h"
#include "probe_texts.h"

typedef struct kd_probe_ask {
    const char *command;           /* what stands before messages */
    kd_list model, dump;           /* folders, or files: one of the two */
    kd_probe_source source;
    int64_t length, against, threads;
    const char *preset, *shifts, *lengths, *precisions, *frame, *most_d, *most_logit;  /* NULL: the preset's, or none */
    bool random;
    kd_status (*before)(void *arg);  /* when all is read and before anything is measured; NULL: nothing */
    kd_status (*tell)(void *arg, const kd_probe *probe, const kd_probe_limits *limits);
    void *arg;
} kd_probe_ask;

/* Measures, and tells once. KD_ECONFIG naming command and option; what measuring and telling give. */
kd_status kd_probe_ask_run(kd_probe_ask *ask);

#endif
