// Products that matrix units run: which ones, how results and operands lie, and copies in stages.
#include <bit>

#include "tenfold/base/fault.h"
#include "tenfold/target/ctext/writer.h"

namespace tenfold::ctext {
namespace {

constexpr int64_t kRun = 8;       // elements of 16 bits that one copy moves, and a row of a unit's tile
constexpr int64_t kApart = kRun;  // further elements between rows: the banks of eight rows are all different
constexpr int64_t kStep = tile::kMatrixTerms;
constexpr int64_t kGroup = 4;                            // warps that multiply together,
constexpr int64_t kGroupRows = 64, kGroupColumns = 128;  // as many at a time
constexpr int64_t kWidest = 64;                          // elements of 128 bytes
constexpr int kMostStages = 4;
constexpr int64_t kBytes = 2;  // of an element

}  // namespace

// ---- which ones

void Writer::find_products() {
  if (d.matrix.empty() || !limits_.matrix || k.vector < 0) return;
  const tile::Definitions made = tile::definitions(k);
  std::map<ValueId, int> uses, by_products;
  tile::for_each_statement(k.body, [&](const Stmt& s, std::span<const Loop* const>) {
    const auto p = tile::matrix_product(k, made, s);
    if (!p || (rows_ >= 0 && (p->rows != rows_ || p->columns != columns_)) || !fragments_only(s.result))
      return;
    rows_ = p->rows, columns_ = p->columns;
    products_[&s] = *p;
    for (const ValueId v : {p->a, p->b}) staged_.try_emplace(v, staged(v, made[static_cast<size_t>(v)]));
    for (const Operand& o : s.operands) ++by_products[o.value];
  });
  groups_ = fits_groups();
  for (auto& [v, lies] : staged_) lies.width = groups_ ? std::min(extent(lies.inner), kWidest) : 0;
  int64_t bytes = 0;
  for (const auto& [v, lies] : staged_) bytes += staged_bytes(lies);
  if (products_.empty() || !spread_over_warps() || bytes > limits_.staged_bytes) {
    products_.clear(), staged_.clear();
    rows_ = columns_ = -1;
    groups_ = false;
    return;
  }
  walk(
      k.body,
      [&](const Stmt& s) {
        for (const Operand& o : s.operands) ++uses[o.value];
      },
      [&](const Operand& o, ValueId) { ++uses[o.value]; });
  for (const auto& [v, count] : by_products)
    if (!staged_.contains(v) && count == uses[v]) passed_.insert(v);
  stages_ = static_cast<int>(std::min<int64_t>(kMostStages, limits_.staged_bytes / bytes));
  if (stages_ > 1) find_pipelines(k.body);
  if (pipelined_.empty()) stages_ = 1;
}

// Is the result read point by point, where it has both axes?
bool Writer::fragments_only(ValueId result) const {
  const auto& both = value(result).axes;
  const auto has_both = [&](std::span<const AtomId> axes) {
    return std::ranges::all_of(both, [&](AtomId a) { return contains(axes, a); });
  };
  bool ok = true;
  const auto look = [&](const Operand& o, std::span<const AtomId> axes) {
    ok = ok && (o.value != result || (o.at.empty() && has_both(axes)));
  };
  walk(
      k.body,
      [&](const Stmt& s) {
        for (const Operand& o : s.operands) look(o, axes_of(s));
      },
      [&](const Operand& o, ValueId variable) {
        look(o, variable < 0 ? std::span<const AtomId>() : std::span<const AtomId>(value(variable).axes));
      });
  return ok;
}

// Have four warps all of the columns, and operands the rows that groups of them read?
bool Writer::fits_groups() const {
  if (d.matrix_groups.empty() || !limits_.matrix_groups || products_.empty()) return false;
  const auto is_width = [](int64_t n) { return n == 16 || n == 32 || n % kWidest == 0; };
  return limits_.items >= kGroup * d.warp && extent(columns_) == kGroupColumns &&
         extent(rows_) % kGroupRows == 0 &&
         std::ranges::all_of(
             products_, [&](const auto& product) { return value(product.first->result).axes[0] == rows_; }) &&
         std::ranges::all_of(staged_,
                             [&](const auto& staged) { return is_width(extent(staged.second.inner)); });
}

// A rectangle of the result to each warp, as square as can be. Columns are taken two tiles at a time.
bool Writer::spread_over_warps() {
  if (groups_) {
    warps_across_ = 1, warp_rows_ = extent(rows_) / kGroup, warp_columns_ = kGroupColumns;
    return true;
  }
  const int64_t items = std::min<int64_t>(
      limits_.items, static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(extent(columns_)))));
  if (items % d.warp != 0) return false;
  const int64_t warps = items / d.warp, rows = extent(rows_), columns = extent(columns_);
  int64_t best = 0;
  for (int64_t across = 1; across <= warps; ++across) {
    const int64_t down = warps / across;
    if (warps % across != 0 || rows % (down * tile::kMatrixRows) != 0 ||
        columns % (across * 2 * tile::kMatrixColumns) != 0)
      continue;
    const int64_t around = rows / down + columns / across;
    if (best > 0 && around >= best) continue;
    best = around;
    warps_across_ = across, warp_rows_ = rows / down, warp_columns_ = columns / across;
  }
  return best > 0;
}

