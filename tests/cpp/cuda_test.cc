// CUDA's text handed to NVRTC, which needs no GPU: every kernel of the tests becomes machine code of an H100,
// within its registers and shared memory. What runs it is device_test, with TENFOLD_TEST_DEVICE=cuda:0.
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <set>

#include <dlfcn.h>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tenfold/base/error.h"
#include "tenfold/compile/compile.h"
#include "tenfold/compile/explain.h"
#include "tenfold/env/rollout.h"
#include "tenfold/generated/ops.h"
#include "tenfold/lang/jit.h"
#include "tenfold/lang/random.h"
#include "tenfold/runtime/buffer.h"
#include "tenfold/runtime/program.h"
#include "tenfold/target/cuda/api.h"
#include "tenfold/target/cuda/compiler.h"
#include "tenfold/target/devices.h"

#include "fake_cuda.h"
#include "kernel_cases.h"
#include "random_graph.h"

namespace tn = tenfold::lang;
namespace env = tenfold::env;

namespace tenfold {
namespace {

using ::testing::HasSubstr;
using tn::operator*;
using tn::operator>;

constexpr int kCapability = 90;
constexpr size_t kBatch = 100;  // kernels of one program

struct Resources {
  int registers = 0, stack = 0, spills = 0, shared = 0;  // bytes, but for the registers
};

// "ptxas info : Compiling entry function 'f' for 'sm_90a'", then what it uses.
std::map<std::string, Resources> resources(const std::string& log) {
  const std::regex entry("Compiling entry function '([^']+)'"),
      spill("(\\d+) bytes stack frame, (\\d+) bytes spill stores, (\\d+) bytes spill loads"),
      used("Used (\\d+) registers"), shared("(\\d+) bytes smem");
  std::map<std::string, Resources> all;
  std::string name;
  std::istringstream lines(log);
  for (std::string line; std::getline(lines, line);) {
    std::smatch m;
    if (std::regex_search(line, m, entry)) name = m[1];
    if (name.empty()) continue;
    Resources& r = all[name];
    if (std::regex_search(line, m, spill))
      r.stack = std::stoi(m[1]), r.spills = std::stoi(m[2]) + std::stoi(m[3]);
    if (std::regex_search(line, m, used)) r.registers = std::stoi(m[1]);
    if (std::regex_search(line, m, shared)) r.shared = std::stoi(m[1]);
  }
  return all;
}

class Cuda : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string missing;
    if (!cuda::nvrtc(&missing)) GTEST_SKIP() << missing;
  }

  void compile(const std::vector<const tile::Kernel*>& kernels, int capability = kCapability) {
    const std::vector<std::string> names = ctext::function_names(kernels);
    const ctext::File file = ctext::emit(kernels, names, ctext::kCuda, cuda::limits(capability));
    const cuda::Image image = cuda::compile(file.text, capability, kernels[0]->name, true);
    ASSERT_EQ(image.binary.substr(0, 4),
              "\x7f"
              "ELF");
    EXPECT_THAT(image.log, ::testing::Not(HasSubstr("serialized")))
        << file.text;  // of wgmma, for what is between
    const auto report = resources(image.log);
    for (size_t i = 0; i < kernels.size(); ++i) {
      ASSERT_TRUE(report.contains(names[i])) << image.log;
      const Resources& r = report.at(names[i]);
      EXPECT_GT(r.registers, 0) << names[i];
      EXPECT_LE(r.registers, 255) << names[i];
      EXPECT_LE(r.spills, 0) << names[i] << "\n" << file.text;
      EXPECT_LE(r.shared, cuda::kLimits.local_bytes) << names[i];
      EXPECT_LE(r.shared, file.functions[i].local_bytes) << names[i];
      if (r.stack > 0) fmt::print("{}: {} bytes of stack, {} registers\n", names[i], r.stack, r.registers);
      ++compiled_;
      registers_ = std::max(registers_, r.registers);
      stack_ = std::max(stack_, r.stack);
    }
  }

  void compile(const std::vector<tile::Kernel>& kernels) {
    for (size_t first = 0; first < kernels.size(); first += kBatch) {
      std::vector<const tile::Kernel*> batch;
      for (size_t i = first; i < std::min(first + kBatch, kernels.size()); ++i) batch.push_back(&kernels[i]);
      compile(batch);
      if (HasFailure()) return;
    }
  }

