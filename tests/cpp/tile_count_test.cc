#include <chrono>
#include <cmath>
#include <list>
#include <unordered_map>

#include "tenfold/tile/machine.h"

#include "tests/cpp/tile_kernels.h"

namespace tenfold::tile {
namespace {

constexpr int64_t kCache = 512 << 10;

void expect_same(const Counts& counted, const Counts& run, const std::string& what) {
  EXPECT_EQ(counted.bytes_read, run.bytes_read) << what;
  EXPECT_EQ(counted.bytes_written, run.bytes_written) << what;
  EXPECT_EQ(counted.scratch_bytes, run.scratch_bytes) << what;
  EXPECT_EQ(counted.flops, run.flops) << what;
  EXPECT_EQ(counted.statements, run.statements) << what;
}

void expect_same(const std::string& text, const Symbols& symbols = {}) {
  const Kernel kernel = parse_kernel(text);
  ASSERT_EQ(fmt::format("{}", fmt::join(verify(kernel), "\n")), "") << text;
  Buffers buffers(kernel, symbols);
  const Counts counts = run(kernel, buffers.pointers, symbols);
  expect_same(count(kernel, kCache, symbols).counts, counts, text);
}

TEST(TileCount, FilesCountAsTheyRun) {
  for (const auto& path : kernel_files()) {
    const Kernel kernel = parse_kernel(read_file(path));
    const Symbols symbols = hints(kernel);
    Buffers buffers(kernel, symbols);
    if (path.stem() == "vote")
      for (int i = 0; i < 40; i += 8) buffers.arrays[0].set(i, -1.0);
    if (path.stem() == "while")
      for (int i = 0; i < 37; i += 8) buffers.arrays[0].set(i, INFINITY);
    const Counts counts = run(kernel, buffers.pointers, symbols);
    expect_same(count(kernel, kCache).counts, counts, path);           // at the hints
    expect_same(count(kernel, kCache, symbols).counts, counts, path);  // as given
  }
}

// ---- kernels with extents to choose

std::string replaced(std::string text, const std::map<std::string, int64_t>& values) {
  for (const auto& [name, value] : values)
    for (size_t at; (at = text.find("$" + name)) != std::string::npos;)
      text.replace(at, name.size() + 1, std::to_string(value));
  return text;
}

int64_t up(int64_t n, int64_t by) { return (n + by - 1) / by; }

std::string softmax(int64_t rows, int64_t columns, int64_t tile, bool in_scratch = true) {
  return replaced(std::string(R"(tenfold 1
kernel softmax(x: f32[$R,$N], out y: f32[$R,$N]) {
  atom r in $R, jo in $O, ji in $T
  vector ji
  guard $T*jo + ji < $N
)") + (in_scratch ? "scratch %e: f32[jo,ji]\n" : "") +
                      R"(  grid r {
    %m = fill f32[ji] -inf
    for jo {
      %0 = load x[r, $T*jo + ji] : f32[ji]
      %m = accumulate maximum %0 : f32[ji]
    }
    %mm = reduce maximum %m over ji : f32[]
    %s = fill f32[ji] 0.0
    for jo {
      %1 = load x[r, $T*jo + ji] : f32[ji]
      %2 = sub %1, %mm : f32[ji]
      %3 = exp %2 : f32[ji]
)" + (in_scratch ? "write %e[jo, ji] = %3\n" : "") +
                      R"(
      %s = accumulate add %3 : f32[ji]
    }
    %ss = reduce add %s over ji : f32[]
    for jo {
)" + (in_scratch ? "%4 = read %e[jo, ji] : f32[ji]" : R"(
      %6 = load x[r, $T*jo + ji] : f32[ji]
      %7 = sub %6, %mm : f32[ji]
      %4 = exp %7 : f32[ji])") +
                      R"(
      %5 = div %4, %ss : f32[ji]
      store y[r, $T*jo + ji] = %5
    }
  }
})",
                  {{"R", rows}, {"N", columns}, {"T", tile}, {"O", up(columns, tile)}});
}

