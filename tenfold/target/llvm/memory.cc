// Forms, masks, loads and stores.
#include <algorithm>
#include <array>
#include <bit>
#include <numeric>

#include <llvm/IR/Constants.h>
#include <llvm/IR/Intrinsics.h>

#include "tenfold/target/llvm/emit.h"
#include "tenfold/target/llvm/hoist.h"

namespace tenfold::cpu {

using llvm::ConstantInt;
using llvm::Instruction;
namespace in = llvm::Intrinsic;

namespace {

constexpr int64_t kAlign = 64;               // bytes: of output buffers, and of scratch
constexpr int64_t kUnknown = INT64_MAX / 8;  // a bound on nothing

int64_t units(Dtype d) { return is_complex(d) ? 2 : 1; }
int64_t unit_bytes(Dtype d) { return size_of(d) / units(d); }

Form sum(const Form& x, const Form& y, const Dim& factor) {  // x + factor*y
  std::map<AtomId, Dim> coefs;
  for (const Term& t : x.terms) coefs[t.atom] += t.coef;
  for (const Term& t : y.terms) coefs[t.atom] += factor * t.coef;
  Form r{x.offset + factor * y.offset, {}, false};
  for (auto& [atom, coef] : coefs)
    if (!(coef == Dim(0))) r.terms.push_back({atom, coef});
  return r;
}

// Constant part of a dim.
int64_t split(const Dim& d, Dim& rest) {
  if (d.is_const()) {
    rest = 0;
    return d.value();
  }
  const auto it = d.expr()->terms.find(Monomial{});
  const int64_t c = it == d.expr()->terms.end() ? 0 : it->second;
  rest = d - Dim(c);
  return c;
}

// Is the lane off, whatever the values it depends on?
bool is_off(const llvm::Value* mask, int lane) {
  if (const auto* c = llvm::dyn_cast<llvm::Constant>(mask))
    return c->getAggregateElement(static_cast<unsigned>(lane))->isZeroValue();
  if (const auto* shuffle = llvm::dyn_cast<llvm::ShuffleVectorInst>(mask)) {
    const int from = shuffle->getMaskValue(static_cast<unsigned>(lane)), n = lanes_of(shuffle->getOperand(0));
    return from >= 0 && is_off(shuffle->getOperand(from < n ? 0 : 1), from % n);
  }
  const auto* both = llvm::dyn_cast<llvm::BinaryOperator>(mask);
  return both && both->getOpcode() == llvm::Instruction::And &&
         (is_off(both->getOperand(0), lane) || is_off(both->getOperand(1), lane));
}

bool is_off(const llvm::Value* mask) {
  for (int lane = 0; lane < lanes_of(mask); ++lane)
    if (!is_off(mask, lane)) return false;
  return true;
}

std::vector<int> range(int first, int n) {
  std::vector<int> r(static_cast<size_t>(n));
  std::iota(r.begin(), r.end(), first);
  return r;
}

}  // namespace

// ---- layouts

bool Layout::has(AtomId a) const {
  return a == vector || std::find(axes.begin(), axes.end(), a) != axes.end();
}

Layout Emitter::layout(std::span<const AtomId> all) const {
  Layout r;
  auto extent = [&](AtomId a) { return k.atoms[static_cast<size_t>(a)].extent.value(); };
  auto take = [&](AtomId a) {
    if (r.vector < 0 && a >= 0 && std::find(all.begin(), all.end(), a) != all.end() && extent(a) > 1)
      r.vector = a;
  };
  take(k.vector);
  for (AtomId a : k.vectors) take(a);
  for (AtomId a : all) {
    if (a == r.vector) continue;
    r.axes.push_back(a);
    r.extents.push_back(extent(a));
    r.points *= extent(a);
  }
  if (r.vector >= 0) {
    r.extent = extent(r.vector);
    r.lanes = static_cast<int>(
        std::min<int64_t>(lanes_, static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(r.extent)))));
    r.chunks = static_cast<int>((r.extent + r.lanes - 1) / r.lanes);
  }
  return r;
}

size_t Emitter::slot(const Layout& l) const {
  int64_t point = 0;
  for (size_t i = 0; i < l.axes.size(); ++i)
    point = point * l.extents[i] + at_[static_cast<size_t>(l.axes[i])];
  return static_cast<size_t>(point * l.chunks +
                             (l.vector < 0 ? 0 : at_[static_cast<size_t>(l.vector)] / l.lanes));
}

// ---- hash-consed arithmetic

llvm::Value* Emitter::i64(int64_t v) const {
  return ConstantInt::get(llvm::Type::getInt64Ty(context), static_cast<uint64_t>(v), true);
}

int Emitter::depth_of(Value* v) const {
  const auto it = depth_.find(v);
  return it == depth_.end() ? 0 : it->second;
}

llvm::Value* Emitter::hoist(unsigned opcode, Value* x, Value* y) {
  return hoisted({static_cast<int>(opcode), x, y, 0}, {x, y},
                 [&] { return b.CreateBinOp(static_cast<Instruction::BinaryOps>(opcode), x, y); });
}

llvm::Value* Emitter::add(Value* x, Value* y) {
  if (!x || !y) return x ? x : y;
  if (auto* c = llvm::dyn_cast<ConstantInt>(y); c && c->isZero()) return x;
  if (auto* c = llvm::dyn_cast<ConstantInt>(x); c && c->isZero()) return y;
  return hoist(Instruction::Add, x, y);
}

llvm::Value* Emitter::mul(Value* x, int64_t c) {
  if (!x || c == 1) return x;
  return hoist(Instruction::Mul, x, i64(c));
}

llvm::Value* Emitter::least(Value* x, Value* y) {
  if (!x || x == y) return y;
  auto *c = llvm::dyn_cast<ConstantInt>(x), *d = llvm::dyn_cast<ConstantInt>(y);
  if (c && d) return c->getSExtValue() < d->getSExtValue() ? x : y;
  return hoisted({kLeast, x, y, 0}, {x, y}, [&] { return b.CreateBinaryIntrinsic(in::smin, x, y); });
}

llvm::Value* Emitter::lane(Value* v, int index) {
  if (lanes_of(v) == 1) return v;
  return after(v, {kLane, v, nullptr, index},
               [&] { return b.CreateExtractElement(v, static_cast<uint64_t>(index)); });
}

