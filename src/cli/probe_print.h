/* What kedge probe says on stdout and leaves in its folder. */
#ifndef KD_CLI_PROBE_PRINT_H
#define KD_CLI_PROBE_PRINT_H

#include "cli.h"
#include "probe/probe.h"

typedef struct kd_probe_limits { double d, logit; } kd_probe_limits;   /* INFINITY: none */

/* KD_ENUMERIC where a number of the measurement is not finite. */
kd_status kd_probe_check_finite(const kd_probe *probe);

/* Writes the folder (made if it is not there), prints a table or JSON lines, and compares with limits: KD_ENUMERIC where one is passed,
 * or where a number is not finite. */
kd_status kd_probe_tell(const kd_probe *probe, const char *folder, bool json, const kd_probe_limits *limits);

#endif