std::string matmul(int64_t m, int64_t n, int64_t k, int64_t tm, int64_t tn, int64_t tk) {
  return replaced(R"(tenfold 1
kernel matmul(a: f32[$M,$K], b: f32[$K,$N], out c: f32[$M,$N]) {
  atom mo in $A, mi in $D, no in $B, ni in $E, ko in $C, ki in $F
  vector ni
  guard $D*mo + mi < $M
  guard $E*no + ni < $N
  guard $F*ko + ki < $K
  grid mo, no {
    %acc = fill f32[mi,ni] 0.0
    for ko {
      %a = load a[$D*mo + mi, $F*ko + ki] : f32[mi,ki]
      %b = load b[$F*ko + ki, $E*no + ni] : f32[ki,ni]
      %acc = contract %a, %b over ki : f32[mi,ni]
    }
    store c[$D*mo + mi, $E*no + ni] = %acc
  }
})",
                  {{"M", m},
                   {"N", n},
                   {"K", k},
                   {"D", tm},
                   {"E", tn},
                   {"F", tk},
                   {"A", up(m, tm)},
                   {"B", up(n, tn)},
                   {"C", up(k, tk)}});
}

// A strided, padded window over tiles of columns.
std::string conv(int64_t height, int64_t width, int64_t kernel, int64_t stride, int64_t pad, int64_t tile) {
  const int64_t out = (width + 2 * pad - kernel) / stride + 1;
  return replaced(R"(tenfold 1
kernel conv(x: f32[$H,$W], w: f32[$K,$K], out y: f32[$H,$V]) {
  atom h in $H, wo in $O, wi in $T, kh in $K, kw in $K
  vector wi
  guard $T*wo + wi < $V
  grid h, wo {
    %y = fill f32[wi] 0.0
    for kh {
      for kw {
        %x = load x[h + kh - $P, $Z*wo + $S*wi + kw - $P] : f32[wi]
        %w = load w[kh, kw] : f32[]
        %y = contract %x, %w : f32[wi]
      }
    }
    store y[h, $T*wo + wi] = %y
  }
})",
                  {{"H", height},
                   {"W", width},
                   {"K", kernel},
                   {"S", stride},
                   {"P", pad},
                   {"T", tile},
                   {"V", out},
                   {"O", up(out, tile)},
                   {"Z", stride * tile}});
}

std::string concat(int64_t rows, int64_t a, int64_t b, int64_t pad, int64_t tile) {
  return replaced(
      R"(tenfold 1
kernel concat(a: f32[$R,$A], b: f32[$R,$B], out y: f32[$R,$N]) {
  atom r in $R, jo in $O, ji in $T
  vector ji
  guard $T*jo + ji < $N
  grid r, jo {
    %a = load a[r, $T*jo + ji] : f32[ji]
    %b = load b[r, $T*jo + ji - $A] : f32[ji]
    %y = add %a, %b : f32[ji]
    store y[r, $T*jo + ji] = %y
  }
})",
      {{"R", rows}, {"A", a}, {"B", b}, {"N", a + b + pad}, {"T", tile}, {"O", up(a + b + pad, tile)}});
}

std::string symmetric(int64_t n, int64_t rows, int64_t columns) {
  return replaced(R"(tenfold 1
kernel symmetric(x: f32[$N,$N], out y: f32[$N,$N]) {
  atom io in $A, ii in $R, jo in $B, ji in $C
  vector ji, ii
  guard $R*io + ii < $N
  guard $C*jo + ji < $N
  grid io, jo {
    %a = load x[$R*io + ii, $C*jo + ji] : f32[ii,ji]
    %b = load x[$C*jo + ji, $R*io + ii] : f32[ji,ii]
    %y = add %a, %b : f32[ii,ji]
    store y[$R*io + ii, $C*jo + ji] = %y
  }
})",
                  {{"N", n}, {"R", rows}, {"C", columns}, {"A", up(n, rows)}, {"B", up(n, columns)}});
}

TEST(TileCount, RandomExtentsCountAsTheyRun) {
  std::mt19937 random(7);
  const auto upto = [&](int64_t n) { return static_cast<int64_t>(1 + random() % n); };
  for (int round = 0; round < 60; ++round) {
    expect_same(softmax(upto(5), upto(40), upto(16), round % 2));
    expect_same(matmul(upto(20), upto(20), upto(20), upto(8), upto(8), upto(8)));
    const int64_t window = upto(4), stride = upto(3);
    expect_same(conv(upto(6), 4 + upto(20), window, stride, static_cast<int64_t>(random() % 3), upto(8)));
    expect_same(concat(upto(3), upto(12), upto(12), upto(5), upto(9)));
    expect_same(symmetric(upto(20), upto(6), upto(6)));
  }
  const std::string flat = read_file(TENFOLD_TESTS_DIR "/tile/flat.ten"),
                    sums = read_file(TENFOLD_TESTS_DIR "/tile/symbolic.ten");
  for (int round = 0; round < 20; ++round) {
    expect_same(flat, {{"m", upto(9)}, {"n", upto(13)}});
    expect_same(sums, {{"n", static_cast<int64_t>(random() % 50)}});
  }
}

