#include "tenfold/ir/prims/numeric.h"

#include <bit>
#include <cmath>
#include <limits>
#include <numbers>
#include <vector>

#include "tenfold/ir/reduce.h"

namespace tenfold::prims::numeric {
namespace {

using build::map;
using build::select;
using build::operator+;
using build::operator-;
using build::operator*;
using build::operator/;
using Coefs = std::vector<double>;  // of rising powers

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kLn2 = std::numbers::ln2;
constexpr double kTanhSmall = 0.5625;
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

// The number format a function computes in, and the constants that depend on it. Minimax coefficients were
// fitted by a reweighted least-squares iteration in 50 digits, rounding the leading ones in turn and
// refitting the rest.
struct Format {
  Dtype dtype, bits;     // the float, and the integer that holds it
  int mantissa, bias;    // stored bits of the mantissa; of the exponent
  double log2e, ln2[2];  // ln2[0] + ln2[1]; all parts are positive, so that with k = +0 each product is -0
                         // and adds nothing
  Coefs expm1;           // (e^r - 1 - r) / r^2 on |r| <= ln2 / 2
  double exp_low, exp_high;  // below: 0; above: inf
  double exp_denormal;       // below: the result may be denormal
  double expm1_low;          // below: -1
  double tanh_high;          // |x| above: 1
  Coefs sin, cos;            // (sin r - r) / r^3 and (cos r - 1 + r^2/2) / r^4 over r^2, on |r| <= pi / 4
  Coefs tanh;                // (tanh x - x) / x^3 over x^2, on |x| <= kTanhSmall
  double half_pi[3];
  double trig_high;  // |x| above: the other reduction
};

const Format kF32{
    .dtype = Dtype::f32,
    .bits = Dtype::i32,
    .mantissa = 23,
    .bias = 127,
    .log2e = 0x1.715476p+0,
    .ln2 = {0x1.62e42ep-1, 0x1.efa39ep-25},
    .expm1 = {0.5, 0x1.5554b0p-3, 0x1.5554dap-5, 0x1.12279ep-7, 0x1.6d5d78p-10},
    .exp_low = -104,
    .exp_high = 89,
    .exp_denormal = -86.5,
    .expm1_low = -18,
    .tanh_high = 9.05,
    .sin = {-0x1.555546p-3, 0x1.110778p-7, -0x1.9953f6p-13},
    .cos = {0x1.55554ap-5, -0x1.6c0c1ap-10, 0x1.99e0fcp-16},
    .tanh = {-0x1.555422p-2, 0x1.10c640p-3, -0x1.ae9b68p-5, 0x1.09f0cep-6},
    .half_pi = {0x1.921fb4p+0, 0x1.4442d0p-24, 0x1.84698ap-48},
    .trig_high = 0x1p17,
};

const Format kF64{
    .dtype = Dtype::f64,
    .bits = Dtype::i64,
    .mantissa = 52,
    .bias = 1023,
    .log2e = 0x1.71547652b82fep+0,
    .ln2 = {0x1.62e42fefa39efp-1, 0x1.abc9e3b39803fp-56},
    .expm1 = {0.5, 0x1.5555555555559p-3, 0x1.5555555555557p-5, 0x1.111111110f64dp-7, 0x1.6c16c16c153fcp-10,
              0x1.a01a01b007ea7p-13, 0x1.a01a01ac5cdb5p-16, 0x1.71ddf802ce549p-19, 0x1.27e4ce3c889a8p-22,
              0x1.af5f4324351b8p-26, 0x1.1f88dd7c6ca12p-29},
    .exp_low = -746,
    .exp_high = 710,
    .exp_denormal = -707,
    .expm1_low = -40,
    .tanh_high = 19.1,
    .sin = {-0x1.5555555555555p-3, 0x1.1111111111067p-7, -0x1.a01a019ffdba2p-13, 0x1.71de3a32a941fp-19,
            -0x1.ae642ad5f3f7ap-26, 0x1.6108b3bbcb857p-33, -0x1.9f70f495969e7p-41},
    .cos = {0x1.5555555555555p-5, -0x1.6c16c16c16b2bp-10, 0x1.a01a019ffb918p-16, -0x1.27e4fb588dd65p-22,
            0x1.1eed6d78f299dp-29, -0x1.9371d297f1604p-37, 0x1.9c7e38e790a8ap-45},
    .tanh = {-0x1.555555555554bp-2, 0x1.1111111110265p-3, -0x1.ba1ba1b932573p-5, 0x1.664f4848b196ap-6,
             -0x1.226e2cf0b688fp-7, 0x1.d6d24530fd9fdp-9, -0x1.7d8b7b1fc213fp-10, 0x1.345fea8af1822p-11,
             -0x1.e803b6d9097dfp-13, 0x1.5960bf8e5fa68p-14, -0x1.3d0099e2327a6p-16},
    .half_pi = {0x1.921fb54442d18p+0, 0x1.1a62633145c06p-54, 0x1.c1cd129024e09p-107},
    .trig_high = 0x1p45,
};

const Coefs kExpF32 = {0x1.fffffcp-2, 0x1.555492p-3, 0x1.5558aep-5, 0x1.123982p-7,
                       0x1.6a4f66p-10};  // as expm1, for absolute error
const Coefs kLogF32 = {
    0x1.555554p-2, -0x1.000228p-2, 0x1.99a022p-3, -0x1.547214p-3,  // (log(1+f) - f + f^2/2) / f^3
    0x1.22d856p-3, -0x1.0d8586p-3, 0x1.0565d6p-3, -0x1.38caf4p-4};
const Coefs kLogF64 = {0x1.5555555555555p-1, 0x1.9999999999d11p-2,
                       0x1.24924924397fap-2, 0x1.c71c724b676f3p-3,  // (log((1+s)/(1-s)) - 2s) / s^3
                       0x1.745ce1c84a5fbp-3, 0x1.3b2024a61470ep-3,
                       0x1.0f673f7b53951p-3, 0x1.0f0e0a65d73e3p-3};

NodeRef number(const NodeRef& like, double v) { return build::full(Scalar(v), like->type()); }
NodeRef integer(const NodeRef& like, int64_t v) { return build::full(Scalar(v), like->type()); }
NodeRef fma(const NodeRef& a, const NodeRef& b, const NodeRef& c) { return map("fma", {a, b, c}); }
NodeRef fma(const NodeRef& a, double b, const NodeRef& c) { return fma(a, number(a, b), c); }
NodeRef fma(const NodeRef& a, const NodeRef& b, double c) { return fma(a, b, number(a, c)); }
NodeRef fma(const NodeRef& a, double b, double c) { return fma(a, number(a, b), number(a, c)); }
NodeRef less(const NodeRef& a, double b) { return map("less", {a, number(a, b)}); }
NodeRef greater(const NodeRef& a, double b) { return map("greater", {a, number(a, b)}); }
NodeRef equal(const NodeRef& a, double b) { return map("equal", {a, number(a, b)}); }
NodeRef both(const NodeRef& a, const NodeRef& b) { return map("logical_and", {a, b}); }
NodeRef either(const NodeRef& a, const NodeRef& b) { return map("logical_or", {a, b}); }
NodeRef magnitude(const NodeRef& a) { return map("abs", {a}); }
NodeRef select_number(const NodeRef& mask, double a, const NodeRef& b) {
  return select(mask, number(b, a), b);
}
NodeRef select_number(const NodeRef& mask, const NodeRef& a, double b) {
  return select(mask, a, number(a, b));
}
NodeRef bitcast(const NodeRef& a, Dtype d) { return make("bitcast", {a}, {{"dtype", d}}); }
NodeRef shift_left(const NodeRef& a, int n) { return map("shift_left", {a, integer(a, n)}); }
NodeRef shift_right(const NodeRef& a, int n) { return map("shift_right", {a, integer(a, n)}); }
NodeRef sign_bit(const NodeRef& like) { return build::full(lowest(like->dtype()), like->type()); }
NodeRef clamp(const NodeRef& x, double low, double high) {  // NaN stays
  return map("minimum", {map("maximum", {x, number(x, low)}), number(x, high)});
}

NodeRef polynomial(const NodeRef& x, const Coefs& c) {
  NodeRef p = fma(x, c.back(), c[c.size() - 2]);
  for (size_t k = c.size() - 2; k-- > 0;) p = fma(p, x, c[k]);
  return p;
}

Coefs scaled(Coefs c, double factor) {
  for (double& v : c) v *= factor;
  return c;
}

// The whole number nearest to x * c, found by adding a number so large that its last bit is worth one. `tail`
// is added to the integer bits of `sum` (and is taken off k again): an exponent's bias, say.
struct Whole {
  NodeRef k;     // float
  NodeRef bits;  // integer; its low bits are k + tail
};
Whole nearest(const Format& f, const NodeRef& x, double c, double offset = 0) {
  const double magic = 1.5 * std::ldexp(1.0, f.mantissa) + offset;
  const NodeRef sum = fma(x, c, magic);
  return {sum - magic, bitcast(sum, f.bits)};
}

// ---- exp

struct Reduced {
  NodeRef r;      // x - k ln2, |r| <= ln2 / 2
  NodeRef scale;  // 2^(k + shift), as the bits of a float
};
Reduced reduce_exp(const Format& f, const NodeRef& x, int shift) {
  const Whole w = nearest(f, x, f.log2e, f.bias + shift);
  return {fma(w.k, -f.ln2[1], fma(w.k, -f.ln2[0], x)), shift_left(w.bits, f.mantissa)};
}

const Coefs& exp_coefs(const Format& f) { return f.dtype == Dtype::f32 ? kExpF32 : f.expm1; }

// 2 e^r times 2^(k-1), so that the largest results do not overflow on the way. A result that may be denormal
// is made 2^64 times larger first.
NodeRef exp_of(const Format& f, const NodeRef& argument, const NodeRef& correction = {}) {
  constexpr int kUp = 64;
  const NodeRef x = clamp(argument, f.exp_low, f.exp_high);
  Reduced e = reduce_exp(f, x, -1);
  if (correction) e.r = e.r + correction;
  Coefs c = scaled(exp_coefs(f), 2);
  c.insert(c.begin(), {2, 2});
  const NodeRef p = polynomial(e.r, c);
  const NodeRef small = less(x, f.exp_denormal);
  const NodeRef up = integer(e.scale, int64_t{kUp} << f.mantissa), none = integer(e.scale, 0);
  const NodeRef scale = bitcast(e.scale + select(small, up, none), f.dtype);
  return p * scale * select_number(small, std::ldexp(1.0, -kUp), number(x, 1));
}

// e^r - 1 = r + r^2 Q(r)
NodeRef expm1_reduced(const Format& f, const NodeRef& r) { return fma(r * r, polynomial(r, f.expm1), r); }

NodeRef expm1_of(const Format& f, const NodeRef& argument) {
  const Reduced e = reduce_exp(f, clamp(argument, f.expm1_low, f.exp_high), -1);
  const NodeRef scale =
      bitcast(e.scale, f.dtype);  // 2^(k-1): half the result, so that the largest do not overflow
  const NodeRef half = fma(scale, expm1_reduced(f, e.r), scale - 0.5);
  return half + half;
}

// The magnitude of a value with the sign of x.
NodeRef with_sign_of(const Format& f, const NodeRef& value, const NodeRef& x) {
  const NodeRef bits = bitcast(x, f.bits);
  const NodeRef sign = map("bitwise_and", {bits, sign_bit(bits)});
  return bitcast(map("bitwise_or", {bitcast(value, f.bits), sign}), f.dtype);
}

// A polynomial for small arguments, beyond it tanh |x| = 1 - 2 / (e^2|x| + 1).
NodeRef tanh_of(const Format& f, const NodeRef& x) {
  const NodeRef x2 = x * x, small = fma(x * x2, polynomial(x2, f.tanh), x);
  const NodeRef a = map("minimum", {magnitude(x), number(x, f.tanh_high)});
  const Whole w = nearest(f, a, 2 * f.log2e, f.bias);
  // Half of what is left of 2|x|: e^2r is fitted by doubling the coefficients. For f32 one step is enough, as
  // k is small.
  const NodeRef r =
      f.dtype == Dtype::f32 ? fma(w.k, -kLn2 / 2, a) : fma(w.k, -f.ln2[1] / 2, fma(w.k, -f.ln2[0] / 2, a));
  Coefs c = exp_coefs(f);
  c.insert(c.begin(), {1, 1});
  for (size_t k = 0; k < c.size(); ++k) c[k] = std::ldexp(c[k], static_cast<int>(k));
  const NodeRef scale = bitcast(shift_left(w.bits, f.mantissa), f.dtype);
  const NodeRef large = 1.0 - 2.0 / fma(polynomial(r, c), scale, 1);
  return select(less(a, kTanhSmall), small, with_sign_of(f, large, x));
}

// ---- log

// log(1 + f) + e ln2, for 1 + f in [sqrt(1/2), sqrt(2)]
NodeRef log_of_reduced(const Format& format, const NodeRef& f, const NodeRef& e) {
  if (format.dtype == Dtype::f32) {
    constexpr double kHigh = 0x1.62e4p-1, kLow = 0x1.7f7d1cp-20;  // ln2
    const NodeRef f2 = f * f;
    NodeRef y = fma(f2 * f, polynomial(f, kLogF32), e * kLow);
    y = fma(f2, -0.5, y);
    return fma(e, kHigh, f + y);
  }
  constexpr double kHigh = 0x1.62e42fefa3000p-1, kLow = 0x1.3de6af278ece6p-42;
  const NodeRef s = f / (f + 2.0), z = s * s, half = f * f * 0.5;
  const NodeRef tail = fma(s, fma(z, polynomial(z, kLogF64), half), e * kLow);
  return fma(e, kHigh, f - (half - tail));
}

struct Parts {
  NodeRef mantissa;  // in [sqrt(1/2), sqrt(2))
  NodeRef exponent;  // integer
};
Parts split(const Format& f, const NodeRef& x) {
  const double root_half = 0x1.6a09e667f3bcdp-1;
  const int64_t bits_of_root = f.dtype == Dtype::f32 ? std::bit_cast<int32_t>(static_cast<float>(root_half))
                                                     : std::bit_cast<int64_t>(root_half);
  const NodeRef bits = bitcast(x, f.bits);
  const NodeRef e = shift_right(bits - integer(bits, bits_of_root), f.mantissa);
  return {bitcast(bits - shift_left(e, f.mantissa), f.dtype), e};
}

// What a logarithm is outside (0, inf), where `at` is its argument (plus one, for log1p).
NodeRef log_ends(const NodeRef& at, const NodeRef& inside) {
  const NodeRef finite = select_number(less(at, kInf), inside, kInf);
  return select(greater(at, 0), finite, select_number(equal(at, 0), -kInf, number(at, kNaN)));
}

// x as one that is not denormal, and the exponent taken out.
struct Normal {
  NodeRef x, shift;
};
Normal normal(const Format& f, const NodeRef& x) {
  const NodeRef tiny = less(x, std::ldexp(1.0, 1 - f.bias)), scaled = x * std::ldexp(1.0, f.mantissa);
  return {select(tiny, scaled, x), select(tiny, number(x, f.mantissa), number(x, 0))};
}

NodeRef log_of(const Format& f, const NodeRef& x) {
  const Normal n = normal(f, x);
  const Parts p = split(f, n.x);
  const NodeRef e = build::convert(p.exponent, f.dtype) - n.shift;
  return log_ends(x, log_of_reduced(f, p.mantissa - 1.0, e));
}

// With s = 2^-e the reduced argument s (1 + x) - 1 = s x + (s - 1) loses nothing of a small x: it is x itself
// where e is 0.
NodeRef log1p_of(const Format& f, const NodeRef& argument) {
  const NodeRef vast = greater(
      argument, std::ldexp(1.0, f.bias - f.mantissa));  // where 2^-e would be denormal, and 1 is nothing
  const NodeRef x = select(vast, argument * std::ldexp(1.0, -f.mantissa), argument);
  const NodeRef shift = select_number(vast, f.mantissa, number(x, 0));
  const NodeRef u = x + 1.0;
  const NodeRef e = split(f, u).exponent;
  const NodeRef s = bitcast(shift_left(integer(e, f.bias) - e, f.mantissa), f.dtype);
  return log_ends(u, log_of_reduced(f, fma(s, x, s - 1.0), build::convert(e, f.dtype) + shift));
}

// ---- sin and cos

struct Angle {
  NodeRef r;         // x - k pi/2
  NodeRef quadrant;  // integer; its two low bits count
};

// Arguments so large that k does not fit. In turns, x / 2pi = sum of x * c_i; each product of 24 by 29 bits
// is exact in f64, and so is its fraction. Small pieces are added last, when the quadrant is gone, to keep
// the bits of a small remainder.
Angle reduce_huge_f32(const NodeRef& x32) {
  constexpr double kTurns[] = {0x1.45f306c000000p-3,   0x1.c9c882a000000p-31,  0x1.4fe13a8000000p-61,
                               0x1.f47d4d3000000p-88,  0x1.dc0db62000000p-118, 0x1.2b32788000000p-147,
                               0x1.c820ff0000000p-177, 0x1.458eaf7000000p-204};
  constexpr double kTwoPi = 0x1.921fb54442d18p+2;
  const NodeRef x = build::convert(x32, Dtype::f64);
  NodeRef high = number(x, 0), low = number(x, 0);
  for (double c : kTurns) {
    const NodeRef piece = x * c, fraction = piece - map("round", {piece});
    const NodeRef sum = high + fraction;  // two-sum: what does not fit is kept in low
    const NodeRef back = sum - high;
    low = low + ((high - (sum - back)) + (fraction - back));
    high = sum - map("round", {sum});
  }
  const NodeRef quadrant = map("round", {high * 4.0});
  const NodeRef r = (fma(quadrant, -0.25, high) + low) * kTwoPi;
  return {build::convert(r, Dtype::f32), build::convert(quadrant, Dtype::i32)};
}

Angle reduce_angle(const Format& f, const NodeRef& x) {
  const Whole w = nearest(f, x, 0x1.45f306dc9c883p-1);
  NodeRef r = x;
  for (double part : f.half_pi) r = fma(w.k, -part, r);
  const NodeRef huge = greater(magnitude(x), f.trig_high);
  if (f.dtype == Dtype::f64) return {select_number(huge, kNaN, r), w.bits};
  const Angle far = reduce_huge_f32(x);
  return {select(huge, far.r, r), select(huge, far.quadrant, w.bits)};
}

NodeRef sine(const Format& f, const NodeRef& x, int quadrants_ahead) {
  const Angle a = reduce_angle(f, x);
  const NodeRef r2 = a.r * a.r;
  const NodeRef sin = fma(a.r * r2, polynomial(r2, f.sin), a.r);
  const NodeRef cos = fma(fma(polynomial(r2, f.cos), r2, -0.5), r2, 1);
  const NodeRef odd =
      map("not_equal", {map("bitwise_and", {a.quadrant, integer(a.quadrant, 1)}), integer(a.quadrant, 0)});
  const NodeRef turned = quadrants_ahead ? a.quadrant + integer(a.quadrant, quadrants_ahead) : a.quadrant;
  const NodeRef value = quadrants_ahead ? select(odd, sin, cos) : select(odd, cos, sin);
  const int top = static_cast<int>(8 * size_of(f.dtype)) - 1;  // bit 1 of the quadrant becomes the sign
  const NodeRef sign = map("bitwise_and", {shift_left(turned, top - 1), sign_bit(turned)});
  return bitcast(map("bitwise_xor", {bitcast(value, f.bits), sign}), f.dtype);
}

// ---- erf |x| = 1 - e^-g(|x|), with the sign of x

// g is |x| + |x| h(|x|), so that small results are as exact as large ones; 1 - e^-g = (1 - 2^k) + 2^k (1 -
// e^-s) for g = s - k ln2.
NodeRef erf_f32(const NodeRef& x) {
  static const Coefs kRate = {0x1.06eba8p-3,   0x1.45f2fap-1,   0x1.a4fa5ep-4,
                              -0x1.39cdc6p-6,  -0x1.506034p-13, 0x1.b5005ap-10,
                              -0x1.4bc9f6p-11, 0x1.ed6c72p-14,  -0x1.3696cep-17};
  const Format& f = kF32;
  const NodeRef a = map("minimum", {magnitude(x), number(x, 3.95)});  // beyond it erf is 1
  const NodeRef g = fma(polynomial(a, kRate), a, a);
  const Whole w = nearest(f, g, -f.log2e, f.bias);
  const NodeRef s = fma(w.k, kLn2, g);
  Coefs c = f.expm1;  // (e^r - 1 - r) / r^2 at r = -s
  for (size_t k = 1; k < c.size(); k += 2) c[k] = -c[k];
  const NodeRef scale = bitcast(shift_left(w.bits, f.mantissa), f.dtype);
  return with_sign_of(f, fma(scale, fma(-(s * s), polynomial(s, c), s), 1.0 - scale), x);
}

// A polynomial up to 1, beyond it 1 - e^-g over u = (|x| - 3.5) / 2.5, where g is well conditioned.
NodeRef erf_f64(const NodeRef& x) {
  static const Coefs kSmall = {0x1.06eba8214db69p-3,   -0x1.812746b037a25p-2,  0x1.ce2f21a0458d7p-4,
                               -0x1.b82ce31354c40p-6,  0x1.565bcd2c60476p-8,   -0x1.c02db9326ac0bp-11,
                               0x1.f9a3b93942973p-14,  -0x1.f4dceefeb7167p-17, 0x1.ba68f1cacbed2p-20,
                               -0x1.638f7c39bb9bep-23, 0x1.1319194fe2aebp-26,  -0x1.c487c7cd361bap-30,
                               0x1.3b5889e1cac84p-33};
  static const Coefs kLarge = {
      0x1.c3991652a2396p+3,   0x1.22a4dc1add9e7p+4,   0x1.82b383480fb0ep+2,   0x1.4e7130df11155p-4,
      -0x1.179476af51799p-5,  0x1.d75855873deefp-7,   -0x1.864536336f952p-8,  0x1.36d9bd4a8b702p-9,
      -0x1.d172c24b57a30p-11, 0x1.6cbf7ac386b11p-12,  -0x1.496dfa9b858a4p-19, 0x1.55266e99e7c4dp-14,
      -0x1.29247d9d34f82p-13, -0x1.f87d447da4f65p-12, -0x1.67cfcadddbdadp-11, -0x1.3e72ae45e322fp-11,
      -0x1.5cfca1aaaf5a7p-12, -0x1.c51578a35f45bp-14, -0x1.04dd9a24cc166p-16};
  const Format& f = kF64;
  const NodeRef a = magnitude(x);
  const NodeRef inner = fma(polynomial(x * x, kSmall), x, x);
  const NodeRef u = fma(map("minimum", {a, number(x, 6.0)}), 0.4, -1.4);
  const Reduced e = reduce_exp(f, -polynomial(u, kLarge), 0);
  Coefs c = exp_coefs(f);
  c.insert(c.begin(), {1, 1});
  const NodeRef outer = fma(-polynomial(e.r, c), bitcast(e.scale, f.dtype), 1);
  return select(greater(a, 1), with_sign_of(f, outer, x), inner);
}

// ---- pow

struct Double {
  NodeRef high, low;
};

// log |x| to about 65 bits, for finite x other than 0.
Double log_double(const NodeRef& x) {
  constexpr double kHigh = 0x1.62e42fefa3000p-1, kLow = 0x1.3de6af278ece6p-42;
  constexpr double kTwoThirds = 0x1.5555555555555p-1, kTwoThirdsLow = 0x1.5555555555555p-55;
  const Normal n = normal(kF64, x);
  const Parts p = split(kF64, n.x);
  const NodeRef e = build::convert(p.exponent, Dtype::f64) - n.shift;
  const NodeRef f = p.mantissa - 1.0, d = p.mantissa + 1.0, d_low = p.mantissa - (d - 1.0);
  const NodeRef s = f / d, s_low = fma(-s, d_low, fma(-s, d, f)) / d;
  // 2s + 2/3 s^3 in two doubles each; what follows is small enough for one.
  const NodeRef z = s * s, z_low = fma(s, s, -z) + 2.0 * (s * s_low);
  const NodeRef cube = s * z, cube_low = fma(s, z, -cube) + fma(s, z_low, z * s_low);
  const NodeRef third = cube * kTwoThirds,
                third_low = fma(cube, kTwoThirds, -third) + fma(cube, kTwoThirdsLow, cube_low * kTwoThirds);
  const Coefs beyond(kLogF64.begin() + 1, kLogF64.end());
  const NodeRef rest = cube * (z * polynomial(z, beyond));
  const NodeRef whole = e * kHigh, twice = s + s;  // exact: kHigh has 41 bits
  const NodeRef sum = whole + twice, sum_low = (whole - sum) + twice;
  const NodeRef most = sum + third, most_low = (sum - most) + third;
  const NodeRef low = (most_low + sum_low) + (fma(s_low, 2.0, e * kLow) + (third_low + rest));
  const NodeRef high = most + low;
  return {high, (most - high) + low};
}

NodeRef pow_f64(const NodeRef& x, const NodeRef& y, bool precise) {
  const NodeRef a = magnitude(x);
  const Double l = log_double(a);
  const NodeRef ordinary = both(greater(a, 0), less(a, kInf));
  const NodeRef edge = select_number(equal(a, 0), -kInf, a);  // log of 0, inf and NaN
  const NodeRef high = select(ordinary, l.high, edge);
  const NodeRef nothing = either(equal(high, 0), equal(y, 0));  // |x| or the result is 1
  const NodeRef z = select_number(nothing, 0, y * high);
  NodeRef correction;
  if (precise) {
    const NodeRef low = fma(y, l.low, fma(y, high, -z));
    correction = select_number(both(less(magnitude(z), 800), map("not_equal", {z, number(z, 0)})), low, 0);
  }
  const NodeRef result = exp_of(kF64, z, correction);
  const NodeRef whole = map("equal", {map("trunc", {y}), y});
  const NodeRef half = y * 0.5, even = map("equal", {map("trunc", {half}), half});
  const NodeRef bits = bitcast(x, Dtype::i64);
  const NodeRef negative = map("less", {bits, integer(bits, 0)}),
                odd = both(whole, map("logical_not", {even}));
  const NodeRef with_sign = select(both(negative, odd), -result, result);
  const NodeRef invalid = both(both(less(x, 0), greater(x, -kInf)), map("logical_not", {whole}));
  const NodeRef unordered = either(map("not_equal", {x, x}), map("not_equal", {y, y}));
  const NodeRef value = select_number(either(invalid, unordered), kNaN, with_sign);
  return select_number(either(equal(x, 1), equal(y, 0)), 1, value);
}

NodeRef pow_int(const NodeRef& x, const NodeRef& y) {
  const NodeRef zero = integer(x, 0), one = integer(x, 1);
  const bool is_signed = is_signed_int(x->dtype());
  const int bits = static_cast<int>(8 * size_of(x->dtype())) - (is_signed ? 1 : 0);
  auto bit = [&](int k) { return map("not_equal", {map("bitwise_and", {shift_right(y, k), one}), zero}); };
  NodeRef result = select(bit(0), x, one), square = x;
  for (int k = 1; k < bits; ++k) {
    square = square * square;
    result = select(bit(k), result * square, result);
  }
  if (!is_signed) return result;
  const NodeRef minus = integer(x, -1);
  const NodeRef reciprocal =
      select(map("equal", {x, one}), one, select(map("equal", {x, minus}), select(bit(0), minus, one), zero));
  return select(map("less", {y, zero}), reciprocal, result);
}

// Runs a function in f32 or f64; f16 and bf16 in f32.
template <class Function>
Nodes in_format(In in, Function function) {
  const Dtype d = in[0]->dtype();
  const Format& f = d == Dtype::f64 ? kF64 : kF32;
  Nodes wide;
  for (const NodeRef& x : in) wide.push_back(build::convert(x, f.dtype));
  return {build::convert(function(f, wide), d)};
}

}  // namespace

Nodes rsqrt(const Node&, In in) {
  return in_format(in, [](const Format&, const Nodes& x) { return 1.0 / map("sqrt", {x[0]}); });
}
Nodes exp(const Node&, In in) {
  return in_format(in, [](const Format& f, const Nodes& x) { return exp_of(f, x[0]); });
}
Nodes expm1(const Node&, In in) {
  return in_format(in, [](const Format& f, const Nodes& x) { return expm1_of(f, x[0]); });
}
Nodes log(const Node&, In in) {
  return in_format(in, [](const Format& f, const Nodes& x) { return log_of(f, x[0]); });
}
Nodes log1p(const Node&, In in) {
  return in_format(in, [](const Format& f, const Nodes& x) { return log1p_of(f, x[0]); });
}
Nodes sin(const Node&, In in) {
  return in_format(in, [](const Format& f, const Nodes& x) { return sine(f, x[0], 0); });
}
Nodes cos(const Node&, In in) {
  return in_format(in, [](const Format& f, const Nodes& x) { return sine(f, x[0], 1); });
}
Nodes tanh(const Node&, In in) {
  return in_format(in, [](const Format& f, const Nodes& x) { return tanh_of(f, x[0]); });
}
Nodes erf(const Node&, In in) {
  return in_format(in, [](const Format& f, const Nodes& x) {
    return f.dtype == Dtype::f32 ? erf_f32(x[0]) : erf_f64(x[0]);
  });
}

Nodes pow(const Node&, In in) {
  const Dtype d = in[0]->dtype();
  if (is_int(d)) return {pow_int(in[0], in[1])};
  const NodeRef x = build::convert(in[0], Dtype::f64), y = build::convert(in[1], Dtype::f64);
  return {build::convert(pow_f64(x, y, d == Dtype::f64), d)};
}

}  // namespace tenfold::prims::numeric
