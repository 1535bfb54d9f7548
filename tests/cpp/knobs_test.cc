#include "tenfold/base/knobs.h"

#include <algorithm>
#include <cstdlib>

#include <gtest/gtest.h>

#include "tenfold/base/error.h"

namespace tenfold {
namespace {

class Knobs : public ::testing::Test {
 protected:
  static void clear() {
    for (const Knob& knob : knobs()) unsetenv(knob.name.data());
  }
  void SetUp() override { clear(); }
  void TearDown() override { clear(); }
};

std::string message(const char* text, int64_t (*read)(std::string_view)) {
  setenv("TENFOLD_THREADS", text, 1);
  try {
    read("TENFOLD_THREADS");
  } catch (const UserError& error) {
    return error.what();
  }
  return "no error";
}

TEST_F(Knobs, RowsAreSortedAndDocumented) {
  EXPECT_TRUE(std::ranges::is_sorted(knobs(), {}, &Knob::name));
  for (const Knob& knob : knobs()) {
    EXPECT_TRUE(knob.name.starts_with("TENFOLD_"));
    EXPECT_TRUE(knob.doc.ends_with("."));
  }
}

TEST_F(Knobs, DefaultsAndValues) {
  EXPECT_EQ(knob("TENFOLD_ISA"), "native");
  EXPECT_EQ(knob_int("TENFOLD_CACHE_BYTES"), 268435456);
  setenv("TENFOLD_ISA", "avx2", 1);
  EXPECT_EQ(knob("TENFOLD_ISA"), "avx2");
  setenv("TENFOLD_THREADS", "-3", 1);
  EXPECT_EQ(knob_int("TENFOLD_THREADS"), -3);
  setenv("TENFOLD_VERIFY", "on", 1);
  EXPECT_TRUE(knob_bool("TENFOLD_VERIFY"));
  setenv("TENFOLD_VERIFY", "false", 1);
  EXPECT_FALSE(knob_bool("TENFOLD_VERIFY"));
  setenv("TENFOLD_CACHE_DIR", "~/x", 1);
  EXPECT_EQ(knob("TENFOLD_CACHE_DIR"), std::string(std::getenv("HOME")) + "/x");
}

TEST_F(Knobs, Errors) {
  EXPECT_EQ(message("4x", knob_int), "TENFOLD_THREADS is \"4x\", which is not an integer (its default is 0)");
  EXPECT_EQ(message("", knob_int), "TENFOLD_THREADS is \"\", which is not an integer (its default is 0)");
  EXPECT_EQ(message("yes", [](std::string_view name) { return int64_t{knob_bool(name)}; }),
            "TENFOLD_THREADS is \"yes\", which is none of 0, 1, true, false, on, off");
  EXPECT_THROW(knob("TENFOLD_NONE"), InternalError);
}

}  // namespace
}  // namespace tenfold
