#include "tenfold/target/llvm/math.h"

#include <cmath>
#include <limits>

#include <llvm/IR/Constants.h>
#include <llvm/IR/Intrinsics.h>
#include <llvm/IR/Module.h>

namespace tenfold::cpu {

using llvm::ConstantFP;
using llvm::ConstantInt;
using llvm::Intrinsic::ID;
namespace in = llvm::Intrinsic;

int lanes_of(const llvm::Value* v) {
  if (const auto* type = llvm::dyn_cast<llvm::FixedVectorType>(v->getType()))
    return static_cast<int>(type->getNumElements());
  return 1;
}

namespace {

bool narrow(Dtype d) { return d == Dtype::f16 || d == Dtype::bf16; }
bool is_f32(const llvm::Value* v) { return v->getType()->getScalarType()->isFloatTy(); }

// A constant that is a number in every lane.
bool number(const llvm::Value* v) {
  const auto* c = llvm::dyn_cast<llvm::Constant>(v);
  if (!c) return false;
  if (c->getType()->isVectorTy()) c = c->getSplatValue();
  const auto* f = llvm::dyn_cast_or_null<ConstantFP>(c);
  return f && !f->isNaN();
}

}  // namespace

llvm::Type* Math::vec(llvm::Type* element, int lanes) {
  return lanes == 1 ? element : llvm::FixedVectorType::get(element, static_cast<unsigned>(lanes));
}

llvm::Type* Math::type(Dtype d, int lanes) {
  if (is_bool(d)) return vec(b.getInt1Ty(), lanes);
  if (is_int(d)) return vec(b.getIntNTy(static_cast<unsigned>(size_of(d)) * 8), lanes);
  return vec(d == Dtype::f64 || d == Dtype::complex128 ? b.getDoubleTy() : b.getFloatTy(), lanes);
}

llvm::Type* Math::memory_type(Dtype d, int lanes) {
  if (is_bool(d)) return vec(b.getInt8Ty(), lanes);
  if (narrow(d)) return vec(b.getInt16Ty(), lanes);
  return type(d, lanes);
}

llvm::Type* Math::same_lanes(llvm::Type* element, const Value* like) { return vec(element, lanes_of(like)); }
llvm::Value* Math::real(const Value* like, double v) { return ConstantFP::get(like->getType(), v); }
llvm::Value* Math::whole(const Value* like, int64_t v) {
  return ConstantInt::get(like->getType(), static_cast<uint64_t>(v), true);
}
llvm::Value* Math::bits(Value* v) {
  return b.CreateBitCast(v, same_lanes(is_f32(v) ? b.getInt32Ty() : b.getInt64Ty(), v));
}

// ---- memory and registers

llvm::Value* Math::from_memory(Value* v, Dtype d) {
  if (is_bool(d)) return b.CreateICmpNE(v, whole(v, 0));
  if (!narrow(d)) return v;
  llvm::Type* f32 = same_lanes(b.getFloatTy(), v);
  llvm::Type* i32 = same_lanes(b.getInt32Ty(), v);
  if (d == Dtype::bf16) return b.CreateBitCast(b.CreateShl(b.CreateZExt(v, i32), 16), f32);
  if (isa.half) return b.CreateFPExt(b.CreateBitCast(v, same_lanes(b.getHalfTy(), v)), f32);
  // Scaling by 2^112 puts the exponent right, denormals too; infinities and NaN keep theirs at the top.
  Value* wide = b.CreateZExt(v, i32);
  Value* magnitude = b.CreateShl(b.CreateAnd(wide, 0x7fff), 13);
  Value* scaled = bits(b.CreateFMul(b.CreateBitCast(magnitude, f32), ConstantFP::get(f32, 0x1p112)));
  Value* special = b.CreateICmpUGE(b.CreateAnd(wide, 0x7fff), whole(wide, 0x7c00));
  Value* absolute = b.CreateSelect(special, b.CreateOr(magnitude, 0x7f800000), scaled);
  return b.CreateBitCast(b.CreateOr(absolute, b.CreateShl(b.CreateAnd(wide, 0x8000), 16)), f32);
}

llvm::Value* Math::to_memory(Value* v, Dtype d) {
  if (is_bool(d)) return b.CreateZExt(v, same_lanes(b.getInt8Ty(), v));
  if (!narrow(d)) return v;
  llvm::Type* i16 = same_lanes(b.getInt16Ty(), v);
  if (d == Dtype::bf16) return b.CreateTrunc(b.CreateLShr(bits(v), 16), i16);
  if (isa.half) return b.CreateBitCast(b.CreateFPTrunc(v, same_lanes(b.getHalfTy(), v)), i16);
  // The value is one of f16's: no rounding.
  Value* raw = bits(v);
  Value* magnitude = b.CreateAnd(raw, 0x7fffffff);
  Value* scaled = bits(b.CreateFMul(b.CreateBitCast(magnitude, v->getType()), real(v, 0x1p-112)));
  Value* special = b.CreateICmpUGE(magnitude, whole(raw, 0x7f800000));
  Value* quiet = b.CreateSelect(b.CreateICmpUGT(magnitude, whole(raw, 0x7f800000)), whole(raw, 0x7e00),
                                whole(raw, 0x7c00));
  Value* absolute = b.CreateSelect(special, quiet, b.CreateLShr(scaled, 13));
  return b.CreateTrunc(b.CreateOr(absolute, b.CreateAnd(b.CreateLShr(raw, 16), 0x8000)), i16);
}

Reg Math::constant(const Scalar& value, Dtype d, int lanes) {
  const Scalar v = value.round_to(d);
  llvm::Type* t = type(d, lanes);
  if (is_bool(d)) return {ConstantInt::get(t, v.b())};
  if (is_int(d)) return {ConstantInt::get(t, v.u(), is_signed_int(d))};
  if (is_complex(d)) return {ConstantFP::get(t, v.c().real()), ConstantFP::get(t, v.c().imag())};
  return {ConstantFP::get(t, v.f())};
}

Reg Math::zero(Dtype d, int lanes) {
  llvm::Value* z = llvm::Constant::getNullValue(type(d, lanes));
  return {z, is_complex(d) ? z : nullptr};
}

// x combined with it is x, bit for bit; so -0 for a sum.
Reg Math::identity(const Prim& prim, Dtype d, int lanes) {
  llvm::Type* t = type(d, lanes);
  const std::string_view n = prim.name;
  if (is_bool(d))
    return {ConstantInt::get(t, n == "logical_and" || n == "bitwise_and" || n == "minimum" || n == "mul")};
  if (is_complex(d)) {
    Value* zero = ConstantFP::get(t, n == "mul" ? 0.0 : -0.0);
    return {n == "mul" ? ConstantFP::get(t, 1.0) : zero, zero};
  }
  if (is_int(d)) {
    const unsigned width = static_cast<unsigned>(size_of(d)) * 8;
    const bool s = is_signed_int(d);
    llvm::APInt v(width, n == "mul" ? 1 : 0);
    if (n == "minimum") v = s ? llvm::APInt::getSignedMaxValue(width) : llvm::APInt::getMaxValue(width);
    if (n == "maximum") v = s ? llvm::APInt::getSignedMinValue(width) : llvm::APInt::getMinValue(width);
    if (n == "bitwise_and") v = llvm::APInt::getAllOnes(width);
    return {ConstantInt::get(t, v)};
  }
  constexpr double inf = std::numeric_limits<double>::infinity();
  return {ConstantFP::get(t, n == "mul" ? 1.0 : n == "minimum" ? inf : n == "maximum" ? -inf : -0.0)};
}

Reg Math::splat(Reg r, int lanes) {
  if (lanes == 1) return r;
  auto one = [&](Value* v) -> Value* {
    if (!v) return nullptr;
    if (auto* c = llvm::dyn_cast<llvm::Constant>(v))
      return llvm::ConstantVector::getSplat(llvm::ElementCount::getFixed(static_cast<unsigned>(lanes)), c);
    return b.CreateVectorSplat(static_cast<unsigned>(lanes), v);
  };
  return {one(r.re), one(r.im)};
}

Reg Math::select(Value* mask, Reg then, Reg otherwise) {
  return {b.CreateSelect(mask, then.re, otherwise.re),
          then.im ? b.CreateSelect(mask, then.im, otherwise.im) : nullptr};
}

llvm::Value* Math::any(Value* mask) {
  const int lanes = lanes_of(mask);
  if (lanes == 1) return mask;
  Value* word = b.CreateBitCast(mask, b.getIntNTy(static_cast<unsigned>(lanes)));
  return b.CreateICmpNE(word, whole(word, 0));
}

// ---- rounding

Reg Math::rounded(Reg r, Dtype d) {
  if (d == Dtype::f16) return {round_f16(r.re)};
  if (d == Dtype::bf16) return {round_bf16(r.re)};
  return r;
}

llvm::Value* Math::round_f16(Value* v) {
  if (isa.half) return b.CreateFPExt(b.CreateFPTrunc(v, same_lanes(b.getHalfTy(), v)), v->getType());
  Value* raw = bits(v);
  Value* sign = b.CreateAnd(raw, whole(raw, 0x80000000));
  Value* magnitude = b.CreateXor(raw, sign);
  // Normal: to nearest even at bit 13, overflow to infinity. Below 2^-14 an addition of 1/2 (ulp 2^-24)
  // rounds.
  Value* odd = b.CreateAnd(b.CreateLShr(magnitude, 13), 1);
  Value* normal = b.CreateAnd(b.CreateAdd(magnitude, b.CreateAdd(odd, whole(raw, 0xfff))),
                              ~uint64_t{0x1fff} & 0xffffffff);
  normal = b.CreateSelect(b.CreateICmpUGE(normal, whole(raw, 0x47800000)), whole(raw, 0x7f800000), normal);
  Value* small = b.CreateBitCast(magnitude, v->getType());
  small = bits(b.CreateFSub(b.CreateFAdd(small, real(v, 0.5)), real(v, 0.5)));
  Value* r = b.CreateSelect(b.CreateICmpULT(magnitude, whole(raw, 0x38800000)), small, normal);
  r = b.CreateSelect(b.CreateICmpUGT(magnitude, whole(raw, 0x7f800000)), whole(raw, 0x7fc00000), r);
  return b.CreateBitCast(b.CreateOr(r, sign), v->getType());
}

llvm::Value* Math::round_bf16(Value* v) {
  Value* raw = bits(v);
  Value* odd = b.CreateAnd(b.CreateLShr(raw, 16), 1);
  Value* up = b.CreateAdd(raw, b.CreateAdd(odd, whole(raw, 0x7fff)));
  Value* nan = b.CreateFCmpUNO(v, v);
  Value* r = b.CreateSelect(nan, b.CreateOr(raw, 0x400000), up);
  return b.CreateBitCast(b.CreateAnd(r, 0xffff0000), v->getType());
}

// Rounded towards zero, with the last bit set where bits were lost: rounding that to fewer bits is as from
// the f64.
llvm::Value* Math::odd_f32(Value* v) {
  Value* nearest = b.CreateFPTrunc(v, same_lanes(b.getFloatTy(), v));
  Value* back = b.CreateFPExt(nearest, v->getType());
  Value* raw = bits(nearest);
  Value* away = b.CreateFCmpOGT(b.CreateUnaryIntrinsic(in::fabs, back), b.CreateUnaryIntrinsic(in::fabs, v));
  Value* lost = b.CreateFCmpONE(back, v);
  Value* down = b.CreateSub(raw, b.CreateZExt(away, raw->getType()));
  return b.CreateBitCast(b.CreateOr(down, b.CreateZExt(lost, raw->getType())), nearest->getType());
}

llvm::Value* Math::rounding(std::string_view which, Value* x) {
  if (isa.rounding) {
    const ID id = which == "floor"   ? in::floor
                  : which == "ceil"  ? in::ceil
                  : which == "trunc" ? in::trunc
                                     : in::roundeven;
    return b.CreateUnaryIntrinsic(id, x);
  }
  // Adding and subtracting 2^23 (2^52) rounds a magnitude below it to nearest even.
  const double big = is_f32(x) ? 0x1p23 : 0x1p52;
  Value* one = real(x, 1);
  Value* magnitude = b.CreateUnaryIntrinsic(in::fabs, x);
  Value* r = b.CreateFSub(b.CreateFAdd(magnitude, real(x, big)), real(x, big));
  if (which == "trunc") r = b.CreateSelect(b.CreateFCmpOGT(r, magnitude), b.CreateFSub(r, one), r);
  r = b.CreateBinaryIntrinsic(in::copysign, r, x);
  if (which == "floor") r = b.CreateSelect(b.CreateFCmpOGT(r, x), b.CreateFSub(r, one), r);
  if (which == "ceil")
    r = b.CreateBinaryIntrinsic(in::copysign, b.CreateSelect(b.CreateFCmpOLT(r, x), b.CreateFAdd(r, one), r),
                                x);
  return b.CreateSelect(b.CreateFCmpOLT(magnitude, real(x, big)), r, x);
}

// ---- arithmetic

llvm::Value* Math::fma_real(Value* x, Value* y, Value* z) {
  if (isa.fma || !is_f32(x)) return b.CreateIntrinsic(in::fma, {x->getType()}, {x, y, z});
  // Two dozen instructions: a function of the module, so that unrolled code stays small.
  llvm::Type* t = x->getType();
  llvm::Module* module = b.GetInsertBlock()->getModule();
  const std::string name = "fma_f32x" + std::to_string(lanes_of(x));
  llvm::Function* f = module->getFunction(name);
  if (!f) {
    f = llvm::Function::Create(llvm::FunctionType::get(t, {t, t, t}, false), llvm::Function::InternalLinkage,
                               name, module);
    f->addFnAttr(llvm::Attribute::NoInline);
    f->addFnAttr(llvm::Attribute::NoUnwind);
    // Not marked as free of side effects: the list scheduler takes minutes over calls that it may reorder.
    const llvm::IRBuilder<>::InsertPointGuard guard(b);
    b.SetInsertPoint(llvm::BasicBlock::Create(b.getContext(), "", f));
    b.CreateRet(fma_by_f64(f->getArg(0), f->getArg(1), f->getArg(2)));
  }
  return b.CreateCall(f, {x, y, z});
}

// The product is exact in f64. Rounding the sum to odd (its error comes from Knuth's two-sum) makes the last
// rounding right.
llvm::Value* Math::fma_by_f64(Value* x, Value* y, Value* z) {
  llvm::Type* f64 = same_lanes(b.getDoubleTy(), x);
  Value* p = b.CreateFMul(b.CreateFPExt(x, f64), b.CreateFPExt(y, f64));
  Value* c = b.CreateFPExt(z, f64);
  Value* s = b.CreateFAdd(p, c);
  Value* v = b.CreateFSub(s, p);
  Value* error = b.CreateFAdd(b.CreateFSub(p, b.CreateFSub(s, v)), b.CreateFSub(c, v));
  Value* raw = bits(s);
  // Lost bits: step towards zero if the rounding went away from it, then set the last bit.
  Value* lost = b.CreateFCmpONE(error, real(error, 0));
  Value* away = b.CreateICmpSLT(b.CreateXor(bits(error), raw), whole(raw, 0));
  Value* down = b.CreateSub(raw, b.CreateZExt(b.CreateAnd(lost, away), raw->getType()));
  Value* odd = b.CreateOr(down, b.CreateZExt(lost, raw->getType()));
  return b.CreateFPTrunc(b.CreateBitCast(odd, f64), x->getType());
}

Reg Math::fma(Dtype d, Reg x, Reg y, Reg z) {
  if (!is_complex(d)) {
    if (is_int(d)) return {b.CreateAdd(b.CreateMul(x.re, y.re), z.re)};
    if (is_bool(d)) return {b.CreateOr(b.CreateAnd(x.re, y.re), z.re)};
    return {fma_real(x.re, y.re, z.re)};
  }
  Value* re = fma_real(b.CreateFNeg(x.im), y.im, fma_real(x.re, y.re, z.re));
  Value* im = fma_real(x.im, y.re, fma_real(x.re, y.im, z.im));
  return {re, im};
}

llvm::Value* Math::extreme(Value* x, Value* y, Dtype d, bool larger) {
  if (is_bool(d)) return larger ? b.CreateOr(x, y) : b.CreateAnd(x, y);
  if (is_int(d)) {
    const bool s = is_signed_int(d);
    return b.CreateBinaryIntrinsic(larger ? (s ? in::smax : in::umax) : (s ? in::smin : in::umin), x, y);
  }
  // min(x, y) as x < y ? x : y is one instruction and gives y where either is NaN.
  auto plain = [&](Value* p, Value* q) {
    return b.CreateSelect(larger ? b.CreateFCmpOGT(p, q) : b.CreateFCmpOLT(p, q), p, q);
  };
  if (number(x)) return plain(x, y);
  if (number(y)) return plain(y, x);
  return b.CreateSelect(b.CreateFCmpUNO(x, x), x, plain(x, y));
}

// As above, each choice gives its second where either is NaN: a NaN that runs stays, one of x or y comes in
// with the bits of both.
llvm::Value* Math::extreme_of(Value* running, Value* x, Value* y, bool larger) {
  auto plain = [&](Value* p, Value* q) {
    return b.CreateSelect(larger ? b.CreateFCmpOGT(p, q) : b.CreateFCmpOLT(p, q), p, q);
  };
  Value* both = b.CreateBitCast(b.CreateOr(bits(x), bits(y)), x->getType());
  return b.CreateSelect(b.CreateFCmpUNO(x, y), both, plain(plain(x, y), running));
}

llvm::Value* Math::divide_int(Value* x, Value* y, bool is_signed) {
  Value* zero = whole(x, 0);
  if (auto* c = llvm::dyn_cast<llvm::Constant>(y)) {
    llvm::Constant* s = lanes_of(y) > 1 ? c->getSplatValue() : c;
    if (auto* k = llvm::dyn_cast_or_null<ConstantInt>(s)) {
      if (k->isZero()) return zero;
      if (is_signed && k->isMinusOne()) return b.CreateNeg(x);
      return is_signed ? b.CreateSDiv(x, y) : b.CreateUDiv(x, y);
    }
  }
  const unsigned width = x->getType()->getScalarSizeInBits();
  Value* none = b.CreateICmpEQ(y, zero);
  if (width <= 32 && lanes_of(x) > 1) {  // exact by way of f64
    llvm::Type* f64 = same_lanes(b.getDoubleTy(), x);
    Value* safe = b.CreateSelect(none, whole(y, 1), y);
    Value* minus = nullptr;
    if (is_signed) {
      minus = b.CreateICmpEQ(y, whole(y, -1));
      safe = b.CreateSelect(minus, whole(y, 1), safe);
    }
    Value* p = is_signed ? b.CreateSIToFP(x, f64) : b.CreateUIToFP(x, f64);
    Value* q = is_signed ? b.CreateSIToFP(safe, f64) : b.CreateUIToFP(safe, f64);
    Value* r = b.CreateFDiv(p, q);
    r = is_signed ? b.CreateFPToSI(r, x->getType()) : b.CreateFPToUI(r, x->getType());
    if (minus) r = b.CreateSelect(minus, b.CreateNeg(x), r);
    return b.CreateSelect(none, zero, r);
  }
  Value* safe = b.CreateSelect(none, whole(y, 1), y);
  if (!is_signed) return b.CreateSelect(none, zero, b.CreateUDiv(x, safe));
  Value* minus = b.CreateICmpEQ(y, whole(y, -1));
  Value* q = b.CreateSDiv(x, b.CreateSelect(minus, whole(y, 1), safe));
  return b.CreateSelect(none, zero, b.CreateSelect(minus, b.CreateNeg(x), q));
}

// 0xAAAA (or its complement) in a mask register, from memory so that LLVM does not know it: it would turn a
// masked move into a permutation of two registers, three times as slow.
llvm::Value* Math::half_lanes(bool odd) {
  llvm::Function* f = b.GetInsertBlock()->getParent();
  Value*& mask = half_lanes_[{f, odd}];
  if (mask) return mask;
  llvm::Module* module = f->getParent();
  llvm::GlobalVariable* global = module->getNamedGlobal(odd ? "odd_lanes" : "even_lanes");
  if (!global) {
    global = new llvm::GlobalVariable(*module, b.getInt16Ty(), true, llvm::GlobalValue::PrivateLinkage,
                                      b.getInt16(odd ? 0xAAAA : 0x5555), odd ? "odd_lanes" : "even_lanes");
    global->setAlignment(llvm::Align(2));
  }
  const llvm::IRBuilder<>::InsertPointGuard guard(b);
  b.SetInsertPoint(f->getEntryBlock().getTerminator());
  mask = b.CreateBitCast(b.CreateAlignedLoad(b.getInt16Ty(), global, llvm::Align(2), true),
                         vec(b.getInt1Ty(), 16));
  return mask;
}

llvm::Value* Math::half_product(Value* x, Value* y, bool high) {
  const int lanes = lanes_of(x);
  if (lanes < 4) {
    llvm::Type* i64 = same_lanes(b.getInt64Ty(), x);
    Value* product = b.CreateMul(b.CreateZExt(x, i64), b.CreateZExt(y, i64));
    return b.CreateTrunc(high ? b.CreateLShr(product, 32) : product, x->getType());
  }
  if (llvm::isa<llvm::Constant>(x)) std::swap(x, y);
  Products& p = products_[{b.GetInsertBlock(), x, y}];
  if (!p.even) {
    llvm::Type* pairs = vec(b.getInt64Ty(), lanes / 2);
    Value *u = b.CreateBitCast(x, pairs), *v = b.CreateBitCast(y, pairs);
    const auto* c = llvm::dyn_cast<llvm::Constant>(y);
    const auto* splat = c ? llvm::dyn_cast_or_null<ConstantInt>(c->getSplatValue()) : nullptr;
    auto lower = [&](Value* w) { return b.CreateAnd(w, whole(w, 0xffffffff)); };
    auto upper = [&](Value* w) { return b.CreateLShr(w, 32); };
    Value* k = splat ? whole(u, static_cast<int64_t>(splat->getZExtValue())) : nullptr;
    p = {b.CreateMul(lower(u), k ? k : lower(v)), b.CreateMul(upper(u), k ? k : upper(v))};
  }
  Value *even = b.CreateBitCast(p.even, x->getType()), *odd = b.CreateBitCast(p.odd, x->getType());
  std::vector<int> twice, blend;
  for (int i = 0; i < lanes; ++i) {
    twice.push_back(high ? i | 1 : i & ~1);
    blend.push_back(i % 2 ? lanes + (high ? i : i - 1) : (high ? i + 1 : i));
  }
  if (!isa.avx512 || lanes != 16) return b.CreateShuffleVector(even, odd, blend);
  Value* moved = b.CreateShuffleVector(high ? even : odd, twice);
  return b.CreateSelect(half_lanes(!high), moved, high ? odd : even);
}

llvm::Value* Math::compare(std::string_view which, Value* x, Value* y, Dtype d) {
  using P = llvm::CmpInst::Predicate;
  const bool f = is_inexact(d), s = is_signed_int(d);
  P p = P::BAD_ICMP_PREDICATE;
  if (which == "equal") p = f ? P::FCMP_OEQ : P::ICMP_EQ;
  if (which == "not_equal") p = f ? P::FCMP_UNE : P::ICMP_NE;
  if (which == "less") p = f ? P::FCMP_OLT : s ? P::ICMP_SLT : P::ICMP_ULT;
  if (which == "less_equal") p = f ? P::FCMP_OLE : s ? P::ICMP_SLE : P::ICMP_ULE;
  if (which == "greater") p = f ? P::FCMP_OGT : s ? P::ICMP_SGT : P::ICMP_UGT;
  if (which == "greater_equal") p = f ? P::FCMP_OGE : s ? P::ICMP_SGE : P::ICMP_UGE;
  if (p == P::BAD_ICMP_PREDICATE)
    internal_error(
        "a core map record",
        fmt::format("{} on {} has no code: expand it before the CPU target sees it", which, name(d)));
  return b.CreateCmp(p, x, y);
}

// |x| without overflow on the way. complex64 goes through f64, where nothing can overflow.
llvm::Value* Math::modulus(Reg x, Dtype d) {
  auto root = [&](Value* v) { return b.CreateUnaryIntrinsic(in::sqrt, v); };
  if (d == Dtype::complex64) {
    llvm::Type* f64 = same_lanes(b.getDoubleTy(), x.re);
    Value *re = b.CreateFPExt(x.re, f64), *im = b.CreateFPExt(x.im, f64);
    return b.CreateFPTrunc(root(b.CreateFAdd(b.CreateFMul(re, re), b.CreateFMul(im, im))), x.re->getType());
  }
  Value *re = b.CreateUnaryIntrinsic(in::fabs, x.re), *im = b.CreateUnaryIntrinsic(in::fabs, x.im);
  Value* swap = b.CreateFCmpOLT(re, im);
  Value *large = b.CreateSelect(swap, im, re), *small = b.CreateSelect(swap, re, im);
  Value* ratio = b.CreateFDiv(small, large);
  Value* r = b.CreateFMul(large, root(b.CreateFAdd(b.CreateFMul(ratio, ratio), real(ratio, 1))));
  Value* inf = real(re, std::numeric_limits<double>::infinity());
  r = b.CreateSelect(b.CreateFCmpOEQ(large, real(re, 0)), b.CreateFAdd(large, small), r);  // keeps a NaN
  return b.CreateSelect(b.CreateOr(b.CreateFCmpOEQ(re, inf), b.CreateFCmpOEQ(im, inf)), inf, r);
}

// ---- conversions

llvm::Value* Math::to_int(Value* x, Dtype to) {
  llvm::Type* t = same_lanes(b.getIntNTy(static_cast<unsigned>(size_of(to)) * 8), x);
  if (size_of(to) >= 4)
    return b.CreateIntrinsic(is_signed_int(to) ? in::fptosi_sat : in::fptoui_sat, {t, x->getType()}, {x});
  const int64_t high = (int64_t{1} << (size_of(to) * 8 - (is_signed_int(to) ? 1 : 0))) - 1;
  const int64_t low = is_signed_int(to) ? -high - 1 : 0;
  Value* v = b.CreateSelect(b.CreateFCmpOGT(x, real(x, static_cast<double>(low))), x,
                            real(x, static_cast<double>(low)));
  v = b.CreateSelect(b.CreateFCmpOLT(v, real(x, static_cast<double>(high))), v,
                     real(x, static_cast<double>(high)));
  if (low) v = b.CreateSelect(b.CreateFCmpUNO(x, x), real(x, 0), v);
  return b.CreateTrunc(b.CreateFPToSI(v, same_lanes(b.getInt32Ty(), x)), t);
}

Reg Math::convert(Reg x, Dtype from, Dtype to) {
  if (from == to) return x;
  if (is_complex(to)) {
    if (!is_complex(from))
      return {convert(x, from, real_of(to)).re, llvm::Constant::getNullValue(type(to, lanes_of(x.re)))};
    return {convert({x.re}, real_of(from), real_of(to)).re, convert({x.im}, real_of(from), real_of(to)).re};
  }
  if (is_bool(to)) {
    if (is_int(from)) return {b.CreateICmpNE(x.re, whole(x.re, 0))};
    Value* holds = b.CreateFCmpUNE(x.re, real(x.re, 0));
    return {is_complex(from) ? b.CreateOr(holds, b.CreateFCmpUNE(x.im, real(x.im, 0))) : holds};
  }
  if (is_complex(from)) return convert({x.re}, real_of(from), to);
  const int lanes = lanes_of(x.re);
  llvm::Type* t = type(to, lanes);
  if (is_bool(from)) {
    if (is_int(to)) return {b.CreateZExt(x.re, t)};
    return {b.CreateSelect(x.re, ConstantFP::get(t, 1), ConstantFP::get(t, 0))};
  }
  if (is_int(from)) {
    if (is_int(to)) return {b.CreateIntCast(x.re, t, is_signed_int(from))};
    return rounded({is_signed_int(from) ? b.CreateSIToFP(x.re, t) : b.CreateUIToFP(x.re, t)}, to);
  }
  if (is_int(to)) return {to_int(x.re, to)};
  if (from == Dtype::f64) return narrow(to) ? rounded({odd_f32(x.re)}, to) : Reg{b.CreateFPTrunc(x.re, t)};
  if (to == Dtype::f64) return {b.CreateFPExt(x.re, t)};
  return rounded(x, to);
}

Reg Math::bitcast(Reg x, Dtype from, Dtype to) {
  if (from == to) return x;
  const int lanes = lanes_of(x.re);
  if (from == Dtype::complex64) {
    llvm::Type* i64 = vec(b.getInt64Ty(), lanes);
    Value* word = b.CreateOr(b.CreateZExt(bits(x.re), i64), b.CreateShl(b.CreateZExt(bits(x.im), i64), 32));
    return {b.CreateBitCast(word, type(to, lanes))};
  }
  if (to == Dtype::complex64) {
    Value* word = b.CreateBitCast(x.re, vec(b.getInt64Ty(), lanes));
    llvm::Type *i32 = vec(b.getInt32Ty(), lanes), *f32 = vec(b.getFloatTy(), lanes);
    return {b.CreateBitCast(b.CreateTrunc(word, i32), f32),
            b.CreateBitCast(b.CreateTrunc(b.CreateLShr(word, 32), i32), f32)};
  }
  return {from_memory(b.CreateBitCast(to_memory(x.re, from), memory_type(to, lanes)), to)};
}

// ---- the records

Reg Math::complex_arithmetic(std::string_view n, std::span<const Reg> v, Dtype d) {
  const Reg x = v[0], y = v.size() > 1 ? v[1] : Reg{};
  if (n == "add") return {b.CreateFAdd(x.re, y.re), b.CreateFAdd(x.im, y.im)};
  if (n == "sub") return {b.CreateFSub(x.re, y.re), b.CreateFSub(x.im, y.im)};
  if (n == "neg") return {b.CreateFNeg(x.re), b.CreateFNeg(x.im)};
  if (n == "conj") return {x.re, b.CreateFNeg(x.im)};
  if (n == "real") return {x.re};
  if (n == "imag") return {x.im};
  if (n == "abs") return {modulus(x, d)};
  if (n == "equal") return {b.CreateAnd(b.CreateFCmpOEQ(x.re, y.re), b.CreateFCmpOEQ(x.im, y.im))};
  if (n == "not_equal") return {b.CreateOr(b.CreateFCmpUNE(x.re, y.re), b.CreateFCmpUNE(x.im, y.im))};
  if (n == "mul")
    return {b.CreateFSub(b.CreateFMul(x.re, y.re), b.CreateFMul(x.im, y.im)),
            b.CreateFAdd(b.CreateFMul(x.re, y.im), b.CreateFMul(x.im, y.re))};
  if (n == "div") {
    Value* norm = b.CreateFAdd(b.CreateFMul(y.re, y.re), b.CreateFMul(y.im, y.im));
    Value* re = b.CreateFAdd(b.CreateFMul(x.re, y.re), b.CreateFMul(x.im, y.im));
    Value* im = b.CreateFSub(b.CreateFMul(x.im, y.re), b.CreateFMul(x.re, y.im));
    return {b.CreateFDiv(re, norm), b.CreateFDiv(im, norm)};
  }
  internal_error("a map record of the CPU target", fmt::format("{} on {} has no code", n, name(d)));
}

Reg Math::arithmetic(std::string_view n, std::span<const Reg> v, Dtype d) {
  if (is_complex(d)) return complex_arithmetic(n, v, d);
  Value* x = v[0].re;
  Value* y = v.size() > 1 ? v[1].re : nullptr;
  const bool f = is_float(d), s = is_signed_int(d);
  if (is_bool(d)) {  // sums and products of bools: or, and
    if (n == "add") return {b.CreateOr(x, y)};
    if (n == "mul") return {b.CreateAnd(x, y)};
  }
  if (n == "add") return {f ? b.CreateFAdd(x, y) : b.CreateAdd(x, y)};
  if (n == "sub") return {f ? b.CreateFSub(x, y) : b.CreateSub(x, y)};
  if (n == "mul") return {f ? b.CreateFMul(x, y) : b.CreateMul(x, y)};
  if (n == "fma") return fma(d, v[0], v[1], v[2]);
  if (n == "div") return {f ? b.CreateFDiv(x, y) : divide_int(x, y, s)};
  if (n == "neg") return {f ? b.CreateFNeg(x) : b.CreateNeg(x)};
  if (n == "abs") {
    if (f) return {b.CreateUnaryIntrinsic(in::fabs, x)};
    return {s ? b.CreateBinaryIntrinsic(in::abs, x, b.getFalse()) : x};
  }
  if (n == "minimum" || n == "maximum") return {extreme(x, y, d, n == "maximum")};
  if (n == "sqrt") return {b.CreateUnaryIntrinsic(in::sqrt, x)};
  if (n == "floor" || n == "ceil" || n == "round" || n == "trunc") return {rounding(n, x)};
  if (n == "logical_and" || n == "bitwise_and") return {b.CreateAnd(x, y)};
  if (n == "logical_or" || n == "bitwise_or") return {b.CreateOr(x, y)};
  if (n == "logical_xor" || n == "bitwise_xor") return {b.CreateXor(x, y)};
  if (n == "logical_not" || n == "bitwise_not") return {b.CreateNot(x)};
  if (n == "shift_left" || n == "shift_right") {
    Value* count = b.CreateAnd(y, whole(y, size_of(d) * 8 - 1));
    return {n == "shift_left" ? b.CreateShl(x, count) : s ? b.CreateAShr(x, count) : b.CreateLShr(x, count)};
  }
  if (n == "multiply_high") return {half_product(x, y, true)};
  if (n == "isnan") return {b.CreateFCmpUNO(x, x)};
  if (n == "isfinite")
    return {b.CreateFCmpOLT(b.CreateUnaryIntrinsic(in::fabs, x),
                            real(x, std::numeric_limits<double>::infinity()))};
  if (n == "make_complex") return {x, y};
  return {compare(n, x, y, d)};
}

Reg Math::combine(const Prim& prim, Dtype d, Reg x, Reg y) {
  const Reg v[] = {x, y};
  return arithmetic(prim.name, v, d);
}

Reg Math::map(const Prim& prim, std::span<const Reg> v, std::span<const Dtype> d, Dtype result) {
  const std::string_view n = prim.name;
  if (n == "select") return select(v[0].re, v[1], v[2]);
  if (n == "convert") return convert(v[0], d[0], result);
  if (n == "bitcast") return bitcast(v[0], d[0], result);
  const Reg r = arithmetic(n, v, d[0]);
  const bool exact = n == "neg" || n == "abs" || n == "minimum" || n == "maximum" || n == "floor" ||
                     n == "ceil" || n == "trunc";
  return exact || is_bool(result) ? r : rounded(r, result);
}

}  // namespace tenfold::cpu
