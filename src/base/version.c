/* The version that was compiled into the library: a program may have been compiled with another header. */
#include "kedge.h"

const char *kd_version(void) { return KD_VERSION; }
