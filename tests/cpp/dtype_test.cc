#include "tenfold/base/dtype.h"

#include <cmath>
#include <random>

#include <gtest/gtest.h>

namespace tenfold {
namespace {

using enum Dtype;

TEST(Dtype, NamesAndSizes) {
  for (int i = 0; i < kDtypeCount; ++i) {
    const auto d = static_cast<Dtype>(i);
    EXPECT_EQ(parse_dtype(name(d)), d);
  }
  EXPECT_EQ(name(boolean), "bool");
  EXPECT_EQ(size_of(bf16), 2);
  EXPECT_EQ(size_of(complex128), 16);
  EXPECT_EQ(parse_dtype("float32"), std::nullopt);
  EXPECT_EQ(real_of(complex64), f32);
  EXPECT_EQ(real_of(i8), i8);
}

TEST(Dtype, PromotionTable) {
  EXPECT_EQ(promote(i8, i32), i32);
  EXPECT_EQ(promote(u8, u64), u64);
  EXPECT_EQ(promote(u8, i8), i16);
  EXPECT_EQ(promote(u8, i64), i64);
  EXPECT_EQ(promote(u16, i8), i32);
  EXPECT_EQ(promote(i16, u32), i64);
  EXPECT_EQ(promote(u64, i64), std::nullopt);
  EXPECT_EQ(promote(f16, bf16), f32);
  EXPECT_EQ(promote(bf16, f32), f32);
  EXPECT_EQ(promote(f32, f64), f64);
  EXPECT_EQ(promote(f16, complex64), complex64);
  EXPECT_EQ(promote(f64, complex64), complex128);
  EXPECT_EQ(promote(complex64, complex128), complex128);
  EXPECT_EQ(promote(f32, complex128), complex128);
  EXPECT_EQ(promote(boolean, boolean), boolean);
  EXPECT_EQ(promote(boolean, i8), std::nullopt);  // the standard leaves mixed kinds undefined
  EXPECT_EQ(promote(i32, f32), std::nullopt);
  EXPECT_EQ(promote(i32, complex64), std::nullopt);
  for (int i = 0; i < kDtypeCount; ++i)
    for (int j = 0; j < kDtypeCount; ++j)
      EXPECT_EQ(promote(static_cast<Dtype>(i), static_cast<Dtype>(j)),
                promote(static_cast<Dtype>(j), static_cast<Dtype>(i)));
}

TEST(Dtype, EverySmallFloatReadsBack) {
  for (int bits = 0; bits < 0x10000; ++bits) {
    const auto b = static_cast<uint16_t>(bits);
    if (std::isnan(f16_to(b)))
      EXPECT_TRUE(std::isnan(f16_to(f16_from(f16_to(b)))));
    else
      EXPECT_EQ(f16_from(f16_to(b)), b);
    if (std::isnan(bf16_to(b)))
      EXPECT_TRUE(std::isnan(bf16_to(bf16_from(bf16_to(b)))));
    else
      EXPECT_EQ(bf16_from(bf16_to(b)), b);
    EXPECT_TRUE(std::isnan(bf16_to(b)) ||
                bf16_to(b) == std::bit_cast<float>(static_cast<uint32_t>(bits) << 16));
  }
}

TEST(Dtype, RoundsToNearestEven) {
  EXPECT_EQ(f16_from(1), 0x3c00);
  EXPECT_EQ(f16_from(-2), 0xc000);
  EXPECT_EQ(f16_from(1 + 0x1p-11), 0x3c00);  // a tie goes to the even neighbour
  EXPECT_EQ(f16_from(1 + 3 * 0x1p-11), 0x3c02);
  EXPECT_EQ(f16_from(1 + 0x1p-11 + 0x1p-40), 0x3c01);  // rounded once: through f32 this were a tie
  EXPECT_EQ(f16_from(65519.99), 0x7bff);
  EXPECT_EQ(f16_from(65520), 0x7c00);
  EXPECT_EQ(f16_from(0x1p-24), 1);
  EXPECT_EQ(f16_from(0x1p-25), 0);
  EXPECT_EQ(f16_from(-0x1p-1074), 0x8000);
  EXPECT_EQ(f16_from(-INFINITY), 0xfc00);
  EXPECT_EQ(bf16_from(1 + 0x1p-8), 0x3f80);
  EXPECT_EQ(bf16_from(1e300), 0x7f80);
  EXPECT_EQ(bf16_from(0x1p-133), 1);
#ifdef __FLT16_MAX__
  std::mt19937_64 random(1);
  for (int i = 0; i < 200000; ++i) {
    const double x =
        std::ldexp(static_cast<double>(random()) * 0x1p-63 - 1, static_cast<int>(random() % 48) - 30);
    EXPECT_EQ(f16_from(x), std::bit_cast<uint16_t>(static_cast<_Float16>(x))) << x;
  }
#endif
}

}  // namespace
}  // namespace tenfold