Reg Emitter::splat(Reg r, int lanes) {
  if (lanes == 1) return r;
  auto one = [&](Value* v) -> Value* {
    if (!v) return nullptr;
    return after(v, {kSplat, v, nullptr, lanes}, [&] { return math.splat({v}, lanes).re; });
  };
  return {one(r.re), one(r.im)};
}

llvm::Value* Emitter::dim(const Dim& d) {
  if (d.is_const()) return i64(d.value());
  if (auto it = dims_.find(d.str()); it != dims_.end()) return it->second;
  auto of_atom = [&](const Atom& a) -> Value* {
    if (a.op == Atom::Op::symbol) return symbols_.at(a.symbol.name);
    Value *x = dim(a.left), *y = dim(a.right);
    const llvm::IRBuilder<>::InsertPointGuard guard(b);
    b.SetInsertPoint(scopes_[0]->getTerminator());
    if (a.op == Atom::Op::min) return b.CreateBinaryIntrinsic(in::smin, x, y);
    if (a.op == Atom::Op::max) return b.CreateBinaryIntrinsic(in::smax, x, y);
    y = b.CreateSelect(b.CreateICmpEQ(y, i64(0)), i64(1), y);
    Value* q = b.CreateSDiv(x, y);
    Value* r = b.CreateSub(x, b.CreateMul(q, y));
    Value* down = b.CreateAnd(b.CreateICmpNE(r, i64(0)), b.CreateICmpSLT(b.CreateXor(r, y), i64(0)));
    if (a.op == Atom::Op::floordiv) return b.CreateSub(q, b.CreateZExt(down, b.getInt64Ty()));
    return b.CreateAdd(r, b.CreateSelect(down, y, i64(0)));
  };
  Value* total = nullptr;
  for (const auto& [monomial, coef] : d.expr()->terms) {
    Value* product = nullptr;
    for (const auto& atom : monomial) {
      Value* v = of_atom(*atom);
      product = product ? hoist(Instruction::Mul, product, v) : v;
    }
    total = add(total, product ? mul(product, coef) : i64(coef));
  }
  if (!total) total = i64(0);
  return dims_[d.str()] = total;
}

// ---- forms

Linear Emitter::linear(const Form& f, AtomId vector) {
  Linear r;
  Dim rest;
  r.offset = split(f.offset, rest);
  std::vector<Value*> parts;
  bool known = rest == Dim(0);
  if (!known) parts.push_back(dim(rest));
  for (const Term& t : f.terms) {
    const Binding& bind = bound_[static_cast<size_t>(t.atom)];
    const bool constant = t.coef.is_const();
    if (bind.bound && !bind.value) {
      if (constant)
        r.offset += t.coef.value() * bind.constant;
      else
        parts.push_back(hoist(Instruction::Mul, dim(t.coef), i64(bind.constant)));
    } else if (bind.bound) {
      parts.push_back(constant ? mul(bind.value, t.coef.value())
                               : hoist(Instruction::Mul, bind.value, dim(t.coef)));
      const Dim& extent = k.atoms[static_cast<size_t>(t.atom)].extent;
      if (constant && extent.is_const())
        (t.coef.value() < 0 ? r.least : r.most) += t.coef.value() * (extent.value() - 1);
      else
        known = false;
    }
    if (bind.bound && !bind.unrolled) continue;
    if (constant)
      r.inner.push_back({t.atom, t.coef.value()});
    else
      r.inner_dynamic.push_back({t.atom, dim(t.coef)});
    if (t.atom != vector) continue;
    if (constant)
      r.lane = t.coef.value();
    else
      r.lane_dynamic = r.inner_dynamic.back().second;
  }
  // Outer loops first, so that partial sums stay outside.
  std::stable_sort(parts.begin(), parts.end(), [&](Value* x, Value* y) { return depth_of(x) < depth_of(y); });
  for (Value* p : parts) r.dynamic = add(r.dynamic, p);
  if (!known) r.least = -kUnknown, r.most = kUnknown;
  return r;
}

int64_t Emitter::constant_part(const Linear& l) const {
  int64_t v = l.offset;
  for (const auto& [atom, coef] : l.inner) v += coef * at_[static_cast<size_t>(atom)];
  return v;
}

llvm::Value* Emitter::dynamic_part(const Linear& l) {
  Value* v = l.dynamic;
  for (const auto& [atom, coef] : l.inner_dynamic)
    if (at_[static_cast<size_t>(atom)]) v = add(v, mul(coef, at_[static_cast<size_t>(atom)]));
  return v;
}

llvm::Value* Emitter::total(const Linear& l) {
  return add(dynamic_part(l) ? dynamic_part(l) : i64(0), i64(constant_part(l)));
}

Dim Emitter::bound_of(const Form& f, bool upper) const {
  Dim r = f.offset;
  for (const Term& t : f.terms) {
    const Binding& bind = bound_[static_cast<size_t>(t.atom)];
    if (bind.bound && !bind.value && !bind.unrolled) {
      r += t.coef * Dim(bind.constant);
      continue;
    }
    const Dim last = k.atoms[static_cast<size_t>(t.atom)].extent - 1;
    const bool rises = t.coef.lower() >= 0, falls = t.coef.upper() <= 0;
    if (!rises && !falls) return upper ? Dim(INT64_MAX / 4) : Dim(INT64_MIN / 4);
    if (rises == upper) r += t.coef * last;
  }
  return r;
}

bool Emitter::applies(const tile::Guard& g, const Layout& domain) const {
  return std::all_of(g.form.terms.begin(), g.form.terms.end(), [&](const Term& t) {
    return bound_[static_cast<size_t>(t.atom)].bound || domain.has(t.atom);
  });
}

bool Emitter::proved_inside(const Form& f, const Dim& extent, const Layout& domain, bool low) const {
  if (low) return provably_le(0, bound_of(f, false));
  if (provably_lt(bound_of(f, true), extent)) return true;
  for (const tile::Guard& g : k.guards) {
    if (!applies(g, domain)) continue;
    // f = factor * guard's form + rest, and the guard's form is at most limit - 1.
    for (const Term& t : f.terms) {
      const Term& lead = g.form.terms.front();
      if (t.atom != lead.atom || !t.coef.is_const() || !lead.coef.is_const() || lead.coef.value() <= 0)
        continue;
      const int64_t factor = t.coef.value() / lead.coef.value();
      if (factor < 1) continue;
      const Form rest = sum(f, g.form, Dim(-factor));
      if (provably_lt(Dim(factor) * (g.limit - 1) + bound_of(rest, true), extent)) return true;
    }
  }
  return false;
}

