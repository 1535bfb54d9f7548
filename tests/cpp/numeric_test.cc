// The expansions of the transcendental functions against MPFR: the ulp bounds stated here are promises.
// TENFOLD_TEST_FULL=1 runs every f32 (against the f64 functions of the C library, whose error is 2^-29 of an
// f32 ulp).
#include <cstdlib>
#include <random>

#include <gtest/gtest.h>

#include "scalar_graph.h"

#ifdef TENFOLD_HAVE_MPFR
#include <mpfr.h>
#endif

namespace tenfold::testing {
namespace {

struct Function {
  const char* name;
  double f32_ulps, f64_ulps;  // bounds
  double low, high;           // where f64 is sampled; f32 is sampled everywhere
  double (*libm)(double);
#ifdef TENFOLD_HAVE_MPFR
  int (*exact)(mpfr_t, const mpfr_t, mpfr_rnd_t);
#define TENFOLD_EXACT(f) , mpfr_##f
#else
#define TENFOLD_EXACT(f)
#endif
};

constexpr double kHuge = 0x1p45;  // where f64 sin and cos end
const Function kFunctions[] = {
    {"exp", 1.0, 1.5, -750, 715, std::exp TENFOLD_EXACT(exp)},
    {"expm1", 2.0, 2.0, -50, 715, std::expm1 TENFOLD_EXACT(expm1)},
    {"log", 1.0, 1.0, 0, INFINITY, std::log TENFOLD_EXACT(log)},
    {"log1p", 1.5, 1.5, -1, INFINITY, std::log1p TENFOLD_EXACT(log1p)},
    {"sin", 2.0, 2.0, -kHuge, kHuge, std::sin TENFOLD_EXACT(sin)},
    {"cos", 2.0, 2.0, -kHuge, kHuge, std::cos TENFOLD_EXACT(cos)},
    {"tanh", 2.0, 2.5, -INFINITY, INFINITY, std::tanh TENFOLD_EXACT(tanh)},
    {"erf", 2.0, 4.0, -INFINITY, INFINITY, std::erf TENFOLD_EXACT(erf)},
    {"rsqrt", 1.5, 1.5, 0, INFINITY, [](double x) { return 1 / std::sqrt(x); } TENFOLD_EXACT(rec_sqrt)},
};

struct Worst {
  double ulps = 0, at = 0;
  void add(double u, double x) {
    if (u > ulps) ulps = u, at = x;
  }
};

double f32_ulps(float got, double exact) {
  if (std::isinf(got) || std::isinf(static_cast<float>(exact)))
    return got == static_cast<float>(exact) ? 0 : INFINITY;
  return ulps(got, exact, 24, -126);
}

// f32 points by bit pattern, `step` apart, signs and specials included.
Worst sweep_f32(const Function& f, uint64_t step) {
  ScalarGraph graph(expanded(f.name, Dtype::f32));
  Worst worst;
  for (uint64_t first = 0; first < uint64_t{1} << 32; first += step * kChunk) {
    float* x = graph.input<float>(0);
    for (int k = 0; k < kChunk; ++k)
      x[k] = std::bit_cast<float>(static_cast<uint32_t>(std::min<uint64_t>(first + k * step, 0xFFFFFFFF)));
    const float* y = graph.run<float>();
    for (int k = 0; k < kChunk; ++k) worst.add(f32_ulps(y[k], f.libm(x[k])), x[k]);
  }
  return worst;
}

class EveryF32 : public ::testing::TestWithParam<Function> {};

TEST_P(EveryF32, IsWithinBounds) {
  const bool full =
      std::getenv("TENFOLD_TEST_FULL") && std::string_view(std::getenv("TENFOLD_TEST_FULL")) == "1";
  const Function& f = GetParam();
  const Worst worst = sweep_f32(f, full ? 1 : 4099);
  fmt::print("{:6} f32: {:.3f} ulp at {:.9g}\n", f.name, worst.ulps, worst.at);
  std::fflush(stdout);
  EXPECT_LE(worst.ulps, f.f32_ulps) << " at " << worst.at;
}

INSTANTIATE_TEST_SUITE_P(Numeric, EveryF32, ::testing::ValuesIn(kFunctions),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(Numeric, F32Specials) {
  const float specials[] = {0.0f,
                            -0.0f,
                            1.0f,
                            -1.0f,
                            INFINITY,
                            -INFINITY,
                            NAN,
                            std::bit_cast<float>(0x7F800001u),
                            std::bit_cast<float>(0xFFC00123u),
                            0x1p-149f,
                            -0x1p-149f,
                            0x1p-126f,
                            0x1.fffffep127f,
                            -0x1.fffffep127f,
                            88.72283f,
                            88.72284f,
                            -87.33655f,
                            -103.97f,
                            -103.98f,
                            1.57079637f,
                            3.14159274f,
                            0.785398185f,
                            131072.0f,
                            131073.0f,
                            16367173.0f * 0x1p72f /* nearest a multiple of pi/2 */};
  for (const Function& f : kFunctions) {
    ScalarGraph graph(expanded(f.name, Dtype::f32));
    for (int k = 0; k < kChunk; ++k) graph.input<float>(0)[k] = specials[k % std::size(specials)];
    const float* y = graph.run<float>();
    for (size_t k = 0; k < std::size(specials); ++k)
      EXPECT_LE(f32_ulps(y[k], f.libm(specials[k])), f.f32_ulps)
          << f.name << "(" << specials[k] << ") is " << y[k];
  }
}

#ifdef TENFOLD_HAVE_MPFR

// A value from MPFR as a double that is nearest, and the ulps that a result is away from the exact one.
double mpfr_ulps(double got, mpfr_t exact, int digits, int lowest) {
  const double near = mpfr_get_d(exact, MPFR_RNDN);
  if (std::isnan(got) || std::isnan(near) || std::isinf(got) || std::isinf(near) || got == near)
    return got == near ? 0 : ulps(got, near, digits, lowest);
  mpfr_t error;
  mpfr_init2(error, 200);
  mpfr_sub_d(error, exact, got, MPFR_RNDN);
  const int e = near == 0 ? lowest : std::max(std::ilogb(near), lowest);
  const double u = std::abs(mpfr_get_d(error, MPFR_RNDN)) / std::ldexp(1.0, e - digits + 1);
  mpfr_clear(error);
  return u;
}

// Half of the points spread over the exponents, half over the values (where the interval is finite).
double sample(std::mt19937_64& random, double low, double high) {
  const bool by_value = std::isfinite(low) && std::isfinite(high) && random() % 2;
  if (by_value) return low + (high - low) * (static_cast<double>(random() >> 11) * 0x1p-53);
  for (;;) {
    const bool moderate = random() % 2;  // most of a function happens there
    double x = moderate ? std::ldexp(static_cast<double>(random() >> 11) * 0x1p-53 + 1,
                                     static_cast<int>(random() % 30) - 20)
                        : std::bit_cast<double>(random());
    if (moderate && random() % 2) x = -x;
    if (x > low && x < high) return x;
  }
}

template <class T>
Worst sample_mpfr(const Function& f, Dtype d, int points, double low, double high) {
  ScalarGraph graph(expanded(f.name, d));
  std::mt19937_64 random(7);
  Worst worst;
  mpfr_t x, y;
  mpfr_init2(x, 64);
  mpfr_init2(y, 160);
  for (int done = 0; done < points; done += kChunk) {
    T* in = graph.input<T>(0);
    for (int k = 0; k < kChunk; ++k) in[k] = static_cast<T>(sample(random, low, high));
    const T* out = graph.run<T>();
    for (int k = 0; k < kChunk; ++k) {
      if (std::isinf(in[k])) continue;
      mpfr_set_d(x, in[k], MPFR_RNDN);
      f.exact(y, x, MPFR_RNDN);
      const double u = sizeof(T) == 4 && std::isinf(mpfr_get_flt(y, MPFR_RNDN))
                           ? (std::isinf(out[k]) ? 0 : INFINITY)
                           : mpfr_ulps(out[k], y, sizeof(T) == 4 ? 24 : 53, sizeof(T) == 4 ? -126 : -1022);
      worst.add(u, in[k]);
    }
  }
  mpfr_clears(x, y, static_cast<mpfr_ptr>(nullptr));
  return worst;
}

TEST(Numeric, F32AgainstMpfr) {
  for (const Function& f : kFunctions) {
    const Worst worst =
        sample_mpfr<float>(f, Dtype::f32, 50'000, std::isfinite(f.low) ? std::max(f.low, -120.0) : -1e38,
                           std::isfinite(f.high) ? 120 : 1e38);
    EXPECT_LE(worst.ulps, f.f32_ulps) << f.name << " at " << worst.at;
  }
}

TEST(Numeric, F64AgainstMpfr) {
  for (const Function& f : kFunctions) {
    const Worst worst = sample_mpfr<double>(f, Dtype::f64, 200'000, f.low, f.high);
    fmt::print("{:6} f64: {:.3f} ulp at {:.17g}\n", f.name, worst.ulps, worst.at);
    EXPECT_LE(worst.ulps, f.f64_ulps) << f.name << " at " << worst.at;
  }
}

TEST(Numeric, PowAgainstMpfr) {
  ScalarGraph narrow(expanded("pow", Dtype::f32)), wide(expanded("pow", Dtype::f64));
  std::mt19937_64 random(9);
  Worst worst32, worst64;
  mpfr_t x, y, z;
  mpfr_inits2(160, x, y, z, static_cast<mpfr_ptr>(nullptr));
  auto power = [&](double a, double b) {
    mpfr_set_d(x, a, MPFR_RNDN);
    mpfr_set_d(y, b, MPFR_RNDN);
    mpfr_pow(z, x, y, MPFR_RNDN);
  };
  for (int done = 0; done < 100'000; done += kChunk) {
    for (int k = 0; k < kChunk; ++k) {
      const double base = sample(random, 0, INFINITY), limit = 700 / std::abs(std::log(base) + 1e-300);
      const double exponent = limit * (static_cast<double>(random() >> 11) * 0x1p-52 - 1);
      wide.input<double>(0)[k] = base;
      wide.input<double>(1)[k] = exponent;
      narrow.input<float>(0)[k] = static_cast<float>(base);
      narrow.input<float>(1)[k] = static_cast<float>(exponent);
    }
    const double* w = wide.run<double>();
    const float* n = narrow.run<float>();
    for (int k = 0; k < kChunk; ++k) {
      power(wide.input<double>(0)[k], wide.input<double>(1)[k]);
      worst64.add(mpfr_ulps(w[k], z, 53, -1022), wide.input<double>(0)[k]);
      power(narrow.input<float>(0)[k], narrow.input<float>(1)[k]);
      if (std::isinf(mpfr_get_flt(z, MPFR_RNDN))) {
        EXPECT_TRUE(std::isinf(n[k]));
        continue;
      }
      worst32.add(mpfr_ulps(n[k], z, 24, -126), narrow.input<float>(0)[k]);
    }
  }
  mpfr_clears(x, y, z, static_cast<mpfr_ptr>(nullptr));
  fmt::print("pow    f32: {:.3f} ulp at {:.9g}, f64: {:.3f} ulp at {:.17g}\n", worst32.ulps, worst32.at,
             worst64.ulps, worst64.at);
  EXPECT_LE(worst32.ulps, 1.0);
  EXPECT_LE(worst64.ulps, 4.0);
}

#endif  // TENFOLD_HAVE_MPFR

TEST(Numeric, PowSpecials) {
  const double values[] = {0.0,
                           -0.0,
                           1,
                           -1,
                           2,
                           -2,
                           3,
                           -3,
                           0.5,
                           -0.5,
                           2.5,
                           -2.5,
                           INFINITY,
                           -INFINITY,
                           NAN,
                           1e300,
                           -1e300,
                           0x1p-1074,
                           9007199254740993.0};
  ScalarGraph graph(expanded("pow", Dtype::f64));
  for (double a : values) {
    for (int k = 0; k < kChunk; ++k)
      graph.input<double>(0)[k] = a, graph.input<double>(1)[k] = values[k % std::size(values)];
    const double* y = graph.run<double>();
    for (size_t k = 0; k < std::size(values); ++k) {
      const double exact = std::pow(a, values[k]);
      EXPECT_LE(ulps(y[k], exact, 53, -1022), 1)
          << a << " ^ " << values[k] << " is " << y[k] << ", not " << exact;
      if (exact == 0) {
        EXPECT_EQ(std::signbit(y[k]), std::signbit(exact)) << a << " ^ " << values[k];
      }
    }
  }
}

// What a user pays: core operations of each function, all branches counted.
TEST(Numeric, OperationCounts) {
  for (const Function& f : kFunctions)
    fmt::print("{:6} operations: f32 {}, f64 {}\n", f.name,
               ScalarGraph(expanded(f.name, Dtype::f32)).operations(),
               ScalarGraph(expanded(f.name, Dtype::f64)).operations());
  EXPECT_LE(ScalarGraph(expanded("exp", Dtype::f32)).operations(), 20u);
  EXPECT_LE(ScalarGraph(expanded("tanh", Dtype::f32)).operations(), 26u);
  EXPECT_LE(ScalarGraph(expanded("erf", Dtype::f32)).operations(), 36u);
}

}  // namespace
}  // namespace tenfold::testing
