// AMX tiles in plain C++, so that the AMX encoder is tested on a CPU that has AVX-512 but no AMX: compile the kernels
// with `-include` of this file. A tile here is 16 rows of 64 bytes, which is all that the encoder asks for.
#pragma once
#include <cstring>
#include <immintrin.h>
#include <unistd.h>

namespace tiles {

struct Tile {
  char bytes[16][64];
};
inline thread_local Tile registers[8];

inline void load(int t, const void* from, long stride) {
  for (int row = 0; row < 16; ++row) std::memcpy(registers[t].bytes[row], static_cast<const char*>(from) + row * stride, 64);
}
inline void store(int t, void* to, long stride) {
  for (int row = 0; row < 16; ++row) std::memcpy(static_cast<char*>(to) + row * stride, registers[t].bytes[row], 64);
}
inline float number(const char* bytes) {  // a bf16
  unsigned short half;
  std::memcpy(&half, bytes, 2);
  const unsigned bits = unsigned(half) << 16;
  float out;
  std::memcpy(&out, &bits, 4);
  return out;
}
inline void multiply(int to, int a, int b) {  // to[m][n] += a[m][2k] b[k][2n] + a[m][2k+1] b[k][2n+1]
  for (int m = 0; m < 16; ++m)
    for (int k = 0; k < 16; ++k)
      for (int n = 0; n < 16; ++n) {
        float sum;
        std::memcpy(&sum, registers[to].bytes[m] + 4 * n, 4);
        for (int half = 0; half < 4; half += 2)
          sum += number(registers[a].bytes[m] + 4 * k + half) * number(registers[b].bytes[k] + 4 * n + half);
        std::memcpy(registers[to].bytes[m] + 4 * n, &sum, 4);
      }
}
}  // namespace tiles

#undef _tile_loadconfig
#undef _tile_release
#undef _tile_zero
#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbf16ps
#define _tile_loadconfig(config) (void)(config)
#define _tile_release() (void)0
#define _tile_zero(t) tiles::registers[t] = {}
#define _tile_loadd(t, from, stride) tiles::load(t, from, stride)
#define _tile_stored(t, to, stride) tiles::store(t, to, stride)
#define _tile_dpbf16ps(to, a, b) tiles::multiply(to, a, b)
// cpu_features() then says that there is AMX and that the kernel gives it
#define __builtin_cpu_supports(name) (!std::strcmp(name, "amx-bf16") || __builtin_cpu_supports(name))
#define syscall(...) 0