// ---- masks

Check Emitter::check_of(const tile::Guard& guard, const Layout& domain) {
  Check c{linear(guard.form, domain.vector), false, 0, nullptr};
  if (guard.limit.is_const())
    c.limit = guard.limit.value();
  else
    c.limit_dynamic = dim(guard.limit);
  return c;
}

std::vector<Check> Emitter::guard_checks(const Layout& domain) {
  std::vector<Check> r;
  for (size_t g = 0; g < k.guards.size(); ++g) {
    const tile::Guard& guard = k.guards[g];
    if (discharged_[g] || !applies(guard, domain)) continue;
    r.push_back(check_of(guard, domain));
  }
  return r;
}

std::optional<Check> Emitter::padding(const Layout& l) {
  if (l.vector < 0 || l.extent % l.lanes == 0) return {};
  Check c;
  c.form.inner = {{l.vector, 1}};
  c.form.lane = 1;
  c.limit = l.extent;
  return c;
}

llvm::Value* Emitter::as_vector(const Mask& m, int lanes) {
  if (!m.all) return m.lanes ? m.lanes : ConstantInt::getTrue(math.type(Dtype::boolean, lanes));
  Value* all = splat({m.all}, lanes).re;
  return m.lanes ? b.CreateAnd(all, m.lanes) : all;
}

Mask Emitter::mask(std::span<const Check> checks, int lanes) {
  Mask m;
  auto both = [&](Value*& into, Value* v) { into = into ? b.CreateAnd(into, v) : v; };
  for (const Check& c : checks) {
    const int64_t start = constant_part(c.form);
    Value* dynamic = dynamic_part(c.form);
    const bool varies = lanes > 1 && c.form.varies();
    auto inside = [&](int64_t v) { return (!c.low || v >= 0) && v < c.limit; };
    if (!dynamic && !c.limit_dynamic && !(varies && c.form.lane_dynamic)) {
      if (!varies) {
        if (!inside(start)) return {true, nullptr, nullptr};
        continue;
      }
      std::vector<llvm::Constant*> bits;
      int held = 0;
      for (int i = 0; i < lanes; ++i) {
        const bool in = inside(start + i * c.form.lane);
        held += in;
        bits.push_back(b.getInt1(in));
      }
      if (held == 0) return {true, nullptr, nullptr};
      if (held < lanes) both(m.lanes, llvm::ConstantVector::get(bits));
      continue;
    }
    Value* x = add(dynamic ? dynamic : i64(0), i64(start));
    Value* limit = c.limit_dynamic ? c.limit_dynamic : i64(c.limit);
    auto compare = [&](llvm::CmpInst::Predicate p, Value* l, Value* r) {
      return hoisted({kCompare, l, r, p}, {l, r}, [&] { return b.CreateICmp(p, l, r); });
    };
    // What no turn of the loops around can break at this point is not asked.
    bool low = c.low, high = true;
    if (c.form.inner_dynamic.empty() && !c.form.lane_dynamic) {
      const int64_t across = varies ? c.form.lane * (lanes - 1) : 0;
      low = low && c.form.least + start + std::min<int64_t>(across, 0) < 0;
      high = c.limit_dynamic || c.form.most + start + std::max<int64_t>(across, 0) >= c.limit;
    }
    if (!varies) {
      if (high) both(m.all, compare(llvm::CmpInst::ICMP_SLT, x, limit));
      if (low) both(m.all, compare(llvm::CmpInst::ICMP_SGE, x, i64(0)));
      continue;
    }
    if (c.form.lane == 1 && !c.form.lane_dynamic) {
      // Lanes below (limit - x), and from -x on.
      auto edge = [&](Value* count, bool below) {
        return hoisted({below ? kPrefix : kSuffix, count, nullptr, lanes}, {count}, [&] {
          Value* n =
              b.CreateBinaryIntrinsic(in::smin, b.CreateBinaryIntrinsic(in::smax, count, i64(0)), i64(lanes));
          n = b.CreateVectorSplat(static_cast<unsigned>(lanes), b.CreateTrunc(n, b.getInt32Ty()));
          std::vector<uint32_t> iota(static_cast<size_t>(lanes));
          for (size_t i = 0; i < iota.size(); ++i) iota[i] = static_cast<uint32_t>(i);
          Value* lane = llvm::ConstantDataVector::get(context, iota);
          return below ? b.CreateICmpULT(lane, n) : b.CreateICmpUGE(lane, n);
        });
      };
      if (high) both(m.lanes, edge(hoist(Instruction::Sub, limit, x), true));
      if (low) both(m.lanes, edge(hoist(Instruction::Sub, i64(0), x), false));
      continue;
    }
    if (!low && !high) continue;
    Value* step = c.form.lane_dynamic ? c.form.lane_dynamic : i64(c.form.lane);
    std::vector<uint64_t> iota(static_cast<size_t>(lanes));
    for (size_t i = 0; i < iota.size(); ++i) iota[i] = i;
    Value* v = b.CreateMul(llvm::ConstantDataVector::get(context, iota), splat({step}, lanes).re);
    v = b.CreateAdd(v, splat({x}, lanes).re);
    if (high) both(m.lanes, b.CreateICmpSLT(v, splat({limit}, lanes).re));
    if (low) both(m.lanes, b.CreateICmpSGE(v, llvm::Constant::getNullValue(v->getType())));
  }
  return m;
}

// ---- accesses

Access Emitter::memory_access(Dtype d, Value* base, const Forms& forms, const Shape& shape,
                              const Layout& domain) {
  Access a;
  a.dtype = d;
  a.base = base;
  a.checks = guard_checks(domain);
  if (auto p = padding(domain)) a.checks.push_back(*p);
  Form index;
  Dim stride = 1;
  for (size_t i = shape.size(); i-- > 0; stride *= shape[i]) {
    if (forms[i].whole) continue;
    index = sum(index, forms[i], stride);
    const bool low = !proved_inside(forms[i], shape[i], domain, true);
    if (!low && proved_inside(forms[i], shape[i], domain, false)) continue;
    Check c{linear(forms[i], domain.vector), low, 0, nullptr};
    if (shape[i].is_const())
      c.limit = shape[i].value();
    else
      c.limit_dynamic = dim(shape[i]);
    a.checks.push_back(std::move(c));
  }
  a.index = linear(index, domain.vector);
  a.wide_index = stride.upper() >= (int64_t{1} << 30);
  return a;
}

