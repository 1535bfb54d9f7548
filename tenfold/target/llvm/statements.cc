// Tile statements, point by point.
#include <algorithm>
#include <bit>
#include <numeric>

#include <llvm/IR/Constants.h>
#include <llvm/IR/IntrinsicsX86.h>

#include "tenfold/base/fault.h"
#include "tenfold/target/llvm/emit.h"
#include "tenfold/target/llvm/hoist.h"

namespace tenfold::cpu {

using tile::Op;

namespace {

constexpr int64_t kUnrolledSteps =
    128;                            // multiply-adds of a contraction that are written out; more become a loop
constexpr int64_t kLoopSteps = 96;  // multiply-adds in the body of such a loop
constexpr int64_t kGuardedSteps = 32;  // the same at an edge, where each comes with conditions

// Tile registers.
constexpr int64_t kRows = 16, kRowBytes = 64;  // of a tile register
constexpr int64_t kWord = 4;                   // bytes of a group, and of a sum
constexpr int64_t kSide = 2;                   // tiles of sums side by side, and one above the other
constexpr unsigned kWords = kRowBytes / kWord;

bool contains(std::span<const AtomId> atoms, AtomId a) {
  return std::find(atoms.begin(), atoms.end(), a) != atoms.end();
}

std::vector<AtomId> joined(std::span<const AtomId> axes, std::span<const AtomId> over) {
  std::vector<AtomId> r(axes.begin(), axes.end());
  for (AtomId a : over)
    if (!contains(r, a)) r.push_back(a);
  return r;
}

// How far the access goes for a step of this atom, in bytes; nothing if not by a constant.
std::optional<int64_t> step_of(const Access& a, AtomId atom) {
  for (const auto& [inner, coef] : a.index.inner_dynamic)
    if (inner == atom) return {};
  int64_t step = 0;
  for (const auto& [inner, coef] : a.index.inner)
    if (inner == atom) step += coef;
  return step * size_of(a.dtype);
}

}  // namespace

// ---- preparation: what does not change from point to point

std::vector<Check> Emitter::taking_part(const Stmt& s, const Layout& domain) {
  // A guard matters where it cuts what is combined: an axis combined away, or a loop that the variable
  // outlives.
  const int born = s.op == Op::reduce ? level_ : born_[static_cast<size_t>(s.result)];
  std::vector<Check> r;
  for (size_t g = 0; g < k.guards.size(); ++g) {
    const tile::Guard& guard = k.guards[g];
    if (discharged_[g] || !applies(guard, domain)) continue;
    bool matters = false;
    for (const Term& t : guard.form.terms) {
      const Binding& bind = bound_[static_cast<size_t>(t.atom)];
      matters |= contains(s.over, t.atom) || (bind.bound && bind.level > born);
    }
    if (!matters) continue;
    r.push_back(check_of(guard, domain));
  }
  if (domain.vector >= 0 && contains(s.over, domain.vector))
    if (auto p = padding(domain)) r.push_back(*p);
  return r;
}

Prepared Emitter::prepare(const Stmt& s, bool view) {
  Prepared p;
  p.stmt = &s;
  p.view = view;
  const bool writes = s.op == Op::store || s.op == Op::write;
  std::span<const AtomId> axes =
      writes ? std::span(s.axes) : std::span(k.values[static_cast<size_t>(s.result)].axes);
  p.layout = layout(axes);
  if (view) return p;
  switch (s.op) {
    case Op::load:
    case Op::read:
    case Op::store:
    case Op::write:
      if (s.arg >= 0) {
        p.access = arg_access(s, s.forms, p.layout);
      } else {
        const ValueId memory = s.op == Op::read ? s.source : s.result;
        p.access = scratch_access(memory, s.forms, p.layout, k.values[static_cast<size_t>(memory)].axes);
      }
      find_group(*p.access, p.layout);
      if (writes) p.sources.push_back(source(s.operands.back(), p.layout));
      break;
    case Op::index: p.index = linear(s.forms[0], p.layout.vector); break;
    case Op::fill:
    case Op::constant: break;
    case Op::copy:
    case Op::map:
      for (const auto& o : s.operands) p.sources.push_back(source(o, p.layout));
      break;
    case Op::accumulate:
    case Op::reduce:
    case Op::contract: {
      p.reader = layout(joined(axes, s.over));
      if (s.op == Op::contract) {
        p.reader = p.layout;
        for (AtomId a : s.over) {
          p.reader.axes.push_back(a);
          p.reader.extents.push_back(k.atoms[static_cast<size_t>(a)].extent.value());
        }
      }
      for (const auto& o : s.operands) p.sources.push_back(source(o, p.reader));
      p.checks = taking_part(s, p.reader);
      break;
    }
  }
  return p;
}

// ---- points

void Emitter::place(const Layout& l, int64_t point, int chunk) {
  for (size_t i = l.axes.size(); i-- > 0; point /= l.extents[i])
    at_[static_cast<size_t>(l.axes[i])] = point % l.extents[i];
  if (l.vector >= 0) at_[static_cast<size_t>(l.vector)] = static_cast<int64_t>(chunk) * l.lanes;
}

void Emitter::define(ValueId v, const Layout& l, Reg r) {
  auto& regs = regs_[static_cast<size_t>(v)];
  if (regs.size() != l.registers()) regs.assign(l.registers(), {});
  regs[slot(l)] = r;
  if (spilled_.count(v)) spill(v, l, r);
}

// ---- statements

void Emitter::statement(Prepared& p, const Cell& cell) {
  const Stmt& s = *p.stmt;
  const Dtype dtype = s.result >= 0 ? k.values[static_cast<size_t>(s.result)].dtype : Dtype::f32;
  switch (s.op) {
    case Op::load:
    case Op::read: return load_statement(p, cell);
    case Op::store:
    case Op::write: return store_statement(p, cell);
    case Op::fill:
    case Op::constant:
      if (s.op == Op::fill) born_[static_cast<size_t>(s.result)] = level_;
      return iterate(p.layout, cell, {},
                     [&] { define(s.result, p.layout, math.constant(s.scalar, dtype, p.layout.lanes)); });
    case Op::copy:
      born_[static_cast<size_t>(s.result)] = level_;
      return iterate(p.layout, cell, {}, [&] { define(s.result, p.layout, fetch(p.sources[0], p.layout)); });
    case Op::index:
      return iterate(p.layout, cell, {}, [&] {
        llvm::Type* t = math.type(dtype, p.layout.lanes);
        Value* base = total(p.index);
        if (fault("llvm_index_width")) base = b.CreateTrunc(base, b.getInt8Ty());
        Value* start = b.CreateIntCast(base, t->getScalarType(), true);
        Value* v = splat({start}, p.layout.lanes).re;
        if (p.layout.lanes > 1 && p.index.varies()) {
          std::vector<llvm::Constant*> steps;
          for (int i = 0; i < p.layout.lanes; ++i)
            steps.push_back(llvm::ConstantInt::get(
                t->getScalarType(), static_cast<uint64_t>(p.index.lane_dynamic ? i : p.index.lane * i),
                true));
          Value* step = llvm::ConstantVector::get(steps);
          if (p.index.lane_dynamic)
            step = b.CreateMul(
                step,
                splat({b.CreateIntCast(p.index.lane_dynamic, t->getScalarType(), true)}, p.layout.lanes).re);
          v = b.CreateAdd(v, step);
        }
        define(s.result, p.layout, {v});
      });
    case Op::map: {
      std::vector<Dtype> types;
      for (const auto& o : s.operands) types.push_back(k.values[static_cast<size_t>(o.value)].dtype);
      const bool paired = s.prim->name == "mul" && dtype == Dtype::u32 && high_products_.count(factors(s));
      return iterate(p.layout, cell, {}, [&] {
        std::vector<Reg> in;
        for (const Source& source : p.sources) in.push_back(fetch(source, p.layout));
        if (paired)
          define(s.result, p.layout, {math.half_product(in[0].re, in[1].re, false)});
        else
          define(s.result, p.layout, math.map(*s.prim, in, types, dtype));
      });
    }
    case Op::accumulate:
    case Op::reduce: return combine_statement(p, cell);
    case Op::contract: return contract(p);
  }
}

void Emitter::load_statement(Prepared& p, const Cell& cell) {
  if (p.view) return;
  const Access& a = *p.access;
  std::vector<AtomId> neighbours;
  for (const auto& [atom, coef] : a.group_axes) neighbours.push_back(atom);
  iterate(p.layout, cell, neighbours, [&] {
    const std::vector<Reg> r = load(a, p.layout);
    for (int64_t f = 0; f < a.group; ++f) {
      for (const auto& [atom, coef] : a.group_axes)
        at_[static_cast<size_t>(atom)] = f / coef % k.atoms[static_cast<size_t>(atom)].extent.value();
      define(p.stmt->result, p.layout, r[static_cast<size_t>(f)]);
    }
    for (AtomId n : neighbours) at_[static_cast<size_t>(n)] = 0;
  });
}

// Bytes that go around the caches: a vector of them is a part of a line, and parts that do not follow each
// other are written to memory one by one.
bool Emitter::fills_lines(const Stmt& s) const {
  if (s.op != Op::store || !streaming_ || !k.args[static_cast<size_t>(s.arg)].streaming ||
      size_of(k.args[static_cast<size_t>(s.arg)].dtype) != 1)
    return false;
  const Layout l = layout(s.axes);
  return l.vector >= 0 && l.lanes == lanes_ && l.lanes < kLine && l.chunks * l.lanes % kLine == 0;
}

void Emitter::store_lines(Prepared& p) {
  const Access& a = *p.access;
  std::vector<Value*> parts;
  Value* to = nullptr;
  iterate(p.layout, {}, {}, [&] {
    if (parts.empty()) {
      Value* varying = nullptr;
      to = pointer(a, scalar_offset(a, p.layout, true, &varying));
    }
    parts.push_back(math.to_memory(fetch(p.sources[0], p.layout).re, a.dtype));
    if (static_cast<int>(parts.size()) * p.layout.lanes < kLine) return;
    for (; parts.size() > 1; parts.resize(parts.size() / 2))
      for (size_t i = 0; i < parts.size() / 2; ++i) {
        std::vector<int> both(static_cast<size_t>(2 * lanes_of(parts[2 * i])));
        std::iota(both.begin(), both.end(), 0);
        parts[i] = b.CreateShuffleVector(parts[2 * i], parts[2 * i + 1], both);
      }
    auto* s = b.CreateAlignedStore(parts[0], to, llvm::Align(kLine));
    s->setMetadata(llvm::LLVMContext::MD_nontemporal,
                   llvm::MDNode::get(context, llvm::ConstantAsMetadata::get(b.getInt32(1))));
    streamed_ = true;
    parts.clear();
  });
}

void Emitter::store_statement(Prepared& p, const Cell& cell) {
  const Access& a = *p.access;
  if (a.lines && cell.vector < 0 && cell.fixed.empty() && fills_lines(*p.stmt)) return store_lines(p);
  std::vector<AtomId> neighbours;
  for (const auto& [atom, coef] : a.group_axes) neighbours.push_back(atom);
  iterate(p.layout, cell, neighbours, [&] {
    std::vector<Reg> r;
    for (int64_t f = 0; f < a.group; ++f) {
      for (const auto& [atom, coef] : a.group_axes)
        at_[static_cast<size_t>(atom)] = f / coef % k.atoms[static_cast<size_t>(atom)].extent.value();
      r.push_back(fetch(p.sources[0], p.layout));
    }
    for (AtomId n : neighbours) at_[static_cast<size_t>(n)] = 0;
    store(a, p.layout, r);
  });
}

// ---- accumulate and reduce

// The operand at the current point, or what changes nothing where the point does not take part.
Reg Emitter::element(const Prepared& p) {
  const Stmt& s = *p.stmt;
  const Dtype d = k.values[static_cast<size_t>(s.operands[0].value)].dtype;
  const Mask m = mask(p.checks, p.reader.lanes);
  if (m.always() || fault("llvm_ragged_mask")) return fetch(p.sources[0], p.reader);
  const Reg none = math.identity(*s.prim, d, p.reader.lanes);
  if (m.never) return none;
  return math.select(as_vector(m, p.reader.lanes), fetch(p.sources[0], p.reader), none);
}

// Over all of `over`, at the current point of the other axes: each axis in turn, elements half the padded
// extent apart first.
Reg Emitter::combined(const Prepared& p) {
  const Stmt& s = *p.stmt;
  const Dtype d = k.values[static_cast<size_t>(s.operands[0].value)].dtype;
  auto join = [&](Reg x, Reg y) { return math.rounded(math.combine(*s.prim, d, x, y), d); };
  std::vector<int64_t> sizes;
  int64_t count = 1;
  for (AtomId a : s.over) {
    sizes.push_back(a == p.reader.vector ? p.reader.chunks : k.atoms[static_cast<size_t>(a)].extent.value());
    count *= sizes.back();
  }
  if (count == 0) return math.identity(*s.prim, d, p.layout.lanes);
  std::vector<Reg> r;
  for (int64_t i = 0; i < count; ++i) {
    int64_t rest = i;
    for (size_t j = s.over.size(); j-- > 0; rest /= sizes[j])
      at_[static_cast<size_t>(s.over[j])] =
          rest % sizes[j] * (s.over[j] == p.reader.vector ? p.reader.lanes : 1);
    r.push_back(element(p));
  }
  int64_t inner = count;
  for (size_t j = 0; j < s.over.size(); ++j) {
    inner /= sizes[j];
    auto at = [&](int64_t i, int64_t n) -> Reg& { return r[static_cast<size_t>(i * inner + n)]; };
    for (int64_t live = sizes[j], half = static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(live))) / 2;
         half >= 1; half /= 2) {
      for (int64_t i = 0; i + half < live; ++i)
        for (int64_t n = 0; n < inner; ++n) at(i, n) = join(at(i, n), at(i + half, n));
      live = std::min(live, half);
    }
    if (s.over[j] != p.reader.vector) continue;
    for (int64_t n = 0; n < inner; ++n) {
      Reg& v = at(0, n);
      for (int lanes = p.reader.lanes; lanes > 1; lanes /= 2) {
        std::vector<int> low, high;
        for (int i = 0; i < lanes / 2; ++i)
          low.push_back(i), high.push_back(fault("llvm_shuffle_lane") ? lanes - 1 : i + lanes / 2);
        auto half = [&](Value* x, std::span<const int> which) -> Value* {
          if (!x) return nullptr;
          if (lanes == 2) return b.CreateExtractElement(x, static_cast<uint64_t>(which[0]));
          return b.CreateShuffleVector(x, llvm::ArrayRef(which.data(), which.size()));
        };
        v = join({half(v.re, low), half(v.im, low)}, {half(v.re, high), half(v.im, high)});
      }
    }
  }
  return r[0];
}

