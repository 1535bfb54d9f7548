// The C emitter's dialects as text: no dialect speaks another's words, and CUDA's, compiled by this compiler
// with stand-ins for what CUDA brings along, gives what the tile program means.
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>

#include <dlfcn.h>
#include <unistd.h>

#include <fmt/ranges.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tenfold/base/error.h"
#include "tenfold/ir/build.h"
#include "tenfold/plan/plan.h"
#include "tenfold/rewrite/simplify.h"
#include "tenfold/target/ctext/emit.h"
#include "tenfold/tile/matrix.h"

#include "host_cuda.h"
#include "kernel_cases.h"
#include "random_contraction.h"

namespace tenfold::ctext {
namespace {

using ::testing::HasSubstr;

File emit_one(const tile::Kernel& k, const std::string& name, const Dialect& dialect,
              const Limits& limits = {}) {
  const tile::Kernel* const kernels[] = {&k};
  const std::string names[] = {name};
  return emit(kernels, names, dialect, limits);
}

// CUDA's text is C++ to this compiler, and means what the tile program says.
class CudaOnHost : public ::testing::Test {
 protected:
  void SetUp() override {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    GTEST_SKIP() << "sanitizers do not know fibers";
#endif
    folder_ = std::filesystem::temp_directory_path() / fmt::format("tenfold_cuda_on_host_{}", getpid());
    std::filesystem::create_directories(folder_);
    source_ << testing::kCudaOnHost << kCuda.head << testing::kMatrixOnHost;
  }
  void TearDown() override {
    if (!HasFailure()) std::filesystem::remove_all(folder_);
  }

  void add(const tile::Kernel& k, const testing::KernelCase& with, const Limits& limits) {
    const std::string name = fmt::format("k{}", entries_.size());
    const File file = emit_one(k, name, kCuda, limits);
    const Function& f = file.functions[0];
    for (const char* word : {"get_", "__kernel", "__local", "CLK_", "atomic_or", "_at;", "(float2)("})
      ASSERT_THAT(file.text, ::testing::Not(HasSubstr(word)));
    EXPECT_THAT(file.text, HasSubstr(fmt::format("extern \"C\" __global__ void __launch_bounds__({}) {}(",
                                                 f.items, name)));
    // Every kernel in a namespace, so that each may bring its helpers along.
    std::string own = file.text.substr(kCuda.head.size());
    for (const std::string_view head : {kCuda.matrix, kCuda.matrix_groups})
      if (const size_t at = own.find(head); at != std::string::npos) own.erase(at, head.size());
    source_ << "namespace n" << name << " {\n" << own << "}\n";
    std::vector<std::string> arguments;
    for (size_t i = 0; i < k.args.size(); ++i)
      arguments.push_back(fmt::format("({}*)buffers[{}]", memory_type_name(k.args[i].dtype), i));
    for (size_t i = 0; i < f.symbols.size(); ++i) arguments.push_back(fmt::format("symbols[{}]", i));
    arguments.emplace_back("0");
    if (f.workspace_bytes > 0) arguments.emplace_back("workspace");
    source_ << fmt::format(
        "extern \"C\" void run_{0}(void* const* buffers, const long* symbols, unsigned char* workspace, long "
        "blocks, bool backwards) {{\n  host::run({1}, blocks, backwards, [=] {{ n{0}::{0}({2}); }});\n}}\n",
        name, f.items, fmt::join(arguments, ", "));
    entries_.push_back({name, with, f, file.text});
  }

  void run() {
    const std::string file = (folder_ / "kernels.cc").string(), library = (folder_ / "kernels.so").string();
    std::ofstream(file) << source_.str();
    const std::string command = fmt::format(
        "{} -std=c++20 -w -O0 -ffp-contract=off -fsanitize=alignment -fsanitize-undefined-trap-on-error "
        "-fPIC -shared -o {} {} 2>&1",
        TENFOLD_CXX, library, file);
    ASSERT_EQ(std::system(command.c_str()), 0) << command;
    void* const handle = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
    ASSERT_TRUE(handle) << dlerror();
    using Entry = void (*)(void* const*, const int64_t*, unsigned char*, int64_t, bool);
    for (const Item& item : entries_) {
      const tile::Kernel k = tile::parse_kernel(item.with.text);
      const auto entry = reinterpret_cast<Entry>(dlsym(handle, ("run_" + item.name).c_str()));
      ASSERT_TRUE(entry) << item.name;
      auto in = testing::arguments(k, item.with.symbols, item.with.special, 1);
      if (rough_) roughen(in[0]);
      const auto want = testing::interpret(k, in, item.with.symbols);
      const int64_t blocks = tile::blocks(k).evaluate(item.with.symbols);
      std::vector<int64_t> symbols;
      for (const auto& symbol : item.function.symbols) symbols.push_back(item.with.symbols.at(symbol));
      std::vector<unsigned char> workspace(static_cast<size_t>(item.function.workspace_bytes * blocks));
      for (const bool backwards : {false, true}) {
        auto got = in;
        // The second time a buffer is aligned to its elements, and to no more.
        std::vector<std::vector<std::byte>> memory;
        std::vector<void*> buffers;
        for (const Array& a : got) {
          const size_t shift = backwards ? static_cast<size_t>(size_of(a.dtype)) : 0;
          memory.emplace_back(a.bytes.size() + shift);
          buffers.push_back(memory.back().data() + shift);
          std::memcpy(buffers.back(), a.bytes.data(), a.bytes.size());
        }
        entry(buffers.data(), symbols.data(), workspace.data(), blocks, backwards);
        for (size_t i = 0; i < got.size(); ++i)
          std::memcpy(got[i].bytes.data(), buffers[i], got[i].bytes.size());
        testing::expect_same(k, got, want, item.with.ulp, backwards ? "last warp first" : "first warp first");
      }
      ASSERT_FALSE(HasFailure()) << item.with.text << item.text;
    }
    dlclose(handle);
  }

