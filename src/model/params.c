#include "params.h"

enum section { ONCE, LAYER, LAST };

static const struct { const char *name; enum section section; } table[KD_PARAM_KINDS] = {
#define X(member, name, section, rows, columns, present) {name, section},
    KD_PARAMS(X)
#undef X
};

static void shapes(kd_layout *layout, const kd_config *c) {
    int kind = 0;
#define X(member, name, section, r, k, present)                                                                        \
    layout->rows[kind] = (present) ? (r) : 0;                                                                          \
    layout->columns[kind] = (present) ? (k) : 0;                                                                       \
    kind++;
    KD_PARAMS(X)
#undef X
}

kd_status kd_layout_init(kd_layout *layout, const kd_config *config) {
    *layout = (kd_layout){.layers = config->L};
    shapes(layout, config);
    int64_t total[3] = {0};
    for (int kind = 0; kind < KD_PARAM_KINDS; kind++) {
        int64_t columns = layout->columns[kind] ? layout->columns[kind] : 1;
        KD_TRY(kd_size_multiply(&layout->size[kind], layout->rows[kind], columns));
        layout->layered[kind] = table[kind].section == LAYER;
        total[table[kind].section] += layout->size[kind];
        if (layout->size[kind]) layout->tensors += layout->layered[kind] ? config->L : 1;
    }
    layout->layer_stride = total[LAYER];
    layout->layers_at = total[ONCE];
    int64_t layered, bytes;
    KD_TRY(kd_size_multiply(&layered, total[LAYER], config->L));
    if (__builtin_add_overflow(total[ONCE] + total[LAST], layered, &layout->count)) layout->count = INT64_MAX;
    KD_TRY(kd_size_multiply(&bytes, layout->count, 1024));  /* weights, moments and every partial gradient */

    int64_t at[3] = {0, total[ONCE], total[ONCE] + layered};
    for (int kind = 0; kind < KD_PARAM_KINDS; kind++) {
        layout->at[kind] = at[table[kind].section];
        at[table[kind].section] += layout->size[kind];
    }
    return KD_OK;
}

kd_param_place kd_layout_tensor(const kd_layout *layout, int64_t i) {
    for (int section = ONCE; section <= LAST; section++) {
        int64_t present = 0;
        for (int kind = 0; kind < KD_PARAM_KINDS; kind++) present += table[kind].section == (enum section)section && layout->size[kind];
        int64_t repeats = section == LAYER ? layout->layers : 1;
        if (i >= present * repeats) {
            i -= present * repeats;
            continue;
        }
        int64_t layer = i / present, left = i % present;
        for (int kind = 0; kind < KD_PARAM_KINDS; kind++) {
            if (table[kind].section != (enum section)section || !layout->size[kind] || left--) continue;
            return (kd_param_place){kind, layer, kd_layout_at(layout, kind, layer), layout->size[kind]};
        }
    }
    return (kd_param_place){0, 0, layout->count, 0};
}

void kd_param_name(char name[128], kd_param kind, int64_t layer, bool layered) {
    if (layered) snprintf(name, 128, "model.layers.%lld.%s", (long long)layer, table[kind].name);
    else snprintf(name, 128, "%s", table[kind].name);
}

double kd_model_flops(const kd_config *c, int64_t tokens, int64_t pairs) {
    double width = (double)c->C, layer = width * (double)(2 * c->H * c->E + 2 * c->G * c->E + 3 * c->F);
    double multiplied = (double)c->L * layer + width * (double)c->V;
    return 6 * multiplied * (double)tokens + 14 * (double)(c->E * c->H * c->L) * (double)pairs;
}
