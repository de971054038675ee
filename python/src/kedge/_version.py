# KD_VERSION of include/kedge.h: the library that this package speaks to.
VERSION = "0.1.0"