// ---- how operands lie

Writer::Staged Writer::staged(ValueId v, const Stmt* made) const {
  const auto& axes = value(v).axes;
  for (const size_t inner : {size_t{1}, size_t{0}})
    if (made->op == Op::load && copies(*made, axes[inner]))
      return {axes[1 - inner], axes[inner], extent(axes[inner]) + kApart, 0, made};
  return {axes[0], axes[1], extent(axes[1]) + kApart, 0, made->op == Op::load ? made : nullptr};
}

int64_t Writer::staged_bytes(const Staged& lies) const {
  const int64_t elements = extent(lies.outer) * (lies.width > 0 ? extent(lies.inner) : lies.pitch);
  return (elements * kBytes + kAligned - 1) / kAligned * kAligned;
}

// May eight elements along `inner` be copied at once? They lie side by side, and what they have to fulfil
// ends them in one place.
bool Writer::copies(const Stmt& s, AtomId inner) const {
  const tile::Arg& arg = k.args[s.arg];
  if (arg.dtype != value(s.result).dtype || s.forms.empty() || extent(inner) % kRun != 0) return false;
  for (size_t i = 0; i < s.forms.size(); ++i) {
    const Form& f = s.forms[i];
    if (f.whole) return false;
    const auto term = std::ranges::find(f.terms, inner, &Term::atom);
    if ((term != f.terms.end()) != (i + 1 == s.forms.size())) return false;
    if (term != f.terms.end() && (term->coef != Dim(1) || !provably_le(0, bound_of(f, false)))) return false;
  }
  return std::ranges::all_of(k.guards, [&](const tile::Guard& g) {
    return !mentions(g.form, inner) || (g.form == s.forms.back() && provably_le(g.limit, arg.shape.back()));
  });
}

void Writer::find_pipelines(const tile::Body& body) {
  for (const Item& item : body) {
    if (const Loop* l = loop_of(item)) {
      if (may_pipeline(*l))
        pipelined_[l] = stages_;
      else
        find_pipelines(l->body);
    }
    if (const If* c = if_of(item)) find_pipelines(c->body);
  }
}

// A loop that only loads, in pieces that may be copied, and multiplies.
bool Writer::may_pipeline(const Loop& l) const {
  if (l.go.value >= 0 || l.reverse || !l.carries.empty()) return false;
  std::set<ValueId> loaded, wanted;
  for (const Item& item : l.body) {
    const Stmt* s = stmt_of(item);
    if (!s) return false;
    if (const auto p = products_.find(s); p != products_.end()) {
      wanted.insert({p->second.a, p->second.b});
    } else if (const auto at = staged_.find(s->result); s->op == Op::load && at != staged_.end()) {
      if (!copies(*s, at->second.inner)) return false;
      loaded.insert(s->result);
    } else if (s->op != Op::constant && !passed_.contains(s->result)) {
      return false;
    }
  }
  if (wanted.empty() || wanted != loaded) return false;
  bool only_here = true;  // what others read would have to lie in one place
  int products = 0;
  for (const auto& [s, p] : products_) products += wanted.contains(p.a) || wanted.contains(p.b);
  for (const Item& item : l.body) products -= is_product(*stmt_of(item));
  walk(
      k.body,
      [&](const Stmt& s) {
        for (const Operand& o : s.operands)
          only_here = only_here && (!wanted.contains(o.value) || is_product(s) || passed_.contains(s.result));
      },
      [&](const Operand& o, ValueId) { only_here = only_here && !wanted.contains(o.value); });
  return only_here && products == 0;
}

// ---- text

std::string Writer::fragment_text(AtomId a) const {
  const std::string part = atom_names_[a] + "_part";
  if (a == rows_ && groups_) return fmt::format("64*({0} / 2) + 16*warp + 8*({0} % 2) + lane / 4", part);
  if (a == rows_) return fmt::format("warp_row + 8*{} + lane / 4", part);
  return fmt::format("warp_column + 8*({0} / 2) + 2*(lane % 4) + {0} % 2", part);
}

