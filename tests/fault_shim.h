/* How a call fails, for programs that run under fault_shim.so. */
#ifndef KD_FAULT_SHIM_H
#define KD_FAULT_SHIM_H

typedef enum fault_way {
    FAULT_BEFORE, FAULT_AFTER,  /* the process is killed before the call, or after it */
    FAULT_TORN,                 /* half of a transfer is done, then it is killed */
    FAULT_NOSPACE, FAULT_IO,    /* ENOSPC, EIO */
    FAULT_INTERRUPTED,          /* EINTR, where a call can have it */
    FAULT_SHORT,                /* half of a transfer is done and said so */
    FAULT_WAYS
} fault_way;

/* Counts file calls from now on and fails the call-th (0: none); log: a descriptor for one line a call, or -1. */
void fault_arm(long call, fault_way way, int log);
/* Stops counting; how many there were. */
long fault_calls(void);

#endif