Access Emitter::arg_access(const Stmt& s, const Forms& forms, const Layout& domain) {
  const tile::Arg& arg = k.args[static_cast<size_t>(s.arg)];
  Access a = memory_access(arg.dtype, buffers_[static_cast<size_t>(s.arg)], forms, arg.shape, domain);
  size_t next = 0;
  for (size_t i = 0; i < forms.size(); ++i) {
    if (!forms[i].whole) continue;
    const tile::Operand& operand = s.operands.at(next++);
    const tile::Value& v = k.values[static_cast<size_t>(operand.value)];
    Layout scalar = domain;
    bool varies = false;
    for (size_t x = 0; x < v.axes.size(); ++x) {
      if (operand.at.empty())
        varies |= v.axes[x] == domain.vector;
      else
        for (const Term& t : operand.at[x].terms) varies |= t.atom == domain.vector;
    }
    if (domain.vector < 0) varies = false;
    if (!varies && scalar.vector >= 0) scalar.vector = -1, scalar.lanes = 1;
    Dim stride = 1;
    for (size_t j = i + 1; j < arg.shape.size(); ++j) stride *= arg.shape[j];
    a.gathered.push_back({std::make_shared<Source>(source(operand, scalar)), v.dtype, varies,
                          dim(arg.shape[i] - 1), dim(stride)});
  }
  if (arg.output && arg.streaming && streaming_ && domain.vector >= 0 && a.gathered.empty() &&
      domain.lanes == lanes_) {
    // Every vector starts at a multiple of its size.
    a.streaming = a.index.lane >= 1;
    Dim stride = 1;
    Form index;
    for (size_t i = arg.shape.size(); i-- > 0; stride *= arg.shape[i]) index = sum(index, forms[i], stride);
    a.streaming = a.streaming && provably_divides(domain.lanes, index.offset);
    for (const Term& t : index.terms)
      if (t.atom != domain.vector && !provably_divides(domain.lanes, t.coef)) {
        const bool neighbour = t.coef.is_const() && t.coef.value() < a.index.lane && domain.has(t.atom);
        if (!neighbour) a.streaming = false;
      }
    a.streaming = a.streaming && domain.lanes * unit_bytes(arg.dtype) >= 16;
    a.lines = a.streaming && unit_bytes(arg.dtype) == 1 && a.index.lane == 1 && a.checks.empty() &&
              provably_divides(kLine, index.offset);
    for (const Term& t : index.terms)
      a.lines = a.lines && (t.atom == domain.vector || provably_divides(kLine, t.coef));
  }
  return a;
}

Access Emitter::scratch_access(ValueId v, const Forms& forms, const Layout& domain,
                               std::span<const AtomId> order) {
  const tile::Value& value = k.values[static_cast<size_t>(v)];
  Shape shape;
  for (AtomId a : order) shape.push_back(k.atoms[static_cast<size_t>(a)].extent);
  Value* base =
      spill_memory_.count(v)
          ? spill_memory_[v]
          : hoisted({kPointer, scratch_, nullptr, scratch_offsets_[static_cast<size_t>(v)]}, {scratch_}, [&] {
              return b.CreateConstGEP1_64(b.getInt8Ty(), scratch_,
                                          static_cast<uint64_t>(scratch_offsets_[static_cast<size_t>(v)]));
            });
  return memory_access(value.dtype, base, forms, shape, domain);
}

void Emitter::find_group(Access& a, const Layout& l) {
  const int64_t step = a.index.lane;
  if (l.vector < 0 || step < 2 || step > tile::kRecord || a.index.lane_dynamic) return;
  for (const auto& g : a.gathered)
    if (g.varies) return;
  std::vector<std::pair<int64_t, AtomId>> candidates;
  for (const auto& [atom, coef] : a.index.inner)
    if (atom != l.vector && coef > 0 && coef < step && l.has(atom)) candidates.push_back({coef, atom});
  std::sort(candidates.begin(), candidates.end());
  int64_t product = 1;
  std::vector<std::pair<AtomId, int64_t>> axes;
  for (const auto& [coef, atom] : candidates) {
    const int64_t extent = k.atoms[static_cast<size_t>(atom)].extent.value();
    if (extent == 1) continue;
    if (coef != product) return;
    for (const Check& c : a.checks)
      for (const auto& [other, unused] : c.form.inner)
        if (other == atom) return;
    for (const auto& g : a.gathered)
      if (std::count(g.operand->depends.begin(), g.operand->depends.end(), atom)) return;
    product *= extent;
    axes.push_back({atom, coef});
    if (product == step) break;
  }
  if (product != step) return;
  a.group = step;
  a.group_axes = axes;
}

// ---- operands