void Emitter::combine_statement(Prepared& p, const Cell& cell) {
  const Stmt& s = *p.stmt;
  const Dtype from = k.values[static_cast<size_t>(s.operands[0].value)].dtype;
  const Dtype to = k.values[static_cast<size_t>(s.result)].dtype;
  const Layout& l = p.layout;
  const bool larger = s.prim->name == "maximum", extreme = larger || s.prim->name == "minimum";
  const bool pairs = extreme && is_float(to) && s.op == Op::accumulate && s.over.size() == 1 &&
                     s.over[0] != p.reader.vector && p.checks.empty() &&
                     k.atoms[static_cast<size_t>(s.over[0])].extent == Dim(2);
  iterate(l, cell, {}, [&] {
    Reg r;
    if (pairs) {
      Value* both[2];
      int64_t& at = at_[static_cast<size_t>(s.over[0])];
      for (at = 0; at < 2; ++at) both[at] = math.convert(fetch(p.sources[0], p.reader), from, to).re;
      at = 0;
      const Reg running = regs_[static_cast<size_t>(s.result)][slot(l)];
      return define(s.result, l, {math.extreme_of(running.re, both[0], both[1], larger)});
    }
    if (l.vector == p.reader.vector || l.vector < 0) {
      r = combined(p);
    } else {  // combined along vectors, but the result lies along another axis
      const size_t vector = static_cast<size_t>(l.vector);
      const int64_t base = at_[vector];
      r.re = llvm::PoisonValue::get(math.type(from, l.lanes));
      if (is_complex(from)) r.im = r.re;
      for (int i = 0; i < l.lanes && base + i < l.extent; ++i) {
        at_[vector] = base + i;
        const Reg one = combined(p);
        r.re = b.CreateInsertElement(r.re, one.re, static_cast<uint64_t>(i));
        if (r.im) r.im = b.CreateInsertElement(r.im, one.im, static_cast<uint64_t>(i));
      }
      at_[vector] = base;
    }
    for (AtomId a : s.over) at_[static_cast<size_t>(a)] = 0;
    r = math.convert(r, from, to);
    if (s.op == Op::accumulate)
      r = math.combine(*s.prim, to, regs_[static_cast<size_t>(s.result)][slot(l)], r);
    define(s.result, l, math.rounded(r, to));
  });
}

