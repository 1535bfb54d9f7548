// Reductions and contractions: of an item's own elements, and along the lane axis.
#include <bit>

#include "tenfold/base/fault.h"
#include "tenfold/target/ctext/writer.h"

namespace tenfold::ctext {

// ---- accumulate over axes, reduce, contract: of an item's own elements

void Writer::halve(const Stmt& s, const std::string& t, std::vector<int64_t> sizes, size_t from,
                   Dtype dtype) {
  for (size_t axis = from; axis < sizes.size(); ++axis) {
    int64_t inner = 1;
    for (size_t j = axis + 1; j < sizes.size(); ++j) inner *= sizes[j];
    halve_axis(s, t, sizes[axis], inner, dtype);
  }
}

void Writer::halve_axis(const Stmt& s, const std::string& t, int64_t size, int64_t inner, Dtype dtype) {
  if (size <= 1) return;
  const int64_t top = static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(size))) / 2;
  const auto join = [&](const std::string& a, const std::string& b) {
    line("{} = {};", a, bare(math_.combine(*s.prim, dtype, a, b)));
  };
  if (top * inner <= 4) {  // few enough to read
    for (int64_t half = top; half >= 1; half /= 2)
      for (int64_t i = 0; i < std::min(half, size - half) * inner; ++i)
        join(fmt::format("{}[{}]", t, i), fmt::format("{}[{}]", t, i + half * inner));
    return;
  }
  open(fmt::format("for (int half_step = {}; half_step > 0; half_step /= 2)", top));
  const bool even = size == 2 * top;
  open(fmt::format(
      "for (int i = 0; i < {}; ++i)",
      even ? (inner == 1 ? "half_step" : fmt::format("half_step*{}", inner))
      : inner == 1
          ? fmt::format("(half_step < {0} - half_step ? half_step : {0} - half_step)", size)
          : fmt::format("(half_step < {0} - half_step ? half_step : {0} - half_step)*{1}", size, inner)));
  join(fmt::format("{}[i]", t),
       fmt::format("{}[i + half_step{}]", t, inner == 1 ? "" : fmt::format("*{}", inner)));
  close();
  close();
}

std::string Writer::flat_of(std::span<const AtomId> axes, std::span<const int64_t> sizes, AtomId lane) const {
  std::string out;
  for (size_t i = 0; i < axes.size(); ++i) {
    if (sizes[i] == 1) continue;
    int64_t stride = 1;
    for (size_t j = i + 1; j < axes.size(); ++j) stride *= sizes[j];
    const std::string at = axes[i] == lane ? atom_names_[axes[i]] + "_part" : atom_names_[axes[i]];
    out += (out.empty() ? "" : " + ") + (stride == 1 ? at : fmt::format("{}*{}", at, stride));
  }
  return out.empty() ? "0" : out;
}

void Writer::finish_combine(const Stmt& s, const std::string& combined, Dtype from, AtomId lane,
                            const std::vector<std::string>& exists) {
  const Dtype to = value(s.result).dtype;
  const std::string converted = math_.convert(combined, from, to);
  if (s.op == Op::reduce) return define(s.result, converted);
  define(s.result, math_.combine(*s.prim, to, read({s.result, {}}, lane, exists), converted));
}

void Writer::combine(const Stmt& s) {
  const AtomId lane = lane_of(s);
  const std::span<const AtomId> axes = axes_of(s);
  const std::vector<std::string> exists = conditions(axes, lane);
  if (s.op == Op::contract) return contract(s, lane, axes);
  const Dtype dtype = value(s.operands[0].value).dtype;
  std::vector<int64_t> sizes;
  int64_t total = 1;
  for (const AtomId a : s.over) sizes.push_back(extent(a)), total *= extent(a);
  if (total == 0) return finish_combine(s, math_.identity(*s.prim, dtype), dtype, lane, exists);
  if (s.op == Op::reduce) declare(s.result);
  open("");
  const std::string t = "part";
  line("{} {}[{}];", type_name(dtype), t, total);
  const std::vector<AtomId> loops = loops_of(s.over, -1);
  open_loops(loops, -1);
  const std::vector<std::string> all = conditions(axes, lane, s.over);
  const std::string x = read(s.operands[0], lane, all);
  const std::string condition = named(all);
  line("{}[{}] = {};", t, flat_of(s.over, sizes, -1),
       condition.empty() ? x : fmt::format("{} ? {} : {}", condition, x, math_.identity(*s.prim, dtype)));
  close_loops(loops);
  halve(s, t, sizes, 0, dtype);
  finish_combine(s, t + "[0]", dtype, lane, exists);
  close();
}

void Writer::contract(const Stmt& s, AtomId lane, std::span<const AtomId> axes) {
  const Dtype dtype = value(s.result).dtype;
  const std::vector<AtomId> loops = loops_of(s.over, -1);
  open_loops(loops, -1);
  const std::vector<std::string> all = conditions(axes, lane, s.over);
  const auto in = [&](size_t i) {
    return math_.convert(read(s.operands[i], lane, all), value(s.operands[i].value).dtype, dtype);
  };
  const std::string a = in(0), b = in(1);
  const std::string condition = named(all);
  const std::string sum = math_.fma(dtype, a, b, read({s.result, {}}, lane, all));
  if (!condition.empty()) open(fmt::format("if ({})", condition));
  define(s.result, sum);
  if (!condition.empty()) close();
  close_loops(loops);
}

// ---- reductions along the lane axis

