// The entries of pre = x W_enc + b_enc above the threshold, in fp32. A product in 8-bit integers, several times as fast
// as one in fp32, first finds the entries that can be active, and only those are computed. Each entry is a sum of its
// own, so results do not depend on the number of threads.
//
// It is compiled for several instruction sets, see sparse.cpp. What differs between them is in PRIMITIVES, one of the
// files int8_*.h:
//   LANES, ROWS, GROUPS  ROWS features by GROUPS * LANES tokens are multiplied at a time, so that the sums fit registers
//   DEPTH                bytes of one token that lie together
//   TOP_X, ZERO, Byte    u lies in -TOP_X..TOP_X, and is stored as the Byte u + ZERO
//   WORTH                where more than one entry in WORTH has to be computed, a dense product is faster
//   multiply             adds the integer products
//   narrowest            bounds the step of a row from below where a sum could overflow
//   append, store        write lanes
//
// Write x = e + s u, where u are integers and s is the token's step, and w = f + t q likewise. Cauchy-Schwarz bounds
// the error of the integer product:  |x.w - s t u.q| <= |e| |w| + |s u| |f|.
namespace int8 {

constexpr int64_t TOKENS = 32;     // tokens that are processed together: as bytes they stay in L1
constexpr int64_t FEATURES = 128;  // the most features in a block: their rows stay in L2, also in fp32
constexpr int64_t L2 = 192 << 10;
constexpr size_t KEPT = 1 << 20;  // number of entries up to which a thread keeps their memory for its next call
constexpr int64_t SAMPLED = 8;
constexpr int TOP_Q = 127;
constexpr int64_t WIDEST = 1 << 17;  // numbers in a token: TOP_Q * 127 * WIDEST < 2^31

template <class V>
static inline V load(const void* from) {
  V out;
  std::memcpy(&out, from, sizeof(V));
  return out;
}

// Folds all lanes into one by an operation on halves.
template <class V>
static inline float fold(V v, auto operation) {
  float lanes[sizeof(V) / sizeof(float)];
  std::memcpy(lanes, &v, sizeof(V));
#pragma GCC unroll 4
  for (size_t half = std::size(lanes) / 2; half; half /= 2)
#pragma GCC unroll 8
    for (size_t l = 0; l < half; ++l) lanes[l] = operation(lanes[l], lanes[l + half]);
  return lanes[0];
}
template <class V>
static inline float total(V v) {
  return fold(v, [](float a, float b) { return a + b; });
}
template <class V>
static inline float largest(V v) {
  return fold(v, [](float a, float b) { return a > b ? a : b; });
}

#include PRIMITIVES

static inline int64_t padded(int64_t d) { return (d + 15) / 16 * 16; }

// The nearest integer in -top..top, halves to even; NaN becomes -top. (A sum with 1.5 * 2^23 has no fraction.)
static inline float whole(float v, float top) {
  v = v > -top ? v : -top;
  v = v < top ? v : top;
  return v + 0x1.8p23f - 0x1.8p23f;
}

// Factors for the coordinates of tokens, and their inverses for those of rows. They change no product, but where all
// coordinates are of similar size, integers lose less: at MiniLM's layer 4 a fifth fewer entries have to be computed,
// or two fifths where u has 7 bits. Sizes are those of one token in SAMPLED.
struct Scales {
  std::vector<float> of_tokens, of_rows;  // [d]

  Scales(const float* x, int64_t n, int64_t d) : of_tokens(size_t(d), 1), of_rows(of_tokens) {
    std::vector<double> sizes(size_t(d), 0.0);
    for (int64_t t = 0; t < n; t += SAMPLED)
      for (int64_t j = 0; j < d; ++j) sizes[j] += double(x[t * d + j]) * x[t * d + j];
    double mean = 0;
    for (double& size : sizes) size = std::sqrt(size), mean += size / double(d);
    if (!(mean > 0 && mean < INFINITY)) return;
    for (int64_t j = 0; j < d; ++j) {
      of_rows[j] = std::sqrt(float(std::clamp(sizes[j] / mean, 0.01, 100.0)));
      of_tokens[j] = 1 / of_rows[j];
    }
  }
};

// The tokens as integers; and for each token the numbers 1, |e| and |s u|, divided by its step s.
struct Tokens {
  std::vector<Byte> bytes;  // [groups of LANES][d/DEPTH][LANES tokens][DEPTH]
  std::vector<float> one, error, norm;