// ---- contract

// A block of accumulators that fits the register file.
struct Emitter::Accumulators {
  int64_t point, points;
  int chunk, chunks;
};

void Emitter::contract(Prepared& p) {
  if (const auto tiles = tile_product(p)) return contract_tiles(p, *tiles);
  const Layout& l = p.layout;
  const Dtype d = k.values[static_cast<size_t>(p.stmt->result)].dtype;
  const int64_t cost = std::max<int64_t>(1, l.lanes * size_of(d) / isa.vector_bytes);
  const int64_t fit = std::max<int64_t>(1, (isa.registers - 4) / cost);
  const int chunks =
      static_cast<int>(l.points * l.chunks <= fit ? l.chunks : std::min<int64_t>({l.chunks, 4, fit}));
  const int64_t most = std::max<int64_t>(1, fit / chunks);
  const int64_t groups = (l.points + most - 1) / most;
  const int64_t points = (l.points + groups - 1) / groups;
  for (int c = 0; c < l.chunks; c += chunks)
    for (int64_t i = 0; i < l.points; i += points)
      contract_group(p, {i, std::min(points, l.points - i), c, std::min(chunks, l.chunks - c)});
}

bool Emitter::may_loop(const Stmt& s, AtomId over) const {
  for (const auto& o : s.operands) {
    if (views_.count(o.value) || spilled_.count(o.value)) continue;
    if (o.at.empty() ? contains(k.values[static_cast<size_t>(o.value)].axes, over) : true) {
      for (const Form& f : o.at)
        for (const Term& t : f.terms)
          if (t.atom == over) return false;
      if (o.at.empty()) return false;
    }
  }
  return true;
}