Source Emitter::source(const tile::Operand& o, const Layout& reader) {
  Source s;
  s.value = o.value;
  const tile::Value& v = k.values[static_cast<size_t>(o.value)];
  Forms forms = o.at;
  if (forms.empty())
    for (AtomId a : v.axes) forms.push_back(Form::of(a));
  std::set<AtomId> depends;
  bool dynamic = false;
  for (const Form& f : forms)
    for (const Term& t : f.terms) {
      depends.insert(t.atom);
      const Binding& bind = bound_[static_cast<size_t>(t.atom)];
      if (bind.bound && bind.value && !bind.unrolled) dynamic = true;
    }
  if (const auto view = views_.find(o.value); view != views_.end()) {
    // The load's forms, with its axes replaced.
    const Stmt& load = *view->second;
    Forms composed;
    for (const Form& f : load.forms) {
      Form r{f.offset, {}, false};
      for (const Term& t : f.terms) {
        const auto axis = std::find(v.axes.begin(), v.axes.end(), t.atom);
        if (axis == v.axes.end())
          r = sum(r, Form::of(t.atom), t.coef);
        else
          r = sum(r, forms[static_cast<size_t>(axis - v.axes.begin())], t.coef);
      }
      composed.push_back(std::move(r));
    }
    for (const Form& f : composed)
      for (const Term& t : f.terms) depends.insert(t.atom);
    // Guards of axes that the load does not have are not its own: the same element is read for all of them.
    Layout own = reader;
    own.axes.assign(depends.begin(), depends.end());
    if (!depends.contains(own.vector)) own.vector = -1;
    if (load.op == tile::Op::load)
      s.memory = arg_access(load, composed, own);
    else
      s.memory = scratch_access(load.source, composed, own, k.values[static_cast<size_t>(load.source)].axes);
  } else if (dynamic || spilled_.count(o.value)) {
    TENFOLD_CHECK(spilled_.count(o.value), "{} is indexed by a loop but lies in registers", v.name);
    const Layout& own = layout_of(o.value);
    Forms ordered;
    std::vector<AtomId> order = own.axes;
    if (own.vector >= 0) order.push_back(own.vector);
    for (AtomId a : order)
      ordered.push_back(
          forms[static_cast<size_t>(std::find(v.axes.begin(), v.axes.end(), a) - v.axes.begin())]);
    s.memory = scratch_access(o.value, ordered, reader, order);
  } else {
    for (const Form& f : forms) s.forms.push_back(linear(f, reader.vector));
  }
  if (s.memory)  // whether it is read at all, too: a guard of the reader may be of axes that it does not have
    for (const Check& c : s.memory->checks)
      for (const auto& [atom, unused] : c.form.inner) depends.insert(atom);
  for (AtomId a : depends)
    if (reader.has(a) || bound_[static_cast<size_t>(a)].unrolled) s.depends.push_back(a);
  return s;
}

Reg Emitter::fetch(const Source& s, const Layout& reader) {
  if (s.memory) return load(*s.memory, reader)[0];
  return fetch_registers(s, reader);
}

Reg Emitter::fetch_registers(const Source& s, const Layout& reader) {
  const tile::Value& v = k.values[static_cast<size_t>(s.value)];
  const Layout& own = layout_of(s.value);
  const auto& regs = regs_[static_cast<size_t>(s.value)];
  TENFOLD_CHECK(regs.size() == own.registers(), "{} is read before it is defined", v.name);
  // The element at lane `n` of the reader: which register, which lane of it.
  bool varies = false;
  for (const Linear& f : s.forms) varies |= reader.lanes > 1 && f.lane != 0;
  auto find = [&](int64_t n, int64_t& own_lane) {
    int64_t point = 0, along = 0;
    for (size_t i = 0; i < v.axes.size(); ++i) {
      const int64_t at = constant_part(s.forms[i]) + n * s.forms[i].lane;
      if (v.axes[i] == own.vector) along = at;
    }
    for (size_t i = 0; i < own.axes.size(); ++i) {
      const size_t axis =
          static_cast<size_t>(std::find(v.axes.begin(), v.axes.end(), own.axes[i]) - v.axes.begin());
      const int64_t at = constant_part(s.forms[axis]) + n * s.forms[axis].lane;
      point = point * own.extents[i] + std::clamp<int64_t>(at, 0, own.extents[i] - 1);
    }
    along = std::clamp<int64_t>(along, 0, own.extent - 1);
    own_lane = along % own.lanes;
    const Reg r = regs[static_cast<size_t>(point * own.chunks + along / own.lanes)];
    TENFOLD_CHECK(bool(r), "{} is read before it is defined", v.name);
    return r;
  };
  int64_t first = 0;
  const Reg start = find(0, first);
  if (!varies) {
    if (own.lanes == 1) return splat(start, reader.lanes);
    const int l = static_cast<int>(first);
    return splat({lane(start.re, l), start.im ? lane(start.im, l) : nullptr}, reader.lanes);
  }
  if (own.lanes == reader.lanes && first == 0) {
    int moving = 0;
    bool along = false;
    for (size_t i = 0; i < v.axes.size(); ++i) {
      moving += s.forms[i].lane != 0;
      along |= v.axes[i] == own.vector && s.forms[i].lane == 1;
    }
    if (moving == 1 && along) return start;
  }
  Reg r{llvm::PoisonValue::get(math.type(v.dtype, reader.lanes)), nullptr};
  if (is_complex(v.dtype)) r.im = r.re;
  for (int n = 0; n < reader.lanes; ++n) {
    int64_t l = 0;
    const Reg from = find(n, l);
    r.re = b.CreateInsertElement(r.re, lane(from.re, static_cast<int>(l)), static_cast<uint64_t>(n));
    if (r.im)
      r.im = b.CreateInsertElement(r.im, lane(from.im, static_cast<int>(l)), static_cast<uint64_t>(n));
  }
  return r;
}

// ---- shuffles between arrays of structs and structs of vectors

llvm::Value* Emitter::pick(std::span<Value* const> from, std::span<const int> elements) {
  const int lanes = lanes_of(from[0]);
  Value* r = nullptr;
  std::vector<int> indices(static_cast<size_t>(lanes));
  std::vector<char> done(static_cast<size_t>(lanes), 0);
  for (size_t j = 0; j < from.size(); ++j) {
    bool used = false;
    for (int i = 0; i < lanes; ++i) {
      const size_t n = static_cast<size_t>(i);
      if (elements[n] / lanes == static_cast<int>(j)) {
        indices[n] = elements[n] % lanes + (r ? lanes : 0);
        done[n] = 1;
        used = true;
      } else {
        indices[n] = done[n] ? i : -1;
      }
    }
    if (!used) continue;
    r = r ? b.CreateShuffleVector(r, from[j], indices) : b.CreateShuffleVector(from[j], indices);
  }
  return r;
}

std::vector<llvm::Value*> Emitter::deinterleave(std::vector<Value*> v) {
  const size_t n = v.size();
  const int lanes = lanes_of(v[0]);
  if (n == 1 || lanes == 1) return v;
  std::vector<Value*> r(n);
  if (n % 2 == 0) {
    std::vector<int> even, odd;
    for (int i = 0; i < lanes; ++i) even.push_back(2 * i), odd.push_back(2 * i + 1);
    std::vector<Value*> e, o;
    for (size_t i = 0; i < n; i += 2) {
      e.push_back(b.CreateShuffleVector(v[i], v[i + 1], even));
      o.push_back(b.CreateShuffleVector(v[i], v[i + 1], odd));
    }
    e = deinterleave(std::move(e));
    o = deinterleave(std::move(o));
    for (size_t i = 0; i < n / 2; ++i) r[2 * i] = e[i], r[2 * i + 1] = o[i];
    return r;
  }
  for (size_t f = 0; f < n; ++f) {
    std::vector<int> elements;
    for (int l = 0; l < lanes; ++l) elements.push_back(l * static_cast<int>(n) + static_cast<int>(f));
    r[f] = pick(v, elements);
  }
  return r;
}

