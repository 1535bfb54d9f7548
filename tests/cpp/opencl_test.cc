// The OpenCL target on every device there is (PoCL where there is no other), compared with the tile
// interpreter. Many kernels are one program: building is what takes the time.
#include "tenfold/target/opencl/opencl.h"

#include <cstdlib>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tenfold/base/error.h"
#include "tenfold/runtime/buffer.h"
#include "tenfold/target/cpu.h"

#include "kernel_cases.h"

namespace tenfold {
namespace {

using testing::arguments;
using testing::expect_same;
using ::testing::HasSubstr;
using testing::interpret;
using testing::KernelCase;
using ::testing::Not;
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

  // The same device, with less than it has.
  void limit(const ctext::Limits& limits) { target_ = opencl::open_device(0, limits); }

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

// A share of several elements for each item, and scratch in device memory.
TEST_F(OpenCl, SmallGroupsAndLittleLocalMemory) {
  limit({.items = 8, .local_bytes = 256, .arithmetic = {}});
  check(testing::corpus());
  check(testing::all_kernel_cases(13));
}

TEST_F(OpenCl, DivisionAndRootsAreRefinedWhereTheDeviceRoundsOtherwise) {
  const std::string text = R"(tenfold 1
kernel refined(x: f32[4096], y: f32[4096], out q: f32[4096], out r: f32[4096]) {
  atom bo in 16, bi in 256
  vector bi
  grid bo {
    %x = load x[256*bo + bi] : f32[bi]
    %y = load y[256*bo + bi] : f32[bi]
    %q = div %x, %y : f32[bi]
    %a = abs %x : f32[bi]
    %r = sqrt %a : f32[bi]
    store q[256*bo + bi] = %q
    store r[256*bo + bi] = %r
  }
}
)";
  for (const bool f64 : {true, false}) {
    limit({.arithmetic = {.f64 = f64, .exact_division = false}});
    const std::string c = target_->listing(tile::parse_kernel(text), "c");
    EXPECT_EQ(c.find("double") != std::string::npos, f64) << c;
    EXPECT_EQ(c.find("fma(") == std::string::npos, f64) << c;
    check({{text, {}, 0, true}});
  }
}

TEST_F(OpenCl, WhatTheDeviceLacksIsSaid) {
  limit({.arithmetic = {.f64 = false}});
  const tile::Kernel k = tile::parse_kernel(testing::read_file(TENFOLD_TESTS_DIR "/tile/places.ten"));
  const tile::Kernel* const kernels[] = {&k};
  try {
    target_->compile(kernels);
    FAIL() << "compiled";
  } catch (const DeviceError& error) {
    EXPECT_EQ(std::string(error.what()),
              "kernel places computes in f64, which the device does not have: convert to f32 before");
  }
}

TEST_F(OpenCl, MemoryThatIsNotThere) {
  Device& device = target_->device();
  try {
    const Buffer buffer(size_t{1} << 60, &device);
    FAIL() << "allocated";
  } catch (const DeviceError& error) {
    EXPECT_THAT(error.what(), ::testing::HasSubstr(
                                  "opencl:0 has no memory left for a buffer of 1152921504606846976 bytes"));
  }
  const int64_t before = device.memory().live_bytes;
  {
    const Buffer small(100, &device);
    const std::string text = "and the device goes on";
    std::string back(text.size(), ' ');
    device.to_device(small.data() + 3, text.data(), text.size());
    device.copy(small.data() + 40, small.data() + 3, text.size());
    device.to_host(back.data(), small.data() + 40, back.size());
    EXPECT_EQ(back, text);
    EXPECT_GT(device.memory().live_bytes, before);
  }
  EXPECT_EQ(device.memory().live_bytes, before);
}

TEST_F(OpenCl, TextIsForReaders) {
  const tile::Kernel k = tile::parse_kernel(testing::read_file(TENFOLD_TESTS_DIR "/tile/vote.ten"));
  EXPECT_EQ(target_->listing(k, "c"), R"(#pragma OPENCL FP_CONTRACT OFF

// vote
//   x  f32[40]  read
//   y  f32[40]  written
//   160 bytes read, 160 written
//   groups: no in 5; items: 8 over ni
__kernel void tn_vote(__global const float* x, long x_at, __global float* y, long y_at, long first_block) {
  const int item = (int)get_local_id(0);
  const int ni = item;
  x += x_at;
  y += y_at;
  const int no = first_block + (long)get_group_id(0);
  const float x_ = x[8*no + ni];
  const bool mask = x_ < 0.0f;
  float root;
  if (mask) {
    root = sqrt(-x_);
  }
  const float y_ = mask ? root : x_;
  y[8*no + ni] = y_;
}
)");
  EXPECT_THROW(target_->listing(k, "llvm"), UserError);
}

// Neighbours of a map belong to one item, which moves them at once: where all of a run is inside or nothing.
TEST_F(OpenCl, RunsOfElementsAreOneAccess) {
  const auto listing = [&](int64_t n) {
    return target_->listing(tile::parse_kernel(testing::runs_of_elements(n).text), "c");
  };
  EXPECT_THAT(listing(1024), HasSubstr("items: 64\n"));
  EXPECT_THAT(listing(1024), HasSubstr(R"(  float x_run[4];
  {
    const int bi = 4*item;
    vstore4(vload4(0, x + 256*bo + bi), 0, x_run);
  }
)"));
  EXPECT_THAT(listing(1020), HasSubstr("if (inside) vstore4(vload4(0, x + 256*bo + bi), 0, x_run);"));
  EXPECT_THAT(listing(1018), Not(HasSubstr("vload4")));  // the last run is part inside
  check(testing::runs_of_elements());
}

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