void Emitter::contract_group(Prepared& p, const Accumulators& block) {
  const Stmt& s = *p.stmt;
  if (sums_groups(p)) return contract_groups(p, block);
  int64_t steps = 1;
  for (AtomId a : s.over) steps *= k.atoms[static_cast<size_t>(a)].extent.value();
  const int64_t work = block.points * block.chunks;
  const AtomId last = s.over.empty() ? -1 : s.over.back();
  int64_t unroll = 0;
  const int64_t extent = last < 0 ? 1 : k.atoms[static_cast<size_t>(last)].extent.value();
  const int64_t scale = isa.fma ? 1 : 8;  // a multiply-add by hand is a call
  if (last >= 0 && steps * work * scale > kUnrolledSteps && extent > 1 && may_loop(s, last)) {
    bool guarded = !p.checks.empty();
    for (const Source& source : p.sources) guarded |= source.memory && !source.memory->checks.empty();
    for (int64_t u : {8, 4, 2, 1})
      if (!unroll && extent % u == 0 && u * work * scale <= (guarded ? kGuardedSteps : kLoopSteps) &&
          u < extent)
        unroll = u;
    if (!unroll) unroll = 1;
  }
  int64_t outer = unroll ? steps / extent : steps;
  for (int64_t i = 0; i < outer; ++i) {
    int64_t rest = i;
    for (size_t j = s.over.size(); j-- > 0;) {
      const size_t a = static_cast<size_t>(s.over[j]);
      const int64_t size = k.atoms[a].extent.value();
      if (unroll && s.over[j] == last) {
        at_[a] = 0;
        continue;
      }
      at_[a] = rest % size;
      rest /= size;
    }
    if (unroll)
      contract_loop(p, block, last, unroll);
    else
      contract_step(p, block, p.sources);
  }
  for (AtomId a : s.over) at_[static_cast<size_t>(a)] = 0;
}

