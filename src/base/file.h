/* Files: read whole or by place, written so that they are whole or not there. Every message names the path. */
#ifndef KD_FILE_H
#define KD_FILE_H

#include <stdio.h>

#include "arena.h"

/* A regular file that is read by place, and mapped where somebody asks for that alone: a file that shrinks behind a map kills the process. */
typedef struct kd_source { int fd; char *path; int64_t size; } kd_source;  /* size: when it was opened */
kd_status kd_source_open(kd_source *source, const char *path);
/* Exactly bytes at .. at+size-1; several threads may read at once. KD_EFORMAT with the offset when the file ends before,
 * KD_EIO. */
kd_status kd_source_read(void *out, const kd_source *source, int64_t at, int64_t size);
/* All its bytes where they can be read in place, for files that would fill memory twice. KD_ENOMEM, KD_EIO. */
kd_status kd_source_map(const void **bytes, const kd_source *source);
void kd_source_unmap(const void *bytes, const kd_source *source);  /* NULL is allowed */
void kd_source_close(kd_source *source);           /* one that was never opened, or is closed, is allowed */

/* A whole small file on the heap, NUL-terminated for convenience; free() it. KD_EFORMAT if larger than limit bytes. */
kd_status kd_file_read(char **data, int64_t *size, const char *path, int64_t limit);

/* Bytes to a new file, complete and synced when it returns KD_OK; retries short writes and EINTR. The name appears
 * under `path` at once (no rename): for files inside a folder that is not committed yet. */
kd_status kd_file_write(const char *path, const void *data, int64_t size);

/* The same through "path.tmp" and a rename: the old file or the new one, never a mixture. */
kd_status kd_file_replace(const char *path, const void *data, int64_t size);
kd_status kd_folder_replace(const char *folder, const char *name, const void *data, int64_t size);

/* A file written in order. */
typedef struct kd_writer { int fd; char *path; int64_t written; } kd_writer;
kd_status kd_writer_open(kd_writer *writer, const char *path);              /* created or truncated */
kd_status kd_writer_put(kd_writer *writer, const void *data, int64_t size); /* KD_EIO with path and offset */
kd_status kd_writer_sync(kd_writer *writer);
kd_status kd_writer_close(kd_writer *writer);                               /* frees in any case */

kd_status kd_copy_file(const char *to, const char *from);
kd_status kd_make_folders(const char *path);      /* mkdir -p */
kd_status kd_sync_folder(const char *path);       /* fsync of a directory */
kd_status kd_remove_tree(const char *path);       /* links are removed, not followed; a missing path is KD_OK */
bool kd_exists(const char *path);
kd_status kd_holds(bool *yes, const char *folder, const char *name);  /* KD_ENOMEM */
bool kd_is_folder(const char *path);

/* "folder/name" on the heap; an absolute or empty-folder name is returned alone. NULL when memory is out. */
char *kd_path_join(const char *folder, const char *name);

/* A sorted list of paths. free with kd_paths_free. */
typedef struct kd_paths { char **path; int64_t count; } kd_paths;
void kd_paths_free(kd_paths *paths);
/* Appends the files that a pattern names, sorted bytewise, each once. * ? [a-z] match inside a name, ** any folders
 * between (none too). Wildcards skip hidden names and enter no symbolic links to folders. A path that exists is taken
 * as it is. A pattern without a match is KD_EIO. */
kd_status kd_glob(kd_paths *paths, const char *pattern);
/* The names in a folder, sorted, without . and ..; names is overwritten, and empty after a failure. */
kd_status kd_list_folder(kd_paths *names, const char *path);

/* An advisory lock on a file (created if missing), held until closed or until the process ends.
 * KD_EBUSY naming the holder's pid and host if another process has it. */
kd_status kd_lock_open(int *fd, const char *path);
void kd_lock_close(int fd);

/* XXH3-64 of bytes, and of a whole file (streamed). */
uint64_t kd_hash(const void *data, int64_t size);
kd_status kd_file_hash(uint64_t *hash, int64_t *size, const char *path);

#endif
