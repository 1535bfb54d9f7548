// The bytes that explain predicts, held against those that valgrind's cachegrind counts on the AVX2 level: 30
// kernels on arrays larger than a simulated cache of the size that the AVX2 machine record plans for, and 20
// contractions, some of them larger and some smaller.
//
// The program runs itself under valgrind with --measure=SET. There each kernel is compiled (found in a kernel
// cache, which a first run without valgrind fills), and two children are forked: one sweeps the cache, the
// other sweeps it and runs the program once. Cachegrind writes a file for each; the difference of their
// last-level misses, 64 bytes each, is what the program moved. Cachegrind counts a missed store once, so a
// line written without being read is one miss, as the prediction has it; write-backs and prefetches it does
// not count.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <sys/wait.h>

#include <unistd.h>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tenfold/compile/explain.h"
#include "tenfold/env/rollout.h"
#include "tenfold/generated/ops.h"
#include "tenfold/ir/eval.h"
#include "tenfold/lang/contract.h"
#include "tenfold/lang/jit.h"
#include "tenfold/lang/window.h"
#include "tenfold/target/cpu.h"
#include "tenfold/tile/machine.h"

namespace tenfold {
namespace {

using lang::Slice;
using lang::Tensor;
using lang::Tensors;

constexpr double kMedianBound = 0.05, kBound = 0.05;                         // of |counted / predicted - 1|
constexpr double kContractionsMedianBound = 0.1, kContractionsBound = 0.45;  // what stays cached is a guess
constexpr double kLine = 64;                                                 // bytes
constexpr int kWays = 1024;  // of the simulated cache: the prediction is of one that replaces the line least
                             // recently used of all
// The last tile of a row is a short one: the prediction takes it for the mean of all.
constexpr double kShortTileBound = 0.06;

struct Case {
  std::string name;
  std::vector<Type> arguments;
  lang::Function function;
  int64_t index_range = 0;  // integer arguments hold different numbers below it
  double bound = kBound;
};

Type of(Dtype dtype, const Ints& shape) { return {dtype, Shape(shape.begin(), shape.end())}; }
Type f32(const Ints& shape) { return of(Dtype::f32, shape); }

Tensor softmax(const Tensor& x) {
  const Tensor e = exp(x - max(x, {{-1}}, true));
  return e / sum(e, {{-1}}, true);
}

Tensor part(const Tensor& x, const std::vector<lang::Index>& where) { return lang::index(x, where); }

Tensors layer_norm(const Tensors& in) {
  const Tensor centred = in[0] - mean(in[0], {{-1}}, true);
  return {centred * rsqrt(mean(centred * centred, {{-1}}, true) + 1e-5) * in[1] + in[2]};
}

Tensors five_point(const Tensors& in) {
  const Tensor& x = in[0];
  const Slice inner{1, -1}, before{0, -2}, after{2, {}};
  return {(part(x, {before, inner}) + part(x, {after, inner}) + part(x, {inner, before}) +
           part(x, {inner, after})) *
              0.25 -
          part(x, {inner, inner})};
}

Tensors rotary(const Tensors& in) {  // [batch, time, head, 64] with cosines and sines [time, 1, 32]
  const Tensor first = part(in[0], {lang::Ellipsis{}, Slice{0, 32}}),
               second = part(in[0], {lang::Ellipsis{}, Slice{32, 64}});
  return {lang::concatenate({first * in[1] - second * in[2], second * in[1] + first * in[2]}, -1)};
}

Tensors adam(const Tensors& in) {  // parameter, gradient, first and second moment
  const Tensor m = in[2] * 0.9 + in[1] * 0.1, v = in[3] * 0.999 + in[1] * in[1] * 0.001;
  return {in[0] - m * 0.001 / (sqrt(v) + 1e-8), m, v};
}

Tensors relaxation(const Tensors& in) {  // a trajectory of 200 steps
  auto result = lang::scan(
      [](const Tensors& at) {
        const Tensor next = at[0] * 0.99 + 0.01;
        return Tensors{next, next};
      },
      {in[0]}, {}, {.length = Dim(200), .names = {}});
  return {result.carries[0], result.ys[0]};
}

Tensors moving_average(const Tensors& in) {  // over the rows of in[1]
  auto result = lang::scan(
      [](const Tensors& at) {
        const Tensor next = at[0] * 0.9 + at[1] * 0.1;
        return Tensors{next, next};
      },
      {in[0]}, {in[1]}, {});
  return {result.ys[0]};
}

Tensors cartpole_step(const Tensors& in) {
  const auto environment = env::make("CartPole-v1");
  return lang::vmap(
      [&](const Tensors& one) {
        const env::Step step = environment->step(Tensors(one.begin(), one.end() - 1), Tensors{one.back()});
        Tensors out = step.state;
        out.push_back(step.terminated);
        return out;
      },
      in, std::vector<lang::BatchAxis>(in.size(), 0));
}

Tensors cartpole_rollout(const Tensors& in) {
  const auto environment = env::make("CartPole-v1");
  const env::Trajectory out =
      env::rollout(*environment, nullptr, {.num_envs = 2048, .steps = 64, .emit = {"obs"}}, in[0]);
  return {out.returns, out["obs"]};
}

std::vector<Case> cases() {
  const int64_t large = 1 << 20;
  return {
      {"add", {f32({large}), f32({large})}, [](auto& in) { return Tensors{in[0] + in[1]}; }},
      {"gelu, ragged",
       {f32({1003, 1001})},
       [](auto& in) {
         const Tensor& x = in[0];
         return Tensors{x * 0.5 * (tanh((x + x * x * x * 0.044715) * 0.7978846) + 1.0)};
       }},
      {"where of a mask",
       {of(Dtype::boolean, {large}), f32({large}), f32({large})},
       [](auto& in) { return Tensors{lang::where(in[0], in[1], in[2] * 2.0)}; }},
      {"outer sum",
       {f32({1100}), f32({900})},
       [](auto& in) { return Tensors{expand_dims(in[0], 1) * 2.0 + expand_dims(in[1], 0)}; }},
      {"adam", {f32({large / 2}), f32({large / 2}), f32({large / 2}), f32({large / 2})}, adam},
      {"softmax", {f32({1024, 1024})}, [](auto& in) { return Tensors{softmax(in[0])}; }},
      {"softmax, rows beyond the cache",
       {f32({6, 200000})},
       [](auto& in) { return Tensors{softmax(in[0])}; }},
      {"layer norm", {f32({1500, 768}), f32({768}), f32({768})}, layer_norm},
      {"rms norm, ragged",
       {f32({999, 1001}), f32({1001})},
       [](auto& in) { return Tensors{in[0] * rsqrt(mean(in[0] * in[0], {{-1}}, true) + 1e-6) * in[1]}; }},
      {"sum along rows", {f32({2048, 700})}, [](auto& in) { return Tensors{sum(in[0], {{1}})}; }},
      {"sum along columns", {f32({2048, 700})}, [](auto& in) { return Tensors{sum(in[0], {{0}})}; }},
      {"max over the middle axis",
       {f32({64, 128, 130})},
       [](auto& in) { return Tensors{max(in[0], {{1}})}; },
       0,
       kShortTileBound},
      {"variance of all", {f32({large})}, [](auto& in) { return Tensors{lang::var(in[0])}; }},
      {"transpose", {f32({1000, 1100})}, [](auto& in) { return Tensors{transpose(in[0]) * 2.0}; }},
      {"axes rotated",
       {f32({64, 96, 200})},
       [](auto& in) { return Tensors{permute(in[0], {2, 0, 1}) + 1.0}; },
       0,
       kShortTileBound},
      {"five-point stencil", {f32({1026, 1030})}, five_point},
      {"three-point blur",
       {f32({large + 2})},
       [](auto& in) {
         return Tensors{part(in[0], {Slice{0, -2}}) + part(in[0], {Slice{1, -1}}) * 2.0 +
                        part(in[0], {Slice{2, {}}})};
       }},
      {"every other column",
       {f32({1024, 1500})},
       [](auto& in) { return Tensors{part(in[0], {Slice{}, Slice{{}, {}, 2}}) + 1.0}; }},
      {"pad",
       {f32({1000, 1001})},
       [](auto& in) { return Tensors{lang::pad(in[0], {{3, 5}, {7, 9}}) + 1.0}; }},
      {"concatenate",
       {f32({1024, 300}), f32({1024, 724})},
       [](auto& in) { return Tensors{lang::concatenate({in[0] * 2.0, in[1]}, 1)}; }},
      {"rows gathered",
       {f32({6000, 200}), of(Dtype::i32, {4000})},
       [](auto& in) { return Tensors{take(in[0], in[1], 0) * 2.0}; },
       6000},
      {"matrix product",
       {f32({300, 700}), f32({700, 500})},
       [](auto& in) { return Tensors{matmul(in[0], in[1])}; }},
      {"matrix times vector",
       {f32({1024, 1100}), f32({1100})},
       [](auto& in) { return Tensors{matmul(in[0], in[1])}; }},
      {"scan with a trajectory", {f32({4096})}, relaxation},
      {"scan over rows", {f32({4096}), f32({200, 4096})}, moving_average},
      {"cartpole step",
       {f32({60000}), f32({60000}), f32({60000}), f32({60000}), of(Dtype::i32, {60000}),
        of(Dtype::i32, {60000})},
       cartpole_step,
       2},
      {"cartpole rollout", {of(Dtype::u32, {2})}, cartpole_rollout, 100},
      {"rotary embedding", {f32({8, 128, 16, 64}), f32({128, 1, 32}), f32({128, 1, 32})}, rotary},
      {"f16 and bf16 to f32",
       {of(Dtype::f16, {large}), of(Dtype::bf16, {large})},
       [](auto& in) { return Tensors{astype(in[0], Dtype::f32) + astype(in[1], Dtype::f32)}; }},
      {"f64 from i8 and a scale",
       {of(Dtype::i8, {1024, 512}), of(Dtype::f64, {1024, 1})},
       [](auto& in) { return Tensors{astype(in[0], Dtype::f64) * in[1]}; },
       100},
  };
}

Tensors times(const Tensors& in) { return {matmul(in[0], in[1])}; }

lang::Function einsum_of(const char* spec) {
  return [spec](const Tensors& in) { return Tensors{lang::einsum(spec, {in[0], in[1]})}; };
}

lang::Function over(const char* spec, lang::Operator op) {
  return [spec, op](const Tensors& in) { return lang::contract(spec, {in[0]}, {in[1]}, op); };
}

Tensors attention(const Tensors& in) {  // queries, keys, values [head, time, 64]
  const Tensor scores = lang::einsum("hqd,hkd->hqk", {in[0], in[1]}) * 0.125;
  return {lang::einsum("hqk,hkd->hqd", {softmax(scores), in[2]})};
}

std::vector<Case> contractions() {
  const lang::Operator min_plus{[](auto& a, auto& b) { return Tensors{a[0] + b[0]}; }, "min", "min_plus"};
  const lang::Operator distance{[](auto& a, auto& b) { return Tensors{(a[0] - b[0]) * (a[0] - b[0])}; },
                                "sum", "distance"};
  const auto conv = [](lang::Sliding how, int64_t groups) -> lang::Function {
    return [how, groups](const Tensors& in) { return Tensors{lang::conv(in[0], in[1], how, groups)}; };
  };
  const lang::Sliding same{.padding = {{1, 1}}};
  std::vector<Case> all{
      {"square", {f32({384, 384}), f32({384, 384})}, times},
      {"square, in the cache", {f32({96, 96}), f32({96, 96})}, times},
      {"odd sizes", {f32({331, 157}), f32({157, 407})}, times},
      {"tall", {f32({3000, 64}), f32({64, 64})}, times},
      {"long sums", {f32({64, 6000}), f32({6000, 64})}, times},
      {"wide, few rows", {f32({8, 512}), f32({512, 2000})}, times},
      {"one row", {f32({1, 900}), f32({900, 1100})}, times},
      {"outer", {f32({900}), f32({1100})}, einsum_of("m,n->mn")},
      {"second transposed", {f32({300, 250}), f32({400, 250})}, einsum_of("mk,nk->mn")},
      {"first transposed", {f32({250, 300}), f32({250, 400})}, einsum_of("km,kn->mn")},
      {"both and the result", {f32({200, 350}), f32({400, 200})}, einsum_of("km,nk->nm")},
      {"batched", {f32({48, 100, 64}), f32({48, 64, 100})}, times},
      {"batched, heads inside", {f32({200, 8, 64}), f32({200, 8, 64})}, einsum_of("qhd,khd->hqk")},
      {"with bias and tanh",
       {f32({200, 500}), f32({500, 300}), f32({300})},
       [](auto& in) { return Tensors{tanh(matmul(in[0], in[1]) + in[2])}; }},
      {"bf16", {of(Dtype::bf16, {256, 256}), of(Dtype::bf16, {256, 256})}, times},
      {"min-plus", {f32({200, 200}), f32({200, 320})}, over("mk,kn->mn", min_plus)},
      {"distances", {f32({700, 40}), f32({600, 40})}, over("mk,nk->mn", distance)},
      {"3x3 windows", {f32({2, 32, 40, 40}), f32({32, 32, 3, 3})}, conv(same, 1)},
      {"3x3 windows, each channel", {f32({1, 96, 80, 80}), f32({96, 1, 3, 3})}, conv(same, 96)},
      {"attention", {f32({2, 320, 64}), f32({2, 320, 64}), f32({2, 320, 64})}, attention},
  };
  for (Case& c : all) c.bound = kContractionsBound;
  return all;
}

struct Set {
  std::string name;
  std::vector<Case> (*cases)();
  size_t size;
  double median_bound;
};

const Set kSets[] = {{"kernels", cases, 30, kMedianBound},
                     {"contractions", contractions, 20, kContractionsMedianBound}};

// ---- under valgrind

void fill(std::byte* to, const Type& type, int64_t index_range) {
  const int64_t size = volume(type.shape).value(), width = size_of(type.dtype);
  const int64_t some = index_range > 0 ? std::min(size, index_range) : std::min<int64_t>(size, 4096);
  Array first(type.dtype, {some});
  for (int64_t i = 0; i < some; ++i) {
    const int64_t mixed = i * 1009 % std::max<int64_t>(1, index_range);  // 1009 is a prime
    first.set(i, is_inexact(type.dtype) ? Scalar(static_cast<double>(i % 97) * 0.01).round_to(type.dtype)
                 : index_range > 0      ? Scalar(mixed).round_to(type.dtype)
                                        : Scalar(i % 3 == 0).round_to(type.dtype));
  }
  std::memcpy(to, first.bytes.data(), some * width);
  for (int64_t done = some; done < size; done *= 2)
    std::memcpy(to + done * width, to, std::min(done, size - done) * width);
}

// Nothing that was touched before is in the cache afterwards.
void sweep(const std::vector<char>& memory) {
  volatile char seen = 0;
  for (size_t i = 0; i < memory.size(); i += 64) seen = memory[i];
  (void)seen;
}

int measure(const Set& set, bool only_compile) {
  const std::vector<char> memory(4 * tile::machine("avx2").cache, 1);
  for (const Case& c : set.cases()) {
    std::vector<lang::ArgumentType> types;
    for (const Type& type : c.arguments) types.push_back({type, false});
    const lang::Compiled compiled(c.function, types, {}, {});
    const auto& executable = compiled.executable();
    if (only_compile) continue;

    std::vector<BufferRef> arguments, results;
    std::vector<void*> inputs;
    for (const Type& type : c.arguments) {
      arguments.push_back(std::make_shared<Buffer>(volume(type.shape).value() * size_of(type.dtype)));
      fill(arguments.back()->data(), type, c.index_range);
      inputs.push_back(arguments.back()->data());
    }
    for (const NodeRef& result : executable->graph().results)
      results.push_back(std::make_shared<Buffer>(volume(result->shape()).value() * size_of(result->dtype())));
    executable->run(inputs, {}, results);  // what is set up once is not counted
    std::array<pid_t, 2> children{};
    for (int runs : {0, 1}) {
      children[runs] = fork();
      if (children[runs] < 0) return 1;
      if (children[runs] == 0) {
        sweep(memory);
        if (runs) executable->run(inputs, {}, results);
        _exit(0);
      }
      int status = 0;
      if (waitpid(children[runs], &status, 0) < 0 || status != 0) return 1;
    }
    const compile::Explanation e = compile::explain(executable);
    std::printf("%d %d %.0f %.0f %ld\n", children[0], children[1], e.bytes_read, e.bytes_written,
                static_cast<long>(e.launches));
    std::fflush(stdout);
  }
  return 0;
}

// ---- outside

struct Output {
  int status;
  std::string text;
};

Output run(const std::string& command) {
  FILE* pipe = popen(command.c_str(), "r");
  if (!pipe) return {-1, "popen failed"};
  std::string text;
  std::array<char, 4096> piece;
  for (size_t n; (n = fread(piece.data(), 1, piece.size(), pipe)) > 0;) text.append(piece.data(), n);
  return {pclose(pipe), text};
}

struct Misses {
  double read = 0, written = 0;  // of the last level
};

Misses misses(const std::filesystem::path& path) {
  std::ifstream in(path);
  std::map<std::string, double> counts;
  std::vector<std::string> events;
  for (std::string line; std::getline(in, line);) {
    std::istringstream words(line);
    std::string head, word;
    words >> head;
    if (head == "events:")
      while (words >> word) events.push_back(word);
    if (head == "summary:")
      for (const std::string& event : events) words >> counts[event];
  }
  EXPECT_TRUE(counts.contains("DLmr") && counts.contains("DLmw")) << path << " is not cachegrind's";
  return {counts["DLmr"], counts["DLmw"]};
}

class Folder {  // removed at the end
 public:
  Folder() {
    std::string name = (std::filesystem::temp_directory_path() / "tenfold-cachegrind-XXXXXX").string();
    if (mkdtemp(name.data())) path = name;
  }
  ~Folder() {
    std::error_code ignored;
    if (!path.empty()) std::filesystem::remove_all(path, ignored);
  }
  std::filesystem::path path;
};

void compare(const Set& set) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "valgrind runs no sanitized programs";
#endif
  if (std::system("valgrind --version >/dev/null 2>&1") != 0) GTEST_SKIP() << "there is no valgrind";
  if (std::ranges::count(runnable_isas(), "avx2") == 0) GTEST_SKIP() << "this machine has no AVX2";
  const Folder folder;
  ASSERT_FALSE(folder.path.empty());
  const std::string here = folder.path.string(), self = std::filesystem::read_symlink("/proc/self/exe");
  const std::string environment = fmt::format(
      "env -u TENFOLD_MACHINE -u TENFOLD_DISABLE -u TENFOLD_INTERPRET -u TENFOLD_DUMP TENFOLD_VERIFY=0 "
      "TENFOLD_ISA=avx2 TENFOLD_THREADS=1 TENFOLD_CACHE_DIR='{}/kernels' ",
      here);
  ASSERT_EQ(run(environment + "'" + self + "' --compile=" + set.name).status, 0);
  const Output output = run(fmt::format(
      "{} valgrind --tool=cachegrind --cache-sim=yes --I1=32768,8,64 --D1=32768,8,64 --LL={},{},64 "
      "--cachegrind-out-file='{}/%p.out' --log-file='{}/%p.log' '{}' --measure={}",
      environment, tile::machine("avx2").cache, kWays, here, here, self, set.name));
  ASSERT_EQ(output.status, 0) << output.text;

