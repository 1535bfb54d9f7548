// Tile programs compiled for every instruction set that this machine runs, compared with the tile
// interpreter.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>

#include <dlfcn.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tenfold/base/error.h"
#include "tenfold/ir/build.h"
#include "tenfold/runtime/allocator.h"
#include "tenfold/target/cpu.h"
#include "tenfold/target/llvm_module.h"
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

// Values that are exact in every dtype and whose sums are too; `special` mixes in zeros, infinities, NaN and
// limits.
void fill(Array& a, std::mt19937& random, bool special) {
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
      std::ranges::copy(a.bytes, static_cast<std::byte*>(blocks.back()));  // perhaps none
    }
  }
  void copy_out() {
    for (size_t i = 0; i < arrays.size(); ++i)
      std::copy_n(static_cast<const std::byte*>(blocks[i]), arrays[i].bytes.size(), arrays[i].bytes.data());
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

std::vector<Array> execute(const Code& code, const tile::Kernel& k, std::vector<Array> arrays,
                           const Symbols& symbols) {
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

void expect_same(const tile::Kernel& k, const std::vector<Array>& got, const std::vector<Array>& want,
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
    for (const auto& [composed, core] :
         {std::pair{"= exp ", "= abs "}, {"= rsqrt ", "= sqrt "}, {"= tanh ", "= abs "}})
      for (size_t at; (at = text.find(composed)) != std::string::npos;)
        text.replace(at, std::strlen(composed), core);
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
  for (const auto& [key, value] : node.attrs)
    attrs += fmt::format(" {}={}", key, name(std::get<Dtype>(value)));
  return fmt::format(
      "tenfold 1\nkernel {}_{}({}out y: {}[{}]) {{\n  atom bo in 2, bi in 24\n  vector bi\n  guard 24*bo + "
      "bi < {}\n  grid bo {{\n{}"
      "    %y = {} {}{} : {}[bi]\n    store y[24*bo + bi] = %y\n  }}\n}}\n",
      node.prim->name, index, args, name(node.dtype()), kN, kN, loads, node.prim->name, operands, attrs,
      name(node.dtype()));
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
          in.push_back(build::parameter(
              i, {p->name == "select" && i == 0 ? Dtype::boolean : static_cast<Dtype>(d), {kN}}));
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

// ---- shapes: what the corpus leaves out

std::string replaced(std::string text, const std::map<std::string, std::string>& with) {
  for (const auto& [from, to] : with)
    for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
      text.replace(at, from.size(), to);
  return text;
}
std::string number(int64_t n) { return std::to_string(n); }

TEST(Llvm, RaggedElementwise) {
  for (const int64_t n : {0, 1, 2, 15, 16, 17, 31, 64, 97, 1021})
    for (const int64_t tile : {1, 3, 16, 40, 320}) {
      check(replaced(R"(tenfold 1
kernel ragged(x: f32[N], y: f32[N], out z: f32[N]) {
  atom bo in B, bi in T
  vector bi
  guard T*bo + bi < N
  grid bo {
    %x = load x[T*bo + bi] : f32[bi]
    %y = load y[T*bo + bi] : f32[bi]
    %z = mul %x, %y : f32[bi]
    %w = sub %z, %x : f32[bi]
    store z[T*bo + bi] = %w
  }
}
)",
                     {{"T", number(tile)}, {"B", number((n + tile - 1) / tile)}, {"N", number(n)}}));
      ASSERT_FALSE(HasFailure()) << n << " by " << tile;
    }
}

TEST(Llvm, SymbolicExtents) {
  const std::string text = R"(tenfold 1
symbol n in 0..100000 hint 1000
kernel rows(x: f32[3,n], out y: f32[3,n], out s: f32[3]) {
  atom r in 3, jo in floordiv(n + 31, 32), ji in 32
  vector ji
  guard 32*jo + ji < n
  grid r {
    %m = fill f32[ji] 0.0
    for jo {
      %x = load x[r, 32*jo + ji] : f32[ji]
      %m = accumulate add %x : f32[ji]
    }
    %s = reduce add %m over ji : f32[]
    store s[r] = %s
    for jo {
      %z = load x[r, 32*jo + ji] : f32[ji]
      %y = sub %z, %s : f32[ji]
      store y[r, 32*jo + ji] = %y
    }
  }
}
)";
  for (const int64_t n : {0, 1, 31, 32, 33, 64, 101}) {
    check(text, {{"n", n}});
    ASSERT_FALSE(HasFailure()) << n;
  }
}

TEST(Llvm, ReductionsAlongAndAcross) {
  for (const char* op : {"add", "mul", "maximum", "minimum"})
    for (const char* dtype : {"f32", "f64", "i32", "u8", "f16", "complex64"})
      for (const int64_t n : {1, 2, 5, 16, 23, 64}) {
        if (std::string(dtype) == "complex64" && std::string(op) != "add") continue;
        check(replaced(R"(tenfold 1
kernel reductions(x: D[6,N], out rows: D[6], out columns: D[N], out all: D[], out both: D[]) {
  atom i in 6, j in N, io in 3, ii in 2
  vector j, i
  grid {
    %x = load x[i, j] : D[i,j]
    %r = reduce OP %x over j : D[i]
    store rows[i] = %r
    %c = reduce OP %x over i : D[j]
    store columns[j] = %c
    %a = reduce OP %r over i : D[]
    store all[] = %a
    %b = reduce OP %x over i, j : D[]
    store both[] = %b
  }
}
)",
                       {{"D", dtype}, {"OP", op}, {"N", number(n)}}),
              {}, std::string(dtype) == "complex64" ? 64 : 0);
        ASSERT_FALSE(HasFailure()) << op << " " << dtype << " " << n;
      }
}