void Emitter::contract_loop(Prepared& p, const Accumulators& block, AtomId over, int64_t unroll) {
  const Stmt& s = *p.stmt;
  const size_t atom = static_cast<size_t>(over);
  const int64_t extent = k.atoms[atom].extent.value();
  auto& regs = regs_[static_cast<size_t>(s.result)];
  const size_t own_chunks = static_cast<size_t>(p.layout.chunks);
  std::vector<size_t> slots;
  for (int64_t i = 0; i < block.points; ++i)
    for (int c = 0; c < block.chunks; ++c)
      slots.push_back(static_cast<size_t>(block.point + i) * own_chunks +
                      static_cast<size_t>(block.chunk + c));

  Block* before = b.GetInsertBlock();
  Block* head = Block::Create(context, "contract", function);
  Block* inside = Block::Create(context, "", function);
  b.CreateBr(head);
  b.SetInsertPoint(head);
  auto phi = [&](Value* v) -> llvm::PHINode* {
    if (!v) return nullptr;
    llvm::PHINode* r = b.CreatePHI(v->getType(), 2);
    r->addIncoming(v, before);
    return r;
  };
  llvm::PHINode* count = phi(i64(0));
  std::vector<std::pair<llvm::PHINode*, llvm::PHINode*>> phis;
  for (size_t i : slots) {
    phis.push_back({phi(regs[i].re), phi(regs[i].im)});
    regs[i] = {phis.back().first, phis.back().second};
  }
  b.CreateBr(inside);
  b.SetInsertPoint(inside);
  scopes_.push_back(head);
  depth_[count] = static_cast<int>(scopes_.size()) - 1;
  bound_[atom] = {true, count, 0, true, ++level_};

  std::vector<Source> sources;
  for (const auto& o : s.operands) sources.push_back(source(o, p.reader));
  Prepared looped = p;
  looped.checks = taking_part(s, p.reader);
  for (int64_t u = 0; u < unroll; ++u) {
    at_[atom] = u;
    contract_step(looped, block, sources);
  }
  at_[atom] = 0;

  bound_[atom] = {};
  --level_;
  scopes_.pop_back();
  Value* next = b.CreateAdd(count, i64(unroll));
  Block* done = Block::Create(context, "", function);
  Block* latch = b.GetInsertBlock();
  b.CreateCondBr(b.CreateICmpSLT(next, i64(extent)), head, done);
  count->addIncoming(next, latch);
  for (size_t i = 0; i < slots.size(); ++i) {
    phis[i].first->addIncoming(regs[slots[i]].re, latch);
    if (phis[i].second) phis[i].second->addIncoming(regs[slots[i]].im, latch);
  }
  b.SetInsertPoint(done);
}

// u8 or i8 times i8 into i32, or bf16 times bf16 into f32, summed over one axis of four or two that is the
// last of both operands: along the vectors they are loaded as they lie, each lane four bytes; the other
// operand is four bytes for all lanes. Sums modulo 2^32 have no order; of a pair the second product is added
// first.
bool Emitter::sums_groups(const Prepared& p) const {
  const Stmt& s = *p.stmt;
  const Layout& l = p.layout;
  const auto dtype = [&](ValueId v) { return k.values[static_cast<size_t>(v)].dtype; };
  const bool bytes = dtype(s.result) == Dtype::i32;
  const int64_t size = bytes ? 4 : 2;
  if (!isa.avx512 || s.over.size() != 1 || k.atoms[static_cast<size_t>(s.over[0])].extent.value() != size ||
      !p.checks.empty() || l.lanes != lanes_ || l.extent % l.lanes != 0 ||
      !(bytes || dtype(s.result) == Dtype::f32))
    return false;
  const AtomId group = s.over[0];
  int along = 0, signs = 0;
  for (size_t i = 0; i < 2; ++i) {
    const Source& from = p.sources[i];
    const Dtype d = dtype(from.value);
    if (bytes ? d != Dtype::u8 && d != Dtype::i8 : d != Dtype::bf16) return false;
    signs += d == Dtype::i8;
    if (!from.memory) {
      const Layout& own = layout_of(from.value);
      if (!s.operands[i].at.empty() || own.vector != group || own.lanes != size) return false;
      continue;
    }
    const Access& a = *from.memory;
    const bool together = std::ranges::count(a.index.inner, std::pair<AtomId, int64_t>{group, 1}) == 1;
    if (!together || !a.gathered.empty() || a.index.lane_dynamic) return false;
    if (a.index.lane == 0) continue;
    ++along;
    // Scratch is there for the whole tile, whatever is in it.
    const auto view = views_.find(from.value);
    const bool scratch = view != views_.end() && view->second->op == Op::read;
    if (a.index.lane != size || (!a.checks.empty() && !scratch)) return false;
  }
  return along == 1 && (!bytes || signs > 0);
}

// u: unsigned, or signed too: then as sum (u + 128) s - 128 sum s.
llvm::Value* Emitter::add_quads(Value* sum, Value* u, Value* s, bool both_signed) {
  namespace in = llvm::Intrinsic;
  if (both_signed) {
    Value* middle = llvm::ConstantInt::get(u->getType(), 0x80808080u);
    Value* excess = add_quads(llvm::Constant::getNullValue(sum->getType()), middle, s, false);
    return b.CreateSub(add_quads(sum, b.CreateXor(u, middle), s, false), excess);
  }
  if (isa.vnni) return b.CreateIntrinsic(in::x86_avx512_vpdpbusd_512, {}, {sum, u, s});
  llvm::Type* pairs = llvm::FixedVectorType::get(b.getInt16Ty(), 2 * static_cast<unsigned>(lanes_));
  u = b.CreateBitCast(u, pairs), s = b.CreateBitCast(s, pairs);
  Value* eight = llvm::ConstantInt::get(pairs, 8);
  const auto products = [&](Value* x, Value* y) {  // of neighbours, added: exact, since 2 * 255 * 128 fits
    return b.CreateIntrinsic(in::x86_avx512_pmaddw_d_512, {}, {x, y});
  };
  Value* odd = products(b.CreateLShr(u, eight), b.CreateAShr(s, eight));
  Value* even = products(b.CreateAnd(u, llvm::ConstantInt::get(pairs, 0xff)),
                         b.CreateAShr(b.CreateShl(s, eight), eight));
  return b.CreateAdd(sum, b.CreateAdd(odd, even));
}

