// Control: the function, the grid, loops, votes, and the order in which statements are emitted.
#include "tenfold/target/llvm/emit.h"

#include <algorithm>

#include <llvm/IR/Constants.h>
#include <llvm/IR/Intrinsics.h>
#include <llvm/IR/IntrinsicsX86.h>

#include "tenfold/base/fault.h"
#include "tenfold/target/llvm/hoist.h"

namespace tenfold::cpu {

using llvm::Instruction;
using tile::Op;
namespace in = llvm::Intrinsic;

namespace {

bool contains(std::span<const AtomId> atoms, AtomId a) {
  return std::find(atoms.begin(), atoms.end(), a) != atoms.end();
}

const tile::Stmt* stmt_of(const tile::Item& i) { return std::get_if<tile::Stmt>(&i); }
const tile::Loop* loop_of(const tile::Item& i) {
  const auto* p = std::get_if<std::unique_ptr<tile::Loop>>(&i);
  return p ? p->get() : nullptr;
}
const tile::If* if_of(const tile::Item& i) {
  const auto* p = std::get_if<std::unique_ptr<tile::If>>(&i);
  return p ? p->get() : nullptr;
}

// f(stmt) for every statement, g(operand) for what loops and votes read themselves.
template <class F, class G>
void walk(const tile::Item& i, F&& f, G&& g) {
  auto each = [&](const tile::Body& body) {
    for (const tile::Item& inner : body) walk(inner, f, g);
  };
  if (const auto* s = stmt_of(i)) f(*s);
  if (const auto* l = loop_of(i)) {
    each(l->condition);
    if (l->go.value >= 0) g(l->go);
    each(l->body);
    for (const auto& c : l->carries) g(c.next);
  }
  if (const auto* c = if_of(i)) {
    g(c->mask);
    each(c->body);
  }
}

template <class F, class G>
void walk(const tile::Body& body, F&& f, G&& g) {
  for (const tile::Item& i : body) walk(i, f, g);
}

constexpr int kInterleaved = 2;        // vectors of a run whose instructions alternate
constexpr int64_t kUnrolledWork = 96;  // statement-vectors of a run that are written out; more become a loop
constexpr int64_t kStripWork = 64;     // in the body of such a loop

bool is_update(Op op) {
  return op == Op::fill || op == Op::copy || op == Op::accumulate || op == Op::contract;
}

}  // namespace

void emit(llvm::Module& module, const tile::Kernel& kernel, const std::string& symbol, const Isa& isa) {
  Emitter(module, kernel, symbol, isa).run();
}

Emitter::Emitter(llvm::Module& m, const tile::Kernel& kernel, const std::string& symbol, const Isa& isa_)
    : k(kernel),
      isa(isa_),
      module(m),
      context(m.getContext()),
      b(context),
      math(b, isa_),
      lanes_(isa_.vector_bytes / 4) {
  llvm::Type *p = b.getPtrTy(), *i = b.getInt64Ty();
  auto* type = llvm::FunctionType::get(b.getVoidTy(), {p, p, i, i, p}, false);
  function = llvm::Function::Create(type, llvm::Function::ExternalLinkage, symbol, m);
  function->addFnAttr(llvm::Attribute::NoUnwind);
  function->addFnAttr("prefer-vector-width", std::to_string(isa.vector_bytes * 8));
  for (unsigned a : {0u, 1u, 4u}) function->addParamAttr(a, llvm::Attribute::NoAlias);
}

// ---- analysis

void Emitter::analyse(const tile::Body& all) {
  auto use = [&](const tile::Operand& o, bool contract, const std::vector<AtomId>* axes,
                 const std::vector<AtomId>* over) {
    uses_[static_cast<size_t>(o.value)]++;
    if (contract) contract_uses_[static_cast<size_t>(o.value)]++;
    if (!axes) return;
    for (const Form& f : o.at)
      for (const Term& t : f.terms)
        if (!contains(*axes, t.atom) && !contains(*over, t.atom)) spilled_.insert(o.value);
  };
  walk(
      all,
      [&](const Stmt& s) {
        const bool writes = s.op == Op::store || s.op == Op::write;
        const auto& axes = writes ? s.axes : k.values[static_cast<size_t>(s.result)].axes;
        for (const auto& o : s.operands) use(o, s.op == Op::contract, &axes, &s.over);
        if (holds_tiles(s)) spilled_.insert(s.result);
        order_[&s] = static_cast<int>(order_.size());
        if (s.op == Op::map) maps_[static_cast<size_t>(s.result)] = &s;
        if (s.op == Op::constant) constants_[s.result] = &s;
        if (s.op == Op::map && s.prim->name == "multiply_high") high_products_.insert(factors(s));
      },
      [&](const tile::Operand& o) { use(o, false, nullptr, nullptr); });
}

// The operands of a product by what they are: constants by their value, in order.
std::pair<std::string, std::string> Emitter::factors(const Stmt& s) const {
  auto name = [&](const tile::Operand& o) {
    const auto c = constants_.find(o.value);
    return c != constants_.end() ? c->second->scalar.str() : k.values[static_cast<size_t>(o.value)].name;
  };
  std::string x = name(s.operands[0]), y = name(s.operands[1]);
  return x < y ? std::pair(x, y) : std::pair(y, x);
}

int Emitter::count_uses(const tile::Item& item, ValueId v) const {
  int n = 0;
  auto count = [&](const tile::Operand& o) { n += o.value == v; };
  walk(item, [&](const Stmt& s) { std::for_each(s.operands.begin(), s.operands.end(), count); }, count);
  return n;
}

// May the item change what the load would read?
bool Emitter::disturbs(const tile::Item& item, const Stmt& load) const {
  bool r = false;
  auto f = [&](const Stmt& s) {
    if (load.op == Op::read) {
      r |= s.op == Op::write && s.result == load.source;
    } else if (s.op == Op::store) {  // a donated buffer is read and written as two arguments of one type
      const tile::Arg &x = k.args[static_cast<size_t>(s.arg)], &y = k.args[static_cast<size_t>(load.arg)];
      r |= x.dtype == y.dtype && x.shape == y.shape;
    }
  };
  walk(item, f, [](const tile::Operand&) {});
  return r;
}

bool Emitter::is_view(const tile::Body& items, size_t at) {
  const Stmt* s = stmt_of(items[at]);
  if (!s || (s->op != Op::load && s->op != Op::read)) return false;
  const size_t v = static_cast<size_t>(s->result);
  if (contract_uses_[v] == 0 || contract_uses_[v] != uses_[v]) return false;
  for (const Form& f : s->forms)
    if (f.whole) return false;
  if (s->op == Op::load) {  // records are loaded whole and shuffled, one element of each would be gathered
    const Layout own = layout(k.values[v].axes);
    Access a = arg_access(*s, s->forms, own);
    find_group(a, own);
    const auto summed = [&](const auto& axis) { return contains(k.vectors, axis.first); };
    if (a.group > 1 && std::ranges::none_of(a.group_axes, summed)) return false;
  }
  int left = uses_[v];
  for (size_t i = at + 1; i < items.size() && left > 0; ++i) {
    const int here = count_uses(items[i], s->result);
    const bool last = here == left && stmt_of(items[i]);
    if (disturbs(items[i], *s) && !last) return false;
    left -= here;
  }
  return left == 0;
}

void Emitter::collect(const tile::Body& items, std::vector<ValueId>& variables,
                      std::vector<ValueId>& all) const {
  for (const tile::Item& i : items) {
    if (const auto* s = stmt_of(i); s && s->result >= 0 && s->op != Op::write)
      (is_update(s->op) ? variables : all).push_back(s->result);
    if (const auto* l = loop_of(i)) {
      collect(l->condition, variables, all);
      collect(l->body, variables, all);
      for (const auto& c : l->carries) variables.push_back(c.variable);
    }
    if (const auto* c = if_of(i)) collect(c->body, variables, all);
  }
}

// Variables that exist before the loop and change in it.
std::vector<ValueId> Emitter::carried(const tile::Loop& l) const {
  std::vector<ValueId> variables, all;
  collect(l.condition, variables, all);
  collect(l.body, variables, all);
  for (const auto& c : l.carries) variables.push_back(c.variable);
  std::sort(variables.begin(), variables.end());
  variables.erase(std::unique(variables.begin(), variables.end()), variables.end());
  std::erase_if(variables, [&](ValueId v) { return regs_[static_cast<size_t>(v)].empty(); });
  return variables;
}

// Uses of each value in a body.
std::vector<int> Emitter::uses_in(const tile::Body& items) const {
  std::vector<int> n(k.values.size());
  walk(
      items,
      [&](const Stmt& s) {
        for (const auto& o : s.operands) ++n[static_cast<size_t>(o.value)];
      },
      [&](const tile::Operand& o) { ++n[static_cast<size_t>(o.value)]; });
  return n;
}

// ---- the function

void Emitter::run() {
  const size_t values = k.values.size();
  at_.assign(k.atoms.size(), 0);
  bound_.assign(k.atoms.size(), {});
  discharged_.assign(k.guards.size(), 0);
  regs_.resize(values);
  born_.assign(values, 0);
  uses_.assign(values, 0);
  contract_uses_.assign(values, 0);
  maps_.assign(values, nullptr);
  for (const auto& v : k.values) layouts_.push_back(layout(v.axes));
  analyse(k.body);

  Block* entry = Block::Create(context, "entry", function);
  Block* start = Block::Create(context, "", function);
  Block* done = Block::Create(context, "done", function);
  b.SetInsertPoint(entry);
  Value* buffers = function->getArg(0);
  Value* symbols = function->getArg(1);
  scratch_ = function->getArg(4);
  for (size_t i = 0; i < k.args.size(); ++i)
    buffers_.push_back(
        b.CreateAlignedLoad(b.getPtrTy(), b.CreateConstGEP1_64(b.getPtrTy(), buffers, i), llvm::Align(8)));
  const auto names = symbol_names(k);
  for (size_t i = 0; i < names.size(); ++i)
    symbols_[names[i]] =
        b.CreateAlignedLoad(b.getInt64Ty(), b.CreateConstGEP1_64(b.getInt64Ty(), symbols, i), llvm::Align(8));
  auto* cell = llvm::ArrayType::get(b.getInt8Ty(), static_cast<uint64_t>(std::max(64, 8 * lanes_)));
  auto* sink = b.CreateAlloca(cell);
  sink->setAlignment(llvm::Align(64));
  sink_ = sink;
  auto* zero = new llvm::GlobalVariable(module, cell, true, llvm::GlobalValue::PrivateLinkage,
                                        llvm::ConstantAggregateZero::get(cell));
  zero->setAlignment(llvm::Align(64));
  zero_ = zero;
  int64_t offset = 0;
  scratch_offsets_.assign(values, 0);
  for (size_t v = 0; v < values; ++v) {
    int64_t bytes = size_of(k.values[v].dtype);
    const bool spilled = spilled_.count(static_cast<ValueId>(v)) && !k.values[v].scratch;
    if (!k.values[v].scratch && !spilled) continue;
    for (AtomId a : k.values[v].axes) bytes *= k.atoms[static_cast<size_t>(a)].extent.value();
    if (spilled) {
      auto* memory = b.CreateAlloca(llvm::ArrayType::get(b.getInt8Ty(), static_cast<uint64_t>(bytes)));
      memory->setAlignment(llvm::Align(64));
      spill_memory_[static_cast<ValueId>(v)] = memory;
      continue;
    }
    scratch_offsets_[v] = offset;
    offset += fault("llvm_scratch_overlap") ? 0 : (bytes + 63) / 64 * 64;
  }
  b.CreateBr(start);
  scopes_ = {entry};
  b.SetInsertPoint(start);

  // Guards that no point can break.
  for (size_t g = 0; g < k.guards.size(); ++g)
    discharged_[g] = provably_lt(bound_of(k.guards[g].form, true), k.guards[g].limit);

  // Stores go around the caches where every vector is aligned, and into no buffer that is read here: its
  // lines are in the caches.
  Value* unfit = nullptr;
  for (const tile::Arg& out : k.args) {
    if (!out.output || !out.streaming) continue;
    Value* to = buffers_[static_cast<size_t>(&out - k.args.data())];
    Value* p = b.CreateAnd(b.CreatePtrToInt(to, b.getInt64Ty()), kLine - 1);
    unfit = unfit ? b.CreateOr(unfit, p) : p;
    for (const tile::Arg& in : k.args)
      if (!in.output && in.dtype == out.dtype && in.shape == out.shape)
        unfit = b.CreateOr(
            unfit, b.CreateZExt(b.CreateICmpEQ(to, buffers_[static_cast<size_t>(&in - k.args.data())]),
                                b.getInt64Ty()));
  }
  if (!unfit) {
    blocks();
    b.CreateBr(done);
  } else {
    Block* streaming = Block::Create(context, "streaming", function);
    Block* plain = Block::Create(context, "plain", function);
    b.CreateCondBr(b.CreateICmpEQ(unfit, i64(0)), streaming, plain);
    b.SetInsertPoint(streaming);
    streaming_ = true;
    blocks();
    if (streamed_) b.CreateIntrinsic(in::x86_sse_sfence, {}, {});
    b.CreateBr(done);
    b.SetInsertPoint(plain);
    streaming_ = false;
    blocks();
    b.CreateBr(done);
  }
  b.SetInsertPoint(done);
  b.CreateRetVoid();
  if (sink->use_empty()) sink->eraseFromParent();
  if (zero->use_empty()) zero->eraseFromParent();
}

// Blocks [begin, end): their atoms are decoded once and then counted up, the last one fastest.
void Emitter::blocks() {
  Value *begin = function->getArg(2), *end = function->getArg(3);
  Block* first = Block::Create(context, "", function);
  Block* head = Block::Create(context, "block", function);
  Block* inside = Block::Create(context, "", function);
  Block* done = Block::Create(context, "", function);
  b.CreateCondBr(b.CreateICmpSLT(begin, end), first, done);
  b.SetInsertPoint(first);
  std::vector<Value*> start(k.grid.size()), extents(k.grid.size());
  Value* rest = begin;
  for (size_t i = k.grid.size(); i-- > 0;) {
    const Dim& extent = k.atoms[static_cast<size_t>(k.grid[i])].extent;
    extents[i] = dim(extent);
    if (extent == Dim(1)) continue;
    start[i] = i == 0 ? rest : b.CreateURem(rest, extents[i]);
    rest = i == 0 ? rest : b.CreateUDiv(rest, extents[i]);
  }
  b.CreateBr(head);
  b.SetInsertPoint(head);
  llvm::PHINode* number = b.CreatePHI(b.getInt64Ty(), 2);
  number->addIncoming(begin, first);
  scopes_.push_back(head);
  ++level_;
  std::vector<llvm::PHINode*> atoms(k.grid.size());
  for (size_t i = 0; i < k.grid.size(); ++i) {
    Binding& bind = bound_[static_cast<size_t>(k.grid[i])];
    bind = {true, nullptr, 0, false, level_};
    if (!start[i]) continue;
    atoms[i] = b.CreatePHI(b.getInt64Ty(), 2);
    atoms[i]->addIncoming(start[i], first);
    bind.value = atoms[i];
    depth_[atoms[i]] = 1;
  }
  b.CreateBr(inside);
  b.SetInsertPoint(inside);
  for (auto& r : regs_) r.clear();
  block_body();

  Value* next = b.CreateAdd(number, i64(1));
  Block* latch = b.GetInsertBlock();
  number->addIncoming(next, latch);
  Value* carry = b.getTrue();
  for (size_t i = k.grid.size(); i-- > 0;) {
    if (!atoms[i]) continue;
    Value* up = b.CreateAdd(atoms[i], b.CreateZExt(carry, b.getInt64Ty()));
    if (i > 0) {
      Value* over = b.CreateICmpEQ(up, extents[i]);
      up = b.CreateSelect(over, i64(0), up);
      carry = over;
    }
    atoms[i]->addIncoming(up, latch);
  }
  b.CreateCondBr(b.CreateICmpSLT(next, end), head, done);
  --level_;
  scopes_.pop_back();
  for (AtomId a : k.grid) bound_[static_cast<size_t>(a)] = {};
  b.SetInsertPoint(done);
}

// The body twice where blocks at the edge need guards: once without, once with.
void Emitter::block_body() {
  const auto before = discharged_;
  Value* whole = nullptr;
  for (size_t g = 0; g < k.guards.size(); ++g) {
    if (discharged_[g]) continue;
    const tile::Guard& guard = k.guards[g];
    bool of_grid = false;
    Form most{guard.form.offset, {}, false};
    for (const Term& t : guard.form.terms) {
      if (bound_[static_cast<size_t>(t.atom)].bound) {
        most.terms.push_back(t);
        of_grid = true;
      } else if (t.coef.lower() >= 0) {
        most.offset += t.coef * (k.atoms[static_cast<size_t>(t.atom)].extent - 1);
      } else {
        of_grid = false;
        break;
      }
    }
    if (!of_grid) continue;
    Value* x = total(linear(most, -1));
    Value* limit = dim(guard.limit);
    Value* holds = hoisted({kCompare, x, limit, llvm::CmpInst::ICMP_SLT}, {x, limit},
                           [&] { return b.CreateICmpSLT(x, limit); });
    whole = whole ? b.CreateAnd(whole, holds) : holds;
    discharged_[g] = 1;
  }
  if (!whole) return body(k.body);
  Block* full = Block::Create(context, "full", function);
  Block* edge = Block::Create(context, "edge", function);
  Block* done = Block::Create(context, "", function);
  b.CreateCondBr(whole, full, edge);
  b.SetInsertPoint(full);
  body(k.body);
  b.CreateBr(done);
  discharged_ = before;
  for (auto& r : regs_) r.clear();
  b.SetInsertPoint(edge);
  body(k.body);
  b.CreateBr(done);
  b.SetInsertPoint(done);
  for (auto& r : regs_) r.clear();
}

// ---- runs: statements that act on each vector alone

bool Emitter::joins_stmt(Run& r, const Stmt& s, bool nested) const {
  if (s.op == Op::contract) return false;
  const bool writes = s.op == Op::store || s.op == Op::write;
  const auto& axes = writes ? s.axes : k.values[static_cast<size_t>(s.result)].axes;
  const AtomId own = layout(axes).vector;
  if (s.op == Op::accumulate || s.op == Op::reduce) {
    std::vector<AtomId> all = axes;
    all.insert(all.end(), s.over.begin(), s.over.end());
    if (contains(s.over, layout(all).vector)) return false;
  }
  if (own >= 0 && r.vector < 0) r.vector = own;
  if (own >= 0 && own != r.vector) return false;
  if (nested && own != r.vector) return false;
  for (const auto& o : s.operands) {
    const auto& from = k.values[static_cast<size_t>(o.value)].axes;
    const auto axis = std::find(from.begin(), from.end(), own);
    bool same = own >= 0 && axis != from.end();
    if (same && !o.at.empty()) {
      const Form& f = o.at[static_cast<size_t>(axis - from.begin())];
      same = f.is_atom() && f.terms[0].atom == own;
    }
    const bool has_vector = own >= 0 ? axis != from.end() : layout(from).vector >= 0;
    if (same || (own < 0 && !has_vector)) continue;
    if (has_vector && r.defined.count(o.value)) return false;
    r.crossed.insert(o.value);
  }
  if (s.result >= 0 && s.op != Op::write && r.crossed.count(s.result)) return false;
  // Scratch: the same element at the same point, or not in one run.
  const ValueId memory = s.op == Op::write ? s.result : s.op == Op::read ? s.source : -1;
  if (memory >= 0) {
    auto same_place = [&](const std::vector<std::pair<ValueId, const Forms*>>& list) {
      return std::all_of(list.begin(), list.end(), [&](const auto& e) {
        return e.first != memory || (*e.second == s.forms && own >= 0);
      });
    };
    if (!same_place(r.written)) return false;
    if (s.op == Op::write && !same_place(r.read)) return false;
    (s.op == Op::write ? r.written : r.read).push_back({memory, &s.forms});
  }
  if (s.result >= 0 && s.op != Op::write) r.defined.insert(s.result);
  return true;
}

// Adds the item to the run, or leaves what matters of the run as it was.
bool Emitter::joins(Run& run, const tile::Item& item, bool nested) {
  if (loop_of(item)) return false;
  if (const auto* s = stmt_of(item)) {
    const AtomId before = run.vector;
    if (joins_stmt(run, *s, nested)) return true;
    run.vector = before;
    return false;
  }
  const tile::If& c = *if_of(item);
  const auto& axes = k.values[static_cast<size_t>(c.mask.value)].axes;
  const AtomId own = layout(axes).vector;
  if (own < 0 || !c.mask.at.empty() || packing(c)) return false;
  Run r = run;
  if (r.vector < 0) r.vector = own;
  if (own != r.vector) return false;
  r.conditional = true;
  for (const auto& inner : c.body)
    if (!joins(r, inner, true)) return false;
  run = std::move(r);
  return true;
}

void Emitter::body(const tile::Body& items) {
  for (size_t i = 0; i < items.size(); ++i)
    if (const auto* s = stmt_of(items[i]); s && is_view(items, i)) views_[s->result] = s;
  std::vector<const tile::Item*> lines;  // stores that wait for all the vectors of a tile
  for (size_t i = 0; i < items.size();) {
    Run run;
    size_t end = i;
    for (; end < items.size(); ++end) {
      if (const auto* s = stmt_of(items[end]); s && fills_lines(*s))
        lines.push_back(&items[end]);
      else if (joins(run, items[end], false))
        run.items.push_back(&items[end]);
      else
        break;
    }
    if (!run.items.empty()) {
      run_cells(run);
    } else if (end == i) {
      prepared_.clear();
      item(items[end++], {});
    }
    i = end;
  }
  prepared_.clear();
  for (const tile::Item* i : lines) item(*i, {});
  prepared_.clear();
}

// Axes that every statement of the run has and reads at its own coordinate: the run is emitted point by point
// along them.
std::vector<AtomId> Emitter::outer_axes(const Run& r) const {
  if (r.conditional || r.items.size() < 2) return {};
  std::vector<AtomId> axes;
  bool first = true;
  for (const tile::Item* i : r.items) {
    const Stmt& s = *stmt_of(*i);
    if (views_.count(s.result) && s.op != Op::write) continue;
    const bool writes = s.op == Op::store || s.op == Op::write;
    const auto& own = writes ? s.axes : k.values[static_cast<size_t>(s.result)].axes;
    if (first) axes = own;
    first = false;
    std::erase_if(axes, [&](AtomId a) { return !contains(own, a) || layout(own).vector == a; });
    for (const auto& o : s.operands) {
      const auto& from = k.values[static_cast<size_t>(o.value)].axes;
      if (!r.defined.count(o.value) || o.at.empty()) continue;
      std::erase_if(axes, [&](AtomId a) {
        const auto axis = std::find(from.begin(), from.end(), a);
        if (axis == from.end()) return true;
        const Form& f = o.at[static_cast<size_t>(axis - from.begin())];
        return !f.is_atom() || f.terms[0].atom != a;
      });
    }
    if (s.op == Op::read || s.op == Op::write) {
      // Two accesses of one scratch value have the same forms, but an axis must also choose the element.
      std::erase_if(axes, [&](AtomId a) {
        return std::none_of(s.forms.begin(), s.forms.end(), [&](const Form& f) {
          return std::any_of(f.terms.begin(), f.terms.end(), [&](const Term& t) { return t.atom == a; });
        });
      });
    }
  }
  return axes;
}

void Emitter::prepare_run(const Run& r) {
  prepared_.clear();
  for (const tile::Item* i : r.items)
    if (const Stmt* s = stmt_of(*i)) {
      const bool view = views_.count(s->result) && s->op != Op::write && views_.at(s->result) == s;
      prepared_.emplace(s, prepare(*s, view));
    }
}

void Emitter::run_cells(const Run& r) {
  std::vector<AtomId> outer = outer_axes(r);
  prepare_run(r);
  for (const auto& [s, p] : prepared_)
    if (p.access)
      for (const auto& [atom, coef] : p.access->group_axes) std::erase(outer, atom);
  int chunks = 1;
  if (r.vector >= 0) {
    const AtomId v[] = {r.vector};
    chunks = layout(v).chunks;
  }
  int64_t points = 1;
  for (AtomId a : outer) points *= k.atoms[static_cast<size_t>(a)].extent.value();
  const int64_t work = points * chunks * static_cast<int64_t>(r.items.size());
  std::vector<AtomId> looped;
  if (work > kUnrolledWork && ends_inside(r)) looped = strip_axes(r, outer, chunks, work);
  if (looped.empty()) return cells(r, outer, {}, 0, chunks);
  // What does not vary stands before the loops.
  for (const tile::Item* i : r.items)
    if (const Stmt* s = stmt_of(*i); s && !has_axis(*s, looped[0])) item(*i, {{}, r.vector, 0, 1});
  strip(r, outer, looped, 0, chunks, work);
}

// Every point of `outer`, and the vectors [first, last).
void Emitter::cells(const Run& r, std::span<const AtomId> outer, const Limit& limit, int first, int last) {
  int64_t points = 1;
  auto range = [&](AtomId a) {
    const auto it = limit.ranges.find(a);
    return it != limit.ranges.end() ? it->second
                                    : Limit::Range{0, k.atoms[static_cast<size_t>(a)].extent.value()};
  };
  for (AtomId a : outer) points *= range(a).count;
  for (int64_t point = 0; point < points; ++point) {
    Cell cell;
    cell.vector = r.vector;
    int64_t rest = point;
    for (size_t i = outer.size(); i-- > 0; rest /= range(outer[i]).count)
      cell.fixed.push_back({outer[i], range(outer[i]).first + rest % range(outer[i]).count});
    for (int chunk = first; chunk < last; chunk += kInterleaved) {
      cell.first = chunk;
      cell.count = std::min(kInterleaved, last - chunk);
      for (const tile::Item* i : r.items)
        if (const Stmt* s = stmt_of(*i); !s || limit.uniform < 0 || has_axis(*s, limit.uniform))
          item(*i, cell);
    }
  }
}

bool Emitter::has_axis(const Stmt& s, AtomId a) const {
  const bool writes = s.op == Op::store || s.op == Op::write;
  return contains(writes ? s.axes : k.values[static_cast<size_t>(s.result)].axes, a);
}

// Is nothing that the run defines used after it?
bool Emitter::ends_inside(const Run& r) const {
  std::vector<int> inside(k.values.size());
  for (const tile::Item* i : r.items) {
    const Stmt* s = stmt_of(*i);
    if (!s || is_update(s->op)) return false;
    for (const auto& o : s->operands) ++inside[static_cast<size_t>(o.value)];
  }
  return std::all_of(r.defined.begin(), r.defined.end(), [&](ValueId v) {
    return !views_.count(v) && !spilled_.count(v) &&
           inside[static_cast<size_t>(v)] == uses_[static_cast<size_t>(v)];
  });
}

// Axes that become loops, outermost first: a value in registers cannot be indexed by one.
std::vector<AtomId> Emitter::strip_axes(const Run& r, std::span<const AtomId> outer, int chunks,
                                        int64_t work) const {
  std::vector<AtomId> axes, looped;
  for (AtomId a : outer)
    if (k.atoms[static_cast<size_t>(a)].extent.value() > 3) axes.push_back(a);
  if (r.vector >= 0 && chunks > 3) axes.push_back(r.vector);
  for (AtomId a : axes) {
    bool can = work > kUnrolledWork;
    for (const tile::Item* i : r.items) {
      const Stmt& s = *stmt_of(*i);
      can &= has_axis(s, a) || looped.empty();
      for (AtomId l : looped) can &= has_axis(s, a) == has_axis(s, l);
      for (const auto& o : s.operands)
        can &= r.defined.count(o.value) || spilled_.count(o.value) ||
               !contains(k.values[static_cast<size_t>(o.value)].axes, a);
    }
    if (!can) continue;
    looped.push_back(a);
    work /= a == r.vector ? chunks : k.atoms[static_cast<size_t>(a)].extent.value();
  }
  return looped;
}

void Emitter::strip(const Run& r, std::span<const AtomId> outer, std::span<const AtomId> looped, size_t depth,
                    int chunks, int64_t work) {
  const AtomId axis = looped[depth];
  const size_t atom = static_cast<size_t>(axis);
  const bool along = axis == r.vector;
  const AtomId v[] = {axis};
  const int64_t step = along ? layout(v).lanes : 1;           // coordinates per turn
  const int64_t whole = k.atoms[atom].extent.value() / step;  // turns without a ragged vector
  work /= along ? chunks : whole;
  int64_t unroll = 1;
  const bool innermost = depth + 1 == looped.size();
  if (innermost)
    while (unroll * 2 * work <= kStripWork && whole >= unroll * 4) unroll *= 2;
  const int64_t turns = whole / unroll;

  Block* before = b.GetInsertBlock();
  Block* head = Block::Create(context, "strip", function);
  Block* inside = Block::Create(context, "", function);
  Block* done = Block::Create(context, "", function);
  b.CreateBr(head);
  b.SetInsertPoint(head);
  llvm::PHINode* count = b.CreatePHI(b.getInt64Ty(), 2);
  count->addIncoming(i64(0), before);
  b.CreateBr(inside);
  b.SetInsertPoint(inside);
  scopes_.push_back(head);
  depth_[count] = static_cast<int>(scopes_.size()) - 1;
  bound_[atom] = {true, count, 0, true, ++level_};
  // Of a looped axis only the coordinates of one turn are written out.
  auto turn = [&](Limit::Range here, int first, int last) {
    Limit limit;
    for (AtomId l : looped) limit.ranges[l] = {0, 1};
    if (!along) limit.ranges[axis] = here;
    limit.uniform = looped[0];
    prepare_run(r);
    cells(r, outer, limit, first, last);
  };
  if (!innermost)
    strip(r, outer, looped, depth + 1, chunks, work);
  else if (along)
    turn({0, 1}, 0, static_cast<int>(unroll));
  else
    turn({0, unroll}, 0, chunks);
  bound_[atom] = {};
  --level_;
  scopes_.pop_back();
  Value* next = b.CreateAdd(count, i64(unroll * step));
  count->addIncoming(next, b.GetInsertBlock());
  b.CreateCondBr(b.CreateICmpSLT(next, i64(turns * unroll * step)), head, done);
  b.SetInsertPoint(done);
  if (!innermost) return;
  if (along) {
    if (turns * unroll < chunks) turn({0, 1}, static_cast<int>(turns * unroll), chunks);
    return;
  }
  if (turns * unroll < whole) turn({turns * unroll, whole - turns * unroll}, 0, chunks);
}

void Emitter::item(const tile::Item& i, const Cell& cell) {
  if (const auto* s = stmt_of(i)) {
    auto it = prepared_.find(s);
    if (it == prepared_.end()) {
      const auto view = s->op != Op::write ? views_.find(s->result) : views_.end();
      it = prepared_.emplace(s, prepare(*s, view != views_.end() && view->second == s)).first;
    }
    return statement(it->second, cell);
  }
  if (const auto* l = loop_of(i)) return l->go.value >= 0 ? while_loop(*l) : loop(*l);
  const tile::If& c = *if_of(i);
  if (const auto& p = packing(c)) return packed_branch(c, *p);
  if (cell.vector < 0) return branch(c, cell, false);
  for (int n = cell.first; n < cell.first + cell.count; ++n) {  // each vector votes alone
    Cell one = cell;
    one.first = n;
    one.count = 1;
    branch(c, one, true);
  }
}

// ---- votes

void Emitter::branch(const tile::If& c, const Cell& cell, bool local) {
  const Layout& l = layout_of(c.mask.value);
  const Source mask_source = source(c.mask, l);
  std::vector<Check> checks = guard_checks(l);
  if (auto p = padding(l)) checks.push_back(*p);
  Value* vote = nullptr;
  iterate(l, cell, {}, [&] {
    const Mask m = mask(checks, l.lanes);
    if (m.never) return;
    Value* v = fetch(mask_source, l).re;
    if (!m.always()) v = b.CreateAnd(v, as_vector(m, l.lanes));
    if (l.lanes > 1 && vote && lanes_of(vote) == l.lanes)
      vote = b.CreateOr(vote, v);
    else
      vote = vote ? b.CreateOr(math.any(vote), math.any(v)) : v;
  });
  vote = vote ? math.any(vote) : b.getFalse();  // no lane takes part: what is read after it still has a value

  std::vector<ValueId> variables, all;
  collect(c.body, variables, all);
  all.insert(all.end(), variables.begin(), variables.end());
  std::sort(all.begin(), all.end());
  all.erase(std::unique(all.begin(), all.end()), all.end());
  std::map<ValueId, std::vector<Reg>> before;
  for (ValueId v : all) before[v] = regs_[static_cast<size_t>(v)];

  const std::vector<int> inner = uses_in(c.body);
  Block* from = b.GetInsertBlock();
  Block* then = Block::Create(context, "then", function);
  Block* join = Block::Create(context, "", function);
  b.CreateCondBr(vote, then, join);
  b.SetInsertPoint(then);
  if (local) {
    for (const auto& i : c.body) item(i, cell);
  } else {
    body(c.body);
  }
  Block* end = b.GetInsertBlock();
  b.CreateBr(join);
  b.SetInsertPoint(join);
  for (ValueId v : all) {
    auto& now = regs_[static_cast<size_t>(v)];
    const auto& old = before[v];
    const bool variable = std::find(variables.begin(), variables.end(), v) != variables.end();
    if (now.empty()) continue;
    if ((!variable || old.empty()) && inner[static_cast<size_t>(v)] == uses_[static_cast<size_t>(v)]) {
      now.clear();
      continue;
    }
    for (size_t i = 0; i < now.size(); ++i) {
      if (!now[i] || (i < old.size() && old[i].re == now[i].re && old[i].im == now[i].im)) continue;
      auto merge = [&](Value* then_value, Value* else_value) -> Value* {
        if (!then_value) return nullptr;
        llvm::PHINode* phi = b.CreatePHI(then_value->getType(), 2);
        phi->addIncoming(then_value, end);
        phi->addIncoming(else_value ? else_value : llvm::Constant::getNullValue(then_value->getType()), from);
        return phi;
      };
      const Reg past = i < old.size() ? old[i] : Reg{};
      now[i] = {merge(now[i].re, past.re), merge(now[i].im, past.im)};
    }
  }
}

// Where a vote seldom holds, its body is computed for the lanes that need it only: they are compressed out of
// all the vectors of the tile, computed side by side, and expanded into their places.

const std::optional<Emitter::Packing>& Emitter::packing(const tile::If& c) {
  const auto known = packings_.find(&c);
  return known != packings_.end() ? known->second : packings_[&c] = find_packing(c);
}

std::optional<Emitter::Packing> Emitter::find_packing(const tile::If& c) {
  constexpr int kWorthIt = 4;  // vector statements for each value that is packed or unpacked
  const auto& mask_axes = k.values[static_cast<size_t>(c.mask.value)].axes;
  const Layout l = layout(mask_axes);
  if (!isa.avx512 || l.vector < 0 || l.lanes != lanes_ || l.chunks < 2 || l.points > 1 || !c.mask.at.empty())
    return {};
  Packing r;
  std::set<ValueId> defined, in;
  const std::vector<int> inside = uses_in(c.body);
  int work = 0;
  for (const auto& i : c.body) {
    const Stmt* s = stmt_of(i);
    if (!s || (s->op != Op::map && s->op != Op::constant && s->op != Op::index)) return {};
    const bool along = contains(k.values[static_cast<size_t>(s->result)].axes, l.vector);
    for (const Form& f : s->forms)
      for (const Term& t : f.terms)
        if (t.atom == l.vector) return {};
    for (const auto& o : s->operands) {
      const auto& from = k.values[static_cast<size_t>(o.value)];
      if (!contains(from.axes, l.vector)) continue;
      if (!along || !o.at.empty() || layout(from.axes).vector != l.vector) return {};
      if (!defined.count(o.value)) in.insert(o.value);
    }
    defined.insert(s->result);
    work += along;
    if (inside[static_cast<size_t>(s->result)] == uses_[static_cast<size_t>(s->result)]) continue;
    if (!along || layout_of(s->result).vector != l.vector) return {};
    r.out.push_back(s->result);
  }
  rematerialize(in, l.vector, r);
  r.in.assign(in.begin(), in.end());
  int64_t moved = 0;
  for (const auto* list : {&r.in, &r.out})
    for (ValueId v : *list) {
      const Dtype d = k.values[static_cast<size_t>(v)].dtype;
      if (is_complex(d) || is_bool(d) || math.type(d, 1)->getScalarSizeInBits() != 32 || spilled_.count(v))
        return {};
      moved += layout_of(v).points;
    }
  if (work < kWorthIt * moved) return {};
  return r;
}

// Several inputs that are each one value changed by a few instructions (the keys of a cipher's rounds) become
// that value.
void Emitter::rematerialize(std::set<ValueId>& in, AtomId vector, Packing& r) const {
  constexpr int kSteps = 3;
  struct Chain {
    ValueId root;
    std::vector<const Stmt*> stmts;  // from the root on
  };
  std::map<ValueId, Chain> chains;
  std::map<ValueId, int> shared;
  for (ValueId v : in) {
    Chain c{v, {}};
    for (int i = 0; i < kSteps; ++i) {
      const Stmt* s = maps_[static_cast<size_t>(c.root)];
      if (!s || s->prim->cost > 3) break;
      ValueId from = -1;
      bool simple = true;
      for (const auto& o : s->operands) {
        const auto& value = k.values[static_cast<size_t>(o.value)];
        if (!contains(value.axes, vector)) continue;
        simple &= from < 0 && o.at.empty() && value.axes == k.values[static_cast<size_t>(v)].axes &&
                  size_of(value.dtype) == 4;
        from = o.value;
      }
      if (from < 0 || !simple || !maps_[static_cast<size_t>(from)]) break;
      c.root = from;
      c.stmts.insert(c.stmts.begin(), s);
    }
    // Its own value counts as a root too: a chain may end in another input.
    ++shared[c.root];
    chains[v] = std::move(c);
  }
  std::set<ValueId> kept;
  std::set<const Stmt*> again;
  for (const auto& [v, c] : chains) {
    const bool pays = shared[c.root] > 1 || (in.count(c.root) && c.root != v);
    kept.insert(pays ? c.root : v);
    if (!pays) continue;
    for (const Stmt* s : c.stmts)
      if (again.insert(s).second) r.again.push_back(s);
  }
  std::sort(r.again.begin(), r.again.end(),
            [&](const Stmt* x, const Stmt* y) { return order_.at(x) < order_.at(y); });
  // A value that is computed again need not be packed.
  for (const Stmt* s : r.again) kept.erase(s->result);
  in = std::move(kept);
}

llvm::Value* Emitter::pack_buffer(size_t i, int64_t bytes) {
  while (pack_buffers_.size() <= i) {
    const llvm::IRBuilder<>::InsertPointGuard guard(b);
    b.SetInsertPoint(scopes_[0]->getTerminator());
    pack_buffers_.push_back(
        b.CreateAlloca(llvm::ArrayType::get(b.getInt8Ty(), static_cast<uint64_t>(bytes))));
    pack_buffers_.back()->setAlignment(llvm::Align(64));
  }
  return pack_buffers_[i];
}

void Emitter::packed_branch(const tile::If& c, const Packing& packing) {
  const Layout& l = layout_of(c.mask.value);
  const Source mask_source = source(c.mask, l);
  std::vector<Check> checks = guard_checks(l);
  if (auto p = padding(l)) checks.push_back(*p);
  std::vector<Value*> masks, starts;
  Value* total = i64(0);
  iterate(l, {}, {}, [&] {
    const Mask m = mask(checks, l.lanes);
    Value* v =
        m.never ? llvm::Constant::getNullValue(math.type(Dtype::boolean, l.lanes)) : fetch(mask_source, l).re;
    if (!m.never && !m.always()) v = b.CreateAnd(v, as_vector(m, l.lanes));
    masks.push_back(v);
    starts.push_back(total);
    Value* word =
        b.CreateZExt(b.CreateBitCast(v, b.getIntNTy(static_cast<unsigned>(l.lanes))), b.getInt64Ty());
    total = b.CreateAdd(total, b.CreateUnaryIntrinsic(in::ctpop, word));
  });

  const int64_t bytes = (static_cast<int64_t>(l.lanes) * l.chunks + l.lanes) * 4;
  llvm::Type* word = b.getInt32Ty();
  const llvm::Align align(4);
  Block* from = b.GetInsertBlock();
  Block* pack = Block::Create(context, "pack", function);
  Block* each = Block::Create(context, "packed", function);
  Block* unpack = Block::Create(context, "unpack", function);
  Block* join = Block::Create(context, "", function);
  b.CreateCondBr(b.CreateICmpNE(total, i64(0)), pack, join);

  // f(value, its slot for the first vector, buffer)
  auto moved = [&](const std::vector<ValueId>& values, size_t first, auto&& f) {
    size_t n = first;
    for (ValueId v : values) {
      const Layout& own = layout_of(v);
      for (int64_t point = 0; point < own.points; ++point, ++n)
        f(v, static_cast<size_t>(point * own.chunks), pack_buffer(n, bytes));
    }
    return n;
  };
  b.SetInsertPoint(pack);
  const size_t inputs = moved(packing.in, 0, [&](ValueId v, size_t slot, Value* buffer) {
    for (size_t g = 0; g < masks.size(); ++g) {
      Value* x = regs_[static_cast<size_t>(v)][slot + g].re;
      Value* dense = b.CreateIntrinsic(in::x86_avx512_mask_compress, {x->getType()},
                                       {x, llvm::Constant::getNullValue(x->getType()), masks[g]});
      b.CreateAlignedStore(dense, b.CreateGEP(word, buffer, starts[g]), align);
    }
  });
  b.CreateBr(each);

  b.SetInsertPoint(each);
  llvm::PHINode* count = b.CreatePHI(b.getInt64Ty(), 2);
  count->addIncoming(i64(0), pack);
  std::map<ValueId, std::vector<Reg>> before;
  for (ValueId v : packing.in) before[v] = regs_[static_cast<size_t>(v)];
  moved(packing.in, 0, [&](ValueId v, size_t slot, Value* buffer) {
    Reg& r = regs_[static_cast<size_t>(v)][slot];
    r = {b.CreateAlignedLoad(r.re->getType(), b.CreateGEP(word, buffer, count), align)};
  });
  const Cell cell{{}, l.vector, 0, 1};
  prepared_.clear();
  for (const Stmt* s : packing.again) {
    before[s->result] = regs_[static_cast<size_t>(s->result)];
    Prepared p = prepare(*s, false);
    statement(p, cell);
  }
  for (const auto& i : c.body) item(i, cell);
  moved(packing.out, inputs, [&](ValueId v, size_t slot, Value* buffer) {
    b.CreateAlignedStore(regs_[static_cast<size_t>(v)][slot].re, b.CreateGEP(word, buffer, count), align);
  });
  Value* next = b.CreateAdd(count, i64(l.lanes));
  count->addIncoming(next, b.GetInsertBlock());
  b.CreateCondBr(b.CreateICmpSLT(next, total), each, unpack);
  for (auto& [v, regs] : before) regs_[static_cast<size_t>(v)] = regs;

  b.SetInsertPoint(unpack);
  forget(c.body, packing.out);
  moved(packing.out, inputs, [&](ValueId v, size_t slot, Value* buffer) {
    auto& regs = regs_[static_cast<size_t>(v)];
    llvm::Type* t = regs[slot].re->getType();
    for (size_t g = 0; g < masks.size(); ++g) {
      Value* dense = b.CreateAlignedLoad(t, b.CreateGEP(word, buffer, starts[g]), align);
      regs[slot + g] = {b.CreateIntrinsic(in::x86_avx512_mask_expand, {t},
                                          {dense, llvm::Constant::getNullValue(t), masks[g]})};
    }
  });
  b.CreateBr(join);
  b.SetInsertPoint(join);
  moved(packing.out, inputs, [&](ValueId v, size_t slot, Value*) {
    for (size_t g = 0; g < masks.size(); ++g) {
      Reg& r = regs_[static_cast<size_t>(v)][slot + g];
      llvm::PHINode* phi = b.CreatePHI(r.re->getType(), 2);
      phi->addIncoming(r.re, unpack);
      phi->addIncoming(llvm::Constant::getNullValue(r.re->getType()), from);
      r = {phi};
    }
  });
  prepared_.clear();
}

// ---- loops

void Emitter::loop(const tile::Loop& l) {
  const Dim& extent = k.atoms[static_cast<size_t>(l.atom)].extent;
  Value* trip = dim(extent);
  // Iterations [0, full) need no guard on this atom: coef*i + most(rest) < limit.
  const auto before = discharged_;
  Value* full = nullptr;
  for (size_t g = 0; g < k.guards.size(); ++g) {
    const tile::Guard& guard = k.guards[g];
    if (discharged_[g]) continue;
    Form most{guard.form.offset, {}, false};
    int64_t step = 0;
    bool simple = true;
    for (const Term& t : guard.form.terms) {
      if (t.atom == l.atom) {
        if (t.coef.is_const()) step = t.coef.value();
      } else if (bound_[static_cast<size_t>(t.atom)].bound) {
        most.terms.push_back(t);
      } else if (t.coef.lower() >= 0) {
        most.offset += t.coef * (k.atoms[static_cast<size_t>(t.atom)].extent - 1);
      } else {
        simple = false;
      }
    }
    if (step <= 0 || !simple) continue;
    Value* room = hoist(Instruction::Sub, dim(guard.limit), total(linear(most, -1)));
    // ceil(room / step) within [0, trip]
    Value* count = nullptr;
    if (auto* r = llvm::dyn_cast<llvm::ConstantInt>(room)) {
      count = i64((std::max<int64_t>(r->getSExtValue(), 0) + step - 1) / step);
    } else {
      count = hoisted({kClamp, room, nullptr, step}, {room}, [&] {
        Value* positive = b.CreateBinaryIntrinsic(in::smax, room, i64(0));
        return b.CreateUDiv(b.CreateAdd(positive, i64(step - 1)), i64(step));
      });
    }
    count = least(count, trip);
    full = least(full, count);
    discharged_[g] = 1;
  }
  if (!full) return segment(l, i64(0), trip);
  auto inner = discharged_;
  auto unguarded = [&] {
    discharged_ = inner;
    segment(l, i64(0), full);
  };
  auto guarded = [&] {
    discharged_ = before;
    segment(l, full, trip);
  };
  if (l.reverse)
    guarded(), unguarded();
  else
    unguarded(), guarded();
  discharged_ = before;
}

void Emitter::iteration(const tile::Loop& l) {
  body(l.body);
  // Carries change all at once.
  std::vector<std::pair<ValueId, std::vector<Reg>>> next;
  for (const auto& c : l.carries) {
    const Layout& own = layout_of(c.variable);
    const Source from = source(c.next, own);
    std::optional<Source> go;
    if (l.go.value >= 0) go = source(l.go, own);
    std::vector<Reg> regs(own.registers());
    iterate(own, {}, {}, [&] {
      Reg r = fetch(from, own);
      if (go) r = math.select(fetch(*go, own).re, r, regs_[static_cast<size_t>(c.variable)][slot(own)]);
      regs[slot(own)] = r;
      if (fault("llvm_carry_order")) define(c.variable, own, r);
    });
    next.push_back({c.variable, std::move(regs)});
  }
  for (auto& [v, regs] : next) {
    const Layout& own = layout_of(v);
    iterate(own, {}, {}, [&] { define(v, own, regs[slot(own)]); });
  }
}

// What a body defined is not seen after it, but for the variables that a loop carried out.
void Emitter::forget(const tile::Body& items, std::span<const ValueId> kept) {
  std::vector<ValueId> variables, all;
  collect(items, variables, all);
  all.insert(all.end(), variables.begin(), variables.end());
  for (ValueId v : all)
    if (std::find(kept.begin(), kept.end(), v) == kept.end()) regs_[static_cast<size_t>(v)].clear();
}

void Emitter::segment(const tile::Loop& l, Value* low, Value* high) {
  const size_t atom = static_cast<size_t>(l.atom);
  const auto *first = llvm::dyn_cast<llvm::ConstantInt>(low), *last = llvm::dyn_cast<llvm::ConstantInt>(high);
  bool runs = false;
  if (first && last) {
    const int64_t count = last->getSExtValue() - first->getSExtValue();
    if (count <= 0) return;
    runs = true;
    if (count == 1) {
      bound_[atom] = {true, nullptr, first->getSExtValue(), false, ++level_};
      const auto variables = carried(l);
      iteration(l);
      bound_[atom] = {};
      --level_;
      return forget(l.body, variables);
    }
  }
  const std::vector<ValueId> variables = carried(l);
  Block* before = b.GetInsertBlock();
  Block* enter = before;
  Block* head = Block::Create(context, "for", function);
  Block* inside = Block::Create(context, "", function);
  Block* done = Block::Create(context, "", function);
  Value* start = low;
  if (l.reverse) start = b.CreateSub(high, i64(1));
  if (runs)
    b.CreateBr(head);
  else
    b.CreateCondBr(b.CreateICmpSLT(low, high), head, done);
  b.SetInsertPoint(head);
  llvm::PHINode* count = b.CreatePHI(b.getInt64Ty(), 2);
  count->addIncoming(start, enter);
  std::map<ValueId, std::vector<Reg>> initial;
  struct Loose {
    llvm::PHINode* phi;
    ValueId variable;
    size_t slot;
    bool im;
  };
  std::vector<Loose> loose;
  for (ValueId v : variables) {
    auto& regs = regs_[static_cast<size_t>(v)];
    initial[v] = regs;
    for (size_t i = 0; i < regs.size(); ++i) {
      auto phi = [&](Value* x, bool im) -> Value* {
        if (!x) return nullptr;
        llvm::PHINode* p = b.CreatePHI(x->getType(), 2);
        p->addIncoming(x, enter);
        loose.push_back({p, v, i, im});
        return p;
      };
      regs[i] = {phi(regs[i].re, false), phi(regs[i].im, true)};
    }
  }
  b.CreateBr(inside);
  b.SetInsertPoint(inside);
  scopes_.push_back(head);
  depth_[count] = static_cast<int>(scopes_.size()) - 1;
  bound_[atom] = {true, count, 0, false, ++level_};
  iteration(l);
  bound_[atom] = {};
  --level_;
  scopes_.pop_back();

  Value* next = b.CreateAdd(count, i64(l.reverse ? -1 : 1));
  Block* latch = b.GetInsertBlock();
  b.CreateCondBr(l.reverse ? b.CreateICmpSGE(next, low) : b.CreateICmpSLT(next, high), head, done);
  count->addIncoming(next, latch);
  for (const Loose& p : loose) {
    const Reg& r = regs_[static_cast<size_t>(p.variable)][p.slot];
    p.phi->addIncoming(p.im ? r.im : r.re, latch);
  }
  b.SetInsertPoint(done);
  forget(l.body, variables);
  if (runs) return;
  for (const Loose& p : loose) {
    Reg& r = regs_[static_cast<size_t>(p.variable)][p.slot];
    Value*& now = p.im ? r.im : r.re;
    const Reg& old = initial[p.variable][p.slot];
    llvm::PHINode* phi = b.CreatePHI(now->getType(), 2);
    phi->addIncoming(now, latch);
    phi->addIncoming(p.im ? old.im : old.re, enter);
    now = phi;
  }
}

void Emitter::while_loop(const tile::Loop& l) {
  const size_t atom = static_cast<size_t>(l.atom);
  Value* bound = dim(k.atoms[atom].extent);
  const std::vector<ValueId> variables = carried(l);

  Block* before = b.GetInsertBlock();
  Block* head = Block::Create(context, "while", function);
  Block* test = Block::Create(context, "", function);
  Block* inside = Block::Create(context, "", function);
  Block* done = Block::Create(context, "", function);
  b.CreateBr(head);
  b.SetInsertPoint(head);
  llvm::PHINode* count = b.CreatePHI(b.getInt64Ty(), 2);
  count->addIncoming(i64(0), before);
  struct Loose {
    llvm::PHINode* phi;
    ValueId variable;
    size_t slot;
    bool im;
  };
  std::vector<Loose> loose;
  for (ValueId v : variables) {
    auto& regs = regs_[static_cast<size_t>(v)];
    for (size_t i = 0; i < regs.size(); ++i) {
      auto phi = [&](Value* x, bool im) -> Value* {
        if (!x) return nullptr;
        llvm::PHINode* p = b.CreatePHI(x->getType(), 2);
        p->addIncoming(x, before);
        loose.push_back({p, v, i, im});
        return p;
      };
      regs[i] = {phi(regs[i].re, false), phi(regs[i].im, true)};
    }
  }
  b.CreateCondBr(b.CreateICmpSLT(count, bound), test, done);
  b.SetInsertPoint(test);
  scopes_.push_back(head);
  depth_[count] = static_cast<int>(scopes_.size()) - 1;
  bound_[atom] = {true, count, 0, false, ++level_};
  body(l.condition);
  std::map<ValueId, std::vector<Reg>> at_exit;
  for (ValueId v : variables) at_exit[v] = regs_[static_cast<size_t>(v)];

  const Layout& own = layout_of(l.go.value);
  const Source go = source(l.go, own);
  std::vector<Check> checks = guard_checks(own);
  if (auto p = padding(own)) checks.push_back(*p);
  Value* vote = nullptr;
  iterate(own, {}, {}, [&] {
    const Mask m = mask(checks, own.lanes);
    if (m.never) return;
    Value* v = fetch(go, own).re;
    if (!m.always()) v = b.CreateAnd(v, as_vector(m, own.lanes));
    vote = vote ? b.CreateOr(vote, v) : v;
  });
  Value* on = vote ? math.any(vote) : b.getFalse();
  Block* tested = b.GetInsertBlock();
  b.CreateCondBr(on, inside, done);
  b.SetInsertPoint(inside);
  iteration(l);
  bound_[atom] = {};
  --level_;
  scopes_.pop_back();
  Block* latch = b.GetInsertBlock();
  count->addIncoming(b.CreateAdd(count, i64(1)), latch);
  b.CreateBr(head);
  for (const Loose& p : loose) {
    const Reg& r = regs_[static_cast<size_t>(p.variable)][p.slot];
    p.phi->addIncoming(p.im ? r.im : r.re, latch);
  }
  b.SetInsertPoint(done);
  for (const Loose& p : loose) {  // at the bound, or after a condition that may have changed it
    const Reg& r = at_exit[p.variable][p.slot];
    llvm::PHINode* phi = b.CreatePHI(p.phi->getType(), 2);
    phi->addIncoming(p.phi, head);
    phi->addIncoming(p.im ? r.im : r.re, tested);
    Reg& now = regs_[static_cast<size_t>(p.variable)][p.slot];
    (p.im ? now.im : now.re) = phi;
  }
  forget(l.body, variables);
  forget(l.condition, variables);
}

}  // namespace tenfold::cpu
