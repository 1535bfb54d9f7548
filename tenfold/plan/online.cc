#include "tenfold/plan/online.h"

#include <algorithm>
#include <span>

namespace tenfold::plan {
namespace {

constexpr Degree kNone{Degree::Kind::none, 0}, kZero{Degree::Kind::number, 0},
    kRunning{Degree::Kind::running, 0};

bool accumulates(const Inst& i) { return i.kind == Inst::Kind::reduce || i.kind == Inst::Kind::contract; }

std::vector<Degree> degrees_of(const Flat& flat, const Instances& all, int maximum) {
  std::vector<Degree> out(all.insts.size(), kZero);
  for (size_t i = 0; i < all.insts.size(); ++i) {
    const Inst& x = all.insts[i];
    if (static_cast<int>(i) == maximum) {
      out[i] = kRunning;
      continue;
    }
    std::vector<Degree> inputs;
    const size_t count = x.kind == Inst::Kind::carry ? 1 : x.inputs.size();
    for (size_t k = 0; k < count; ++k)
      inputs.push_back(x.inputs[k].inst < 0 ? kZero : out[static_cast<size_t>(x.inputs[k].inst)]);
    if (std::all_of(inputs.begin(), inputs.end(), [](const Degree& d) { return d == kZero; })) continue;
    const bool plain = x.kind == Inst::Kind::compute || accumulates(x);
    const Prim* p = plain ? flat.ops[x.op].node->prim : nullptr;
    out[i] = p && p->degree ? p->degree(inputs) : kNone;
  }
  return out;
}

}  // namespace

bool Online::follows(int i) const {
  const Degree& d = degrees[static_cast<size_t>(i)];
  return maximum >= 0 && (d.kind == Degree::Kind::number || d.kind == Degree::Kind::shift);
}

bool Online::scales(int i) const { return follows(i) && !(degrees[static_cast<size_t>(i)] == kZero); }

Online find_online(const Flat& flat, const Instances& all) {
  for (size_t i = 0; i < all.insts.size(); ++i) {
    const Inst& x = all.insts[i];
    if (x.kind != Inst::Kind::reduce) continue;
    const Prim& p = *flat.ops[x.op].node->prim;
    if (!p.degree || !(p.degree(std::span(&kZero, 1)) == kRunning)) continue;
    const Dtype d = flat.ops[x.op].type.dtype;
    if (d != Dtype::f32 && d != Dtype::f64) continue;
    Online found{static_cast<int>(i), degrees_of(flat, all, static_cast<int>(i))};
    for (size_t k = 0; k < all.insts.size(); ++k)
      if (accumulates(all.insts[k]) && found.scales(static_cast<int>(k))) return found;
  }
  return {};
}

}  // namespace tenfold::plan