llvm::Value* Emitter::add_pairs(Value* sum, Value* x, Value* y) {
  if (isa.bf16) {
    llvm::Type* pairs = llvm::FixedVectorType::get(b.getBFloatTy(), 2 * static_cast<unsigned>(lanes_));
    return b.CreateIntrinsic(llvm::Intrinsic::x86_avx512bf16_dpbf16ps_512, {},
                             {sum, b.CreateBitCast(x, pairs), b.CreateBitCast(y, pairs)});
  }
  const auto part = [&](Value* v, bool second) {
    v = second ? b.CreateAnd(v, llvm::ConstantInt::get(v->getType(), 0xffff0000u)) : b.CreateShl(v, 16);
    return Reg{b.CreateBitCast(v, sum->getType())};
  };
  Reg r{sum};
  for (const bool second : {true, false}) r = math.fma(Dtype::f32, part(x, second), part(y, second), r);
  return r.re;
}

void Emitter::contract_groups(const Prepared& p, const Accumulators& block) {
  const Stmt& s = *p.stmt;
  const Layout& l = p.layout;
  const auto lanes = static_cast<unsigned>(l.lanes);
  std::map<std::vector<int64_t>, Value*> known;
  at_[static_cast<size_t>(s.over[0])] = 0;
  const auto get = [&](size_t i) {
    const Source& from = p.sources[i];
    std::vector<int64_t> key{static_cast<int64_t>(i)};
    for (AtomId a : from.depends) key.push_back(at_[static_cast<size_t>(a)]);
    Value*& r = known[key];
    if (r) return r;
    if (!from.memory) {
      const Layout& own = layout_of(from.value);
      r = math.to_memory(regs_[static_cast<size_t>(from.value)][slot(own)].re,
                         k.values[static_cast<size_t>(from.value)].dtype);
      r = b.CreateBitCast(r, b.getInt32Ty());
      return r = b.CreateVectorSplat(lanes, r);
    }
    const Access& a = *from.memory;
    Value* varying = nullptr;
    Value* at = pointer(a, scalar_offset(a, p.reader, true, &varying));
    if (a.index.lane != 0)
      return r = b.CreateAlignedLoad(llvm::FixedVectorType::get(b.getInt32Ty(), lanes), at, llvm::Align(1));
    std::vector<Check> checks;  // of rows; those along the vectors say nothing of this address
    std::ranges::copy_if(a.checks, std::back_inserter(checks),
                         [](const Check& c) { return !c.form.varies(); });
    const Mask m = mask(checks, 1);
    if (m.never) return r = llvm::Constant::getNullValue(llvm::FixedVectorType::get(b.getInt32Ty(), lanes));
    at = guarded_pointer(at, m, false);
    return r = b.CreateVectorSplat(lanes, b.CreateAlignedLoad(b.getInt32Ty(), at, llvm::Align(1)));
  };
  const Dtype first = k.values[static_cast<size_t>(s.operands[0].value)].dtype;
  const bool both_signed = first == k.values[static_cast<size_t>(s.operands[1].value)].dtype;
  const size_t u = first == Dtype::u8 || both_signed ? 0 : 1;
  for (int64_t point = block.point; point < block.point + block.points; ++point)
    for (int chunk = block.chunk; chunk < block.chunk + block.chunks; ++chunk) {
      place(l, point, chunk);
      Value* sum = regs_[static_cast<size_t>(s.result)][slot(l)].re;
      define(s.result, l,
             {first == Dtype::bf16 ? add_pairs(sum, get(0), get(1))
                                   : add_quads(sum, get(u), get(1 - u), both_signed)});
    }
}

// One element of the axes combined: a multiply-add for each accumulator of the block.
void Emitter::contract_step(const Prepared& p, const Accumulators& block, std::span<const Source> sources) {
  const Stmt& s = *p.stmt;
  const Layout& l = p.layout;
  const Dtype d = k.values[static_cast<size_t>(s.result)].dtype;
  std::map<std::vector<int64_t>, Reg> known;
  auto get = [&](size_t i) {
    std::vector<int64_t> key{static_cast<int64_t>(i)};
    for (AtomId a : sources[i].depends) key.push_back(at_[static_cast<size_t>(a)]);
    Reg& r = known[key];
    if (!r)
      r = math.convert(fetch(sources[i], p.reader), k.values[static_cast<size_t>(s.operands[i].value)].dtype,
                       d);
    return r;
  };
  for (int64_t point = block.point; point < block.point + block.points; ++point)
    for (int chunk = block.chunk; chunk < block.chunk + block.chunks; ++chunk) {
      place(l, point, chunk);
      const Mask m = mask(p.checks, l.lanes);
      if (m.never) continue;
      const Reg x = get(0), y = get(1);
      const Reg old = regs_[static_cast<size_t>(s.result)][slot(l)];
      Reg r = math.rounded(math.fma(d, x, y, old), d);
      if (!m.always()) r = math.select(as_vector(m, l.lanes), r, old);
      define(s.result, l, r);
    }
}

// ---- contract, a whole sum of groups at once: by tile registers (Intel AMX; Intel SDM, TDPBF16PS and
// TDPBUSD), or by vectors that stand for their rows

struct Emitter::TileShape {
  int64_t rows, bytes;  // bytes of a row
  bool registers;       // of its own kind, not a vector for each row
};

// A sum of groups over more than one of them may be made in tiles; it then lies in memory.
bool Emitter::holds_tiles(const Stmt& s) const {
  if (s.op != tile::Op::contract || !isa.avx512 || s.over.size() != 2) return false;
  const tile::Value& v = k.values[static_cast<size_t>(s.result)];
  return (v.dtype == Dtype::i32 || v.dtype == Dtype::f32) && contains(k.vectors, s.over[1]) &&
         k.vector >= 0 && contains(v.axes, k.vector) && !contains(s.over, k.vector);
}

