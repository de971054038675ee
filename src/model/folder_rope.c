/* RoPE as config.json says it: what kedge reads, and what other engines would read in the same lines. A type that is not known does not
 * come here: config.json is then no configuration. */
#include <math.h>
#include <stdio.h>

#include "folder_check.h"

/* The dialects that are there: transformers 4's rope_scaling with rope_theta, 5's rope_parameters. */
static kd_status check_dialects(kd_findings *f, const kd_config *c) {
    const json_t *four = json_object_get(c->json, "rope_scaling"), *five = json_object_get(c->json, "rope_parameters");
    bool theta = json_is_number(json_object_get(c->json,
                                                "rope_theta")), scaled = c->rope.type != KD_ROPE_DEFAULT && c->rope.type != KD_ROPE_NTK;
    const json_t *const both[] = {four, five};
    for (int i = 0; i < 2; i++)
        if (json_object_get(both[i], "type") && !json_object_get(both[i], "rope_type"))
            KD_TRY(kd_find(f, KD_FINDING_WARNING, "rope", "%s says \"type\", as before transformers 4.45: some engines look for "
                                                          "\"rope_type\" alone",
                           i ? "rope_parameters" : "rope_scaling"));
    if (json_is_object(five) && !theta && c->rope.theta != 10000)
        KD_TRY(kd_find(f, KD_FINDING_WARNING, "rope", "rope_theta %g stands in rope_parameters alone: what reads configurations as "
                                                      "transformers 4 did takes "
                       "10000 without a word", c->rope.theta));
    if (json_is_object(five) && scaled && !json_is_object(four))
        KD_TRY(kd_find(f, KD_FINDING_WARNING, "rope", "%s stands in rope_parameters alone: what reads configurations as transformers 4 "
                                                      "did does not "
                       "scale", kd_rope_type_name(c->rope.type)));
    return KD_OK;
}

/* A factor says how far the context was stretched; so do the two lengths. */
static kd_status check_factor(kd_findings *f, const kd_rope_config *r) {
    double stretched = r->original > 0 ? (double)r->max_positions / r->original : 0;
    if (r->type == KD_ROPE_YARN && fabs(r->factor - stretched) > 1e-3 * r->factor)
        return kd_find(f, KD_FINDING_WARNING, "rope", "yarn: factor %g, but max_position_embeddings %lld over "
                                                      "original_max_position_embeddings %g is %g: "
                       "engines differ in which they believe", r->factor, (long long)r->max_positions, r->original, stretched);
    if (r->type == KD_ROPE_LLAMA3 && r->original > (double)r->max_positions)
        return kd_find(f, KD_FINDING_WARNING, "rope", "llama3: original_max_position_embeddings %g is more than max_position_embeddings "
                                                      "%lld", r->original,
                       (long long)r->max_positions);
    if (r->type == KD_ROPE_DYNAMIC || r->type == KD_ROPE_LONGROPE)
        return kd_find(f, KD_FINDING_WARNING, "rope", "%s depends on the length of a text: engines differ in which length they take",
                       kd_rope_type_name(r->type));
    return KD_OK;
}

kd_status kd_folder_check_rope(kd_findings *f, const kd_config *c) {
    char factor[40] = "";
    if (c->rope.factor != 0 && c->rope.type != KD_ROPE_DEFAULT) snprintf(factor, sizeof factor, ", factor %g", c->rope.factor);
    KD_TRY(kd_find(f, KD_FINDING_OK, "rope", "type %s, theta %g%s, %lld positions", kd_rope_type_name(c->rope.type), c->rope.theta, factor,
                   (long long)c->rope.max_positions));
    KD_TRY(check_dialects(f, c));
    return check_factor(f, &c->rope);
}
