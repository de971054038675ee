/* kedge info for what kedge pack writes. */
#ifndef KD_INFO_DATA_H
#define KD_INFO_DATA_H

#include "base/error.h"

/* Whether the folder is a pack or a token store. KD_ENOMEM. */
kd_status kd_info_is_data(bool *yes, const char *folder);
/* Prints what is in it: lines, or one JSON object. KD_EIO, KD_EFORMAT. */
kd_status kd_info_data(const char *folder, bool as_json);

#endif
