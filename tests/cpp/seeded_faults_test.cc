// Each named fault, planted, is found by an ordinary test, which passes without it.
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <sys/wait.h>

#include <unistd.h>

#include <gtest/gtest.h>

#include "tenfold/base/fault.h"

namespace tenfold {
namespace {

struct Seeded {
  std::string_view fault, program, filter;
};

constexpr Seeded kSeeded[] = {
    {"algebra_select_not", "rewrite_test", "Rules.BothSidesAgree"},
    {"batch_reduce_axes", "batch_test", "Batch.EveryKindOfPrimitive"},
    {"compile_key_options", "compile_test", "Compile.RunsAndIsCached"},
    {"ctext_barrier", "opencl_test", "OpenCl.Corpus"},
    {"ctext_reduce_lane", "opencl_test", "OpenCl.Corpus"},
    {"ctext_run_stride", "opencl_test", "OpenCl.RunsOfElementsAreOneAccess"},
    {"ctext_stages", "ctext_test", "CudaOnHost.ProductsOnMatrixUnits"},
    {"disk_cache_foreign", "disk_cache_test", "DiskCacheTest.NeverGivesATruncatedOrForeignFile"},
    {"donate_other_elements", "compile_test", "Donate.OnlyWhereEachElementIsReadBeforeItIsWritten"},
    {"grad_accumulate", "random_llvm_test", "Part/RandomLlvm.GradientsAreQuotients/0"},
    {"grad_scan_order", "random_llvm_test", "Part/RandomLlvm.GradientsAreQuotients/0"},
    {"grad_sub_sign", "random_llvm_test", "Part/RandomLlvm.GradientsAreQuotients/0"},
    {"llvm_carry_order", "random_llvm_test", "Part/RandomLlvm.AsInterpreted/0"},
    {"llvm_index_width", "llvm_test", "Llvm.LargeTilesBecomeLoops"},
    {"llvm_ragged_mask", "llvm_test", "Llvm.ReductionsAlongAndAcross"},
    {"llvm_scratch_overlap", "random_llvm_test", "Part/RandomLlvm.AsInterpreted/0"},
    {"llvm_shuffle_lane", "random_llvm_test", "Part/RandomLlvm.AsInterpreted/0"},
    {"lower_epilogue", "random_llvm_test", "Part/RandomLlvm.AsInterpreted/0"},
    {"lower_guard", "plan_test", "Plan.Softmax"},
    {"lower_identity", "random_llvm_test", "Part/RandomLlvm.AsInterpreted/0"},
    {"plan_coalesce_stride", "plan_test", "Plan.RandomGraphs"},
    {"plan_merge_path", "plan_test", "Plan.RandomGraphs"},
    {"plan_online_rescale", "plan_test", "Plan.OnlineMaximum"},
    {"plan_slice_start", "random_llvm_test", "Part/RandomLlvm.AsInterpreted/0"},
    {"plan_split_tail", "plan_test", "Plan.ALargeSumIsSplitForTheUnits"},
    {"ranges_nan", "rewrite_test", "Ranges.SelectIsRefinedByItsMask"},
    {"rules_slice_steps", "rewrite_test", "Rules.MovesAgree"},
    {"runtime_reuse", "random_llvm_test", "Part/RandomLlvm.AsInterpreted/0"},
};

// The exit code of the ordinary test; its output into `log`.
int run(const Seeded& s, std::string_view fault, std::string& log) {
  namespace fs = std::filesystem;
  const fs::path programs = fs::read_symlink("/proc/self/exe").parent_path();
  const fs::path out = fs::temp_directory_path() / ("tenfold_fault_" + std::to_string(::getpid()));
  std::ostringstream command;
  command << "env -u TENFOLD_TEST_FULL -u GTEST_TOTAL_SHARDS -u GTEST_SHARD_INDEX TENFOLD_CACHE_DIR= "
             "TENFOLD_VERIFY=1 TENFOLD_SEED_FAULT="
          << fault << " '" << (programs / s.program).string()
          << "' --gtest_brief=1 '--gtest_filter=" << s.filter << "' > '" << out.string() << "' 2>&1";
  const int status = std::system(command.str().c_str());
  std::ostringstream text;
  text << std::ifstream(out).rdbuf();
  log = text.str();
  fs::remove(out);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

class SeededFaults : public ::testing::TestWithParam<Seeded> {};

TEST_P(SeededFaults, AreFound) {
  static std::map<std::string_view, std::string> sound;  // by filter: the output without a fault, if it fails
  const Seeded& s = GetParam();
  std::string log;
  if (!sound.contains(s.filter)) sound[s.filter] = run(s, "", log) == 0 ? "" : log + "\nfailed";
  ASSERT_EQ(sound[s.filter], "") << "without a fault";
  EXPECT_NE(run(s, s.fault, log), 0) << log;
}

TEST(SeededFaults, EachHasItsTest) {
  std::vector<std::string_view> tested;
  for (const Seeded& s : kSeeded) tested.push_back(s.fault);
  EXPECT_EQ(tested, std::vector<std::string_view>(std::begin(kFaults), std::end(kFaults)));
}

INSTANTIATE_TEST_SUITE_P(Fault, SeededFaults, ::testing::ValuesIn(kSeeded),
                         [](const auto& info) { return std::string(info.param.fault); });

}  // namespace
}  // namespace tenfold
