#include "tenfold/target/ctext/math.h"

#include <cmath>
#include <limits>

#include "tenfold/base/error.h"

namespace tenfold::ctext {

namespace {

using Args = std::span<const std::string>;

bool narrow(Dtype d) { return d == Dtype::f16 || d == Dtype::bf16; }
bool wide_float(Dtype d) { return d == Dtype::f64 || d == Dtype::complex128; }

constexpr std::string_view kIntNames[] = {"char", "short", "int", "long", "uchar", "ushort", "uint", "ulong"};

std::string_view int_name(Dtype d) { return kIntNames[static_cast<int>(d) - static_cast<int>(Dtype::i8)]; }
std::string_view unsigned_name(Dtype d) {
  return is_signed_int(d) ? kIntNames[static_cast<int>(d) - static_cast<int>(Dtype::i8) + 4] : int_name(d);
}
std::string_view part_name(Dtype d) { return wide_float(d) ? "double" : "float"; }

std::string real_literal(double v, bool f64) {
  if (std::isnan(v)) return f64 ? "(double)NAN" : "NAN";
  if (std::isinf(v)) {
    const std::string text = f64 ? "(double)INFINITY" : "INFINITY";
    return v < 0 ? "(-" + text + ")" : text;
  }
  std::string text = f64 ? fmt::format("{}", v) : fmt::format("{}", static_cast<float>(v));
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  if (!f64) text += "f";
  return std::signbit(v) ? "(" + text + ")" : text;
}

std::string int_literal(uint64_t bits, Dtype d) {
  const auto v = static_cast<int64_t>(bits);
  if (d == Dtype::u64) return fmt::format("{}UL", bits);
  if (is_unsigned_int(d)) return fmt::format("{}u", bits);
  if (d == Dtype::i64) {
    if (v == std::numeric_limits<int64_t>::min()) return "(-9223372036854775807L - 1L)";
    return v < 0 ? fmt::format("({}L)", v) : fmt::format("{}L", v);
  }
  if (v == std::numeric_limits<int32_t>::min()) return "(-2147483647 - 1)";
  return v < 0 ? fmt::format("({})", v) : fmt::format("{}", v);
}

// Halves of a narrow float's 16 bits, with integers only: no device's treatment of small numbers matters.
constexpr std::string_view kFromF16 =
    "  const uint sign = (uint)(h & 0x8000) << 16, exponent = (h >> 10) & 31, mantissa = h & 0x3ff;\n"
    "  if (exponent == 31) return as_float(sign | 0x7f800000 | (mantissa << 13));\n"
    "  if (exponent == 0) return as_float(sign | as_uint((float)mantissa * 5.9604645e-08f));\n"
    "  return as_float(sign | ((exponent + 112) << 23) | (mantissa << 13));\n";
constexpr std::string_view kF16Bits =
    "  const uint raw = as_uint(x), sign = (raw >> 16) & 0x8000, size = raw & 0x7fffffff;\n"
    "  if (size > 0x7f800000) return sign | 0x7e00;\n"
    "  if (size < 0x38800000) return sign | (as_uint(as_float(size) + 0.5f) - 0x3f000000);\n"
    "  const uint rounded = ((size + 0xfff + ((size >> 13) & 1)) >> 13) - 0x1c000;\n"
    "  return sign | (rounded < 0x7c00 ? rounded : 0x7c00);\n";
constexpr std::string_view kBf16Bits =
    "  const uint raw = as_uint(x);\n"
    "  return x != x ? (raw >> 16) | 0x40 : (raw + 0x7fff + ((raw >> 16) & 1)) >> 16;\n";
// Rounded towards zero, the last bit set where bits were lost: rounding that further is as from the f64.
constexpr std::string_view kOddF32 =
    "  const float nearest = (float)x;\n"
    "  const double back = (double)nearest;\n"
    "  const uint down = as_uint(nearest) - (fabs(back) > fabs(x) ? 1u : 0u);\n"
    "  return as_float(down | (back < x || back > x ? 1u : 0u));\n";
// One Newton step with the exact remainder mends the last bit; the scaling keeps it exact near the ends.
constexpr std::string_view kDivideByFma =
    "  const float wide = fabs(y), large = fabs(x);\n"
    "  if (!(wide > 0.0f && wide < INFINITY && large > 0.0f && large < INFINITY)) return x / y;\n"
    "  int ex, ey;\n"
    "  const float fx = frexp(x, &ex), fy = frexp(y, &ey);\n"
    "  const float r = 1.0f / fy;\n"
    "  float q = fx * r;\n"
    "  q = fma(fma(-q, fy, fx), r, q);\n"
    "  q = fma(fma(-q, fy, fx), r, q);\n"
    "  return ldexp(q, ex - ey);\n";
constexpr std::string_view kRootByFma =
    "  if (!(x > 0.0f && x < INFINITY)) return sqrt(x);\n"
    "  int e;\n"
    "  float f = frexp(x, &e);\n"
    "  if (e & 1) f = f * 0.5f, e = e + 1;\n"
    "  float r = sqrt(f);\n"
    "  r = fma(fma(-r, r, f), 0.5f / r, r);\n"
    "  r = fma(fma(-r, r, f), 0.5f / r, r);\n"
    "  return ldexp(r, e / 2);\n";
constexpr std::string_view kModulus =
    "  const $T re = fabs(x.x), im = fabs(x.y);\n"
    "  if (re == ($T)INFINITY || im == ($T)INFINITY) return ($T)INFINITY;\n"
    "  const $T large = re < im ? im : re, small = re < im ? re : im;\n"
    "  if (large == 0) return large + small;\n"
    "  const $T ratio = small / large;\n"
    "  return large * sqrt(ratio * ratio + 1);\n";

std::string filled(std::string_view text, std::string_view type) {
  std::string out(text);
  for (size_t at; (at = out.find("$T")) != std::string::npos;) out.replace(at, 2, type);
  return out;
}

}  // namespace

std::string type_name(Dtype d) {
  if (is_bool(d)) return "bool";
  if (is_int(d)) return std::string(int_name(d));
  return std::string(part_name(d)) + (is_complex(d) ? "2" : "");
}

std::string memory_type_name(Dtype d) { return is_bool(d) ? "uchar" : narrow(d) ? "ushort" : type_name(d); }

std::string bare(const std::string& x) {
  if (x.size() < 2 || x.front() != '(' || x.back() != ')') return x;
  int depth = 0;
  for (size_t i = 0; i + 1 < x.size(); ++i) {
    depth += x[i] == '(' ? 1 : x[i] == ')' ? -1 : 0;
    if (depth == 0) return x;
  }
  return x.substr(1, x.size() - 2);
}

void Math::needs(Dtype d) { uses_f64_ |= wide_float(d); }

std::string Math::make_pair(Dtype d, std::string_view re, std::string_view im) const {
  return fmt::format(fmt::runtime(dialect_.pair), part_name(d), re, im);
}

std::string Math::call(const std::string& name, std::string_view result, std::string_view parameters,
                       std::string_view body, Args arguments) {
  if (!helpers_.contains(name)) {
    helpers_[name] = fmt::format("{}{} {}({}) {{\n{}}}\n", dialect_.function, result, name, parameters, body);
    order_.push_back(name);
  }
  std::string list;
  for (const std::string& a : arguments) list += (list.empty() ? "" : ", ") + bare(a);
  return fmt::format("{}({})", name, list);
}

std::string Math::literal(const Scalar& scalar, Dtype d) const {
  const Scalar v = scalar.round_to(d);
  if (is_bool(d)) return v.b() ? "true" : "false";
  if (is_int(d)) return int_literal(v.u(), d);
  if (is_complex(d))
    return make_pair(d, real_literal(v.c().real(), wide_float(d)), real_literal(v.c().imag(), wide_float(d)));
  return real_literal(v.f(), wide_float(d));
}

std::string Math::identity(const Prim& prim, Dtype d) const {
  const std::string_view n = prim.name;
  const bool ones = n == "logical_and" || n == "bitwise_and" || n == "minimum" || n == "mul";
  if (is_bool(d)) return ones ? "true" : "false";
  if (is_complex(d)) {
    const bool f64 = wide_float(d);
    const double zero = n == "mul" ? 0.0 : -0.0;
    return make_pair(d, real_literal(n == "mul" ? 1.0 : zero, f64), real_literal(zero, f64));
  }
  if (is_int(d)) {
    const int width = static_cast<int>(size_of(d)) * 8;
    const uint64_t all = ~uint64_t{0} >> (64 - width), half = all >> 1;
    const bool s = is_signed_int(d);
    uint64_t v = n == "mul" ? 1 : 0;
    if (n == "minimum") v = s ? half : all;
    if (n == "maximum") v = s ? ~half : 0;
    if (n == "bitwise_and") v = s ? ~uint64_t{0} : all;
    return int_literal(v, d);
  }
  constexpr double inf = std::numeric_limits<double>::infinity();
  return real_literal(n == "mul" ? 1.0 : n == "minimum" ? inf : n == "maximum" ? -inf : -0.0, wide_float(d));
}

// ---- memory, rounding and conversions

std::string Math::from_memory(const std::string& x, Dtype d) {
  needs(d);
  const std::string one[] = {x};
  if (is_bool(d)) return "(" + x + " != 0)";
  if (d == Dtype::bf16) return "as_float((uint)" + x + " << 16)";
  if (d == Dtype::f16) return call("from_f16", "float", "ushort h", kFromF16, one);
  return x;
}

std::string Math::to_memory(const std::string& x, Dtype d) {
  needs(d);
  const std::string one[] = {x};
  if (is_bool(d)) return x + " ? 1 : 0";
  if (d == Dtype::bf16) return call("bf16_bits", "ushort", "float x", kBf16Bits, one);
  if (d == Dtype::f16) return call("f16_bits", "ushort", "float x", kF16Bits, one);
  return x;
}

std::string Math::rounded(const std::string& x, Dtype d) {
  return narrow(d) ? from_memory(to_memory(x, d), d) : x;
}

std::string Math::to_int(const std::string& x, Dtype from, Dtype to) {
  const std::string_view source = part_name(from), result = int_name(to);
  const bool s = is_signed_int(to), f64 = wide_float(from);
  const int bits = static_cast<int>(size_of(to)) * 8 - (s ? 1 : 0);
  const double limit = std::ldexp(1.0, bits);
  const uint64_t high = ~uint64_t{0} >> (64 - bits);
  const std::string body = fmt::format(
      "  return x != x ? 0 : x >= {} ? {} : x <= {} ? {} : ({})x;\n", real_literal(limit, f64),
      int_literal(high, to), real_literal(s ? -limit : 0.0, f64), int_literal(s ? ~high : 0, to), result);
  const std::string one[] = {x};
  return call(fmt::format("{}_from_{}", name(to), source), result, fmt::format("{} x", source), body, one);
}

std::string Math::convert(const std::string& x, Dtype from, Dtype to) {
  if (from == to) return x;
  needs(from);
  needs(to);
  if (is_complex(to)) {
    if (!is_complex(from))
      return make_pair(to, convert(x, from, real_of(to)), real_literal(0.0, wide_float(to)));
    return make_pair(to, convert(x + ".x", real_of(from), real_of(to)),
                     convert(x + ".y", real_of(from), real_of(to)));
  }
  if (is_bool(to))
    return is_complex(from) ? fmt::format("({0}.x != 0 || {0}.y != 0)", x) : "(" + x + " != 0)";
  if (is_complex(from)) return convert(x + ".x", real_of(from), to);
  const std::string type = type_name(to);
  if (is_bool(from)) return fmt::format("({} ? {} : {})", x, literal(Scalar(1), to), literal(Scalar(0), to));
  if (is_int(from)) return rounded(fmt::format("({}){}", type, x), to);
  if (is_int(to)) return to_int(x, from, to);
  if (from == Dtype::f64 && narrow(to)) {
    const std::string one[] = {x};
    return rounded(call("odd_f32", "float", "double x", kOddF32, one), to);
  }
  if (from == Dtype::f64 || to == Dtype::f64) return fmt::format("({}){}", type, x);
  return rounded(x, to);
}

std::string Math::bitcast(const std::string& x, Dtype from, Dtype to) {
  if (from == to) return x;
  needs(from);
  needs(to);
  const int64_t bytes = size_of(from);
  if (from == Dtype::complex64)
    return bitcast(fmt::format("(((ulong)as_uint({0}.y) << 32) | as_uint({0}.x))", x), Dtype::u64, to);
  if (to == Dtype::complex64) {
    const std::string word = bitcast(x, from, Dtype::u64);
    return make_pair(to, fmt::format("as_float((uint){})", word),
                     fmt::format("as_float((uint)({} >> 32))", word));
  }
  if (bytes >= 4) return fmt::format("as_{}({})", type_name(to), x);
  const std::string bits = to_memory(x, from);
  const std::string as_int = fmt::format("({})({})",
                                         is_int(to)   ? int_name(to)
                                         : bytes == 1 ? "uchar"
                                                      : "ushort",
                                         bits);
  return from_memory("(" + as_int + ")", to);
}

// ---- the records

std::string Math::complex_arithmetic(std::string_view n, Args v, Dtype d) {
  const std::string type = type_name(d), part(part_name(d));
  const std::string two = fmt::format("{0} x, {0} y", type);
  const auto pair = [&](std::string_view re, std::string_view im) {
    return "  return " + make_pair(d, re, im) + ";\n";
  };
  const std::string suffix = fmt::format("_{}", name(d));
  if (n == "add") return call("add" + suffix, type, two, pair("x.x + y.x", "x.y + y.y"), v);
  if (n == "sub") return call("sub" + suffix, type, two, pair("x.x - y.x", "x.y - y.y"), v);
  if (n == "mul")
    return call("mul" + suffix, type, two, pair("x.x * y.x - x.y * y.y", "x.x * y.y + x.y * y.x"), v);
  if (n == "div")
    return call("div" + suffix, type, two,
                fmt::format("  const {} norm = y.x * y.x + y.y * y.y;\n", part) +
                    pair("(x.x * y.x + x.y * y.y) / norm", "(x.y * y.x - x.x * y.y) / norm"),
                v);
  if (n == "neg") return make_pair(d, "-" + v[0] + ".x", "-" + v[0] + ".y");
  if (n == "conj") return make_pair(d, v[0] + ".x", "-" + v[0] + ".y");
  if (n == "real") return v[0] + ".x";
  if (n == "imag") return v[0] + ".y";
  if (n == "equal") return fmt::format("({0}.x == {1}.x && {0}.y == {1}.y)", v[0], v[1]);
  if (n == "not_equal") return fmt::format("({0}.x != {1}.x || {0}.y != {1}.y)", v[0], v[1]);
  if (n == "abs") {
    if (d == Dtype::complex64 && device_.f64) {  // nothing overflows in f64
      uses_f64_ = true;
      return call("abs" + suffix, part, type + " x",
                  "  const double re = x.x, im = x.y;\n  return (float)sqrt(re * re + im * im);\n", v);
    }
    return call("abs" + suffix, part, type + " x", filled(kModulus, part), v);
  }
  internal_error("a map record of C targets", fmt::format("{} on {} has no code", n, name(d)));
}

std::string Math::arithmetic(std::string_view n, Args v, Dtype d) {
  if (is_complex(d)) return complex_arithmetic(n, v, d);
  const std::string& x = v[0];
  const std::string y = v.size() > 1 ? v[1] : "";
  const bool f = is_float(d), s = is_signed_int(d);
  const std::string type = type_name(d);
  const auto binary = [&](std::string_view op) { return fmt::format("({} {} {})", x, op, y); };
  // Unsigned arithmetic wraps; narrow types go through 32 bits.
  const auto wrapping = [&](std::string_view op) {
    if (d == Dtype::u32 || d == Dtype::u64) return binary(op);
    const std::string_view u = size_of(d) == 8 ? "ulong" : "uint";
    return fmt::format("({})(({}){} {} ({}){})", type, u, x, op, u, y);
  };
  if (is_bool(d)) {
    if (n == "add") return binary("||");
    if (n == "mul") return binary("&&");
  }
  if (n == "add") return f ? binary("+") : wrapping("+");
  if (n == "sub") return f ? binary("-") : wrapping("-");
  if (n == "mul") return f ? binary("*") : wrapping("*");
  if (n == "fma") return fmt::format("fma({}, {}, {})", bare(x), bare(y), bare(v[2]));
  if (n == "div") {
    const std::string two = fmt::format("{0} x, {0} y", type);
    const std::string own = fmt::format("divide_{}", name(is_float(d) && d != Dtype::f64 ? Dtype::f32 : d));
    if (f && (d == Dtype::f64 || device_.exact_division)) return binary("/");
    if (f) {
      uses_f64_ |= device_.f64;
      return call(own, type, two, device_.f64 ? "  return (float)((double)x / (double)y);\n" : kDivideByFma,
                  v);
    }
    if (!s) return call(own, type, two, "  return y == 0 ? 0 : x / y;\n", v);
    return call(own, type, two,
                fmt::format("  return y == 0 ? 0 : y == -1 ? ({})(0 - ({})x) : x / y;\n", type,
                            size_of(d) == 8 ? "ulong" : "uint"),
                v);
  }
  if (n == "neg") {
    if (f) return "(-" + x + ")";
    return fmt::format("({})(0 - ({}){})", type, size_of(d) == 8 ? "ulong" : "uint", x);
  }
  if (n == "abs") {
    if (f) return "fabs(" + bare(x) + ")";
    if (!s) return x;
    return call(fmt::format("abs_{}", name(d)), type, type + " x",
                fmt::format("  return x < 0 ? ({})(0 - ({})x) : x;\n", type, unsigned_name(d)), v);
  }
  if (n == "minimum" || n == "maximum") {
    const bool larger = n == "maximum";
    if (is_bool(d)) return binary(larger ? "||" : "&&");
    const std::string_view op = larger ? ">" : "<";
    const std::string own = fmt::format("{}_{}", larger ? "larger" : "smaller", narrow(d) ? "f32" : name(d));
    return call(own, type, fmt::format("{0} x, {0} y", type),
                fmt::format("  return {}x {} y ? x : y;\n", f ? "x != x || " : "", op), v);
  }
  if (n == "sqrt") {
    if (d == Dtype::f64 || device_.exact_division) return "sqrt(" + bare(x) + ")";
    uses_f64_ |= device_.f64;
    return call("root_f32", type, type + " x",
                device_.f64 ? "  return (float)sqrt((double)x);\n" : kRootByFma, v);
  }
  if (n == "floor" || n == "ceil" || n == "trunc") return fmt::format("{}({})", n, bare(x));
  if (n == "round") return "rint(" + bare(x) + ")";
  if (n == "logical_and") return binary("&&");
  if (n == "logical_or") return binary("||");
  if (n == "logical_xor") return binary("!=");
  if (n == "logical_not") return "(!" + x + ")";
  if (n == "bitwise_and") return is_bool(d) ? binary("&&") : binary("&");
  if (n == "bitwise_or") return is_bool(d) ? binary("||") : binary("|");
  if (n == "bitwise_xor") return is_bool(d) ? binary("!=") : binary("^");
  if (n == "bitwise_not") return is_bool(d) ? "(!" + x + ")" : fmt::format("({})~{}", type, x);
  if (n == "shift_left")
    return fmt::format("({})(({}){} << ({} & {}))", type, size_of(d) == 8 ? "ulong" : "uint", x, y,
                       size_of(d) * 8 - 1);
  if (n == "shift_right") return fmt::format("({})({} >> ({} & {}))", type, x, y, size_of(d) * 8 - 1);
  if (n == "multiply_high") return fmt::format("mul_hi({}, {})", bare(x), bare(y));
  if (n == "isnan") return fmt::format("({0} != {0})", x);
  if (n == "isfinite") return fmt::format("(fabs({}) < {})", x, real_literal(INFINITY, d == Dtype::f64));
  if (n == "make_complex") return make_pair(d == Dtype::f64 ? Dtype::complex128 : Dtype::complex64, x, y);
  if (n == "equal") return binary("==");
  if (n == "not_equal") return binary("!=");
  if (n == "less") return binary("<");
  if (n == "less_equal") return binary("<=");
  if (n == "greater") return binary(">");
  if (n == "greater_equal") return binary(">=");
  internal_error("a core map record",
                 fmt::format("{} on {} has no code: expand it before a C target sees it", n, name(d)));
}

std::string Math::combine(const Prim& prim, Dtype d, const std::string& x, const std::string& y) {
  const std::string v[] = {x, y};
  const Dtype dtypes[] = {d, d};
  return map(prim, v, dtypes, d);
}

std::string Math::fma(Dtype d, const std::string& x, const std::string& y, const std::string& z) {
  needs(d);
  if (is_bool(d)) return fmt::format("(({} && {}) || {})", x, y, z);
  const std::string v[] = {x, y, z};
  if (is_complex(d)) {
    const std::string type = type_name(d);
    return call(fmt::format("fma_{}", name(d)), type, fmt::format("{0} x, {0} y, {0} z", type),
                "  return " +
                    make_pair(d, "fma(-x.y, y.y, fma(x.x, y.x, z.x))", "fma(x.y, y.x, fma(x.x, y.y, z.y))") +
                    ";\n",
                v);
  }
  if (is_int(d)) {
    const std::string product[] = {arithmetic("mul", v, d), z};
    return arithmetic("add", product, d);
  }
  return rounded(arithmetic("fma", v, d), d);
}

std::string Math::map(const Prim& prim, Args v, std::span<const Dtype> d, Dtype result) {
  for (const Dtype dtype : d) needs(dtype);
  needs(result);
  const std::string_view n = prim.name;
  if (n == "select") return fmt::format("({} ? {} : {})", v[0], v[1], v[2]);
  if (n == "convert") return convert(v[0], d[0], result);
  if (n == "bitcast") return bitcast(v[0], d[0], result);
  const std::string r = arithmetic(n, v, d[0]);
  const bool exact = n == "neg" || n == "abs" || n == "minimum" || n == "maximum" || n == "floor" ||
                     n == "ceil" || n == "trunc" || n == "round";
  return exact || is_bool(result) ? r : rounded(r, result);
}

}  // namespace tenfold::ctext
