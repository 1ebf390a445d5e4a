// Calls the kernels for another process: linked with sparse.cpp and run under qemu, so that an ARM64 chip is emulated
// and Python is not. Every argument of a kernel is a pointer or an int64, and AAPCS64 passes both alike.
//
// A call on stdin: the length of the name, the name; the number of regions of memory, for each its size, its bytes and
// the pointers in it (their number; offset and region of each); the number of arguments, for each whether it is a
// pointer, and its value or region (-1: null). The answer: what the kernel returned, then all bytes of all regions.
#include <dlfcn.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

static void read(void* to, size_t n) {
  if (n && fread(to, 1, n, stdin) != n) exit(0);  // the caller has ended
}
static int64_t number() {
  int64_t value;
  read(&value, sizeof(value));
  return value;
}

int main() {
  using W = int64_t;
  for (;;) {
    std::string name(size_t(number()), ' ');
    read(name.data(), name.size());
    std::vector<std::vector<char>> regions(static_cast<size_t>(number()));
    struct Pointer {
      size_t in, offset, to;
    };
    std::vector<Pointer> pointers;
    for (size_t i = 0; i < regions.size(); ++i) {
      regions[i].resize(size_t(number()));
      read(regions[i].data(), regions[i].size());
      for (int64_t left = number(); left; --left) {
        const size_t offset = size_t(number());
        pointers.push_back({i, offset, size_t(number())});
      }
    }
    const auto place = [&](int64_t region) { return region < 0 ? W(0) : W(regions[size_t(region)].data()); };
    for (const Pointer& p : pointers) {
      const W address = place(W(p.to));
      std::memcpy(regions[p.in].data() + p.offset, &address, sizeof(address));
    }
    W a[16] = {};
    const int64_t n_arguments = number();
    for (int64_t i = 0; i < n_arguments; ++i) {
      const bool pointer = number();
      a[i] = pointer ? place(number()) : number();
    }
    const auto kernel = reinterpret_cast<W (*)(W, W, W, W, W, W, W, W, W, W, W, W, W, W, W, W)>(
        dlsym(RTLD_DEFAULT, name.c_str()));
    if (!kernel) fprintf(stderr, "there is no kernel %s\n", name.c_str()), exit(1);
    const W answer = kernel(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8], a[9], a[10], a[11], a[12], a[13],
                            a[14], a[15]);
    fwrite(&answer, sizeof(answer), 1, stdout);
    for (const auto& region : regions) fwrite(region.data(), 1, region.size(), stdout);
    fflush(stdout);
  }
}