TEST(Llvm, ContractionsInLoopsAndBlocks) {
  for (const char* dtype : {"f32", "f64", "f16", "bf16", "i32", "complex64"})
    for (const int64_t k : {1, 7, 16, 64}) {
      check(replaced(R"(tenfold 1
kernel gemm(a: D[11,K], b: D[K,45], out c: D[11,45]) {
  atom mo in 2, mi in 6, no in 1, ni in 48, ki in K
  vector ni
  guard 6*mo + mi < 11
  guard 48*no + ni < 45
  grid mo, no {
    %c = fill D[mi,ni] 0.0
    %a = load a[6*mo + mi, ki] : D[mi,ki]
    %b = load b[ki, 48*no + ni] : D[ki,ni]
    %c = contract %a, %b over ki : D[mi,ni]
    store c[6*mo + mi, 48*no + ni] = %c
  }
}
)",
                     {{"D", dtype},
                      {"K", number(k)},
                      {"0.0", std::string(dtype) == "i32"         ? "0"
                              : std::string(dtype) == "complex64" ? "complex(0.0, 0.0)"
                                                                  : "0.0"}}),
            {}, std::string(dtype) == "complex64" ? 64 : 0);
      ASSERT_FALSE(HasFailure()) << dtype << " " << k;
    }
}

// Half inputs into an f32 accumulator; a dot product along vectors; two axes combined.
TEST(Llvm, OtherContractions) {
  check(R"(tenfold 1
kernel mixed(a: f16[5,24], b: bf16[24,20], v: f32[24], out c: f32[5,20], out d: f32[], out e: f32[20]) {
  atom m in 5, n in 20, k in 24, ko in 6, ki in 4
  vector n, k
  scratch %s: f32[k]
  grid {
    %c = fill f32[m,n] 0.0
    %a = load a[m, k] : f16[m,k]
    %b = load b[k, n] : bf16[k,n]
    %c = contract %a, %b over k : f32[m,n]
    store c[m, n] = %c
    %v = load v[k] : f32[k]
    %w = mul %v, %v : f32[k]
    write %s[k] = %w
    %d = fill f32[] 1.0
    %d = contract %v, %w over k : f32[]
    store d[] = %d
    %e = fill f32[n] 0.0
    %p = load b[4*ko + ki, n] : bf16[ko,ki,n]
    %q = read %s[4*ko + ki] : f32[ko,ki]
    %e = contract %p, %q over ko, ki : f32[n]
    store e[n] = %e
  }
}
)");
}

TEST(Llvm, StructsOfEveryWidth) {
  for (const char* dtype : {"f32", "f64", "i8", "complex64"})
    for (const int64_t fields : {2, 3, 4, 9})
      for (const int64_t n : {32, 37}) {
        if (n == 37 && fields > 4) continue;
        check(replaced(R"(tenfold 1
kernel structs(x: D[N,F], out y: D[N,F], out z: D[F,N], out w: D[N,2,F]) {
  atom bo in 3, bi in 16, f in F, two in 2
  vector bi
  guard 16*bo + bi < N
  grid bo {
    %x = load x[16*bo + bi, f] : D[bi,f]
    store y[16*bo + bi, f] = %x
    store z[f, 16*bo + bi] = %x
    %w = copy %x : D[bi,f]
    store w[16*bo + bi, two, f] = %w : [bi,two,f]
  }
}
)",
                       {{"D", dtype}, {"F", number(fields)}, {"N", number(n)}}));
        ASSERT_FALSE(HasFailure()) << dtype << " " << fields << " " << n;
      }
}

