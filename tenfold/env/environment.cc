#include "tenfold/env/environment.h"

#include <map>

#include "tenfold/base/error.h"
#include "tenfold/lang/function.h"
#include "tenfold/lang/random.h"

namespace tenfold::env {
namespace {

struct Entry {
  std::string doc;
  Maker make;
};
std::map<std::string, Entry>& registry() {
  static auto* const entries = new std::map<std::string, Entry>;
  return *entries;
}

}  // namespace

Tensors Environment::random_action(const Tensor& key, const Tensor& t) const {
  constexpr int kTopBit = 31;
  return {lang::astype(lang::random::bits(key, {}, t) >> kTopBit, Dtype::i32)};
}

Registration::Registration(std::string id, std::string doc, Maker maker) {
  const bool is_new = registry().try_emplace(id, Entry{std::move(doc), std::move(maker)}).second;
  TENFOLD_CHECK(is_new, "the environment {} is registered twice", id);
}

EnvironmentRef make(const std::string& id, Dtype dtype) {
  const auto found = registry().find(id);
  if (found == registry().end()) {
    std::string ids;
    for (const auto& [name, entry] : registry()) ids += (ids.empty() ? "" : ", ") + name;
    user_error("there is no environment \"{}\"; known are: {}.", id, ids);
  }
  if (dtype != Dtype::f32 && dtype != Dtype::f64)
    user_error("{} computes in f32 or f64, not in {}.", id, tenfold::name(dtype));
  return found->second.make(dtype);
}

std::vector<Known> known() {
  std::vector<Known> out;
  for (const auto& [id, entry] : registry()) out.push_back({id, entry.doc});
  return out;
}

}  // namespace tenfold::env