// Guards that share an atom, that are never and always true, over negative coefficients.
TEST(TileCount, Guards) {
  const auto with = [](const std::string& guards, const std::string& body) {
    return "tenfold 1\nkernel k(x: f32[30,30], out y: f32[8]) {\natom i in 7, j in 9, t in 5, u in 8\n" +
           guards + "scratch %s: f32[i,j]\ngrid {\n%z = constant 0.0 : f32[u]\nstore y[u] = %z\nfor t {\n" +
           body + "\n}\n}\n}\n";
  };
  const std::string load = "%x = load x[i, j] : f32[i,j]";
  for (const char* guards :
       {"", "guard i + j < 6\n", "guard 3*i - 2*j < 4\n", "guard i < 3\nguard i + 2*j < 9\n", "guard i < 0\n",
        "guard i < 100\n", "guard -i - j < 0\n", "guard 2*t + i < 7\nguard t + j < 4\n", "guard t < 2\n",
        "guard t - i < 1\nguard i - j < 1\nguard j + t < 6\n", "guard 9*i + j < 31\n"}) {
    expect_same(with(guards, load));
    expect_same(with(guards, load + "\nwrite %s[i, j] = %x\n%y = read %s[i, j] : f32[i,j]"));
    expect_same(with(guards, "%x = load x[i + j - 4, 10*t + 5*i - 7*j] : f32[i,j]"));
    expect_same(with(guards, "%x = load x[20, -i - j] : f32[i,j]\n%y = load x[31, t] : f32[]"));
  }
}

TEST(TileCount, AVoteCountsItsPart) {
  const Kernel kernel = kernel_file("vote");
  const Traffic all = count(kernel, kCache), none = count(kernel, kCache, {}, 0.0),
                half = count(kernel, kCache, {}, 0.5);
  EXPECT_EQ(all.counts.statements - none.counts.statements, 5 * 2);
  EXPECT_EQ(half.counts.statements - none.counts.statements, 5);
  EXPECT_EQ(half.counts.flops, (all.counts.flops + none.counts.flops) / 2);
  EXPECT_EQ(none.counts.bytes_read, all.counts.bytes_read);
}

TEST(TileCount, Chain) {
  const auto cost = [](std::string_view name) { return prim(name).cost; };
  // 12 steps of a multiplication and an addition through the carry; every other step takes the other carry.
  EXPECT_EQ(count(kernel_file("scan"), kCache).chain, 6 * (cost("mul") + cost("add")));
  EXPECT_EQ(count(kernel_file("scan_reverse"), kCache).chain, 9 * cost("fma"));
  EXPECT_EQ(count(kernel_file("matmul"), kCache).chain, 80 + cost("add"));
  EXPECT_EQ(count(kernel_file("softmax"), kCache).chain, 16 * cost("maximum") + 6 * cost("maximum") +
                                                             cost("sub") + cost("exp") + 16 * cost("add") +
                                                             6 * cost("add") + cost("div"));
}

// ---- traffic against a simulator

// Fully associative, least recently used, lines of 64 bytes, written lines go out when they leave.
class Cache {
 public:
  explicit Cache(int64_t bytes) : lines_(bytes / 64) {}

  void access(uint64_t address, bool write, bool scratch) {
    const uint64_t line = address / 64;
    auto found = where_.find(line);
    if (found == where_.end()) {
      if (!write) read_ += 64;  // lines are not read before they are written
      if (order_.size() == lines_) evict();
      order_.push_front({line, false, scratch});
      found = where_.emplace(line, order_.begin()).first;
    } else {
      order_.splice(order_.begin(), order_, found->second);
    }
    found->second->dirty |= write;
  }

  double read() const { return read_; }
  double written() const {  // what scratch leaves in the cache never goes out
    double total = written_;
    for (const Line& line : order_) total += line.dirty && !line.scratch ? 64 : 0;
    return total;
  }

 private:
  struct Line {
    uint64_t address;
    bool dirty, scratch;
  };

