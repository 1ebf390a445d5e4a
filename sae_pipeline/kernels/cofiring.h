// The k largest of each row, and the k columns most like each column of a 0/1 matrix. Compiled per instruction set, as
// sparse_body.h is. Twins: reference.largest, reference.most_alike.

// The k largest of score[0:n], largest first, ties to the lower index; −1 and 0 beyond those above `floor`.
static void best_of(const float* score, int64_t n, int64_t k, float floor, int32_t* index, float* value) {
  for (int64_t s = 0; s < k; s++) index[s] = -1, value[s] = 0;
  int64_t have = 0;
  float least = floor;
  const auto offer = [&](int64_t j) {
    if (!(score[j] > least)) return;
    int64_t s = have < k ? have++ : k - 1;
    for (; s > 0 && value[s - 1] < score[j]; s--) value[s] = value[s - 1], index[s] = index[s - 1];
    value[s] = score[j], index[s] = int32_t(j);
    if (have == k) least = value[k - 1];
  };
  int64_t j = 0;
  for (; j + 128 <= n; j += 128) {
    int any = 0;
    for (int64_t t = 0; t < 128; t++) any |= score[j + t] > least;
    if (any)
      for (int64_t t = 0; t < 128; t++) offer(j + t);
  }
  for (; j < n; j++) offer(j);
}

extern "C" void ISA(largest)(const float* dense, int64_t n, int64_t width, int64_t k, int32_t* index, float* value) {
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < n; i++) best_of(dense + i * width, width, k, -INFINITY, index + i * k, value + i * k);
}

// Jaccard index |both| / |either|, exact. Rows and columns are given as lists; columns with fewer than `least` entries
// are like nobody.
extern "C" void ISA(most_alike)(const int64_t* row_ptr, const int32_t* row_cols, const int64_t* col_ptr,
                                const int32_t* col_rows, int64_t n_cols, int64_t least, int64_t k, int32_t* alike,
                                float* jaccard) {
  std::vector<float> sizes(n_cols);
  for (int64_t j = 0; j < n_cols; j++) {
    const int64_t size = col_ptr[j + 1] - col_ptr[j];
    sizes[j] = size < least ? INFINITY : float(size);
  }
#pragma omp parallel
  {
    std::vector<int32_t> both(n_cols);
    std::vector<float> index(n_cols);
#pragma omp for schedule(dynamic, 64)
    for (int64_t i = 0; i < n_cols; i++) {
      std::fill(both.begin(), both.end(), 0);
      if (sizes[i] < INFINITY) {
        for (int64_t e = col_ptr[i]; e < col_ptr[i + 1]; e++)
          for (int64_t p = row_ptr[col_rows[e]]; p < row_ptr[col_rows[e] + 1]; p++) both[row_cols[p]]++;
        both[i] = 0;
      }
      const float size = sizes[i];
      for (int64_t j = 0; j < n_cols; j++) index[j] = float(both[j]) / (size + sizes[j] - float(both[j]));
      best_of(index.data(), n_cols, k, 0, alike + i * k, jaccard + i * k);
    }
  }
}