std::vector<llvm::Value*> Emitter::interleave(std::vector<Value*> v) {
  const size_t n = v.size();
  const int lanes = lanes_of(v[0]);
  if (n == 1 || lanes == 1) return v;
  std::vector<Value*> r(n);
  if (n % 2 == 0) {
    std::vector<Value*> e, o;
    for (size_t i = 0; i < n; i += 2) e.push_back(v[i]), o.push_back(v[i + 1]);
    e = interleave(std::move(e));
    o = interleave(std::move(o));
    std::vector<int> low, high;
    for (int i = 0; i < lanes; ++i) {
      low.push_back(i / 2 + (i % 2) * lanes);
      high.push_back(lanes / 2 + i / 2 + (i % 2) * lanes);
    }
    for (size_t i = 0; i < n / 2; ++i) {
      r[2 * i] = b.CreateShuffleVector(e[i], o[i], low);
      r[2 * i + 1] = b.CreateShuffleVector(e[i], o[i], high);
    }
    return r;
  }
  for (size_t j = 0; j < n; ++j) {
    std::vector<int> elements;
    for (int l = 0; l < lanes; ++l) {
      const int g = static_cast<int>(j) * lanes + l;
      elements.push_back(g % static_cast<int>(n) * lanes + g / static_cast<int>(n));
    }
    r[j] = pick(v, elements);
  }
  return r;
}

// ---- loads and stores

// What data adds to the address: an offset for all lanes, and in `varying` those that differ by lane.
llvm::Value* Emitter::scalar_offset(const Access& a, const Layout& reader, bool contiguous, Value** varying) {
  Value* scalar = nullptr;
  *varying = nullptr;
  const int64_t u = units(a.dtype);
  llvm::Type* offset_type = a.wide_index ? b.getInt64Ty() : b.getInt32Ty();
  if (a.index.varies() && reader.lanes > 1 && !contiguous) {
    std::vector<uint64_t> iota(static_cast<size_t>(reader.lanes));
    for (size_t i = 0; i < iota.size(); ++i) iota[i] = i;
    llvm::Type* t = llvm::FixedVectorType::get(offset_type, static_cast<unsigned>(reader.lanes));
    Value* lanes = b.CreateTrunc(llvm::ConstantDataVector::get(context, iota), t);
    if (a.index.lane_dynamic) {
      Value* step = b.CreateTrunc(mul(a.index.lane_dynamic, u), offset_type);
      *varying = b.CreateMul(lanes, b.CreateVectorSplat(static_cast<unsigned>(reader.lanes), step));
    } else {
      *varying = b.CreateMul(lanes, ConstantInt::get(t, static_cast<uint64_t>(a.index.lane * u), true));
    }
  }
  for (const auto& g : a.gathered) {
    Layout scalar_reader;
    Value* index = fetch(*g.operand, g.varies ? reader : scalar_reader).re;
    const bool is_signed = is_signed_int(g.dtype);
    const int lanes = lanes_of(index);
    auto like = [&](llvm::Type* t) -> llvm::Type* {
      return lanes == 1 ? t : llvm::FixedVectorType::get(t, static_cast<unsigned>(lanes));
    };
    llvm::Type* narrow = like(g.varies ? offset_type : b.getInt64Ty());
    auto spread = [&](Value* v, llvm::Type* t) {
      v = b.CreateIntCast(v, t->getScalarType(), true);
      return lanes == 1 ? v : b.CreateVectorSplat(static_cast<unsigned>(lanes), v);
    };
    const bool shrink = index->getType()->getScalarSizeInBits() > narrow->getScalarSizeInBits();
    if (!shrink) index = b.CreateIntCast(index, narrow, is_signed);
    const bool unsigned_clamp =
        !is_signed && index->getType()->getScalarSizeInBits() == static_cast<unsigned>(size_of(g.dtype)) * 8;
    Value* last = spread(g.last, index->getType());
    if (unsigned_clamp) {
      index = b.CreateBinaryIntrinsic(in::umin, index, last);
    } else {
      if (is_signed)
        index = b.CreateBinaryIntrinsic(in::smax, index, llvm::Constant::getNullValue(index->getType()));
      index = b.CreateBinaryIntrinsic(in::smin, index, last);
    }
    if (shrink) index = b.CreateTrunc(index, narrow);
    Value* offset = b.CreateMul(index, spread(mul(g.stride, u), narrow));
    Value*& into = g.varies ? *varying : scalar;
    into = into ? b.CreateAdd(into, offset) : offset;
  }
  return scalar;
}

llvm::Value* Emitter::pointer(const Access& a, Value* extra) {
  const int64_t u = units(a.dtype);
  llvm::Type* t = math.memory_type(a.dtype, 1);
  Value* p = a.base;
  if (Value* d = dynamic_part(a.index)) {
    d = mul(d, u);
    p = hoisted({kPointer, p, d, unit_bytes(a.dtype)}, {p, d}, [&] { return b.CreateGEP(t, a.base, d); });
  }
  if (extra) p = b.CreateGEP(t, p, extra);
  const int64_t c = constant_part(a.index) * u;
  return c ? b.CreateGEP(t, p, i64(c)) : p;
}

// A place that is always allowed, where the condition does not hold.
llvm::Value* Emitter::guarded_pointer(Value* p, const Mask& m, bool store) {
  Value* cond = m.all;
  if (m.lanes) {
    Value* any = math.any(m.lanes);
    cond = cond ? b.CreateAnd(cond, any) : any;
  }
  return cond ? b.CreateSelect(cond, p, store ? sink_ : zero_) : p;
}

// Masked memory operations: instructions where the machine has them, else lane by lane without branches (a
// lane that is off goes to a place that is always allowed).
bool Emitter::has_masked(Value* mask, int64_t bytes, bool scattered) const {
  if (llvm::isa<llvm::Constant>(mask) && !scattered) return true;  // LLVM picks the lanes
  if (isa.avx512) return !scattered || bytes >= 4;
  return isa.avx2 && !scattered && bytes >= 4;
}