  void evict() {
    if (order_.back().dirty) written_ += 64;
    where_.erase(order_.back().address);
    order_.pop_back();
  }

  size_t lines_;
  std::list<Line> order_;
  std::unordered_map<uint64_t, std::list<Line>::iterator> where_;
  double read_ = 0, written_ = 0;
};

struct Case {
  std::string name, text;
  int64_t cache;
};

std::string rnn(int64_t batch, int64_t tile, int64_t hidden, int64_t steps) {
  return replaced(R"(tenfold 1
kernel rnn(x: f32[$S,$B,$H], w: f32[$H,$H], out y: f32[$B,$H]) {
  atom bo in $O, bi in $T, h in $H, k in $H, t in $S
  vector h
  grid bo {
    %s = fill f32[bi,h] 0.0
    for t {
      %x = load x[t, $T*bo + bi, h] : f32[bi,h]
      %w = load w[k, h] : f32[k,h]
      %n = fill f32[bi,h] 0.0
      %n = contract %s[bi: bi, h: k], %w over k : f32[bi,h]
      %z = add %n, %x : f32[bi,h]
      carry %s <- %z
    }
    store y[$T*bo + bi, h] = %s
  }
})",
                  {{"B", batch}, {"T", tile}, {"H", hidden}, {"S", steps}, {"O", batch / tile}});
}

std::string columns(int64_t rows, int64_t width, int64_t tile) {
  return replaced(R"(tenfold 1
kernel columns(x: f32[$R,$N], out s: f32[$N]) {
  atom co in $O, ci in $T, r in $R
  vector ci
  guard $T*co + ci < $N
  grid co {
    %s = fill f32[ci] 0.0
    for r {
      %x = load x[r, $T*co + ci] : f32[ci]
      %s = accumulate add %x : f32[ci]
    }
    store s[$T*co + ci] = %s
  }
})",
                  {{"R", rows}, {"N", width}, {"T", tile}, {"O", up(width, tile)}});
}

std::string interleaved(int64_t n) {
  return replaced(R"(tenfold 1
kernel interleaved(x: f32[$N,4], out y: f32[$N,4]) {
  atom no in $O, ni in 16
  vector ni
  grid no {
    %a = load x[16*no + ni, 0] : f32[ni]
    %b = load x[16*no + ni, 1] : f32[ni]
    %c = load x[16*no + ni, 2] : f32[ni]
    %d = load x[16*no + ni, 3] : f32[ni]
    %e = add %a, %b : f32[ni]
    %f = add %c, %d : f32[ni]
    store y[16*no + ni, 0] = %e
    store y[16*no + ni, 1] = %f
    store y[16*no + ni, 2] = %a
    store y[16*no + ni, 3] = %b
  }
})",
                  {{"N", n}, {"O", n / 16}});
}

std::string one_component(int64_t n) {
  return replaced(R"(tenfold 1
kernel component(x: f32[$N,3], even: f32[$M], out y: f32[$N]) {
  atom no in $O, ni in 16
  vector ni
  grid no {
    %a = load x[16*no + ni, 1] : f32[ni]
    %b = load even[32*no + 2*ni] : f32[ni]
    %c = add %a, %b : f32[ni]
    store y[16*no + ni] = %c
  }
})",
                  {{"N", n}, {"M", 2 * n}, {"O", n / 16}});
}

std::string gather(int64_t rows, int64_t width, int64_t n) {
  return replaced(R"(tenfold 1
kernel gather(table: f32[$R,$W], row: i32[$N], out y: f32[$N,$W]) {
  atom no in $O, ni in 8, c in $W
  vector c
  grid no {
    %i = load row[8*no + ni] : i32[ni]
    %v = load table[%i, c] : f32[ni,c]
    store y[8*no + ni, c] = %v
  }
})",
                  {{"R", rows}, {"W", width}, {"N", n}, {"O", n / 8}});
}

// Two loops over a scratch row that may be larger than the cache.
std::string through_scratch(int64_t rows, int64_t width) {
  return replaced(R"(tenfold 1
kernel through(x: f32[$R,$N], out y: f32[$R,$N]) {
  atom r in $R, jo in $O, ji in 64
  vector ji
  scratch %e: f32[jo,ji]
  grid r {
    for jo {
      %1 = load x[r, 64*jo + ji] : f32[ji]
      write %e[jo, ji] = %1
    }
    for jo {
      %4 = read %e[jo, ji] : f32[ji]
      store y[r, 64*jo + ji] = %4
    }
  }
})",
                  {{"R", rows}, {"N", width}, {"O", width / 64}});
}