  void compile(const std::vector<testing::KernelCase>& cases) {
    std::set<std::string> symbolic;
    std::vector<tile::Kernel> fixed;
    for (const auto& c : cases) {
      // Kernels that live at once agree about the bounds of a symbol.
      if (c.symbols.empty()) fixed.push_back(tile::parse_kernel(c.text));
    }
    compile(fixed);
    fixed.clear();
    for (const auto& c : cases)
      if (!c.symbols.empty() && symbolic.insert(c.text).second) {
        const tile::Kernel k = tile::parse_kernel(c.text);
        compile(std::vector<const tile::Kernel*>{&k});
      }
  }

  void TearDown() override {
    if (compiled_ > 0)
      fmt::print("{} kernels, at most {} registers and {} bytes of stack\n", compiled_, registers_, stack_);
  }

  int compiled_ = 0, registers_ = 0, stack_ = 0;
};

TEST_F(Cuda, Corpus) { compile(testing::corpus()); }
TEST_F(Cuda, KernelCases) { compile(testing::all_kernel_cases(std::getenv("TENFOLD_TEST_FULL") ? 1 : 3)); }

TEST_F(Cuda, RunsOfElementsAreAccessesOf16Bytes) {
  const tile::Kernel k = tile::parse_kernel(testing::runs_of_elements(1020).text);
  const tile::Kernel* const kernels[] = {&k};
  const ctext::File file = ctext::emit(kernels, ctext::function_names(kernels), ctext::kCuda, cuda::kLimits);
  EXPECT_EQ(file.functions[0].items, 64);
  constexpr int kUnknown = 999;  // PTX, which can be read
  const std::string ptx = cuda::compile(file.text, kUnknown, k.name).binary;
  for (const char* access : {"ld.global.v4.f32", "st.global.v4.f32", "ld.global.v2.f64"})
    EXPECT_THAT(ptx, HasSubstr(access));
}

// On any GPU that has them: the same text, but for its limits.
TEST_F(Cuda, ProductsOnMatrixUnits) {
  std::vector<tile::Kernel> kernels;
  for (const auto& c : testing::matrix_products()) kernels.push_back(tile::parse_kernel(c.text));
  for (const auto& c : testing::matrix_group_products()) kernels.push_back(tile::parse_kernel(c.text));
  std::vector<const tile::Kernel*> all;
  for (const tile::Kernel& k : kernels) all.push_back(&k);
  for (const int capability : {80, 90}) compile(all, capability);
  EXPECT_EQ(stack_, 0);

  const ctext::File file =
      ctext::emit(all, ctext::function_names(all), ctext::kCuda, cuda::limits(kCapability));
  constexpr int kUnknown = 999;  // PTX, which can be read
  const std::string ptx = cuda::compile(file.text, kUnknown, "products").binary;
  for (const char* instruction :
       {"mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32", "cp.async.cg.shared.global",
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32", "cp.async.wait_group 2",
        "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16", "fence.proxy.async.shared::cta",
        "ldmatrix.sync.aligned.m8n8.x4.shared.b16", "ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16"})
    EXPECT_THAT(ptx, HasSubstr(instruction));
  const ctext::File before = ctext::emit(all, ctext::function_names(all), ctext::kCuda, cuda::limits(75));
  EXPECT_THAT(before.text, ::testing::Not(HasSubstr("mma")));
}

TEST_F(Cuda, EveryMapRecordOnEveryDtype) {
  std::vector<tile::Kernel> kernels;
  for (const Prim* p : all_prims())
    if (p->kind == Kind::map && !p->expand)
      for (tile::Kernel& k : testing::map_kernels(*p, 8)) kernels.push_back(std::move(k));
  compile(kernels);
}

// ---- what the planner makes for an H100, by way of a device that compiles and does not run

std::vector<tile::Kernel>& planned() {
  static std::vector<tile::Kernel> all;
  return all;
}

