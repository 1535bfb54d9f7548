// Arrays that live on a device, and programs that run there: the same bits as on the cpu, and errors that say
// where things are. The device is OpenCL's first, or the one that TENFOLD_TEST_DEVICE names.
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tenfold/compile/explain.h"
#include "tenfold/env/rollout.h"
#include "tenfold/generated/ops.h"
#include "tenfold/ir/eval.h"
#include "tenfold/lang/jit.h"
#include "tenfold/lang/random.h"
#include "tenfold/target/devices.h"

#include "error_of.h"
#include "random_contraction.h"
#include "random_graph.h"

namespace tn = tenfold::lang;
namespace env = tenfold::env;

namespace tenfold {
namespace {

using ::testing::HasSubstr;
using tn::operator+;
using tn::operator-;
using tn::operator*;
using tn::operator<;

const std::string kDevice = [] {
  const char* named = std::getenv("TENFOLD_TEST_DEVICE");
  return std::string(named ? named : "opencl:0");
}();

class DeviceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    try {
      device_target(kDevice);
    } catch (const DeviceError& error) {
      GTEST_SKIP() << "no such device: " << error.what();
    }
  }
};

std::vector<float> numbers(int64_t count, unsigned seed = 1) {
  std::mt19937 rng(seed);
  std::uniform_real_distribution<float> real(-2, 2);
  std::vector<float> out(static_cast<size_t>(count));
  for (float& v : out) v = real(rng);
  return out;
}

tn::Tensor matrix(int64_t rows, int64_t cols, unsigned seed = 1) {
  return tn::tensor(numbers(rows * cols, seed), Ints{rows, cols});
}

void expect_equal(const tn::Tensor& a, const tn::Tensor& b, const std::string& what) {
  const tn::Tensor x = a.to("cpu"), y = b.to("cpu");
  ASSERT_EQ(x.type(), y.type()) << what;
  const auto bytes = static_cast<size_t>(x.size().value() * size_of(x.dtype()));
  EXPECT_EQ(std::memcmp(x.data(), y.data(), bytes), 0) << what;
}

TEST_F(DeviceTest, ValuesStayWhereTheyAre) {
  const tn::Tensor host = matrix(3, 5), there = host.to(kDevice);
  EXPECT_EQ(host.device(), "cpu");
  EXPECT_EQ(there.device(), kDevice);
  EXPECT_EQ(there.to(kDevice).value(), there.value());
  const tn::Tensor lazy = there * 2 + 1;
  EXPECT_EQ(lazy.device(), kDevice);
  expect_equal(lazy, host * 2 + 1, "x * 2 + 1");
  EXPECT_EQ(tn::full_like(there, 3).device(), kDevice);
  EXPECT_EQ(there.str(), host.str());
  EXPECT_EQ(tn::sum(there).device(), kDevice);
  EXPECT_EQ((tn::sum(there) * 0 + 2).item(), Scalar(2.0));
  {
    const tn::DeviceScope scope(kDevice);
    EXPECT_EQ(tn::zeros({4}).device(), kDevice);
    EXPECT_EQ(matrix(2, 2).device(), kDevice);
  }
  EXPECT_EQ(tn::zeros({4}).device(), "cpu");
}

TEST_F(DeviceTest, MixingIsAnErrorThatSaysWhatToWrite) {
  const tn::Tensor x = matrix(2, 3).to(kDevice), y = matrix(2, 3);
  EXPECT_THAT(
      error_of([&] { x + y; }),
      ::testing::AllOf(
          HasSubstr("add: the arguments are on two devices."), HasSubstr("first   f32[2,3] on " + kDevice),
          HasSubstr("second  f32[2,3] on cpu"),
          HasSubstr("write x.to(\"" + kDevice + "\") for the second, or x.to(\"cpu\") for the first")));
  const auto f = tn::jit([](const tn::Tensor& a, const tn::Tensor& b) { return a * b; },
                         {.allow = {}, .donate = {}, .name = "product"});
  EXPECT_THAT(error_of([&] { f(x, y); }), HasSubstr("product: the arguments are on two devices."));
  const auto g =
      tn::jit([&](const tn::Tensor& a) { return a * y; }, {.allow = {}, .donate = {}, .name = "closure"});
  EXPECT_THAT(error_of([&] { g(x); }),
              HasSubstr("jit of closure: the arguments are on " + kDevice + ", but it uses f32[2,3] on cpu"));
  EXPECT_THAT(error_of([&] { x.data(); }),
              HasSubstr("f32[2,3] is on " + kDevice + ", where its elements cannot be read"));
  EXPECT_THAT(error_of([&] { x.to("tpu:0"); }),
              HasSubstr("there is no device \"tpu:0\": take cpu, cuda:0, opencl:0"));
  EXPECT_THROW(x.to(kDevice.substr(0, kDevice.find(':')) + ":99"), DeviceError);
  expect_equal(x.to("cpu") + y, y + y, "after a copy");
}

