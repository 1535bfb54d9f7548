// Loops, what they carry, and votes.
#include "tenfold/target/ctext/writer.h"

namespace tenfold::ctext {

std::string Writer::loop_head(const Loop& l) const {
  const std::string& n = atom_names_[l.atom];
  const std::string type = counter_type(l.atom), trips = dim_text(k.atoms[l.atom].extent);
  if (l.reverse) return fmt::format("for ({0} {1} = {2} - 1; {1} >= 0; --{1})", type, n, trips);
  return fmt::format("for ({0} {1} = 0; {1} < {2}; ++{1})", type, n, trips);
}

void Writer::write_loop(const Loop& l) {
  if (pipelined_.contains(&l)) return write_pipeline(l);
  const bool is_while = l.go.value >= 0, each_alone = is_while && alone(l);
  const Touched t = touched(l);
  const std::set<int> reads = reads_, writes = writes_;
  note(t);
  open(loop_head(l), atom_names_[l.atom]);
  bound_[l.atom] = true;
  if (is_while) {
    write_body(l.condition);
    line("if (!({})) break;", bare(vote(l.go, each_alone)));
  }
  write_body(l.body);
  carry(l);
  bound_[l.atom] = false;
  close();
  if (is_while) note(t);  // whatever was going on at any way out
  reads_.insert(reads.begin(), reads.end());
  writes_.insert(writes.begin(), writes.end());
}

void Writer::carry(const Loop& l) {
  std::set<ValueId> changed;
  for (const auto& c : l.carries) changed.insert(c.variable);
  bool apart =
      std::ranges::none_of(l.carries, [&](const tile::Carry& c) { return changed.contains(c.next.value); });
  if (l.go.value >= 0 && changed.contains(l.go.value)) apart = false;
  Touched reading, writing;
  for (const auto& c : l.carries) {
    touch(c.next, lane_[c.variable], reading);
    if (l.go.value >= 0) touch(l.go, lane_[c.variable], reading);
    if (shared_[c.variable]) writing.own_writes.insert(c.variable);
  }
  sync(reading);
  if (apart && reading.empty() && writing.empty()) {
    for (const auto& c : l.carries) carry_one(l, c, value_names_[c.variable], false);
    return;
  }
  // One scope: the temporaries end with it.
  open("");
  for (const auto& c : l.carries) {
    line("{} next_{}{};", type_name(value(c.variable).dtype), value_names_[c.variable],
         dimensions(c.variable));
    carry_one(l, c, "next_" + value_names_[c.variable], true);
  }
  sync(writing);
  for (const auto& c : l.carries) {
    const AtomId lane = lane_[c.variable];
    const std::vector<AtomId> loops = loops_of(value(c.variable).axes, lane);
    open_loops(loops, lane);
    define(c.variable, "next_" + value_names_[c.variable] + subscripts({c.variable, {}}));
    close_loops(loops);
  }
  close();
}

void Writer::carry_one(const Loop& l, const tile::Carry& c, const std::string& to, bool temporary) {
  const AtomId lane = lane_[c.variable];
  const auto& axes = value(c.variable).axes;
  const std::vector<AtomId> loops = loops_of(axes, lane);
  open_loops(loops, lane);
  const std::vector<std::string> exists = conditions(axes, lane);
  const std::string at = subscripts({c.variable, {}});
  std::string next = read(c.next, lane, exists);
  const std::string old = read({c.variable, {}}, lane, exists);
  if (l.go.value < 0) {
    line("{}{} = {};", to, at, bare(next));
  } else {
    const std::string go = read(l.go, lane, exists);
    if (temporary)
      line("{}{} = {} ? {} : {};", to, at, go, next, old);
    else
      line("if ({}) {}{} = {};", go, to, at, bare(next));
  }
  close_loops(loops);
}

std::string Writer::own_vote(const Operand& mask) {
  const AtomId lane = lane_of(mask);
  std::vector<AtomId> axes;
  const auto add = [&](AtomId a) {
    if (!bound_[a] && !contains(axes, a)) axes.push_back(a);
  };
  if (mask.at.empty())
    for (const AtomId a : value(mask.value).axes) add(a);
  for (const Form& f : mask.at)
    for (const Term& t : f.terms) add(t.atom);
  const std::vector<AtomId> loops = loops_of(axes, lane);
  const auto holds = [&] {
    std::vector<std::string> exists = conditions(axes, lane);
    const std::string x = read(mask, lane, exists);
    exists.push_back(x);
    return fmt::format("{}", fmt::join(exists, " && "));
  };
  if (loops.empty()) return holds();
  const std::string any = fmt::format("any{}", unique_++);
  line("bool {} = false;", any);
  open_loops(loops, lane);
  const std::string one = holds();
  line("{0} = {0} || ({1});", any, one);
  close_loops(loops);
  return any;
}

std::string Writer::vote(const Operand& mask, bool each_alone) {
  Touched t;
  touch(mask, lane_of(mask), t);
  sync(t);
  const std::string mine = own_vote(mask);
  if (lane_of(mask) == kAlike || items_ == 1 || each_alone) return mine;
  uses_flag_ = true;
  if (reads_.contains(kFlag)) meet();
  line("if (item == 0) flag = 0;");
  line("{}", d.barrier);
  line("if ({}) {}", mine, d.raise_flag);
  line("{}", d.barrier);
  reads_ = {kFlag};
  writes_.clear();
  return "flag";
}

void Writer::write_if(const If& c) {
  std::vector<ValueId> defined;
  walk(
      c.body,
      [&](const Stmt& s) {
        if (!writes_memory(s) && !updates(s.op)) defined.push_back(s.result);
      },
      [](const Operand&, ValueId) {});
  std::map<ValueId, int> used;
  const auto count = [&](const Operand& o) { ++used[o.value]; };
  walk(
      c.body, [&](const Stmt& s) { std::ranges::for_each(s.operands, count); },
      [&](const Operand& o, ValueId) { count(o); });
  for (const ValueId v : defined)
    if (used[v] != uses_[v]) declare(v);
  const bool each_alone = alone(c);
  const std::string condition = vote(c.mask, each_alone);
  const std::set<int> reads = reads_, writes = writes_;
  open(fmt::format("if ({})", bare(condition)));
  write_body(c.body);
  close();
  reads_.insert(reads.begin(), reads.end());
  writes_.insert(writes.begin(), writes.end());
}

}  // namespace tenfold::ctext