// A row and the one `apart` rows below, of which the second is read a little wider: no box of one iteration.
std::string neighbours(int64_t rows, int64_t width, int64_t apart) {
  return replaced(
      R"(tenfold 1
kernel neighbours(x: f32[$X,$W], out y: f32[$R,$V]) {
  atom i in $R, jo in $O, ji in 64
  vector ji
  guard 64*jo + ji < $V
  grid i, jo {
    %0 = load x[i, 64*jo + ji + 1] : f32[ji]
    %1 = load x[i + $A, 64*jo + ji] : f32[ji]
    %2 = load x[i + $A, 64*jo + ji + 2] : f32[ji]
    %3 = add %0, %1 : f32[ji]
    %4 = add %3, %2 : f32[ji]
    store y[i, 64*jo + ji] = %4
  }
})",
      {{"R", rows}, {"X", rows + apart}, {"W", width + 2}, {"V", width}, {"A", apart}, {"O", up(width, 64)}});
}

TEST(TileCount, TrafficAgreesWithASimulatedCache) {
  const std::vector<Case> cases{
      {"softmax, all fits", softmax(64, 1000, 64), 512 << 10},
      {"softmax in scratch, a row fits", softmax(32, 2048, 64), 32 << 10},
      {"softmax in three passes, a row fits", softmax(16, 2048, 64, false), 20 << 10},
      {"softmax in three passes, a row does not fit", softmax(8, 8192, 64, false), 20 << 10},
      {"softmax, ragged rows", softmax(33, 1003, 64), 16 << 10},
      {"matmul, a panel of b fits", matmul(128, 128, 128, 16, 32, 16), 48 << 10},
      {"matmul, everything fits", matmul(96, 96, 96, 16, 32, 16), 256 << 10},
      {"matmul, a panel does not fit", matmul(128, 128, 256, 16, 32, 16), 24 << 10},
      {"matmul, ragged", matmul(100, 90, 110, 16, 32, 16), 24 << 10},
      {"matmul, one row of a", matmul(4, 256, 256, 1, 32, 16), 64 << 10},
      {"conv, rows stay", conv(64, 512, 3, 1, 1, 64), 16 << 10},
      {"conv, rows do not stay", conv(32, 2048, 3, 1, 1, 64), 8 << 10},
      {"conv, strided", conv(32, 1024, 3, 2, 1, 64), 16 << 10},
      {"neighbouring rows", neighbours(64, 512, 1), 32 << 10},
      {"rows near enough to stay", neighbours(64, 512, 5), 32 << 10},
      {"rows too far apart to stay", neighbours(64, 512, 16), 32 << 10},
      {"concat", concat(32, 500, 300, 41, 64), 16 << 10},
      {"x + x^T, small tiles", symmetric(256, 4, 16), 32 << 10},
      {"x + x^T, square tiles", symmetric(256, 16, 16), 32 << 10},
      {"x + x^T, tiny cache", symmetric(256, 4, 4), 2 << 10},
      {"columns, whole lines", columns(512, 256, 16), 16 << 10},
      {"columns, a quarter of a line, kept", columns(256, 256, 4), 32 << 10},
      {"columns, a quarter of a line, lost", columns(1024, 64, 4), 16 << 10},
      {"columns, unaligned", columns(512, 250, 50), 16 << 10},
      {"rnn, weights stay", rnn(64, 8, 32, 6), 16 << 10},
      {"rnn, weights do not stay", rnn(32, 8, 96, 4), 16 << 10},
      {"interleaved fields", interleaved(8192), 16 << 10},
      {"one component", one_component(8192), 16 << 10},
      {"gather, table fits", gather(40, 64, 1024), 64 << 10},
      {"scratch fits", through_scratch(16, 2048), 32 << 10},
      {"scratch does not fit", through_scratch(8, 8192), 16 << 10},
  };
  std::vector<double> errors;
  for (const Case& c : cases) {
    const Kernel kernel = parse_kernel(c.text);
    ASSERT_EQ(fmt::format("{}", fmt::join(verify(kernel), "\n")), "") << c.text;
    Buffers buffers(kernel);
    Cache cache(c.cache);
    std::byte* scratch = nullptr;
    run(kernel, buffers.pointers, {}, [&](const void* address, int64_t, bool write) {
      const auto* at = static_cast<const std::byte*>(address);
      for (size_t i = 0; i < buffers.arrays.size(); ++i) {
        const auto& bytes = buffers.arrays[i].bytes;
        if (at >= bytes.data() && at < bytes.data() + bytes.size())
          return cache.access(((i + 1) << 40) + (at - bytes.data()), write, false);
      }
      if (!scratch) scratch = const_cast<std::byte*>(at);
      cache.access((uint64_t{1} << 60) + (at - scratch), write, true);
    });
    const Traffic traffic = count(kernel, c.cache);
    const auto error = [&](double predicted, double simulated) {
      return std::abs(predicted / simulated - 1);
    };
    const double read = error(traffic.memory_read, cache.read()),
                 written = error(traffic.memory_written, cache.written());
    errors.push_back(std::max(read, written));
    RecordProperty(c.name, std::to_string(errors.back()));
    EXPECT_LT(errors.back(), 0.10) << c.name;
    if (errors.back() > 0.05 || std::getenv("TENFOLD_SHOW"))
      std::printf("%-45s read %9.0f / %9.0f  written %9.0f / %9.0f\n", c.name.c_str(), traffic.memory_read,
                  cache.read(), traffic.memory_written, cache.written());
  }
  std::sort(errors.begin(), errors.end());
  EXPECT_LT(errors[errors.size() / 2], 0.05);
}

