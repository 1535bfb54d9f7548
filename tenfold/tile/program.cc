#include "tenfold/tile/program.h"

namespace tenfold::tile {

namespace {

Body clone(const Body& body);

Item clone(const Item& item) {
  if (const auto* stmt = std::get_if<Stmt>(&item)) return *stmt;
  if (const auto* loop = std::get_if<std::unique_ptr<Loop>>(&item)) {
    const Loop& from = **loop;
    auto to = std::make_unique<Loop>();
    to->atom = from.atom;
    to->reverse = from.reverse;
    to->condition = clone(from.condition);
    to->go = from.go;
    to->body = clone(from.body);
    to->carries = from.carries;
    return to;
  }
  const If& from = *std::get<std::unique_ptr<If>>(item);
  auto to = std::make_unique<If>();
  to->mask = from.mask;
  to->body = clone(from.body);
  return to;
}

Body clone(const Body& body) {
  Body copy;
  copy.reserve(body.size());
  for (const Item& item : body) copy.push_back(clone(item));
  return copy;
}

using Visit = std::function<void(const Stmt&, std::span<const Loop* const>)>;

void walk(const Body& body, std::vector<const Loop*>& loops, const Visit& visit) {
  for (const Item& item : body) {
    if (const auto* stmt = std::get_if<Stmt>(&item)) {
      visit(*stmt, loops);
    } else if (const auto* loop = std::get_if<std::unique_ptr<Loop>>(&item)) {
      loops.push_back(loop->get());
      walk((*loop)->condition, loops, visit);
      walk((*loop)->body, loops, visit);
      loops.pop_back();
    } else {
      walk(std::get<std::unique_ptr<If>>(item)->body, loops, visit);
    }
  }
}

}  // namespace

Dim blocks(const Kernel& kernel) {
  Dim product = 1;
  for (const AtomId atom : kernel.grid) product *= kernel.atoms[atom].extent;
  return product;
}

int64_t scratch_bytes(const Kernel& kernel) {
  constexpr int64_t kAlignment = 64;
  int64_t total = 0;
  for (const Value& value : kernel.values) {
    if (!value.scratch) continue;
    int64_t bytes = size_of(value.dtype);
    for (const AtomId axis : value.axes) bytes *= kernel.atoms[axis].extent.value();
    total += (bytes + kAlignment - 1) / kAlignment * kAlignment;
  }
  return total;
}

Kernel clone(const Kernel& kernel) {
  return {.name = kernel.name,
          .args = kernel.args,
          .atoms = kernel.atoms,
          .guards = kernel.guards,
          .values = kernel.values,
          .grid = kernel.grid,
          .vector = kernel.vector,
          .vectors = kernel.vectors,
          .body = clone(kernel.body)};
}

void for_each_statement(const Body& body, const Visit& visit) {
  std::vector<const Loop*> loops;
  walk(body, loops, visit);
}

}  // namespace tenfold::tile
