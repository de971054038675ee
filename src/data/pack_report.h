/* What packing did to a corpus: shares, lengths, losses and windows, by source. Every token of the corpus is in exactly one
 * place: in the text of a window, or lost to one cause. Nothing here reads a token, depends on threads, or knows a path. */
#ifndef KD_PACK_REPORT_H
#define KD_PACK_REPORT_H

#include <jansson.h>

#include "data/pack.h"
#include "format/text.h"

/* Lengths of documents in tokens, by powers of two: below 512, 512 .. 1K-1, ... 64K .. 128K-1, 128K and more. */
enum { KD_LENGTHS = 10 };
int64_t kd_length_from(int64_t bin);     /* 0, 512, 1024 ... 131072 */
int64_t kd_length_bin(int64_t tokens);

typedef struct kd_amount { int64_t documents, tokens; } kd_amount;

/* Why tokens are in no window. The first four are fates (choose.h), of whole documents. */
typedef enum kd_loss {
    KD_LOSS_TOO_SHORT,
    KD_LOSS_THINNED,
    KD_LOSS_OVER_SHARE,
    KD_LOSS_NO_SHARE,
    KD_LOSS_SHORT_RESTS,                 /* what a window cut off was shorter than `shortest` */
    KD_LOSS_TRUNCATED,                   /* what a window cut off was dropped: long_documents: truncate */
    KD_LOSS_DROPPED,                     /* it stood in the last window, which was not full */
    KD_LOSSES
} kd_loss;
extern const char *const kd_loss_names[KD_LOSSES];  /* "too_short" */
extern const char *const kd_loss_words[KD_LOSSES];  /* "too short" */

typedef struct kd_source_report {
    const char *name;                    /* borrowed; "" where documents do not say */
    double planned;                      /* share of tokens; -1: none was asked for */
    kd_amount there, chosen, packed;     /* in the corpus; after mixture and upsampling; in windows, a document once */
    kd_amount lost[KD_LOSSES];           /* documents that lose a token to it */
    kd_amount before[KD_LENGTHS], after[KD_LENGTHS];  /* of the documents there and chosen, by their length */
} kd_source_report;

typedef enum kd_token_kind { KD_TOKEN_ANCHOR, KD_TOKEN_BOS, KD_TOKEN_TAG, KD_TOKEN_TEXT, KD_TOKEN_EOS, KD_TOKEN_KINDS } kd_token_kind;
extern const char *const kd_token_kind_names[KD_TOKEN_KINDS];

/* Windows and what their tokens see. The same windows under each mask: a token sees what stands before it in the window
 * (full), in its document's share of the window (document), or there and the window's first token (anchor). */
typedef struct kd_windows_report {
    int64_t count, tokens;               /* windows, and tokens of each */
    int64_t kind[KD_TOKEN_KINDS];        /* tokens of all windows */
    int64_t shares, least, most;         /* documents' shares: in all, in the window with the fewest, with the most */
    int64_t cut;                         /* documents that a window's end cuts */
    int64_t widest;                      /* windows that one document stands in, at most */
    double pairs[3];                     /* by kd_mask: query/key pairs of all windows, for one head */
    double visible[3];                   /* by kd_mask: tokens that a token of text sees, itself included, on average */
} kd_windows_report;

typedef struct kd_part_report {
    const char *name;                    /* "train" */
    kd_ingest_counts counts;
    kd_source_report *source;            /* [sources] the largest in the corpus first */
    int64_t sources;
    kd_source_report all;
    kd_windows_report windows;
    const kd_windows *from;              /* borrowed: one of them is drawn */
} kd_part_report;

typedef struct kd_pack_report {
    kd_part_report part[KD_PARTS];
    int64_t parts;
} kd_pack_report;

/* Of a pack that was just made; names and windows are borrowed from it. KD_ENOMEM. Free with kd_pack_report_close. */
kd_status kd_pack_report_init(kd_pack_report *report, const kd_pack *pack);
void kd_pack_report_close(kd_pack_report *report);
/* One part. choice NULL: every document. */
kd_status kd_part_report_init(kd_part_report *report, const char *name, const kd_corpus *corpus, const kd_choice *choice,
                              const kd_windows *windows);
void kd_part_report_close(kd_part_report *report);

/* How much less attention a mask has to compute than full attention. */
double kd_report_speed_up(const kd_windows_report *windows, kd_mask mask);
double kd_share(int64_t part, int64_t whole);        /* 0 of nothing */
const char *kd_source_title(const kd_source_report *source);

/* The same four ways. A table of at most 100 columns for people; an object; lines for spreadsheets: part, source, what,
 * documents, tokens and their shares; a page that stands alone, with a window drawn. Texts are appended. KD_ENOMEM. */
kd_status kd_pack_report_table(kd_text *text, const kd_pack_report *report);
kd_status kd_pack_report_json(json_t **out, const kd_pack_report *report);
kd_status kd_pack_report_csv(kd_text *text, const kd_pack_report *report);
kd_status kd_pack_report_page(kd_text *page, const kd_pack_report *report);

/* report.json, report.csv and report.html into the pack's folder. */
kd_status kd_pack_report_write(const kd_pack_report *report, const char *folder);

#endif