TEST(TileCount, ReadOnceWritesOnce) {
  const Traffic softmax = count(kernel_file("softmax"), kCache);
  EXPECT_EQ(softmax.memory_read, 64 * 1000 * 4);
  EXPECT_EQ(softmax.memory_written, 64 * 1000 * 4);
  const Traffic sum = count(kernel_file("symbolic"), kCache, {{"n", 77}});
  EXPECT_EQ(sum.memory_read, 77 * 5 * 4);
  EXPECT_EQ(sum.memory_written, 77 * 4);
  const Traffic nothing = count(kernel_file("symbolic"), kCache, {{"n", 0}});
  EXPECT_EQ(nothing.memory_read + nothing.memory_written + nothing.chain, 0);
}

TEST(TileCount, Machines) {
  EXPECT_EQ(machine("avx2").vector_bytes, 32);
  EXPECT_EQ(error_of([] { machine("avx3"); }),
            "there is no machine record named \"avx3\": choose one of avx512, avx512bf16, zen4, amx, avx2, "
            "portable, pocl, h200, gpu, gpu80, generic");
  std::vector<std::string> hashes;
  for (const Machine& m : machines()) hashes.push_back(hash(m));
  std::sort(hashes.begin(), hashes.end());
  EXPECT_EQ(std::unique(hashes.begin(), hashes.end()), hashes.end());
  Machine changed = machine("avx2");
  EXPECT_EQ(hash(changed), hash(machine("avx2")));
  changed.issue *= 2;
  EXPECT_NE(hash(changed), hash(machine("avx2")));
}

// The planner counts hundreds of kernels per compile. Printed, not asserted: machines differ.
TEST(TileCount, Speed) {
  std::string body;
  for (int i = 0; i < 25; ++i)
    body += fmt::format(
        "%a{0} = load x[{0}, r, 64*jo + ji] : f32[ji]\n%b{0} = mul %a{0}, %a{0} : f32[ji]\n%c{0} = exp %b{0} "
        ": "
        "f32[ji]\nstore y[{0}, r, 64*jo + ji] = %c{0}\n",
        i);
  const Kernel kernel = parse_kernel(
      "tenfold 1\nkernel k(x: f32[25,64,1000], out y: f32[25,64,1000]) {\natom r in 64, jo in 16, ji in "
      "64\nguard 64*jo + ji < 1000\n"
      "grid r {\nfor jo {\n" +
      body + "}\n}\n}\n");
  constexpr int kRounds = 1000;
  double sum = 0;
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < kRounds; ++i) sum += count(kernel, kCache).memory_read;
  const std::chrono::duration<double, std::micro> time = std::chrono::steady_clock::now() - start;
  EXPECT_EQ(sum, kRounds * 25.0 * 64 * 1000 * 4);
  std::printf("count: %.1f us for 100 statements\n", time.count() / kRounds);
}

}  // namespace
}  // namespace tenfold::tile
