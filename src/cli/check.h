/* kedge check: what it looks at, a file each. They end with 1 where something does not hold. */
#ifndef KD_CLI_CHECK_H
#define KD_CLI_CHECK_H

#include "cli.h"
#include "format/json.h"

int kd_check_mask(int argc, char **argv);
int kd_check_rope(int argc, char **argv);
int kd_check_model(int argc, char **argv);

/* Prints an object as the whole of stdout and takes it over; NULL: memory was out. */
kd_status kd_check_print_json(json_t *whole);

#endif