  static Limits cuda_limits(bool groups = false) {
    return {.items = 512,
            .local_bytes = 48 << 10,
            .staged_bytes = (groups ? 112 : 44) << 10,
            .matrix = true,
            .matrix_groups = groups,
            .arithmetic = {}};
  }

  static void roughen(Array& a) {
    std::mt19937 random(1);
    std::uniform_real_distribution<double> real(-2, 2);
    for (int64_t i = 0; i < a.size(); ++i) a.set(i, Scalar(real(random)).round_to(a.dtype));
  }

  struct Item {
    std::string name;
    testing::KernelCase with;
    Function function;
    std::string text;
  };
  std::filesystem::path folder_;
  std::ostringstream source_;
  std::vector<Item> entries_;
  bool rough_ = false;  // numbers whose sums are rounded
};

TEST_F(CudaOnHost, KernelsAsTheTileProgramMeans) {
  std::vector<testing::KernelCase> cases = testing::corpus();
  for (const auto& c : testing::all_kernel_cases(7)) cases.push_back(c);
  for (const auto& c : cases) {
    const tile::Kernel k = tile::parse_kernel(c.text);
    // One warp or less; several, with a share of several elements; and as on a GPU.
    add(k, c, {.items = 8, .local_bytes = 1024, .arithmetic = {}});
    add(k, c, {.items = 64, .local_bytes = 1024, .arithmetic = {}});
    add(k, c, {.items = 512, .local_bytes = 48 << 10, .arithmetic = {}});
  }
  EXPECT_GT(entries_.size(), 200u);
  run();
}

// Sums whose order shows: the tree has to be the stated one, to the last bit.
TEST_F(CudaOnHost, ReductionsAcrossWarpsKeepTheirOrder) {
  rough_ = true;
  for (const char* op : {"add", "maximum"})
    for (const int64_t n : {1, 20, 32, 33, 64, 100, 500, 512, 700, 1500}) {
      const testing::KernelCase c{testing::replaced(R"(tenfold 1
kernel rows(x: f32[3,N,2], out s: f32[3], out t: f32[3,2], out y: f32[3,N]) {
  atom r in 3, j in N, f in 2
  vector j
  grid r {
    %x = load x[r, j, f] : f32[j,f]
    %t = reduce OP %x over j : f32[f]
    store t[r, f] = %t
    %s = reduce OP %x over j, f : f32[]
    store s[r] = %s
    %a = load x[r, j, 0] : f32[j]
    %y = sub %a, %s : f32[j]
    store y[r, j] = %y
  }
}
)",
                                                    {{"OP", op}, {"N", testing::number(n)}})};
      for (const int items : {16, 128, 512})
        add(tile::parse_kernel(c.text), c, {.items = items, .local_bytes = 48 << 10, .arithmetic = {}});
    }
  run();
}

// Products of f16 and bf16 as matrix units run them: every order of the operands, ragged ends, batches, an
// epilogue in fragments, maps before and after, one to four stages, and what is not in a loop.
TEST_F(CudaOnHost, ProductsOnMatrixUnits) {
  for (const auto& c : testing::matrix_products()) {
    const tile::Kernel k = tile::parse_kernel(c.text);
    add(k, c, cuda_limits());
    EXPECT_THAT(entries_.back().text, HasSubstr("multiply_")) << c.text;
    // The same text, where there are no such units.
    add(k, c, {.items = 128, .local_bytes = 48 << 10, .arithmetic = {}});
    EXPECT_THAT(entries_.back().text, ::testing::Not(HasSubstr("multiply_")));
  }
  run();
}

// Four warps together: operands of every order, in rows of 32, 64 and 128 bytes, in stages and not.
TEST_F(CudaOnHost, ProductsOfGroupsOfWarps) {
  for (const auto& c : testing::matrix_group_products()) {
    add(tile::parse_kernel(c.text), c, cuda_limits(true));
    EXPECT_THAT(entries_.back().text, HasSubstr("describe(")) << c.text;
  }
  run();
}

// What the planner makes of products in tiles that matrix units run, as it is written for larger ones.
TEST_F(CudaOnHost, PlannedProducts) {
  using namespace build;
  const auto in = [](int64_t i, Dtype d, Shape s) { return parameter(i, {d, std::move(s)}); };
  const auto run_on_units = [&](Nodes inputs, NodeRef result, const char* loops,
                                const testing::Symbols& symbols = {}) {
    const Graph graph = widen({std::move(inputs), {std::move(result)}, {}}, {});
    plan::Options options;
    options.loops = {{"", loops}};
    const plan::Plan p = plan::make_plan(graph, tile::machine("h200"), options);
    ASSERT_EQ(p.steps.size(), 1u);
    const tile::Kernel& k = *std::get<plan::Launch>(p.steps[0].what).kernel;
    EXPECT_GT(tile::matrix_work(k), 0) << tile::print(k);
    add(k, {tile::print(k), symbols}, cuda_limits());
    EXPECT_THAT(entries_.back().text, HasSubstr("multiply_")) << tile::print(k);
    add(k, {tile::print(k), symbols}, cuda_limits(true));
  };
  for (const Dtype d : {Dtype::f16, Dtype::bf16}) {
    const NodeRef x = in(0, d, {100, 72}), w = in(1, d, {72, 90}), t = in(1, d, {90, 72}), v = in(2, d, {90});
    run_on_units({x, w}, contract(x, w, "mk,kn->mn"), "I J k | i64 k32 j64");
    run_on_units({x, w}, contract(x, w, "mk,kn->mn", Dtype::f32), "I J k | i16 k32 j64");
    run_on_units({x, t}, contract(x, t, "mk,nk->nm"), "I J k | i64 k32 j128");
    run_on_units({x, w, v},
                 map("maximum", {contract(x, w, "mk,kn->mn") + broadcast(v, {100, 90}, {1}),
                                 full(Scalar(0.0), {d, {100, 90}})}),
                 "I J k | i64 k32 j64");
    const NodeRef a = in(0, d, {3, 40, 24}), b = in(1, d, {3, 50, 24});
    run_on_units({a, b}, contract(a, b, "bmk,bnk->bmn", Dtype::f32), "I J K l | j64 l32 k64");
    run_on_units({a, b}, contract(map("abs", {a}), b, "bmk,bnk->mbn"), "I J K l | i64 l32 k64");
  }
  const Dim n = Dim::symbol({.name = "product_rows", .lower = 1, .upper = 4096});
  const NodeRef x = in(0, Dtype::bf16, {n, 72}), w = in(1, Dtype::bf16, {72, 200});
  run_on_units({x, w}, contract(x, w, "mk,kn->mn"), "I J k | i64 k32 j128", {{"product_rows", 70}});
  run();
}

// Any einsum of f16 and bf16, through strides, windows and broadcasts, where matrix units are all that is
// fast.
TEST_F(CudaOnHost, RandomPlannedProducts) {
  tile::Machine machine = tile::machine("h200");
  machine.scalar_rate = 1e6, machine.matrix_rate = 1e15;
  const size_t most = std::getenv("TENFOLD_TEST_FULL") ? 400 : 40;
  for (uint64_t seed = 0; entries_.size() < most; ++seed) {
    const testing::RandomContraction r = testing::ContractionGenerator(seed).make();
    if (!r.text.starts_with("contract(") || r.text.find("f16") == std::string::npos) continue;
    const plan::Plan p = plan::make_plan(widen(r.graph, {}), machine, {});
    for (const plan::Step& step : p.steps)
      if (const auto* launch = std::get_if<plan::Launch>(&step.what))
        if (const tile::Kernel& k = *launch->kernel; tile::matrix_work(k) > 0)
          for (const bool groups : {false, true}) add(k, {tile::print(k)}, cuda_limits(groups));
  }
  run();
}

TEST_F(CudaOnHost, EveryMapRecordOnEveryDtype) {
  for (const Prim* p : all_prims())
    if (p->kind == Kind::map && !p->expand)
      for (const tile::Kernel& k : testing::map_kernels(*p, 16))
        add(k, {tile::print(k), {}, is_complex(k.args[0].dtype) ? 64.0 : 0.0, true}, {});
  run();
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