std::optional<Emitter::TileProduct> Emitter::tile_product(const Prepared& p) const {
  const Stmt& s = *p.stmt;
  const Layout& l = p.layout;
  if (!holds_tiles(s) || !p.checks.empty() || l.lanes != lanes_ || l.extent % l.lanes != 0) return {};
  const auto dtype = [&](ValueId v) { return k.values[static_cast<size_t>(v)].dtype; };
  const auto extent = [&](AtomId a) { return k.atoms[static_cast<size_t>(a)].extent.value(); };
  const bool bytes = dtype(s.result) == Dtype::i32;
  const AtomId within = s.over[1];
  TileProduct t;
  t.group = s.over[0];
  t.groups = extent(t.group);
  for (const AtomId a : l.axes)
    if (extent(a) > 1) {
      if (t.row >= 0) return {};
      t.row = a, t.rows = extent(a);
    }
  if (extent(within) != (bytes ? 4 : 2)) return {};
  int along = 0, signs = 0;
  for (size_t i = 0; i < 2; ++i) {
    const Dtype d = dtype(p.sources[i].value);
    if (bytes ? d != Dtype::u8 && d != Dtype::i8 : d != Dtype::bf16) return {};
    signs += d == Dtype::i8;
    if (!p.sources[i].memory) return {};
    const Access& a = *p.sources[i].memory;
    // Scratch is there for the whole tile, whatever is in it.
    const auto view = views_.find(p.sources[i].value);
    const bool scratch = view != views_.end() && view->second->op == tile::Op::read;
    if (!a.gathered.empty() || a.index.lane_dynamic || (!a.checks.empty() && !scratch)) return {};
    const auto row = t.row < 0 ? std::optional<int64_t>(0) : step_of(a, t.row);
    const auto group = step_of(a, t.group), one = step_of(a, within);
    if (!row || !group || one != size_of(d)) return {};
    if (a.index.lane == 0) {
      t.a = i, t.row_step = *row;
      if (*group != kWord) return {};
    } else {
      ++along, t.group_step = *group;
      if (a.index.lane * size_of(d) != kWord || *row != 0) return {};
    }
  }
  if (along != 1 || (bytes && signs == 0)) return {};
  const auto most = [](int64_t n, int64_t limit) {  // the largest divisor
    while (n % limit != 0) --limit;
    return limit;
  };
  t.height = most(t.rows, std::min(t.rows, kRows));
  t.depth = most(t.groups, std::min(t.groups, kRows));
  // A register has one shape all through a function, and there are just enough for one product's.
  t.registers = isa.amx && (!tile_shape_ || *tile_shape_ == std::pair(t.height, t.depth));
  if (!t.registers) t.depth = most(t.groups, 2);
  return t;
}

std::vector<llvm::Value*> Emitter::load_tile(const TileShape& t, Value* at, int64_t stride) {
  namespace in = llvm::Intrinsic;
  const auto number = [&](int64_t n) { return b.getInt16(static_cast<uint16_t>(n)); };
  if (t.registers)
    return {b.CreateIntrinsic(in::x86_tileloadd64_internal, {},
                              {number(t.rows), number(t.bytes), at, i64(stride)})};
  std::vector<Value*> rows;
  llvm::Type* narrow = llvm::FixedVectorType::get(b.getInt32Ty(), static_cast<unsigned>(t.bytes / kWord));
  std::vector<int> wide(kWords);
  for (size_t i = 0; i < kWords; ++i) wide[i] = static_cast<int>(std::min<size_t>(i, t.bytes / kWord - 1));
  for (int64_t r = 0; r < t.rows; ++r) {
    Value* row =
        b.CreateAlignedLoad(narrow, b.CreateConstGEP1_64(b.getInt8Ty(), at, r * stride), llvm::Align(1));
    rows.push_back(t.bytes == kRowBytes ? row : b.CreateShuffleVector(row, wide));
  }
  return rows;
}

void Emitter::store_tile(const TileShape& t, Value* at, int64_t stride, std::span<Value* const> rows) {
  const auto number = [&](int64_t n) { return b.getInt16(static_cast<uint16_t>(n)); };
  if (t.registers) {
    b.CreateIntrinsic(llvm::Intrinsic::x86_tilestored64_internal, {},
                      {number(t.rows), number(t.bytes), at, i64(stride), rows[0]});
    return;
  }
  for (size_t r = 0; r < rows.size(); ++r)
    b.CreateAlignedStore(rows[r], b.CreateConstGEP1_64(b.getInt8Ty(), at, static_cast<int64_t>(r) * stride),
                         llvm::Align(1));
}