TEST_F(DeviceTest, JitRunsWhereItsArgumentsAre) {
  const auto softmax = tn::jit([](const tn::Tensor& x) {
    const tn::Tensor e = tn::exp(x - tn::max(x, Ints{1}, true));
    return tn::divide(e, tn::sum(e, Ints{1}, true));
  });
  for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{5, 7}, {64, 1000}, {3, 5000}}) {
    const tn::Tensor x = matrix(rows, cols);
    const tn::Tensor y = softmax(x.to(kDevice));
    EXPECT_EQ(y.device(), kDevice);
    expect_equal(y, softmax(x), fmt::format("softmax of {} by {}", rows, cols));
  }
  const compile::Explanation e = compile::explain(softmax.compiled(matrix(5, 7).to(kDevice))->executable());
  EXPECT_EQ(e.device, kDevice);
  EXPECT_EQ(e.machine, device_target(kDevice)->machine());
  EXPECT_THAT(e.str(), HasSubstr("device       " + kDevice));
}

// Loops of launches: carries that change names, slices, a step's number, a flag that is fetched.
TEST_F(DeviceTest, LoopsOfLaunches) {
  const tn::Tensor x = matrix(20, 24), w = matrix(24, 24, 2) * 0.1;
  const auto loop = [&](const tn::Tensor& start, const tn::Tensor& weights) {
    return tn::scan(
        [&](const tn::Tensors& in) {  // mixes across the tile
          const tn::Tensor next = tn::tanh(tn::matmul(in[0], weights)) - tn::mean(in[0]);
          return tn::Tensors{next, tn::sum(next, Ints{0}) * tn::astype(in[1], Dtype::f32)};
        },
        {start}, {}, {.length = Dim(6), .reverse = false, .checkpoint = 0, .names = {}});
  };
  const auto a = loop(x, w), b = loop(x.to(kDevice), w.to(kDevice));
  expect_equal(a.carries[0], b.carries[0], "carry");
  expect_equal(a.ys[0], b.ys[0], "ys");
  const auto until = [](const tn::Tensor& start) {
    const tn::Function small = [](const tn::Tensors& c) { return tn::Tensors{tn::sum(c[0]) < 50.0}; };
    const tn::Function grown = [](const tn::Tensors& c) {
      return tn::Tensors{c[0] + tn::mean(tn::abs(c[0])) + 0.5};
    };
    return tn::while_loop(small, grown, tn::Operands{start})[0];
  };
  expect_equal(until(x), until(x.to(kDevice)), "while");
  const auto updated = [](const tn::Tensor& whole, const tn::Tensor& part) {
    return tn::update_slice(whole, part, {3, tn::argmax(tn::sum(part, Ints{0})) * 2});
  };
  const tn::Tensor part = matrix(4, 5, 3);
  expect_equal(updated(x, part), updated(x.to(kDevice), part.to(kDevice)), "update_slice");
}

TEST_F(DeviceTest, DonatedMemoryIsUsedAgain) {
  const auto f =
      tn::jit([](const tn::Tensor& x) { return x * 2 + 1; }, {.allow = {}, .donate = {0}, .name = "step"});
  const tn::Tensor x = matrix(50, 50).to(kDevice);
  const void* const memory = x.evaluate().buffer()->data();
  const tn::Tensor y = f(x);
  EXPECT_EQ(y.buffer()->data(), memory);
  expect_equal(y, matrix(50, 50) * 2 + 1, "donated");
  EXPECT_THAT(error_of([&] { x.str(); }), HasSubstr("was donated"));
}

// ---- simulators

constexpr int64_t kEnvs = 70, kSteps = 128;
const std::vector<std::string> kFields{"obs", "action", "reward", "terminated", "truncated"};

env::Trajectory rollout(const tn::Tensor& keys, int64_t envs, int64_t steps, const env::Begin& begin = {}) {
  const env::Rollout run(env::make("CartPole-v1"), nullptr,
                         {.num_envs = envs, .steps = steps, .emit = kFields});
  return run(keys, begin);
}

