// Random graphs through the whole compiler: fused and not, on every instruction set that this machine runs,
// against the reference interpreter; and gradients of smooth ones against difference quotients.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <random>

#include <gtest/gtest.h>

#include "tenfold/compile/compile.h"
#include "tenfold/grad/gradient.h"
#include "tenfold/ir/eval.h"
#include "tenfold/target/cpu.h"

#include "graph_testing.h"
#include "random_contraction.h"
#include "random_graph.h"

namespace tenfold {
namespace {

using testing::Generator;
using testing::RandomGraph;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int kGraphs = 10, kGradients = 3, kContractions = 5;  // of each part
#else
constexpr int kGraphs = 200, kGradients = 100, kContractions = 50;
#endif
constexpr int kParts = 10;
constexpr int kFull = 1000;          // of each part, with TENFOLD_TEST_FULL
constexpr double kTolerance = 2e-4;  // f32; sums in another order

bool full() { return std::getenv("TENFOLD_TEST_FULL") != nullptr; }

// What the graphs have been made of.
struct Coverage {
  std::map<std::string, int> nodes, graphs;

  void add(const RandomGraph& r) {
    for (const auto& [name, n] : r.coverage) {
      nodes[name] += n;
      const Prim& p = prim(name);
      if (p.kind == Kind::reduce) ++graphs["a reduction of " + name];
      if (p.kind == Kind::control && p.name == "scan") ++graphs["a scan"];
      if (p.kind == Kind::contract) ++graphs["a contraction"];
    }
  }
  ~Coverage() {
    std::string text = "nodes";
    for (const auto& [name, n] : nodes) text += fmt::format(" {}:{}", name, n);
    text += "\ngraphs with";
    for (const auto& [name, n] : graphs) text += fmt::format(" {}:{},", name, n);
    std::puts(text.c_str());
  }
};

bool has_vote(const tile::Body& body) {
  for (const tile::Item& i : body) {
    if (std::holds_alternative<std::unique_ptr<tile::If>>(i)) return true;
    if (const auto* l = std::get_if<std::unique_ptr<tile::Loop>>(&i); l && has_vote((*l)->body)) return true;
  }
  return false;
}

bool has_vote(const std::vector<plan::Step>& steps) {
  for (const plan::Step& s : steps) {
    if (const auto* l = std::get_if<plan::Launch>(&s.what); l && has_vote(l->kernel->body)) return true;
    if (const auto* r = std::get_if<std::shared_ptr<plan::Repeat>>(&s.what); r && has_vote((*r)->body))
      return true;
  }
  return false;
}

std::vector<Array> random_inputs(const Graph& g, uint64_t seed) {
  std::mt19937_64 rng(seed);
  std::uniform_real_distribution<double> real(-2, 2);
  std::vector<Array> all;
  for (const NodeRef& p : g.parameters) {
    all.emplace_back(p->dtype(), const_shape(p->shape()));
    for (int64_t i = 0; i < all.back().size(); ++i) all.back().set(i, Scalar(real(rng)).round_to(p->dtype()));
  }
  return all;
}

std::vector<Array> run(const compile::Executable& e, std::vector<Array>& inputs) {
  std::vector<void*> data;
  for (Array& a : inputs) data.push_back(a.bytes.data());
  std::vector<BufferRef> laid(e.laid().size());
  for (size_t k = 0; k < laid.size(); ++k) {
    const compile::Laid& l = e.laid()[k];
    std::vector<void*> from;
    for (const int parameter : l.from) from.push_back(data[static_cast<size_t>(parameter)]);
    if (l.layout) l.layout->run(from, {}, {&laid[k], 1});
    data.push_back(laid[k] ? laid[k]->data() : nullptr);
  }
  const Nodes& results = e.graph().results;
  std::vector<BufferRef> buffers(results.size());
  e.run(data, {}, buffers);
  std::vector<Array> out;
  for (size_t k = 0; k < results.size(); ++k) {
    out.emplace_back(results[k]->dtype(), const_shape(results[k]->shape()));
    if (out[k].size() > 0) std::memcpy(out[k].bytes.data(), buffers[k]->data(), out[k].bytes.size());
  }
  return out;
}

void expect_close(const std::vector<Array>& got, const std::vector<Array>& want, const std::string& what) {
  for (size_t k = 0; k < want.size(); ++k)
    for (int64_t i = 0; i < want[k].size(); ++i) {
      const double x = got[k].at(i).f(), y = want[k].at(i).f();
      if (std::isnan(x) && std::isnan(y)) continue;
      ASSERT_LE(std::abs(x - y), kTolerance * (1 + std::abs(y)))
          << what << ": element " << i << " of result " << k << " is " << x << ", not " << y;
    }
}

class RandomLlvm : public ::testing::TestWithParam<int> {
 protected:
  // Every graph is new: to keep its kernels on disk would only evict others.
  static void SetUpTestSuite() { setenv("TENFOLD_CACHE_DIR", "", 1); }
  void TearDown() override {
    unsetenv("TENFOLD_ISA");
    compile::clear_cache();
  }
  // The seeds of this part, or TENFOLD_SEED alone.
  static int first(int count) {
    const char* asked = getenv("TENFOLD_SEED");
    return asked ? atoi(asked) : GetParam() * (full() ? kFull : count);
  }
  static int last(int count) {
    return getenv("TENFOLD_SEED") ? first(count) + 1 : first(count) + (full() ? kFull : count);
  }
};

TEST_P(RandomLlvm, AsInterpreted) {
  const std::vector<std::string> isas = runnable_isas();
  Coverage coverage;
  for (int seed = first(kGraphs); seed < last(kGraphs) && !HasFailure(); ++seed) {
    SCOPED_TRACE(seed);
    const RandomGraph r = Generator(seed, Dtype::f32, {.smooth = false, .wide = true}).make(3 + seed % 12);
    coverage.add(r);
    std::vector<Array> inputs = random_inputs(r.graph, seed);
    const std::vector<Array> want = evaluate(r.graph, inputs);
    bool votes = false;
    for (size_t n = 0; n < isas.size(); ++n) {
      const std::string& isa = isas[n];
      setenv("TENFOLD_ISA", isa.c_str(), 1);
      for (const bool fuse : {true, false}) {
        if (!fuse && static_cast<size_t>(seed) % isas.size() != n) continue;
        try {
          compile::Options options{.fuse = fuse};
          for (size_t k = 0; k < inputs.size(); ++k)
            if (seed >> k & 1) options.fixed.push_back(static_cast<int>(k));
          const auto e = compile::compile(r.graph, options);
          coverage.graphs["inputs laid out"] += !e->laid().empty();
          votes |= has_vote(e->plan().steps);
          expect_close(run(*e, inputs), want, isa + (fuse ? ", fused" : ", unfused"));
        } catch (const std::exception& error) {
          ADD_FAILURE() << isa << (fuse ? ", fused: " : ", unfused: ") << error.what();
        }
      }
    }
    coverage.graphs["votes"] += votes;
  }
}

// Integers, and the largest and smallest, exactly; sums within the bound of a plain loop.
TEST_P(RandomLlvm, Contractions) {
  int laid = 0;
  const std::vector<std::string> isas = runnable_isas();
  for (int seed = first(kContractions); seed < last(kContractions) && !HasFailure(); ++seed) {
    const testing::RandomContraction r = testing::ContractionGenerator(seed).make();
    SCOPED_TRACE(fmt::format("{}: {}", seed, r.text));
    std::vector<Array> inputs = testing::contraction_inputs(r, seed);
    const std::vector<Array> want = evaluate(r.graph, inputs);
    for (size_t n = 0; n < isas.size(); ++n) {
      if (!full() && static_cast<size_t>(seed) % isas.size() != n) continue;
      setenv("TENFOLD_ISA", isas[n].c_str(), 1);
      try {
        compile::Options options;
        for (size_t k = 0; k < inputs.size(); ++k)
          if (seed >> k & 1) options.fixed.push_back(static_cast<int>(k));
        const auto e = compile::compile(r.graph, options);
        laid += !e->laid().empty();
        EXPECT_EQ(testing::contraction_error(r, inputs, run(*e, inputs), want), "") << isas[n];
      } catch (const std::exception& error) {
        ADD_FAILURE() << isas[n] << ": " << error.what();
      }
    }
  }
  fmt::print("{} with inputs laid out\n", laid);
}

// Along a random direction, for each parameter: the error of the quotient is that of its two step widths.
TEST_P(RandomLlvm, GradientsAreQuotients) {
  Coverage coverage;
  for (int seed = first(kGradients); seed < last(kGradients) && !HasFailure(); ++seed) {
    SCOPED_TRACE(seed);
    const RandomGraph r = Generator(seed, Dtype::f64, {.smooth = true, .wide = true}).make(3 + seed % 8);
    coverage.add(r);
    const Graph number = testing::weighted(r.graph);
    std::vector<int> wrt;
    for (size_t i = 0; i < number.parameters.size(); ++i) wrt.push_back(static_cast<int>(i));
    const std::vector<Array> at = random_inputs(number, seed);
    const std::vector<Array> gradients = evaluate(value_and_grad(number, wrt), at);
    const double rounding = 1e-10 * std::abs(gradients[0].at(0).f());
    std::mt19937_64 rng(seed);
    std::normal_distribution<double> normal;
    for (size_t p = 0; p < at.size(); ++p) {
      const auto count = static_cast<size_t>(at[p].size());
      std::vector<double> direction(count);
      double length = 0, slope = 0, scale = 1;
      for (double& d : direction) {
        d = normal(rng);
        length += d * d;
      }
      for (size_t i = 0; i < count; ++i) {
        const double part =
            gradients[1 + p].at(static_cast<int64_t>(i)).f() * (direction[i] /= std::sqrt(length));
        slope += part;
        scale += std::abs(part);
      }
      const auto quotient = [&](double step) {
        const auto value = [&](double way) {
          std::vector<Array> moved = at;
          for (size_t i = 0; i < count; ++i)
            moved[p].set(static_cast<int64_t>(i), at[p].at(static_cast<int64_t>(i)).f() + way * direction[i]);
          return evaluate(number, moved)[0].at(0).f();
        };
        return (value(step) - value(-step)) / (2 * step);
      };
      const double wide = quotient(2e-4), narrow = quotient(1e-4);
      // Truncation is quadratic in the step: a third of the difference is left in the narrow one.
      ASSERT_LE(std::abs(slope - narrow), std::abs(wide - narrow) + 1e-6 * scale + rounding)
          << "parameter " << p;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Part, RandomLlvm, ::testing::Range(0, kParts));

}  // namespace
}  // namespace tenfold
