// What int8_encoder.h needs, for AVX-512 with VNNI.
#include "int8_lanes16.h"
constexpr int64_t ROWS = 8;
static inline Register dpbusd(Register sum, Register u, Register q) { return _mm512_dpbusd_epi32(sum, u, q); }
#include "int8_dpbusd.h"
#undef WIDE_OF
