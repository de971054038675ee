/* A small checker of pages and pictures: elements nest, attributes are quoted, entities are known, nothing is loaded from
 * elsewhere and nothing runs. Include cmocka.h first. */
#ifndef KD_TEST_MARKUP_H
#define KD_TEST_MARKUP_H

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { MARKUP_DEPTH = 64, MARKUP_NAME = 24 };

/* What is wrong with it, or NULL. */
static inline const char *markup_fault(const char *text) {
    static const char *const single[] = {"meta", "br", "hr", "img"};
    static const char *const forbidden[] = {"<script", "javascript:", "src=\"http", "href=\"http", "url(", "@import", "<iframe",
                                            "<object", "<link", "<base", "nan", "inf\""};
    static char fault[160], open[MARKUP_DEPTH][MARKUP_NAME];
    int depth = 0;
    for (size_t i = 0; i < sizeof forbidden / sizeof *forbidden; i++)
        if (strstr(text, forbidden[i])) return snprintf(fault, sizeof fault, "has %s", forbidden[i]), fault;
    for (const char *at = text; *at;) {
        if (*at == '&') {
            size_t size = strcspn(at, "; \n");
            if (at[size] != ';' || size > 6) return snprintf(fault, sizeof fault, "entity: %.20s", at), fault;
            at += size;
        } else if (*at == '>') {
            return snprintf(fault, sizeof fault, "a > alone: %.20s", at), fault;
        } else if (!strncmp(at, "<!doctype html>", 15)) {
            at += 15;
            continue;
        } else if (*at == '<') {
            bool closing = at[1] == '/', alone = false;
            char name[MARKUP_NAME];
            size_t size = strcspn(at + 1 + closing, " />\n");
            if (!size || size >= MARKUP_NAME) return snprintf(fault, sizeof fault, "element: %.20s", at), fault;
            snprintf(name, sizeof name, "%.*s", (int)size, at + 1 + closing);
            for (at += 1 + closing + size; *at && *at != '>'; at++) {
                if (!strncmp(at, " on", 3)) return snprintf(fault, sizeof fault, "a handler: %.20s", at), fault;
                if (*at == '=' && at[1] != '"') return snprintf(fault, sizeof fault, "unquoted: %.20s", at), fault;
                if (*at == '<') return snprintf(fault, sizeof fault, "a < inside %s", name), fault;
                if (*at == '"' && !(at = strchr(at + 1, '"'))) return snprintf(fault, sizeof fault, "open quote in %s", name), fault;
                alone = *at == '/';
            }
            for (size_t i = 0; i < sizeof single / sizeof *single; i++) alone |= !strcmp(name, single[i]);
            if (closing) {
                if (!depth || strcmp(open[depth - 1], name))
                    return snprintf(fault, sizeof fault, "</%s> closes <%s>", name, depth ? open[depth - 1] : ""), fault;
                depth--;
            } else if (!alone) {
                if (depth == MARKUP_DEPTH) return "too deep";
                strcpy(open[depth++], name);
            }
            if (!*at) return snprintf(fault, sizeof fault, "<%s is not closed", name), fault;
            if (!strcmp(name, "style") && !closing) {  /* CSS has > of its own */
                at = strstr(at, "</style>");
                if (!at) return "style is not closed";
                continue;
            }
        }
        at++;
    }
    return depth ? snprintf(fault, sizeof fault, "<%s> stays open", open[depth - 1]), fault : NULL;
}

/* alone: a file of its own, which names SVG's namespace and nothing else that looks like an address. */
static inline void assert_markup(const char *text, bool alone) {
    static const char space[] = "xmlns=\"http://www.w3.org/2000/svg\"";
    const char *fault = markup_fault(text), *address = alone ? strstr(text, space) : text;
    if (fault) fail_msg("%s\n%.600s", fault, text);
    if (!address) fail_msg("no namespace");
    address = strstr(address + (alone ? strlen(space) : 0), "://");
    if (address) fail_msg("an address: %.60s", address - 8);
}

#endif