TEST(Llvm, CarriesThroughAThousandSteps) {
  check(R"(tenfold 1
kernel oscillator(x: f32[70,2], out y: f32[70,2], out energy: f32[1000,70], out hits: i32[70]) {
  atom bo in 2, e in 48, t in 1000
  vector e
  guard 48*bo + e < 70
  grid bo {
    %x0 = load x[48*bo + e, 0] : f32[e]
    %x1 = load x[48*bo + e, 1] : f32[e]
    %p = copy %x0 : f32[e]
    %v = copy %x1 : f32[e]
    %n = fill i32[e] 0
    %dt = constant 0.01 : f32[]
    %down = constant -0.01 : f32[]
    %zero = constant 0.0 : f32[]
    %one = constant 1 : i32[]
    for t {
      %p1 = fma %v, %dt, %p : f32[e]
      %v1 = fma %p, %down, %v : f32[e]
      %neg = less %p1, %zero : bool[e]
      %m = copy %n : i32[e]
      if any %neg {
        %m1 = add %n, %one : i32[e]
        %q = mul %p1, %p1 : f32[e]
      }
      %n1 = select %neg, %m1, %m : i32[e]
      %s = select %neg, %q, %v1 : f32[e]
      store energy[t, 48*bo + e] = %s
      carry %p <- %p1
      carry %v <- %v1
      carry %n <- %n1
    }
    store y[48*bo + e, 0] = %p
    store y[48*bo + e, 1] = %v
    store hits[48*bo + e] = %n
  }
}
)");
}

// The second turn of the loop has 8 of 32 elements: whole vectors have no vote, and a value all the same.
TEST(Llvm, VotesOfVectorsOutside) {
  check(R"(tenfold 1
kernel edge(x: f32[40], out y: f32[40]) {
  atom jo in 2, ji in 32
  vector ji
  guard 32*jo + ji < 40
  grid {
    %zero = constant 0.0 : f32[]
    for jo {
      %x = load x[32*jo + ji] : f32[ji]
      %low = less %x, %zero : bool[ji]
      if any %low {
        %root = sqrt %x : f32[ji]
      }
      %y = select %low, %root, %x : f32[ji]
      store y[32*jo + ji] = %y
    }
  }
}
)");
}

// A body that is long for what goes in and out is computed for the lanes whose vote holds only.
TEST(Llvm, VotesOverSeveralVectors) {
  std::string rounds;
  std::string last = "%k0";
  for (int i = 0; i < 12; ++i) {
    const std::string n = number(i);
    rounds += "        %a" + n + " = multiply_high %odd, " + last + " : u32[e]\n        %b" + n + " = mul " +
              last + ", %odd : u32[e]\n        %c" + n + " = bitwise_xor %a" + n + ", %k" + number(i % 4) +
              " : u32[e]\n        %d" + n + " = add %c" + n + ", %b" + n + " : u32[e]\n";
    last = "%d" + n;
  }
  for (const int64_t n : {48, 113}) {
    const std::string text =
        replaced(R"(tenfold 1
kernel votes(x: u32[N], out y: u32[N], out z: f32[N], out count: i32[N]) {
  atom bo in B, e in 48, t in 40
  vector e
  guard 48*bo + e < N
  grid bo {
    %x = load x[48*bo + e] : u32[e]
    %odd = constant 3528531795 : u32[]
    %k0 = mul %x, %odd : u32[e]
    %w0 = constant 2654435769 : u32[]
    %w1 = constant 77 : u32[]
    %k1 = add %k0, %w0 : u32[e]
    %k2 = add %k1, %w1 : u32[e]
    %k3 = bitwise_xor %k0, %w1 : u32[e]
    %s = copy %x : u32[e]
    %n = fill i32[e] 0
    %one = constant 1 : i32[]
    %step = constant 1000003 : u32[]
    %few = constant 400000000 : u32[]
    %scale = constant 0.25 : f32[]
    for t {
      %s1 = mul %s, %step : u32[e]
      %s2 = add %s1, %w0 : u32[e]
      %done = less %s2, %few : bool[e]
      if any %done {
@@        %fresh = bitwise_xor ##, %s2 : u32[e]
      }
      %s3 = select %done, %fresh, %s2 : u32[e]
      %hit = convert %done dtype=i32 : i32[e]
      %n1 = add %n, %hit : i32[e]
      carry %s <- %s3
      carry %n <- %n1
    }
    %f = convert %s dtype=f32 : f32[e]
    %g = mul %f, %scale : f32[e]
    store y[48*bo + e] = %s
    store z[48*bo + e] = %g
    store count[48*bo + e] = %n
  }
}
)",
                 {{"@@", rounds}, {"##", last}, {"N", number(n)}, {"B", number((n + 47) / 48)}});
    check(text);
    if (runnable_isas().back() == "avx512") {
      EXPECT_THAT(cpu_target("avx512")->listing(tile::parse_kernel(text), "asm"),
                  ::testing::HasSubstr("vpcompressd"));
    }
    ASSERT_FALSE(HasFailure()) << n;
  }
}