  Tokens(const float* x, int64_t n, int64_t d, const std::vector<float>& scales) {
    const int64_t all = (n + TOKENS - 1) / TOKENS * TOKENS, width = padded(d);
    bytes.assign(size_t(all * width), ZERO);
    one.assign(size_t(all), 0), error = norm = one;
    const float rounding = float(d + 16) * 0x1p-23f;  // of scaling and of the fp32 sums, here and in the exact product
#pragma omp parallel for schedule(static)
    for (int64_t t = 0; t < n; ++t) {
      const float* row = x + t * d;
      Byte* to = bytes.data() + t / LANES * LANES * width + t % LANES * DEPTH;
      float top = 0;
      for (int64_t j = 0; j < d; ++j) top = std::max(top, std::fabs(row[j] * scales[j]));
      const float inverse = top > 0 ? TOP_X / top : 1;
      float missed = 0, square = 0;
      for (int64_t j = 0; j < d; ++j) {
        const float v = row[j] * scales[j] * inverse, u = whole(v, TOP_X);
        missed += (v - u) * (v - u), square += u * u;
        to[j / DEPTH * LANES * DEPTH + j % DEPTH] = Byte(int(u) + ZERO);
      }
      one[t] = inverse;
      norm[t] = std::sqrt(square) * 1.001f;
      error[t] = std::sqrt(missed) * 1.001f + rounding * norm[t];
    }
  }
};

// Rows of W_enc as integers; and for each feature t, |w|, |f|, and the sum of q times ZERO.
struct Rows {
  float* row;     // [padded d] the row that is being converted
  int8_t* bytes;  // [FEATURES][padded d]
  float step[FEATURES], norm[FEATURES], error[FEATURES];
  int32_t offset[FEATURES];

  // Converts `count` rows times `scales` [d], and adds rows of zeros up to a multiple of ROWS.
  void read(const float* W, int64_t count, int64_t d, const std::vector<float>& scales) {
    const int64_t width = padded(d);
    std::memset(row, 0, size_t(width) * sizeof(float));
    for (int64_t i = 0; i < (count + ROWS - 1) / ROWS * ROWS; ++i) {
      if (i == count) std::memset(row, 0, size_t(d) * sizeof(float));
      for (int64_t j = 0; i < count && j < d; ++j) row[j] = W[i * d + j] * scales[j];
      for (int64_t j = 0; j < d; j += 16) __builtin_prefetch(W + (i + 4) * d + j, 0, 2);  // and of the next block
      const float coarse = finest_step(width), inverse = coarse > 0 ? 1 / coarse : 1;
      step[i] = 1 / inverse;
      round(width, inverse, i);
    }
  }

 private:
  // The finest step with which no number and no sum overflows.
  float finest_step(int64_t width) const {
    Floats most{};
    for (int64_t j = 0; j < width; j += LANES) {
      Floats v = load<Floats>(row + j);
      v = v > 0 ? v : -v;
      most = most > v ? most : v;
    }
    return std::max(largest(most) / TOP_Q, narrowest(row, width));
  }

  // Writes row i as integers, with its norms. These are taken of the numbers in units of the step, because the squares
  // of the row itself may be too small for a float.
  void round(int64_t width, float inverse, int64_t i) {
    Floats missed{}, sum{}, square{};
    for (int64_t j = 0; j < width; j += LANES) {
      const Floats v = load<Floats>(row + j) * inverse, q = v + 0x1.8p23f - 0x1.8p23f, off = v - q;
      missed += off * off, sum += q, square += v * v;
      store(__builtin_convertvector(q, Ints), bytes + i * width + j);
    }
    offset[i] = ZERO * int32_t(total(sum));
    norm[i] = std::sqrt(total(square)) * 1.001f * step[i];
    error[i] = std::sqrt(total(missed)) * 1.001f * step[i];
  }
};

// The entries of TOKENS tokens that can be active, those of each feature by token.
struct Candidates {
  int32_t entries[FEATURES * TOKENS + LANES];  // feature * TOKENS + token
  int64_t count;