class PaperDevice final : public Device {
 public:
  std::string name() const override { return "paper:0"; }
  void* allocate(size_t bytes) override { return tenfold::allocate(bytes); }
  void release(void* address, size_t bytes) noexcept override { tenfold::release(address, bytes); }
  void to_device(void* to, const void* from, size_t bytes) override { std::memcpy(to, from, bytes); }
  void to_host(void* to, const void* from, size_t bytes) override { std::memcpy(to, from, bytes); }
  void copy(void* to, const void* from, size_t bytes) override { std::memmove(to, from, bytes); }
  void synchronize() override {}
  MemoryStatistics memory() const override { return memory_statistics(); }
  void launch(const Code& code, void* const*, const int64_t*, int64_t, int64_t) override {
    throw DeviceError(name() + " runs nothing, and was asked for " + code.name);
  }
};

class PaperTarget final : public DeviceTarget {
 public:
  std::string name() const override { return "paper"; }
  Device& device() override { return device_; }
  std::string description() const override { return "keeps what it should compile"; }
  std::string_view machine() const override { return "h200"; }
  std::vector<Code> compile(std::span<const tile::Kernel* const> kernels) override {
    std::vector<Code> codes;
    for (const tile::Kernel* k : kernels) {
      planned().push_back(tile::clone(*k));
      codes.emplace_back().name = k->name;
    }
    return codes;
  }
  std::string listing(const tile::Kernel& k, std::string_view) override { return tile::print(k); }

 private:
  PaperDevice device_;
};

const DeviceKind kPaper{
    .name = "paper",
    .count = [](std::string&) { return 1; },
    .open = [](int) -> std::shared_ptr<DeviceTarget> { return std::make_shared<PaperTarget>(); },
};
const RegisteredKind kRegistered{kPaper};

TEST_F(Cuda, RandomGraphs) {
  planned().clear();
  const int graphs = std::getenv("TENFOLD_TEST_FULL") ? 300 : 60;
  for (int seed = 0; seed < graphs; ++seed) {
    compile::Options options;
    options.device = "paper:0";
    options.fuse = seed % 4 != 3;
    compile::compile(
        testing::Generator(static_cast<uint64_t>(seed), Dtype::f32, {.smooth = false, .wide = true})
            .make(3 + seed % 12)
            .graph,
        options);
  }
  EXPECT_GT(planned().size(), static_cast<size_t>(graphs));
  compile(planned());
}

TEST_F(Cuda, PlannedProducts) {
  const auto product = [](int64_t m, int64_t k, int64_t n, Dtype d) {
    planned().clear();
    const auto in = [&](int64_t i, Shape s) { return build::parameter(i, {d, std::move(s)}); };
    const NodeRef x = in(0, {m, k}), w = in(1, {k, n}), bias = build::broadcast(in(2, {n}), {m, n}, {1});
    const NodeRef sum = build::contract(x, w, "mk,kn->mn");
    compile::Options options;
    options.device = "paper:0";
    return compile::explain(compile::compile(
        {{x, w, bias->inputs[0]}, {build::map("maximum", {sum, build::map("add", {sum, bias})})}, {}},
        options));
  };
  const auto large = product(4096, 4096, 4096, Dtype::bf16);
  EXPECT_THAT(large.str(), HasSubstr("6.872e+10 of them multiplications on matrix units"));
  EXPECT_EQ(large.kernels.at(0).loops, "I J k | i128 k64 j128");
  compile(planned());
  EXPECT_EQ(stack_, 0);
  EXPECT_EQ(product(512, 512, 512, Dtype::f16).kernels.at(0).loops, "I J k | i64 k64 j64");
  EXPECT_THAT(product(512, 512, 512, Dtype::f32).str(), ::testing::Not(HasSubstr("matrix units")));
}

// The state and the policy stay in registers: no local memory at all.
TEST_F(Cuda, Rollouts) {
  planned().clear();
  const tn::Tensor w = tn::tensor(std::vector<float>{0.1f, 0.2f, 0.5f, 0.3f}, Ints{4}).to("paper:0");
  const env::Policy linear = [&](const tn::Tensors& obs, const tn::Tensors&, const tn::Tensor&,
                                 const tn::Tensor&) {
    return env::Decision{{tn::astype(tn::sum(obs[0] * w) > 0.0, Dtype::i32)}, {}, {}};
  };
  for (const bool with_policy : {false, true})
    for (const bool emit : {false, true})
      for (const int64_t steps : {1, 64, 1024}) {
        const tn::Tensor keys = tn::random::split(tn::random::key(7), 4096).to("paper:0");
        const env::Rollout run(env::make("CartPole-v1"), with_policy ? linear : env::Policy{},
                               {.num_envs = 4096,
                                .steps = steps,
                                .emit = emit ? std::vector<std::string>{"obs", "action", "reward"}
                                             : std::vector<std::string>{}});
        run.compiled(keys)->executable();
      }
  EXPECT_GE(planned().size(), 12u);
  compile(planned());
  EXPECT_EQ(stack_, 0);
  EXPECT_LE(registers_, 128);
}