std::string Writer::staged_at(const Staged& lies, const std::string& outer, const std::string& inner) const {
  if (lies.width == 0) return fmt::format("({})*{} + {}", outer, lies.pitch, inner);
  const int64_t runs = lies.width / kRun;
  std::string at = fmt::format("({})*{} + ((({}) / 8 ^ ({}) / {}) % {})*8 + ({}) % 8", outer, lies.width,
                               inner, outer, kRun / runs, runs, inner);
  if (extent(lies.inner) > lies.width)
    at = fmt::format("({}) / {}*{} + {}", inner, lies.width, extent(lies.outer) * lies.width, at);
  return at;
}

// What the loop loads in the turn, into the slot of it.
void Writer::copy_stage(const Loop& l, const std::string& turn) {
  const std::string& n = atom_names_[l.atom];
  open(fmt::format("if (const {0} {1} = {2}; {1} < {3})", counter_type(l.atom), n, turn,
                   dim_text(k.atoms[l.atom].extent)),
       n);
  line("const int slot = {} % {};", n, stages_);
  for (const Item& item : l.body) {
    const Stmt& s = *stmt_of(item);
    const auto at = staged_.find(s.result);
    if (s.op != Op::load || at == staged_.end()) continue;
    const Staged& lies = at->second;
    const int64_t runs = extent(lies.inner) / kRun;
    line("{}", d.unroll);
    open(fmt::format("for (int run = item; run < {}; run += {})", runs * extent(lies.outer), items_));
    line("const int {} = run / {}, {} = run % {} * {};", atom_names_[lies.outer], runs,
         atom_names_[lies.inner], runs, kRun);
    std::vector<std::string> exists;
    std::string count = fmt::format("{}", kRun);
    for (const tile::Guard* g : guards_) {
      if (!applies(*g, axes_of(s), {})) continue;
      if (!mentions(g->form, lies.inner)) exists.push_back(guard_text(*g));
    }
    const Form& along = s.forms.back();
    const Dim& size = k.args[s.arg].shape.back();
    Dim limit = size;
    bool ends = !provably_lt(bound_of(along, true), size);
    for (const tile::Guard* g : guards_)
      if (applies(*g, axes_of(s), {}) && mentions(g->form, lies.inner)) limit = g->limit, ends = true;
    if (ends) count = fmt::format("run_length({} - ({}))", dim_text(limit), form_text(along, true));
    std::vector<std::string> bounds;
    add_bounds(s, bounds);
    const std::string of_inner = atom_names_[lies.inner];
    for (const std::string& b : bounds)
      if (!mentions(b, of_inner)) exists.push_back(b);
    if (!exists.empty()) count = fmt::format("{} ? {} : 0", fmt::join(exists, " && "), count);
    line("copy_run({} + slot*{} + {}, {} + {}, {});", value_names_[s.result], staged_bytes(lies) / kBytes,
         staged_at(lies, atom_names_[lies.outer], of_inner), arg_names_[s.arg], address(s), count);
    close();
  }
  close();
  line("end_stage();");
}

// Copies run `stages - 1` turns ahead, into the slots that the turn before has done with.
void Writer::write_pipeline(const Loop& l) {
  const std::string& n = atom_names_[l.atom];
  const std::string type = counter_type(l.atom), trips = dim_text(k.atoms[l.atom].extent);
  Touched filled, read;
  for (const Item& item : l.body)
    if (const auto p = products_.find(stmt_of(item)); p != products_.end())
      for (const ValueId v : {p->second.a, p->second.b}) filled.own_writes.insert(v), read.reads.insert(v);
  sync(filled);
  const std::set<int> reads = reads_, writes = writes_;
  bound_[l.atom] = true;
  line("// {} stages of {}, copied ahead", stages_, n);
  open(fmt::format("for (int turn = 0; turn < {}; ++turn)", stages_ - 1));
  copy_stage(l, "turn");
  close();
  open(fmt::format("for ({0} turn = 0; turn < {1}; ++turn)", type, trips));
  line("await_stages<{}>();", fault("ctext_stages") ? stages_ - 1 : stages_ - 2);
  if (groups_) line("order_copies();");
  line("{}", d.barrier);
  copy_stage(l, fmt::format("turn + {}", stages_ - 1));
  line("const int slot = turn % {};", stages_);
  for (const Item& item : l.body)
    if (const Stmt& s = *stmt_of(item); is_product(s)) multiply(s, true);
  close();
  bound_[l.atom] = false;
  reads_ = reads, writes_ = writes;
  note(read);
}