  std::istringstream lines(output.text);
  std::vector<double> errors;
  fmt::print("{:32}{:>9}{:>12}{:>12}{:>12}{:>12}{:>8}\n", "MB moved by", "launches", "pred. read", "written",
             "ctd. read", "written", "ratio");
  for (const Case& c : set.cases()) {
    int idle = 0, once = 0;
    double read = 0, written = 0;
    long launches = 0;
    ASSERT_TRUE(lines >> idle >> once >> read >> written >> launches) << c.name;
    const Misses without = misses(folder.path / fmt::format("{}.out", idle)),
                 with = misses(folder.path / fmt::format("{}.out", once));
    const double counted_read = (with.read - without.read) * kLine,
                 counted_written = (with.written - without.written) * kLine;
    const double ratio = (counted_read + counted_written) / (read + written);
    errors.push_back(std::abs(ratio - 1));
    fmt::print("{:32}{:9}{:12.3f}{:12.3f}{:12.3f}{:12.3f}{:8.3f}\n", c.name, launches, read / 1e6,
               written / 1e6, counted_read / 1e6, counted_written / 1e6, ratio);
    EXPECT_LE(errors.back(), c.bound) << c.name;
  }
  ASSERT_EQ(errors.size(), set.size);
  std::ranges::sort(errors);
  const double median = (errors[set.size / 2 - 1] + errors[set.size / 2]) / 2;
  fmt::print("median of |ratio - 1|: {:.2f} %, largest {:.2f} %\n", median * 100, errors.back() * 100);
  EXPECT_LE(median, set.median_bound);
}

TEST(Cachegrind, CountsTheBytesThatExplainPredicts) { compare(kSets[0]); }

TEST(Cachegrind, CountsTheBytesOfContractions) { compare(kSets[1]); }

}  // namespace
}  // namespace tenfold

int main(int argc, char** argv) {
  const std::string argument = argc > 1 ? argv[1] : "";
  for (const auto& set : tenfold::kSets)
    for (const bool only_compile : {true, false}) {
      if (argument != (only_compile ? "--compile=" : "--measure=") + set.name) continue;
      try {
        return tenfold::measure(set, only_compile);
      } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
      }
    }
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