// ---- errors

TEST_F(Cuda, TextThatDoesNotCompileIsShown) {
  try {
    cuda::compile("extern \"C\" __global__ void f() { oops }\n", kCapability, "f");
    FAIL() << "compiled";
  } catch (const DeviceError& error) {
    EXPECT_THAT(error.what(), ::testing::AllOf(HasSubstr("does not compile kernel f for sm_90a"),
                                               HasSubstr("identifier \"oops\" is undefined")));
  }
  EXPECT_THROW(cuda::compile("", 10, "f"), DeviceError);
}

TEST_F(Cuda, AnotherGpuIsAnotherImage) {
  const std::string text = "extern \"C\" __global__ void kept(float* x) { *x = 1; }\n";
  const cuda::Image first = cuda::compile(text, kCapability, "kept");
  EXPECT_EQ(first.binary, cuda::compile(text, kCapability, "kept").binary);  // of the disk cache
  EXPECT_NE(first.binary, cuda::compile(text, 80, "kept").binary);
  // What this NVRTC has never heard of gets PTX, which the driver translates.
  EXPECT_THAT(cuda::compile(text, 999, "kept").binary, HasSubstr(".visible .entry kept"));
}

// ---- the driver's calls, on one that has no GPU

class CudaDriver : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    const auto folder =
        std::filesystem::temp_directory_path() / fmt::format("tenfold_cuda_test_{}", getpid());
    std::filesystem::create_directories(folder);
    const std::string source = (folder / "fake.cc").string(), library = (folder / "libcuda.so").string();
    std::ofstream(source) << testing::kFakeCuda;
    const std::string command =
        fmt::format("{} -std=c++20 -shared -fPIC -o {} {}", TENFOLD_CXX, library, source);
    ASSERT_EQ(std::system(command.c_str()), 0) << command;
    setenv("TENFOLD_CUDA_LIBRARY", library.c_str(), 1);
    handle_ = dlopen(library.c_str(), RTLD_NOW);
    ASSERT_TRUE(handle_) << dlerror();
    device_target("cuda:0");
    std::filesystem::remove_all(folder);
  }

  static int& number(const char* name) { return *static_cast<int*>(dlsym(handle_, name)); }
  static void fail(int error) { reinterpret_cast<void (*)(int)>(dlsym(handle_, "fake_fail"))(error); }

  static inline void* handle_ = nullptr;
};

TEST_F(CudaDriver, SaysWhatItIs) {
  const auto target = device_target("cuda:1");
  EXPECT_EQ(target->device().name(), "cuda:1");
  EXPECT_EQ(target->machine(), "h200");
  EXPECT_EQ(target->description(),
            "Paper 9000: compute capability 9.0, 132 units, 64 MiB, driver for CUDA 13.0");
  EXPECT_THROW(device_target("cuda:2"), DeviceError);
}

TEST_F(CudaDriver, CopiesOfAnySize) {
  for (const char* name : {"cuda:0", "cuda:1"}) {
    Device& device = device_target(name)->device();
    for (const size_t size :
         {size_t{0}, size_t{1}, size_t{65535}, size_t{65536}, size_t{4 << 20}, size_t{13000001}}) {
      std::string text(size, ' '), back(size, ' ');
      for (size_t i = 0; i < size; ++i) text[i] = static_cast<char>(i * 7 + i / 251);
      Buffer first(size, &device), second(size, &device);
      device.to_device(first.data(), text.data(), size);
      device.copy(second.data(), first.data(), size);
      device.to_host(back.data(), second.data(), size);
      EXPECT_TRUE(back == text) << size;
    }
    EXPECT_EQ(device.memory().live_bytes, 0);
    EXPECT_EQ(number("pushed"), 0);  // the thread's own context stands again
  }
}

