// Templates of Emitter that several of its files use.
#pragma once

#include "tenfold/target/llvm/emit.h"

namespace tenfold::cpu {

// What `make` builds from `inputs`, once, at the head of the innermost loop that one of them needs.
template <class F>
llvm::Value* Emitter::hoisted(const Key& key, std::initializer_list<Value*> inputs, F make) {
  if (const auto it = memo_.find(key); it != memo_.end()) return it->second;
  int depth = 0;
  for (Value* v : inputs) depth = std::max(depth, depth_of(v));
  const llvm::IRBuilder<>::InsertPointGuard guard(b);
  b.SetInsertPoint(scopes_[static_cast<size_t>(depth)]->getTerminator());
  Value* v = make();
  if (depth && llvm::isa<llvm::Instruction>(v)) depth_[v] = depth;
  return memo_[key] = v;
}

// What `make` builds from `v`, once, right after its definition.
template <class F>
llvm::Value* Emitter::after(Value* v, const Key& key, F make) {
  if (const auto it = memo_.find(key); it != memo_.end()) return it->second;
  const llvm::IRBuilder<>::InsertPointGuard guard(b);
  if (auto* i = llvm::dyn_cast<llvm::Instruction>(v)) {
    llvm::BasicBlock* block = i->getParent();
    if (llvm::isa<llvm::PHINode>(i))
      b.SetInsertPoint(block, block->getFirstInsertionPt());
    else if (llvm::Instruction* next = i->getNextNode())
      b.SetInsertPoint(next);
    else
      b.SetInsertPoint(block);
  }
  Value* made = make();
  if (const int depth = depth_of(v)) depth_[made] = depth;
  return memo_[key] = made;
}

// f() at each point and vector of the layout that belongs to the cell; axes in `skip` stay at 0.
template <class F>
void Emitter::iterate(const Layout& l, const Cell& cell, std::span<const AtomId> skip, F&& f) {
  int first = 0, last = l.chunks;
  const bool along = cell.vector >= 0 && l.vector == cell.vector;
  if (along) {
    first = cell.first;
    last = std::min(l.chunks, cell.first + cell.count);
  } else if (cell.vector >= 0 && cell.first > 0) {
    return;  // done with the first vector
  }
  for (const auto& [atom, at] : cell.fixed)
    if (at != 0 && !l.has(atom)) return;
  for (int64_t point = 0; point < l.points; ++point) {
    place(l, point, 0);
    bool mine = true;
    for (const auto& [atom, at] : cell.fixed) mine &= !l.has(atom) || at_[static_cast<size_t>(atom)] == at;
    for (AtomId a : skip) mine &= at_[static_cast<size_t>(a)] == 0;
    if (!mine) continue;
    for (int chunk = first; chunk < last; ++chunk) {
      place(l, point, chunk);
      f();
    }
  }
}

}  // namespace tenfold::cpu
