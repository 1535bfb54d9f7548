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

#include "kernel_cases.h"

namespace tenfold {
namespace {

using testing::arguments;
using testing::expect_same;
using testing::interpret;
using testing::KernelCase;
using testing::read_file;
using testing::Symbols;

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

void check(const std::vector<KernelCase>& cases) {
  for (const KernelCase& c : cases) {
    check(c.text, c.symbols, c.ulp, c.special);
    ASSERT_FALSE(::testing::Test::HasFailure()) << c.text;
  }
}

TEST(Llvm, Corpus) { check(testing::corpus()); }

TEST(Llvm, EveryMapRecordOnEveryDtype) {
  size_t count = 0;
  for (const Prim* p : all_prims()) {
    if (p->kind != Kind::map || p->expand) continue;
    const std::vector<tile::Kernel> kernels = testing::map_kernels(*p);
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

TEST(Llvm, RaggedElementwise) { check(testing::ragged_elementwise()); }
TEST(Llvm, BordersOfTwoAxes) { check(testing::borders_of_two_axes()); }
TEST(Llvm, SymbolicExtents) { check(testing::symbolic_extents()); }
TEST(Llvm, ReductionsAlongAndAcross) { check(testing::reductions_along_and_across()); }
TEST(Llvm, ContractionsInLoopsAndBlocks) { check(testing::contractions_in_loops_and_blocks()); }
TEST(Llvm, OtherContractions) { check(testing::other_contractions()); }
TEST(Llvm, StructsOfEveryWidth) { check(testing::structs_of_every_width()); }
TEST(Llvm, CarriesThroughAThousandSteps) { check(testing::carries_through_a_thousand_steps()); }
TEST(Llvm, VotesOfVectorsOutside) { check(testing::votes_of_vectors_outside()); }
TEST(Llvm, LargeTilesBecomeLoops) { check(testing::large_tiles_become_loops()); }
TEST(Llvm, StreamedOutputs) {
  check(testing::streamed_outputs());
  if (!find_isa("native").avx512) return;
  const tile::Kernel bytes = tile::parse_kernel(testing::streamed_outputs()[1].text);
  EXPECT_THAT(cpu_target("avx512")->listing(bytes, "asm"), ::testing::ContainsRegex("vmovntdq\t%zmm"));
}
TEST(Llvm, SpecialValuesReachMinimumAndMaximum) {
  check(testing::special_values_reach_minimum_and_maximum());
}

// A body that is long for what goes in and out is computed for the lanes whose vote holds only.
TEST(Llvm, VotesOverSeveralVectors) {
  for (const KernelCase& c : testing::votes_over_several_vectors()) {
    check({c});
    if (!find_isa("native").avx512) continue;
    EXPECT_THAT(cpu_target("avx512")->listing(tile::parse_kernel(c.text), "asm"),
                ::testing::HasSubstr("vpcompressd"));
  }
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

TEST(Llvm, BytesAreSummedByFours) {
  check(testing::contractions_of_bytes());
  if (!find_isa("native").vnni) return;
  for (const KernelCase& c : testing::contractions_of_bytes()) {
    const tile::Kernel k = tile::parse_kernel(c.text);
    const bool whole = k.args[1].shape[1].value() != 20;  // of vectors
    const std::string text = cpu_target("avx512vnni")->listing(k, "asm");
    EXPECT_EQ(text.find("vpdpbusd") != std::string::npos, whole) << c.text;
  }
}

TEST(Llvm, WholeSumsInTiles) {
  check(testing::products_in_tiles());
  for (const KernelCase& c : testing::products_in_tiles()) {
    const std::string text = cpu_target("amx")->listing(tile::parse_kernel(c.text), "asm");
    EXPECT_THAT(text, ::testing::ContainsRegex("tdpb(f16ps|[su]+d)")) << c.text;
  }
}

}  // namespace
}  // namespace tenfold
