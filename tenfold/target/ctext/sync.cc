// When items have to meet, and what each of them may do alone.
#include "tenfold/base/fault.h"
#include "tenfold/target/ctext/writer.h"

namespace tenfold::ctext {

void Writer::meet() {
  if (!fault("ctext_barrier")) line("{}", d.barrier);
  reads_.clear();
  writes_.clear();
}

void Writer::touch(const Operand& o, AtomId lane, Touched& t) const {
  if (shared_[o.value] && crosses(o, lane)) t.reads.insert(o.value);
}

void Writer::touch(const Stmt& s, Touched& t) const {
  if (s.op == Op::constant || passed_.contains(s.result)) return;
  if (const auto p = products_.find(&s); p != products_.end()) {
    t.reads.insert({p->second.a, p->second.b});
    return;
  }
  if (along_lanes(s)) {
    t.reads.insert(kTree);
    t.writes.insert(kTree);
  } else {
    for (const Operand& o : s.operands) touch(o, lane_of(s), t);
  }
  if (s.op == Op::read && !owned_[s.source]) t.reads.insert(s.source);
  if (s.op == Op::write && !owned_[s.result]) t.writes.insert(s.result);
  if (!writes_memory(s) && shared_[s.result]) t.own_writes.insert(s.result);
}

Writer::Touched Writer::touched(const tile::Body& body) const {
  Touched t;
  for (const Item& item : body) {
    if (const Stmt* s = stmt_of(item)) touch(*s, t);
    if (const Loop* l = loop_of(item)) merge(t, touched(*l));
    if (const If* c = if_of(item)) {
      merge(t, touched(c->body));
      merge(t, vote_touches(c->mask, !alone(*c)));
    }
  }
  return t;
}

Writer::Touched Writer::touched(const Loop& l) const {
  Touched t = touched(l.condition);
  merge(t, touched(l.body));
  for (const auto& c : l.carries) {
    touch(c.next, lane_[c.variable], t);
    if (shared_[c.variable]) t.own_writes.insert(c.variable);
  }
  if (l.go.value >= 0) merge(t, vote_touches(l.go, !alone(l)));
  return t;
}

Writer::Touched Writer::vote_touches(const Operand& mask, bool group) const {
  Touched t;
  touch(mask, lane_of(mask), t);
  if (group && lane_of(mask) != kAlike) {
    t.reads.insert(kFlag);
    t.writes.insert(kFlag);
  }
  return t;
}

void Writer::merge(Touched& into, const Touched& from) {
  into.reads.insert(from.reads.begin(), from.reads.end());
  into.writes.insert(from.writes.begin(), from.writes.end());
  into.own_writes.insert(from.own_writes.begin(), from.own_writes.end());
}

bool Writer::meets(const std::set<int>& a, const std::set<int>& b) {
  return std::ranges::any_of(a, [&](int x) { return b.contains(x); });
}

bool Writer::hazard(const Touched& t) const {
  return meets(t.reads, writes_) || meets(t.writes, writes_) || meets(t.writes, reads_) ||
         meets(t.own_writes, reads_);
}

void Writer::note(const Touched& t) {
  reads_.insert(t.reads.begin(), t.reads.end());
  writes_.insert(t.writes.begin(), t.writes.end());
  writes_.insert(t.own_writes.begin(), t.own_writes.end());
}

void Writer::sync(const Touched& t) {
  if (hazard(t)) meet();
  note(t);
}

bool Writer::alone(const tile::Body& body, std::set<ValueId> inside) const {
  if (!touched(body).empty()) return false;
  std::set<ValueId> defined = std::move(inside);
  bool ok = true;
  walk(
      body,
      [&](const Stmt& s) {
        if (writes_memory(s)) ok = false;
        if (defines_variable(s.op)) defined.insert(s.result);
        if (updates(s.op) && !defined.contains(s.result)) ok = false;
      },
      [](const Operand&, ValueId) {});
  return ok && carries_inside(body, defined);
}

bool Writer::carries_inside(const tile::Body& body, const std::set<ValueId>& defined) const {
  for (const Item& item : body) {
    if (const Loop* l = loop_of(item)) {
      for (const auto& c : l->carries)
        if (!defined.contains(c.variable)) return false;
      if (!carries_inside(l->condition, defined) || !carries_inside(l->body, defined)) return false;
    }
    if (const If* c = if_of(item); c && !carries_inside(c->body, defined)) return false;
  }
  return true;
}

bool Writer::alone(const If& c) const {
  return lane_of(c.mask) != kAlike && !crosses(c.mask, lane_of(c.mask)) && alone(c.body);
}

bool Writer::alone(const Loop& l) const {
  if (lane_of(l.go) == kAlike || crosses(l.go, lane_of(l.go)) || !alone(l.condition) || !alone(l.body))
    return false;
  return std::ranges::all_of(l.carries, [&](const tile::Carry& c) {
    return !shared_[c.variable] && !crosses(c.next, lane_[c.variable]) && lane_[c.variable] == lane_of(l.go);
  });
}

}  // namespace tenfold::ctext
