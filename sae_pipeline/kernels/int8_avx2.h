// What int8_encoder.h needs, for AVX2.
#include "int8_lanes8.h"
#include "int8_pairs.h"
#undef WIDE_OF
