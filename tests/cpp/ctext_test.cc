// The C emitter's dialects as text: no dialect speaks another's words, and CUDA's is C++ to this compiler,
// with stand-ins for what CUDA brings along.
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tenfold/base/error.h"
#include "tenfold/target/ctext/emit.h"

#include "kernel_cases.h"

namespace tenfold::ctext {
namespace {

using ::testing::HasSubstr;

File emit_one(const tile::Kernel& k, const std::string& name, const Dialect& dialect,
              const Limits& limits = {}) {
  const tile::Kernel* const kernels[] = {&k};
  const std::string names[] = {name};
  return emit(kernels, names, dialect, limits);
}

constexpr std::string_view kStandIns = R"(
#include <math.h>
#define __global__
#define __device__
#define __shared__ static
struct float2 { float x, y; };
struct double2 { double x, y; };
struct { unsigned x; } threadIdx, blockIdx;
float2 make_float2(float x, float y) { return {x, y}; }
double2 make_double2(double x, double y) { return {x, y}; }
float __int_as_float(int), __uint_as_float(unsigned);
int __float_as_int(float);
unsigned __float_as_uint(float), __umulhi(unsigned, unsigned);
double __longlong_as_double(long long);
long long __double_as_longlong(double);
void __syncthreads();
#undef INFINITY
#undef NAN
)";

TEST(CText, CudaIsCpp) {
  const std::filesystem::path file = std::filesystem::temp_directory_path() / "tenfold_ctext_test.cc";
  std::ofstream out(file);
  out << kStandIns;
  int count = 0;
  // Every kernel in a namespace, so that each may bring its helpers along.
  const auto add = [&](const tile::Kernel& k) {
    for (const int items : {256, 8}) {
      const std::string name = fmt::format("k{}", count++);
      std::string text =
          emit_one(k, name, kCuda, {.items = items, .local_bytes = 1024, .arithmetic = {}}).text;
      for (const char* word : {"get_", "__kernel", "__local", "CLK_", "atomic_or", "_at;", "(float2)("})
        ASSERT_THAT(text, ::testing::Not(HasSubstr(word)));
      EXPECT_THAT(text, HasSubstr("extern \"C\" __global__ void " + name + "("));
      text = text.substr(kCuda.head.size());
      out << "namespace n" << name << " {\n" << text << "}\n";
    }
  };
  out << kCuda.head;
  for (const testing::KernelCase& c : testing::corpus()) add(tile::parse_kernel(c.text));
  for (const testing::KernelCase& c : testing::all_kernel_cases(7)) add(tile::parse_kernel(c.text));
  for (const Prim* p : all_prims())
    if (p->kind == Kind::map && !p->expand)
      for (const tile::Kernel& k : testing::map_kernels(*p, 16)) add(k);
  out.close();
  EXPECT_GT(count, 200);
  const std::string command =
      fmt::format("{} -std=c++20 -fsyntax-only -w {} 2>&1", TENFOLD_CXX, file.string());
  EXPECT_EQ(std::system(command.c_str()), 0) << command;
  if (!HasFailure()) std::filesystem::remove(file);
}

TEST(CText, ScratchThatDoesNotFitGoesToTheWorkspace) {
  const tile::Kernel k = tile::parse_kernel(testing::read_file(TENFOLD_TESTS_DIR "/tile/softmax.ten"));
  tile::Kernel core = tile::parse_kernel(
      testing::replaced(testing::read_file(TENFOLD_TESTS_DIR "/tile/softmax.ten"), {{"= exp ", "= abs "}}));
  const Function fits = emit_one(core, "f", kOpenCl).functions[0];
  EXPECT_EQ(fits.workspace_bytes, 0);
  EXPECT_EQ(fits.items, 64);
  EXPECT_GE(fits.local_bytes, 4096);
  const File file = emit_one(core, "f", kOpenCl, {.items = 64, .local_bytes = 1024, .arithmetic = {}});
  EXPECT_EQ(file.functions[0].workspace_bytes, 4096);
  EXPECT_THAT(file.text, HasSubstr("__global float* const e = (__global float*)(workspace + "
                                   "(long)get_group_id(0)*4096L + 0L);"));
  // Composed records are expanded before.
  EXPECT_THROW(emit_one(k, "f", kOpenCl), InternalError);
}

TEST(CText, NamesThatTheLanguageTakes) {
  const std::string text = R"(tenfold 1
symbol half in 1..100 hint 8
kernel names(float: f32[half], out int: f32[half]) {
  atom block in half, item in 2
  vector item
  guard 2*block + item < half
  grid block {
    %float = load float[2*block + item] : f32[item]
    %sqrt = sqrt %float : f32[item]
    store int[2*block + item] = %sqrt
  }
}
)";
  const std::string c = emit_one(tile::parse_kernel(text), "f", kOpenCl).text;
  EXPECT_THAT(c,
              HasSubstr("__global const float* float_, long float__at, __global float* int_, long int__at, "
                        "long half_, long first_block"));
  EXPECT_THAT(c, HasSubstr("const float float__ = inside ? float_[2*block_ + item_] : 0.0f;"));
}

}  // namespace
}  // namespace tenfold::ctext
