/* The configuration that a run asks for: RoPE and sliding window, over what its checkpoint says. */
#include <string.h>

#include "train/run_file.h"

/* The run's RoPE: what the run file leaves open is as `rope`, the checkpoint's, says. */
static kd_status choose_rope(kd_rope_config *rope, const kd_run_file *run, int64_t E) {
    const kd_rope_config said = *rope;
    kd_rope_type type = run->rope_scaling ? kd_rope_type_find(run->rope_scaling) : said.type;
    if (!run->rope_scaling && run->rope_theta_given && said.type == KD_ROPE_NTK) type = KD_ROPE_DEFAULT;  /* a base is a base */
    if (type == KD_ROPE_LONGROPE && said.type != type)
        return kd_fail(KD_ECONFIG, "model.rope.scaling: longrope's factors are read from the checkpoint, whose type is %s",
                       kd_rope_type_name(said.type));
    if (type != said.type || run->rope_numbers_given) {
        bool made = said.type == KD_ROPE_NTK && type != KD_ROPE_NTK;  /* to anything else the base it made is a base */
        kd_rope_clear(rope, type, made ? kd_rope_ntk_theta(&said, E) : said.theta, said.max_positions);
        rope->original = said.original != 0 ? said.original : (double)said.max_positions;
        memcpy(rope->short_factor, said.short_factor, sizeof said.short_factor);
        memcpy(rope->long_factor, said.long_factor, sizeof said.long_factor);
    }
    if (type == KD_ROPE_LONGROPE) rope->factor = said.factor;
    if (run->rope_theta_given) rope->theta = run->rope.theta;
    for (int64_t i = 0; i < kd_rope_number_count; i++) {
        double given = *kd_rope_number_of(&run->rope, &kd_rope_numbers[i]);
        if (given != 0) *kd_rope_number_of(rope, &kd_rope_numbers[i]) = given;
    }
    if (run->rope_truncate != KD_ABSENT) rope->truncate = run->rope_truncate == KD_YES;
    if (type != said.type && !run->rope_numbers_given && type != KD_ROPE_DEFAULT)
        return kd_fail(KD_ECONFIG, "model.rope.scaling: %s needs its factor, which the checkpoint has not: {type: %s, factor: 8, ...}",
                       run->rope_scaling, run->rope_scaling);
    return kd_rope_check(rope, E, "model.rope", KD_ECONFIG);
}

static kd_status set_rope(kd_config *config, const kd_run_file *run, bool resumed) {
    kd_rope_config rope = config->rope;
    const kd_rope_config *was = &config->rope;
    KD_TRY(choose_rope(&rope, run, config->E));
    if (resumed && !kd_rope_same(&rope, was, config->E))
        return kd_fail(KD_ECONFIG, "model.rope: the run file says type %s, theta %g, factor %g; the run that it goes on with has "
                       "type %s, theta %g, factor %g, or differs in another number: to train further from its weights name the "
                       "folder as model.path", kd_rope_type_name(rope.type), rope.theta, rope.factor,
                       kd_rope_type_name(was->type), was->theta, was->factor);
    return kd_config_set_rope(config, &rope);
}

/* Every token must see all that precedes it: with a sliding window of s tokens, itself included, that is s >= window. */
static kd_status set_sliding_window(kd_config *config, const kd_run_file *run) {
    if (run->lift_sliding_window) return kd_config_lift_sliding_window(config);
    if (!config->sliding_window || config->sliding_window >= run->window.window) return KD_OK;
    return kd_fail(KD_ECONFIG, "model.sliding_window: the checkpoint lets a token see %lld tokens, the window has %lld; "
                   "`model.sliding_window: lift` takes the limit away, also in the config.json that is written",
                   (long long)config->sliding_window, (long long)run->window.window);
}

kd_status kd_run_configure(kd_config *config, const kd_run_file *run, bool resumed) {
    KD_TRY(set_rope(config, run, resumed));
    return set_sliding_window(config, run);
}