void Writer::reduce_lanes(const Stmt& s) {
  const Operand& o = s.operands[0];
  const Dtype dtype = value(o.value).dtype;
  const AtomId along = lane_[o.value], lane = lane_of(s);
  const std::span<const AtomId> axes = axes_of(s);
  std::vector<int64_t> sizes;
  for (const AtomId a : s.over) sizes.push_back(a == along ? share(a) : extent(a));
  int64_t total = 1;
  for (const int64_t n : sizes) total *= n;
  if (s.op == Op::reduce) declare(s.result);
  const std::string type = type_name(dtype), tree = "tree_" + type;
  const bool meeting = items_ > d.warp;  // a single warp needs no local memory
  if (meeting) trees_.insert(type);
  std::string what;
  for (const AtomId a : s.over) what += (what.empty() ? "" : ", ") + atom_names_[a];
  line("// {} over {}", s.prim->name, what);

  // Every item goes through all points of the result, whoever keeps them.
  if (meeting && reads_.contains(kTree)) meet();
  std::vector<AtomId> loops;
  for (const AtomId a : axes)
    if (!single(a)) loops.push_back(a);
  open_loops(loops, -1);
  open("");
  const bool one = total == 1;
  line("{} part{};", type, one ? "" : fmt::format("[{}]", total));
  const std::vector<AtomId> own = loops_of(s.over, along);
  open_loops(own, along);
  {
    std::vector<AtomId> both(axes.begin(), axes.end());
    const std::vector<std::string> all = conditions(both, along, s.over);
    const std::string x = read(o, along, all);
    const std::string condition = named(all);
    line("part{} = {};", one ? "" : "[" + flat_of(s.over, sizes, along) + "]",
         condition.empty() ? bare(x)
                           : fmt::format("{} ? {} : {}", condition, x, math_.identity(*s.prim, dtype)));
  }
  close_loops(own);
  std::string result = one ? "part" : "part[0]";
  for (size_t axis = 0; axis < s.over.size(); ++axis) {
    int64_t inner = 1;
    for (size_t j = axis + 1; j < s.over.size(); ++j) inner *= sizes[j];
    if (s.over[axis] != along) {
      halve_axis(s, "part", sizes[axis], inner, dtype);
      continue;
    }
    // Elements a multiple of `items` apart are the same item's.
    halve_axis(s, "part", sizes[axis], inner, dtype);
    const int64_t width =
        std::min<int64_t>(items_, static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(extent(along)))));
    const bool several = inner > 1;
    if (several) open(fmt::format("for (int i = 0; i < {}; ++i)", inner));
    const std::string mine = one ? "part" : several ? "part[i]" : "part[0]";
    if (d.warp > 0) {
      if (meeting) reduce_strands(s, tree, mine, width, dtype);
      reduce_warp(s, mine, std::min<int64_t>(d.warp, width), dtype);
      if (meeting && (several || !loops.empty())) line("{}", d.barrier);
      if (several) close();
      continue;
    }
    line("{}[item] = {};", tree, mine);
    open(fmt::format("for (int half_step = {}; half_step > 0; half_step /= 2)", width / 2));
    line("{}", d.barrier);
    const char* other = fault("ctext_reduce_lane") ? "[item + 1]" : "[item + half_step]";
    line("if (item < half_step) {}[item] = {};", tree,
         bare(math_.combine(*s.prim, dtype, tree + "[item]", tree + other)));
    close();
    line("{}", d.barrier);
    if (several || !loops.empty() || axis + 1 < s.over.size()) {
      line("{} = {}[0];", mine, tree);
      if (several || !loops.empty()) line("{}", d.barrier);
      result = one ? "part" : "part[0]";
    } else {
      result = tree + "[0]";
    }
    if (several) close();
  }
  const std::vector<std::string> exists = conditions(axes, lane);
  if (lane >= 0) {
    // The item that owns the point keeps it.
    const std::string& n = atom_names_[lane];
    open(fmt::format("if (item == {} % {})", n, items_));
    if (share(lane) > 1) line("const int {0}_part = {0} / {1};", n, items_);
    finish_combine(s, result, dtype, lane, {});
    close();
  } else {
    finish_combine(s, result, dtype, lane, exists);
  }
  close();
  for (size_t i = 0; i < loops.size(); ++i) close();
  // All items met: what was written before may be read, but the tree is being read still.
  if (meeting) {
    reads_ = {kTree};
    writes_.clear();
  }
  if (shared_[s.result]) writes_.insert(s.result);
}

void Writer::reduce_strands(const Stmt& s, const std::string& tree, const std::string& mine, int64_t width,
                            Dtype dtype) {
  const int64_t strands = std::max<int64_t>(width / d.warp, 1);
  line("{}[item] = {};", tree, mine);
  line("{}", d.barrier);
  if (strands == 1) return line("{} = {}[item % {}];", mine, tree, d.warp);
  open("");
  line("{} strand[{}];", type_name(dtype), strands);
  line("for (int at = 0; at < {0}; ++at) strand[at] = {1}[item % {2} + {2}*at];", strands, tree, d.warp);
  halve_axis(s, "strand", strands, 1, dtype);
  line("{} = strand[0];", mine);
  close();
}

void Writer::reduce_warp(const Stmt& s, const std::string& mine, int64_t width, Dtype dtype) {
  // `other` has a name because an expression may read it under a condition, where items would not meet.
  if (width > 1) line("{} other;", type_name(dtype));
  for (int64_t half = width / 2; half >= 1; half /= 2) {
    line("other = {};", fmt::format(fmt::runtime(d.partner), mine, half));
    line("{} = {};", mine, bare(math_.combine(*s.prim, dtype, mine, "other")));
  }
  line("{} = {};", mine, fmt::format(fmt::runtime(d.first), mine));
}

}  // namespace tenfold::ctext