TEST_F(DeviceTest, RolloutsAreTheSameForAnySplit) {
  const tn::Tensor keys = tn::random::split(tn::random::key(7), kEnvs);
  const env::Trajectory cpu = rollout(keys, kEnvs, kSteps);
  const tn::Tensor there = keys.to(kDevice);
  const env::Trajectory all = rollout(there, kEnvs, kSteps);
  EXPECT_EQ(all.returns.device(), kDevice);
  for (const std::string& field : kFields) expect_equal(all[field], cpu[field], field);
  expect_equal(all.episodes, cpu.episodes, "episodes");

  for (const int64_t piece : {1, 3, 7}) {
    env::Begin begin;
    const int64_t steps = piece * (piece == 1 ? 30 : 6);
    for (int64_t done = 0; done < steps; done += piece) {
      const env::Trajectory part = rollout(there, kEnvs, piece, begin);
      for (const std::string& field : kFields)
        expect_equal(part[field], tn::index(all[field], {tn::Slice{done, done + piece, 1}}),
                     fmt::format("{}: {} steps at {}", field, piece, done));
      if (HasFailure()) return;
      begin = {part.state, {}, tn::Operand(done + piece)};
    }
  }
  for (const auto& [from, to] : {std::pair<int64_t, int64_t>{0, 1}, {1, 70}}) {
    const env::Trajectory part = rollout(tn::index(there, {tn::Slice{from, to, 1}}), to - from, kSteps);
    for (const std::string& field : kFields)
      expect_equal(part[field], tn::index(all[field], {tn::Slice{}, tn::Slice{from, to, 1}}),
                   fmt::format("{} of environments {} to {}", field, from, to));
  }
}

// ---- random graphs, fused and not, against the reference interpreter

std::vector<Array> run_there(const Graph& graph, std::span<const Array> inputs, bool fuse) {
  Device& device = device_target(kDevice)->device();
  compile::Options options;
  options.device = kDevice;
  options.fuse = fuse;
  const auto executable = compile::compile(graph, options);
  std::vector<BufferRef> buffers;
  std::vector<void*> addresses;
  for (const Array& a : inputs) {
    buffers.push_back(std::make_shared<Buffer>(a.bytes.size(), &device));
    addresses.push_back(buffers.back()->data());
    device.to_device(addresses.back(), a.bytes.data(), a.bytes.size());
  }
  std::vector<BufferRef> outputs(graph.results.size());
  executable->run(addresses, {}, outputs);
  std::vector<Array> got;
  for (size_t k = 0; k < outputs.size(); ++k) {
    got.emplace_back(graph.results[k]->dtype(), const_shape(graph.results[k]->shape()));
    device.to_host(got[k].bytes.data(), outputs[k]->data(), got[k].bytes.size());
  }
  return got;
}

TEST_F(DeviceTest, RandomContractionsAsInterpreted) {
  const int contractions = std::getenv("TENFOLD_TEST_FULL") ? 300 : 30;
  for (int seed = 0; seed < contractions && !HasFailure(); ++seed) {
    const testing::RandomContraction r = testing::ContractionGenerator(seed).make();
    SCOPED_TRACE(fmt::format("{}: {}", seed, r.text));
    const std::vector<Array> inputs = testing::contraction_inputs(r, seed);
    EXPECT_EQ(
        testing::contraction_error(r, inputs, run_there(r.graph, inputs, true), evaluate(r.graph, inputs)),
        "");
  }
}

TEST_F(DeviceTest, RandomGraphsAsInterpreted) {
  constexpr double kTolerance = 2e-4;  // f32; sums in another order
  const int graphs = std::getenv("TENFOLD_TEST_FULL") ? 300 : 40;
  for (int seed = 0; seed < graphs && !HasFailure(); ++seed) {
    SCOPED_TRACE(seed);
    const auto own = static_cast<uint64_t>(seed);
    const testing::RandomGraph r =
        testing::Generator(own, Dtype::f32, {.smooth = false, .wide = true}).make(3 + seed % 12);
    std::vector<Array> inputs;
    std::mt19937_64 rng(own);
    std::uniform_real_distribution<double> real(-2, 2);
    for (const NodeRef& p : r.graph.parameters) {
      inputs.emplace_back(p->dtype(), const_shape(p->shape()));
      for (int64_t i = 0; i < inputs.back().size(); ++i)
        inputs.back().set(i, Scalar(real(rng)).round_to(p->dtype()));
    }
    const std::vector<Array> want = evaluate(r.graph, inputs);
    const std::vector<Array> found = run_there(r.graph, inputs, seed % 4 != 3);
    for (size_t k = 0; k < want.size(); ++k) {
      const Array& got = found[k];
      for (int64_t i = 0; i < got.size(); ++i) {
        const double x = got.at(i).f(), y = want[k].at(i).f();
        if (std::isnan(x) && std::isnan(y)) continue;
        ASSERT_LE(std::abs(x - y), kTolerance * (1 + std::abs(y))) << "element " << i << " of result " << k;
      }
    }
  }
}

}  // namespace
}  // namespace tenfold