TEST_F(CudaDriver, MemoryIsKeptAndRunsOut) {
  Device& device = device_target("cuda:0")->device();
  const int64_t reused = device.memory().reuses;
  for (int i = 0; i < 3; ++i) Buffer(1 << 20, &device);
  EXPECT_GE(device.memory().reuses, reused + 2);
  const Buffer large(size_t{40} << 20, &device);  // wants what was kept
  try {
    const Buffer more(size_t{30} << 20, &device);
    FAIL() << "allocated";
  } catch (const DeviceError& error) {
    EXPECT_THAT(error.what(),
                ::testing::AllOf(HasSubstr("cuda:0 has no memory left for a buffer of 31457280 bytes"),
                                 HasSubstr("CUDA_ERROR_OUT_OF_MEMORY (out of memory)")));
  }
}

// A loop that puts copies of x and its own numbers into rows: steps 0 to 3 of [x, step].
Program rows_of(Device& device, int64_t trips) {
  const auto repeat = std::make_shared<RepeatStep>();
  repeat->length = trips;
  repeat->step = 2;
  repeat->body = {{CopyStep{0, 3}}, {CopyStep{2, 4}}};
  repeat->slices = {{1, 3}, {5, 4}};
  return Program({{Slot::Kind::input, 0, 8, "x"},
                  {Slot::Kind::output, 0, 8 * trips, "rows"},
                  {Slot::Kind::temporary, -1, 8, "step"},
                  {Slot::Kind::temporary, -1, 8, "row"},
                  {Slot::Kind::temporary, -1, 8, "number"},
                  {Slot::Kind::output, 1, 8 * trips, "steps"}},
                 {{repeat}}, {}, &device);
}

TEST_F(CudaDriver, AProgramsCallsAreAGraph) {
  Device& device = device_target("cuda:0")->device();
  constexpr int64_t kTrips = 4;
  {
    const Program program = rows_of(device, kTrips);
    const Buffer x(8, &device);
    const auto run = [&](int64_t value, std::vector<BufferRef> outputs) {
      device.to_device(x.data(), &value, 8);
      void* inputs[] = {x.data()};
      program.run(inputs, {}, outputs);
      std::vector<int64_t> rows(kTrips), steps(kTrips);
      device.to_host(rows.data(), outputs[0]->data(), 8 * kTrips);
      device.to_host(steps.data(), outputs[1]->data(), 8 * kTrips);
      EXPECT_EQ(rows, std::vector<int64_t>(kTrips, value));
      EXPECT_EQ(steps, (std::vector<int64_t>{0, 1, 2, 3}));
      return outputs;
    };
    const std::vector<BufferRef> fresh(2), same = run(7, fresh);
    EXPECT_EQ(number("recorded"), 0);  // most programs run once
    run(int64_t{9} << 40, same);
    run(-1, same);
    EXPECT_EQ(number("recorded"), 1);  // the buffers are the same again
    EXPECT_EQ(number("replayed"), 2);
    // Every call has buffers of its own: the graphs are changed, not made anew.
    std::vector<std::vector<BufferRef>> kept;
    for (int64_t i = 0; i < 10; ++i) kept.push_back(run(i, fresh));
    EXPECT_EQ(number("instantiated"), 4);
    EXPECT_EQ(number("updated"), number("recorded") - 4);
    EXPECT_EQ(number("replayed"), 12);

    const int recorded = number("recorded");
    setenv("TENFOLD_CUDA_GRAPHS", "0", 1);
    run(3, same);
    unsetenv("TENFOLD_CUDA_GRAPHS");
    const Profile profile;  // wants to see each launch
    run(3, same);
    EXPECT_EQ(number("replayed"), 12);
    EXPECT_EQ(number("recorded"), recorded);
  }
  EXPECT_EQ(number("graphs"), 0);
  EXPECT_EQ(number("pushed"), 0);
}

// 64 KiB of scratch: more than a block's shared memory.
constexpr std::string_view kLargeScratch = R"(tenfold 1
kernel large(x: f32[81920], out y: f32[81920]) {
  atom b in 5, i in 16384
  vector i
  scratch %e: f32[i]
  grid b {
    %x = load x[16384*b + i] : f32[i]
    write %e[i] = %x
    %r = read %e[-i + 16383] : f32[i]
    store y[16384*b + i] = %r
  }
}
)";