// LLVM 19 splits a vector of more than a register, and takes a half of the mask that it then finds to be off
// for one that is on: what is split is split here.
bool Emitter::is_split(llvm::Type* wide, Value* mask) const {
  return !llvm::isa<llvm::Constant>(mask) && lanes_of(mask) % 2 == 0 &&
         wide->getPrimitiveSizeInBits() > 8 * static_cast<uint64_t>(isa.vector_bytes);
}

llvm::Value* Emitter::lane_pointer(Value* p, Value* mask, int i, Value* otherwise) {
  if (auto* c = llvm::dyn_cast<llvm::Constant>(mask))
    return c->getAggregateElement(static_cast<unsigned>(i))->isOneValue() ? p : nullptr;
  return b.CreateSelect(b.CreateExtractElement(mask, static_cast<uint64_t>(i)), p, otherwise);
}

// From p + i, or from p + offsets[i] (in elements).
llvm::Value* Emitter::masked_load(llvm::Type* wide, Value* p, Value* offsets, llvm::Align align,
                                  Value* mask) {
  llvm::Type* unit = wide->getScalarType();
  Value* r = llvm::Constant::getNullValue(wide);
  if (is_off(mask)) return r;
  if (!offsets && is_split(wide, mask)) {
    const int n = lanes_of(mask), half = n / 2;
    auto* narrow = llvm::FixedVectorType::get(unit, static_cast<unsigned>(half));
    std::array<Value*, 2> parts;
    for (const int k : {0, 1})
      parts[static_cast<size_t>(k)] = masked_load(narrow, k ? b.CreateGEP(unit, p, i64(half)) : p, nullptr,
                                                  align, b.CreateShuffleVector(mask, range(k * half, half)));
    return b.CreateShuffleVector(parts[0], parts[1], range(0, n));
  }
  if (has_masked(mask, static_cast<int64_t>(unit->getScalarSizeInBits()) / 8, offsets != nullptr)) {
    if (offsets) return b.CreateMaskedGather(wide, b.CreateGEP(unit, p, offsets), align, mask, r);
    return b.CreateMaskedLoad(wide, p, align, mask, r);
  }
  for (int i = 0; i < lanes_of(mask); ++i) {
    Value* at =
        b.CreateGEP(unit, p, offsets ? b.CreateExtractElement(offsets, static_cast<uint64_t>(i)) : i64(i));
    at = lane_pointer(at, mask, i, zero_);
    if (at) r = b.CreateInsertElement(r, b.CreateAlignedLoad(unit, at, align), static_cast<uint64_t>(i));
  }
  return r;
}

void Emitter::masked_store(Value* v, Value* p, Value* offsets, llvm::Align align, Value* mask) {
  llvm::Type* unit = v->getType()->getScalarType();
  if (is_off(mask)) return;
  if (!offsets && is_split(v->getType(), mask)) {
    const int half = lanes_of(mask) / 2;
    for (const int k : {0, 1}) {
      const std::vector<int> lanes = range(k * half, half);
      masked_store(b.CreateShuffleVector(v, lanes), k ? b.CreateGEP(unit, p, i64(half)) : p, nullptr, align,
                   b.CreateShuffleVector(mask, lanes));
    }
    return;
  }
  if (has_masked(mask, static_cast<int64_t>(unit->getScalarSizeInBits()) / 8, offsets != nullptr)) {
    if (offsets)
      b.CreateMaskedScatter(v, b.CreateGEP(unit, p, offsets), align, mask);
    else
      b.CreateMaskedStore(v, p, align, mask);
    return;
  }
  for (int i = 0; i < lanes_of(mask); ++i) {
    Value* at =
        b.CreateGEP(unit, p, offsets ? b.CreateExtractElement(offsets, static_cast<uint64_t>(i)) : i64(i));
    at = lane_pointer(at, mask, i, sink_);
    if (at) b.CreateAlignedStore(b.CreateExtractElement(v, static_cast<uint64_t>(i)), at, align);
  }
}

// Lanes `step` elements apart: all that lies between the first and the last, and nothing beyond, then those
// that are asked for. There are `step` lanes or more.
llvm::Value* Emitter::strided_load(const Access& a, int lanes, Value* from, const Mask& m) {
  const auto step = static_cast<int>(a.index.lane);
  const llvm::Align align(static_cast<uint64_t>(unit_bytes(a.dtype)));
  llvm::Type* unit = math.memory_type(a.dtype, 1);
  llvm::Type* wide = math.memory_type(a.dtype, lanes);
  Value* on = m.lanes ? as_vector(m, lanes) : nullptr;
  std::vector<Value*> parts;
  for (int j = 0; j < step; ++j) {
    const int first =
        j + 1 < step ? j * lanes : (step - 1) * (lanes - 1);  // the last part ends with the last lane
    Value* p = first ? b.CreateGEP(unit, from, i64(first)) : from;
    if (!on) {
      parts.push_back(b.CreateAlignedLoad(wide, guarded_pointer(p, m, false), align));
      continue;
    }
    std::vector<int> owner;  // what lies between is not looked at
    for (int e = first; e < first + lanes; ++e) owner.push_back(e % step == 0 ? e / step : lanes);
    Value* own = b.CreateShuffleVector(on, llvm::Constant::getNullValue(on->getType()), owner);
    parts.push_back(masked_load(wide, p, nullptr, align, own));
  }
  std::vector<int> elements;
  for (int l = 0; l < lanes; ++l) {
    const int e = l * step;
    elements.push_back(e < (step - 1) * lanes ? e : e + step - 1);
  }
  return pick(parts, elements);
}

