/* One standard error, so one state: the level and the bar that is being drawn live here, under a lock, and nowhere else
 * in the library. Not a log file: metrics go to metrics.jsonl. */
#define _DEFAULT_SOURCE
#include "log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define BAR 24 /* columns; fewer on a narrow terminal */
#define REDRAW 0.1 /* seconds between two drawings on a terminal */
#define REPORT 10.0 /* seconds between two lines off a terminal */

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static kd_level level = KD_QUIET;
static kd_progress *current;     /* the bar on the screen, or NULL */
static int64_t current_done;
static bool current_pending;     /* it was set and not drawn since */
static char current_note[256];

double kd_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

void kd_log_level(kd_level most) {
    pthread_mutex_lock(&mutex);
    level = most;
    pthread_mutex_unlock(&mutex);
}

/* ---- the bar ----------------------------------------------------------------------------------------------- */

static bool has(const char *variable) {
    const char *value = getenv(variable);
    return value && *value;
}

static bool speaks_utf8(void) {
    const char *name = has("LC_ALL") ? "LC_ALL" : has("LC_CTYPE") ? "LC_CTYPE" : "LANG";
    const char *value = getenv(name);
    return value && (strstr(value, "UTF-8") || strstr(value, "utf8"));
}

static int columns(void) {
    struct winsize size;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

/* "9s", "1m05s", "2h03m", "3d04h" */
static void print_time(char *out, size_t size, double seconds) {
    long long s = seconds < 1e9 ? (long long)(seconds + 0.5) : 1000000000;
    if (s < 60) snprintf(out, size, "%llds", s);
    else if (s < 3600) snprintf(out, size, "%lldm%02llds", s / 60, s % 60);
    else if (s < 86400) snprintf(out, size, "%lldh%02lldm", s / 3600, s / 60 % 60);
    else snprintf(out, size, "%lldd%02lldh", s / 86400, s / 3600 % 24);
}

/* "840/2000  1m12s, 1m40s left  note" */
static void print_figures(char *out, size_t size, const kd_progress *progress) {
    double elapsed = kd_now() - progress->started;
    char so_far[32], left[48] = "";
    print_time(so_far, sizeof so_far, elapsed);
    if (current_done > 0 && current_done < progress->total) {
        char time[32];
        print_time(time, sizeof time, elapsed * (double)(progress->total - current_done) / (double)current_done);
        snprintf(left, sizeof left, ", %s left", time);
    }
    int used = progress->parts ? 0 : progress->total > 0
        ? snprintf(out, size, "%lld/%lld  ", (long long)current_done, (long long)progress->total)
        : snprintf(out, size, "%lld  ", (long long)current_done);
    snprintf(out + used, size - (size_t)used, "%s%s%s%s", so_far, left, *current_note ? "  " : "", current_note);
}

static double part_done(const kd_progress *progress) {
    if (progress->total < 1) return 0;
    double part = (double)current_done / (double)progress->total;
    return part < 0 ? 0 : part > 1 ? 1 : part;
}

/* Cuts a line of UTF-8 to so many columns, a character being one. */
static void cut(char *line, int limit) {
    for (; *line; line++) {
        if (((unsigned char)*line & 0xc0) != 0x80 && limit-- <= 0) break;
    }
    *line = 0;
}

static void append(char *line, size_t size, const char *text) {
    size_t used = strlen(line);
    snprintf(line + used, size - used, "%s", text);
}

static void draw_bar(char *line, size_t size, const kd_progress *progress, int width) {
    bool fine = speaks_utf8();
    int filled = (int)(part_done(progress) * width + 0.5);
    if (progress->colour) append(line, size, "\033[32m");
    for (int i = 0; i < filled; i++) append(line, size, fine ? "━" : "#");
    if (progress->colour) append(line, size, "\033[0;2m");
    for (int i = filled; i < width; i++) append(line, size, fine ? "─" : "-");
    if (progress->colour) append(line, size, "\033[0m");
}

static void draw(kd_progress *progress) {
    char figures[512], line[1024] = "";
    print_figures(figures, sizeof figures, progress);
    int percent = (int)(100 * part_done(progress));
    if (!progress->terminal) {
        if (progress->total > 0) fprintf(stderr, "kedge: %d%%  %s\n", percent, figures);
        else fprintf(stderr, "kedge: %s\n", figures);
    } else {
        /* The last column stays free: some terminals wrap as soon as it is written. */
        int room = columns() - 1, bar = progress->total < 1 ? 0 : room < 3 * BAR ? room / 6 : BAR;
        append(line, sizeof line, "\r");
        if (progress->total > 0) {
            draw_bar(line, sizeof line, progress, bar);
            snprintf(line + strlen(line), sizeof line - strlen(line), " %3d%%  ", percent);
        }
        int left = room - (progress->total > 0 ? bar + 7 : 0);
        cut(figures, left > 0 ? left : 0);
        append(line, sizeof line, figures);
        append(line, sizeof line, "\033[K");
        fputs(line, stderr);  /* in one piece: no flicker */
        fflush(stderr);
    }
    progress->drawn = kd_now();
    current_pending = false;
}

void kd_progress_open(kd_progress *progress, int64_t total) {
    const char *terminal = getenv("TERM");
    double now = kd_now();
    *progress = (kd_progress){.total = total, .started = now, .open = true};
    progress->terminal = isatty(STDERR_FILENO) && terminal && *terminal && strcmp(terminal, "dumb") != 0;
    progress->colour = progress->terminal && !has("NO_COLOR");
    /* A terminal shows the first figures at once; a log file after the first interval. */
    progress->drawn = progress->terminal ? now - REDRAW : now;
    pthread_mutex_lock(&mutex);
    current = progress;
    current_done = 0;
    current_pending = false;
    current_note[0] = 0;
    pthread_mutex_unlock(&mutex);
}

void kd_progress_parts(kd_progress *progress) { progress->parts = true; }

void kd_progress_set(kd_progress *progress, int64_t done, const char *note) {
    pthread_mutex_lock(&mutex);
    if (progress == current && level >= KD_INFO) {
        current_done = done;
        current_pending = true;
        snprintf(current_note, sizeof current_note, "%s", note ? note : "");
        if (kd_now() - progress->drawn >= (progress->terminal ? REDRAW : REPORT)) draw(progress);
    }
    pthread_mutex_unlock(&mutex);
}

void kd_progress_close(kd_progress *progress) {
    pthread_mutex_lock(&mutex);
    if (progress->open && progress == current) {
        bool shown = current_pending || progress->drawn > progress->started;
        if (current_pending) draw(progress);
        if (shown && progress->terminal) fputs("\n", stderr);
        current = NULL;
    }
    progress->open = false;
    pthread_mutex_unlock(&mutex);
}

/* ---- messages ---------------------------------------------------------------------------------------------- */

static void say(kd_level needed, const char *prefix, const char *format, va_list list) {
    char text[1200];
    vsnprintf(text, sizeof text, format, list);
    kd_text_plain(text);
    pthread_mutex_lock(&mutex);
    if (level >= needed) {
        bool above_bar = current && current->terminal && current->drawn > current->started;
        fprintf(stderr, "%s%s%s\n", above_bar ? "\r\033[K" : "", prefix, text);
        if (above_bar) draw(current);
    }
    pthread_mutex_unlock(&mutex);
}

void kd_warn(const char *format, ...) {
    va_list list;
    va_start(list, format);
    say(KD_WARN, "kedge: warning: ", format, list);
    va_end(list);
}

void kd_info(const char *format, ...) {
    va_list list;
    va_start(list, format);
    say(KD_INFO, "kedge: ", format, list);
    va_end(list);
}
