// What the tests of targets share: arguments for a tile kernel, the interpreter's answer, and a comparison.
#pragma once

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <sstream>

#include <gtest/gtest.h>

#include "tenfold/ir/build.h"
#include "tenfold/tile/program.h"

namespace tenfold::testing {

using Symbols = std::map<std::string, int64_t>;

inline std::string read_file(const std::filesystem::path& path) {
  std::ifstream in(path);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

// Values that are exact in every dtype and whose sums are too; `special` mixes in zeros, infinities, NaN and
// limits.
inline void fill(Array& a, std::mt19937& random, bool special) {
  for (int64_t i = 0; i < a.size(); ++i) {
    const int64_t small = static_cast<int64_t>(random() % 17) - 8;
    Scalar v = is_unsigned_int(a.dtype) ? Scalar(uint64_t(small + 8)) : Scalar(small);
    if (is_inexact(a.dtype)) v = Scalar(static_cast<double>(small) * 0.25);
    if (is_complex(a.dtype))
      v = Scalar(Complex(static_cast<double>(small), static_cast<double>(random() % 5)));
    if (is_bool(a.dtype)) v = Scalar(small > 0);
    if (special && is_inexact(a.dtype)) {
      constexpr double inf = std::numeric_limits<double>::infinity();
      const double list[] = {0.0,  -0.0, inf, -inf,  std::nan(""), 1e30,   -1e30, 0.5,
                             -0.5, 1.5,  2.5, 1e-40, 300.7,        -300.7, 65519, 65520};
      std::uniform_real_distribution<double> uniform(-100, 100);
      auto any = [&] { return random() % 3 ? uniform(random) : list[random() % std::size(list)]; };
      v = is_complex(a.dtype) ? Scalar(Complex(uniform(random), uniform(random))) : Scalar(any());
    }
    if (special && is_int(a.dtype)) {
      const uint64_t bits = (uint64_t{random()} << 32) | random();
      const uint64_t list[] = {
          0, 1, ~uint64_t{0}, bits, bits >> 33, uint64_t{1} << (size_of(a.dtype) * 8 - 1), 7, 40};
      v = Scalar(list[random() % std::size(list)]);
    }
    a.set(i, v.round_to(a.dtype));
  }
}

inline std::vector<Array> arguments(const tile::Kernel& k, const Symbols& symbols, bool special,
                                    unsigned seed) {
  std::mt19937 random(seed);
  std::vector<Array> arrays;
  for (const auto& arg : k.args) {
    Ints shape;
    for (const Dim& d : arg.shape) shape.push_back(d.evaluate(symbols));
    arrays.emplace_back(arg.dtype, shape);
    if (!arg.output) fill(arrays.back(), random, special);
  }
  return arrays;
}

inline std::vector<Array> interpret(const tile::Kernel& k, std::vector<Array> arrays,
                                    const Symbols& symbols) {
  std::vector<Array*> pointers;
  for (Array& a : arrays) pointers.push_back(&a);
  tile::run(k, pointers, symbols);
  return arrays;
}

// Equal values (NaN equals NaN, -0 equals 0), floats within `ulp` units of their dtype.
inline bool close(const Scalar& x, const Scalar& y, Dtype d, double ulp) {
  if (is_complex(d))
    return close(Scalar(x.c().real()), Scalar(y.c().real()), real_of(d), ulp * 8) &&
           close(Scalar(x.c().imag()), Scalar(y.c().imag()), real_of(d), ulp * 8);
  if (!is_float(d)) return x == y;
  const double a = x.f(), b = y.f();
  if (std::isnan(a) || std::isnan(b)) return std::isnan(a) == std::isnan(b);
  if (a == b) return true;
  const double unit = d == Dtype::f16    ? 0x1p-10
                      : d == Dtype::bf16 ? 0x1p-7
                      : d == Dtype::f32  ? 0x1p-23
                                         : 0x1p-52;
  return std::abs(a - b) <= ulp * unit * std::max(std::abs(a), std::abs(b));
}

inline void expect_same(const tile::Kernel& k, const std::vector<Array>& got, const std::vector<Array>& want,
                        double ulp, const std::string& what) {
  for (size_t i = 0; i < k.args.size(); ++i) {
    int wrong = 0;
    for (int64_t j = 0; j < got[i].size() && wrong < 4; ++j)
      if (!close(got[i].at(j), want[i].at(j), got[i].dtype, ulp)) {
        ++wrong;
        ADD_FAILURE() << what << ": " << k.name << ": " << k.args[i].name << "[" << j << "] is "
                      << got[i].at(j).str() << ", not " << want[i].at(j).str();
      }
  }
}

// A kernel and what it is run with.
struct KernelCase {
  std::string text;
  Symbols symbols = {};
  double ulp = 0;
  bool special = false;
};

inline std::string replaced(std::string text, const std::map<std::string, std::string>& with) {
  for (const auto& [from, to] : with)
    for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
      text.replace(at, from.size(), to);
  return text;
}
inline std::string number(int64_t n) { return std::to_string(n); }

// The kernels of tests/tile, each at several values of its symbols. Composed records are expanded before a
// target sees them; here any core one will do.
inline std::vector<KernelCase> corpus() {
  std::vector<KernelCase> cases;
  for (const auto& file : std::filesystem::directory_iterator(TENFOLD_TESTS_DIR "/tile")) {
    if (file.path().extension() != ".ten") continue;
    const std::string text = replaced(read_file(file.path()),
                                      {{"= exp ", "= abs "}, {"= rsqrt ", "= sqrt "}, {"= tanh ", "= abs "}});
    const tile::Kernel k = tile::parse_kernel(text);
    std::map<std::string, Symbol> found;
    for (const auto& a : k.args)
      for (const Dim& d : a.shape) d.symbols(found);
    for (const int64_t n : {1, 7, 33}) {
      Symbols symbols;
      for (const auto& [name, symbol] : found) symbols[name] = n;
      cases.push_back({text, symbols});
      if (symbols.empty()) break;
    }
  }
  return cases;
}

inline constexpr int kMapExtent = 37;

// y = prim(a, b, c) over kMapExtent elements, for each of the nodes: two blocks, the second with a ragged
// end.
inline std::string map_kernel(std::span<const NodeRef> nodes, int index) {
  std::string args, body;
  for (size_t n = 0; n < nodes.size(); ++n) {
    const Node& node = *nodes[n];
    std::string operands;
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      const auto d = name(node.inputs[i]->dtype());
      args += fmt::format("x{}_{}: {}[{}], ", n, i, d, kMapExtent);
      body += fmt::format("    %x{0}_{1} = load x{0}_{1}[24*bo + bi] : {2}[bi]\n", n, i, d);
      operands += fmt::format("{}%x{}_{}", i ? ", " : "", n, i);
    }
    std::string attrs;
    for (const auto& [key, value] : node.attrs)
      attrs += fmt::format(" {}={}", key, name(std::get<Dtype>(value)));
    args +=
        fmt::format("out y{}: {}[{}]{}", n, name(node.dtype()), kMapExtent, n + 1 < nodes.size() ? ", " : "");
    body += fmt::format("    %y{0} = {1} {2}{3} : {4}[bi]\n    store y{0}[24*bo + bi] = %y{0}\n", n,
                        node.prim->name, operands, attrs, name(node.dtype()));
  }
  return fmt::format(
      "tenfold 1\nkernel {}_{}({}) {{\n  atom bo in 2, bi in 24\n  vector bi\n  guard 24*bo + bi < {}\n  "
      "grid bo "
      "{{\n{}  }}\n}}\n",
      nodes[0]->prim->name, index, args, kMapExtent, body);
}

// Kernels of the record over each dtype (and result dtype) that it takes, `together` to a kernel; complex
// ones apart.
inline std::vector<tile::Kernel> map_kernels(const Prim& p, size_t together = 1) {
  Nodes real, complex;
  for (int d = 0; d < kDtypeCount; ++d)
    for (int to = 0; to < kDtypeCount; ++to) {
      const bool typed = !p.attributes.empty();
      if (!typed && to > 0) continue;
      Nodes in;
      for (int i = 0; i < p.arity; ++i)
        in.push_back(build::parameter(
            i, {p.name == "select" && i == 0 ? Dtype::boolean : static_cast<Dtype>(d), {kMapExtent}}));
      try {
        const NodeRef node = make(p, in, typed ? Attrs{{"dtype", static_cast<Dtype>(to)}} : Attrs{});
        (is_complex(static_cast<Dtype>(d)) ? complex : real).push_back(node);
      } catch (const UserError&) {  // not of this dtype
      }
    }
  std::vector<tile::Kernel> kernels;
  for (const Nodes& nodes : {real, complex})
    for (size_t first = 0; first < nodes.size(); first += together)
      kernels.push_back(tile::parse_kernel(
          map_kernel(std::span(nodes).subspan(first, std::min(together, nodes.size() - first)),
                     static_cast<int>(kernels.size()))));
  return kernels;
}

}  // namespace tenfold::testing