// x: as many rows as the sum, of `left.bytes` of groups each; y: a row for each group.
std::vector<llvm::Value*> Emitter::multiply_tiles(const TileShape& sums, const TileShape& left,
                                                  std::span<Value* const> sum, std::span<Value* const> x,
                                                  std::span<Value* const> y, Dtype from_x, Dtype from_y) {
  namespace in = llvm::Intrinsic;
  const auto number = [&](int64_t n) { return b.getInt16(static_cast<uint16_t>(n)); };
  if (sums.registers) {
    const auto multiply = from_x == Dtype::bf16 ? in::x86_tdpbf16ps_internal
                          : from_x == Dtype::u8 ? in::x86_tdpbusd_internal
                          : from_y == Dtype::u8 ? in::x86_tdpbsud_internal
                                                : in::x86_tdpbssd_internal;
    return {b.CreateIntrinsic(
        multiply, {}, {number(sums.rows), number(sums.bytes), number(left.bytes), sum[0], x[0], y[0]})};
  }
  std::vector<Value*> out(sum.begin(), sum.end());
  llvm::Type* words = llvm::FixedVectorType::get(b.getInt32Ty(), kWords);
  llvm::Type* floats = llvm::FixedVectorType::get(b.getFloatTy(), kWords);
  for (size_t g = 0; g < y.size(); ++g)
    for (size_t r = 0; r < out.size(); ++r) {
      Value* one = b.CreateVectorSplat(kWords, b.CreateExtractElement(x[r], g));
      if (from_x == Dtype::bf16)
        out[r] = b.CreateBitCast(add_pairs(b.CreateBitCast(out[r], floats), one, y[g]), words);
      else
        out[r] = from_y == Dtype::u8 ? add_quads(out[r], y[g], one, false)
                                     : add_quads(out[r], one, y[g], from_x == Dtype::i8);
    }
  return out;
}

void Emitter::contract_tiles(const Prepared& p, const TileProduct& t) {
  if (t.registers) tile_shape_ = {t.height, t.depth};
  for (int64_t row = 0; row < t.rows; row += kSide * t.height)
    for (int chunk = 0; chunk < p.layout.chunks; chunk += kSide) contract_tiles(p, t, row, chunk);
}

// The sums of up to two tiles of rows and two of columns stay in registers while all groups go by.
void Emitter::contract_tiles(const Prepared& p, const TileProduct& t, int64_t row, int chunk) {
  const Stmt& s = *p.stmt;
  const Layout& l = p.layout;
  const Access &left = *p.sources[t.a].memory, &right = *p.sources[1 - t.a].memory;
  const auto pointer_at = [&](const Access& a, int64_t r, int64_t c) {
    for (const AtomId atom : s.over) at_[static_cast<size_t>(atom)] = 0;
    place(l, t.row >= 0 ? r : 0, static_cast<int>(c));
    Value* varying = nullptr;
    return pointer(a, scalar_offset(a, p.reader, true, &varying));
  };
  struct Side {
    int64_t at;
    Value* from;
  };
  std::vector<Side> above, beside;
  for (int64_t r = row; r < std::min(t.rows, row + kSide * t.height); r += t.height)
    above.push_back({r, pointer_at(left, r, chunk)});
  for (int c = chunk; c < std::min<int>(l.chunks, chunk + static_cast<int>(kSide)); ++c)
    beside.push_back({c, pointer_at(right, row, c)});
  for (const AtomId atom : l.axes) at_[static_cast<size_t>(atom)] = 0;
  at_[static_cast<size_t>(l.vector)] = 0;

  Value* memory = spill_memory_.at(s.result);
  const int64_t stride = l.extent * kWord;
  const auto sum_at = [&](const Side& r, const Side& c) {
    return b.CreateConstGEP1_64(b.getInt8Ty(), memory, r.at * stride + c.at * kRowBytes);
  };
  const TileShape sum_shape{t.height, kRowBytes, t.registers};
  const TileShape left_shape{t.height, t.depth * kWord, t.registers};
  const TileShape right_shape{t.depth, kRowBytes, t.registers};
  std::vector<std::vector<Value*>> sums;
  for (const Side& r : above)
    for (const Side& c : beside) sums.push_back(load_tile(sum_shape, sum_at(r, c), stride));

  Block* before = b.GetInsertBlock();
  Block* head = Block::Create(context, "tiles", function);
  Block* done = Block::Create(context, "", function);
  b.CreateBr(head);
  b.SetInsertPoint(head);
  llvm::PHINode* count = b.CreatePHI(b.getInt64Ty(), 2);
  count->addIncoming(i64(0), before);
  std::vector<llvm::PHINode*> phis;
  for (auto& sum : sums)
    for (Value*& v : sum) {
      phis.push_back(b.CreatePHI(v->getType(), 2));
      phis.back()->addIncoming(v, before);
      v = phis.back();
    }
  const auto along = [&](Value* from, int64_t step) {
    return b.CreateGEP(b.getInt8Ty(), from, b.CreateMul(count, i64(step)));
  };
  std::vector<std::vector<Value*>> lefts, rights;
  for (const Side& r : above) lefts.push_back(load_tile(left_shape, along(r.from, kWord), t.row_step));
  for (const Side& c : beside)
    rights.push_back(load_tile(right_shape, along(c.from, t.group_step), t.group_step));
  const auto dtype = [&](size_t i) { return k.values[static_cast<size_t>(p.sources[i].value)].dtype; };
  size_t n = 0;
  for (size_t r = 0; r < above.size(); ++r)
    for (size_t c = 0; c < beside.size(); ++c, ++n)
      sums[n] =
          multiply_tiles(sum_shape, left_shape, sums[n], lefts[r], rights[c], dtype(t.a), dtype(1 - t.a));
  Value* next = b.CreateAdd(count, i64(t.depth));
  count->addIncoming(next, b.GetInsertBlock());
  n = 0;
  for (const auto& sum : sums)
    for (Value* v : sum) phis[n++]->addIncoming(v, b.GetInsertBlock());
  b.CreateCondBr(b.CreateICmpSLT(next, i64(t.groups)), head, done);
  b.SetInsertPoint(done);
  n = 0;
  for (const Side& r : above)
    for (const Side& c : beside) store_tile(sum_shape, sum_at(r, c), stride, sums[n++]);
}

}  // namespace tenfold::cpu
