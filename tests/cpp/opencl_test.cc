// The OpenCL target on every device there is (PoCL where there is no other), compared with the tile
// interpreter. Many kernels are one program: building is what takes the time.
#include <cstdlib>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tenfold/base/error.h"
#include "tenfold/runtime/buffer.h"
#include "tenfold/target/cpu.h"
#include "tenfold/target/devices.h"

#include "kernel_cases.h"

namespace tenfold {
namespace {

using testing::arguments;
using testing::expect_same;
using testing::interpret;
using testing::KernelCase;
using testing::Symbols;

class OpenCl : public ::testing::Test {
 protected:
  void SetUp() override {
    try {
      target_ = device_target("opencl:0");
    } catch (const DeviceError& error) {
      GTEST_SKIP() << "no OpenCL device: " << error.what();
    }
  }

  std::vector<Array> execute(const Code& code, const tile::Kernel& k, std::vector<Array> arrays,
                             const Symbols& symbols) {
    Device& device = target_->device();
    std::vector<std::unique_ptr<Buffer>> buffers;
    std::vector<void*> addresses;
    for (const Array& a : arrays) {
      buffers.push_back(std::make_unique<Buffer>(a.bytes.size(), &device));
      addresses.push_back(buffers.back()->data());
      device.to_device(addresses.back(), a.bytes.data(), a.bytes.size());
    }
    std::vector<int64_t> values;
    for (const auto& name : code.symbols) values.push_back(symbols.at(name));
    const int64_t blocks = tile::blocks(k).evaluate(symbols);
    if (blocks > 0) device.launch(code, addresses.data(), values.data(), 0, blocks);
    for (size_t i = 0; i < arrays.size(); ++i)
      device.to_host(arrays[i].bytes.data(), addresses[i], arrays[i].bytes.size());
    return arrays;
  }

  void check(const std::vector<KernelCase>& cases) {
    constexpr size_t kBatch = 40;  // kernels of one program
    std::vector<KernelCase> batch;
    for (const KernelCase& c : cases) {
      // Kernels that live at once agree about the bounds of a symbol.
      if (c.symbols.empty())
        batch.push_back(c);
      else
        check_together({c});
      if (batch.size() == kBatch) check_together(std::exchange(batch, {}));
      if (HasFailure()) return;
    }
    check_together(batch);
  }

  void check_together(const std::vector<KernelCase>& cases) {
    if (cases.empty()) return;
    std::vector<tile::Kernel> kernels;
    for (const KernelCase& c : cases) kernels.push_back(tile::parse_kernel(c.text));
    std::vector<const tile::Kernel*> pointers;
    for (const auto& k : kernels) pointers.push_back(&k);
    const std::vector<Code> codes = target_->compile(pointers);
    for (size_t i = 0; i < kernels.size(); ++i) {
      const KernelCase& c = cases[i];
      const auto in = arguments(kernels[i], c.symbols, c.special, 1);
      expect_same(kernels[i], execute(codes[i], kernels[i], in, c.symbols),
                  interpret(kernels[i], in, c.symbols), c.ulp, "opencl");
      ASSERT_FALSE(HasFailure()) << c.text << target_->listing(kernels[i], "c");
    }
  }

  std::shared_ptr<DeviceTarget> target_;
};

TEST_F(OpenCl, Corpus) { check(testing::corpus()); }

// A kernel takes a third of a second to build on PoCL.
TEST_F(OpenCl, KernelCases) { check(testing::all_kernel_cases(std::getenv("TENFOLD_TEST_FULL") ? 1 : 7)); }

TEST_F(OpenCl, EveryMapRecordOnEveryDtype) {
  constexpr size_t kTogether = 8;  // dtypes in one kernel
  size_t count = 0;
  for (const Prim* p : all_prims()) {
    if (p->kind != Kind::map || p->expand) continue;
    const std::vector<tile::Kernel> kernels = testing::map_kernels(*p, kTogether);
    std::vector<const tile::Kernel*> pointers;
    for (const auto& k : kernels) pointers.push_back(&k);
    const std::vector<Code> codes = target_->compile(pointers);
    for (size_t i = 0; i < kernels.size(); ++i)
      for (unsigned seed = 1; seed <= 4; ++seed) {
        const auto in = arguments(kernels[i], {}, true, seed);
        // The interpreter computes complex numbers in f64.
        const double ulp = is_complex(kernels[i].args[0].dtype) ? 64 : 0;
        expect_same(kernels[i], execute(codes[i], kernels[i], in, {}), interpret(kernels[i], in, {}), ulp,
                    "opencl");
      }
    for (const auto& k : kernels)
      for (const auto& a : k.args) count += a.output;
    ASSERT_FALSE(HasFailure()) << target_->listing(kernels[0], "c");
  }
  EXPECT_GT(count, 400u);
}

}  // namespace
}  // namespace tenfold