std::vector<Reg> Emitter::load(const Access& a, const Layout& reader) {
  const Mask m = mask(a.checks, reader.lanes);
  const size_t count = static_cast<size_t>(a.group);
  if (m.never) return std::vector<Reg>(count, math.zero(a.dtype, reader.lanes));
  const size_t u = static_cast<size_t>(units(a.dtype));
  const llvm::Align align(static_cast<uint64_t>(unit_bytes(a.dtype)));
  llvm::Type* unit = math.memory_type(a.dtype, 1);
  Value* varying = nullptr;
  Value* extra = nullptr;
  bool contiguous = a.index.lane == a.group && !a.index.lane_dynamic;
  for (const auto& g : a.gathered) contiguous &= !g.varies;
  const bool strided = a.group == 1 && u == 1 && a.index.lane > 1 && a.index.lane <= tile::kStrided &&
                       a.index.lane <= reader.lanes && !a.index.lane_dynamic && (!m.lanes || isa.avx512) &&
                       std::ranges::none_of(a.gathered, &Access::Gathered::varies);
  extra = scalar_offset(a, reader, contiguous || strided, &varying);
  std::vector<Value*> parts;
  if (reader.lanes == 1 || (!varying && a.group == 1 && !a.index.varies())) {  // one element for all lanes
    Value* p = guarded_pointer(pointer(a, extra), m, false);
    for (size_t i = 0; i < u; ++i) {
      Value* v = math.from_memory(b.CreateAlignedLoad(unit, i ? b.CreateConstGEP1_64(unit, p, i) : p, align),
                                  a.dtype);
      if (reader.lanes > 1) {
        v = b.CreateVectorSplat(static_cast<unsigned>(reader.lanes), v);
        if (m.lanes) v = b.CreateSelect(m.lanes, v, llvm::Constant::getNullValue(v->getType()));
      }
      parts.push_back(v);
    }
    return {{parts[0], u > 1 ? parts[1] : nullptr}};
  }
  llvm::Type* wide = math.memory_type(a.dtype, reader.lanes);
  Value* p = pointer(a, extra);
  if (strided) {
    parts.push_back(strided_load(a, reader.lanes, p, m));
  } else if (varying) {
    Value* lanes = as_vector(m, reader.lanes);
    for (size_t i = 0; i < u; ++i) {
      parts.push_back(masked_load(wide, i ? b.CreateConstGEP1_64(unit, p, i) : p, varying, align, lanes));
    }
  } else {
    const size_t n = count * u;
    Value* lanes = m.lanes ? as_vector(m, reader.lanes) : nullptr;
    for (size_t j = 0; j < n; ++j) {
      Value* from = j ? b.CreateGEP(unit, p, i64(static_cast<int64_t>(j) * reader.lanes)) : p;
      if (!lanes) {  // all or nothing
        parts.push_back(b.CreateAlignedLoad(wide, guarded_pointer(from, m, false), align));
        continue;
      }
      std::vector<int> owner;
      for (int l = 0; l < reader.lanes; ++l)
        owner.push_back((static_cast<int>(j) * reader.lanes + l) / static_cast<int>(n));
      Value* own = n == 1 ? lanes : b.CreateShuffleVector(lanes, owner);
      parts.push_back(masked_load(wide, from, nullptr, align, own));
    }
    parts = deinterleave(std::move(parts));
  }
  std::vector<Reg> r(count);
  for (size_t f = 0; f < count; ++f)
    r[f] = {math.from_memory(parts[f * u], a.dtype),
            u > 1 ? math.from_memory(parts[f * u + 1], a.dtype) : nullptr};
  return r;
}

void Emitter::store(const Access& a, const Layout& reader, std::span<const Reg> values) {
  const Mask m = mask(a.checks, reader.lanes);
  if (m.never) return;
  const size_t u = static_cast<size_t>(units(a.dtype));
  const llvm::Align align(static_cast<uint64_t>(unit_bytes(a.dtype)));
  llvm::Type* unit = math.memory_type(a.dtype, 1);
  std::vector<Value*> parts;
  for (const Reg& r : values) {
    parts.push_back(math.to_memory(r.re, a.dtype));
    if (u > 1) parts.push_back(math.to_memory(r.im, a.dtype));
  }
  Value* varying = nullptr;
  Value* extra = nullptr;
  extra = scalar_offset(a, reader, a.index.lane == a.group && !a.index.lane_dynamic, &varying);
  if (reader.lanes == 1) {
    Value* p = guarded_pointer(pointer(a, extra), m, true);
    for (size_t i = 0; i < u; ++i)
      b.CreateAlignedStore(parts[i], i ? b.CreateConstGEP1_64(unit, p, i) : p, align);
    return;
  }
  Value* p = pointer(a, extra);
  Value* lanes = m.always() ? nullptr : as_vector(m, reader.lanes);
  if (varying || (a.group == 1 && !a.index.varies())) {
    if (!varying)
      varying = llvm::Constant::getNullValue(
          llvm::FixedVectorType::get(b.getInt64Ty(), static_cast<unsigned>(reader.lanes)));
    if (!lanes) lanes = as_vector(m, reader.lanes);
    for (size_t i = 0; i < u; ++i) {
      masked_store(parts[i], i ? b.CreateConstGEP1_64(unit, p, i) : p, varying, align, lanes);
    }
    return;
  }
  const size_t n = parts.size();
  parts = interleave(std::move(parts));
  for (size_t j = 0; j < n; ++j) {
    Value* to = j ? b.CreateGEP(unit, p, i64(static_cast<int64_t>(j) * reader.lanes)) : p;
    if (lanes) {
      std::vector<int> owner;
      for (int l = 0; l < reader.lanes; ++l)
        owner.push_back((static_cast<int>(j) * reader.lanes + l) / static_cast<int>(n));
      masked_store(parts[j], to, nullptr, align, n == 1 ? lanes : b.CreateShuffleVector(lanes, owner));
      continue;
    }
    auto* s = b.CreateAlignedStore(parts[j], to, align);
    if (!a.streaming) continue;
    s->setAlignment(llvm::Align(static_cast<uint64_t>(std::min(kAlign, reader.lanes * unit_bytes(a.dtype)))));
    s->setMetadata(llvm::LLVMContext::MD_nontemporal,
                   llvm::MDNode::get(context, llvm::ConstantAsMetadata::get(b.getInt32(1))));
    streamed_ = true;
  }
}

// Values that a loop indexes also stand on the stack: their vector axis is innermost.
void Emitter::spill(ValueId v, const Layout& l, Reg r) {
  const Dtype d = k.values[static_cast<size_t>(v)].dtype;
  Access a;
  a.dtype = d;
  a.base = spill_memory_.at(v);
  int64_t stride = 1;
  if (l.vector >= 0) {
    a.index.inner.push_back({l.vector, 1});
    a.index.lane = 1;
    stride = l.extent;
    if (auto p = padding(l)) a.checks.push_back(*p);
  }
  for (size_t i = l.axes.size(); i-- > 0; stride *= l.extents[i])
    a.index.inner.push_back({l.axes[i], stride});
  store(a, l, {&r, 1});
}

}  // namespace tenfold::cpu
