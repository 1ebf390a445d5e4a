// The entries of pre = x W_enc + b_enc above the threshold (null: 0), computed on AMX tiles. The comparison is part of
// the product, so dense pre-activations never reach memory. Features are the rows of the left operand and tokens the
// columns of the right one. Hence W_enc needs no packing, and the entries are sorted by feature, then token, which is
// the order that the decoder and the update need.
COMPILE_FOR("arch=x86-64-v4,amx-tile,amx-bf16,avx512bf16")
namespace amx {

struct alignas(64) TileConfig {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t colsb[16] = {};
  uint8_t rows[16] = {};
};

// Rounds x [n, d] to bf16 and writes it twice: to x16 [n, d], and to tiles [ceil(n/32)*2][steps][16][16 tokens][2].
static void pack(const float* x, int64_t n, int64_t d, bf16* x16, uint32_t* packed) {
  const int64_t tiles = (n + 31) / 32 * 2, steps = (d + 31) / 32;
#pragma omp parallel for schedule(static)
  for (int64_t t = 0; t < tiles; ++t) {
    uint32_t* out = packed + t * steps * 256;
    std::memset(out, 0, size_t(steps) * 1024);
    for (int64_t token = t * 16; token < std::min(n, t * 16 + 16); ++token) {
      const float* row = x + token * d;
      bf16* row16 = x16 + token * d;
      for (int64_t j = 0; j < d; ++j) row16[j] = avx512::narrow(row[j]);
      uint32_t* at = out + token % 16;
      for (int64_t k = 0; k < d / 2; ++k) at[k * 16] = row16[2 * k].bits | uint32_t(row16[2 * k + 1].bits) << 16;
      if (d % 2) at[d / 2 * 16] = row16[d - 1].bits;
    }
  }
}

using Tile = float[16][16];

// For 32 features: where the sum in the tiles is greater than `above`, there is an entry with the value sum + bias.
struct Bounds {
  float above[32], bias[32];
};

// Appends the entries in four rows of c, those of four features and 16 tokens, to the lists of their features.
static inline void emit(const Tile* c, int group, int64_t first, const Bounds& bounds, int32_t* toks, float* vals,
                        int64_t room, int64_t* count) {
  const int q = group >> 2, row = (group & 3) * 4;
  const float(*rows)[16] = c[q] + row;
  const int feature = (q >> 1) * 16 + row;
  __mmask16 on[4];
  for (int i = 0; i < 4; ++i)
    on[i] = _mm512_cmp_ps_mask(_mm512_load_ps(rows[i]), _mm512_set1_ps(bounds.above[feature + i]), _CMP_GT_OQ);
  const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const __m512i token = _mm512_add_epi32(lane, _mm512_set1_epi32(int(first + (q & 1) * 16)));
  // Most rows have no entry. There is one branch per entry and none per row, since a mispredicted branch stalls the
  // tiles.
  for (int left = !!on[0] | !!on[1] << 1 | !!on[2] << 2 | !!on[3] << 3; left; left &= left - 1) {
    const int i = __builtin_ctz(left);
    const int64_t at = (feature + i) * room + count[feature + i];
    const __m512 v = _mm512_add_ps(_mm512_load_ps(rows[i]), _mm512_set1_ps(bounds.bias[feature + i]));
    _mm512_storeu_ps(vals + at, _mm512_maskz_compress_ps(on[i], v));
    _mm512_storeu_si512(toks + at, _mm512_maskz_compress_epi32(on[i], token));
    count[feature + i] += __builtin_popcount(on[i]);
  }
}

// Multiplies one block of 32 features with all tokens and appends the entries to lists of `room` entries per feature.
// The inner dimension is cut into slices, so that the block's slice of W stays in L1; `partial` keeps the sums between
// slices. In the last slice the tiles work on pair p of 16-token tiles while the vector units search pair p - 1.
// Operands are loaded one step ahead, across pairs too: loads that follow the stores of a pair would wait for them,
// because 4 KiB of stores alias every address.
static void block(const bf16* W, int64_t steps, const uint32_t* packed, int64_t pairs, const Bounds& bounds,
                  Tile* partial, int32_t* toks, float* vals, int64_t room, int64_t* count) {
  alignas(64) Tile c[2][4];
  const char* next = reinterpret_cast<const char*>(W + steps * 1024);  // the next block, prefetched during this one
  const int64_t fetch = (steps * 32 + pairs * steps - 1) / (pairs * steps), slices = (steps + 11) / 12;
  const auto operands = [W, steps](int64_t k, const uint32_t* b) __attribute__((always_inline)) {
    _tile_loadd(4, W + k * 512, 64);
    _tile_loadd(6, b + k * 256, 64);
    _tile_loadd(7, b + (steps + k) * 256, 64);
    _tile_loadd(5, W + (steps + k) * 512, 64);
  };
  for (int64_t s = 0; s < slices; ++s) {
    const int64_t from = steps * s / slices, to = steps * (s + 1) / slices;
    const bool last = s + 1 == slices;
    operands(from, packed);
    for (int64_t p = 0; p < pairs; ++p) {
      const uint32_t* b = packed + p * 2 * steps * 256;
      const Tile* before = c[(p + 1) & 1];
      Tile* out = last ? c[p & 1] : partial + p * 4;
      int group = last && p ? 0 : 16;
      if (s) {
        _tile_loadd(0, partial[p * 4], 64);
        _tile_loadd(1, partial[p * 4 + 1], 64);
        _tile_loadd(2, partial[p * 4 + 2], 64);
        _tile_loadd(3, partial[p * 4 + 3], 64);
      } else {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
      }
      for (int64_t k = from; k < to; ++k) {
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
        if (k + 1 < to)
          operands(k + 1, b);
        else if (p + 1 < pairs)
          operands(from, b + 2 * steps * 256);
        for (int64_t l = 0; l < fetch; ++l, next += 64) _mm_prefetch(next, _MM_HINT_T1);
        for (int g = 0; g < 2 && group < 16; ++g, ++group)
          emit(before, group, (p - 1) * 32, bounds, toks, vals, room, count);
      }
      for (; group < 16; ++group) emit(before, group, (p - 1) * 32, bounds, toks, vals, room, count);
      _tile_stored(0, out[0], 64);
      _tile_stored(1, out[1], 64);
      _tile_stored(2, out[2], 64);
      _tile_stored(3, out[3], 64);
    }
  }
  for (int group = 0; group < 16; ++group)
    emit(c[(pairs + 1) & 1], group, (pairs - 1) * 32, bounds, toks, vals, room, count);
}

// Returns the number of entries; -1, without writing to toks and vals, where there are more than `capacity`.
static int64_t encode(const bf16* tiles, int64_t steps, const float* b_enc, const float* threshold,
                      const uint32_t* packed, int64_t n, int64_t d_sae, int64_t* ptr, int32_t* toks, float* vals,
                      int64_t capacity) {
  const int n_threads = omp_get_max_threads();
  const int64_t blocks = (d_sae + 31) / 32, pairs = (n + 31) / 32, room = pairs * 32 + 16;
  Gathering gathering{ptr, d_sae, toks, vals, capacity};
#pragma omp parallel num_threads(n_threads)
  {
    TileConfig config;
    for (int i = 0; i < 8; ++i) config.colsb[i] = 64, config.rows[i] = 16;
    _tile_loadconfig(&config);
    static thread_local ThreadEntries found;  // kept between calls
    found.clear();
    float* space = scratch(size_t(64 * room + pairs * 1024) + 16);
    space += (64 - reinterpret_cast<uintptr_t>(space) % 64) % 64 / 4;
    Tile* partial = reinterpret_cast<Tile*>(space);
    float* block_vals = space + pairs * 1024;
    int32_t* block_toks = reinterpret_cast<int32_t*>(block_vals + 32 * room);
    for (int64_t b; (b = gathering.next_block()) < blocks && int64_t(found.toks.size()) <= capacity;) {
      found.blocks.push_back({b * 32, int64_t(found.toks.size())});
      int64_t count[32] = {};
      const int64_t here = std::min<int64_t>(32, d_sae - b * 32);
      Bounds bounds;
      for (int i = 0; i < 32; ++i) {
        bounds.bias[i] = i < here ? b_enc[b * 32 + i] : -INFINITY;
        bounds.above[i] = (threshold && i < here ? threshold[b * 32 + i] : 0) - bounds.bias[i];
      }
      block(tiles + b * 1024 * steps, steps, packed, pairs, bounds, partial, block_toks, block_vals, room, count);
      for (int i = 0; i < here; ++i) {
        while (count[i] && block_toks[i * room + count[i] - 1] >= n) --count[i];  // tokens that pad the last tile
        found.toks.insert(found.toks.end(), block_toks + i * room, block_toks + i * room + count[i]);
        found.vals.insert(found.vals.end(), block_vals + i * room, block_vals + i * room + count[i]);
        ptr[b * 32 + i + 1] = count[i];
      }
    }
    _tile_release();
    gathering.take(found);
  }
  return gathering.total;
}
}  // namespace amx

extern "C" {
void amx_pack(const float* x, int64_t n, int64_t d, bf16* x16, uint32_t* packed) { amx::pack(x, n, d, x16, packed); }
// tiles: ceil(d_sae/32)*2 rows of tiles; see to_tiles
int64_t amx_encode(const bf16* tiles, int64_t d, const float* b_enc, const float* threshold, const uint32_t* packed,
                   int64_t n, int64_t d_sae, int64_t* ptr, int32_t* toks, float* vals, int64_t capacity) {
  return amx::encode(tiles, (d + 31) / 32, b_enc, threshold, packed, n, d_sae, ptr, toks, vals, capacity);
}
}
COMPILE_FOR_ALL
