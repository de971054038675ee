/* What a step takes of a machine, and how fast a machine does it: measured here on a piece of the model, or published figures
 * in a file. Seconds are the one over the other. */
#ifndef KD_SPEED_H
#define KD_SPEED_H

#include "lengths.h"
#include "trainer.h"

/* Counted for a whole step. */
typedef struct kd_work {
    double products;            /* FLOPs of matrix products, with what is computed again */
    double forward, backward;   /* FLOPs of attention for one pair, all heads and layers; forward with what is computed again */
    double numbers;             /* that pass through memory outside of products and attention */
    double parameters;          /* that are updated */
    double sent;                /* numbers that each device sends */
} kd_work;

enum { KD_SPEED_LENGTHS = KD_LENGTH_CLASSES };

typedef struct kd_speed_curve {
    int64_t count;
    double length[KD_SPEED_LENGTHS], rate[KD_SPEED_LENGTHS];  /* ascending; FLOP/s of useful operations at that length */
} kd_speed_curve;

typedef struct kd_speed {
    char name[64];
    double devices;             /* that share every window */
    double peak;                /* of one, as the others: FLOP/s */
    double products;            /* FLOP/s */
    kd_speed_curve forward, backward;
    double numbers;             /* a second */
    double update;              /* parameters a second */
    double link;                /* numbers a second; 0: nothing is sent */
    /* Of a cluster, where each device is a rank; 0: not known. */
    double hosts, memory;       /* with `devices` each; bytes of a device */
    double inside, between;     /* bytes a second that leave a device: to its host's others, to other hosts */
    double latency;             /* seconds of a move, besides */
} kd_speed;

/* Seconds of a step by what they are spent on. */
typedef struct kd_seconds { double products, attention, numbers, update, sent, all; } kd_seconds;

/* Products: 6 for each weight that multiplies a token, and what recompute: layer repeats (src/model/backward.c). Numbers:
 * what norms, SwiGLU, residuals, rotations and the loss read and write. Sent, where windows are split over devices: queries, keys,
 * values and outputs between heads and tokens, for each of forward, its repetition and backward; weights to the forward and
 * to the backward and gradients back, for each `micro` windows. */
kd_work kd_work_count(const kd_config *config, int64_t window, int64_t windows, int64_t micro, kd_recompute recompute,
                      double parameters, double devices);

/* share: what part of the documents of lengths a step has. Between the lengths of a curve its rate goes with the length's logarithm; outside
 * it is the nearest. */
kd_seconds kd_speed_seconds(const kd_speed *speed, const kd_work *work, const kd_lengths *lengths, double share);

/* A machine's file (speed_file.c): examples/machines says what stands in it. KD_ECONFIG with file and line. */
kd_status kd_speed_read(kd_speed *speed, const char *path);

/* This machine (speed_measure.c): attention on documents of these lengths, one key/value group or more of a prepared run's
 * model; the rest on a piece of it, no wider than 1024. Under ten seconds or so. */
kd_status kd_speed_measure(kd_speed *speed, const kd_trainer *prepared, const kd_lengths *lengths, kd_recompute recompute);

#endif
