#include "tenfold/ir/prim.h"

#include <algorithm>
#include <unordered_map>

namespace tenfold {
namespace {

using Registry = std::unordered_map<std::string_view, const Prim*>;

Registry& registry() {  // filled by static initialisers, read only afterwards
  static auto* records = new Registry;
  return *records;
}

constexpr std::string_view kTypeNames[] = {
    "an integer", "a string", "a list of integers", "a shape", "a dtype", "a scalar", "a graph"};

// The order of AttrSpec::Type is that of the alternatives of Attr.
static_assert(
    std::is_same_v<std::variant_alternative_t<static_cast<size_t>(AttrSpec::Type::shape), Attr>, Shape>);
static_assert(
    std::is_same_v<std::variant_alternative_t<static_cast<size_t>(AttrSpec::Type::graph), Attr>, GraphRef>);

}  // namespace

std::string_view name(Kind kind) {
  static constexpr std::string_view kNames[] = {"map",    "reduce",  "contract", "move", "index",
                                                "random", "control", "comm",     "leaf", "extern"};
  return kNames[static_cast<size_t>(kind)];
}

bool Prim::has(std::string_view property) const {
  return std::find(properties.begin(), properties.end(), property) != properties.end();
}

Family::Family(std::span<const Prim> records) {
  for (const Prim& record : records) {
    const bool is_new = registry().emplace(record.name, &record).second;
    TENFOLD_CHECK(is_new, "two primitives are named {}", record.name);
  }
}

const Prim* find_prim(std::string_view name) {
  const auto found = registry().find(name);
  return found == registry().end() ? nullptr : found->second;
}

const Prim& prim(std::string_view name) {
  const Prim* record = find_prim(name);
  TENFOLD_CHECK(record, "there is no primitive named {}", name);
  return *record;
}

std::vector<const Prim*> all_prims() {
  std::vector<const Prim*> all;
  for (const auto& [name, record] : registry()) all.push_back(record);
  std::sort(all.begin(), all.end(), [](const Prim* a, const Prim* b) {
    return a->kind != b->kind ? a->kind < b->kind : a->name < b->name;
  });
  return all;
}

std::string complaint(const Prim& prim, size_t inputs, const Attrs& attrs) {
  if (prim.arity >= 0 && inputs != static_cast<size_t>(prim.arity))
    return fmt::format("{} takes {} input{}, not {}", prim.name, prim.arity, prim.arity == 1 ? "" : "s",
                       inputs);
  for (const auto& [name, value] : attrs) {
    const auto spec = std::find_if(prim.attributes.begin(), prim.attributes.end(),
                                   [&](const AttrSpec& s) { return s.name == name; });
    if (spec == prim.attributes.end()) return fmt::format("{} has no attribute '{}'", prim.name, name);
    if (value.index() != static_cast<size_t>(spec->type))
      return fmt::format("{}: attribute '{}' must be {}, not {}", prim.name, name,
                         kTypeNames[static_cast<size_t>(spec->type)], kTypeNames[value.index()]);
  }
  for (const AttrSpec& spec : prim.attributes)
    if (!spec.optional && !attrs.find(spec.name))
      return fmt::format("{} needs the attribute '{}' ({})", prim.name, spec.name,
                         kTypeNames[static_cast<size_t>(spec.type)]);
  return {};
}

}  // namespace tenfold
