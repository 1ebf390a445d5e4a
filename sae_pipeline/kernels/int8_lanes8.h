// What int8_avx2.h and int8_avxvnni.h have in common: registers of 256 bits.
constexpr int64_t LANES = 8, DEPTH = 4;
#define WIDE_OF(name) _mm256_##name
using Byte = uint8_t;
using Register = __m256i;
typedef float Floats __attribute__((vector_size(32)));
typedef int32_t Ints __attribute__((vector_size(32)));

// Four bytes of a row, for all lanes.
static inline Register spread(const int8_t* four) { return _mm256_set1_epi32(load<int32_t>(four)); }

// The lanes that are set in each mask of 8 bits, first ones first.
struct SetLanes {
  uint8_t of[256][8];
  constexpr SetLanes() : of{} {
    for (int mask = 0; mask < 256; ++mask)
      for (int lane = 0, at = 0; lane < 8; ++lane)
        if (mask >> lane & 1) of[mask][at++] = uint8_t(lane);
  }
};
constexpr SetLanes SET_LANES;

// Appends first + l for every lane l where `mask` is true; returns how many there are. May write LANES numbers.
static inline int64_t append(Ints mask, int32_t first, int32_t* to) {
  // Branches would often be mispredicted, which costs more than the write.
  const unsigned on = unsigned(_mm256_movemask_ps(__m256(mask)));
  const __m256i lanes = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(SET_LANES.of[on])));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), __m256i(Ints(lanes) + first));
  return __builtin_popcount(on);
}

// Writes the lanes, which fit into 8 bits, as LANES bytes.
static inline void store(Ints small, int8_t* to) {
  const __m128i low = _mm256_castsi256_si128(__m256i(small)), high = _mm256_extracti128_si256(__m256i(small), 1);
  const __m128i words = _mm_packs_epi32(low, high);
  _mm_storel_epi64(reinterpret_cast<__m128i*>(to), _mm_packs_epi16(words, words));
}
