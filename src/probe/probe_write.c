/* The files of a probe, one after the other: none is held while the next is made. */
#include "probe_write.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"

static kd_status figure1_left(kd_text *t, const kd_probe *p) { return kd_figure1_left(t, p, kd_probe_main_mode(p), true); }
static kd_status figure1_middle(kd_text *t, const kd_probe *p) { return kd_figure1_middle(t, p, true); }
static kd_status figure1_right(kd_text *t, const kd_probe *p) { return kd_figure1_right(t, p, true); }
static kd_status figure7_left(kd_text *t, const kd_probe *p) { return kd_figure7(t, p, 1, true); }
static kd_status figure7_right(kd_text *t, const kd_probe *p) { return kd_figure7(t, p, 0, true); }
static kd_status figure7_left_csv(kd_text *t, const kd_probe *p) { return kd_figure7_csv(t, p, 1); }
static kd_status figure7_right_csv(kd_text *t, const kd_probe *p) { return kd_figure7_csv(t, p, 0); }
static kd_status heads(kd_text *t, const kd_probe *p) { return kd_heads_map(t, p, kd_probe_shown(p), true); }
static kd_status sink(kd_text *t, const kd_probe *p) { return kd_sink_map(t, p, kd_probe_shown(p), true); }

static const struct { const char *name; kd_status (*make)(kd_text *text, const kd_probe *probe); } files[] = {
    {"probe.json", kd_probe_json},
    {"figure1_left.svg", figure1_left},
    {"figure1_left.csv", kd_figure1_left_csv},
    {"figure1_middle.svg", figure1_middle},
    {"figure1_middle.csv", kd_figure1_middle_csv},
    {"figure1_right.svg", figure1_right},
    {"figure1_right.csv", kd_figure1_right_csv},
    {"figure7_left.svg", figure7_left},
    {"figure7_left.csv", figure7_left_csv},
    {"figure7_right.svg", figure7_right},
    {"figure7_right.csv", figure7_right_csv},
    {"heads.svg", heads},
    {"sink.svg", sink},
    {"heads.csv", kd_heads_csv},
    {"report.html", kd_probe_page},
};

/* What an earlier probe left would be taken for this one's. */
static kd_status clear(const char *folder, const char *name) {
    char *path = kd_path_join(folder, name);
    kd_status status = path ? KD_OK : kd_fail(KD_ENOMEM, "out of memory: the path of %s in %s", name, folder);
    if (path && kd_exists(path) && unlink(path)) status = kd_fail_errno(KD_EIO, "cannot remove %s", path);
    free(path);
    return status;
}

kd_status kd_probe_write(const kd_probe *p, const char *folder) {
    kd_text text = {0};
    kd_status status = KD_OK;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        text.size = 0;
        KD_GO(files[i].make(&text, p));
        if (text.size) KD_GO(kd_folder_replace(folder, files[i].name, text.data, text.size));
        else KD_GO(clear(folder, files[i].name));
    }
done:
    kd_text_free(&text);
    return status;
}