// Four warps multiply 64 rows by all columns at a time, from where the operands lie.
void Writer::multiply_in_groups(const Stmt& s, bool in_stages) {
  const tile::MatrixProduct& p = products_.at(&s);
  const auto describe = [&](ValueId v, const std::string& first) {
    const Staged& lies = staged_.at(v);
    const bool along_terms = lies.inner == p.terms;
    const int64_t outer = extent(lies.outer);
    // Along the terms a step is part of a row; else it is sixteen rows, in columns of 64 elements.
    std::string at = along_terms ? fmt::format("{}*{} + step % {}", first, lies.width, lies.width)
                                 : fmt::format("{}*{} + step*{}", first, outer, lies.width);
    if (along_terms && extent(p.terms) > lies.width)
      at += fmt::format(" + step / {}*{}", lies.width, outer * lies.width);
    return fmt::format("describe({}{} + {}, {}, {}, {})", value_names_[v],
                       in_stages ? fmt::format(" + slot*{}", staged_bytes(lies) / kBytes) : "", at,
                       along_terms ? 16 : outer * lies.width * 2, 8 * lies.width * 2, lies.width);
  };
  const std::string& c = value_names_[s.result];
  line("begin_products();");
  line("{}", d.unroll);
  open(fmt::format("for (int step = 0; step < {}; step += {})", extent(p.terms), kStep));
  line("{}", d.unroll);
  open(fmt::format("for (int i = 0; i < {}; ++i)", extent(rows_) / kGroupRows));
  line("multiply_{}<{}, {}>({}[2*i], {}[2*i + 1], {}, {});", tenfold::name(value(p.a).dtype),
       staged_.at(p.a).inner == p.terms ? 0 : 1, staged_.at(p.b).inner == p.terms ? 0 : 1, c, c,
       describe(p.a, "64*i"), describe(p.b, "0"));
  close();
  close();
  line("end_products();");
}

void Writer::multiply(const Stmt& s, bool in_stages) {
  if (groups_) return multiply_in_groups(s, in_stages);
  const tile::MatrixProduct& p = products_.at(&s);
  const auto at = [&](ValueId v, const std::string& outer, const std::string& inner) {
    const Staged& lies = staged_.at(v);
    return fmt::format("{}{} + {}", value_names_[v],
                       in_stages ? fmt::format(" + slot*{}", staged_bytes(lies) / kBytes) : "",
                       staged_at(lies, outer, inner));
  };
  const int64_t rows = warp_rows_ / tile::kMatrixRows, columns = warp_columns_ / tile::kMatrixColumns;
  line("{}", d.unroll);
  open(fmt::format("for (int step = 0; step < {}; step += {})", extent(p.terms), kStep));
  line("uint left[{}][4], right[{}][4];", rows, columns / 2);
  line("{}", d.unroll);
  if (staged_.at(p.a).inner == p.terms)
    line("for (int i = 0; i < {}; ++i) load_tiles(left[i], {});", rows,
         at(p.a, "warp_row + 16*i + lane % 16", "step + lane / 16 * 8"));
  else
    line("for (int i = 0; i < {}; ++i) load_tiles_transposed(left[i], {});", rows,
         at(p.a, "step + lane % 8 + lane / 16 * 8", "warp_row + 16*i + lane / 8 % 2 * 8"));
  line("{}", d.unroll);
  if (staged_.at(p.b).inner == p.terms)
    line("for (int i = 0; i < {}; ++i) load_tiles(right[i], {});", columns / 2,
         at(p.b, "warp_column + 16*i + lane % 8 + lane / 16 * 8", "step + lane / 8 % 2 * 8"));
  else
    line("for (int i = 0; i < {}; ++i) load_tiles_transposed(right[i], {});", columns / 2,
         at(p.b, "step + lane % 16", "warp_column + 16*i + lane / 16 * 8"));
  const std::string& c = value_names_[s.result];
  const bool rows_first = value(s.result).axes[0] == rows_;
  const auto part = [&](const char* row, const char* column) {
    return fmt::format("{}[{}][{}]", c, rows_first ? row : column, rows_first ? column : row);
  };
  line("{}", d.unroll);
  open(fmt::format("for (int i = 0; i < {}; ++i)", rows));
  line("{}", d.unroll);
  open(fmt::format("for (int j = 0; j < {}; ++j)", columns));
  line("multiply_{}({}, {}, {}, {}, left[i], right[j / 2][j % 2 * 2], right[j / 2][j % 2 * 2 + 1]);",
       tenfold::name(value(p.a).dtype), part("2*i", "2*j"), part("2*i", "2*j + 1"), part("2*i + 1", "2*j"),
       part("2*i + 1", "2*j + 1"));
  close();
  close();
  close();
}

}  // namespace tenfold::ctext