TEST_F(CudaDriver, AGraphKeepsItsWorkspaceAndItsLaunches) {
  std::string missing;
  if (!cuda::nvrtc(&missing)) GTEST_SKIP() << missing;
  const auto target = device_target("cuda:0");
  Device& device = target->device();
  const tile::Kernel k = tile::parse_kernel(std::string(kLargeScratch));
  const tile::Kernel* const kernels[] = {&k};
  LaunchStep launch;
  launch.code = target->compile(kernels)[0];
  launch.buffers = {0, 1};
  launch.blocks = 5;
  const int64_t live = device.memory().live_bytes;
  {
    const Program program({{Slot::Kind::input, 0, 4 * 81920, "x"}, {Slot::Kind::output, 0, 4 * 81920, "y"}},
                          {{launch}, {launch}}, {}, &device);
    const Buffer x(4 * 81920, &device);
    const int before = number("launched");
    for (int i = 0; i < 3; ++i) {
      void* inputs[] = {x.data()};
      std::vector<BufferRef> outputs(1);
      program.run(inputs, {}, outputs);
    }
    EXPECT_EQ(number("launched"), before + 6);
    EXPECT_GE(device.memory().live_bytes, live + 5 * (64 << 10));
  }
  EXPECT_EQ(device.memory().live_bytes, live);
}

TEST_F(CudaDriver, ALaunchAsksForItsStages) {
  std::string missing;
  if (!cuda::nvrtc(&missing)) GTEST_SKIP() << missing;
  const auto target = device_target("cuda:0");
  const tile::Kernel k =
      tile::parse_kernel(testing::Product{.k = 256, .rows = 128, .columns = 128}.text().text);
  const tile::Kernel* const kernels[] = {&k};
  const Code code = target->compile(kernels)[0];
  constexpr int kStage = 2 * 32 * (128 + 128);  // bytes
  EXPECT_EQ(number("most_shared"), 4 * kStage);
  const Buffer buffer(size_t{1} << 20, &target->device());
  void* const buffers[] = {buffer.data(), buffer.data(), buffer.data(), buffer.data(), buffer.data()};
  const int before = number("launched");
  target->device().launch(code, buffers, nullptr, 0, 1);
  EXPECT_EQ(number("launched"), before + 1);
  EXPECT_THAT(target->listing(k, "c"), HasSubstr("multiply_bf16<0, 1>("));
}

// Last: the device is lost after it.
TEST_F(CudaDriver, FaultsNameTheKernelAndTheProcessLives) {
  std::string missing;
  if (!cuda::nvrtc(&missing)) GTEST_SKIP() << missing;
  const auto target = device_target("cuda:1");
  Device& device = target->device();
  const tile::Kernel k = tile::parse_kernel(testing::read_file(TENFOLD_TESTS_DIR "/tile/vote.ten"));
  const tile::Kernel* const kernels[] = {&k};
  const Code code = target->compile(kernels)[0];
  const Buffer x(160, &device), y(160, &device);
  void* const buffers[] = {x.data(), y.data()};
  const int before = number("launched");
  device.launch(code, buffers, nullptr, 0, 5);
  EXPECT_EQ(number("launched"), before + 1);
  fail(700);
  const auto error_of_device = [](const auto& f) -> std::string {
    try {
      f();
    } catch (const DeviceError& error) {
      return error.what();
    }
    return "no error";
  };
  EXPECT_EQ(error_of_device([&] { device.synchronize(); }),
            "cuda:1: synchronize failed with CUDA_ERROR_ILLEGAL_ADDRESS (an illegal memory access was "
            "encountered), after kernel vote. The device is lost to this process; the cpu goes on working");
  fail(0);
  for (const auto& again : {error_of_device([&] { device.launch(code, buffers, nullptr, 0, 5); }),
                            error_of_device([&] { const Buffer more(8, &device); })})
    EXPECT_THAT(again, ::testing::StartsWith("cuda:1 is lost to this process since an earlier error"));
  EXPECT_EQ(number("pushed"), 0);
}

}  // namespace
}  // namespace tenfold