TEST(Llvm, LargeTilesBecomeLoops) {
  check(R"(tenfold 1
kernel large(x: f32[24,333], s: f32[333], out y: f32[24,333], out t: f64[333,24]) {
  atom i in 24, j in 333
  vector j
  scratch %e: f32[i,j]
  grid {
    %x = load x[i, j] : f32[i,j]
    %a = abs %x : f32[i,j]
    %b = add %a, %x : f32[i,j]
    write %e[i, j] = %b
    %s = load s[j] : f32[j]
    %r = read %e[i, j] : f32[i,j]
    %c = mul %r, %s : f32[i,j]
    store y[i, j] = %c
    %k = index 24*j - i + 5 : i32[i,j]
    %f = convert %k dtype=f64 : f64[i,j]
    store t[j, i] = %f
  }
}
)");
}

TEST(Llvm, StreamedOutputs) {
  check(R"(tenfold 1
kernel streamed(x: f32[12,128,4], out streaming y: f32[12,128,4], out streaming z: f32[12,128]) {
  atom t in 12, eo in 2, e in 64, f in 4
  vector e
  grid eo {
    for t {
      %x = load x[t, 64*eo + e, f] : f32[e,f]
      store y[t, 64*eo + e, f] = %x
      %s = reduce add %x over f : f32[e]
      store z[t, 64*eo + e] = %s
    }
  }
}
)");
}

TEST(Llvm, SpecialValuesReachMinimumAndMaximum) {
  const std::string text = R"(tenfold 1
kernel extremes(x: f32[64], y: f32[64], out a: f32[64], out b: f32[64], out c: f32[64], out d: f32[]) {
  atom i in 64
  vector i
  grid {
    %x = load x[i] : f32[i]
    %y = load y[i] : f32[i]
    %k = constant 0.5 : f32[]
    %a = minimum %x, %y : f32[i]
    %b = maximum %x, %k : f32[i]
    %c = minimum %k, %x : f32[i]
    store a[i] = %a
    store b[i] = %b
    store c[i] = %c
    %d = reduce maximum %x over i : f32[]
    store d[] = %d
  }
}
)";
  check(text, {}, 0, true);
}

// ---- objects

TEST(Llvm, ObjectsThatAreCutOffOrSpoiledDoNotLoadOrAreHarmless) {
  // By its path: the dlopen of a sanitizer does not look along this program's RUNPATH.
  const auto build = std::filesystem::read_symlink("/proc/self/exe").parent_path().parent_path();
  void* module = dlopen((build / "lib" / kLlvmModule).c_str(), RTLD_NOW);
  ASSERT_TRUE(module) << dlerror();
  const auto factory = reinterpret_cast<LlvmFactory>(dlsym(module, kLlvmFactory));
  ASSERT_TRUE(factory);
  const std::unique_ptr<ObjectTarget> target(static_cast<ObjectTarget*>(factory("portable")));
  const tile::Kernel k = tile::parse_kernel(read_file(TENFOLD_TESTS_DIR "/tile/matmul.ten"));
  const tile::Kernel* kernels[] = {&k};
  const std::string names[] = {"f"};
  const std::string object = target->object(kernels, names);
  ASSERT_TRUE(load_object(object)->find("f"));
  EXPECT_FALSE(load_object(object)->find("g"));
  for (size_t size = 0; size < object.size(); size += 1 + object.size() / 200)
    EXPECT_THROW(load_object(std::string_view(object).substr(0, size)), InternalError) << size;
  std::mt19937 random(1);
  for (int i = 0; i < 3000;
       ++i) {  // half of the changes in the tables: header, section table, symbols, relocations
    std::string bytes = object;
    const size_t at = i % 2 ? random() % 64 : bytes.size() - 1 - random() % (bytes.size() / 2);
    bytes[at] = static_cast<char>(random());
    try {
      load_object(bytes);
    } catch (const Error&) {
    }
  }
}

TEST(Llvm, ListingsAreText) {
  const tile::Kernel k = tile::parse_kernel(read_file(TENFOLD_TESTS_DIR "/tile/vote.ten"));
  const auto target = cpu_target("native");
  EXPECT_THAT(target->listing(k, "llvm"), ::testing::HasSubstr("define void @vote("));
  EXPECT_THAT(target->listing(k, "asm"), ::testing::HasSubstr("vote:"));
  EXPECT_THROW(target->listing(k, "c"), UserError);
  EXPECT_THROW(cpu_target("mmx"), UserError);
}

}  // namespace
}  // namespace tenfold
