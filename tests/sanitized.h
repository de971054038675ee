/* Whether a sanitizer stands in front of libc: it has an allocator of its own, and memory that is not the program's. */
#ifndef KD_TEST_SANITIZED_H
#define KD_TEST_SANITIZED_H

#include <stdbool.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED true
#endif
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED true
#endif
#ifndef SANITIZED
#define SANITIZED false
#endif

#endif
