// Tile programs compiled for every instruction set that this machine runs, compared with the tile interpreter.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>

#include "tenfold/base/error.h"
#include "tenfold/ir/build.h"
#include "tenfold/runtime/allocator.h"
#include "tenfold/target/cpu.h"
#include "tenfold/tile/program.h"

namespace tenfold {
namespace {

using Symbols = std::map<std::string, int64_t>;

std::string read_file(const std::filesystem::path& path) {
  std::ifstream in(path);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

// Values that are exact in every dtype and whose sums are too; `special` mixes in zeros, infinities, NaN and limits.
void fill(Array& a, std::mt19937& random, bool special) {
  for (int64_t i = 0; i < a.size(); ++i) {
    const int64_t small = static_cast<int64_t>(random() % 17) - 8;
    Scalar v = is_unsigned_int(a.dtype) ? Scalar(uint64_t(small + 8)) : Scalar(small);
    if (is_inexact(a.dtype)) v = Scalar(static_cast<double>(small) * 0.25);
    if (is_complex(a.dtype)) v = Scalar(Complex(static_cast<double>(small), static_cast<double>(random() % 5)));
    if (is_bool(a.dtype)) v = Scalar(small > 0);
    if (special && is_inexact(a.dtype)) {
      constexpr double inf = std::numeric_limits<double>::infinity();
      const double list[] = {0.0, -0.0, inf, -inf, std::nan(""), 1e30, -1e30, 0.5, -0.5, 1.5, 2.5, 1e-40, 300.7, -300.7, 65519, 65520};
      std::uniform_real_distribution<double> uniform(-100, 100);
      auto any = [&] { return random() % 3 ? uniform(random) : list[random() % std::size(list)]; };
      v = is_complex(a.dtype) ? Scalar(Complex(uniform(random), uniform(random))) : Scalar(any());
    }
    if (special && is_int(a.dtype)) {
      const uint64_t bits = (uint64_t{random()} << 32) | random();
      const uint64_t list[] = {0, 1, ~uint64_t{0}, bits, bits >> 33, uint64_t{1} << (size_of(a.dtype) * 8 - 1), 7, 40};
      v = Scalar(list[random() % std::size(list)]);
    }
    a.set(i, v.round_to(a.dtype));
  }
}

struct Buffers {
  std::vector<Array> arrays;
  std::vector<void*> blocks;  // aligned copies
  std::vector<size_t> sizes;
  ~Buffers() {
    for (size_t i = 0; i < blocks.size(); ++i) release(blocks[i], sizes[i]);
  }
  void copy_in() {
    for (Array& a : arrays) {
      sizes.push_back(a.bytes.size() + 64);
      blocks.push_back(allocate(sizes.back()));
      std::memcpy(blocks.back(), a.bytes.data(), a.bytes.size());
    }
  }
  void copy_out() {
    for (size_t i = 0; i < arrays.size(); ++i) std::memcpy(arrays[i].bytes.data(), blocks[i], arrays[i].bytes.size());
  }
};

std::vector<Array> arguments(const tile::Kernel& k, const Symbols& symbols, bool special, unsigned seed) {
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

std::vector<Array> interpret(const tile::Kernel& k, std::vector<Array> arrays, const Symbols& symbols) {
  std::vector<Array*> pointers;
  for (Array& a : arrays) pointers.push_back(&a);
  tile::run(k, pointers, symbols);
  return arrays;
}

std::vector<Array> execute(const Code& code, const tile::Kernel& k, std::vector<Array> arrays, const Symbols& symbols) {
  Buffers buffers{std::move(arrays), {}, {}};
  buffers.copy_in();
  std::vector<int64_t> values;
  for (const auto& name : code.symbols) values.push_back(symbols.at(name));
  void* scratch = allocate(static_cast<size_t>(code.scratch_bytes));
  code.function(buffers.blocks.data(), values.data(), 0, tile::blocks(k).evaluate(symbols), scratch);
  release(scratch, static_cast<size_t>(code.scratch_bytes));
  buffers.copy_out();
  return std::move(buffers.arrays);
}

// Equal values (NaN equals NaN, -0 equals 0), floats within `ulp` units of their dtype.
bool close(const Scalar& x, const Scalar& y, Dtype d, double ulp) {
  if (is_complex(d)) return close(Scalar(x.c().real()), Scalar(y.c().real()), real_of(d), ulp * 8) && close(Scalar(x.c().imag()), Scalar(y.c().imag()), real_of(d), ulp * 8);
  if (!is_float(d)) return x == y;
  const double a = x.f(), b = y.f();
  if (std::isnan(a) || std::isnan(b)) return std::isnan(a) == std::isnan(b);
  if (a == b) return true;
  const double unit = d == Dtype::f16 ? 0x1p-10 : d == Dtype::bf16 ? 0x1p-7 : d == Dtype::f32 ? 0x1p-23 : 0x1p-52;
  return std::abs(a - b) <= ulp * unit * std::max(std::abs(a), std::abs(b));
}

void expect_same(const tile::Kernel& k, const std::vector<Array>& got, const std::vector<Array>& want, double ulp, const std::string& what) {
  for (size_t i = 0; i < k.args.size(); ++i) {
    int wrong = 0;
    for (int64_t j = 0; j < got[i].size() && wrong < 4; ++j)
      if (!close(got[i].at(j), want[i].at(j), got[i].dtype, ulp)) {
        ++wrong;
        ADD_FAILURE() << what << ": " << k.name << ": " << k.args[i].name << "[" << j << "] is " << got[i].at(j).str() << ", not " << want[i].at(j).str();
      }
  }
}

void check(const std::string& text, const Symbols& symbols = {}, double ulp = 0, bool special = false) {
  const tile::Kernel k = tile::parse_kernel(text);
  const auto complaints = tile::verify(k);
  ASSERT_TRUE(complaints.empty()) << complaints[0];
  const auto in = arguments(k, symbols, special, 1);
  const auto want = interpret(k, in, symbols);
  for (const std::string& isa : runnable_isas()) {
    const tile::Kernel* kernels[] = {&k};
    const auto codes = cpu_target(isa)->compile(kernels);
    expect_same(k, execute(codes[0], k, in, symbols), want, ulp, isa);
  }
}

TEST(Llvm, Corpus) {
  for (const auto& file : std::filesystem::directory_iterator(TENFOLD_TESTS_DIR "/tile")) {
    if (file.path().extension() != ".ten") continue;
    SCOPED_TRACE(file.path().string());
    std::string text = read_file(file.path());
    // Composed records are expanded before a target sees them; here any core one will do.
    for (const auto& [composed, core] : {std::pair{"= exp ", "= abs "}, {"= rsqrt ", "= sqrt "}, {"= tanh ", "= abs "}})
      for (size_t at; (at = text.find(composed)) != std::string::npos;) text.replace(at, std::strlen(composed), core);
    const tile::Kernel k = tile::parse_kernel(text);
    for (const int64_t n : {1, 7, 33}) {
      Symbols symbols;
      for (const auto& name : symbol_names(k)) symbols[name] = n;
      check(text, symbols);
      if (symbols.empty()) break;
    }
  }
}

constexpr int kN = 37;

// y = prim(a, b, c) over kN elements: two blocks, the second with a ragged end.
std::string map_kernel(const Node& node, int index) {
  std::string args, loads, operands;
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    const auto d = name(node.inputs[i]->dtype());
    args += fmt::format("x{}: {}[{}], ", i, d, kN);
    loads += fmt::format("    %x{} = load x{}[24*bo + bi] : {}[bi]\n", i, i, d);
    operands += fmt::format("{}%x{}", i ? ", " : "", i);
  }
  std::string attrs;
  for (const auto& [key, value] : node.attrs) attrs += fmt::format(" {}={}", key, name(std::get<Dtype>(value)));
  return fmt::format(
      "tenfold 1\nkernel {}_{}({}out y: {}[{}]) {{\n  atom bo in 2, bi in 24\n  vector bi\n  guard 24*bo + bi < {}\n  grid bo {{\n{}"
      "    %y = {} {}{} : {}[bi]\n    store y[24*bo + bi] = %y\n  }}\n}}\n",
      node.prim->name, index, args, name(node.dtype()), kN, kN, loads, node.prim->name, operands, attrs, name(node.dtype()));
}

TEST(Llvm, EveryMapRecordOnEveryDtype) {
  size_t count = 0;
  for (const Prim* p : all_prims()) {
    if (p->kind != Kind::map || p->expand) continue;
    std::vector<tile::Kernel> kernels;
    for (int d = 0; d < kDtypeCount; ++d)
      for (int to = 0; to < kDtypeCount; ++to) {
        const bool typed = !p->attributes.empty();
        if (!typed && to > 0) continue;
        Nodes in;
        for (int i = 0; i < p->arity; ++i)
          in.push_back(build::parameter(i, {p->name == "select" && i == 0 ? Dtype::boolean : static_cast<Dtype>(d), {kN}}));
        try {
          const NodeRef node = make(*p, in, typed ? Attrs{{"dtype", static_cast<Dtype>(to)}} : Attrs{});
          kernels.push_back(tile::parse_kernel(map_kernel(*node, static_cast<int>(kernels.size()))));
        } catch (const UserError&) {  // not of this dtype
        }
      }
    ASSERT_FALSE(kernels.empty()) << p->name;
    std::vector<const tile::Kernel*> pointers;
    for (const auto& k : kernels) pointers.push_back(&k);
    std::vector<std::vector<Code>> codes;  // by instruction set
    for (const std::string& isa : runnable_isas()) codes.push_back(cpu_target(isa)->compile(pointers));
    for (size_t i = 0; i < kernels.size(); ++i)
      for (unsigned seed = 1; seed <= 4; ++seed) {
        const auto in = arguments(kernels[i], {}, true, seed);
        const auto want = interpret(kernels[i], in, {});
        // The interpreter computes complex numbers in f64.
        const double ulp = is_complex(kernels[i].args[0].dtype) ? 64 : 0;
        for (size_t n = 0; n < codes.size(); ++n)
          expect_same(kernels[i], execute(codes[n][i], kernels[i], in, {}), want, ulp, runnable_isas()[n]);
      }
    count += kernels.size();
    ASSERT_FALSE(HasFailure());
  }
  EXPECT_GT(count, 400u);
}

}  // namespace
}  // namespace tenfold
