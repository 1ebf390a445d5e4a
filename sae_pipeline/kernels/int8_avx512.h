// What int8_encoder.h needs, for AVX-512 without VNNI.
#include "int8_lanes16.h"
#include "int8_pairs.h"
#undef WIDE_OF
