/* How processes that know one address come to be connected each with each. Private to src/par. */
#ifndef KD_TCP_JOIN_H
#define KD_TCP_JOIN_H

#include "comm.h"

/* fd [size] is overwritten: a nonblocking connection to every other rank, -1 for this one; close them.
 * Rank 0 listens at the job's port and tells all where the others listen; a higher rank connects to a lower one. Nobody is
 * joined before all are. A connection that is none of this job's (other magic, version, job, size, a rank that is there
 * already) is refused and does no harm.
 * KD_ELOST naming a rank that has not come after `deadline` seconds, or that went away; KD_ECONFIG if the ranks' jobs differ;
 * KD_EIO, KD_ENOMEM. */
kd_status kd_tcp_join(int *fd, const kd_tcp_job *job, double deadline);

#endif
