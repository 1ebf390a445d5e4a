// What int8_encoder.h needs, for AVX2 with AVX-VNNI, which chips for laptops and desktops have.
#include "int8_lanes8.h"
constexpr int64_t ROWS = 6;
static inline Register dpbusd(Register sum, Register u, Register q) { return _mm256_dpbusd_avx_epi32(sum, u, q); }
#include "int8_dpbusd.h"
#undef WIDE_OF