  // Searches the tokens `from` to n - 1 at most; `least` [features] is threshold - b_enc.
  void find(const Rows& rows, int64_t features_here, const float* least, const Tokens& tokens, int64_t from, int64_t n,
            int64_t width) {
    count = 0;
    for (int64_t first = 0; first < features_here; first += ROWS)
      for (int64_t t = 0; t < TOKENS; t += GROUPS * LANES) {
        Ints sums[ROWS][GROUPS];  // u.q
        for (int i = 0; i < ROWS; ++i)
          for (int g = 0; g < GROUPS; ++g) sums[i][g] = Ints{} - rows.offset[first + i];
        multiply(rows.bytes + first * width, tokens.bytes.data() + (from + t) * width, width, sums);
        for (int64_t g = 0; g < GROUPS; ++g) {
          const int64_t here = t + g * LANES;
          const Floats one = load<Floats>(tokens.one.data() + from + here);
          const Floats norm = load<Floats>(tokens.norm.data() + from + here);
          const Floats error = load<Floats>(tokens.error.data() + from + here);
          for (int64_t f = first; f < std::min(first + ROWS, features_here); ++f) {
            const Floats product = __builtin_convertvector(sums[f - first][g], Floats);
            const Floats above = product * rows.step[f] + error * rows.norm[f] + norm * rows.error[f] - one * least[f];
            // written as "not at most 0", so that NaN is a candidate too
            count += append(~(above <= 0), int32_t(f * TOKENS + here), entries + count);
          }
        }
      }
    const auto padding = [left = n - from](int32_t entry) { return entry % TOKENS >= left; };
    if (n - from < TOKENS) count = std::remove_if(entries, entries + count, padding) - entries;
  }
};

// The lists of a block of features while they are being filled.
struct Lists {
  int32_t* toks;  // [FEATURES][room]
  float* vals;
  int64_t room, count[FEATURES];
};

// Computes x.w + b for up to four candidates and appends those above the threshold to the lists.
static inline void compute(const float* x, int64_t token, const float* W, int64_t d, const int32_t* entries,
                           int64_t count, const float* b_enc, const float* threshold, Lists& lists) {
  const float *row[4], *token_row[4];
  for (int64_t c = 0; c < 4; ++c) {
    const int32_t entry = entries[std::min(c, count - 1)];
    row[c] = W + entry / TOKENS * d, token_row[c] = x + (token + entry % TOKENS) * d;
  }
  float s0 = 0, s1 = 0, s2 = 0, s3 = 0;
#pragma omp simd reduction(+ : s0, s1, s2, s3)
  for (int64_t j = 0; j < d; ++j)
    s0 += row[0][j] * token_row[0][j], s1 += row[1][j] * token_row[1][j], s2 += row[2][j] * token_row[2][j],
        s3 += row[3][j] * token_row[3][j];
  const float sums[4] = {s0, s1, s2, s3};
  for (int64_t c = 0; c < std::min<int64_t>(4, count); ++c) {
    const int64_t f = entries[c] / TOKENS, at = f * lists.room + lists.count[f];
    const float v = sums[c] + b_enc[f];
    lists.toks[at] = int32_t(token + entries[c] % TOKENS), lists.vals[at] = v;
    lists.count[f] += v > (threshold ? threshold[f] : 0);
  }
}

// Returns the number of entries; -1, without writing to toks and vals, where there are more than `capacity`, or where
// more than one in WORTH had to be computed.
static int64_t encode(const float* x, const float* W, const float* b_enc, const float* threshold, int64_t n, int64_t d,
                      int64_t d_sae, int64_t* ptr, int32_t* toks, float* vals, int64_t capacity) {
  if (d > WIDEST) return -1;
  const Scales scales(x, n, d);
  const Tokens tokens(x, n, d, scales.of_tokens);
  const int n_threads = omp_get_max_threads();
  const int64_t width = padded(d), share = (d_sae + n_threads - 1) / n_threads;
  const int64_t features = std::max(ROWS, std::min({FEATURES, L2 / 4 / width, share + ROWS - 1}) / ROWS * ROWS);
  const int64_t blocks = (d_sae + features - 1) / features;
  Gathering gathering{ptr, d_sae, toks, vals, capacity, d_sae * n / WORTH};
#pragma omp parallel num_threads(n_threads)
  {
    static thread_local ThreadEntries found;  // kept between calls
    found.clear();
    Candidates candidates;
    Rows rows;
    Lists lists;
    lists.room = n + 17;  // more than is ever listed, and no power of two, which would map all lists to one cache line
    rows.row = scratch(size_t(width + features * (width / 4 + 2 * lists.room)));
    rows.bytes = reinterpret_cast<int8_t*>(rows.row + width);
    lists.vals = rows.row + width + features * width / 4;
    lists.toks = reinterpret_cast<int32_t*>(lists.vals + features * lists.room);
    int64_t computed = 0;
    for (int64_t b; (b = gathering.next_block()) < blocks;) {
      const int64_t base = b * features, here = std::min(features, d_sae - base);
      const float *own = W + base * d, *bias = b_enc + base, *above = threshold ? threshold + base : nullptr;
      float least[FEATURES];
      for (int64_t i = 0; i < here; ++i) {
        const float a = above ? above[i] : 0;
        const float edge = a - bias[i];
        least[i] = edge == INFINITY ? edge : edge - (std::fabs(a) + std::fabs(bias[i])) * 0x1p-20f;
      }
      rows.read(own, here, d, scales.of_rows);
      std::memset(lists.count, 0, sizeof(lists.count));
      for (int64_t first = 0; first < n; first += TOKENS) {
        candidates.find(rows, here, least, tokens, first, n, width);
        for (int64_t c = 0; c < candidates.count; c += 4)
          compute(x, first, own, d, candidates.entries + c, candidates.count - c, bias, above, lists);
        computed += candidates.count;
      }
      found.blocks.push_back({base, int64_t(found.toks.size())});
      for (int64_t i = 0; i < here; ++i) {
        const int64_t at = i * lists.room, count = lists.count[i];
        found.toks.insert(found.toks.end(), lists.toks + at, lists.toks + at + count);
        found.vals.insert(found.vals.end(), lists.vals + at, lists.vals + at + count);
        ptr[base + i + 1] = count;
      }
      if (int64_t(found.toks.size()) > capacity || computed > gathering.worth) break;
    }
    gathering.take(found, computed);
    if (found.toks.capacity() > KEPT) found = {};
  }
  return gathering.total;
}
}  // namespace int8

extern "C" int64_t ISA(int8_encode)(const float* x, const float* W_enc, const float* b_enc, const float* threshold,
                                    int64_t n, int64_t d, int64_t d_sae, int64_t* ptr, int32_t* toks, float* vals,
                                    int64_t capacity) {
  return int8::encode(x, W_enc, b_enc, threshold, n, d, d_sae, ptr, toks, vals, capacity);
}
